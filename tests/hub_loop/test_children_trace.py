"""Child watchers with `trace`: stops and continuations are told too, in any thread's loop, by a thread that waits."""

from __future__ import annotations

import _thread
import os
import signal
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from tests.hub_loop.conftest import MakeChild, needs_waitid, on_epoll, on_fake, on_real_ones, until

from hub_loop import Loop, _children

if TYPE_CHECKING:
    from tests.conftest import Kin


def follow(loop: Loop, pid: int, seen: list[int]) -> None:
    """Stop a child, continue it, kill it, each when the one before was seen."""
    traced, plain = loop.child(pid, trace=True), loop.child(pid)

    def on_event() -> None:
        seen.append(traced.rstatus)
        assert traced.rpid == pid
        if os.WIFSTOPPED(traced.rstatus):
            assert traced.active
            os.kill(pid, signal.SIGCONT)
        elif os.WIFCONTINUED(traced.rstatus):
            os.kill(pid, signal.SIGKILL)

    traced.start(on_event)
    plain.start(seen.append, -1)
    os.kill(pid, signal.SIGSTOP)
    loop.run()
    # The thread that waited for stops is told of the end as well: its last post is not needed by anybody.
    loop.ref()
    until(loop, lambda: not loop._sentinels)
    loop.unref()
    traced.close()


FOLLOWED = [signal.SIGSTOP << 8 | 0x7F, _children.CONTINUED, signal.SIGKILL]


@on_real_ones
@pytest.mark.parametrize("way", ["pidfd", "thread"], indirect=True)
def test_with_trace_stops_and_continuations_are_told_too(loop: Loop, way: str, make_child: MakeChild) -> None:
    seen: list[int] = []
    follow(loop, make_child(), seen)
    assert [status for status in seen if status != -1] == FOLLOWED
    assert seen.count(-1) == 1  # whoever does not trace is told of the end only


@needs_waitid
def test_trace_works_in_any_threads_loop(make_child: MakeChild) -> None:
    seen: list[int] = []

    def run() -> None:
        loop = Loop()
        follow(loop, pid, seen)
        loop.destroy()

    pid = make_child()
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert [status for status in seen if status != -1] == FOLLOWED


@on_epoll
@needs_waitid
def test_a_traced_watcher_that_stops_leaves_later_stops_to_others(
    loop: Loop, make_child: MakeChild, threads: list[Callable[..., object]]
) -> None:
    pid = make_child()
    with loop.child(pid, trace=True) as watcher:
        for _ in range(20):
            watcher.start(print, "never")
            watcher.stop()
        assert len(threads) == 1
        os.kill(pid, signal.SIGSTOP)
        loop.ref()
        until(loop, lambda: not loop._sentinels)  # the thread has seen that nobody asks any more
        loop.unref()
        assert os.waitpid(pid, os.WUNTRACED) == (pid, signal.SIGSTOP << 8 | 0x7F)
        os.kill(pid, signal.SIGCONT)


@on_fake
def test_where_there_is_no_waitid_trace_is_refused(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_children, "waitid", None)
    with pytest.raises(NotImplementedError, match=r"this Python has no os\.waitid; use trace=False"):
        loop.child(4711, trace=True)


@on_epoll
@needs_waitid
def test_who_comes_back_while_a_thread_gives_up_is_told_all_the_same(loop: Loop, make_child: MakeChild) -> None:
    # The thread sees that nobody traces any more and ends; before the loop knows of it, somebody traces again.
    pid = make_child()
    seen: list[int] = []
    watcher = loop.child(pid, trace=True)
    watcher.start(print, "never")
    watcher.stop()
    sentinel = loop._sentinels[pid]
    os.kill(pid, signal.SIGSTOP)
    while not loop._queue:
        time.sleep(0.001)
    watcher.start(lambda: seen.append(watcher.rstatus))
    assert loop._sentinels[pid] is sentinel
    until(loop, lambda: seen)
    assert seen == [signal.SIGSTOP << 8 | 0x7F]
    os.kill(pid, signal.SIGKILL)
    until(loop, lambda: not watcher.active and not loop._sentinels)


# -- the start of a thread, with `trace` or for want of a pidfd --------------------------------------------------------


@on_fake
def test_a_watcher_has_started_when_its_thread_runs(
    loop: Loop, make_child: MakeChild, monkeypatch: pytest.MonkeyPatch
) -> None:
    # CPython before 3.11.6 crashes if it ends in between; seen in one of four runs of a program that ends at once.
    waits, running = threading.Event(), list[bool]()

    class Lock:
        def __init__(self) -> None:
            self._lock = _thread.allocate_lock()
            self.release = self._lock.release

        def acquire(self, timeout: float = -1) -> bool:
            if self._lock.locked():
                waits.set()
            return self._lock.acquire(timeout=timeout)

    def late(func: Callable[[], object], args: tuple[()]) -> int:
        def run() -> None:
            waits.wait(30)
            running.append(True)
            func()

        return _thread.start_new_thread(run, args)

    monkeypatch.setattr(_children, "pidfd_open", None)
    monkeypatch.setattr(_children, "allocate_lock", Lock)
    monkeypatch.setattr(_children, "start_new_thread", late)
    with loop.child(make_child()) as watcher:  # one that has ended already needs no thread
        watcher.start(int)
        ran = list(running)
        waits.set()
        os.kill(watcher.pid, signal.SIGKILL)
        loop.run()
    assert ran == [True]


@on_epoll
@pytest.mark.usefixtures("usr2")
def test_a_signal_handler_that_forks_as_a_watcher_starts_leaves_no_child_waiting_for_the_parents_thread(
    loop: Loop, make_child: MakeChild, kin: Kin, monkeypatch: pytest.MonkeyPatch
) -> None:
    forked, stranger = threading.Event(), signal.getsignal(signal.SIGUSR2)

    def fork(signum: int, frame: object) -> None:
        if not kin.fork():
            forked.set()

    def late(func: Callable[[], object], args: tuple[()]) -> int:
        def run() -> None:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR2)
            forked.wait(30)
            func()

        return _thread.start_new_thread(run, args)

    monkeypatch.setattr(_children, "pidfd_open", None)
    monkeypatch.setattr(_children, "start_new_thread", late)
    signal.signal(signal.SIGUSR2, fork)
    with loop.child(make_child()) as watcher:
        watcher.start(int)
        if not kin.is_child:
            os.kill(watcher.pid, signal.SIGKILL)
            loop.run()
            assert watcher.rstatus == signal.SIGKILL
    signal.signal(signal.SIGUSR2, stranger)
    kin.child_ends()
