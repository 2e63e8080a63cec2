"""What every part of the kit stands on: the loop under test, its time, wires, kinds of watchers, other threads.

Receives: a subclass's `make_loop` and what it declares.  Gives: fixtures and a few helpers to the parts.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Protocol, cast

import pytest

from hub_api import READ, WRITE, ILoop, ILoopCore, IWatcher
from hub_loop.testing._fake import FakePoller, ManualClock

TICK = 0.004
"""Seconds: what timers of the kit wait for, so that in real time it takes no longer than it must."""

KINDS = ("timer", "repeating", "io", "async", "prepare", "check", "idle")
"""Kinds of watchers whose event the kit can make happen at will."""
WHOLE = ("signal", "child", "fork", "stat")
"""What `ILoop` has and `ILoopCore` has not."""

WhenAsleep = Callable[[Callable[[], object]], None]


class LoopKit:
    """The loop under test, and what it declares.

    A subclass makes the loop, and may say three things about it, as class attributes or in `make_loop`:

    - `lacks`: which of "signal", "child", "fork", "stat" it does not offer.  A loop that is an `ILoopCore` and no more
      lacks all four; their tests are then skipped.
    - `clock`: the `ManualClock` that it runs on, if it does.  Its poll must move that clock instead of sleeping, as
      `FakePoller` does.  Else the kit lives in real time.
    - `fake`: the `FakePoller(real_fds=True)` that it runs on, if it does; the kit then tells it what the other ends of
      its sockets do.
    """

    lacks: ClassVar[Collection[str]] = ()
    clock: ManualClock | None = None
    fake: FakePoller | None = None

    def make_loop(self) -> ILoopCore:
        """Make the loop under test; called for each test anew, in the thread that the loop shall belong to."""
        raise NotImplementedError(f"{type(self).__name__} must say how its loop is made: override make_loop")

    @pytest.fixture
    def loop(self) -> Iterator[ILoopCore]:
        """The loop under test; it is destroyed afterwards."""
        made = self.make_loop()
        yield made
        made.destroy()

    def offering(self, loop: ILoopCore, kind: str) -> ILoop:
        """The same loop as the whole interface; skips the test if the loop lacks that kind of watcher."""
        if kind in self.lacks:
            pytest.skip(f"the loop offers no {kind} watchers")
        return cast(ILoop, loop)

    # -- time -------------------------------------------------------------------------------------------------------

    def time(self) -> float:
        """Seconds, as the loop's own clock has them."""
        return time.monotonic() if self.clock is None else self.clock()

    def pass_time(self, seconds: float) -> None:
        """Let at least so much time pass."""
        if self.clock is None:
            time.sleep(seconds)
        else:
            self.clock.advance(seconds)

    # -- fds --------------------------------------------------------------------------------------------------------

    @pytest.fixture
    def make_wire(self, loop: ILoopCore) -> Iterator[MakeWire]:
        """Makes wires whose near ends the loop can watch."""
        with making_wires(self.fake) as make:
            yield make

    @pytest.fixture
    def wire(self, make_wire: MakeWire) -> Wire:
        """One wire."""
        return make_wire()

    # -- watchers ---------------------------------------------------------------------------------------------------

    @pytest.fixture(params=[*KINDS, "signal", "child", "stat"])
    def kind(
        self, request: pytest.FixtureRequest, loop: ILoopCore, make_wire: MakeWire, tmp_path: Path
    ) -> Iterator[Kind]:
        """Each kind of watcher whose event can be made to happen here and now."""
        if request.param == "stat" and self.clock is None:
            pytest.skip("a stat watcher may look no oftener than every tenth of a second: asked where time is free")
        yield from self._kind(request.param, loop, make_wire, tmp_path)

    @pytest.fixture(params=[*KINDS, *WHOLE])
    def any_kind(
        self, request: pytest.FixtureRequest, loop: ILoopCore, make_wire: MakeWire, tmp_path: Path
    ) -> Iterator[Kind]:
        """Each kind of watcher, those included whose event takes a fork or time."""
        yield from self._kind(request.param, loop, make_wire, tmp_path)

    def _kind(self, name: str, loop: ILoopCore, make_wire: MakeWire, folder: Path) -> Iterator[Kind]:
        if name == "timer":
            yield Kind(name, lambda **options: loop.timer(TICK, **options), self._wait_a_tick)
        elif name == "repeating":
            yield Kind(name, lambda **options: loop.timer(TICK, TICK, **options), self._wait_a_tick)
        elif name == "io":
            wire = make_wire()
            yield Kind(
                name,
                lambda **options: loop.io(wire.fd, READ, **options),
                lambda watcher: wire.send(),
                lambda: wire.read(),
            )
        elif name == "async":
            yield Kind(name, loop.async_, lambda watcher: watcher.send())
        elif name == "signal":
            yield from self._signal_kind(loop)
        elif name == "child":
            yield from self._child_kind(loop)
        elif name == "fork":
            yield Kind(name, self.offering(loop, name).fork)
        elif name == "stat":
            yield self._stat_kind(loop, folder / "watched")
        else:
            yield Kind(name, getattr(loop, name))  # its event happens in every turn

    def _wait_a_tick(self, watcher: object) -> None:
        self.pass_time(TICK)

    def _signal_kind(self, loop: ILoopCore) -> Iterator[Kind]:
        whole = self.offering(loop, "signal")
        # With no watcher active the signal is Python's again, and would end the process.
        before = signal.signal(signal.SIGUSR1, lambda signum, frame: None)
        try:
            yield Kind(
                "signal",
                lambda **options: whole.signal(signal.SIGUSR1, **options),
                lambda watcher: signal.raise_signal(signal.SIGUSR1),
            )
        finally:
            signal.signal(signal.SIGUSR1, before)

    def _stat_kind(self, loop: ILoopCore, path: Path) -> Kind:
        whole = self.offering(loop, "stat")

        def change(watcher: object) -> None:
            with path.open("a") as file:
                file.write("more")
            self.pass_time(10.0)  # longer than the interval

        return Kind("stat", lambda **options: whole.stat(str(path), **options), change)

    def _child_kind(self, loop: ILoopCore) -> Iterator[Kind]:
        whole = self.offering(loop, "child")
        with Child() as child:
            yield Kind("child", partial(whole.child, child.pid), lambda watcher: child.end_by_force(), once=True)

    # -- other threads ----------------------------------------------------------------------------------------------

    @pytest.fixture
    def when_asleep(self, loop: ILoopCore) -> Iterator[WhenAsleep]:
        """Have another thread call a function as soon as the loop sleeps in its poll."""
        with calling_when_asleep(loop) as when_asleep:
            yield when_asleep


class Wire:
    """Two connected sockets: the near end is what a loop watches; a fake poller is told of the far end."""

    def __init__(self, fake: FakePoller | None = None, number: int | None = None) -> None:
        self._fake: FakePoller | None = fake
        near, far = socket.socketpair()
        if far.fileno() == number:  # a number that was closed is free, and the system gives the lowest ones first
            near, far = far, near
        if number is not None and near.fileno() != number:
            os.dup2(near.fileno(), number)
            near.close()
            near = socket.socket(fileno=number)
        self._near: socket.socket = near
        self._far: socket.socket = far
        self.fd: int = near.fileno()
        near.setblocking(False)
        far.setblocking(False)
        if fake is not None:
            fake.replace(self.fd)
            fake.make_ready(self.fd, WRITE)

    def send(self, data: bytes = b"x") -> None:
        """The far end sends: the near end becomes readable."""
        self._far.send(data)
        if self._fake is not None:
            self._fake.make_ready(self.fd, READ)

    def read(self, most: int = 1 << 20) -> bytes:
        """Read at the near end what is there, or `most` bytes of it."""
        data = self._near.recv(most)
        if self._fake is not None and len(data) < most:
            self._fake.drain(self.fd, READ)
        return data

    def fill(self) -> None:
        """Send at the near end until nothing more goes in."""
        try:
            while True:
                self._near.send(bytes(1 << 16))
        except BlockingIOError:
            pass
        if self._fake is not None:
            self._fake.drain(self.fd, WRITE)

    def make_room(self) -> None:
        """Read everything at the far end: the near end becomes writable."""
        try:
            while self._far.recv(1 << 20):
                pass
        except BlockingIOError:
            pass
        if self._fake is not None:
            self._fake.make_ready(self.fd, WRITE)

    def shut(self) -> None:
        """The far end says that it will send no more."""
        self._far.shutdown(socket.SHUT_WR)
        if self._fake is not None:
            self._fake.shut(self.fd)

    def hang_up(self) -> None:
        """The far end closes."""
        self._far.close()
        if self._fake is not None:
            self._fake.hang_up(self.fd)

    def close_near(self) -> None:
        """Close the number that the loop watches."""
        self._near.close()
        if self._fake is not None:
            self._fake.replace(self.fd)

    def close(self) -> None:
        """Close what is still open."""
        self._near.close()
        self._far.close()


class MakeWire(Protocol):
    """What the fixture `make_wire` gives; with a number, the near end takes that fd's place."""

    def __call__(self, number: int | None = None) -> Wire: ...


@contextmanager
def making_wires(fake: FakePoller | None) -> Iterator[MakeWire]:
    """What makes wires, which are closed in the end; the poller is told of them if it is a fake one."""
    wires: list[Wire] = []

    def make(number: int | None = None) -> Wire:
        wires.append(Wire(fake, number))
        return wires[-1]

    yield make
    for wire in wires:
        wire.close()


@dataclass
class Kind:
    """One kind of watcher: how one is made, and how its event is made to happen."""

    name: str
    make: Callable[..., IWatcher]
    happen: Callable[[Any], object] = lambda watcher: None
    calm: Callable[[], object] = lambda: None
    """Called after the callback by a user who does not want the same event again."""
    once: bool = False
    """Whether the event can happen once only."""


class Child:
    """A child process that lives until it is told to end; a context manager that leaves no process behind."""

    def __init__(self) -> None:
        reader, writer = os.pipe()
        self._writer: int = writer
        self.pid: int = os.fork()
        if self.pid == 0:
            os.close(self._writer)
            status = 99
            try:
                told = os.read(reader, 1)  # the end of the file, if the parent goes away
                status = told[0] if told else 98
            finally:
                os._exit(status)
        os.close(reader)

    def end(self, status: int = 0) -> None:
        """Let it end with that status, and wait until it has; whoever watches it has it still to reap."""
        os.write(self._writer, bytes([status]))
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)

    def end_by_force(self) -> None:
        """Have it ended, if it has not; as in `end`."""
        try:
            os.kill(self.pid, signal.SIGKILL)
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        except (ChildProcessError, ProcessLookupError):
            pass  # it has, and was waited for

    def kill(self, signum: int) -> None:
        """Send it a signal."""
        os.kill(self.pid, signum)

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *error: object) -> None:
        os.close(self._writer)
        try:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        except (ChildProcessError, ProcessLookupError):
            pass  # the loop has reaped it already


class ErrorLog:
    """An error handler that keeps what it is told."""

    def __init__(self) -> None:
        self.seen: list[tuple[object, BaseException]] = []

    def handle_error(self, context: object, type: type[BaseException], value: BaseException, tb: object, /) -> None:
        """Keep one exception."""
        assert isinstance(value, type)
        self.seen.append((context, value))


def turn(loop: ILoopCore) -> None:
    """One turn that does not block."""
    loop.run(nowait=True)


def all_of(*funcs: Callable[[], object]) -> Callable[[], None]:
    """A function that calls all of these, in order."""

    def call() -> None:
        for func in funcs:
            func()

    return call


def fail(error: BaseException) -> None:
    """Raise it."""
    raise error


@contextmanager
def calling_when_asleep(loop: ILoopCore) -> Iterator[WhenAsleep]:
    """A function that has another thread call a function as soon as the loop sleeps in its poll."""
    threads: list[threading.Thread] = []

    def when_asleep(func: Callable[[], object]) -> None:
        def wait_and_call() -> None:
            deadline = time.monotonic() + 30.0
            while not loop.sleeping and time.monotonic() < deadline:
                time.sleep(0)  # only gives way: the loop's thread needs the interpreter to get there
            func()

        threads.append(threading.Thread(target=wait_and_call))
        threads[-1].start()

    try:
        yield when_asleep
    finally:
        for thread in threads:
            thread.join()


def raised_by(func: Callable[[], object]) -> BaseException | None:
    """Call a function; what it raised."""
    try:
        func()
    except BaseException as error:
        return error
    return None


def in_thread(func: Callable[[], object]) -> BaseException | None:
    """Call a function in another thread; what it raised."""
    raised: list[BaseException | None] = [None]

    def call() -> None:
        raised[0] = raised_by(func)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    return raised[0]


def in_child(func: Callable[[], str]) -> str:
    """What a function returns in a forked child; "raised ..." if it raises.  The child is given thirty seconds."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        signal.alarm(30)
        try:
            text = func()
        except BaseException as error:
            text = f"raised {error!r}"
        finally:
            os.write(writer, text.encode())
            os._exit(0)
    os.close(writer)
    try:
        said = b""
        while chunk := os.read(reader, 1 << 16):
            said += chunk
    finally:
        os.close(reader)
        status = os.waitpid(pid, 0)[1]
    assert status == 0, f"the child ended with wait status {status}, after {said!r}"
    return said.decode()
