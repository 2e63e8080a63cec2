"""Prepare, check and idle: called at their moment of the turn, and in which order."""

from __future__ import annotations

import pytest

from hub_loop import Loop
from hub_loop._phases import Phase
from hub_loop.testing import FakePoller, ManualClock

on_fake = pytest.mark.parametrize("loop", ["fake"], indirect=True)


@on_fake
def test_prepare_is_called_before_and_check_after_each_poll(loop: Loop, clock: ManualClock) -> None:
    order: list[tuple[str, int]] = []
    poller = loop._poller
    assert isinstance(poller, FakePoller)
    with loop.check() as check, loop.prepare() as prepare:
        check.start(lambda: order.append(("check", poller.polls)))
        prepare.start(lambda: order.append(("prepare", poller.polls)))
        loop.run(nowait=True)
        loop.run(nowait=True)
    assert order == [("prepare", 0), ("check", 1), ("prepare", 1), ("check", 2)]


def test_one_turn_calls_prepare_then_check_then_callbacks_and_timers_in_the_order_they_were_queued(
    loop: Loop, clock: ManualClock
) -> None:
    order: list[str] = []
    loop.timer(1.0).start(order.append, "timer")
    clock.advance(1.0)
    loop.run_callback(order.append, "callback")
    loop.run_callback_threadsafe(order.append, "callback from a thread")
    with loop.check() as check, loop.prepare() as prepare, loop.idle() as idle:
        idle.start(order.append, "idle")
        check.start(order.append, "check")
        prepare.start(order.append, "prepare")
        loop.run(nowait=True)
        assert order == ["prepare", "check", "callback", "callback from a thread", "timer"]
        order.clear()
        loop.run(nowait=True)
        assert order == ["prepare", "check", "idle"]


def test_idle_is_called_only_when_nothing_else_is_to_be_done(loop: Loop) -> None:
    order: list[str] = []
    with loop.idle() as idle:
        idle.start(order.append, "idle")
        loop.run_callback(order.append, "callback")
        loop.run(nowait=True)
        loop.run(nowait=True)
        assert order == ["callback", "idle"]


@on_fake
def test_while_idle_is_active_the_poll_does_not_block(loop: Loop, clock: ManualClock) -> None:
    begin = clock()
    fired: list[str] = []
    with loop.timer(10.0) as timer, loop.idle() as idle:
        timer.start(print, "never")
        idle.start(fired.append, "idle")
        for _ in range(3):
            loop.run(once=True)
    assert fired == ["idle"] * 3
    assert clock() == begin


def test_among_idle_watchers_only_those_of_the_highest_priority_are_called(loop: Loop) -> None:
    called: list[str] = []
    low, high, high_too = loop.idle(priority=-1), loop.idle(priority=1), loop.idle(priority=1)
    low.start(called.append, "low")
    high.start(called.append, "high")
    high_too.start(called.append, "high too")
    loop.run(nowait=True)
    assert called == ["high", "high too"]
    high.stop()
    high_too.stop()
    loop.run(nowait=True)
    assert called == ["high", "high too", "low"]
    low.close()


@pytest.mark.parametrize("name", ["prepare", "check"])
def test_watchers_of_one_moment_are_called_by_priority_then_in_the_order_of_their_starts(loop: Loop, name: str) -> None:
    called: list[int] = []
    watchers = [getattr(loop, name)(priority=priority) for priority in (0, -2, 1, 0, 2)]
    for number, watcher in enumerate(watchers):
        watcher.start(called.append, number)
    loop.run(nowait=True)
    assert called == [4, 2, 0, 3, 1]
    for watcher in watchers:
        watcher.close()


@pytest.mark.parametrize("name", ["prepare", "check", "idle"])
def test_a_watcher_that_another_one_starts_is_called_from_the_next_turn_on(loop: Loop, name: str) -> None:
    called: list[str] = []
    first, second = getattr(loop, name)(), getattr(loop, name)()

    def start_the_second() -> None:
        called.append("first")
        second.start(called.append, "second")

    first.start(start_the_second)
    loop.run(nowait=True)
    assert called == ["first"]
    loop.run(nowait=True)
    assert called == ["first", "first", "second"]
    first.close()
    second.close()


def test_a_phase_has_to_say_in_which_table_it_stands(loop: Loop) -> None:
    with pytest.raises(NotImplementedError):
        Phase(loop).start(print)
    assert loop.activecnt == 0


@on_fake
def test_what_prepare_queues_keeps_the_poll_from_blocking(loop: Loop, clock: ManualClock) -> None:
    begin = clock()
    ran: list[float] = []
    with loop.prepare() as prepare, loop.timer(10.0) as timer:
        timer.start(print, "never")
        prepare.start(lambda: loop.run_callback(lambda: ran.append(clock() - begin)))
        loop.run(once=True)
    assert ran == [0.0]
