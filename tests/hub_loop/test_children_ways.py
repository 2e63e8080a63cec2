"""Child watchers: what the two ways of waiting cost and leave behind, forks, and numbers that come again.

As in test_children, `way` says how this test waits, and children are forks of the test, but for the thousand.
"""

from __future__ import annotations

import _thread
import gc
import os
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.hub_loop.conftest import MakeChild, await_zombie, exits, needs_pidfd, on_epoll, on_fake, on_real_ones, until

from hub_loop import READ, Loop, _children
from hub_loop.testing import FakePoller


def nothing_stays(loop: Loop) -> None:
    assert not loop._children
    assert not loop._sentinels
    door = loop._door  # what signals wake it by, once it has slept
    assert list(loop._registrations) == ([] if door is None else [door._reader])


# -- many --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def gate() -> Iterator[tuple[int, Callable[[], None]]]:
    """A pipe that children wait at, and what opens it for all of them at once."""
    reader, writer = os.pipe()
    open_ends = [reader, writer]

    def open_gate() -> None:
        open_ends.remove(writer)
        os.close(writer)

    yield reader, open_gate
    for fd in open_ends:
        os.close(fd)


@pytest.mark.parametrize(("loop", "limit"), [("epoll", None), ("select", None), ("epoll", 300)], indirect=["loop"])
def test_of_a_thousand_children_that_end_at_once_none_is_missed(
    loop: Loop, gate: tuple[int, Callable[[], None]], limit: int | None, threads: list[Callable[..., object]]
) -> None:
    reader, open_gate = gate
    stdin = [(os.POSIX_SPAWN_DUP2, reader, 0)]
    expected = {}
    for number in range(1000):
        code = number % 200
        expected[os.posix_spawn("/bin/sh", ["sh", "-c", f"read line; exit {code}"], {}, file_actions=stdin)] = code
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit is not None:  # fewer pidfds than children: the rest is waited for by threads
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    seen: dict[int, int] = {}

    def note(watcher: _children.Child) -> None:
        assert watcher.pid not in seen
        seen[watcher.rpid] = os.WEXITSTATUS(watcher.rstatus)

    try:
        for pid in expected:
            watcher = loop.child(pid)
            watcher.start(note, watcher)
        open_gate()
        loop.run()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert seen == expected
    assert len(threads) > 700 if limit else len(threads) < 100
    nothing_stays(loop)


@on_fake
def test_when_there_is_no_thread_either_the_start_says_so_and_nothing_stays(
    loop: Loop, make_child: MakeChild, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_thread(*args: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(_children, "pidfd_open", None)
    monkeypatch.setattr(_children, "start_new_thread", no_thread)
    with loop.child(make_child()) as watcher:
        with pytest.raises(
            RuntimeError, match="there is no pidfd for it, and can't start new thread; end some threads"
        ):
            watcher.start(print)
        assert not watcher.active
    nothing_stays(loop)


@needs_pidfd
@pytest.mark.parametrize("loop", ["select"], indirect=True)
def test_a_pidfd_too_high_for_select_is_waited_for_by_a_thread(
    loop: Loop, make_child: MakeChild, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] <= 1100:
        pytest.skip("no fd may be that high here")

    def high(pid: int) -> int:
        low = os.pidfd_open(pid)
        fd = fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, 1100)
        os.close(low)
        return fd

    monkeypatch.setattr(_children, "pidfd_open", high)
    with loop.child(make_child(exits(3))) as watcher:
        watcher.start(int)
        loop.run()
        assert watcher.rstatus == 3 << 8


@needs_pidfd
@on_epoll
def test_a_child_taken_by_somebody_between_the_look_and_the_pidfd_is_no_child(
    loop: Loop, make_child: MakeChild, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(pid: int) -> int:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        return os.pidfd_open(pid)

    monkeypatch.setattr(_children, "pidfd_open", late)
    with loop.child(make_child()) as watcher, pytest.raises(ChildProcessError, match="somebody has waited for it"):
        watcher.start(print)
    nothing_stays(loop)


# -- fds and threads ---------------------------------------------------------------------------------------------------


@needs_pidfd
@on_real_ones
def test_a_pidfd_has_left_the_loop_when_it_is_closed_and_its_number_is_free_for_others(
    loop: Loop, make_child: MakeChild
) -> None:
    with loop.child(make_child()) as watcher:
        watcher.start(print, "never")
        fd = loop._sentinels[watcher.pid]._fd
        assert list(loop._registrations) == [fd]
        watcher.stop()
        assert loop._registrations == {}
        reader, writer = os.pipe()
        if reader != fd:
            os.dup2(reader, fd)
            os.close(reader)
        called: list[int] = []
        with loop.io(fd, READ) as io:
            io.start(called.append, 1)
            loop.run(nowait=True)
            assert called == []
            os.write(writer, b"x")
            loop.run(nowait=True)
            assert called == [1]
        loop.closing_fd(fd)
        os.close(fd)
        os.close(writer)


@needs_pidfd
@on_epoll
def test_a_number_that_a_stranger_closed_behind_the_loops_back_serves_a_pidfd(
    loop: Loop, make_child: MakeChild
) -> None:
    pid = make_child()
    reader, writer = os.pipe()
    stranger = loop.io(reader, READ)
    stranger.start(int)
    os.close(reader)  # without closing_fd
    with loop.child(pid) as watcher:
        watcher.start(int)
        assert loop._sentinels[pid]._fd == reader
        os.kill(pid, signal.SIGKILL)
        loop.run()
        assert watcher.rstatus == signal.SIGKILL
    assert stranger.closed
    os.close(writer)


@needs_pidfd
@pytest.mark.parametrize("loop", ["poll", "select"], indirect=True)
def test_a_pidfd_that_a_stranger_has_closed_is_reported_once(loop: Loop, make_child: MakeChild) -> None:
    with loop.child(make_child()) as watcher:
        watcher.start(print, "never")
        os.close(loop._sentinels[watcher.pid]._fd)
        with pytest.raises(OSError, match="Bad file descriptor"):
            loop.run(nowait=True)
        loop.run(nowait=True)
        with pytest.raises(OSError, match="Bad file descriptor"):
            watcher.stop()
    assert not watcher.active


@on_epoll
@pytest.mark.parametrize("way", ["thread", "thread without waitid"], indirect=True)
def test_stopped_and_started_again_and_again_a_watcher_needs_one_thread(
    loop: Loop, way: str, make_child: MakeChild, threads: list[Callable[..., object]]
) -> None:
    with loop.child(make_child()) as watcher:
        for _ in range(50):
            watcher.start(int)
            watcher.stop()
        watcher.start(int)
        assert len(threads) == 1
        os.kill(watcher.pid, signal.SIGKILL)
        loop.run()
        assert watcher.rstatus == signal.SIGKILL
    assert loop._sentinels == {}


@on_epoll
@pytest.mark.parametrize("way", ["thread without waitid"], indirect=True)
def test_nobody_looks_at_a_child_that_a_thread_is_about_to_take(loop: Loop, way: str, make_child: MakeChild) -> None:
    # Between the return of the thread's waitpid and its next step the child is gone, and its status nowhere yet.
    pid = make_child()
    taken, go_on = threading.Event(), threading.Event()
    waitpid = _children.waitpid

    def slow_waitpid(pid: int, options: int) -> tuple[int, int]:
        result = waitpid(pid, options)
        if options == 0:
            taken.set()
            go_on.wait()
        return result

    with pytest.MonkeyPatch.context() as patch, loop.child(pid) as one, loop.child(pid) as two:
        patch.setattr(_children, "waitpid", slow_waitpid)
        one.start(int)
        os.kill(pid, signal.SIGKILL)
        taken.wait()
        two.start(int)
        go_on.set()
        loop.run()
        assert (one.rstatus, two.rstatus) == (signal.SIGKILL, signal.SIGKILL)


@on_epoll
def test_a_thread_that_waits_for_nobody_any_more_leaves_nothing(
    loop: Loop, make_child: MakeChild, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_children, "pidfd_open", None)
    pid = make_child()
    watcher = loop.child(pid)
    watcher.start(print, "never")
    watcher.close()
    os.kill(pid, signal.SIGKILL)
    loop.ref()
    until(loop, lambda: not loop._sentinels)
    loop.unref()
    assert os.waitpid(pid, 0) == (pid, signal.SIGKILL)  # and the child was left for others


def test_a_thread_that_waits_for_a_destroyed_loop_ends_with_the_child(
    make_child: MakeChild, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(_children, "pidfd_open", None)
    before = _thread._count()
    loop = Loop()
    pid = make_child()
    loop.child(pid).start(print, "never")
    loop.destroy()
    os.kill(pid, signal.SIGKILL)
    while _thread._count() > before:
        time.sleep(0.001)
    assert capfd.readouterr() == ("", "")


@needs_pidfd
def test_destroy_and_dropping_the_loop_close_pidfds(make_child: MakeChild) -> None:
    pid = make_child()
    for drop in (False, True):
        loop = Loop()
        loop.child(pid).start(print, "never")
        fd = loop._sentinels[pid]._fd
        assert os.readlink(f"/proc/self/fd/{fd}").endswith("[pidfd]")
        if not drop:
            loop.destroy()
        del loop
        gc.collect()
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)


@on_epoll
def test_destroy_while_an_end_is_pending_is_quiet(loop: Loop, way: str, make_child: MakeChild) -> None:
    pid = make_child(exits(0))
    await_zombie(pid)
    watcher = loop.child(pid)
    watcher.start(print, "never")
    assert watcher.pending
    loop.destroy()
    assert not watcher.active
    assert not watcher.pending


# -- forks, and numbers that come again --------------------------------------------------------------------------------


@on_epoll
def test_in_a_forked_child_the_watchers_of_the_parents_children_stop(
    loop: Loop, way: str, make_child: MakeChild
) -> None:
    pid = make_child()
    watcher = loop.child(pid)
    watcher.start(print, "never")

    def child() -> None:
        fd = loop._sentinels[pid]._fd
        loop.reinit()
        ok = not watcher.active and watcher.callback is None and loop.activecnt == 0
        nothing_stays(loop)
        if fd >= 0:
            ok = ok and not Path(f"/proc/self/fd/{fd}").exists()
        grandchild = os.fork()
        if grandchild == 0:
            os._exit(6)
        mine = loop.child(grandchild)
        mine.start(int)
        loop.run()
        os._exit(0 if ok and mine.rstatus == 6 << 8 else 1)

    assert os.waitpid(make_child(child), 0)[1] == 0
    assert watcher.active
    os.kill(pid, signal.SIGKILL)
    watcher.callback = int
    loop.run()
    assert watcher.rstatus == signal.SIGKILL


@on_epoll
@pytest.mark.parametrize("way", ["pidfd", "thread"], indirect=True)
def test_what_a_forked_child_does_to_a_watcher_is_to_stop_it(loop: Loop, way: str, make_child: MakeChild) -> None:
    pid = make_child()
    watcher, pending = loop.child(pid), loop.child(pid)
    watcher.start(print, "never")
    os.kill(pid, signal.SIGKILL)
    await_zombie(pid)
    pending.start(print, "never")
    for each in (watcher, pending):
        assert each.active
        each._forked()
        assert not each.active
        assert not each.pending
        assert each.callback is None
    loop.run(nowait=True)
    assert not loop._children


def fork_as(pid: int, do: Callable[[], None]) -> int:
    """Fork a child that gets a certain number, which must be free."""
    for _ in range(100):
        try:
            Path("/proc/sys/kernel/ns_last_pid").write_text(str(pid - 1))
        except OSError:
            pytest.skip("this user may not choose the numbers of processes")
        got = os.fork()
        if got == 0:
            do()
            os._exit(0)
        if got == pid:
            return pid
        os.kill(got, signal.SIGKILL)
        os.waitpid(got, 0)
    pytest.skip("other processes are faster")


@on_epoll
@needs_pidfd
@pytest.mark.parametrize("taken_by", ["a stranger", "a sibling", "nobody yet"])
def test_a_number_that_comes_again_is_another_child(loop: Loop, make_child: MakeChild, taken_by: str) -> None:
    pid = make_child(exits(3))
    old, sibling, new = loop.child(pid), loop.child(pid), loop.child(pid)
    told: list[tuple[str, int]] = []

    def note(name: str, watcher: Any) -> None:
        told.append((name, watcher.rstatus))

    def again() -> None:
        if taken_by == "a stranger":
            os.waitpid(pid, 0)
        try:
            assert fork_as(pid, exits(5)) == pid
        except pytest.skip.Exception:
            for watcher in (old, sibling, new):
                watcher.close()
            raise
        new.start(note, "new", new)

    if taken_by == "a stranger":
        old.start(note, "old", old)
        sibling.start(note, "sibling", sibling)
        await_zombie(pid)
        again()  # before the loop looks
        until(loop, lambda: len(told) == 3)
        assert sorted(told) in (
            [("new", 5 << 8), ("old", 3 << 8), ("sibling", 3 << 8)],
            [("new", 5 << 8), ("old", 255 << 8), ("sibling", 255 << 8)],
        )
        return
    if taken_by == "a sibling":
        sibling.start(again)  # taken from the kernel, and `old` has not been told
    old.start(note, "old", old)
    await_zombie(pid)
    if taken_by == "nobody yet":
        with loop.check() as check:
            check.start(old.stop)
            loop.run(nowait=True)  # the end is known, the child is left
        os.waitpid(pid, 0)
        again()
        until(loop, lambda: told)
        assert told == [("new", 5 << 8)]
        return
    until(loop, lambda: len(told) == 2)
    assert sorted(told) == [("new", 5 << 8), ("old", 3 << 8)]


@on_fake
@needs_pidfd
def test_a_fake_poller_is_told_of_a_pidfd_by_its_script(loop: Loop, make_child: MakeChild) -> None:
    assert isinstance(loop._poller, FakePoller)
    pid = make_child(exits(3))
    await_zombie(pid)
    with loop.child(pid) as watcher:
        watcher.start(int)
        loop.run()
        assert watcher.rstatus == 3 << 8
