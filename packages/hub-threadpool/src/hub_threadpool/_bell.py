"""The bell that wakes an idle worker.

Receives: a ring, from any thread.  Gives: the end of the worker's wait.

To wake a thread by a lock costs two switches of threads more than it needs: whoever releases the lock goes on with the
GIL in hand, and who was waiting wakes up only to wait for the GIL.  To write into an eventfd lets the GIL go for the
time of the call, so the worker can begin at once; if it is quick, its job is done when the call returns.  The worker
waits in an epoll of its own that is edge-triggered: the wait takes a timeout, and there is nothing to read afterwards.
(eventfd(2), epoll(7); 20 us of processor time out of 75, benchmarks/bench_threadpool.py.)  Without eventfd: a lock.

Rule 1: the fds live as long as the object, so that who rings late never writes to somebody else's file.
Rule 2: `_rung` is what counts, and the eventfd only ends a sleep.  Who rings sets it and looks for a sleeper; who goes
to sleep says so and looks at it.
"""

from __future__ import annotations

import os
import select
import sys
from _thread import allocate_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class IBell(Protocol):
        """What wakes a worker."""

        def ring(self) -> None:
            """End the wait that is under way, or the next one.  Call from: any thread."""
            ...

        def heard(self) -> bool:
            """Whether it was rung since the last time.  Call from: its worker, as `wait`."""
            ...

        def wait(self, seconds: float) -> bool:
            """Wait until it is rung; False if it was not."""
            ...

        def close(self) -> None:
            """Give the fds back.  Call from: a forked child, where nobody will ring."""
            ...


class LockBell:
    """For systems without eventfd."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._lock.acquire()

    def ring(self) -> None:
        """End the wait that is under way, or the next one.  Call from: any thread."""
        try:
            self._lock.release()
        except RuntimeError:
            pass  # it was rung already and nobody has heard it

    def heard(self) -> bool:
        """Whether it was rung since the last time."""
        return self._lock.acquire(False)

    def wait(self, seconds: float) -> bool:
        """Wait until it is rung; False if it was not."""
        return self._lock.acquire(True, seconds)

    def close(self) -> None:
        """Nothing: there are no fds."""


if sys.platform == "linux":

    class EventBell:
        """For Linux."""

        __slots__ = ("_asleep", "_fd", "_poll", "_poller", "_ring", "_rung")

        def __init__(self) -> None:
            self._rung = self._asleep = False
            self._fd = -1
            self._poller = select.epoll()  # freed with us if the next line fails
            self._fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
            self._poller.register(self._fd, select.EPOLLIN | select.EPOLLET)
            self._poll = self._poller.poll
            self._ring = os.eventfd_write

        def ring(self) -> None:
            """End the wait that is under way, or the next one.  Call from: any thread."""
            self._rung = True
            if self._asleep:
                self._ring(self._fd, 1)

        def heard(self) -> bool:
            """Whether it was rung since the last time."""
            rung, self._rung = self._rung, False
            return rung

        def wait(self, seconds: float) -> bool:
            """Wait until it is rung; False if it was not."""
            self._asleep = True
            while not self._rung and self._poll(seconds):
                pass  # what woke us may be an edge of a ring that was heard without it
            self._asleep = False
            return self.heard()

        def close(self) -> None:
            """Give the fds back."""
            fd = getattr(self, "_fd", -1)  # none if an interrupt came before there was one
            if fd >= 0:
                self._fd = -1
                self._asleep = False
                os.close(fd)  # first: an interrupt may come in between, and a poller that is dropped closes itself
                self._poller.close()

        __del__ = close


def make_bell() -> IBell:
    """A bell of the best kind that the system has; without fds if it has none left to give."""
    if sys.platform == "linux":
        try:
            return EventBell()
        except OSError:
            pass  # too many open files: slower is better than not at all
    return LockBell()
