"""Child watchers: by pidfd and by a waiter thread, beside other code that has children of its own.

What both ways cost and leave is in test_children_ways, `trace` in test_children_trace.  Most tests run both ways; `way`
says how this one waits.  Children are forks of the test (fixture `make_child`), so that nothing has to be started by
name.
"""

from __future__ import annotations

import errno
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from tests.hub_loop.conftest import (
    MakeChild,
    await_zombie,
    exits,
    needs_pidfd,
    needs_waitid,
    on_epoll,
    on_fake,
    on_real_ones,
)

from hub_loop import Loop, _children
from hub_loop.testing import active_watchers

if TYPE_CHECKING:
    from tests.conftest import Kin


def dies(signum: int) -> Callable[[], None]:
    def die() -> None:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(signum, signal.SIG_DFL)
        os.kill(os.getpid(), signum)

    return die


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
    assert not loop._sentinels
    assert not loop._registrations
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


@needs_waitid
def test_two_threads_that_start_to_watch_one_child_at_once_both_learn_its_status(make_child: MakeChild) -> None:
    seen: list[int] = []
    before = sys.getswitchinterval()

    def watch(pid: int, begin: threading.Barrier, started: threading.Barrier) -> None:
        loop = Loop()
        with loop.child(pid) as watcher:
            begin.wait()
            watcher.start(lambda: seen.append(watcher.rstatus))
            started.wait()
            loop.run()
        loop.destroy()

    sys.setswitchinterval(1e-5)  # so that the threads take turns inside the start, too
    try:
        for _ in range(30):
            pid, begin, started = make_child(), threading.Barrier(2), threading.Barrier(3)
            threads = [threading.Thread(target=watch, args=(pid, begin, started)) for _ in range(2)]
            for thread in threads:
                thread.start()
            started.wait()
            os.kill(pid, signal.SIGKILL)
            for thread in threads:
                thread.join()
    finally:
        sys.setswitchinterval(before)
    assert seen == [signal.SIGKILL] * 60


def test_a_child_forked_while_a_thread_looks_up_a_number_can_watch_its_own_children(kin: Kin) -> None:
    held, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        with _children._naming:
            held.set()
            go_on.wait()

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()

    def watch() -> None:
        grandchild = os.fork()
        if not grandchild:
            os._exit(3)
        loop = Loop()
        with loop.child(grandchild) as watcher:
            watcher.start(lambda: None)
            loop.run()
            assert os.waitstatus_to_exitcode(watcher.rstatus) == 3

    try:
        kin.run(watch)
    finally:
        go_on.set()
        holder.join()


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
        while len(ended) < 2 + len(traced):
            loop.run(once=True)
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
