"""Wake-ups: other threads and signal handlers reach the loop, and end a poll that blocks.

That a wake-up comes at once is shown by what would otherwise happen: no timer is active in these tests, so a poll that
is not woken lasts an hour.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from hub_loop import Loop
from hub_loop._wakeup import Wakeup
from hub_loop.pollers import create
from hub_loop.testing import FakePoller, ManualClock

if TYPE_CHECKING:
    from hub_loop._wakeup import Posted

WhenAsleep = Callable[[Callable[[], object]], None]


def test_a_wakeup_before_the_poll_makes_it_not_block_and_only_that_one(loop: Loop, clock: ManualClock) -> None:
    loop.ref()
    for _ in range(3):
        loop.wakeup()
    loop.run(once=True)
    assert loop._poller.poll(0.0) == []
    loop.unref()


def test_many_wakeups_before_a_poll_are_one(loop: Loop) -> None:
    for number in range(10_000):
        loop.run_callback_threadsafe(int, number)
        loop.wakeup()
    assert loop.run() is False
    assert loop._poller.poll(0.0) == []


def test_waking_a_destroyed_loop_writes_nowhere(loop: Loop) -> None:
    loop.destroy()
    # Whoever gets the number next must not receive our wake-ups.
    others = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(5)]
    loop.wakeup()
    loop._wakeup.close()
    for other in others:
        with pytest.raises(BlockingIOError):
            os.eventfd_read(other)
        os.close(other)


def test_a_loop_that_is_dropped_without_destroy_gives_its_fds_back() -> None:
    # The fixture that looks for open fds is the assertion.
    for backend in ("epoll", "poll", "select"):
        Loop(backend)


@pytest.fixture
def without_eventfd(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that, like macOS, has no eventfd: a socket pair does its work."""
    monkeypatch.delattr(os, "eventfd", raising=False)


@pytest.fixture
def any_loop(without_eventfd: None, loop: Loop) -> Loop:
    """A loop whose wake fd is a socket pair."""
    assert loop._wakeup._ends
    return loop


def test_without_eventfd_a_socket_pair_wakes_the_loop(any_loop: Loop, from_thread: WhenAsleep) -> None:
    ran: list[str] = []
    any_loop.ref()
    from_thread(lambda: any_loop.run_callback_threadsafe(ran.append, "posted"))
    any_loop.run(once=True)
    any_loop.unref()
    assert ran == ["posted"]
    any_loop.wakeup()
    any_loop.run(nowait=True)
    assert any_loop._poller.poll(0.0) == []


def test_a_socket_pair_full_of_wakeups_is_awake_enough(any_loop: Loop) -> None:
    for _ in range(5000):
        any_loop.wakeup()
    any_loop.run(nowait=True)
    assert any_loop._poller.poll(0.0) == []


def test_the_wake_fd_is_closed_when_the_poller_refuses_it() -> None:
    class Refusing(FakePoller):
        def watch(self, fd: int, interest: int) -> bool:
            raise OSError("no")

    poller = Refusing(ManualClock())
    with pytest.raises(OSError, match="no"):
        Loop(poller=poller)
    assert poller.closed


def test_a_wakeup_is_only_made_ready_by_wake(any_loop: Loop) -> None:
    poller = create("select")
    wakeup = Wakeup(poller)
    assert poller.poll(0.0) == []
    wakeup.wake()
    assert [fd for fd, _ in poller.poll(0.0)] == [wakeup.fd]
    wakeup.deliver(1)
    assert poller.poll(0.0) == []
    wakeup.close()
    wakeup.close()
    wakeup.wake()
    poller.close()


@pytest.mark.parametrize("loop", ["fake"], indirect=True)
def test_whoever_finds_the_loop_awake_or_woken_already_makes_no_system_call(
    loop: Loop, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(loop._poller, FakePoller)
    written: list[int] = []
    write = os.write

    def count(fd: int, data: bytes) -> int:
        written.append(fd)
        return write(fd, data)

    monkeypatch.setattr(os, "write", count)
    for _ in range(10):
        loop.run_callback_threadsafe(int)
    loop.run(nowait=True)
    assert written == []

    def post() -> None:
        for _ in range(10):
            loop.run_callback_threadsafe(int)

    loop.ref()
    loop._poller.when_blocking(post)
    loop.run(once=True)
    loop.unref()
    assert len(written) == 1


def test_a_wake_up_that_was_interrupted_leaves_the_next_poster_to_write(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = Loop()

    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(type(loop._wakeup), "wake", lambda self: interrupted())
    loop.sleeping = True
    with pytest.raises(KeyboardInterrupt):
        loop.wakeup()
    assert loop.sleeping
    loop.sleeping = False
    loop.destroy()


def test_a_send_after_one_that_was_interrupted_wakes_the_loop() -> None:
    class Interrupted(deque["Posted"]):
        def append(self, watcher: Posted, /) -> None:
            super().append(watcher)
            raise KeyboardInterrupt  # between the append and what follows it

    called: list[str] = []
    loop = Loop()
    loop._wakeup.inbox = Interrupted()
    with loop.async_() as watcher:
        watcher.start(called.append, "called")
        loop.sleeping = True  # in its own thread, for all that the sender knows
        with pytest.raises(KeyboardInterrupt):
            watcher.send()
        assert loop.sleeping
        watcher.send()
        assert not loop.sleeping
        loop.run(nowait=True)
        loop.run(nowait=True)
    assert called == ["called"]
    loop.destroy()
