"""Ten thousand loops made, used and destroyed leave nothing: no fd, no thread, no memory to speak of."""

from __future__ import annotations

import gc
import os
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from hub_loop import READ, WRITE, Loop, supported
from hub_loop.testing import FakePoller, ManualClock

LOOPS = 10_000
MIB = 1 << 20
KINDS = [name for name in ("epoll", "kqueue", "poll", "select") if name in supported()]


@pytest.fixture(params=[*KINDS, "fake"])
def make(request: pytest.FixtureRequest) -> Callable[[], Loop]:
    """Makes loops on one poller."""

    def fake() -> Loop:
        clock = ManualClock()
        return Loop(poller=FakePoller(clock), clock=clock)

    return fake if request.param == "fake" else lambda: Loop(request.param)


@pytest.fixture
def fd() -> Iterator[int]:
    """An fd that every loop of a test is given to watch."""
    near, far = socket.socketpair()
    yield near.fileno()
    near.close()
    far.close()


def use(loop: Loop, fd: int) -> None:
    """Something of everything, of which much is left for `destroy` to stop."""
    loop.run_callback(int)
    loop.run_callback_threadsafe(int)
    for watcher in (loop.timer(0.0), loop.timer(60.0), loop.async_(), loop.idle(), loop.prepare(), loop.check()):
        watcher.start(int)
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
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="reads VmRSS, which is Linux's")
def test_ten_thousand_loops_leave_no_fd_no_thread_and_less_than_a_mebibyte(make: Callable[[], Loop], fd: int) -> None:
    def many(loops: int) -> None:
        for number in range(loops):
            loop = make()
            use(loop, fd)
            loop.destroy()
            if number % 500 == 0:  # they hold circles; so never more than that many wait for the collector
                gc.collect()

    many(1_000)
    fds, threads, before = os.listdir("/dev/fd"), threading.active_count(), resident()
    many(LOOPS)
    assert resident() - before < MIB
    assert len(os.listdir("/dev/fd")) == len(fds)
    assert threading.active_count() == threads


def test_loops_that_are_dropped_without_destroy_give_their_fds_back(make: Callable[[], Loop], fd: int) -> None:
    gc.collect()
    before = len(os.listdir("/dev/fd"))
    for _ in range(1000):  # more than the process may have open at once, on many a system
        loop = make()
        loop.run_callback(int)
        loop.run()
        del loop
    gc.collect()
    assert len(os.listdir("/dev/fd")) == before
