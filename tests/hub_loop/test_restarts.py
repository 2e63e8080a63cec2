"""Timers that are put off again and again, started late, or many: none is early, and none drifts.

A watchdog that is restarted before its time fires only when it was left alone.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from hub_loop import Loop

if TYPE_CHECKING:
    from hub_loop._timers import Timer
    from hub_loop.testing import ManualClock


def stop_and_start(timer: Timer, callback: Callable[[str], object]) -> None:
    timer.stop()
    timer.start(callback, "late")


def again(timer: Timer, callback: Callable[[str], object]) -> None:
    timer.again(callback, "late")


@pytest.mark.parametrize("put_off", [stop_and_start, again])
@pytest.mark.parametrize("busy", [0.0, 0.5])
@pytest.mark.parametrize("repeat", [0.0, 1.0])
def test_a_timer_put_off_again_and_again_fires_its_full_delay_after_the_last_time(
    loop: Loop, clock: ManualClock, put_off: Callable[..., None], repeat: float, busy: float
) -> None:
    fired: list[str] = []
    with loop.timer(1.0, repeat) as timer:
        timer.start(fired.append, "early")
        for _ in range(100):
            clock.advance(0.9 - busy)
            loop.run(nowait=True)
            clock.advance(busy)  # computed without looking at the loop, whose time is old by then
            put_off(timer, fired.append)
        clock.advance(0.99)
        loop.run(nowait=True)
        assert fired == []
        clock.advance(0.02)
        loop.run(nowait=True)
        assert fired == ["late"]


@pytest.mark.parametrize("put_off", [stop_and_start, again])
def test_a_timer_put_off_by_its_fellow_in_the_very_turn_in_which_it_is_due_does_not_fire(
    loop: Loop, clock: ManualClock, put_off: Callable[..., None]
) -> None:
    fired: list[str] = []
    watchdog, fellow = loop.timer(1.0), loop.timer(1.0)
    fellow.start(put_off, watchdog, fired.append)
    watchdog.start(fired.append, "early")
    clock.advance(1.5)
    loop.run(nowait=True)
    assert fired == []
    clock.advance(0.9)
    loop.run(nowait=True)
    assert fired == []
    clock.advance(0.2)
    loop.run(nowait=True)
    assert fired == ["late"]


def test_a_beat_that_is_restarted_from_its_own_callback_drifts_and_a_repeating_one_does_not(
    loop: Loop, clock: ManualClock
) -> None:
    restarted: list[float] = []
    repeating: list[float] = []
    began = clock()
    with loop.timer(1.0) as one, loop.timer(1.0, 1.0) as many:

        def beat() -> None:
            restarted.append(clock() - began)
            one.start(beat)

        one.start(beat)
        many.start(lambda: repeating.append(clock() - began))
        for _ in range(20):  # each turn of the loop comes late by something
            clock.advance(0.5625)
            loop.run(nowait=True)
    assert [int(time) for time in repeating] == list(range(1, 12))
    assert len(restarted) < len(repeating)


def test_a_timer_started_after_a_long_computation_waits_its_full_delay(loop: Loop, clock: ManualClock) -> None:
    fired: list[str] = []

    def compute_and_start() -> None:
        clock.advance(0.3)  # longer than the delay, and the loop's time is from before
        timer.start(fired.append, "late")

    with loop.timer(0.2) as timer:
        loop.run_callback(compute_and_start)
        loop.run(nowait=True)
        clock.advance(0.19)
        loop.run(nowait=True)
        assert fired == []
        clock.advance(0.02)
        loop.run(nowait=True)
        assert fired == ["late"]


@pytest.mark.parametrize("loop", ["epoll", "poll", "select"], indirect=True)
def test_in_real_time_of_five_thousand_timers_started_at_odd_moments_none_is_early(loop: Loop) -> None:
    order = random.Random(25)
    early: list[float] = []
    fired = 0

    def due(deadline: float) -> None:
        nonlocal fired
        fired += 1
        if time.monotonic() < deadline:
            early.append(deadline - time.monotonic())

    def start(count: int) -> None:
        for _ in range(count):
            delay = order.uniform(0.0, 0.02)
            deadline = time.monotonic() + delay
            loop.timer(delay).start(due, deadline)
        if count < 100:
            loop.run_callback(start, count + 1)

    start(1)
    loop.run()
    assert fired == sum(range(1, 101))
    assert early == []
