"""Faults: the system refuses the loop's own calls.  What passes is told once, what stays is raised, nothing spins.

The same with the kernel's own hand, around real servers: tests/journeys/test_faults.py.
"""

from __future__ import annotations

import errno
import io
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from tests.hub_loop.conftest import turn

from hub_loop import READ, WRITE, Loop
from hub_loop._faults import QUIET, REST
from hub_loop.testing import FakePoller, ManualClock

if TYPE_CHECKING:
    from tests.hub_loop.conftest import MakeWire, Wire

    from hub_loop.pollers import Poller

PASSING = [errno.ENOMEM, errno.ENOBUFS, errno.ENOSPC, errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.EINTR]


class Failing:
    """A poller that raises what is in `faults`, one each, before it does what it is asked."""

    def __init__(self, poller: Poller) -> None:
        self._poller = poller
        self.name, self.edge = poller.name, poller.edge
        self.poll_faults: list[BaseException] = []
        self.watch_faults: list[BaseException] = []
        self.polls = 0

    def poll(self, timeout: float | None) -> list[tuple[int, int]]:
        self.polls += 1
        if self.poll_faults:
            raise self.poll_faults.pop(0)
        return self._poller.poll(timeout)

    def watch(self, fd: int, interest: int) -> bool:
        if self.watch_faults:
            raise self.watch_faults.pop(0)
        return self._poller.watch(fd, interest)

    def forget(self, fd: int) -> None:
        self._poller.forget(fd)

    def fileno(self) -> int | None:
        return self._poller.fileno()

    def reopen(self) -> None:
        self._poller.reopen()

    def close(self) -> None:
        self._poller.close()


class Told:
    """An error handler that keeps what it is told."""

    def __init__(self) -> None:
        self.errors: list[tuple[object, str]] = []

    def handle_error(self, context: object, type: type[BaseException], value: BaseException, tb: object, /) -> None:
        self.errors.append((context, str(value)))


@pytest.fixture
def failing(loop: Loop) -> Iterator[Failing]:
    """This test's loop stands on a poller that can be made to fail."""
    poller = loop._poller
    loop._poller = failing = Failing(poller)
    yield failing
    loop._poller = poller


@pytest.fixture
def told(loop: Loop) -> Told:
    """What this test's loop tells of errors."""
    loop.error_handler = told = Told()
    return told


def out_of(number: int) -> OSError:
    return OSError(number, os.strerror(number))


# -- the poll -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [*map(out_of, PASSING), MemoryError()], ids=repr)
@pytest.mark.parametrize("loop", ["fake"], indirect=True)
def test_a_poll_that_fails_for_now_is_told_with_the_loop_as_context_and_the_turn_goes_on(
    loop: Loop, clock: ManualClock, failing: Failing, told: Told, fault: BaseException
) -> None:
    done: list[str] = []
    failing.poll_faults.append(fault)
    loop.run_callback(done.append, "callback")
    loop.run_callback_threadsafe(done.append, "posted")
    with loop.timer(0.0) as timer:
        timer.start(done.append, "timer")
        turn(loop)
    assert done == ["callback", "posted", "timer"]
    assert told.errors == [(loop, str(fault))]
    assert "the loop tries again" in fault.__notes__[0]


def test_many_failures_are_told_once_and_again_after_a_second_without_any(
    loop: Loop, clock: ManualClock, failing: Failing, told: Told
) -> None:
    def fail(times: int) -> None:
        failing.poll_faults += [out_of(errno.ENOMEM) for _ in range(times)]
        for _ in range(times):
            turn(loop)

    fail(3)
    assert len(told.errors) == 1
    for _ in range(3):
        clock.advance(QUIET * 0.9)
        fail(1)
    assert len(told.errors) == 1
    clock.advance(QUIET)
    fail(2)
    assert len(told.errors) == 2


def test_a_poll_that_fails_for_now_does_not_end_run(
    loop: Loop, wire: Wire, failing: Failing, capsys: pytest.CaptureFixture[str]
) -> None:
    read: list[bytes] = []
    with loop.io(wire.fd, READ) as reader:

        def on_readable() -> None:
            read.append(wire.read())
            reader.stop()

        reader.start(on_readable)
        failing.poll_faults += [out_of(errno.ENOMEM), out_of(errno.ENOMEM)]
        wire.send(b"late, but not lost")
        assert loop.run() is False  # without a handler too
    assert read == [b"late, but not lost"]
    printed = capsys.readouterr().err
    assert printed.count("Traceback") == 1
    assert "Cannot allocate memory" in printed


@pytest.mark.parametrize("fault", [out_of(errno.EBADF), out_of(errno.EINVAL), ValueError("closed")], ids=repr)
def test_a_poll_that_fails_for_good_leaves_run_where_there_is_no_handler(
    loop: Loop, failing: Failing, fault: Exception
) -> None:
    failing.poll_faults.append(fault)
    loop.ref()
    with pytest.raises(type(fault)) as caught:
        loop.run()
    loop.unref()
    assert caught.value is fault


@pytest.mark.parametrize("number", [errno.ENOMEM, errno.EBADF])
def test_a_poll_that_always_fails_does_not_keep_the_cpu_busy(
    loop: Loop, failing: Failing, told: Told, number: int
) -> None:
    # Each failure is followed by a rest, so the number of polls is bounded by the time that they took.
    failing.poll_faults += [out_of(number) for _ in range(1000)]
    loop.ref()
    stop = loop.timer(10 * REST)  # never fires while EBADF stays; `break_` comes from the handler then
    stop.start(loop.break_)
    began = time.monotonic()
    if number == errno.EBADF:
        tell = told.handle_error

        def tell_and_break(*args: Any) -> None:
            tell(*args)
            if len(told.errors) == 10:
                loop.break_()

        told.handle_error = tell_and_break  # type: ignore[method-assign]  # of this one object
    elif isinstance(failing._poller, FakePoller):
        loop.run_callback(failing._poller.clock.advance, 10 * REST)
    loop.run()
    stop.close()
    loop.unref()
    assert failing.polls <= 2 + (time.monotonic() - began) / REST
    assert {context for context, _ in told.errors} == {loop if number == errno.ENOMEM else None}


@pytest.mark.parametrize("fault", [MemoryError(), TimeoutError("a signal handler's")], ids=repr)
def test_a_poll_that_fails_after_the_kernel_has_told_loses_no_edge(
    loop: Loop, wire: Wire, failing: Failing, told: Told, fault: BaseException
) -> None:
    seen: list[int] = []
    registration = loop.register(wire.fd, seen.append)
    turn(loop)
    registration.clear(READ)
    registration.want(READ)
    wire.send()
    poll = failing._poller.poll

    def poll_and_fail(timeout: float | None) -> list[tuple[int, int]]:
        poll(timeout)  # and then there was no room for the list, or a signal came
        raise fault

    failing.poll = poll_and_fail  # type: ignore[method-assign]  # of this one object
    turn(loop)
    del failing.poll
    turn(loop)
    assert seen == [READ]
    assert [context for context, _ in told.errors] == [loop if isinstance(fault, MemoryError) else None]
    registration.close()


@pytest.mark.parametrize("loop", ["epoll", "fake"], indirect=True)
def test_an_edge_that_cannot_be_asked_for_again_is_told_by_the_loop_and_the_interrupt_is_not_covered_up(
    loop: Loop, wire: Wire, failing: Failing
) -> None:
    loop._attend()  # as before its first sleep
    seen: list[int] = []
    registration = loop.register(wire.fd, seen.append)
    turn(loop)
    registration.clear(READ | WRITE)
    registration.want(READ)
    failing.poll_faults.append(KeyboardInterrupt())
    failing.watch_faults.append(out_of(errno.ENOMEM))
    with pytest.raises(KeyboardInterrupt):
        loop.run(once=True)
    loop.run(once=True)
    assert seen == [READ]
    registration.close()


# -- the dispatch ---------------------------------------------------------------------------------------------------


def test_an_interest_that_cannot_be_narrowed_is_told_once_and_others_are_served(
    loop: Loop, make_wire: MakeWire, failing: Failing, told: Told
) -> None:
    wires = [make_wire() for _ in range(3)]
    read: list[bytes] = []
    stopped = loop.io(wires[0].fd, READ | WRITE)
    reader = loop.io(wires[0].fd, READ)
    others = [loop.io(wire.fd, READ) for wire in wires[1:]]

    def read_other(wire: Wire) -> None:
        read.append(wire.read())

    stopped.start(print)
    reader.start(lambda: read.append(wires[0].read()))
    for other, wire in zip(others, wires[1:], strict=True):
        other.start(read_other, wire)
        wire.send(b"other")
    stopped.stop()  # its fd is writable, and nobody wants that any more
    failing.watch_faults += [out_of(errno.ENOMEM), out_of(errno.ENOMEM)]
    for _ in range(5):
        turn(loop)
    assert [context for context, _ in told.errors] == [loop]
    assert failing.watch_faults == []
    wires[0].send(b"this one")
    turn(loop)
    assert sorted(read) == [b"other", b"other", b"this one"]
    for watcher in (stopped, reader, *others):
        watcher.close()


@pytest.mark.parametrize("loop", ["poll", "select"], indirect=True)
def test_a_wake_fd_that_is_empty_already_is_no_fault(loop: Loop, told: Told) -> None:
    # In a forked child that shares it, say, or after an interrupt between the reading and the next step.
    loop._wakeup.wake()
    os.read(loop._wakeup.fd, 8)
    loop._wakeup.deliver(READ)
    assert told.errors == []


def test_the_fd_of_a_poller_closed_by_a_stranger_is_one_clear_error(told: Told) -> None:
    loop = Loop("epoll", default=False)  # a default one would make a pipe, in that very number, before it sleeps
    fd = loop.fileno()
    assert fd is not None
    keep = os.dup(fd)
    os.close(fd)
    loop.ref()
    try:
        with pytest.raises(OSError, match="Bad file descriptor"):
            loop.run()
    finally:
        os.dup2(keep, fd)
        os.close(keep)
        loop.destroy()


# -- making one -----------------------------------------------------------------------------------------------------


@contextmanager
def room_for(fds: int) -> Iterator[None]:
    """So many more file descriptors can be opened, and none after that."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    filler: list[int] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 2, before[1]))
    try:
        while True:  # also the gaps
            filler.append(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        for fd in filler[len(filler) - fds :]:
            os.close(fd)
        del filler[len(filler) - fds :]
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        for fd in filler:
            os.close(fd)


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="counts file descriptors in /proc")
@pytest.mark.parametrize("backend", ["epoll", "poll", "select"])
def test_a_loop_for_which_there_are_too_few_fds_is_refused_and_keeps_none(backend: str) -> None:
    needed = 2 if backend == "epoll" else 1
    for room in range(needed):
        with room_for(room):
            with pytest.raises(OSError, match="Too many open files"):
                Loop(backend)
            made = [os.open(os.devnull, os.O_RDONLY) for _ in range(room)]  # all of it is free again
            for fd in made:
                os.close(fd)
    with room_for(needed):
        loop = Loop(backend)
        loop.run_callback(int)
        loop.run()
        loop.destroy()


# -- the watch that the system refuses ------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [errno.ENOMEM, errno.ENOSPC, errno.EBADF])
@pytest.mark.parametrize("how", ["register", "io"])
def test_an_fd_that_the_system_refuses_is_an_error_at_the_call_and_can_be_tried_again(
    loop: Loop, wire: Wire, failing: Failing, how: str, number: int
) -> None:
    seen: list[int] = []
    watcher = loop.io(wire.fd, READ)

    def begin() -> Callable[[], object]:
        if how == "register":
            registration = loop.register(wire.fd, seen.append)
            registration.want(READ)
            return registration.close
        watcher.start(seen.append, pass_events=True)
        return watcher.close

    failing.watch_faults.append(out_of(number))
    with pytest.raises(OSError, match=os.strerror(number)):
        begin()
    assert loop.activecnt == 0
    assert loop._registrations == {}
    end = begin()
    wire.send()
    loop.run(once=True)
    assert seen[-1] & READ
    end()


# -- nobody left to tell --------------------------------------------------------------------------------------------


class Gone(io.StringIO):
    """A stream whose terminal was closed."""

    def write(self, text: str) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))


class Unspeakable(Exception):
    """An exception that cannot be printed."""

    def __str__(self) -> str:
        raise ZeroDivisionError


def closed_stream() -> io.StringIO:
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize("stream", [Gone, closed_stream, lambda: None], ids=["raises", "closed", "None"])
@pytest.mark.parametrize("cause", ["callback", "watcher", "owner", "poll", "handler"])
def test_with_a_stderr_that_takes_nothing_the_loop_goes_on_and_stdout_stays_clean(
    loop: Loop,
    wire: Wire,
    failing: Failing,
    cause: str,
    stream: Callable[[], io.StringIO | None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*args: object) -> None:
        raise Unspeakable

    registration = loop.register(wire.fd, fail if cause == "owner" else int)
    turn(loop)
    registration.clear(READ)
    registration.want(READ)
    wire.send()
    watcher = loop.timer(0.0)
    if cause == "handler":
        told = Told()
        told.handle_error = fail  # type: ignore[method-assign]  # of this one object
        loop.error_handler = told
    if cause == "watcher":
        watcher.start(fail)
    elif cause == "poll":
        failing.poll_faults.append(out_of(errno.ENOMEM))
    elif cause != "owner":
        loop.run_callback(fail)
    monkeypatch.setattr(sys, "stderr", stream())
    ran: list[str] = []
    loop.run_callback(ran.append, "the next one")
    turn(loop)
    turn(loop)
    monkeypatch.undo()
    registration.close()
    assert ran == ["the next one"]
    assert capsys.readouterr().out == ""


def test_a_handler_that_raises_at_every_error_stops_nothing(
    loop: Loop, clock: ManualClock, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*args: object) -> None:
        ran.append(len(ran))
        raise Unspeakable

    ran: list[int] = []
    told = Told()
    told.handle_error = fail  # type: ignore[method-assign]  # of this one object
    loop.error_handler = told
    with loop.timer(1.0, 1.0) as timer:
        timer.start(fail)
        for _ in range(10):
            clock.advance(1.0)
            turn(loop)
    assert len(ran) == 20  # the callback and the handler, each time
    assert capsys.readouterr().err.count("Unspeakable") >= 20
