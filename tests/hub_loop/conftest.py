"""What the loop's tests add: wires (a pair of sockets on any poller), watchers of every kind, helpers inside a poll."""

from __future__ import annotations

import _thread
import errno
import os
import signal
import socket
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest

from hub_api import READ, WRITE
from hub_loop import Loop, _fork
from hub_loop._watcher import Watcher
from hub_loop.testing import FakePoller, ManualClock


class Wire:
    """Two connected sockets: the near end is what a loop watches; a fake poller is told of the far end."""

    def __init__(self, fake: FakePoller | None, number: int | None = None) -> None:
        self._fake = fake
        near, far = socket.socketpair()
        if far.fileno() == number:  # a number that was closed is free, and the system gives the lowest ones first
            near, far = far, near
        if number is not None and near.fileno() != number:
            os.dup2(near.fileno(), number)
            near.close()
            near = socket.socket(fileno=number)
        self._near, self._far = near, far
        self.fd = near.fileno()
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


@pytest.fixture
def make_wire(loop: Loop) -> Iterator[MakeWire]:
    """Makes wires whose near ends this test's loop can watch."""
    fake = loop._poller if isinstance(loop._poller, FakePoller) else None
    wires: list[Wire] = []

    def make(number: int | None = None) -> Wire:
        wires.append(Wire(fake, number))
        return wires[-1]

    yield make
    for wire in wires:
        wire.close()


@pytest.fixture
def wire(make_wire: MakeWire) -> Wire:
    """One wire."""
    return make_wire()


@dataclass
class Kind:
    """One kind of watcher: how one is made, and how its event is made to happen."""

    name: str
    make: Callable[..., Watcher]
    happen: Callable[[Watcher], object]
    calm: Callable[[], object] = lambda: None
    """Called after the callback by a user who does not want the same event again."""


KINDS = ["timer", "repeating", "io", "async", "prepare", "check", "idle", "signal", "child", "fork", "stat"]


@pytest.fixture
def usr2() -> Iterator[list[int]]:
    """Have SIGUSR2 handled by a stranger, who must be there again in the end; the signals that the stranger got."""
    got: list[int] = []

    def stranger(signum: int, frame: object) -> None:
        got.append(signum)

    before = signal.signal(signal.SIGUSR2, stranger)
    yield got
    left = signal.signal(signal.SIGUSR2, before)
    assert left is stranger


@pytest.fixture
def make_child() -> Iterator[Callable[..., int]]:
    """Forks children that do what the given function does, or wait to be killed; they end with the test."""
    pids: list[int] = []

    def make(do: Callable[[], object] = signal.pause) -> int:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # 3.12: fork while threads run; the child execs nothing
            pid = os.fork()
        if pid == 0:
            try:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                do()
            finally:
                os._exit(99)  # reached by an exception only, or after a signal that woke the pause
        pids.append(pid)
        return pid

    yield make
    for pid in pids:
        end(pid)
        try:
            os.waitpid(pid, 0)
        except ChildProcessError:
            pass  # a watcher has


@pytest.fixture(params=["pidfd", "thread", "thread without waitid"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How child watchers wait in this test: by what the system has, or by what is taken where it has less."""

    def no_pidfd(pid: int) -> int:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    if request.param == "pidfd" and not hasattr(os, "pidfd_open"):
        pytest.skip("this system has no pidfds")
    if request.param == "thread":
        monkeypatch.setattr("hub_loop._children.pidfd_open", no_pidfd)
    elif request.param == "thread without waitid":
        monkeypatch.setattr("hub_loop._children.pidfd_open", None)
        monkeypatch.setattr("hub_loop._children.waitid", None)
    return str(request.param)


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> list[Callable[..., object]]:
    """What the waiter threads that this test started were started for."""
    started: list[Callable[..., object]] = []

    def start(func: Callable[..., object], args: tuple[()]) -> int:
        started.append(func)
        return _thread.start_new_thread(func, args)

    monkeypatch.setattr("hub_loop._children.start_new_thread", start)
    return started


def end(pid: int) -> None:
    """Kill a child of this process, unless it was waited for, and stay until it has ended; it is not waited for."""
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    except ChildProcessError:
        pass


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest, loop: Loop, clock: ManualClock, make_wire: MakeWire, tmp_path: Path) -> Kind:
    """Each kind of watcher."""

    def wait(watcher: Watcher) -> None:
        clock.advance(1.0)

    def nothing(watcher: Watcher) -> None:
        """It happens in every turn."""

    if request.param == "timer":
        return Kind("timer", lambda **options: loop.timer(1.0, **options), wait)
    if request.param == "repeating":
        return Kind("timer", lambda **options: loop.timer(1.0, 1.0, **options), wait)
    if request.param == "io":
        wire = make_wire()
        return Kind(
            "io", lambda **options: loop.io(wire.fd, READ, **options), lambda watcher: wire.send(), lambda: wire.read()
        )
    if request.param == "fork":

        def as_in_a_child(watcher: Watcher) -> None:
            loop._fork_state = _fork.RENEWED  # test_fork.py has real children

        return Kind("fork", loop.fork, as_in_a_child)
    if request.param == "stat":
        path = tmp_path / "watched"

        def change(watcher: Watcher) -> None:
            with path.open("a") as file:
                file.write("more")
            clock.advance(10.0)  # longer than the interval, for the poller that knows nothing of inotify

        return Kind("stat", lambda **options: loop.stat(path, **options), change)
    if request.param == "async":
        return Kind("async", loop.async_, lambda watcher: _send(watcher))
    if request.param == "signal":
        request.getfixturevalue("usr2")
        return Kind(
            "signal",
            lambda **options: loop.signal(signal.SIGUSR2, **options),
            lambda watcher: signal.raise_signal(signal.SIGUSR2),
        )
    if request.param == "child":
        return _child_kind(loop, request.getfixturevalue("make_child")())
    return Kind(request.param, getattr(loop, request.param), nothing)


def _child_kind(loop: Loop, pid: int) -> Kind:
    def make(priority: int | None = None, **options: bool) -> Watcher:
        watcher = loop.child(pid, **options)
        watcher.priority = priority  # `child` takes none
        return watcher

    return Kind("child", make, lambda watcher: end_and_tell(loop, pid))


def end_and_tell(loop: Loop, pid: int) -> None:
    """Kill a child; a fake poller is told that its pidfd, if it has one, is readable."""
    end(pid)
    sentinel = loop._sentinels.get(pid)
    if isinstance(loop._poller, FakePoller) and sentinel is not None and sentinel._fd >= 0:
        loop._poller.make_ready(sentinel._fd, READ)


def _send(watcher: Any) -> None:
    watcher.send()


@pytest.fixture
def from_thread(loop: Loop) -> Iterator[Callable[[Callable[[], object]], None]]:
    """Have another thread call a function as soon as the loop sleeps in its poll."""
    threads: list[threading.Thread] = []

    def when_asleep(func: Callable[[], object]) -> None:
        def wait_and_call() -> None:
            while not loop.sleeping:
                time.sleep(0)  # only gives way: the loop's thread needs the interpreter to get there
            func()

        threads.append(threading.Thread(target=wait_and_call))
        threads[-1].start()

    yield when_asleep
    for thread in threads:
        thread.join()


@pytest.fixture
def from_signal_handler(loop: Loop) -> Callable[[Callable[[], object]], AbstractContextManager[None]]:
    """Within `with from_signal_handler(func)`, call a function once from a signal handler that interrupts the poll."""

    @contextmanager
    def handling(func: Callable[[], object]) -> Iterator[None]:
        done = threading.Event()
        main = threading.get_ident()

        def handler(signum: int, frame: object) -> None:
            if not done.is_set():
                done.set()
                func()

        def send() -> None:
            # Again and again: a signal between the last look of the interpreter and the system call is not seen.
            while not done.is_set():
                if loop.sleeping:
                    signal.pthread_kill(main, signal.SIGUSR1)
                done.wait(0.001)

        before = signal.signal(signal.SIGUSR1, handler)
        sender = threading.Thread(target=send)
        sender.start()
        try:
            yield
        finally:
            done.set()
            sender.join()
            signal.signal(signal.SIGUSR1, before)

    return handling
