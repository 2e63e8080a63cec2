"""The Waiter: one wait of one greenlet, its outcome, and what is refused."""

from __future__ import annotations

import doctest
import signal
import sys
import threading
from typing import Any

import pytest
from greenlet import GreenletExit, getcurrent, greenlet
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

import hub_core
from hub_core import (
    BlockingSwitchOutError,
    ConcurrentObjectUseError,
    Hub,
    InvalidSwitchError,
    InvalidThreadUseError,
    Waiter,
    get_hub,
    kill,
    set_hub,
    sleep,
    spawn_raw,
)
from hub_loop import Loop
from hub_loop.testing import ManualClock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tests.hub_core.conftest import Elsewhere

    from hub_loop.testing import FakePoller, ManualClock

REFERENCE = """
>>> result = Waiter()
>>> timer = get_hub().loop.timer(0.1)
>>> timer.start(result.switch, 'hello from Waiter')
>>> result.get() # blocks for 0.1 seconds
'hello from Waiter'
>>> timer.close()

If switch is called before the greenlet gets a chance to call get() then Waiter stores the value.

>>> result = Waiter()
>>> timer = get_hub().loop.timer(0.1)
>>> timer.start(result.switch, 'hi from Waiter')
>>> sleep(0.2)
>>> result.get() # returns immediately without blocking
'hi from Waiter'
>>> timer.close()
"""


class Failure(Exception):
    """Thrown by tests."""


def test_the_two_examples_of_the_reference_run_word_for_word(hub: Hub) -> None:
    names = {"Waiter": Waiter, "get_hub": get_hub, "sleep": sleep}
    example = doctest.DocTestParser().get_doctest(REFERENCE, names, "reference", None, None)
    result = doctest.DocTestRunner().run(example)
    assert (result.attempted, result.failed) == (11, 0)


# -- stored outcomes ---------------------------------------------------------------------------------------------------


def test_a_stored_value_is_returned_again_and_again_until_clear(hub: Hub) -> None:
    waiter = Waiter()
    waiter.switch(25)
    assert [waiter.get(), waiter.get()] == [25, 25]
    assert (waiter.ready(), waiter.successful(), waiter.value, waiter.exc_info) == (True, True, 25, None)
    waiter.clear()
    assert (waiter.ready(), waiter.successful(), waiter.value, waiter.exc_info) == (False, False, None, None)


def test_a_stored_none_is_an_outcome(hub: Hub) -> None:
    waiter = Waiter()
    waiter.switch(None)
    assert waiter.ready()
    assert waiter.get() is None


def test_a_stored_exception_is_raised_again_and_again_until_clear(hub: Hub) -> None:
    waiter = Waiter()
    error = Failure("no")
    waiter.throw(error)
    for _ in range(2):
        with pytest.raises(Failure, match="no") as caught:
            waiter.get()
        assert caught.value is error
    assert (waiter.ready(), waiter.successful(), waiter.value) == (True, False, None)
    waiter.clear()
    waiter.switch("fine now")
    assert waiter.get() == "fine now"


def test_switch_before_get_stores_the_value_and_get_does_not_park(hub: Hub) -> None:
    order: list[str] = []
    waiter = Waiter()
    waiter.switch("early")
    spawn_raw(order.append, "another greenlet")
    assert waiter.get() == "early"
    assert order == []


def test_a_later_outcome_replaces_a_stored_one(hub: Hub) -> None:
    waiter = Waiter()
    waiter.switch(1)
    waiter.throw(Failure)
    waiter.switch(2)
    assert waiter.get() == 2


def test_switch_args_stores_its_arguments_as_a_tuple(hub: Hub) -> None:
    waiter = Waiter()
    waiter.switch_args(1, "two")
    assert waiter.get() == (1, "two")


def test_exc_info_is_what_throw_was_given_and_not_a_normalised_triple(hub: Hub) -> None:
    waiter = Waiter()
    waiter.throw(Failure)
    seen = [waiter.exc_info]
    waiter.throw(Failure, "why")
    seen.append(waiter.exc_info)
    waiter.throw()
    seen.append(waiter.exc_info)
    waiter.switch("a value")
    assert [*seen, waiter.exc_info] == [(Failure,), (Failure, "why"), (), None]


def test_the_forms_of_str_tell_the_state(hub: Hub) -> None:
    waiter = Waiter()
    assert str(waiter) == "<Waiter greenlet=None>"
    waiter.switch(25)
    assert str(waiter) == "<Waiter greenlet=None value=25>"
    waiter.throw(Failure, "why")
    assert str(waiter) == f"<Waiter greenlet=None exc_info=({Failure!r}, 'why')>"
    waiter.clear()
    seen: list[str] = []
    hub.loop.run_callback(lambda: seen.append(str(waiter)))
    hub.loop.run_callback(waiter.switch, None)
    waiter.get()
    assert seen[0].startswith(f"<Waiter greenlet=<greenlet.greenlet object at {id(getcurrent()):#x} ")
    assert repr(waiter) == str(waiter) == "<Waiter greenlet=None>"


# -- delivery ----------------------------------------------------------------------------------------------------------


def test_a_waiting_get_returns_the_value_and_leaves_the_waiter_not_ready(hub: Hub) -> None:
    waiter = Waiter()
    hub.loop.run_callback(waiter.switch, "delivered")
    assert waiter.get() == "delivered"
    assert (waiter.ready(), waiter.value, waiter.greenlet) == (False, None, None)


def test_a_waiting_get_raises_the_exception_and_leaves_the_waiter_not_ready(hub: Hub) -> None:
    waiter = Waiter()
    hub.loop.run_callback(waiter.throw, Failure("delivered"))
    with pytest.raises(Failure, match="delivered"):
        waiter.get()
    assert (waiter.ready(), waiter.exc_info, waiter.greenlet) == (False, None, None)


def test_switch_only_marks_so_the_caller_goes_on_first(hub: Hub) -> None:
    order: list[object] = []
    waiter = Waiter()

    def wait() -> None:
        order.append(waiter.get())

    def wake() -> None:
        waiter.switch("value")
        order.append("the caller goes on")

    spawn_raw(wait)
    spawn_raw(wake)
    sleep(0)
    sleep(0)
    assert order == ["the caller goes on", "value"]


def test_switch_may_be_called_from_any_greenlet_of_the_thread(hub: Hub) -> None:
    waiter = Waiter()
    spawn_raw(waiter.switch, "from a greenlet")
    assert waiter.get() == "from a greenlet"


def test_the_greenlet_that_waits_is_named(hub: Hub) -> None:
    waiter = Waiter(hub)
    waiting = spawn_raw(waiter.get)
    sleep(0)
    assert waiter.greenlet is waiting
    assert waiter.hub is hub
    waiter.switch(None)
    hub.join()
    assert waiter.greenlet is None


def test_a_second_switch_while_a_delivery_is_pending_is_kept_for_the_next_get(hub: Hub) -> None:
    waiter = Waiter()
    got: list[object] = []

    def wait_twice() -> None:
        got.append(waiter.get())
        got.append(waiter.get())

    spawn_raw(wait_twice)
    sleep(0)
    waiter.switch("first")
    waiter.switch("second")
    hub.join()
    assert got == ["first", "second"]


def test_a_greenlet_killed_while_its_delivery_is_pending_leaves_the_outcome_and_no_ready_entry(hub: Hub) -> None:
    waiter = Waiter()
    order: list[str] = []
    waiting = spawn_raw(waiter.get)
    sleep(0)

    def deliver_and_kill() -> None:  # in one callback, so that the hub sees both: it throws before it hands over
        waiter.switch("not lost")
        kill(waiting)
        spawn_raw(order.append, "the others go on")

    hub.loop.run_callback(deliver_and_kill)
    hub.join()
    assert waiting.dead
    assert order == ["the others go on"]
    assert waiter.get() == "not lost"


def test_of_two_outcomes_under_way_to_a_killed_greenlet_the_first_is_kept(hub: Hub) -> None:
    waiter = Waiter()
    waiting = spawn_raw(waiter.get)
    sleep(0)

    def deliver_twice_and_kill() -> None:
        waiter.switch("first")
        waiter.switch("second")
        kill(waiting)

    hub.loop.run_callback(deliver_twice_and_kill)
    hub.join()
    assert waiting.dead
    assert waiter.get() == waiter.value == "first"


def test_an_outcome_stored_behind_a_delivery_can_be_taken_at_once(hub: Hub) -> None:
    waiter = Waiter()
    got: list[object] = []
    spawn_raw(lambda: got.append(waiter.get()))
    sleep(0)
    waiter.switch("for the one that waits")
    waiter.throw(Failure("for the next"))
    assert waiter.ready()
    with pytest.raises(Failure, match="for the next"):
        waiter.get()
    waiter.clear()
    assert not waiter.ready()
    hub.join()
    assert got == ["for the one that waits"]


def test_a_greenlet_that_survives_its_kill_is_not_resumed_by_the_stale_delivery(hub: Hub) -> None:
    first, second = Waiter(), Waiter()
    got: list[object] = []

    def stubborn() -> None:
        try:
            first.get()
        except GreenletExit:
            got.append(second.get())

    waiting = spawn_raw(stubborn)
    sleep(0)

    def deliver_and_kill() -> None:
        first.switch("stale")
        kill(waiting)

    hub.loop.run_callback(deliver_and_kill)
    sleep(0.001)
    assert got == []
    second.switch("fresh")
    hub.join()
    assert got == ["fresh"]


def test_a_waiter_can_be_used_for_one_wait_after_another(hub: Hub) -> None:
    waiter = Waiter()
    got = []
    for number in range(5):
        hub.loop.run_callback(waiter.switch, number)
        got.append(waiter.get())
    assert got == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("arguments", "kind", "text"),
    [
        ((Failure,), Failure, ""),
        ((Failure("instance"),), Failure, "instance"),
        ((Failure, "text"), Failure, "text"),
        ((Failure, Failure("as value")), Failure, "as value"),
        ((Failure, ("a", "b")), Failure, r"\('a', 'b'\)"),
        ((Failure, None, None), Failure, ""),
        ((), GreenletExit, ""),
    ],
)
@pytest.mark.parametrize("stored", [True, False])
def test_throw_takes_every_form_that_greenlet_throw_takes(
    hub: Hub, arguments: tuple[Any, ...], kind: type[BaseException], text: str, stored: bool
) -> None:
    waiter = Waiter()
    if stored:
        waiter.throw(*arguments)
    else:
        hub.loop.run_callback(waiter.throw, *arguments)
    with pytest.raises(kind, match=f"^{text}$"):
        waiter.get()


def test_throw_with_a_traceback_raises_with_it(hub: Hub) -> None:
    waiter = Waiter()
    try:
        raise Failure("origin")
    except Failure:
        waiter.throw(*sys.exc_info())
    with pytest.raises(Failure, match="origin") as caught:
        waiter.get()
    assert "raise Failure" in "".join(str(entry) for entry in caught.traceback)


@pytest.mark.parametrize("arguments", [(1,), ("text",), (int,), (None,), (Failure, 1, None, 4)])
def test_throw_refuses_what_is_not_an_exception_at_the_call(hub: Hub, arguments: tuple[Any, ...]) -> None:
    waiter = Waiter()
    with pytest.raises(TypeError, match="throw takes an exception class, an instance or a"):
        waiter.throw(*arguments)
    assert not waiter.ready()


# -- refusals ----------------------------------------------------------------------------------------------------------


def test_a_second_waiter_is_refused_by_name_and_the_first_goes_on(hub: Hub) -> None:
    waiter = Waiter()
    got: list[object] = []
    first = spawn_raw(lambda: got.append(waiter.get()))
    sleep(0)
    with pytest.raises(ConcurrentObjectUseError) as caught:
        waiter.get()
    assert repr(getcurrent()) in str(caught.value)
    assert repr(first) in str(caught.value)
    assert "one Waiter per wait" in str(caught.value)
    waiter.switch("still delivered")
    hub.join()
    assert got == ["still delivered"]


def test_get_in_a_callback_is_refused_and_leaves_the_waiter_usable(hub: Hub) -> None:
    waiter = Waiter()
    caught: list[BaseException] = []

    def callback() -> None:
        with pytest.raises(
            BlockingSwitchOutError, match=r"Impossible to call blocking function.*spawn a greenlet"
        ) as info:
            waiter.get()
        caught.append(info.value)

    hub.loop.run_callback(callback)
    sleep(0.001)
    assert isinstance(caught[0], AssertionError)
    hub.loop.run_callback(waiter.switch, "usable")
    assert waiter.get() == "usable"


@pytest.mark.parametrize("method", ["switch", "throw", "get"])
def test_use_in_another_thread_is_refused_with_both_threads_and_the_remedy(
    hub: Hub, elsewhere: Elsewhere, method: str
) -> None:
    waiter = Waiter()
    arguments = () if method == "get" else (Failure,)
    with pytest.raises(InvalidThreadUseError) as caught:
        elsewhere(lambda: getattr(waiter, method)(*arguments))
    text = str(caught.value)
    assert f"thread_ident={threading.get_ident():#x}" in text
    assert f"from thread {elsewhere.ident:#x}" in text
    assert "a hub belongs to one thread; use " in text
    assert (waiter.ready(), waiter.greenlet) == (False, None)


def test_get_in_another_thread_takes_nobody_out_of_the_ready_lane(hub: Hub, elsewhere: Elsewhere) -> None:
    waiter, got = Waiter(), []
    spawn_raw(lambda: got.append(waiter.get()))
    sleep(0)
    waiter.switch("still here")
    with pytest.raises(InvalidThreadUseError):
        elsewhere(Waiter(hub).get)
    hub.join()
    assert got == ["still here"]


def test_get_on_a_destroyed_hub_is_refused(hub: Hub) -> None:
    waiter = Waiter(hub)
    hub.destroy()
    with pytest.raises(ValueError, match=r"destroyed.*get_hub\(\) makes a new one"):
        waiter.get()
    assert waiter.greenlet is None


def test_a_stranger_who_resumes_a_waiting_greenlet_is_named_as_the_mistake(hub: Hub) -> None:
    waiter = Waiter()
    caught: list[InvalidSwitchError] = []

    def wait() -> None:
        with pytest.raises(InvalidSwitchError) as info:
            waiter.get()
        caught.append(info.value)

    waiting = spawn_raw(wait)
    sleep(0)
    hub.loop.run_callback(waiting.switch, "a value that nobody asked for")
    hub.join()
    text = str(caught[0])
    assert repr(waiter).split(" greenlet")[0] in text
    assert repr(hub).split(" pending")[0] in text
    assert "not by greenlet.switch()" in text
    assert waiter.greenlet is None


def test_a_stranger_who_comes_when_the_delivery_is_pending_does_no_harm(hub: Hub) -> None:
    waiter = Waiter()
    got: list[object] = []

    def wait() -> None:
        got.append(waiter.get())
        sleep(0.001)
        got.append("once")

    waiting = spawn_raw(wait)
    sleep(0)

    def deliver_and_meddle() -> None:
        waiter.switch("delivered")
        waiting.switch()

    hub.loop.run_callback(deliver_and_meddle)
    hub.join()
    assert got == ["delivered", "once"]


# -- links and signals -------------------------------------------------------------------------------------------------


class Source:
    """Something that one can link a waiter to."""

    def __init__(self, value: object, exception: BaseException | None) -> None:
        self.value = value
        self.exception = exception


def test_a_waiter_called_with_a_source_takes_over_its_value(hub: Hub) -> None:
    waiter = Waiter()
    hub.loop.run_callback(waiter, Source("result", None))
    assert waiter.get() == "result"


def test_a_waiter_called_with_a_failed_source_takes_over_its_exception(hub: Hub) -> None:
    waiter = Waiter()
    error = Failure("of the source")
    waiter(Source(None, error))
    assert waiter.exc_info == (error,)


def test_a_signal_handler_that_switches_a_waiter_wakes_a_sleeping_loop_at_once(
    clocked_hub: Hub, clock: ManualClock, poller: FakePoller
) -> None:
    waiter = Waiter()
    began = clock()
    before = signal.signal(signal.SIGUSR1, lambda signum, frame: waiter.switch(signum))
    try:
        poller.when_blocking(signal.raise_signal, signal.SIGUSR1)
        with clocked_hub.loop.timer(30.0) as late:
            late.start(waiter.switch, "too late")
            assert waiter.get() == signal.SIGUSR1
        assert clock() == began
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_signal_ends_a_real_poll_too(each_hub: Hub) -> None:
    # A thread sends signals as long as the loop sleeps; a poll that went on would run into the test's timeout.  One
    # signal is not enough: it can slip in between the interpreter's last look at its signals and the system call.
    waiter = Waiter()
    before = signal.signal(signal.SIGUSR1, lambda signum, frame: waiter.switch(signum))

    def send_while_asleep() -> None:
        while waiter.greenlet is not None:
            if each_hub.loop.sleeping:
                signal.pthread_kill(each_hub.thread_ident, signal.SIGUSR1)

    thread = threading.Thread(target=send_while_asleep)
    try:
        each_hub.loop.ref()
        each_hub.loop.run_callback(thread.start)
        assert waiter.get() == signal.SIGUSR1
    finally:
        thread.join()
        each_hub.loop.unref()
        signal.signal(signal.SIGUSR1, before)


# -- the waiter against a model ----------------------------------------------------------------------------------------


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

    @rule(text=st.text(max_size=3))
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


def test_every_exception_that_crosses_packages_is_found_here_too() -> None:
    import hub_api

    for name in (
        "BlockingSwitchOutError",
        "ConcurrentObjectUseError",
        "HubDestroyed",
        "InvalidSwitchError",
        "LoopExit",
    ):
        assert getattr(hub_core, name) is getattr(hub_api, name)


def test_time_spent_in_get_is_the_callers_only(clocked_hub: Hub, clock: ManualClock, poller: FakePoller) -> None:
    waiter = Waiter()
    began = clock()
    with clocked_hub.loop.timer(2.0) as timer:
        timer.start(waiter.switch, "on time")
        assert waiter.get() == "on time"
    assert clock() == began + 2.0
    assert poller.polls < 5
