"""Errors: what callbacks and handlers raise, who is told, and what of it leaves `run`."""

from __future__ import annotations

import io
import sys
from typing import Any

import pytest

from hub_api import HubDestroyed, ILoopCore
from hub_loop.testing.conformance._kit import TICK, ErrorLog, LoopKit, fail, turn


class Errors(LoopKit):
    """`error_handler`, `handle_error`, and a loop that goes on."""

    def test_an_exception_goes_to_the_handler_with_the_callback_and_the_batch_goes_on(self, loop: ILoopCore) -> None:
        errors, ran = ErrorLog(), list[str]()
        loop.error_handler = errors
        error = ZeroDivisionError("on purpose")
        callback = loop.run_callback(fail, error)
        loop.run_callback(ran.append, "next")
        loop.run()
        assert errors.seen == [(callback, error)]
        assert ran == ["next"]

    def test_a_callback_that_raised_is_neither_pending_nor_true(self, loop: ILoopCore) -> None:
        loop.error_handler = ErrorLog()
        callback = loop.run_callback(fail, ZeroDivisionError())
        loop.run()
        assert not callback
        assert not callback.pending
        assert callback.args is None

    def test_the_handler_gets_the_traceback_of_the_callback(self, loop: ILoopCore) -> None:
        seen: list[object] = []

        class Handler:
            def handle_error(
                self, context: object, type: type[BaseException], value: BaseException, tb: object, /
            ) -> None:
                seen.extend([type, tb is value.__traceback__, tb is not None])

        loop.error_handler = Handler()
        loop.run_callback(fail, ZeroDivisionError())
        loop.run()
        assert seen == [ZeroDivisionError, True, True]

    def test_without_a_handler_the_traceback_is_printed_and_the_loop_goes_on(
        self, loop: ILoopCore, capsys: pytest.CaptureFixture[str]
    ) -> None:
        ran: list[str] = []
        loop.run_callback(fail, ZeroDivisionError("on purpose"))
        loop.run_callback(ran.append, "next")
        assert loop.run() is False
        printed = capsys.readouterr().err
        assert "Traceback" in printed
        assert "ZeroDivisionError: on purpose" in printed
        assert ran == ["next"]

    @pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3)], ids=repr)
    def test_without_a_handler_what_is_meant_for_the_process_leaves_run(
        self, loop: ILoopCore, capsys: pytest.CaptureFixture[str], error: BaseException
    ) -> None:
        loop.run_callback(fail, error)
        with pytest.raises(type(error)) as caught:
            loop.run()
        assert caught.value is error
        assert capsys.readouterr().err == ""

    def test_what_is_queued_behind_an_exception_that_left_run_is_run_by_the_next(self, loop: ILoopCore) -> None:
        ran: list[str] = []
        loop.run_callback(fail, KeyboardInterrupt())
        loop.run_callback(ran.append, "next")
        with pytest.raises(KeyboardInterrupt):
            loop.run()
        loop.run()
        assert ran == ["next"]

    @pytest.mark.parametrize("priority", [-2, 0, 2])
    def test_due_timers_behind_an_exception_that_left_run_are_not_lost(self, loop: ILoopCore, priority: int) -> None:
        fired: list[str] = []
        loop.timer(TICK, priority=priority).start(fail, KeyboardInterrupt())
        for other in (2, 0, -2):
            loop.timer(TICK, priority=other).start(fired.append, f"priority {other}")
        self.pass_time(2 * TICK)
        with pytest.raises(KeyboardInterrupt):
            turn(loop)
        turn(loop)
        turn(loop)
        assert sorted(fired) == ["priority -2", "priority 0", "priority 2"]
        assert loop.activecnt == 0

    def test_a_handler_that_raises_does_not_hurt_the_loop(
        self, loop: ILoopCore, capsys: pytest.CaptureFixture[str]
    ) -> None:
        class Broken:
            def handle_error(self, *args: object) -> None:
                raise LookupError("the handler is broken")

        ran: list[str] = []
        loop.error_handler = Broken()
        loop.run_callback(fail, ZeroDivisionError("on purpose"))
        loop.run_callback(ran.append, "next")
        loop.run()
        assert "LookupError: the handler is broken" in capsys.readouterr().err
        assert ran == ["next"]

    def test_a_handler_may_end_run_with_what_is_meant_for_the_process(self, loop: ILoopCore) -> None:
        class Leaving:
            def handle_error(self, *args: object) -> None:
                raise SystemExit(3)

        loop.error_handler = Leaving()
        loop.run_callback(fail, ZeroDivisionError())
        with pytest.raises(SystemExit):
            loop.run()

    def test_the_handler_is_looked_up_at_each_error(self, loop: ILoopCore) -> None:
        first, second = ErrorLog(), ErrorLog()
        loop.error_handler = first

        def swap() -> None:
            loop.error_handler = second
            raise ZeroDivisionError

        loop.run_callback(swap)
        loop.run()
        assert first.seen == []
        assert len(second.seen) == 1

    def test_a_handler_may_use_the_loop(self, loop: ILoopCore) -> None:
        ran: list[str] = []

        class Handler:
            def handle_error(self, *args: object) -> None:
                loop.run_callback(ran.append, "queued by the handler")
                loop.break_()

        loop.error_handler = Handler()
        loop.ref()
        loop.run_callback(fail, ZeroDivisionError())
        loop.run()
        loop.unref()
        loop.run()
        assert ran == ["queued by the handler"]

    def test_a_broken_stderr_does_not_hurt_the_loop(self, loop: ILoopCore, monkeypatch: pytest.MonkeyPatch) -> None:
        class Broken(io.StringIO):
            def write(self, text: str) -> int:
                raise OSError("the terminal is gone")

        ran: list[str] = []
        monkeypatch.setattr(sys, "stderr", Broken())
        loop.run_callback(fail, ZeroDivisionError("on purpose"))
        loop.run_callback(ran.append, "next")
        loop.run()
        assert ran == ["next"]

    def test_handle_error_can_be_called_by_others(self, loop: ILoopCore) -> None:
        errors = ErrorLog()
        loop.error_handler = errors
        error = ZeroDivisionError()
        loop.handle_error("context", type(error), error, None)
        assert errors.seen == [("context", error)]

    def test_a_callback_with_wrong_arguments_is_reported_and_not_raised(self, loop: ILoopCore) -> None:
        errors = ErrorLog()
        loop.error_handler = errors
        takes_one: Any = len  # a program without types
        loop.run_callback(takes_one, 1, 2, 3)
        loop.run()
        assert [type(error) for _, error in errors.seen] == [TypeError]

    @pytest.mark.parametrize("with_handler", [True, False])
    def test_hub_destroyed_drops_what_is_queued_and_leaves_run(self, loop: ILoopCore, with_handler: bool) -> None:
        errors = ErrorLog()
        loop.error_handler = errors if with_handler else None
        ran: list[str] = []
        loop.run_callback(fail, HubDestroyed())
        loop.run_callback(ran.append, "never")
        with pytest.raises(HubDestroyed):
            loop.run()
        assert loop.run() is False
        assert ran == []
        assert errors.seen == []

    def test_hub_destroyed_leaves_run_out_of_a_handler_too(self, loop: ILoopCore) -> None:
        class Handler:
            def handle_error(self, *args: object) -> None:
                raise HubDestroyed

        loop.error_handler = Handler()
        loop.run_callback(fail, ZeroDivisionError())
        with pytest.raises(HubDestroyed):
            loop.run()
