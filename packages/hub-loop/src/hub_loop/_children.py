"""Child processes: what tells a loop that one of its process's children has ended, and the watcher for that.

Receives: pids, from users; a readable pidfd from the poller, or the post of a waiter thread.  Gives: the end of a
child, with its wait status, to its watchers; with `trace`, its stops and continuations too.

Where the system has pidfds (man 2 pidfd_open; Linux 5.3), a child is an fd that becomes readable when it ends.  Where
there is none to be had, or the poller cannot take one more, a thread blocks in waitid(WNOWAIT), which waits for the end
and leaves it to be waited for, and posts.  Stops and continuations make no pidfd readable, so a traced child has such a
thread in any case.

Rule 1: only the pid of a watcher is ever waited for.  Nothing here waits for "any child" or touches SIGCHLD, so other
code may wait for its own children beside us, by any means.
Rule 2: a child is taken from the kernel (reaped) when a watcher is about to call back, and not before: who stops a
watcher in time can still wait for the child by other means.
Rule 3: the status is kept before the child is reaped.  So no interrupt between the two loses it, and of several loops
that watch one child each comes to know it.
Rule 4: a pidfd leaves the loop before it is closed (law 7).
Rule 5: what the system offers is bound at import: a framework that patches modules does not reach in here.
"""

from __future__ import annotations

import errno
import os
from _thread import allocate_lock, start_new_thread
from fcntl import ioctl
from os import close
from struct import calcsize, pack, unpack
from threading import RLock
from weakref import WeakValueDictionary

from hub_loop._callback import struck_at_entry
from hub_loop._fork import call_in_child
from hub_loop._io import InternalFd
from hub_loop._watcher import Watcher

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVarTuple

    from hub_loop._loop import Loop

    Ts = TypeVarTuple("Ts")

pidfd_open: Callable[[int], int] | None = getattr(os, "pidfd_open", None)
waitid: Any = getattr(os, "waitid", None)
waitpid = os.waitpid

UNKNOWN = 255 << 8
"""The wait status of a child whose own has been lost to somebody else: exit code 255, as asyncio has it."""
CONTINUED = next(status for status in (0xFFFF, 0x137F, 0x13) if os.WIFCONTINUED(status))
"""The wait status of a child that was continued: systems disagree, and only their macros know."""

# The kernel keeps the status of a reaped process as long as there is a pidfd of it (linux/pidfd.h; Linux 6.15):
# _IOWR(0xFF, 11, struct pidfd_info), of which we need the mask at the beginning and exit_code at the end.
_INFO = "=Q52xi"
_GET_INFO = 3 << 30 | calcsize(_INFO) << 16 | 0xFF << 8 | 11
_INFO_EXIT = 1 << 3


_ENDS = (os.CLD_EXITED, os.CLD_KILLED, os.CLD_DUMPED)


class Child(Watcher):
    """Calls back when a child process has ended: see `hub_api.IChildWatcher`."""

    __slots__ = ("_sentinel", "_trace", "pid", "rpid", "rstatus")

    def __init__(self, loop: Loop, pid: int, trace: bool = False, ref: bool = True) -> None:
        if not isinstance(pid, int):
            raise TypeError(f"pid must be the number of a process, got {pid!r}; pass its .pid")
        if pid <= 0:
            raise ValueError(
                f"pid must be that of one child, got {pid}: waiting for any child (0, -1) or a group would take from "
                "other code the children that it waits for; use one watcher per child"
            )
        if trace and waitid is None:
            raise NotImplementedError(
                "stops and continuations cannot be watched: this Python has no os.waitid; use trace=False"
            )
        super().__init__(loop, ref)
        self._trace = bool(trace)
        self._sentinel: Sentinel | None = None
        self.pid: int = pid
        self.rpid: int = 0
        self.rstatus: int = 0

    @property
    def trace(self) -> bool:
        """Whether stops and continuations are events too."""
        return self._trace

    def _arm(self) -> None:
        sentinel = self._sentinel
        if sentinel is None or sentinel.status is None:
            self._sentinel = sentinel = _sentinel_for(self.loop, self.pid)
        self.loop._children[self] = None
        try:
            sentinel.add(self)
        except BaseException:
            self._disarm()
            raise

    def _disarm(self) -> None:
        sentinel = self._sentinel
        if sentinel is not None:
            sentinel.remove(self)
            if sentinel.status is None:
                self._sentinel = None  # the next start asks whose the number is then; a known end can be told again
        self.loop._children.pop(self, None)

    def _happened(self, status: int) -> None:
        self.rpid = self.pid
        self.rstatus = status
        self._fire()

    def _run(self) -> None:
        if not self._pending:
            return
        context = self._its_context()
        sentinel = self._sentinel
        if sentinel is not None and sentinel.status is not None:
            # Pending until all is done: an interrupt in the middle has the batch begin again.
            sentinel.reap()
            if self._active:
                self._deactivate()
            self._disarm()
        self._pending = False
        callback, args = self._callback, self._args
        try:
            if callback is not None:
                if context is None:
                    callback(*(args or ()))
                else:
                    context.run(callback, *(args or ()))
        except BaseException as error:
            self._pending = struck_at_entry(callback, error)
            raise
        finally:
            if not (self._active or self._pending):  # unless the callback has started it again
                self._callback = self._args = self._context = None

    def _forked(self) -> None:
        """In a forked child, after the loop got a new poller: the parent's children are nobody's here, so it stops."""
        self.stop()

    def _details(self) -> str:
        text = f" pid={self.pid}{' trace' if self._trace else ''}"
        return f"{text} rstatus={self.rstatus}" if self.rpid else text


class Process:
    """One child, as all loops of this process see it."""

    __slots__ = ("__weakref__", "pid", "reaped", "status")

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.status: int | None = None
        self.reaped = False


_processes: WeakValueDictionary[int, Process] = WeakValueDictionary()
_naming = RLock()
"""Held while a number is looked up, so that loops of two threads come to one `Process`.

Re-entrant, because a signal handler may start a watcher while its own thread is starting one.
"""


def _renew_naming() -> None:
    global _naming
    _naming = RLock()  # another thread of the parent may have held the old one as the process was forked


call_in_child(_renew_naming)


class Sentinel:
    """Waits for one child on behalf of the watchers of one loop.

    A sentinel stands in its loop's table while it has watchers; and while a thread of it still waits, because nothing
    ends that thread but the child, and whoever watches the child again shall not need another one.
    """

    __slots__ = ("_fd", "_loop", "_lost", "_reader", "_tracing", "_waiting", "process", "status", "watchers")

    def __init__(self, loop: Loop, process: Process) -> None:
        self._loop = loop
        self.process = process
        self.status: int | None = None
        self.watchers: dict[Child, None] = {}
        self._lost = False
        self._fd = -1
        self._reader: InternalFd | None = None
        self._waiting = self._tracing = 0  # in which process there is a thread for that: a forked child has none

    def add(self, watcher: Child) -> None:
        """Tell one more watcher; at once, as all others, if the child has ended."""
        self._loop._sentinels[self.process.pid] = self
        self.watchers[watcher] = None
        if self._noticed():
            return
        if self._fd < 0 and self._waiting != os.getpid() and not self._open_pidfd():
            self._start("_waiting", self._wait_for_end)
        if watcher.trace and self._tracing != os.getpid():
            self._start("_tracing", self._wait_for_changes)

    def remove(self, watcher: Child) -> None:
        """Undo `add`.  Idempotent."""
        self.watchers.pop(watcher, None)
        if not self.watchers:
            self._unused()

    def _unused(self) -> None:
        self._close_pidfd()
        table = self._loop._sentinels
        if os.getpid() not in (self._waiting, self._tracing) and table.get(self.process.pid) is self:
            del table[self.process.pid]

    # -- the end ----------------------------------------------------------------------------------------------------

    def look(self) -> None:
        """See whether the child has ended: its `status` is known then, and it is not reaped yet, not by us."""
        process = self.process
        if self.status is None:
            if process.status is None and not self.thread_reaps():
                try:
                    process.status = _peek(process, self._fd)
                except ChildProcessError:
                    if process.status is None:  # no loop of ours has taken it
                        self._lost = True
                        self.status = _kept_by_kernel(self._fd)
                        return
            self.status = process.status

    def thread_reaps(self) -> bool:
        """Whether a thread is about to take the child, for want of waitid: nobody else may look then."""
        return waitid is None and self._waiting == os.getpid()

    def fits(self, status: int | None) -> bool:
        """Whether this is still the child that the kernel knows under that number, with that status."""
        return not self._lost and not self.process.reaped and self.status in (None, status)

    def reap(self) -> None:
        """Take the child from the kernel; `look` has kept its status."""
        process = self.process
        if not process.reaped and not self._lost:
            try:
                waitid(*_name(process, self._fd), os.WEXITED | os.WNOHANG)
            except ChildProcessError:
                pass  # somebody else has just taken it
            process.reaped = True

    def _noticed(self) -> bool:
        """The child may have ended: if so tell all watchers, before any of their callbacks runs."""
        self.look()
        if self.status is None:
            return False
        for watcher in tuple(self.watchers):
            watcher._happened(self.status)
        return True

    # -- by pidfd ---------------------------------------------------------------------------------------------------

    def _open_pidfd(self) -> bool:
        """Watch the child by a pidfd; False if there is none to be had, or the poller cannot take it."""
        if pidfd_open is None:
            return False
        try:
            self._fd = pidfd_open(self.process.pid)
            self._reader = InternalFd(self._loop, self._fd, self._noticed)
        except ProcessLookupError:
            raise _no_child(self.process.pid) from None
        except (OSError, ValueError):  # EMFILE, ENOSYS, EPERM (a sandbox); for select, a number too high
            self._close_pidfd()
            return False
        return True

    def _close_pidfd(self) -> None:
        reader = self._reader
        if reader is not None and reader.fd >= 0:
            reader.evict()
        self._reader = None
        fd, self._fd = self._fd, -1
        if fd >= 0:
            close(fd)

    def __del__(self) -> None:
        # A loop that was dropped without destroy().  A pidfd is a bare number: nothing else would close it.
        if getattr(self, "_fd", -1) >= 0:
            close(self._fd)

    # -- by thread --------------------------------------------------------------------------------------------------

    def _start(self, purpose: str, func: Callable[[], None]) -> None:
        """Start a thread, and wait until it runs: CPython before 3.11.6 crashes if it ends before that (gh-108987)."""
        here, begun = os.getpid(), allocate_lock()
        begun.acquire()

        def run() -> None:
            begun.release()
            func()

        try:
            start_new_thread(run, ())
        except RuntimeError as error:
            raise RuntimeError(
                f"cannot watch process {self.process.pid}: there is no pidfd for it, and {error}; end some threads, or "
                "raise the limit of open files"
            ) from None
        setattr(self, purpose, here)
        while not begun.acquire(timeout=0.1) and os.getpid() == here:
            pass  # else a signal handler has forked meanwhile, and the thread is the parent's

    def _post(self, func: Callable[[*Ts], None], *args: *Ts) -> None:
        try:
            self._loop.run_callback_threadsafe(func, *args)
        except ValueError:
            pass  # the loop was destroyed: there is nobody left to tell

    def _wait_for_end(self) -> None:
        process = self.process
        try:
            if waitid is not None:
                waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
            else:
                status = waitpid(process.pid, 0)[1]
                process.reaped = True
                process.status = status
        except ChildProcessError:
            pass  # somebody else has taken it: that is an end too
        self._post(self._wait_is_over)

    def _wait_is_over(self) -> None:
        self._waiting = 0
        self._noticed()
        self._go_on_or_leave()

    def _wait_for_changes(self) -> None:
        pid = self.process.pid
        try:
            while True:
                info = waitid(os.P_PID, pid, os.WEXITED | os.WSTOPPED | os.WCONTINUED | os.WNOWAIT)
                if info.si_code in _ENDS or not any(watcher.trace for watcher in tuple(self.watchers)):
                    break
                info = waitid(os.P_PID, pid, os.WSTOPPED | os.WCONTINUED | os.WNOHANG)
                if info is not None:
                    self._post(self._changed, wait_status(info))
        except ChildProcessError:
            pass  # somebody else has taken it; the other way of waiting sees that too
        self._post(self._tracing_is_over)

    def _changed(self, status: int) -> None:
        for watcher in tuple(self.watchers):
            if watcher.trace and self.status is None:
                watcher._happened(status)

    def _tracing_is_over(self) -> None:
        self._tracing = 0
        self._noticed()
        self._go_on_or_leave()

    def _go_on_or_leave(self) -> None:
        """A thread is through; but somebody may have come to watch meanwhile, or the number may be another child's."""
        watchers = tuple(self.watchers)
        if not watchers:
            self._unused()
        elif self.status is None:
            for watcher in watchers:
                self.add(watcher)


def _sentinel_for(loop: Loop, pid: int) -> Sentinel:
    with _naming:
        return _look_up(loop, pid)


def _look_up(loop: Loop, pid: int) -> Sentinel:
    """The sentinel of the child that has this number now.  Raises ChildProcessError if there is no such child.

    Numbers are used again, and who else waits for a child does not tell us; so the kernel is asked each time.  What we
    know is looked at before that: a child that ends in between is then known under both.
    """
    old = loop._sentinels.get(pid)
    if old is not None:
        if old.thread_reaps():
            return old
        old.look()
    process = _processes.get(pid)
    known = None if process is None else process.status
    fresh = Process(pid)
    try:
        fresh.status = status = _peek(fresh, -1)
    except ChildProcessError:
        if old is not None and old.status is not None:
            return old  # it was taken a moment ago, and not all who watch it have been told
        raise _no_child(pid) from None
    if old is not None and old.fits(status):
        return old
    if process is None or process.reaped or known not in (None, status):
        process = _processes[pid] = fresh
    return Sentinel(loop, process)


def _name(process: Process, fd: int) -> tuple[int, int]:
    """What waitid calls the process: by its pidfd if there is one, which is nobody else's ever."""
    return (os.P_PID, process.pid) if fd < 0 else (os.P_PIDFD, fd)


def _peek(process: Process, fd: int) -> int | None:
    """The wait status of a child that has ended, which is left to be waited for; None if it has not ended."""
    if waitid is not None:
        info = waitid(*_name(process, fd), os.WEXITED | os.WNOHANG | os.WNOWAIT)
        return None if info is None else wait_status(info)
    pid, status = waitpid(process.pid, os.WNOHANG)  # cannot be left
    process.reaped = pid != 0
    return status if pid else None


def wait_status(info: os.waitid_result) -> int:
    """What waitpid would have said, as `os.waitstatus_to_exitcode` and the W... macros read it."""
    code, status = info.si_code, info.si_status
    if code == os.CLD_EXITED:
        return (status & 0xFF) << 8
    if code == os.CLD_KILLED:
        return status
    if code == os.CLD_DUMPED:
        return status | 0x80
    if code == os.CLD_CONTINUED:
        return CONTINUED
    return status << 8 | 0x7F


def _kept_by_kernel(fd: int) -> int:
    """The wait status of a process that somebody else has waited for, if the kernel still tells."""
    if fd >= 0:
        try:
            mask, status = unpack(_INFO, ioctl(fd, _GET_INFO, pack(_INFO, _INFO_EXIT, 0)))
        except OSError:
            return UNKNOWN  # ENOTTY, EINVAL: an older kernel
        if mask & _INFO_EXIT:
            return int(status)
    return UNKNOWN


def _no_child(pid: int) -> ChildProcessError:
    return ChildProcessError(
        errno.ECHILD,
        f"process {pid} cannot be watched: it is no child of this process, or somebody has waited for it already; "
        "start the watcher before anybody waits, and let nobody but the watcher wait",
    )
