"""Thousands of loops made, used and destroyed leave nothing: no fd, no thread, no memory to speak of."""

from __future__ import annotations

import gc
import itertools
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hub_loop import READ, WRITE, Loop, supported
from hub_loop._stat import find_inotify
from hub_loop.testing import FakePoller, ManualClock

LOOPS = int(os.environ.get("HUB_LOOPS", "2500"))  # the full size is 10000; one that is kept is several KiB
MIB = 1 << 20
KINDS = [name for name in ("epoll", "kqueue", "poll", "select") if name in supported()]


@pytest.fixture(params=[*KINDS, "fake"])
def make(request: pytest.FixtureRequest) -> Callable[[], Loop]:
    """Makes loops on one poller."""

    def fake() -> Loop:
        clock = ManualClock()
        return Loop(poller=FakePoller(clock), clock=clock)

    return fake if request.param == "fake" else lambda: Loop(request.param)


class World:
    """What every loop of a test is given to watch: an fd, a child that lives as long as the test, a path."""

    def __init__(self, folder: Path) -> None:
        self._near, self._far = socket.socketpair()
        self.fd = self._near.fileno()
        end, self._end = os.pipe()  # the child reads from it, and so does not outlive this process
        self.pid = os.posix_spawn(
            "/bin/sh", ["sh", "-c", "read line"], {}, file_actions=[(os.POSIX_SPAWN_DUP2, end, 0)]
        )
        os.close(end)
        self.path = folder / "watched"
        self.path.touch()

    def close(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self._end)
        self._near.close()
        self._far.close()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """One for each test."""
    made = World(tmp_path)
    yield made
    made.close()


@pytest.fixture
def rare_inotify(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give one loop in five hundred inotify: its `close` waits for the kernel, for forty milliseconds or so."""
    asked = itertools.count()
    monkeypatch.setattr("hub_loop._stat.find_inotify", lambda: None if next(asked) % 500 else find_inotify())


def use(loop: Loop, world: World) -> None:
    """Something of everything, of which much is left for `destroy` to stop."""
    fd = world.fd
    loop.run_callback(int)
    loop.run_callback_threadsafe(int)
    for watcher in (loop.timer(0.0), loop.timer(60.0), loop.async_(), loop.idle(), loop.prepare(), loop.check()):
        watcher.start(int)
    for other in (loop.signal(signal.SIGUSR2), loop.child(world.pid), loop.fork(), loop.stat(world.path)):
        other.start(int)
    signal.raise_signal(signal.SIGUSR2)
    registration = loop.register(fd, int)
    loop.run(nowait=True)
    registration.clear(READ)
    registration.want(READ)
    loop.io(fd, READ | WRITE).start(loop.now)
    loop.timer(0.0).start(loop.now)  # a circle: the loop holds the timer, which holds the loop
    loop.run_callback(loop.now)


def resident() -> int:
    """Bytes of this process that are in memory: also the kernel's and the C library's part, unlike tracemalloc's."""
    gc.collect()
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS:"))


@pytest.mark.timeout(180)
@pytest.mark.usefixtures("rare_inotify")
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="reads VmRSS, which is Linux's")
def test_thousands_of_loops_leave_no_fd_no_thread_and_less_than_a_mebibyte(
    make: Callable[[], Loop], world: World
) -> None:
    def many(loops: int) -> None:
        for number in range(loops):
            loop = make()
            use(loop, world)
            loop.destroy()
            if number % 500 == 0:  # they hold circles; so never more than that many wait for the collector
                gc.collect()

    many(1_000)
    fds, threads, before = os.listdir("/dev/fd"), threading.active_count(), resident()
    many(LOOPS)
    assert resident() - before < MIB
    assert len(os.listdir("/dev/fd")) == len(fds)
    assert threading.active_count() == threads


def test_loops_that_are_dropped_without_destroy_give_their_fds_back(make: Callable[[], Loop]) -> None:
    gc.collect()
    before = len(os.listdir("/dev/fd"))
    for _ in range(1000):  # more than the process may have open at once, on many a system
        loop = make()
        loop.run_callback(int)
        loop.run()
        del loop
    gc.collect()
    assert len(os.listdir("/dev/fd")) == before
