"""The kqueue back-end (macOS and the BSDs).

Written to the same duties as the others.  On Linux, where this project's tests run, they play it against a model of
kqueue that stands on epoll (tests/hub_loop/conftest.py); no more is claimed.

- READ and WRITE are two filters, each with a state of its own; EV_CLEAR makes a filter edge-triggered.
- A filter belongs to the number and goes when that is closed; adding one again updates it.
- EV_EOF on READ says that the peer sends no more.  On WRITE it says that nobody will read, or that we have shut our own
  side ourselves: then there may be more to read, so it is no HANGUP.
- Of a list of changes those before the one that is refused are made.
- A regular file is not ready for READ at its end (FreeBSD), or refused (macOS for WRITE): so it is not asked about.
- A forked child does not inherit a kqueue (man 2 kqueue).
"""

from __future__ import annotations

import errno
import os
import select
import stat
from types import SimpleNamespace

from hub_api import READ, WRITE
from hub_loop.pollers import EDGE, HANGUP, raised_by_the_call

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# A copy, made now: see `pollers._HAVE`.  Any, as the type stubs hide kqueue on Linux, where this must still type-check.
_kernel: Any = SimpleNamespace(**vars(select))


class KqueuePoller:
    """Duties: see `hub_loop.pollers.Poller`."""

    name = "kqueue"
    edge = True

    __slots__ = ("_armed", "_kqueue")

    def __init__(self) -> None:
        self._armed: dict[int, int] = {}
        self.reopen()

    def reopen(self) -> None:
        self._kqueue: Any = _kernel.kqueue()

    def watch(self, fd: int, interest: int) -> bool:
        self.forget(fd)
        if stat.S_ISREG(os.fstat(fd).st_mode):
            return False
        how = _kernel.KQ_EV_ADD | (_kernel.KQ_EV_CLEAR if interest & EDGE else 0)
        changes = [_kernel.kevent(fd, kind, how) for kind in self._filters(interest)]
        self._armed[fd] = interest
        try:
            self._kqueue.control(changes, 0)
        except OSError as error:
            self.forget(fd)
            if error.errno in (errno.EINVAL, errno.ENODEV, errno.EPERM):
                return False
            raise
        except ValueError:
            del self._armed[fd]
            if self._kqueue.closed:
                return True
            raise
        return True

    def forget(self, fd: int) -> None:
        for kind in self._filters(self._armed.pop(fd, 0)):
            try:
                self._kqueue.control([_kernel.kevent(fd, kind, _kernel.KQ_EV_DELETE)], 0)
            except OSError as error:
                if error.errno not in (errno.EBADF, errno.ENOENT):  # closed before it was forgotten: gone already
                    raise

    def poll(self, timeout: float | None) -> list[tuple[int, int]]:
        found: dict[int, int] = {}
        try:
            reported = self._kqueue.control(None, 2 * len(self._armed) or 1, timeout)
        except (OSError, ValueError) as error:  # as in epoll.py
            if self._kqueue.closed and raised_by_the_call(error):
                return []
            raise
        for event in reported:
            events = WRITE
            if event.filter == _kernel.KQ_FILTER_READ:
                events = READ | HANGUP if event.flags & _kernel.KQ_EV_EOF else READ
            found[event.ident] = found.get(event.ident, 0) | events
        return list(found.items())

    @staticmethod
    def _filters(interest: int) -> list[int]:
        return [
            kind for bit, kind in ((READ, _kernel.KQ_FILTER_READ), (WRITE, _kernel.KQ_FILTER_WRITE)) if interest & bit
        ]

    def fileno(self) -> int | None:
        number: int = self._kqueue.fileno()
        return number

    def close(self) -> None:
        self._armed.clear()
        self._kqueue.close()
