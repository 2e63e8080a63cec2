"""Timers: due in the order of their deadlines, never early, cheap to stop."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub_loop import Loop
from hub_loop._timers import Timer
from hub_loop.testing import FakePoller, ManualClock

on_fake = pytest.mark.parametrize("loop", ["fake"], indirect=True)


def test_a_stopped_timer_never_fires(loop: Loop, clock: ManualClock) -> None:
    fired: list[str] = []
    timer = loop.timer(5.0)
    timer.start(fired.append, "late")
    timer.stop()
    clock.advance(10.0)
    loop.run(nowait=True)
    assert fired == []


def test_a_timer_fires_when_its_delay_has_passed_and_not_before(loop: Loop, clock: ManualClock) -> None:
    fired: list[str] = []
    timer = loop.timer(5.0)
    timer.start(fired.append, "due")
    clock.advance(4.999)
    loop.run(nowait=True)
    assert fired == []
    assert timer.active
    clock.advance(0.001)
    loop.run(nowait=True)
    assert fired == ["due"]
    assert not timer.active
    assert timer.callback is None
    assert timer.args is None
    clock.advance(100.0)
    loop.run(nowait=True)
    assert fired == ["due"]


@pytest.mark.parametrize("loop", ["epoll", "poll", "select"], indirect=True)
def test_in_real_time_a_timer_is_not_early_on_any_poller(loop: Loop) -> None:
    late: list[float] = []

    def note(due: float) -> None:
        late.append(time.monotonic() - due)

    for after in (0.0, 0.0004, 0.001, 0.0123):
        loop.timer(after).start(note, time.monotonic() + after)
    loop.run()
    assert len(late) == 4
    assert min(late) >= 0.0


def test_equal_deadlines_fire_first_in_first_out(loop: Loop, clock: ManualClock) -> None:
    fired: list[int] = []
    for number in range(50):
        loop.timer(1.0).start(fired.append, number)
    clock.advance(1.0)
    loop.run(nowait=True)
    assert fired == list(range(50))


def test_timers_fire_in_the_order_of_their_deadlines(loop: Loop, clock: ManualClock) -> None:
    fired: list[float] = []
    for after in (3.0, 1.0, 2.0, -1.0, 0.0):
        loop.timer(after).start(fired.append, after)
    clock.advance(5.0)
    loop.run(nowait=True)
    assert fired == [-1.0, 0.0, 1.0, 2.0, 3.0]


def test_a_timer_without_delay_fires_in_the_next_turn_after_callbacks_queued_before(loop: Loop) -> None:
    order: list[str] = []
    loop.run_callback(order.append, "callback")
    loop.timer(0.0).start(order.append, "timer")
    loop.run()
    assert order == ["callback", "timer"]


def test_a_timer_counts_from_the_clock_at_start_however_long_the_turn_took(loop: Loop, clock: ManualClock) -> None:
    fired: list[float] = []
    timer = loop.timer(1.0)

    def work() -> None:
        clock.advance(10.0)  # the loop's cached time is 10 s old
        timer.start(lambda: fired.append(clock()))

    begin = clock()
    loop.run_callback(work)
    loop.run(nowait=True)
    loop.run(nowait=True)
    assert fired == []
    clock.advance(1.0)
    loop.run(nowait=True)
    assert fired == [begin + 11.0]


def test_a_timer_started_without_update_counts_from_the_cached_time(loop: Loop, clock: ManualClock) -> None:
    clock.advance(10.0)
    cached = loop.now()
    assert cached == clock() - 10.0
    with loop.timer(1.0) as timer:
        timer.start(print, update=False)
        assert timer.at == cached + 1.0
        assert loop.now() == cached
        timer.stop()
        timer.start(print, update=True)
        assert timer.at == clock() + 1.0
        assert loop.now() == clock()


def test_a_timer_restarted_after_stop_starts_its_full_duration(loop: Loop, clock: ManualClock) -> None:
    fired: list[str] = []
    with loop.timer(5.0) as timer:
        timer.start(fired.append, "due")
        clock.advance(4.0)
        timer.stop()
        timer.start(fired.append, "due")
        clock.advance(4.0)
        loop.run(nowait=True)
        assert fired == []
        clock.advance(1.0)
        loop.run(nowait=True)
        assert fired == ["due"]


def test_a_timer_that_has_fired_can_be_started_again(loop: Loop, clock: ManualClock) -> None:
    fired: list[int] = []
    timer = loop.timer(1.0)
    for number in range(3):
        timer.start(fired.append, number)
        clock.advance(1.0)
        loop.run(nowait=True)
    assert fired == [0, 1, 2]


def test_a_one_shot_started_again_in_its_callback_fires_again(loop: Loop, clock: ManualClock) -> None:
    fired: list[str] = []
    timer = loop.timer(1.0)

    def again() -> None:
        assert not timer.active
        timer.start(fired.append, "second")

    timer.start(again)
    clock.advance(1.0)
    loop.run(nowait=True)
    assert timer.active
    assert timer.args == ("second",)
    clock.advance(1.0)
    loop.run(nowait=True)
    assert fired == ["second"]
    assert loop.activecnt == 0


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


def test_missed_repetitions_count_as_one(loop: Loop, clock: ManualClock) -> None:
    fired: list[str] = []
    with loop.timer(1.0, 1.0) as timer:
        timer.start(fired.append, "due")
        clock.advance(10.0)
        loop.run(nowait=True)
        assert len(fired) == 1
        loop.run(nowait=True)
        assert len(fired) == 2
        loop.run(nowait=True)
        assert len(fired) == 2


def test_a_repeating_timer_keeps_the_loop_running_until_it_is_stopped(loop: Loop) -> None:
    fired: list[int] = []
    timer = loop.timer(0.0, 0.0001)

    def count() -> None:
        fired.append(len(fired))
        if len(fired) == 5:
            timer.stop()

    timer.start(count)
    assert loop.run() is False
    assert fired == [0, 1, 2, 3, 4]


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


def test_again_on_a_one_shot_starts_it_afresh(loop: Loop, clock: ManualClock) -> None:
    fired: list[str] = []
    with loop.timer(2.0) as timer:
        timer.again(fired.append, "due")
        clock.advance(1.0)
        timer.again(fired.append, "due")
        clock.advance(1.0)
        loop.run(nowait=True)
        assert fired == []
        clock.advance(1.0)
        loop.run(nowait=True)
        assert fired == ["due"]


def test_again_with_something_that_cannot_be_called_leaves_the_timer_as_it_was(loop: Loop) -> None:
    with loop.timer(2.0, 2.0) as timer:
        timer.start(print, "kept")
        with pytest.raises(TypeError, match="must be callable"):
            timer.again(None)  # type: ignore[arg-type]
        assert timer.active
        assert timer.args == ("kept",)


@pytest.mark.parametrize("repeat", [-1.0, -0.001, math.nan, -math.inf])
def test_a_negative_repeat_is_refused(loop: Loop, repeat: float) -> None:
    with pytest.raises(ValueError, match=r"repeat must be 0 \(once\) or a positive number of seconds"):
        loop.timer(1.0, repeat)


def test_a_delay_that_is_no_number_is_refused(loop: Loop) -> None:
    wrong: Any = "soon"
    with pytest.raises(TypeError, match="after must be a number of seconds, got 'soon'"):
        loop.timer(wrong)
    with pytest.raises(ValueError, match="got nan"):
        loop.timer(math.nan)


def test_a_timer_that_is_never_due_keeps_the_loop_from_returning_but_not_from_turning(loop: Loop) -> None:
    with loop.timer(math.inf) as timer:
        timer.start(print)
        assert loop.run(nowait=True) is True
        assert timer.at == math.inf


@on_fake
def test_the_loop_sleeps_until_the_nearest_deadline(loop: Loop, clock: ManualClock) -> None:
    begin = clock()
    fired: list[float] = []
    for after in (3.0, 0.5, 86400.0):
        loop.timer(after).start(lambda: fired.append(clock() - begin))
    loop.run()
    assert fired == [0.5, 3.0, 86400.0]


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


@on_fake
def test_an_unreferenced_timer_fires_while_something_else_keeps_the_loop_running(
    loop: Loop, clock: ManualClock
) -> None:
    fired: list[str] = []
    loop.timer(2.0).start(fired.append, "referenced")
    loop.timer(1.0, ref=False).start(fired.append, "unreferenced")
    with loop.timer(3.0, ref=False) as too_late:
        too_late.start(fired.append, "never")
        loop.run()
    assert fired == ["unreferenced", "referenced"]


def test_priorities_order_the_timers_of_one_turn(loop: Loop, clock: ManualClock) -> None:
    fired: list[str] = []
    for name, priority in (("low", -1), ("normal", None), ("high", 1), ("highest", 2), ("normal too", 0)):
        loop.timer(1.0, priority=priority).start(fired.append, name)
    clock.advance(1.0)
    loop.run(nowait=True)
    assert fired == ["highest", "high", "normal", "normal too", "low"]


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


@dataclass
class Modelled:
    """A timer and what a sorted list says of it: its deadline and the number of its start."""

    timer: Timer
    after: int
    repeat: int
    deadline: float | None = None
    number: int = 0


step = st.one_of(
    st.tuples(st.just("new"), st.integers(-1, 5), st.integers(0, 4)),
    st.tuples(st.sampled_from(["start", "stop", "again", "close"]), st.integers(0, 8), st.just(0)),
    st.tuples(st.just("advance"), st.integers(0, 6), st.just(0)),
)


@settings(deadline=None)
@given(st.lists(step, max_size=60))
def test_timers_behave_as_a_sorted_list_does(script: list[tuple[str, int, int]]) -> None:
    clock = ManualClock()
    loop = Loop(poller=FakePoller(clock), clock=clock)
    timers: list[Modelled] = []
    fired: list[Modelled] = []
    number = 0
    try:
        for action, value, repeat in script:
            number += 1
            entry = timers[value] if 0 <= value < len(timers) else None
            if action == "new":
                timers.append(Modelled(loop.timer(value, repeat), value, repeat))
            elif action == "advance":
                clock.advance(value)
                fired.clear()
                loop.run(nowait=True)
                due = [t for t in timers if t.deadline is not None and t.deadline <= clock()]
                due.sort(key=lambda t: (t.deadline, t.number))
                assert [id(t) for t in fired] == [id(t) for t in due]
                for t in due:
                    assert t.deadline is not None
                    number += 1
                    t.number = number
                    t.deadline = max(t.deadline + t.repeat, clock()) if t.repeat else None
            elif entry is not None and not entry.timer.closed:
                if action == "start":
                    entry.timer.start(fired.append, entry)
                    if entry.deadline is None:
                        entry.deadline, entry.number = clock() + entry.after, number
                elif action == "again":
                    entry.timer.again(fired.append, entry)
                    entry.deadline, entry.number = clock() + (entry.repeat or entry.after), number
                else:
                    (entry.timer.stop if action == "stop" else entry.timer.close)()
                    entry.deadline = None
            active = [t for t in timers if t.deadline is not None]
            assert [t.timer.at for t in timers] == [t.deadline for t in timers]
            assert [t for t in timers if t.timer.active] == active
            assert len(loop._timers) == loop.activecnt == len(active)
    finally:
        loop.destroy()


def test_the_clock_of_a_loop_is_monotonic_unless_told_otherwise() -> None:
    loop = Loop("select")
    try:
        before = time.monotonic()
        loop.update_now()
        assert before <= loop.now() <= time.monotonic()
    finally:
        loop.destroy()
