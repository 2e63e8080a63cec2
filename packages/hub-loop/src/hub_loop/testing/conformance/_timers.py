"""Timers: never early, due in the order of their deadlines, and what start, stop and again mean.

Deadlines that are to be compared are counted from one reading of the clock: `start(..., update=False)`.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import pytest

from hub_api import ILoopCore
from hub_loop.testing.conformance._kit import TICK, LoopKit, all_of, turn


class Timers(LoopKit):
    """`timer`, and the `start` and `again` of what it makes."""

    def test_a_timer_is_never_early(self, loop: ILoopCore) -> None:
        early: list[float] = []

        def note(due: float) -> None:
            early.append(due - self.time())

        for after in (0.0, 0.0004, 0.001, 0.0017, 3 * TICK):
            loop.timer(after).start(note, self.time() + after)
        loop.run()
        assert len(early) == 5
        assert max(early) <= 0.0

    def test_a_timer_fires_once(self, loop: ILoopCore) -> None:
        fired: list[str] = []
        timer = loop.timer(TICK)
        timer.start(fired.append, "due")
        loop.run()
        self.pass_time(2 * TICK)
        turn(loop)
        assert fired == ["due"]

    def test_a_timer_that_has_fired_is_idle(self, loop: ILoopCore) -> None:
        timer = loop.timer(TICK)
        timer.start(int)
        assert timer.active
        loop.run()
        assert not timer.active
        assert not timer.closed
        assert timer.callback is None
        assert timer.args is None
        assert loop.activecnt == 0

    def test_a_one_shot_timer_is_idle_already_in_its_callback(self, loop: ILoopCore) -> None:
        seen: list[bool] = []
        timer = loop.timer(0.0)
        timer.start(lambda: seen.append(timer.active))
        loop.run()
        assert seen == [False]

    def test_a_stopped_timer_never_fires(self, loop: ILoopCore) -> None:
        timer = loop.timer(TICK)
        fired: list[str] = []
        timer.start(fired.append, "late")
        timer.stop()
        self.pass_time(2 * TICK)
        turn(loop)
        assert fired == []

    def test_a_stopped_timer_does_not_keep_run_from_returning(self, loop: ILoopCore) -> None:
        timer = loop.timer(3600.0)
        timer.start(print, "never")
        turn(loop)  # by now it has its place among the deadlines
        timer.stop()
        assert loop.run() is False

    def test_equal_deadlines_fire_first_in_first_out(self, loop: ILoopCore) -> None:
        fired: list[int] = []
        for number in range(50):
            loop.timer(TICK).start(fired.append, number, update=False)
        loop.run()
        assert fired == list(range(50))

    def test_timers_fire_in_the_order_of_their_deadlines(self, loop: ILoopCore) -> None:
        fired: list[float] = []
        for after in (3.0, 1.0, 2.0, -1.0, 0.0, 1.5):
            loop.timer(after * TICK).start(fired.append, after, update=False)
        self.pass_time(4 * TICK)
        turn(loop)
        assert fired == [-1.0, 0.0, 1.0, 1.5, 2.0, 3.0]

    def test_the_loop_sleeps_until_the_nearest_deadline(self, loop: ILoopCore) -> None:
        fired: list[str] = []
        begin = self.time()
        with loop.timer(3600.0) as late, loop.timer(4 * TICK) as near:
            late.start(print, "never")
            near.start(fired.append, "near", update=False)
            while not fired:
                loop.run(once=True)
            assert late.active
        assert self.time() >= begin + 4 * TICK

    def test_timers_that_are_due_in_one_turn_all_fire_in_it(self, loop: ILoopCore) -> None:
        fired: list[int] = []
        for number in range(30):
            loop.timer(number * TICK / 30).start(fired.append, number, update=False)
        self.pass_time(2 * TICK)
        turn(loop)
        assert fired == list(range(30))

    def test_a_timer_without_delay_fires_in_the_next_turn_after_callbacks_queued_before(self, loop: ILoopCore) -> None:
        order: list[str] = []
        loop.run_callback(order.append, "callback")
        loop.timer(0.0).start(order.append, "timer")
        loop.run(nowait=True)
        assert order == ["callback", "timer"]

    def test_a_negative_delay_is_due_at_once(self, loop: ILoopCore) -> None:
        fired: list[str] = []
        loop.timer(-5.0).start(fired.append, "due")
        turn(loop)
        assert fired == ["due"]

    def test_a_timer_that_a_callback_starts_is_counted_from_the_clock_and_not_from_the_turn(
        self, loop: ILoopCore
    ) -> None:
        started: list[float] = []
        fired: list[float] = []
        timer = loop.timer(2 * TICK)

        def work() -> None:
            self.pass_time(4 * TICK)  # the loop's own reading of the clock is that old by now
            started.append(self.time())
            timer.start(lambda: fired.append(self.time()))

        loop.run_callback(work)
        loop.run()
        assert fired[0] >= started[0] + 2 * TICK

    def test_a_timer_started_without_update_counts_from_the_cached_time(self, loop: ILoopCore) -> None:
        fired: list[str] = []
        cached = loop.now()
        self.pass_time(2 * TICK)
        loop.timer(TICK).start(fired.append, "due", update=False)
        assert loop.now() == cached
        turn(loop)
        assert fired == ["due"]

    def test_a_timer_started_with_update_reads_the_clock(self, loop: ILoopCore) -> None:
        fired: list[str] = []
        cached = loop.now()
        self.pass_time(2 * TICK)
        with loop.timer(3600.0) as timer:
            timer.start(fired.append, "never", update=True)
            assert loop.now() >= cached + 2 * TICK

    def test_a_timer_that_a_timer_starts_without_delay_fires_in_a_later_turn(self, loop: ILoopCore) -> None:
        order: list[str] = []

        def first() -> None:
            order.append("first")
            loop.timer(0.0).start(order.append, "second")

        loop.timer(0.0).start(first)
        turn(loop)
        assert order == ["first"]
        turn(loop)
        assert order == ["first", "second"]

    def test_a_timer_restarted_after_stop_starts_its_full_duration(self, loop: ILoopCore) -> None:
        fired: list[float] = []
        with loop.timer(4 * TICK) as timer:
            timer.start(print, "never")
            self.pass_time(3 * TICK)
            timer.stop()
            begin = self.time()
            timer.start(lambda: fired.append(self.time()))
            loop.run()
        assert fired[0] >= begin + 4 * TICK

    def test_a_timer_that_has_fired_can_be_started_again(self, loop: ILoopCore) -> None:
        fired: list[int] = []
        timer = loop.timer(TICK)
        for number in range(3):
            begin = self.time()
            timer.start(fired.append, number)
            loop.run()
            assert self.time() >= begin + TICK
        assert fired == [0, 1, 2]

    def test_a_one_shot_started_again_in_its_callback_fires_again(self, loop: ILoopCore) -> None:
        fired: list[str] = []
        timer = loop.timer(TICK)

        def again() -> None:
            fired.append("first")
            timer.start(fired.append, "second")

        timer.start(again)
        loop.run()
        assert fired == ["first", "second"]
        assert not timer.active

    def test_starting_an_active_timer_does_not_move_its_deadline(self, loop: ILoopCore) -> None:
        fired: list[str] = []
        timer, reference = loop.timer(2 * TICK), loop.timer(2 * TICK)
        timer.start(print, "never", update=False)
        self.pass_time(TICK)
        reference.start(fired.append, "reference")
        timer.start(fired.append, "timer")
        loop.run()
        assert fired == ["timer", "reference"]

    def test_a_timer_stopped_by_another_that_is_due_in_the_same_turn_does_not_fire(self, loop: ILoopCore) -> None:
        fired: list[str] = []
        first, second = loop.timer(TICK), loop.timer(TICK)
        first.start(all_of(partial(fired.append, "first"), second.stop), update=False)
        second.start(fired.append, "second", update=False)
        loop.run()
        assert fired == ["first"]

    def test_a_due_timer_is_pending_until_its_callback(self, loop: ILoopCore) -> None:
        seen: list[bool] = []
        first, second = loop.timer(TICK), loop.timer(TICK)
        first.start(lambda: seen.append(second.pending), update=False)
        second.start(lambda: seen.append(second.pending), update=False)
        self.pass_time(2 * TICK)
        turn(loop)
        assert seen == [True, False]

    # -- repeating --------------------------------------------------------------------------------------------------

    def test_a_repeating_timer_fires_until_it_is_stopped(self, loop: ILoopCore) -> None:
        fired: list[float] = []
        begin = self.time()
        timer = loop.timer(2 * TICK, TICK)

        def count() -> None:
            assert timer.active
            fired.append(self.time())
            if len(fired) == 4:
                timer.stop()

        timer.start(count)
        assert loop.run() is False
        assert len(fired) == 4
        for number, when in enumerate(fired):
            assert when >= begin + (2 + number) * TICK - 1e-9  # the loop may add up in another order

    def test_missed_repetitions_count_as_one(self, loop: ILoopCore) -> None:
        fired: list[str] = []
        with loop.timer(TICK, TICK) as timer:
            timer.start(fired.append, "due")
            self.pass_time(10 * TICK)
            turn(loop)
            assert fired == ["due"]

    def test_a_repeating_timer_keeps_its_callback_and_its_arguments(self, loop: ILoopCore) -> None:
        fired: list[str] = []
        with loop.timer(0.0, TICK) as timer:
            timer.start(fired.append, "due")
            while len(fired) < 3:
                loop.run(once=True)
            assert timer.args == ("due",)
            assert loop.activecnt == 1

    def test_a_repeating_timer_that_raises_goes_on(self, loop: ILoopCore, capsys: pytest.CaptureFixture[str]) -> None:
        fired: list[str] = []

        def fail() -> None:
            fired.append("due")
            raise ZeroDivisionError("on purpose")

        with loop.timer(0.0, TICK) as timer:
            timer.start(fail)
            while len(fired) < 3:
                loop.run(once=True)
            assert timer.active
        assert capsys.readouterr().err.count("ZeroDivisionError: on purpose") == 3

    def test_again_puts_a_repeating_timer_off_by_its_interval(self, loop: ILoopCore) -> None:
        fired: list[float] = []
        with loop.timer(0.0, 4 * TICK) as timer:
            timer.start(print, "never")
            begin = self.time()
            timer.again(lambda: fired.append(self.time()))
            assert loop.activecnt == 1
            while not fired:
                loop.run(once=True)
        assert fired[0] >= begin + 4 * TICK

    def test_again_on_a_one_shot_starts_it_afresh(self, loop: ILoopCore) -> None:
        fired: list[float] = []
        with loop.timer(4 * TICK) as timer:
            timer.again(print, "never")
            self.pass_time(3 * TICK)
            begin = self.time()
            timer.again(lambda: fired.append(self.time()))
            loop.run()
        assert len(fired) == 1
        assert fired[0] >= begin + 4 * TICK

    def test_again_with_something_that_cannot_be_called_leaves_the_timer_as_it_was(self, loop: ILoopCore) -> None:
        wrong: Any = None
        with loop.timer(3600.0, 3600.0) as timer:
            timer.start(print, "kept")
            with pytest.raises(TypeError):
                timer.again(wrong)
            assert timer.active
            assert timer.args == ("kept",)

    # -- odd delays -------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("repeat", [-1.0, -0.001, math.nan, -math.inf])
    def test_a_negative_repeat_is_refused(self, loop: ILoopCore, repeat: float) -> None:
        with pytest.raises(ValueError):
            loop.timer(1.0, repeat)

    def test_a_delay_that_is_no_number_is_refused(self, loop: ILoopCore) -> None:
        wrong: Any = "soon"
        with pytest.raises(TypeError):
            loop.timer(wrong)
        with pytest.raises(TypeError):
            loop.timer(1.0, wrong)
        with pytest.raises(ValueError):
            loop.timer(math.nan)

    def test_a_timer_that_is_never_due_keeps_the_loop_from_returning_but_not_from_turning(
        self, loop: ILoopCore
    ) -> None:
        with loop.timer(math.inf) as timer:
            timer.start(print, "never")
            assert loop.run(nowait=True) is True
            assert timer.active

    def test_whole_numbers_are_delays_as_well(self, loop: ILoopCore) -> None:
        fired: list[str] = []
        loop.timer(0).start(fired.append, "due")
        loop.run()
        assert fired == ["due"]

    def test_an_unreferenced_timer_fires_while_something_else_keeps_the_loop_running(self, loop: ILoopCore) -> None:
        fired: list[str] = []
        with loop.timer(3600.0, ref=False) as too_late:
            too_late.start(fired.append, "never")
            loop.timer(TICK, ref=False).start(fired.append, "unreferenced", update=False)
            loop.timer(2 * TICK).start(fired.append, "referenced", update=False)
            loop.run()
        assert fired == ["unreferenced", "referenced"]

    def test_many_timers_started_and_stopped_disturb_nobody(self, loop: ILoopCore) -> None:
        fired: list[int] = []
        timers = [loop.timer((number % 7) * TICK) for number in range(700)]
        for number, timer in enumerate(timers):
            timer.start(fired.append, number, update=False)
        turn(loop)  # those without delay fire, and the others have their places among the deadlines
        stopped = {number for number in range(0, 700, 3) if number not in fired}
        for number in stopped:
            timers[number].stop()
        loop.run()
        assert fired == sorted(set(range(700)) - stopped, key=lambda number: (number % 7, number))
