"""Child watchers: by pidfd and by a waiter thread, beside other code that has children of its own.

Most tests run both ways; `way` says how this one waits.  Children are forks of the test (fixture `make_child`), so that
nothing has to be started by name.
"""

from __future__ import annotations

import _thread
import errno
import gc
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hub_loop import READ, Loop, _children
from hub_loop.testing import FakePoller, active_watchers

MakeChild = Callable[..., int]

on_real_ones = pytest.mark.parametrize("loop", ["epoll", "poll", "select"], indirect=True)
on_epoll = pytest.mark.parametrize("loop", ["epoll"], indirect=True)
on_fake = pytest.mark.parametrize("loop", ["fake"], indirect=True)
needs_pidfd = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="this system has no pidfds")
needs_waitid = pytest.mark.skipif(not hasattr(os, "waitid"), reason="this system has no waitid")


def no_pidfd(pid: int) -> int:
    raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))


@pytest.fixture(params=["pidfd", "thread", "thread without waitid"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How children are waited for in this test."""
    if request.param == "pidfd" and not hasattr(os, "pidfd_open"):
        pytest.skip("this system has no pidfds")
    if request.param == "thread":
        monkeypatch.setattr(_children, "pidfd_open", no_pidfd)
    elif request.param == "thread without waitid":
        monkeypatch.setattr(_children, "pidfd_open", None)
        monkeypatch.setattr(_children, "waitid", None)
    return str(request.param)


def exits(code: int) -> Callable[[], None]:
    return lambda: os._exit(code)


def dies(signum: int) -> Callable[[], None]:
    def die() -> None:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(signum, signal.SIG_DFL)
        os.kill(os.getpid(), signum)

    return die


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> list[Callable[..., object]]:
    """What the waiter threads that this test started were started for."""
    started: list[Callable[..., object]] = []

    def start(func: Callable[..., object], args: tuple[()]) -> int:
        started.append(func)
        return _thread.start_new_thread(func, args)

    monkeypatch.setattr(_children, "start_new_thread", start)
    return started


def nothing_stays(loop: Loop) -> None:
    assert not loop._children
    assert not loop._sentinels
    assert not loop._registrations


def until(loop: Loop, reached: Callable[[], object]) -> None:
    """Turn until a condition holds; pytest-timeout ends what never does."""
    while not reached():
        loop.run(once=True)


def await_zombie(pid: int) -> None:
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


# -- what is watched ---------------------------------------------------------------------------------------------------


@on_fake
@pytest.mark.parametrize("wrong", ["1", None, 2.0])
def test_a_pid_is_a_number(loop: Loop, wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"pid must be the number of a process.*pass its \.pid"):
        loop.child(wrong)


@on_fake
@pytest.mark.parametrize("wrong", [0, -1, -4711])
def test_any_child_is_nobodys_to_watch(loop: Loop, wrong: int) -> None:
    with pytest.raises(ValueError, match=r"would take from other code the children .* one watcher per child"):
        loop.child(wrong)


@on_epoll
def test_a_process_that_is_no_child_is_refused_at_the_start_and_nothing_stays(
    loop: Loop, make_child: MakeChild
) -> None:
    gone = make_child(exits(0))
    os.waitpid(gone, 0)
    for pid in (1, os.getpid(), os.getppid(), gone, 2**22 + 1):
        with loop.child(pid) as watcher:
            with pytest.raises(ChildProcessError, match=f"process {pid} cannot be watched: it is no child") as caught:
                watcher.start(print)
            assert caught.value.errno == errno.ECHILD
            assert not watcher.active
    assert active_watchers(loop) == []
    nothing_stays(loop)
    assert loop.activecnt == 0


@on_fake
def test_a_watcher_says_what_it_watches(loop: Loop) -> None:
    with loop.child(4711, True, ref=False) as watcher:
        assert (watcher.pid, watcher.rpid, watcher.rstatus, watcher.trace, watcher.ref) == (4711, 0, 0, True, False)
        assert repr(watcher).endswith(" pid=4711 trace>")
        watcher.rpid, watcher.rstatus = 4711, 256
        assert repr(watcher).endswith(" pid=4711 trace rstatus=256>")


# -- the end -----------------------------------------------------------------------------------------------------------


@on_real_ones
@pytest.mark.parametrize(
    "do", [exits(0), exits(7), exits(255), dies(signal.SIGKILL), dies(signal.SIGTERM), dies(signal.SIGABRT)]
)
def test_the_status_is_the_one_that_waitpid_gives(
    loop: Loop, way: str, make_child: MakeChild, do: Callable[[], None]
) -> None:
    expected = os.waitpid(make_child(do), 0)[1]
    seen: list[tuple[int, int, bool]] = []
    pid = make_child(do)
    watcher = loop.child(pid)
    watcher.start(lambda: seen.append((watcher.rpid, watcher.rstatus, watcher.active)))
    assert loop.run() is False  # one event, and nothing more to wait for
    assert seen == [(pid, expected, False)]
    assert watcher.callback is None
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, 0)
    watcher.close()


def test_waitid_and_waitpid_agree_on_every_status() -> None:
    def said(code: int, status: int) -> int:
        return _children.wait_status(os.waitid_result((1, 0, signal.SIGCHLD, status, code)))

    for number in (0, 1, 255):
        assert os.WIFEXITED(said(os.CLD_EXITED, number))
        assert os.WEXITSTATUS(said(os.CLD_EXITED, number)) == number
    for signum in (1, 9, 64):
        assert os.WTERMSIG(said(os.CLD_KILLED, signum)) == os.WTERMSIG(said(os.CLD_DUMPED, signum)) == signum
        assert os.WIFSIGNALED(said(os.CLD_KILLED, signum))
        assert os.WIFSIGNALED(said(os.CLD_DUMPED, signum))
        assert os.WCOREDUMP(said(os.CLD_DUMPED, signum))
        assert not os.WCOREDUMP(said(os.CLD_KILLED, signum))
    for code in (os.CLD_STOPPED, os.CLD_TRAPPED):
        assert os.WIFSTOPPED(said(code, signal.SIGSTOP))
        assert os.WSTOPSIG(said(code, signal.SIGSTOP)) == signal.SIGSTOP
    assert os.WIFCONTINUED(said(os.CLD_CONTINUED, signal.SIGCONT))


@on_real_ones
def test_a_child_that_is_dead_already_is_told_without_a_poll(loop: Loop, way: str, make_child: MakeChild) -> None:
    called: list[int] = []
    pid = make_child(exits(3))
    await_zombie(pid)
    with loop.child(pid) as watcher:
        watcher.start(called.append, 1)
        assert watcher.pending
        assert loop._registrations == {}
        loop.run(nowait=True)
    assert called == [1]
    assert watcher.rstatus == 3 << 8


@on_epoll
def test_a_known_end_can_be_told_again(loop: Loop, way: str, make_child: MakeChild) -> None:
    called: list[int] = []
    with loop.child(make_child(exits(3))) as watcher:
        for number in range(3):
            watcher.start(called.append, number)
            loop.run()
            assert called == list(range(number + 1))
            assert watcher.rstatus == 3 << 8


@on_real_ones
def test_all_watchers_of_a_child_know_before_the_first_of_them_calls_back(
    loop: Loop, way: str, make_child: MakeChild
) -> None:
    pid = make_child(exits(5))
    watchers = [loop.child(pid) for _ in range(3)]
    seen: list[list[int]] = []
    for watcher in watchers:
        watcher.start(lambda: seen.append([other.rstatus for other in watchers]))
    loop.run()
    assert seen == [[5 << 8] * 3] * 3


@on_epoll
def test_a_watcher_started_between_the_end_and_the_telling_is_told_as_well(
    loop: Loop, way: str, make_child: MakeChild
) -> None:
    pid = make_child(exits(5))
    told: list[int] = []
    one, two, late = loop.child(pid), loop.child(pid), loop.child(pid)

    def start_late() -> None:
        with pytest.raises(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)  # it was taken from the kernel for `one`
        late.start(lambda: told.append(late.rstatus))

    one.start(start_late)
    two.start(lambda: told.append(two.rstatus))
    loop.run()
    assert told == [5 << 8, 5 << 8]


@pytest.mark.parametrize("way", ["pidfd", "thread"], indirect=True)
def test_loops_of_two_threads_that_watch_one_child_both_learn_its_status(way: str, make_child: MakeChild) -> None:
    pid = make_child()
    started = threading.Barrier(3)
    seen: list[int] = []

    def watch() -> None:
        loop = Loop()
        with loop.child(pid) as watcher:
            watcher.start(lambda: seen.append(watcher.rstatus))
            started.wait()
            loop.run()
        loop.destroy()

    threads = [threading.Thread(target=watch) for _ in range(2)]
    for thread in threads:
        thread.start()
    started.wait()
    os.kill(pid, signal.SIGKILL)
    for thread in threads:
        thread.join()
    assert seen == [signal.SIGKILL, signal.SIGKILL]


@on_epoll
@needs_waitid
@pytest.mark.parametrize("dead", ["before the start", "after the start"])
def test_a_child_whose_watcher_was_stopped_in_time_can_still_be_waited_for(
    loop: Loop, make_child: MakeChild, dead: str
) -> None:
    pid = make_child(exits(4))
    watcher = loop.child(pid)
    if dead == "after the start":
        watcher.start(print, "never")
    await_zombie(pid)
    if dead == "before the start":
        watcher.start(print, "never")
    with loop.check() as check:
        check.start(watcher.stop)  # after the poll, before the batch
        loop.run(nowait=True)
    assert watcher.rstatus == 4 << 8
    assert os.waitpid(pid, 0) == (pid, 4 << 8)


# -- beside other code -------------------------------------------------------------------------------------------------


@on_real_ones
def test_whoever_waits_for_children_beside_us_keeps_their_exit_codes_and_sigchld(
    loop: Loop, way: str, make_child: MakeChild
) -> None:
    # What goes wrong elsewhere: one handler of SIGCHLD, or one waitpid(-1), for the children of the whole process.
    handled: list[int] = []

    def handler(signum: int, frame: object) -> None:
        handled.append(signum)

    before = signal.signal(signal.SIGCHLD, handler)
    try:
        ours, theirs, late = make_child(), make_child(exits(6)), make_child(exits(8))
        ended: list[int] = []
        traced = [loop.child(ours, trace=True)] if way != "thread without waitid" else []
        for watcher in (loop.child(ours), loop.child(late), *traced):
            watcher.start(ended.append, watcher.pid)
        assert signal.getsignal(signal.SIGCHLD) is handler
        for code in range(3):
            done = subprocess.run([sys.executable, "-S", "-c", f"raise SystemExit({code})"], timeout=30)
            assert done.returncode == code
            loop.run(nowait=True)
        assert os.waitpid(theirs, 0) == (theirs, 6 << 8)
        os.kill(ours, signal.SIGKILL)
        until(loop, lambda: len(ended) == 2 + len(traced))
        assert signal.getsignal(signal.SIGCHLD) is handler
        assert len(handled) >= 4
    finally:
        signal.signal(signal.SIGCHLD, before)


@on_epoll
def test_multiprocessing_beside_us_keeps_its_exit_codes(loop: Loop, make_child: MakeChild) -> None:
    watcher = loop.child(make_child(exits(0)))
    watcher.start(int)
    process = multiprocessing.get_context("fork").Process(target=os._exit, args=(9,))
    process.start()
    loop.run()
    process.join()
    assert process.exitcode == 9
    process.close()


@on_real_ones
@pytest.mark.parametrize("way", ["pidfd", "thread"], indirect=True)
@pytest.mark.parametrize("kernel", ["tells", "does not tell"])
def test_a_child_that_somebody_else_waits_for_is_told_once_with_the_status_that_is_left(
    loop: Loop, way: str, make_child: MakeChild, monkeypatch: pytest.MonkeyPatch, kernel: str
) -> None:
    def no_ioctl(*args: object) -> bytes:
        raise OSError(errno.ENOTTY, os.strerror(errno.ENOTTY))

    if kernel == "does not tell":
        monkeypatch.setattr(_children, "ioctl", no_ioctl)
    called: list[int] = []
    pid = make_child()
    watcher = loop.child(pid)
    watcher.start(called.append, 1)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    loop.run()
    assert called == [1]
    assert watcher.rpid == pid
    if kernel == "does not tell" or way == "thread":
        assert watcher.rstatus == 255 << 8
    else:
        assert watcher.rstatus in (signal.SIGKILL, 255 << 8)  # Linux 6.15, or an older one
    watcher.close()


@needs_pidfd
def test_the_kernel_says_what_it_has_kept_or_that_it_has_not(make_child: MakeChild) -> None:
    pid = make_child()
    fd = os.pidfd_open(pid)
    assert _children._kept_by_kernel(fd) == 255 << 8  # it runs
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    release = tuple(int(number) for number in os.uname().release.split("-")[0].split(".")[:2])
    assert _children._kept_by_kernel(fd) == (signal.SIGKILL if release >= (6, 15) else 255 << 8)
    assert _children._kept_by_kernel(-1) == 255 << 8
    os.close(fd)


@on_epoll
def test_with_sigchld_ignored_the_end_is_told_all_the_same(loop: Loop, way: str, make_child: MakeChild) -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps, and drops the status
    try:
        pid = make_child()
        with loop.child(pid) as watcher:
            watcher.start(int)
            os.kill(pid, signal.SIGKILL)
            loop.run()
            assert watcher.rpid == pid
            assert watcher.rstatus in (signal.SIGKILL, 255 << 8)
    finally:
        signal.signal(signal.SIGCHLD, before)


@on_epoll
def test_install_sigchld_ends_the_ignoring_and_nothing_else(loop: Loop) -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        errors: list[BaseException] = []

        def elsewhere() -> None:
            other = Loop()
            try:
                other.install_sigchld()
            except BaseException as error:
                errors.append(error)
            other.destroy()

        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        assert errors == []
        assert signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN  # as documented: no other thread can
        loop.install_sigchld()
        assert signal.getsignal(signal.SIGCHLD) is signal.SIG_DFL
        signal.signal(signal.SIGCHLD, signal.default_int_handler)
        loop.install_sigchld()
        loop.reset_sigchld()
        assert signal.getsignal(signal.SIGCHLD) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGCHLD, before)


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

    monkeypatch.setattr(_children, "pidfd_open", no_pidfd)
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


# -- stops and continuations -------------------------------------------------------------------------------------------


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
    while not loop._wakeup.inbox:
        time.sleep(0.001)
    watcher.start(lambda: seen.append(watcher.rstatus))
    assert loop._sentinels[pid] is sentinel
    until(loop, lambda: seen)
    assert seen == [signal.SIGSTOP << 8 | 0x7F]
    os.kill(pid, signal.SIGKILL)
    until(loop, lambda: not watcher.active and not loop._sentinels)


# -- forks, and numbers that come again --------------------------------------------------------------------------------


@on_epoll
def test_in_a_forked_child_the_watchers_of_the_parents_children_stop(
    loop: Loop, way: str, make_child: MakeChild, renew_poller: Callable[[Loop], None]
) -> None:
    pid = make_child()
    watcher = loop.child(pid)
    watcher.start(print, "never")

    def child() -> None:
        renew_poller(loop)
        fd = loop._sentinels[pid]._fd
        watcher._forked()
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
        assert fork_as(pid, exits(5)) == pid
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
