"""The error policy as one table: where an exception comes from, what it is, and what becomes of it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest
from greenlet import GreenletExit, greenlet

from hub_core import Hub, LoopExit, Waiter, sleep, spawn_raw

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.hub_core.conftest import Reports


class Failure(Exception):
    """An error like any other."""


class Strange(BaseException):
    """One that `except Exception` does not catch, and that means nothing to anybody here."""


# -- where from --------------------------------------------------------------------------------------------------------


def raise_it(error: BaseException) -> None:
    raise error


def a_callback(hub: Hub, error: BaseException) -> None:
    hub.loop.run_callback(raise_it, error)


def a_post(hub: Hub, error: BaseException) -> None:
    hub.loop.run_callback_threadsafe(raise_it, error)


def a_timer(hub: Hub, error: BaseException) -> None:
    hub.loop.timer(0).start(raise_it, error)


def a_strangers_switch_in_a_callback(hub: Hub, error: BaseException) -> None:
    hub.loop.run_callback(greenlet(raise_it, hub).switch, error)


def a_new_greenlet(hub: Hub, error: BaseException) -> None:
    kept.append(spawn_raw(raise_it, error))


def a_carried_function(hub: Hub, error: BaseException) -> None:
    spawn_raw(int)
    spawn_raw(raise_it, error)


def a_greenlet_that_was_handed_over_to(hub: Hub, error: BaseException) -> None:
    waiter = Waiter()

    def body() -> None:
        waiter.get()
        raise error

    kept.append(spawn_raw(body))
    spawn_raw(waiter.switch)


def a_killed_greenlet(hub: Hub, error: BaseException) -> None:
    kept.append(spawn_raw(Waiter().get))
    hub.loop.run_callback(hub.throw_soon, kept[-1], error)


def the_loop_itself(hub: Hub, error: BaseException) -> None:
    hub.loop.run_callback(hub.loop.handle_error, None, type(error), error, None)


def a_greenlet_that_reports_it(hub: Hub, error: BaseException) -> None:
    kept.append(spawn_raw(hub.handle_error, "somebody", type(error), error, None))


kept: list[greenlet] = []
"""So that no carrier runs what is to have a greenlet of its own."""

ORIGINS: list[Callable[[Hub, BaseException], None]] = [
    a_callback,
    a_post,
    a_timer,
    a_strangers_switch_in_a_callback,
    a_new_greenlet,
    a_carried_function,
    a_greenlet_that_was_handed_over_to,
    a_killed_greenlet,
    the_loop_itself,
    a_greenlet_that_reports_it,
]

# -- what, and what becomes of it --------------------------------------------------------------------------------------

KINDS = [
    # what, printed, raised in the main greenlet
    (Failure("on purpose"), True, False),
    (Strange("on purpose"), True, False),
    (GreenletExit(), False, False),
    (SystemExit(3), False, True),
    (KeyboardInterrupt(), True, True),
    (SystemError("inner"), True, True),
]


@pytest.mark.parametrize(("error", "printed", "raised"), KINDS, ids=[type(row[0]).__name__ for row in KINDS])
@pytest.mark.parametrize("origin", ORIGINS, ids=[origin.__name__ for origin in ORIGINS])
def test_what_becomes_of_an_exception_that_nobody_caught(
    hub: Hub,
    reports: Reports,
    origin: Callable[[Hub, BaseException], None],
    error: BaseException,
    printed: bool,
    raised: bool,
) -> None:
    if origin is the_loop_itself:
        raised = True  # whatever it is: the loop is everybody's
    went_on: list[str] = []
    error = type(error)(*error.args)

    def bystander(name: str) -> None:
        sleep(0)
        sleep(0.001)
        went_on.append(name)

    spawn_raw(bystander, "before")
    origin(hub, error)
    spawn_raw(bystander, "after")
    caught: BaseException | None = None
    try:
        hub.join()
    except BaseException as surfaced:
        caught = surfaced
    if raised:
        assert caught is error
    else:
        assert caught is None
    assert hub.join(), "the hub goes on, and so do the others"
    assert sorted(went_on) == ["after", "before"]
    assert all(each.dead for each in kept)
    kept.clear()
    text = reports.take()
    assert (f"{type(error).__name__}" in text) is printed
    assert text.count("Z ") + text.count("Z\n") == printed, "once"


@pytest.mark.parametrize("origin", [o for o in ORIGINS if o is not a_greenlet_that_reports_it])
@pytest.mark.parametrize("worse", [Failure, Strange, SystemExit, KeyboardInterrupt])
def test_an_error_in_the_error_handler_ends_neither_the_hub_nor_the_others(
    hub: Hub,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    origin: Callable[[Hub, BaseException], None],
    worse: type[BaseException],
) -> None:
    def handler(*arguments: object) -> None:
        raise worse("in the handler")

    went_on: list[str] = []
    monkeypatch.setattr(hub, "handle_error", handler)
    origin(hub, Failure("on purpose"))
    spawn_raw(went_on.append, "the other")
    if issubclass(worse, Exception):
        assert hub.join()
        assert capfd.readouterr().err.count("Failure: in the handler") == 1
    else:
        with pytest.raises(worse, match="in the handler"):
            hub.join()
    monkeypatch.undo()
    assert hub.join()
    assert went_on == ["the other"]
    assert not hub.dead
    kept.clear()


# -- where it is printed -----------------------------------------------------------------------------------------------


class Broken:
    """A stream that fails in one way."""

    def __init__(self, error: Exception | None) -> None:
        self.error = error

    def __bool__(self) -> bool:
        if self.error is None:
            raise ValueError("neither true nor false")
        return True

    def write(self, text: str) -> int:
        assert self.error is not None
        raise self.error


@pytest.mark.parametrize(
    "stream",
    [
        None,
        Broken(OSError("no space left on device")),
        Broken(ValueError("I/O operation on closed file")),
        Broken(UnicodeEncodeError("ascii", "é", 0, 1, "not in range")),
        Broken(None),
        object(),
    ],
    ids=["None", "full", "closed", "ascii", "no truth", "no stream"],
)
def test_no_stream_however_broken_keeps_the_others_from_going_on(
    hub: Hub, stream: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    hub.exception_stream = stream
    went_on: list[str] = []
    spawn_raw(raise_it, Failure("on purpose"))
    spawn_raw(went_on.append, "the other")
    assert hub.join()
    assert went_on == ["the other"]
    assert capfd.readouterr().err == ""


def test_without_a_stderr_nothing_is_printed(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    del hub.exception_stream
    for there in (True, False):
        if there:
            monkeypatch.setattr(sys, "stderr", None)
        else:
            monkeypatch.delattr(sys, "stderr")
        spawn_raw(raise_it, Failure("on purpose"))
        assert hub.join()


def test_an_exception_whose_text_fails_does_not_keep_the_others_from_going_on(hub: Hub, reports: Reports) -> None:
    class Shy(Exception):
        def __str__(self) -> str:
            raise ZeroDivisionError

    went_on: list[str] = []
    spawn_raw(raise_it, Shy())
    spawn_raw(went_on.append, "the other")
    assert hub.join()
    assert went_on == ["the other"]
    assert "Shy" in reports.take()


def test_without_the_module_traceback_the_error_is_named_all_the_same(
    hub: Hub, reports: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "traceback", None)  # an import raises ImportError, as at the interpreter's end
    hub.print_exception("somebody", Failure, Failure("late"), None)
    text = reports.take()
    assert text.startswith("Failure: late\n")
    assert text.endswith(" somebody failed with Failure\n\n")


def test_loop_exit_is_raised_in_main_and_never_printed(hub: Hub, reports: Reports) -> None:
    with pytest.raises(LoopExit):
        Waiter().get()
    assert reports.take() == ""
