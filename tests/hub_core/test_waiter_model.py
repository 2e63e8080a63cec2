"""The Waiter against a model: whatever is done to it, in whichever order, the two agree."""

from __future__ import annotations

import pytest
from greenlet import greenlet
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.hub_core.conftest import Failure

from hub_core import ConcurrentObjectUseError, Hub, Waiter, kill, set_hub, sleep, spawn_raw
from hub_loop import Loop
from hub_loop.testing import ManualClock


class WaiterModel(RuleBasedStateMachine):
    """Rules act on a waiter and on what one believes of it; after each the two must agree.

    A greenlet takes one outcome.  `delivered` is on its way to the one that waits, `stored` waits for the next `get`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.hub = Hub(Loop(default=False, clock=ManualClock()))  # in real time the budget would make runs differ
        set_hub(self.hub)
        self.waiter = Waiter(self.hub)
        self.waiting: greenlet | None = None
        self.delivered: list[object] = []
        self.stored: list[object] = []
        self.got: list[object] = []
        self.expected: list[object] = []
        self.parked = False

    def teardown(self) -> None:
        self.run_until_quiet()
        if self.waiting is not None:
            kill(self.waiting)
            self.take_two_turns()
        self.hub.destroy()
        set_hub(None)

    def take_two_turns(self) -> None:
        for _ in range(2):
            turn = Waiter(self.hub)
            self.hub.loop.run_callback(turn.switch, None)
            turn.get()

    def outcome(self, outcome: object) -> None:
        if self.waiting is None or self.delivered:
            self.stored = [outcome]
        else:
            self.delivered = [outcome]

    def take(self) -> None:
        try:
            self.got.append(self.waiter.get())
        except Failure as error:
            self.got.append(error)

    @rule(value=st.one_of(st.none(), st.integers()))
    def switch(self, value: int | None) -> None:
        self.waiter.switch(value)
        self.outcome(value)

    @rule(text=st.sampled_from(["", "a", "b"]))  # st.text() would first work out all of Unicode: 30 s of a new checkout
    def throw(self, text: str) -> None:
        error = Failure(text)
        self.waiter.throw(error)
        self.outcome(error)

    @rule()
    def switch_from_a_callback(self) -> None:
        self.run_until_quiet()
        self.hub.loop.run_callback(self.waiter.switch, "called back")
        self.outcome("called back")
        self.run_until_quiet()

    @rule()
    def clear(self) -> None:
        self.waiter.clear()
        self.stored = []

    @precondition(lambda self: self.waiting is None)
    @rule()
    def get_in_a_new_greenlet(self) -> None:
        spawned = spawn_raw(self.take)
        sleep(0)
        if self.stored:
            self.expected += self.stored
            assert spawned.dead
        else:
            self.waiting = spawned

    @precondition(lambda self: self.waiting is not None)
    @rule()
    def a_second_get_is_refused_unless_something_is_stored(self) -> None:
        if self.stored:
            self.take()
            self.expected += self.stored
        else:
            with pytest.raises(ConcurrentObjectUseError):
                self.waiter.get()

    @precondition(lambda self: self.waiting is not None)
    @rule(deliveries=st.integers(0, 3))
    def kill_the_greenlet_that_waits(self, deliveries: int) -> None:
        self.run_until_quiet()
        if self.waiting is None:
            return
        killed, self.waiting = self.waiting, None

        def deliver_and_kill() -> None:
            for number in range(deliveries):
                self.waiter.switch(number)
                self.stored = [0]  # what was under way is what is kept
            kill(killed)

        self.hub.loop.run_callback(deliver_and_kill)
        self.take_two_turns()
        assert killed.dead

    @rule()
    def run_until_quiet(self) -> None:
        self.take_two_turns()
        if self.delivered:
            self.expected += self.delivered
            self.delivered, self.waiting = [], None

    @invariant()
    def the_waiter_is_as_the_model_says(self) -> None:
        waiter = self.waiter
        assert waiter.greenlet is self.waiting
        assert waiter.ready() is bool(self.stored)
        failed = bool(self.stored) and isinstance(self.stored[0], Failure)
        assert waiter.successful() is (bool(self.stored) and not failed)
        assert waiter.value == (self.stored[0] if self.stored and not failed else None)
        assert waiter.exc_info == ((self.stored[0],) if failed else None)
        assert self.got == self.expected


TestWaiterModel = WaiterModel.TestCase
TestWaiterModel.settings = settings(deadline=None, max_examples=100, stateful_step_count=30)
