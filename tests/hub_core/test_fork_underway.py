"""What is under way at a fork is the parent's: starts and wake-ups.

Outcomes that nobody takes in the child are kept there for whoever waits next.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

import pytest
from greenlet import GreenletExit, getcurrent

from hub_api import LoopExit
from hub_core import Hub, kill, sleep, spawn_raw

if TYPE_CHECKING:
    from tests.conftest import Kin

    from hub_core import Waiter


def test_one_that_is_woken_as_it_parks_and_forks_in_a_signal_handler_goes_on(hub: Hub, kin: Kin) -> None:
    waiter, got = hub.waiter(), list[object]()

    class Struck(deque[Any]):
        due = False

        def append(self, each: Any) -> None:
            super().append(each)
            if self.due:  # right behind the call, where CPython looks for signals
                self.due = False
                kin.fork()

    def run() -> None:
        sleep(0)  # it is started, so nothing is new
        hub.loop.run_callback(waiter.switch, "awake")
        struck.due = True
        got.append(waiter.get())

    struck = hub._lane.ready = hub._ready = Struck()
    spawn_raw(run)
    with suppress(LoopExit):  # in the child, where the main greenlet's wait is the parent's
        hub.join()
    kin.child_ends(lambda: check_awake(got))
    check_awake(got)


def check_awake(got: list[object]) -> None:
    """In both."""
    assert got == ["awake"]


def test_what_is_to_be_thrown_into_the_one_that_forks_is_not_only_the_parents(hub: Hub, kin: Kin) -> None:
    started, ended = list[int](), list[bool]()

    def run() -> None:
        kill(getcurrent())
        for number in range(3):
            spawn_raw(started.append, number)
        kin.fork()
        with pytest.raises(GreenletExit):
            sleep(60)
        ended.append(True)

    spawn_raw(run)
    with suppress(LoopExit):  # as above
        hub.join()
    kin.child_ends(lambda: check_ended(started, ended, []))
    check_ended(started, ended, [0, 1, 2])


def check_ended(started: list[int], ended: list[bool], expected: list[int]) -> None:
    """In both."""
    assert (started, ended) == (expected, [True])


def test_spawned_and_not_yet_started_is_the_parents_too(hub: Hub, kin: Kin) -> None:
    started: list[int] = []
    held = spawn_raw(started.append, 1)
    spawn_raw(started.append, 2)

    def check() -> None:
        sleep(0)
        sleep(0.001)
        assert started == []
        spawn_raw(started.append, 3)
        sleep(0)
        assert started == [3]
        assert not held.dead or not held  # it never ran

    kin.run(check)
    sleep(0)
    assert started == [1, 2]


def test_a_wake_up_that_is_queued_at_the_fork_is_the_parents(hub: Hub, kin: Kin) -> None:
    got: list[object] = []
    waiter, free = hub.waiter(), hub.waiter()
    spawn_raw(lambda: got.append(waiter.get()))
    sleep(0)
    hub.loop.run_callback(waiter.switch, "queued")
    hub.loop.run_callback(free.switch, "for nobody in particular")

    def check() -> None:
        assert free.get() == "for nobody in particular"
        sleep(0.001)
        assert got == []
        assert waiter.greenlet is None
        assert waiter.get() == "queued"  # as if nobody had ever waited

    kin.run(check)
    assert free.get() == "for nobody in particular"
    assert got == ["queued"]


def test_a_greenlet_that_was_ready_stays_behind_and_its_waiter_is_free(hub: Hub, kin: Kin) -> None:
    got: list[object] = []
    waiter = hub.waiter()
    spawn_raw(lambda: got.append(waiter.get()))
    sleep(0)
    waiter.switch(1)
    waiter.switch(2)

    def check() -> None:
        sleep(0)
        assert got == []

    kin.run(check)
    sleep(0)
    assert got == [1]
    assert waiter.get() == 2


def test_of_two_outcomes_the_second_is_kept_for_whoever_waits_next_in_the_child(hub: Hub, kin: Kin) -> None:
    with hub.loop.async_() as watcher:
        waiting = spawn_raw(hub.wait, watcher)
        sleep(0)
        waiter: Waiter = cast("Any", watcher.callback).__self__
        assert waiter.greenlet is waiting
        waiter.switch(waiter)
        waiter.switch("for whoever is next")

        def check() -> None:
            sleep(0.001)
            assert waiter.greenlet is None
            assert waiter.get() == "for whoever is next"

        kin.run(check)
        sleep(0)
        assert waiting.dead


def test_a_greenlet_made_before_a_fork_and_started_in_the_child_yields_there(hub: Hub, kin: Kin) -> None:
    done: list[str] = []

    def run() -> None:
        for _ in range(3):
            sleep(0)
        done.append("done")

    unstarted = spawn_raw(run)  # dropped by the fork, and asked for anew

    def check() -> None:
        hub.start_soon(unstarted, run)
        for _ in range(6):
            sleep(0)
        assert done == ["done"]

    kin.run(check)
    hub.join()
    assert done == ["done"]
