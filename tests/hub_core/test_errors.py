"""The error policy: who is told of an exception that nobody caught, in which words, and who goes on."""

from __future__ import annotations

import io
import re
import sys
from typing import TYPE_CHECKING, Any

import pytest
from greenlet import GreenletExit, getcurrent

from hub_core import Hub, HubDestroyed, Waiter, sleep, spawn_raw

if TYPE_CHECKING:
    from tests.hub_core.conftest import Reports

    from hub_loop.testing import ManualClock


class Failure(Exception):
    """Raised by tests."""


def fail(error: BaseException | type[BaseException] | None = None) -> None:
    raise Failure("on purpose") if error is None else error


# -- who is told -------------------------------------------------------------------------------------------------------


def test_a_callback_that_raises_is_printed_and_the_others_run(hub: Hub, reports: Reports) -> None:
    ran: list[str] = []
    hub.loop.run_callback(fail)
    hub.loop.run_callback(ran.append, "the next callback")
    spawn_raw(ran.append, "a greenlet")
    assert hub.join()
    assert sorted(ran) == ["a greenlet", "the next callback"]
    text = reports.take()
    assert text.startswith("Traceback (most recent call last):\n")
    assert "Failure: on purpose\n" in text
    assert "failed with Failure\n\n" in text


def test_a_watcher_that_raises_is_printed_as_the_context(clocked_hub: Hub, reports: Reports) -> None:
    with clocked_hub.loop.timer(1) as timer:
        timer.start(fail)
        assert clocked_hub.join()
        assert f"<timer at {id(timer):#x}" in reports.take()


def test_a_greenlet_that_dies_of_an_error_is_printed_as_the_context(hub: Hub, reports: Reports) -> None:
    dying = spawn_raw(fail)
    assert hub.join()
    assert f" {dying!r} failed with Failure\n\n" in reports.take()


def test_after_a_handoff_the_context_is_the_greenlet_that_raised_and_not_the_one_that_was_started(
    hub: Hub, reports: Reports
) -> None:
    waiter = Waiter()

    def die() -> None:
        waiter.get()
        fail()

    dying = spawn_raw(die)
    sleep(0)
    started = spawn_raw(sleep, 0)  # the hub starts this one, which hands over to the one that dies
    waiter.switch(None)
    assert hub.join()
    text = reports.take()
    assert f" {dying!r} failed with Failure\n\n" in text
    assert f"{id(started):#x}" not in text


def test_each_greenlet_that_dies_is_reported_once(hub: Hub, reports: Reports) -> None:
    for number in range(3):
        spawn_raw(fail, Failure(f"number {number}"))
    assert hub.join()
    assert re.findall(r"Failure: (number \d)\n", reports.take()) == ["number 0", "number 1", "number 2"]


def test_greenlet_exit_is_silent(hub: Hub, reports: Reports) -> None:
    spawn_raw(fail, GreenletExit)
    hub.loop.run_callback(fail, GreenletExit)
    assert hub.join()
    assert reports.take() == ""


@pytest.mark.parametrize("raised_by", ["greenlet", "callback"])
@pytest.mark.parametrize(
    ("error", "printed"),
    [(SystemExit(3), False), (KeyboardInterrupt("stop"), True), (SystemError("inner"), True)],
    ids=["SystemExit", "KeyboardInterrupt", "SystemError"],
)
def test_system_errors_surface_in_the_main_greenlet_and_the_others_go_on_later(
    hub: Hub, reports: Reports, error: BaseException, printed: bool, raised_by: str
) -> None:
    ran: list[str] = []
    spawn_raw(ran.append, "before")
    if raised_by == "greenlet":
        spawn_raw(fail, error)
    else:
        hub.loop.run_callback(fail, error)
    spawn_raw(ran.append, "after")
    with pytest.raises(type(error)) as caught:
        hub.join()
    assert caught.value is error
    assert not hub.dead
    assert hub.join(), "the hub goes on where it was"
    assert sorted(ran) == ["after", "before"]
    assert (type(error).__name__ in reports.take()) is printed


def test_a_system_error_reported_by_a_greenlet_lets_that_greenlet_go_on_later(hub: Hub) -> None:
    order: list[str] = []

    def report() -> None:
        hub.handle_error(None, SystemExit, SystemExit(4), None)
        order.append("went on")

    spawn_raw(report)
    with pytest.raises(SystemExit):
        hub.join()
    assert order == []
    assert hub.join()
    assert order == ["went on"]


def test_a_system_error_reported_by_the_main_greenlet_is_raised_there(hub: Hub) -> None:
    with pytest.raises(SystemExit):
        hub.handle_system_error(SystemExit, SystemExit(5))
    sleep(0.001)


def test_an_error_without_context_is_the_loops_own_and_is_printed_and_raised_in_main(
    hub: Hub, reports: Reports
) -> None:
    error = Failure("in the loop itself")
    hub.loop.run_callback(hub.handle_error, None, Failure, error, None)
    with pytest.raises(Failure) as caught:
        hub.join()
    assert caught.value is error
    assert "Failure: in the loop itself" in reports.take()


def test_an_interrupt_between_two_steps_of_the_loop_is_printed_and_raised_in_main(
    hub: Hub, reports: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, interrupts = hub.loop.run, [KeyboardInterrupt()]

    def interrupted(nowait: bool = False, once: bool = False) -> bool:
        if interrupts:
            raise interrupts.pop()
        return run(nowait, once)

    monkeypatch.setattr(hub.loop, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        hub.join()
    assert "KeyboardInterrupt" in reports.take()
    sleep(0.001)


@pytest.mark.parametrize("value", ["only a text", None])
def test_a_value_that_is_a_text_or_missing_is_accepted(hub: Hub, reports: Reports, value: str | None) -> None:
    hub.handle_error("the context", Failure, value, None)
    assert "the context failed with Failure" in reports.take()


def test_all_none_stands_for_the_exception_that_is_being_handled(hub: Hub, reports: Reports) -> None:
    try:
        fail()
    except Failure:
        hub.handle_error("the context", None, None, None)
    assert "Failure: on purpose" in reports.take()
    hub.handle_error("the context", None, None, None)  # nothing is being handled, so there is nothing to say


def test_hub_destroyed_is_raised_on_and_never_printed(hub: Hub) -> None:
    error = HubDestroyed()
    with pytest.raises(HubDestroyed) as caught:
        hub.handle_error("the context", HubDestroyed, error, None)
    assert caught.value is error


def test_not_error_and_system_error_may_be_changed_in_a_subclass(reports: Reports, hub: Hub) -> None:
    hub.NOT_ERROR = (*Hub.NOT_ERROR, Failure)
    hub.SYSTEM_ERROR = (*Hub.SYSTEM_ERROR, Failure)
    spawn_raw(fail)
    with pytest.raises(Failure):
        hub.join()
    assert reports.take() == ""


# -- a handler of one's own --------------------------------------------------------------------------------------------


def test_a_handler_assigned_on_the_hub_replaces_the_policy_for_greenlets_and_callbacks(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[object, ...]] = []
    monkeypatch.setattr(hub, "handle_error", lambda *arguments: seen.append(arguments[:3]))
    error = Failure("seen")
    dying = spawn_raw(fail, error)
    with hub.loop.timer(0) as timer:
        timer.start(fail, error)
        assert hub.join()
    assert seen == [(timer, Failure, error), (dying, Failure, error)], "the turn comes before what it makes ready"


def test_a_handler_that_raises_is_printed_and_does_not_hurt_the_loop(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def handler(*arguments: object) -> None:
        raise Failure("in the handler")

    monkeypatch.setattr(hub, "handle_error", handler)
    ran: list[str] = []
    spawn_raw(fail)
    hub.loop.run_callback(fail)
    spawn_raw(ran.append, "the others")
    assert hub.join()
    assert ran == ["the others"]
    assert capfd.readouterr().err.count("Failure: in the handler") == 2


@pytest.mark.parametrize("raised_by", ["greenlet", "callback"])
def test_a_handler_that_exits_ends_the_program_and_not_the_hub(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, raised_by: str
) -> None:
    monkeypatch.setattr(hub, "handle_error", lambda *arguments: sys.exit(3))
    if raised_by == "greenlet":
        spawn_raw(fail)
    else:
        hub.loop.run_callback(fail)
    with pytest.raises(SystemExit):
        hub.join()
    monkeypatch.undo()
    assert not hub.dead
    sleep(0.001)


# -- what is printed, and where ----------------------------------------------------------------------------------------


def test_the_report_is_traceback_time_and_context(hub: Hub, reports: Reports) -> None:
    try:
        fail()
    except Failure as error:
        hub.print_exception("the context", Failure, error, error.__traceback__)
    lines = reports.take().split("\n")
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-4].endswith("Failure: on purpose")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ the context failed with Failure", lines[-3])
    assert lines[-2:] == ["", ""]


def test_without_a_value_only_the_name_is_printed_and_without_context_only_the_time(hub: Hub, reports: Reports) -> None:
    hub.print_exception(None, Failure, None, None)
    assert re.fullmatch(r"Failure\n\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\n", reports.take())


def test_the_context_is_described_by_format_context(hub: Hub, reports: Reports) -> None:
    hub.format_context = lambda context: f"[{context}]"
    hub.print_exception(7, Failure, None, None)
    assert "[7] failed with Failure" in reports.take()
    hub.print_exception("a text is printed as it is", Failure, None, None)
    assert " a text is printed as it is failed with Failure" in reports.take()


def test_a_context_that_cannot_be_described_does_not_hide_the_error(hub: Hub, reports: Reports) -> None:
    class Shy:
        def __repr__(self) -> str:
            raise ZeroDivisionError("no repr")

    shy = Shy()
    spawn_raw(fail)
    hub.print_exception(shy, Failure, Failure("the error"), None)
    text = reports.take()
    assert "Failure: the error" in text
    assert "ZeroDivisionError: no repr" in text
    assert f"Shy object at {id(shy):#x}" in text
    hub.join()
    reports.take()


def test_the_stream_is_the_present_stderr_unless_assigned(
    hub: Hub, reports: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    del hub.exception_stream
    assert hub.exception_stream is sys.stderr
    monkeypatch.setattr(sys, "stderr", replaced := io.StringIO())
    assert hub.exception_stream is replaced
    spawn_raw(fail)
    hub.join()
    assert "Failure: on purpose" in replaced.getvalue()
    hub.exception_stream = reports
    assert hub.exception_stream is reports


def test_deleting_a_stream_that_was_never_assigned_is_an_attribute_error(hub: Hub) -> None:
    del hub.exception_stream
    with pytest.raises(AttributeError):
        del hub.exception_stream


def test_a_stream_of_none_silences(hub: Hub, capfd: pytest.CaptureFixture[str]) -> None:
    hub.exception_stream = None
    spawn_raw(fail)
    assert hub.join()
    assert capfd.readouterr().err == ""


def test_a_broken_stream_does_not_take_the_loop_with_it(hub: Hub, capfd: pytest.CaptureFixture[str]) -> None:
    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError("no space left on device")

    hub.exception_stream = Broken()
    ran: list[str] = []
    spawn_raw(fail)
    spawn_raw(ran.append, "the others")
    assert hub.join()
    assert ran == ["the others"]
    assert capfd.readouterr().err == ""


def test_a_closed_stream_does_not_take_the_loop_with_it(hub: Hub) -> None:
    closed = io.StringIO()
    closed.close()
    hub.exception_stream = closed
    spawn_raw(fail)
    assert hub.join()


def test_an_error_in_a_sleeping_greenlet_is_reported_when_it_happens(
    clocked_hub: Hub, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, seen = clock(), []

    def handler(context: Any, *arguments: object) -> None:
        seen.append((clock() - began, context))

    def late() -> None:
        sleep(2)
        fail()

    monkeypatch.setattr(clocked_hub, "handle_error", handler)
    dying = spawn_raw(late)
    sleep(5)
    assert seen == [(2, dying)]
    assert getcurrent() is clocked_hub.parent
