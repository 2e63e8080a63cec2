"""What the loop's tests add to the kit's: wires, eyes, marks and helpers for the fixture `loop`, and a model of kqueue.

Rule: what any loop promises is tested by the kit (`hub_loop.testing.conformance`, run by test_conformance.py).  The
other files here test what is ours alone: internals, texts, what a certain poller does, time to the very instant.
"""

from __future__ import annotations

import _thread
import errno
import os
import select
import signal
import socket
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from tests.hub_loop.eyes import HAS_INOTIFY, REAL, Eye

from hub_loop import READ, WRITE, Loop, _signals, _stat, supported
from hub_loop.pollers import create
from hub_loop.testing import FakePoller, ManualClock, active_watchers
from hub_loop.testing.conformance import Wire
from hub_loop.testing.conformance._kit import MakeWire, WhenAsleep, calling_when_asleep, in_thread, making_wires, turn
from hub_loop.testing.conformance._signal_handlers import Interrupting, interrupting

if TYPE_CHECKING:
    from hub_loop.pollers import Poller

__all__ = ["MakeWire", "Wire", "in_thread", "turn"]  # the kit's; the other files have them from here

MakeChild = Callable[..., int]
"""What the fixture `make_child` gives."""

on_real_ones = pytest.mark.parametrize("loop", ["epoll", "poll", "select"], indirect=True)
on_epoll = pytest.mark.parametrize("loop", ["epoll"], indirect=True)
on_fake = pytest.mark.parametrize("loop", ["fake"], indirect=True)
needs_pidfd = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="this system has no pidfds")
needs_waitid = pytest.mark.skipif(not hasattr(os, "waitid"), reason="this system has no waitid")


def until(loop: Loop, reached: Callable[[], object]) -> None:
    """Turn until a condition holds; pytest-timeout ends what never does."""
    while not reached():
        loop.run(once=True)


# -- wires and wake-ups -----------------------------------------------------------------------------------------------


@pytest.fixture
def make_wire(loop: Loop) -> Iterator[MakeWire]:
    """Makes wires whose near ends this test's loop can watch."""
    with making_wires(loop._poller if isinstance(loop._poller, FakePoller) else None) as make:
        yield make


def rest(loop: Loop) -> None:
    """Sleep for a moment."""
    with loop.timer(0.001) as timer:
        timer.start(timer.stop)
        while timer.active:
            loop.run(once=True)


@pytest.fixture
def wire(make_wire: MakeWire) -> Wire:
    """One wire."""
    return make_wire()


@pytest.fixture
def from_thread(loop: Loop) -> Iterator[WhenAsleep]:
    """Have another thread call a function as soon as the loop sleeps in its poll."""
    with calling_when_asleep(loop) as when_asleep:
        yield when_asleep


@pytest.fixture
def from_signal_handler(loop: Loop) -> Interrupting:
    """Within `with from_signal_handler(func)`, call a function once from a signal handler that interrupts the poll."""
    return partial(interrupting, loop)


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
def no_signal_stays_watched() -> Iterator[None]:
    """The process's wake-up fd, and the tables of signal watchers, are as before."""
    yield
    assert not any(_signals._watchers.values())
    assert _signals._door is None
    assert signal.set_wakeup_fd(-1) == -1


# -- users of fds -----------------------------------------------------------------------------------------------------

BOTH = READ | WRITE


class User:
    """Waits for an fd in one of the two ways, again and again, and keeps what it is told."""

    def __init__(self, loop: Loop, how: str, fd: int, events: int = READ) -> None:
        self.told: list[int] = []
        self._how, self._events = how, events
        self.handle: Any
        if how == "io":
            self.handle = loop.io(fd, events)
            self.handle.start(self.told.append, pass_events=True)
        else:
            self.handle = loop.register(fd, self.told.append)
            turn(loop)  # the first edges
            self.handle.clear(BOTH)
            self.handle.want(events)

    def again(self) -> None:
        """Wait for the next event, as whoever has read everything does."""
        self.told.clear()
        if self._how == "owner":
            self.handle.clear(BOTH)
            self.handle.want(self._events)

    @property
    def last(self) -> list[int]:
        """What is told of an fd that leaves the loop."""
        return [self._events] if self._how == "io" else [0]

    def close(self) -> None:
        self.handle.close()


# -- children ---------------------------------------------------------------------------------------------------------


def exits(code: int) -> Callable[[], None]:
    """What a child does that ends at once."""
    return lambda: os._exit(code)


def await_zombie(pid: int) -> None:
    """Stay until a child has ended; it is not waited for."""
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


@pytest.fixture
def make_child() -> Iterator[MakeChild]:
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
        await_zombie(pid)
    except ChildProcessError:
        pass


# -- forks ------------------------------------------------------------------------------------------------------------


def assert_it_works(loop: Loop) -> None:
    """A loop that turns: own callbacks, posts, a thread's wake-up out of a blocking poll, and an fd."""
    seen: list[object] = []
    loop.run_callback(seen.append, "own")
    loop.run_callback_threadsafe(seen.append, "posted")
    turn(loop)
    assert seen == ["own", "posted"]
    near, far = socket.socketpair()
    fake = loop._poller if isinstance(loop._poller, FakePoller) else None
    if fake is not None:
        fake.replace(near.fileno())
        fake.make_ready(near.fileno(), READ)
    far.send(b"x")
    with loop.io(near.fileno(), READ) as watcher:
        watcher.start(loop.break_)
        loop.run()
    woken = threading.Event()

    def wake() -> None:
        while not loop.sleeping and not woken.is_set():
            pass
        loop.run_callback_threadsafe(loop.break_)

    thread = threading.Thread(target=wake)
    with loop.async_() as keep_going:
        keep_going.start(seen.append, "nobody sends")
        thread.start()
        loop.run()
        woken.set()
        thread.join()
    near.close()
    far.close()


# -- kqueue, modelled -------------------------------------------------------------------------------------------------


class KqueueModel:
    """What `select.kqueue` does, as kqueue(2) of FreeBSD and macOS has it, by means of epoll.

    READ and WRITE are two filters, each with a state of its own, so each has an epoll of its own.  EV_ADD of a filter
    that is there updates it, and reports what is ready at that moment; EV_CLEAR reports changes; EV_DELETE of one that
    is not there is ENOENT, of a closed number EBADF.  EV_EOF on READ says that the peer sends no more, on WRITE that
    nobody will read.  What cannot be polled is EINVAL.  Not modelled: a filter belongs to the number, so that a dup
    does not keep it (our loop tells the poller before an fd is closed); a regular file is ready for READ unless it is
    at its end (our back-end does not ask about regular files).
    """

    def __init__(self) -> None:
        self._filters = {kind: select.epoll() for kind in (KERNEL.KQ_FILTER_READ, KERNEL.KQ_FILTER_WRITE)}
        self._both = select.epoll()
        self.closed = False
        self.control: Any = self._control
        for one in self._filters.values():
            self._both.register(one.fileno(), select.EPOLLIN)

    def _control(self, changes: Any, most: int, timeout: float | None = None) -> list[Any]:
        for change in changes or ():
            self._change(change)
        end = None if timeout is None else time.monotonic() + timeout
        while most:
            found = self._look(most)
            left = None if end is None else max(end - time.monotonic(), 0.0)
            if found or left == 0.0:
                return found
            self._both.poll(left)
        return []

    def _change(self, change: Any) -> None:
        poller, fd = self._filters[change.filter], change.ident
        mask = select.EPOLLOUT
        if change.filter == KERNEL.KQ_FILTER_READ:
            mask = select.EPOLLIN | select.EPOLLRDHUP
        if change.flags & KERNEL.KQ_EV_CLEAR:
            mask |= select.EPOLLET
        deleting = bool(change.flags & KERNEL.KQ_EV_DELETE)
        try:
            if deleting:
                poller.unregister(fd)
            else:
                self._add(poller, fd, mask)
        except PermissionError:  # what epoll says of all that it does not poll
            number = errno.ENOENT if deleting else errno.EINVAL
            raise OSError(number, os.strerror(number)) from None

    @staticmethod
    def _add(poller: select.epoll, fd: int, mask: int) -> None:
        try:
            poller.register(fd, mask)
        except FileExistsError:
            poller.modify(fd, mask)

    def _look(self, most: int) -> list[Any]:
        found: list[Any] = []
        for kind, poller in self._filters.items():
            ends = select.EPOLLHUP | select.EPOLLERR | (select.EPOLLRDHUP if kind == KERNEL.KQ_FILTER_READ else 0)
            for fd, mask in poller.poll(0.0, most):
                found.append(KERNEL.kevent(fd, kind, KERNEL.KQ_EV_ADD | (KERNEL.KQ_EV_EOF if mask & ends else 0)))
        return found[:most]

    def fileno(self) -> int:
        return self._both.fileno()

    def close(self) -> None:
        self.closed = True
        self.control = "{1:q}".format  # as the real one then does: raises ValueError, and not in a frame of Python
        for one in (self._both, *self._filters.values()):
            one.close()


KERNEL = SimpleNamespace(
    kqueue=KqueueModel,
    kevent=lambda ident, filter, flags: SimpleNamespace(ident=ident, filter=filter, flags=flags),
    KQ_FILTER_READ=-1,
    KQ_FILTER_WRITE=-2,
    KQ_EV_ADD=1,
    KQ_EV_DELETE=2,
    KQ_EV_CLEAR=0x20,
    KQ_EV_EOF=0x8000,
)


@pytest.fixture
def kqueue_or_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the kqueue back-end find a kqueue: the system's own, or the model."""
    if not hasattr(select, "kqueue"):
        monkeypatch.setattr("hub_loop.pollers.kqueue._kernel", KERNEL)


# -- paths ------------------------------------------------------------------------------------------------------------


@pytest.fixture(
    params=[
        *(f"polling-{name}" for name in (*REAL, "fake")),
        *(f"inotify-{name}" for name in REAL if HAS_INOTIFY),
    ]
)
def eye(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Eye]:
    """Each mechanism on each poller; the clock moves only for polling, so inotify gets no help from it."""
    way, poller = request.param.split("-")
    if way == "polling":
        monkeypatch.setattr(_stat, "find_inotify", lambda: None)
    else:
        assert _stat.find_inotify() is not None, "the tests' environment has inotify_simple"
    clock = ManualClock()
    made = Loop(poller=FakePoller(clock), clock=clock) if poller == "fake" else Loop(poller, clock=clock)
    eye = Eye(made, clock, way == "polling")
    yield eye
    for watcher in eye.watchers:
        watcher.close()
    assert active_watchers(made) == []
    assert made.activecnt == 0
    assert made._inotify is None
    made.destroy()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of five bytes."""
    path = tmp_path / "file"
    path.write_text("first")
    return path


# -- pollers ----------------------------------------------------------------------------------------------------------


@pytest.fixture(params=[*(name for name in supported() if name != "kqueue"), "kqueue"])
def poller(request: pytest.FixtureRequest) -> Iterator[Poller]:
    """Each real back-end of this machine that the tests know how to provoke."""
    if request.param == "kqueue":
        request.getfixturevalue("kqueue_or_model")
    made = create(request.param)
    yield made
    made.close()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two connected sockets that do not block."""
    near, far = socket.socketpair()
    near.setblocking(False)
    far.setblocking(False)
    yield near, far
    near.close()
    far.close()
