"""Hubs for the tests of hub-core: on a real loop, on each poller, and on a clock that moves only when told to.

hub-core has no loop, so these come from hub-loop, which packages/hub-core/pyproject.toml names for its tests alone.
A report that a hub printed and no test has read fails the test: errors in spawned greenlets go nowhere else.
"""

import io
import socket
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest

from hub_core import Hub, get_hub_if_exists, set_hub, set_loop
from hub_loop import Loop, supported
from hub_loop.testing import FakePoller, ManualClock

MakeLoop = Callable[..., Loop]
Pair = tuple[socket.socket, socket.socket]
T = TypeVar("T")


class Failure(Exception):
    """Thrown by tests."""


class Reports(io.StringIO):
    """Where a hub under test prints; what it printed must be taken."""

    def take(self) -> str:
        """Return what was printed since the last call."""
        text = self.getvalue()
        self.seek(0)
        self.truncate()
        return text


def _lend(loop: Loop, reports: Reports) -> Iterator[Hub]:
    assert get_hub_if_exists() is None, "the test before left its hub"
    hub = Hub(loop)
    hub.exception_stream = reports
    set_hub(hub)
    try:
        yield hub
    finally:
        last = get_hub_if_exists()
        if last is not None:
            last.destroy(destroy_loop=True)
        hub.destroy(destroy_loop=True)
        loop.destroy()
        set_hub(None)
        set_loop(None)
    assert reports.take() == ""


@pytest.fixture
def reports() -> Reports:
    """What the hub under test printed."""
    return Reports()


@pytest.fixture
def hub(reports: Reports) -> Iterator[Hub]:
    """This thread's hub, on a fresh loop of the system's best poller."""
    yield from _lend(Loop(default=False), reports)


@pytest.fixture(params=supported())
def each_hub(request: pytest.FixtureRequest, reports: Reports) -> Iterator[Hub]:
    """This thread's hub, once on each poller that the system has."""
    yield from _lend(Loop(request.param, default=False), reports)


@pytest.fixture
def poller(clock: ManualClock) -> FakePoller:
    """The poller of `clocked_hub`: it moves the clock instead of sleeping, and follows the test's script."""
    return FakePoller(clock)


@pytest.fixture
def clocked_hub(clock: ManualClock, poller: FakePoller, reports: Reports) -> Iterator[Hub]:
    """This thread's hub, on a clock that jumps to the next deadline when there is nothing to do."""
    yield from _lend(Loop(default=False, poller=poller, clock=clock), reports)


@pytest.fixture
def no_hub() -> Iterator[MakeLoop]:
    """A thread without a hub; what the test makes implicitly is destroyed afterwards.  Gives a factory of loops."""
    assert get_hub_if_exists() is None
    loops: list[Loop] = []

    def make_loop(*, default: bool | None = None) -> Loop:
        loops.append(Loop(default=default))
        return loops[-1]

    yield make_loop
    last = get_hub_if_exists()
    if last is not None:
        last.destroy(destroy_loop=True)
    for loop in loops:
        loop.destroy()
    set_loop(None)


class Elsewhere:
    """Runs one function after another, each in a native thread of its own, to its end."""

    ident = 0

    def __call__(self, function: Callable[[], T]) -> T:
        """Return what `function` returned, or raise what it raised, in another thread; `ident` says which that was."""
        outcome: list[T] = []
        errors: list[BaseException] = []

        def body() -> None:
            self.ident = threading.get_ident()
            try:
                outcome.append(function())
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=body)
        thread.start()
        thread.join()
        if errors:
            raise errors[0]
        return outcome[0]


@pytest.fixture
def elsewhere() -> Elsewhere:
    """Another thread to call a function in."""
    return Elsewhere()


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Two sockets that talk to each other."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    with ours, theirs:
        yield ours, theirs


def fill(sock: socket.socket) -> int:
    """Write until nothing more can be written."""
    sent = 0
    try:
        while True:
            sent += sock.send(b"x" * 65536)
    except BlockingIOError:
        return sent


def drain(sock: socket.socket) -> None:
    """Read until there is nothing more to read."""
    try:
        while sock.recv(1 << 20):
            pass
    except BlockingIOError:
        pass
