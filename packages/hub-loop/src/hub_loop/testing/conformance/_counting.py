"""Counting: what a loop tells of what it has done."""

from __future__ import annotations

import threading
from typing import cast

import pytest

from hub_api import ICountingLoop, ILoopCore
from hub_loop.testing.conformance._kit import TICK, LoopKit, turn


class Counting(LoopKit):
    """All of `hub_api.ICountingLoop`, which a core need not be."""

    @pytest.fixture
    def counting(self, loop: ILoopCore) -> ICountingLoop:
        """The same loop as one that counts."""
        return cast(ICountingLoop, loop)

    def test_a_turn_is_one_iteration(self, counting: ICountingLoop) -> None:
        before = counting.iteration
        for _ in range(5):
            turn(counting)
        assert counting.iteration == before + 5

    def test_each_callback_and_each_event_is_one_call(self, counting: ICountingLoop) -> None:
        before = counting.calls
        for _ in range(120):
            counting.run_callback(int)
        counting.run_callback(int).stop()
        for _ in range(60):
            counting.timer(TICK).start(int)
        counting.run()
        assert counting.calls == before + 181

    def test_sleep_is_counted_and_work_is_not(self, counting: ICountingLoop) -> None:
        counting.timer(5 * TICK).start(self.pass_time, 5 * TICK)
        counting.run()
        slept, began = counting.polled
        assert began is None
        assert 0.0 < slept <= counting.clock() - counting.made_at - 5 * TICK + 1e-6  # times are floats

    def test_a_poll_that_is_not_to_wait_is_no_sleep(self, counting: ICountingLoop) -> None:
        with counting.timer(TICK) as timer:
            timer.start(int)
            turn(counting)
            assert counting.polled == (0.0, None)

    def test_the_clock_goes_on_between_turns(self, counting: ICountingLoop) -> None:
        before = counting.clock()
        self.pass_time(TICK)
        assert counting.clock() >= before + TICK

    def test_progress_is_made_by_each_call_and_by_nothing_that_others_post(self, counting: ICountingLoop) -> None:
        seen: list[object] = []

        def look() -> None:
            seen.append(counting.progress())
            post = threading.Thread(target=counting.run_callback_threadsafe, args=(int,))
            post.start()
            post.join()
            assert counting.progress() == seen[-1]

        counting.run_callback(look)
        counting.run_callback(look)
        counting.run()
        turn(counting)
        assert len(seen) == 2
        assert None not in seen
        assert seen[0] != seen[1]

    def test_all_of_it_can_be_asked_in_another_thread_and_after_the_end(self, counting: ICountingLoop) -> None:
        told: list[object] = []

        def ask() -> None:
            told.append((counting.iteration, counting.calls, counting.polled, counting.made_at, counting.progress()))
            counting.clock()

        turn(counting)
        reader = threading.Thread(target=ask)
        reader.start()
        reader.join()
        counting.destroy()
        ask()
        assert told[0] == told[1]
