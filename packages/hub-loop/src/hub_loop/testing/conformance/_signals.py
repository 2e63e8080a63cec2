"""Signal watchers: who is told, how soon, and what is put back afterwards.

A watcher of a signal has Python's handler for it aside as long as it is active; every test leaves a harmless one there,
so that a loop that gets it wrong fails the test and does not end the process.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from hub_api import ILoop, ILoopCore
from hub_loop.testing.conformance._kit import LoopKit, WhenAsleep, turn

ONE, TWO = signal.SIGUSR1, signal.SIGUSR2


class Signals(LoopKit):
    """`signal`."""

    @pytest.fixture
    def handled(self) -> Iterator[list[int]]:
        """The signals of the test that reached the handlers that were there before."""
        seen: list[int] = []

        def note(signum: int, frame: object) -> None:
            seen.append(signum)

        before = {signum: signal.signal(signum, note) for signum in (ONE, TWO)}
        yield seen
        for signum, handler in before.items():
            signal.signal(signum, handler)

    @pytest.fixture
    def signal_loop(self, handled: list[int], loop: ILoopCore) -> Iterator[ILoop]:
        """The loop, if it watches signals; destroyed before the handlers go."""
        yield self.offering(loop, "signal")
        loop.destroy()

    def test_a_watcher_is_called_after_its_signal(self, signal_loop: ILoop) -> None:
        called: list[str] = []
        with signal_loop.signal(ONE) as watcher:
            watcher.start(called.append, "told")
            turn(signal_loop)
            assert called == []
            signal.raise_signal(ONE)
            turn(signal_loop)
            assert called == ["told"]
            turn(signal_loop)
        assert called == ["told"]

    def test_a_signal_ends_a_blocking_poll(self, signal_loop: ILoop, when_asleep: WhenAsleep) -> None:
        called: list[str] = []
        with signal_loop.signal(ONE) as watcher:
            watcher.start(called.append, "told")
            when_asleep(lambda: os.kill(os.getpid(), ONE))
            while not called:
                signal_loop.run(once=True)
        assert called == ["told"]

    def test_a_signal_that_comes_while_the_loop_does_not_run_is_told_by_the_next_run(self, signal_loop: ILoop) -> None:
        called: list[str] = []
        with signal_loop.signal(ONE) as watcher:
            watcher.start(called.append, "told")
            signal.raise_signal(ONE)
            assert called == []
            signal_loop.run(once=True)
        assert called == ["told"]

    def test_the_callback_runs_in_the_turn_and_not_in_the_signal_handler(self, signal_loop: ILoop) -> None:
        order: list[str] = []
        with signal_loop.signal(ONE) as watcher:
            watcher.start(order.append, "signal")

            def raise_it() -> None:
                signal.raise_signal(ONE)
                order.append("callback")

            signal_loop.run_callback(raise_it)
            turn(signal_loop)
            turn(signal_loop)
        assert order == ["callback", "signal"]

    def test_signals_before_the_callback_count_as_one(self, signal_loop: ILoop) -> None:
        called: list[str] = []
        with signal_loop.signal(ONE) as watcher:
            watcher.start(called.append, "told")
            for _ in range(5):
                signal.raise_signal(ONE)
            assert watcher.pending
            assert signal_loop.pendingcnt == 1
            turn(signal_loop)
            turn(signal_loop)
        assert called == ["told"]

    def test_a_watcher_is_called_for_each_signal_that_comes_after_its_callback(self, signal_loop: ILoop) -> None:
        called: list[str] = []
        with signal_loop.signal(ONE) as watcher:
            watcher.start(called.append, "told")
            for _ in range(3):
                signal.raise_signal(ONE)
                turn(signal_loop)
        assert called == ["told"] * 3

    def test_several_watchers_of_one_signal_are_all_told_in_the_order_of_their_starts(self, signal_loop: ILoop) -> None:
        called: list[int] = []
        watchers = [signal_loop.signal(ONE) for _ in range(3)]
        for number in (1, 0, 2):
            watchers[number].start(called.append, number)
        signal.raise_signal(ONE)
        turn(signal_loop)
        assert called == [1, 0, 2]
        watchers[1].stop()  # the first of them: the others go on
        signal.raise_signal(ONE)
        turn(signal_loop)
        for watcher in watchers:
            watcher.close()
        assert called == [1, 0, 2, 0, 2]

    def test_watchers_of_different_signals_are_told_each_of_its_own(self, signal_loop: ILoop) -> None:
        called: list[str] = []
        with signal_loop.signal(ONE) as one, signal_loop.signal(TWO) as two:
            one.start(called.append, "one")
            two.start(called.append, "two")
            signal.raise_signal(TWO)
            turn(signal_loop)
        assert called == ["two"]

    def test_watchers_of_one_signal_are_called_by_priority(self, signal_loop: ILoop) -> None:
        called: list[str] = []
        low, high = signal_loop.MINPRI, signal_loop.MAXPRI
        with signal_loop.signal(ONE, priority=low) as last, signal_loop.signal(ONE, priority=high) as first:
            last.start(called.append, "last")
            first.start(called.append, "first")
            signal.raise_signal(ONE)
            turn(signal_loop)
        assert called == (["first", "last"] if high > low else ["last", "first"])

    def test_the_handler_that_was_there_is_put_back_by_stop(self, signal_loop: ILoop, handled: list[int]) -> None:
        before = signal.getsignal(ONE)
        with signal_loop.signal(ONE) as watcher:
            watcher.start(print, "never")
            watcher.stop()
            assert signal.getsignal(ONE) is before
            signal.raise_signal(ONE)
            turn(signal_loop)
        assert handled == [ONE]

    def test_the_handler_is_put_back_by_the_last_stop_only(self, signal_loop: ILoop, handled: list[int]) -> None:
        before = signal.getsignal(ONE)
        called: list[str] = []
        with signal_loop.signal(ONE) as first, signal_loop.signal(ONE) as second:
            first.start(called.append, "first")
            second.start(called.append, "second")
            first.stop()
            signal.raise_signal(ONE)
            turn(signal_loop)
            assert called == ["second"]
            second.stop()
        assert signal.getsignal(ONE) is before

    def test_the_handler_is_put_back_by_destroy(self, signal_loop: ILoop) -> None:
        before = signal.getsignal(ONE)
        signal_loop.signal(ONE).start(print, "never")
        signal_loop.destroy()
        assert signal.getsignal(ONE) is before

    def test_a_signal_that_nobody_watches_is_not_touched(self, signal_loop: ILoop, handled: list[int]) -> None:
        with signal_loop.signal(ONE) as watcher:
            watcher.start(print, "never")
            signal.raise_signal(TWO)
            turn(signal_loop)
        assert handled == [TWO]

    def test_a_watcher_may_be_started_and_stopped_again_and_again(self, signal_loop: ILoop) -> None:
        before = signal.getsignal(ONE)
        called: list[int] = []
        with signal_loop.signal(ONE) as watcher:
            for number in range(3):
                watcher.start(called.append, number)
                signal.raise_signal(ONE)
                turn(signal_loop)
                watcher.stop()
                assert signal.getsignal(ONE) is before
        assert called == [0, 1, 2]

    def test_a_watcher_names_its_signal(self, signal_loop: ILoop) -> None:
        with signal_loop.signal(TWO) as watcher:
            assert watcher.signum == TWO

    @pytest.mark.parametrize("wrong", [0, -1, 100_000])
    def test_a_number_that_is_no_signal_is_refused(self, signal_loop: ILoop, wrong: int) -> None:
        with pytest.raises(ValueError):
            signal_loop.signal(wrong)

    def test_a_signal_must_be_a_number(self, signal_loop: ILoop) -> None:
        wrong: Any = "SIGUSR1"
        with pytest.raises(TypeError):
            signal_loop.signal(wrong)
