"""Timers: due in the order of their deadlines, never early, cheap to stop."""

from __future__ import annotations

import time

import pytest
from hypothesis import strategies as st
from tests.hub_loop.conftest import on_fake

from hub_loop import Loop
from hub_loop.testing import ManualClock


def test_at_tells_the_deadline(loop: Loop, clock: ManualClock) -> None:
    with loop.timer(2.5, 1.0) as timer:
        assert timer.at is None
        timer.start(print)
        assert timer.at == clock() + 2.5
        assert "due in 2.500s" in repr(timer)
        assert "repeat=1" in repr(timer)
        timer.stop()
        assert timer.at is None


def test_a_repeating_timer_fires_from_deadline_to_deadline_without_drift(loop: Loop, clock: ManualClock) -> None:
    fired: list[float] = []
    begin = clock()
    with loop.timer(1.0, 2.0) as timer:
        timer.start(lambda: fired.append(clock() - begin))
        for _ in range(60):
            clock.advance(0.25)
            loop.run(nowait=True)
            assert timer.active
        assert fired == [1.0, 3.0, 5.0, 7.0, 9.0, 11.0, 13.0, 15.0]
        timer.start(lambda: clock.advance(0.5))  # a slow callback does not shift the next deadline either
        clock.advance(2.0)
        loop.run(nowait=True)
        assert timer.at == begin + 19.0


def test_again_puts_a_repeating_timer_off_by_its_interval(loop: Loop, clock: ManualClock) -> None:
    fired: list[str] = []
    with loop.timer(1.0, 5.0) as timer:
        timer.start(fired.append, "first")
        timer.again(fired.append, "again")
        assert timer.at == clock() + 5.0
        clock.advance(4.0)
        timer.again(fired.append, "again")
        assert loop.activecnt == 1
        clock.advance(4.0)
        loop.run(nowait=True)
        assert fired == []
        clock.advance(1.0)
        loop.run(nowait=True)
        assert fired == ["again"]
        assert timer.at == clock() + 5.0


@on_fake
def test_a_stopped_timer_does_not_wake_the_loop(loop: Loop, clock: ManualClock) -> None:
    begin = clock()
    early, late = loop.timer(1.0), loop.timer(2.0)
    early.start(print)
    late.start(lambda: None)
    early.stop()
    loop.run(once=True)
    assert clock() == begin + 2.0
    assert loop.activecnt == 0


def test_a_million_started_and_stopped_timers_leave_the_queue_short() -> None:
    loop = Loop("select")
    try:
        standing = [loop.timer(3600.0 + number) for number in range(100)]
        for timer in standing:
            timer.start(print)
        timer = loop.timer(1.0)
        longest = 0
        for _ in range(1_000_000):
            timer.start(print)
            timer.stop()
        heap, young = loop._timers.heap, loop._timers.young
        assert len(heap) + len(young) < 2000
        # The worse case: each has lived for a turn, and what is stopped is never the last entry.
        for _ in range(1000):
            waiting = [loop.timer(5.0) for _ in range(20)]
            for timer in waiting:
                timer.start(print)
            loop.run(nowait=True)
            for timer in waiting:
                timer.close()
            longest = max(longest, len(heap) + len(young))
        assert longest < 2000
        assert sorted(loop._timers.timers(), key=lambda timer: timer.at or 0.0) == standing
    finally:
        loop.destroy()


def test_corpses_are_counted_exactly(loop: Loop, clock: ManualClock) -> None:
    timers = [loop.timer(float(number % 7)) for number in range(700)]
    for timer in timers:
        timer.start(lambda: None)
    for timer in timers[::3]:
        timer.stop()
    assert len(loop._timers) == 700 - len(timers[::3])
    clock.advance(3.0)
    loop.run(nowait=True)
    assert len(loop._timers) == sum(timer.active for timer in timers)
    clock.advance(10.0)
    loop.run(nowait=True)
    assert len(loop._timers) == loop._timers.corpses == 0


@pytest.mark.parametrize("due", [0.1, 0.2, 1.0, 3.0, 6.0])
def test_many_due_at_once_fire_in_the_order_of_deadlines_and_then_of_starts(
    loop: Loop, clock: ManualClock, due: float
) -> None:
    delays = [(number * 37 % 600 + 1) / 100 for number in range(1200)]  # each twice, up to 6 seconds
    timers, fired = [loop.timer(delay) for delay in delays], list[int]()
    for number, timer in enumerate(timers):
        timer.start(fired.append, number)
    loop.run(nowait=True)  # what is started after this is sorted in later
    late = loop.timer(due)
    late.start(fired.append, -1)
    stopped = set(range(0, len(timers), 5))
    for number in stopped:
        timers[number].stop()
    clock.advance(due)
    loop.run(nowait=True)
    expected = sorted((delays[number], number) for number in range(len(delays)) if number not in stopped)
    assert fired == [number for delay, number in expected if delay <= due] + [-1]
    assert len(loop._timers) == len(expected) + 1 - len(fired)
    clock.advance(10.0)
    loop.run(nowait=True)
    assert sorted(fired) == [-1, *sorted(number for _, number in expected)]
    assert len(loop._timers.heap) == loop._timers.corpses == 0


step = st.one_of(
    st.tuples(st.just("new"), st.integers(-1, 5), st.integers(0, 4)),
    st.tuples(st.sampled_from(["start", "stop", "again", "close"]), st.integers(0, 8), st.just(0)),
    st.tuples(st.just("advance"), st.integers(0, 6), st.just(0)),
)


def test_the_clock_of_a_loop_is_monotonic_unless_told_otherwise() -> None:
    loop = Loop("select")
    try:
        before = time.monotonic()
        loop.update_now()
        assert before <= loop.now() <= time.monotonic()
    finally:
        loop.destroy()
