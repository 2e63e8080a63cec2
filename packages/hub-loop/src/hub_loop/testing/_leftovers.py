"""What a piece of code leaves behind in the process: fds, threads, and watchers that are still active.

Receives: two moments.  Gives: what is there at the second and was not at the first, in words.
Rule 1: nothing that lives is held from one moment to the other: a test may be about its end.
Rule 2: a look costs what there is of fds, threads and loops, and not what there is of objects.  It is taken twice per
test, and pytest keeps some objects of each: a look at all makes the thousandth test ten times as dear as the first.
"""

from __future__ import annotations

import _thread
import gc
import os
import threading
import time
from pathlib import Path
from weakref import WeakSet

from hub_loop._fork import tracked
from hub_loop._loop import Loop
from hub_loop._signals import shared_fds
from hub_loop._watcher import Watcher
from hub_loop.testing._fake import active_watchers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_FDS = Path("/proc/self/fd" if Path("/proc/self/fd").exists() else "/dev/fd")
PATIENCE = 2.0
"""Seconds for threads that are just ending: one that was told to end, or was joined, is there for a moment more.

And for fds: CPython drops what a thread has stored, a loop perhaps, when nobody lists or counts the thread any more.
"""


class Leftovers:
    """Remembers what is there when it is made; `found` tells what has been left behind since.

    Call from: any thread, while no other one opens files or starts threads.
    """

    def __init__(self) -> None:
        self._fds = open_fds()
        self._threads = WeakSet(threading.enumerate())
        self._count = _thread._count()
        self._watchers = {id(watcher) for watcher in _active()}

    def found(self) -> list[str]:
        """Return what has come and not gone, each in a few words: active watchers, threads, fds.

        Threads and fds that are there are given `PATIENCE` seconds to go.
        """
        left = [f"active watcher {watcher!r}" for watcher in _active() if id(watcher) not in self._watchers]
        until = time.monotonic() + PATIENCE
        left += _in_time(until, self._new_threads)
        if self._new_fds():
            gc.collect()  # a file that nobody can reach any more is no leak
            if _in_time(until, self._new_fds):
                gc.collect()  # nor is one that a thread has let go meanwhile
                left += self._new_fds()
        return left

    def _new_fds(self) -> list[str]:
        # A loop that was there before may open the door in this test.  One that is left behind has fds of its own.
        new = open_fds() - self._fds - shared_fds()
        return [f"fd {fd} -> {_target(fd)}" for fd in sorted(new)]

    def _new_threads(self) -> list[str]:
        known = [f"thread {thread!r}" for thread in threading.enumerate() if thread not in self._threads]
        others = _thread._count() - self._count
        return known or ([f"{others} threads that `threading` does not know"] if others > 0 else [])


def _in_time(until: float, look: Callable[[], list[str]]) -> list[str]:
    """What is still there at that time, or nothing as soon as there is nothing."""
    while (left := look()) and time.monotonic() < until:
        time.sleep(0.001)
    return left


def open_fds() -> set[int]:
    """Return the numbers of this process's open fds (proc_pid_fd(5))."""
    fds = set()
    for name in os.listdir(_FDS):
        try:
            os.fstat(int(name))
        except OSError:
            continue  # the one that listdir itself had open
        fds.add(int(name))
    return fds


def _target(fd: int) -> str:
    try:
        return os.readlink(_FDS / str(fd))
    except OSError:
        return "?"


def _active() -> list[Watcher]:
    """Those of this thread's loops: nobody else's can be looked into while it runs."""
    ours = [loop for loop in tracked() if isinstance(loop, Loop) and loop._thread == _thread.get_ident()]
    return [watcher for loop in ours for watcher in active_watchers(loop)]
