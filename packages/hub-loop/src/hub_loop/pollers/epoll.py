"""The epoll back-end (Linux), and what one must know about epoll.

- ADD and MOD report readiness that is present at that moment, also with EPOLLET; so arming late loses nothing.
- With EPOLLET an fd that was reported and not drained stays silent until *new* data comes.
- A registration belongs to the open file, not to the number.  close() of the last number removes it; after dup() it
  lives on, is reported under the old number, and nobody can delete it through that number any more.  So an fd leaves
  by `forget` before it is closed (law 7), and `watch` trusts the kernel's answer rather than its own memory: MOD, and
  ADD if the kernel says ENOENT.
- HUP and ERR are reported whether asked for or not, so "no interest" means DEL, not an empty mask.
- Regular files and directories give EPERM: they are always ready, as poll and select say of them.
- A forked child's fd leads to the parent's object: what the child deletes the parent misses, and each edge is told to
  whichever of them waits (man 7 epoll).  So a child only closes it.
- The timeout is in whole milliseconds; CPython rounds it up, so a poll never ends early (man 2 epoll_wait, `select`
  docs).
"""

from __future__ import annotations

import select
from select import epoll as _epoll  # now: see `pollers._HAVE`

from hub_api import READ, WRITE
from hub_loop.pollers import BOTH, EDGE, HANGUP, raised_by_the_call

_ALWAYS_BOTH = select.EPOLLHUP | select.EPOLLERR


def _widen(mask: int) -> int:
    events = 0
    if mask & (select.EPOLLIN | select.EPOLLPRI | select.EPOLLRDHUP):
        events |= READ
    if mask & select.EPOLLOUT:
        events |= WRITE
    if mask & _ALWAYS_BOTH:
        events |= BOTH
    # Reading has an end when the peer has shut its side (RDHUP), or for a pipe when HUP comes without OUT.  HUP with
    # OUT is a socket that was never connected, ERR an error that is told once: more may come after either.
    if mask & select.EPOLLRDHUP or (mask & select.EPOLLHUP and not mask & select.EPOLLOUT):
        events |= HANGUP
    return events


class _Widened(dict[int, int]):
    """Kernel mask to our events, worked out once per mask: a handful of masks ever occur."""

    def __missing__(self, mask: int) -> int:
        events = self[mask] = _widen(mask)
        return events


class EpollPoller:
    """Duties: see `hub_loop.pollers.Poller`."""

    name = "epoll"
    edge = True

    __slots__ = ("_armed", "_epoll", "_wait", "_widened")

    def __init__(self) -> None:
        self._armed: set[int] = set()
        self._widened = _Widened()
        self.reopen()

    def reopen(self) -> None:
        self._epoll = _epoll()
        self._wait = self._epoll.poll

    def watch(self, fd: int, interest: int) -> bool:
        mask = 0
        if interest & READ:
            mask |= select.EPOLLIN
        if interest & WRITE:
            mask |= select.EPOLLOUT
        if interest & EDGE:
            mask |= select.EPOLLET | select.EPOLLRDHUP
        if fd in self._armed:
            try:
                self._epoll.modify(fd, mask)
                return True
            except FileNotFoundError:
                self._armed.discard(fd)
            except PermissionError:  # the number was reused, and by a regular file
                self._armed.discard(fd)
                return False
        self._armed.add(fd)  # before the kernel knows: an interrupt right behind the call leaves it to be forgotten
        try:
            self._epoll.register(fd, mask)
        except FileExistsError:
            self._epoll.modify(fd, mask)
        except PermissionError:
            self._armed.discard(fd)
            return False
        except ValueError:
            self._armed.discard(fd)
            if self._epoll.closed:
                return True
            raise
        except OSError:
            self._armed.discard(fd)
            raise
        return True

    def forget(self, fd: int) -> None:
        if fd in self._armed:
            self._armed.discard(fd)
            try:
                self._epoll.unregister(fd)
            except OSError:
                # EBADF or ENOENT: closed before it was forgotten, so the kernel has dropped it already.
                pass

    def poll(self, timeout: float | None) -> list[tuple[int, int]]:
        widened = self._widened
        try:
            return [(fd, widened[mask]) for fd, mask in self._wait(timeout, len(self._armed) or 1)]
        except (OSError, ValueError) as error:
            if self._epoll.closed and raised_by_the_call(error):
                return []  # closed by a signal handler inside the call: EBADF, or ValueError if it came just before
            raise

    def fileno(self) -> int | None:
        return self._epoll.fileno()

    def close(self) -> None:
        # Nothing is unregistered from here on: in a forked child the parent's loop stands on the same kernel object.
        self._armed.clear()
        self._epoll.close()
