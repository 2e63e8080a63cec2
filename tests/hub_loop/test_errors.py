"""Errors: what callbacks, handlers and pollers raise, and what of it leaves `run`."""

from __future__ import annotations

import io
import sys
from typing import Any

import pytest

from hub_api import HubDestroyed
from hub_loop import READ, Loop
from hub_loop.testing import ManualClock, active_watchers


class Errors:
    """An error handler that keeps what it is told."""

    def __init__(self) -> None:
        self.seen: list[tuple[object, BaseException]] = []

    def handle_error(self, context: object, type: type[BaseException], value: BaseException, tb: object, /) -> None:
        assert isinstance(value, type)
        assert tb is value.__traceback__
        self.seen.append((context, value))


def fail(error: BaseException) -> None:
    raise error


# -- errors -----------------------------------------------------------------------------------------------------------


def test_an_exception_in_a_callback_goes_to_the_handler_with_the_callback_and_the_batch_goes_on(loop: Loop) -> None:
    errors, ran = Errors(), list[str]()
    loop.error_handler = errors
    error = ZeroDivisionError("on purpose")
    callback = loop.run_callback(fail, error)
    loop.run_callback(ran.append, "next")
    loop.run()
    assert errors.seen == [(callback, error)]
    assert not callback
    assert callback.args is None
    assert ran == ["next"]


def test_without_a_handler_the_traceback_is_printed_and_the_loop_goes_on(
    loop: Loop, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[str] = []
    loop.run_callback(fail, ZeroDivisionError("on purpose"))
    loop.run_callback(ran.append, "next")
    assert loop.run() is False
    printed = capsys.readouterr().err
    assert printed.startswith("Traceback")
    assert printed.endswith("ZeroDivisionError: on purpose\n")
    assert ran == ["next"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3)], ids=repr)
def test_without_a_handler_what_is_meant_for_the_process_leaves_run(
    loop: Loop, capsys: pytest.CaptureFixture[str], error: BaseException
) -> None:
    ran: list[str] = []
    loop.run_callback(fail, error)
    loop.run_callback(ran.append, "next")
    with pytest.raises(type(error)) as caught:
        loop.run()
    assert caught.value is error
    assert capsys.readouterr().err == ""
    assert ran == []
    loop.run()
    assert ran == ["next"]


@pytest.mark.parametrize("priority", [-1, 0, 1])
def test_events_behind_one_that_ended_run_are_delivered_by_the_next_run(
    loop: Loop, clock: ManualClock, priority: int
) -> None:
    fired: list[str] = []
    loop.timer(1.0, priority=priority).start(fail, KeyboardInterrupt())
    for number in (1, 0, -1):
        loop.timer(1.0, priority=number).start(fired.append, f"priority {number}")
    clock.advance(1.0)
    with pytest.raises(KeyboardInterrupt):
        loop.run(nowait=True)
    loop.run(nowait=True)
    loop.run(nowait=True)
    assert sorted(fired) == ["priority -1", "priority 0", "priority 1"]
    assert active_watchers(loop) == []


def test_readiness_behind_an_owner_that_ended_run_is_delivered_by_the_next_run(loop: Loop, make_wire: Any) -> None:
    wires = [make_wire(), make_wire()]
    told: list[int] = []

    def notify(events: int) -> None:
        told.append(events)
        if len(told) == 1:
            raise KeyboardInterrupt

    owners = [loop.register(wire.fd, notify) for wire in wires]
    loop.run(nowait=True)
    for owner, wire in zip(owners, wires, strict=True):
        owner.clear(READ)
        owner.want(READ)
        wire.send()
    with pytest.raises(KeyboardInterrupt):
        loop.run(once=True)
    assert told == [READ]
    loop.run(once=True)  # an edge is told once by the kernel: it would block for ever if the loop had lost it
    assert told == [READ, READ]
    for owner in owners:
        owner.close()


def test_a_handler_that_raises_is_printed_and_the_loop_goes_on(loop: Loop, capsys: pytest.CaptureFixture[str]) -> None:
    class Broken:
        def handle_error(self, *args: object) -> None:
            raise LookupError("the handler is broken")

    ran: list[str] = []
    loop.error_handler = Broken()
    loop.run_callback(fail, ZeroDivisionError("on purpose"))
    loop.run_callback(ran.append, "next")
    loop.run()
    printed = capsys.readouterr().err
    assert "LookupError: the handler is broken" in printed
    assert "ZeroDivisionError: on purpose" in printed
    assert ran == ["next"]


def test_a_handler_may_end_run_with_what_is_meant_for_the_process(loop: Loop) -> None:
    class Leaving:
        def handle_error(self, *args: object) -> None:
            raise SystemExit(3)

    loop.error_handler = Leaving()
    loop.run_callback(fail, ZeroDivisionError("on purpose"))
    with pytest.raises(SystemExit):
        loop.run()


def test_the_handler_is_looked_up_at_each_error(loop: Loop) -> None:
    first, second = Errors(), Errors()
    loop.error_handler = first

    def swap() -> None:
        loop.error_handler = second
        raise ZeroDivisionError

    loop.run_callback(swap)
    loop.run()
    assert first.seen == []
    assert len(second.seen) == 1


def test_a_broken_stderr_does_not_hurt_the_loop(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError("the terminal is gone")

    ran: list[str] = []
    monkeypatch.setattr(sys, "stderr", Broken())
    loop.run_callback(fail, ZeroDivisionError("on purpose"))
    loop.run_callback(ran.append, "next")
    loop.run()
    assert ran == ["next"]


def test_handle_error_can_be_called_by_others(loop: Loop) -> None:
    errors = Errors()
    loop.error_handler = errors
    error = ZeroDivisionError()
    loop.handle_error("context", type(error), error, None)
    assert errors.seen == [("context", error)]


def test_an_exception_of_the_poller_is_reported_for_the_loop_itself(loop: Loop) -> None:
    class Broken:
        name = "broken"
        edge = False

        def poll(self, timeout: float | None) -> list[tuple[int, int]]:
            raise OSError("the poller is broken")

    class Leaving(Errors):
        def handle_error(self, *args: Any) -> None:
            super().handle_error(*args)
            loop.break_()

    errors, poller, broken = Leaving(), loop._poller, Broken()
    loop._poller = broken  # type: ignore[assignment]  # all of it that is used
    loop.ref()
    with pytest.raises(OSError, match="the poller is broken"):
        loop.run()
    loop.error_handler = errors
    assert loop.run() is True
    assert [(context, str(error)) for context, error in errors.seen] == [(None, "the poller is broken")]
    loop._poller = poller
    loop.unref()


@pytest.mark.parametrize("with_handler", [True, False])
def test_hub_destroyed_drops_what_is_queued_and_leaves_run(loop: Loop, with_handler: bool) -> None:
    errors = Errors()
    loop.error_handler = errors if with_handler else None
    ran: list[str] = []
    loop.run_callback(fail, HubDestroyed())
    loop.run_callback(ran.append, "never")
    with pytest.raises(HubDestroyed):
        loop.run()
    assert loop.run() is False
    assert ran == []
    assert errors.seen == []


def test_hub_destroyed_leaves_run_out_of_a_handler_too(loop: Loop) -> None:
    class Ending:
        def handle_error(self, *args: object) -> None:
            raise HubDestroyed

    loop.error_handler = Ending()
    loop.run_callback(fail, ZeroDivisionError())
    with pytest.raises(HubDestroyed):
        loop.run()
