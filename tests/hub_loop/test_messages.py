"""Texts: an error says what was wrong, what is allowed, and what to do instead; a repr says the state.

That these errors are raised, and when, is tested by the kit on every poller; what they say does not depend on it.
"""

from __future__ import annotations

import math
import os
import re
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from hub_api import InvalidThreadUseError
from hub_loop import READ, WRITE, Loop

WRONG: Any = None


@pytest.fixture
def loop() -> Iterator[Loop]:
    """A loop on select: it has no fd of its own that a repr could name."""
    made = Loop("select")
    yield made
    made.destroy()


@pytest.fixture
def fd(loop: Loop) -> Iterator[int]:
    """The end of a pipe on which there is nothing to read."""
    reader, writer = os.pipe()
    yield reader
    loop.destroy()
    os.close(reader)
    os.close(writer)


def closed(loop: Loop) -> Any:
    watcher = loop.async_()
    watcher.close()
    return watcher


def registered(loop: Loop, fd: int) -> Any:
    return loop.register(fd, print)


def left(loop: Loop, fd: int) -> Any:
    registration = loop.register(fd, print)
    registration.close()
    return registration


CASES: list[tuple[Callable[[Loop, int], object], type[Exception], str]] = [
    (lambda loop, fd: loop.run_callback(WRONG), TypeError, r"cannot run None: a callback must be callable"),
    (lambda loop, fd: loop.run_callback_threadsafe(WRONG), TypeError, r"None: a callback must be callable"),
    (lambda loop, fd: loop.timer(1.0, -1.0), ValueError, r"repeat must be 0 \(once\) or a positive number of seconds"),
    (lambda loop, fd: loop.timer(1.0, math.nan), ValueError, r"repeat must be 0 .*, got nan"),
    (lambda loop, fd: loop.timer(1.0, WRONG), TypeError, r"repeat must be a number of seconds, got None"),
    (lambda loop, fd: loop.timer(WRONG), TypeError, r"after must be a number of seconds, got None"),
    (lambda loop, fd: loop.timer(math.nan), ValueError, r"after must be a number of seconds, got nan"),
    (lambda loop, fd: loop.timer(1.0).start(WRONG), TypeError, r"cannot start <timer .*: a callback must be callable"),
    (lambda loop, fd: loop.timer(1.0).again(WRONG), TypeError, r"a callback must be callable"),
    (lambda loop, fd: loop.io(fd, 4), ValueError, r"READ \(1\), WRITE \(2\) or READ\|WRITE \(3\), got 4"),
    (lambda loop, fd: loop.io(-1, READ), ValueError, r"fd must be 0 or more, got -1: was the file closed"),
    (lambda loop, fd: loop.io(WRONG, READ), TypeError, r"got None; pass its fileno\(\)"),
    (lambda loop, fd: loop.io(2_000_000, READ), OSError, r"fd 2000000 is not open"),
    (lambda loop, fd: loop.register(2_000_000, print), OSError, r"fd 2000000 is not open"),
    (lambda loop, fd: loop.register(fd, WRONG), TypeError, r"notify must be callable, got None"),
    (
        lambda loop, fd: (registered(loop, fd), loop.register(fd, print)),
        ValueError,
        r"fd \d+ is registered already: <registration .*; close that registration before the fd is closed",
    ),
    (lambda loop, fd: registered(loop, fd).want(4), ValueError, r"READ \(1\), WRITE \(2\) or READ\|WRITE \(3\), got 4"),
    (lambda loop, fd: left(loop, fd).want(READ), ValueError, r"its fd has left the loop; register the new fd"),
    (lambda loop, fd: closed(loop).start(print), ValueError, r"was closed; ask the loop for a new watcher"),
    (lambda loop, fd: closed(loop).send(), ValueError, r"cannot send to <async at .* closed>: it was closed"),
    (lambda loop, fd: setattr(loop.async_(), "callback", 1), TypeError, r"must be callable or None, got 1"),
    (lambda loop, fd: setattr(loop.async_(), "args", [1]), TypeError, r"must be a tuple or None, got \[1\]"),
    (
        lambda loop, fd: setattr(loop.async_(), "priority", "high"),
        TypeError,
        r"an integer from -2 to 2, or None, got 'high'",
    ),
]


@pytest.mark.parametrize(("call", "kind", "text"), CASES, ids=[text for _, _, text in CASES])
def test_what_is_wrong_is_named_and_so_is_the_remedy(
    loop: Loop, fd: int, call: Callable[[Loop, int], object], kind: type[Exception], text: str
) -> None:
    with pytest.raises(kind, match=text):
        call(loop, fd)
    assert loop.activecnt == 0


def test_setting_the_priority_of_an_active_watcher_names_the_remedy(loop: Loop) -> None:
    with loop.timer(1.0) as timer:
        timer.start(print)
        with pytest.raises(AttributeError, match="while it is active; stop it first"):
            timer.priority = 1


def test_running_a_loop_in_itself_is_called_that(loop: Loop, capsys: pytest.CaptureFixture[str]) -> None:
    loop.run_callback(loop.run)
    loop.run()
    assert "is running already; a callback cannot run it again" in capsys.readouterr().err


def test_what_is_printed_of_an_exception_is_its_traceback_and_no_more(
    loop: Loop, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise ZeroDivisionError("on purpose")

    loop.run_callback(fail)
    loop.run()
    printed = capsys.readouterr().err
    assert printed.startswith("Traceback")
    assert printed.endswith("ZeroDivisionError: on purpose\n")


def test_a_handler_that_raises_is_printed_with_what_it_was_told(loop: Loop, capsys: pytest.CaptureFixture[str]) -> None:
    class Broken:
        def handle_error(self, *args: object) -> None:
            raise LookupError("the handler is broken")

    def fail() -> None:
        raise ZeroDivisionError("on purpose")

    loop.error_handler = Broken()
    loop.run_callback(fail)
    loop.run()
    printed = capsys.readouterr().err
    assert "LookupError: the handler is broken" in printed
    assert "ZeroDivisionError: on purpose" in printed


def test_a_refusal_in_another_thread_names_both_threads_and_the_remedy(loop: Loop, fd: int) -> None:
    timer, active, registration = loop.timer(1.0), loop.timer(1.0), loop.register(fd, print)
    active.start(print)
    calls: dict[str, Callable[[], object]] = {
        "run it": loop.run,
        "break it .*; use run_callback_threadsafe": loop.break_,
        "read the clock": loop.update_now,
        "ref it": loop.ref,
        "unref it": loop.unref,
        "run a callback .*; use run_callback_threadsafe": lambda: loop.run_callback(print),
        "register fd": lambda: loop.register(fd, print),
        "take fd .*; use run_callback_threadsafe": lambda: loop.closing_fd(fd),
        "start <timer .*; use loop.run_callback_threadsafe": lambda: timer.start(print),
        "restart <timer .*; use loop.run_callback_threadsafe": lambda: timer.again(print),
        "stop <timer .*; use loop.run_callback_threadsafe": active.stop,
        "set ref of <timer .*; use loop.run_callback_threadsafe": lambda: setattr(active, "ref", False),
        "wait for fd": lambda: registration.want(READ),
        "stop waiting for fd": lambda: registration.unwant(READ),
        "clear fd": lambda: registration.clear(READ),
        "sleep for it": loop.poll_elsewhere,
    }
    said: dict[str, str] = {}

    def try_all() -> None:
        for pattern, call in calls.items():
            try:
                call()
            except InvalidThreadUseError as error:
                said[pattern] = str(error)
        said["thread"] = f"({threading.get_ident():#x})"

    thread = threading.Thread(target=try_all, name="a stranger")
    thread.start()
    thread.join()
    here = f"{threading.current_thread().name!r} ({threading.get_ident():#x})"
    both = f"from thread 'a stranger' {said.pop('thread')}: it belongs to thread {here}; use "
    assert list(said) == list(calls)
    for pattern, text in said.items():
        assert re.search(f"cannot {pattern}", text)
        assert both in text
    active.close()


def test_a_destroyed_loop_says_so_whatever_it_is_asked(loop: Loop, fd: int) -> None:
    timer, post = loop.timer(1.0), loop.async_()
    loop.destroy()
    calls: list[Callable[[], object]] = [
        loop.run,
        loop.break_,
        loop.now,
        loop.update_now,
        loop.ref,
        lambda: loop.run_callback(print),
        lambda: loop.run_callback_threadsafe(print),
        lambda: loop.register(fd, print),
        lambda: loop.closing_fd(fd),
        lambda: loop.io(fd, READ),
        lambda: timer.start(print),
        lambda: timer.again(print),
        post.send,
    ]
    for call in calls:
        with pytest.raises(ValueError, match=r"operation on destroyed loop <Loop at 0x.* destroyed>"):
            call()
    assert loop._format() == "destroyed"


# -- reprs ------------------------------------------------------------------------------------------------------------


def test_the_repr_of_a_loop_names_its_poller_and_its_counts(loop: Loop) -> None:
    loop.ref()
    loop.run_callback(int)
    assert re.fullmatch(r"<Loop at 0x[0-9a-f]+ select default pending=1 ref=1>", repr(loop))
    loop.unref()


@pytest.mark.skipif(not hasattr(__import__("select"), "epoll"), reason="this system has no epoll")
def test_the_repr_of_a_loop_with_an_fd_names_it() -> None:
    loop = Loop("epoll", default=False)
    assert re.fullmatch(rf"<Loop at 0x[0-9a-f]+ epoll pending=0 ref=0 fileno={loop.fileno()}>", repr(loop))
    loop.destroy()


def test_the_repr_of_a_callback_says_its_state(loop: Loop) -> None:
    seen: list[str] = []
    callbacks: list[object] = []
    callback = loop.run_callback(lambda it: seen.append(repr(callbacks[0])), "argument")
    callbacks.append(callback)
    assert re.fullmatch(r"<callback at 0x[0-9a-f]+ pending callback=<.*> args=\('argument',\)>", repr(callback))
    loop.run()
    assert re.fullmatch(r"<callback at 0x[0-9a-f]+ running callback=None args=\('argument',\)>", seen[0])
    assert re.fullmatch(r"<callback at 0x[0-9a-f]+ stopped>", repr(callback))


@pytest.mark.parametrize("name", ["timer", "io", "async", "prepare", "check", "idle"])
def test_the_repr_of_a_watcher_says_the_kind_the_state_and_the_callback(loop: Loop, fd: int, name: str) -> None:
    if name == "timer":
        watcher: Any = loop.timer(1.0)
    elif name == "io":
        watcher = loop.io(fd, READ)
    else:
        watcher = getattr(loop, "async_" if name == "async" else name)()
    assert re.match(rf"<{name} at 0x[0-9a-f]+ idle", repr(watcher))
    watcher.start(print, watcher, b"")
    assert re.match(rf"<{name} at 0x[0-9a-f]+ active callback=<built-in function print>", repr(watcher))
    assert f"args=({type(watcher).__name__}, bytes)" in repr(watcher)
    watcher.ref = False
    assert " unref " in repr(watcher)
    watcher.close()
    assert " closed" in repr(watcher)


def test_the_repr_of_an_io_watcher_names_fd_and_events(loop: Loop) -> None:
    near, far = socket.socketpair()
    with near, far, loop.io(near.fileno(), READ | WRITE) as watcher:
        assert f" fd={near.fileno()} events=READ|WRITE" in repr(watcher)


def test_the_repr_of_a_registration_says_what_is_ready_and_what_is_wanted(loop: Loop, fd: int) -> None:
    registration = loop.register(fd, lambda events: None)
    assert repr(registration) == f"<registration fd={fd} ready=none wanted=none>"
    registration.want(READ)
    assert repr(registration) == f"<registration fd={fd} ready=none wanted=READ>"
    registration.close()
    assert repr(registration) == "<registration closed ready=none wanted=none>"
