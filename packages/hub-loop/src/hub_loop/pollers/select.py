"""The portable back-ends: poll(2), and select(2) where there is nothing better.

Both report states, not changes: a registration arms what is waited for and disarms it when it was seen.  Both keep
their interests in this process, so arming costs no system call.  A number that was closed is told by poll as POLLNVAL
and by select as EBADF for the whole set; then the set is searched for it.  select takes no number from 1024 on
(FD_SETSIZE).

A poll that a signal handler interrupts goes on with the fds that it began with.  So a handler that forks can end it in
the child only through one of them: the loop's wake fd, which is closed, and so reported, at once.
"""

from __future__ import annotations

import errno
import math
import os
import select
from types import SimpleNamespace

from hub_api import READ, WRITE
from hub_loop.pollers import BOTH, INVALID, raised_by_the_call

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_kernel: Any = SimpleNamespace(**vars(select))  # a copy, made now: see `pollers._HAVE`
_POLLRDHUP = getattr(select, "POLLRDHUP", 0)
_FD_SETSIZE = 1024


class _Nothing:
    """What a closed poller asks instead of the system."""

    def register(self, fd: int, mask: int) -> None:
        """Nothing is watched."""

    def unregister(self, fd: int) -> None:
        """Nothing was."""

    def poll(self, timeout: float | None) -> list[tuple[int, int]]:
        """Nothing is reported, at once."""
        return []

    def select(self, read: set[int], write: set[int], errors: object, timeout: object) -> tuple[list[int], ...]:
        """The same in the form of select."""
        return [], [], []


class PollPoller:
    """Duties: see `hub_loop.pollers.Poller`."""

    name = "poll"
    edge = False

    __slots__ = ("_poll",)

    def __init__(self) -> None:
        self._poll: select.poll | _Nothing = _kernel.poll()

    def watch(self, fd: int, interest: int) -> bool:
        mask = _POLLRDHUP if interest & READ else 0
        if interest & READ:
            mask |= select.POLLIN
        if interest & WRITE:
            mask |= select.POLLOUT
        self._poll.register(fd, mask)
        return True

    def forget(self, fd: int) -> None:
        try:
            self._poll.unregister(fd)
        except KeyError:
            pass  # forgetting twice is fine: the duty says so

    def poll(self, timeout: float | None) -> list[tuple[int, int]]:
        milliseconds = None if timeout is None else math.ceil(timeout * 1000)
        return [(fd, self._widen(mask)) for fd, mask in self._poll.poll(milliseconds)]

    @staticmethod
    def _widen(mask: int) -> int:
        if mask & select.POLLNVAL:
            return BOTH | INVALID
        events = 0
        if mask & (select.POLLIN | select.POLLPRI | _POLLRDHUP):
            events |= READ
        if mask & select.POLLOUT:
            events |= WRITE
        if mask & (select.POLLHUP | select.POLLERR):
            events |= BOTH
        return events

    def fileno(self) -> int | None:
        return None

    def close(self) -> None:
        self._poll = _Nothing()

    def reopen(self) -> None:
        self._poll = _kernel.poll()


class SelectPoller:
    """Duties: see `hub_loop.pollers.Poller`."""

    name = "select"
    edge = False

    __slots__ = ("_read", "_system", "_write")

    def __init__(self) -> None:
        self._system: Any = _kernel  # or _Nothing
        self._read: set[int] = set()
        self._write: set[int] = set()

    def watch(self, fd: int, interest: int) -> bool:
        if fd >= _FD_SETSIZE:
            raise ValueError(
                f"select takes file descriptors below {_FD_SETSIZE}, got {fd}; use the epoll, kqueue or poll poller"
            )
        self.forget(fd)
        if interest & READ:
            self._read.add(fd)
        if interest & WRITE:
            self._write.add(fd)
        return True

    def forget(self, fd: int) -> None:
        self._read.discard(fd)
        self._write.discard(fd)

    def poll(self, timeout: float | None) -> list[tuple[int, int]]:
        try:
            readable, writable, _ = self._system.select(self._read, self._write, (), timeout)
        except OSError as error:
            if error.errno == errno.EBADF and raised_by_the_call(error):
                return self._closed()
            raise
        events = dict.fromkeys(readable, READ)
        for fd in writable:
            events[fd] = events.get(fd, 0) | WRITE
        return list(events.items())

    def _closed(self) -> list[tuple[int, int]]:
        closed = []
        for fd in self._read | self._write:
            try:
                os.fstat(fd)
            except OSError:
                closed.append((fd, BOTH | INVALID))
        return closed

    def fileno(self) -> int | None:
        return None

    def close(self) -> None:
        self._system = _Nothing()
        self._read.clear()
        self._write.clear()

    def reopen(self) -> None:
        self._system = _kernel
        self._read.clear()
        self._write.clear()
