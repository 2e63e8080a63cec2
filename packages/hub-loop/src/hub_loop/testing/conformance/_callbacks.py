"""Callbacks: what `run_callback` returns, in which order what was queued runs, and that a batch has an end."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from hub_api import READ, ICallback, ILoopCore
from hub_loop.testing.conformance._kit import TICK, LoopKit, Wire, in_thread, turn


class Callbacks(LoopKit):
    """`run_callback` and the object that it returns."""

    def test_callbacks_run_once_each_first_in_first_out(self, loop: ILoopCore) -> None:
        ran: list[int] = []
        for number in range(200):
            loop.run_callback(ran.append, number)
        loop.run()
        assert ran == list(range(200))
        loop.run()
        assert ran == list(range(200))

    def test_a_callback_is_never_run_by_the_call_that_queues_it(self, loop: ILoopCore) -> None:
        ran: list[str] = []
        loop.run_callback(ran.append, "ran")
        loop.run_callback_threadsafe(ran.append, "ran too")
        assert ran == []
        loop.run()
        assert ran == ["ran", "ran too"]

    def test_a_callback_gets_what_it_was_given(self, loop: ILoopCore) -> None:
        seen: list[tuple[object, ...]] = []

        def note(*args: object) -> None:
            seen.append(args)

        loop.run_callback(note)
        loop.run_callback(note, 1, "two", None)
        loop.run()
        assert seen == [(), (1, "two", None)]

    def test_a_callback_is_pending_until_it_starts_and_true_until_it_has_run(self, loop: ILoopCore) -> None:
        states: list[tuple[bool, bool]] = []

        def look(argument: str) -> None:
            states.append((callback.pending, bool(callback)))

        callback = loop.run_callback(look, "argument")
        assert (callback.pending, bool(callback)) == (True, True)
        loop.run()
        assert states == [(False, True)]
        assert (callback.pending, bool(callback)) == (False, False)

    def test_a_callback_names_its_function_until_it_starts_and_its_arguments_until_it_has_run(
        self, loop: ILoopCore
    ) -> None:
        seen: list[object] = []

        def look(*args: object) -> None:
            seen.extend([callback.callback, callback.args])

        argument = ["kept as it is"]
        callback = loop.run_callback(look, argument)
        assert callback.callback is look
        assert callback.args is not None
        assert callback.args[0] is argument
        loop.run()
        assert seen == [None, (argument,)]
        assert callback.callback is None
        assert callback.args is None

    @pytest.mark.parametrize("end", ["stop", "close"])
    def test_a_stopped_callback_does_not_run_and_can_be_stopped_again(self, loop: ILoopCore, end: str) -> None:
        ran: list[str] = []
        callback = loop.run_callback(ran.append, "stopped")
        loop.run_callback(ran.append, "other")
        stop: Callable[[], None] = getattr(callback, end)
        stop()
        stop()
        assert not callback
        assert not callback.pending
        assert callback.callback is None
        assert callback.args is None
        loop.run()
        assert ran == ["other"]

    def test_a_callback_can_be_stopped_by_one_that_runs_before_it(self, loop: ILoopCore) -> None:
        ran: list[str] = []
        stopped: list[ICallback] = []
        loop.run_callback(lambda: stopped[0].stop())
        stopped.append(loop.run_callback(ran.append, "stopped"))
        loop.run()
        assert ran == []

    def test_a_stopped_callback_still_counts_until_it_leaves_the_queue(self, loop: ILoopCore) -> None:
        loop.run_callback(print, "never").stop()
        assert loop.pendingcnt == 1
        assert loop.run() is False
        assert loop.pendingcnt == 0

    def test_stopping_a_callback_while_it_runs_does_no_harm(self, loop: ILoopCore) -> None:
        ran: list[str] = []

        def stop_itself() -> None:
            callback.stop()
            ran.append("stopped itself")

        callback = loop.run_callback(stop_itself)
        loop.run_callback(ran.append, "next")
        loop.run()
        assert ran == ["stopped itself", "next"]

    def test_stopping_a_callback_that_has_run_does_no_harm(self, loop: ILoopCore) -> None:
        ran: list[str] = []
        callback = loop.run_callback(ran.append, "ran")
        loop.run()
        callback.stop()
        loop.run_callback(ran.append, "next")
        loop.run()
        assert ran == ["ran", "next"]

    def test_a_callback_that_a_callback_queues_runs_in_the_same_batch(self, loop: ILoopCore) -> None:
        ran: list[str] = []

        def first() -> None:
            ran.append("first")
            loop.run_callback(ran.append, "queued by the first")

        loop.run_callback(first)
        loop.run_callback(ran.append, "second")
        turn(loop)
        assert ran == ["first", "second", "queued by the first"]

    def test_a_function_queued_twice_runs_twice_and_each_can_be_stopped_by_itself(self, loop: ILoopCore) -> None:
        ran: list[str] = []
        made = [loop.run_callback(ran.append, "x") for _ in range(3)]
        made[1].stop()
        loop.run()
        assert ran == ["x", "x"]
        assert len(set(map(id, made))) == 3

    def test_a_chain_of_callbacks_does_not_grow_the_stack(self, loop: ILoopCore) -> None:
        left = 5_000

        def next_one() -> None:
            nonlocal left
            left -= 1
            if left:
                loop.run_callback(next_one)

        loop.run_callback(next_one)
        loop.run()
        assert left == 0

    def test_nothing_is_kept_of_a_callback_that_has_run_or_was_stopped(self, loop: ILoopCore) -> None:
        class Argument:
            pass

        def queue(stopped: bool) -> tuple[ICallback, weakref.ref[Argument]]:
            argument = Argument()
            callback = loop.run_callback(lambda it: None, argument)
            if stopped:
                callback.stop()
            return callback, weakref.ref(argument)

        ran, stopped = queue(stopped=False), queue(stopped=True)
        loop.run()
        gc.collect()
        assert ran[1]() is None
        assert stopped[1]() is None

    def test_a_callback_keeps_run_from_returning_until_it_has_run(self, loop: ILoopCore) -> None:
        loop.run_callback(loop.break_)
        for _ in range(3):
            loop.run_callback(int)
        assert loop.activecnt == 4
        loop.run()
        loop.run()
        assert loop.activecnt == 0

    def test_what_is_not_callable_is_refused_at_the_call(self, loop: ILoopCore) -> None:
        for untyped in list[Any](["text", None]):
            with pytest.raises(TypeError):
                loop.run_callback(untyped)
            with pytest.raises(TypeError):
                loop.run_callback_threadsafe(untyped)
        assert loop.pendingcnt == 0

    # -- a batch has an end -----------------------------------------------------------------------------------------

    def _burn_until(self, loop: ILoopCore, done: Callable[[], bool]) -> None:
        """Callbacks that queue themselves, and burn time, until something else has happened."""

        def burn() -> None:
            if self.clock is not None:
                self.clock.advance(0.001)
            if not done():
                loop.run_callback(burn)

        loop.run_callback(burn)
        loop.run()

    def test_callbacks_that_queue_themselves_do_not_starve_the_poll(self, loop: ILoopCore) -> None:
        polls: list[str] = []
        with loop.check() as check:

            def polled() -> None:
                polls.append("polled")
                if len(polls) == 4:
                    check.stop()

            check.start(polled)
            self._burn_until(loop, lambda: len(polls) == 4)
        assert len(polls) == 4

    def test_callbacks_that_queue_themselves_do_not_starve_timers(self, loop: ILoopCore) -> None:
        fired: list[str] = []
        with loop.timer(TICK) as timer:
            timer.start(fired.append, "due")
            self._burn_until(loop, lambda: bool(fired))
        assert fired == ["due"]

    def test_callbacks_that_queue_themselves_do_not_starve_fds(self, loop: ILoopCore, wire: Wire) -> None:
        read: list[bytes] = []
        with loop.io(wire.fd, READ) as reader:

            def read_and_stop() -> None:
                read.append(wire.read())
                reader.stop()

            reader.start(read_and_stop)
            wire.send()
            self._burn_until(loop, lambda: bool(read))
        assert read == [b"x"]

    def test_callbacks_that_queue_themselves_do_not_starve_other_threads(self, loop: ILoopCore) -> None:
        ran: list[str] = []
        loop.run_callback(lambda: in_thread(lambda: loop.run_callback_threadsafe(ran.append, "posted")))
        self._burn_until(loop, lambda: bool(ran))
        assert ran == ["posted"]

    def test_a_long_queue_is_worked_off_over_several_turns_in_order(self, loop: ILoopCore) -> None:
        ran: list[int] = []
        turns: list[str] = []

        def work(number: int) -> None:
            self.pass_time(0.0001)
            ran.append(number)

        with loop.prepare(ref=False) as prepare:
            prepare.start(turns.append, "turn")
            for number in range(600):
                loop.run_callback(work, number)
            loop.run()
        assert ran == list(range(600))
        assert len(turns) > 1
