"""Wake-ups from outside: other threads and signal handlers reach a loop through this door only.

Receives: async and signal watchers, the former from any thread.  Gives: the same, in order, to the turn; and the end of
its poll.

A poster appends to the loop's queue (a callback) or to the inbox (a watcher), then looks whether the loop sleeps, and
if so writes to the wake fd.  The loop says that it sleeps, then looks into both, then polls.  Whichever comes second
sees what the other did, so nothing is left lying.  Posters that find the loop awake, or find that another has written
already, make no system call.

Rule: the fd is written and closed under one lock, so nobody writes into a number that was closed and reused.  The
lock is re-entrant because a signal handler may post while its own thread is posting.
"""

from __future__ import annotations

import os
import socket
import sys
from collections import deque
from os import close  # now: gevent's monkey patching replaces it by one that needs a running loop
from socket import socketpair
from threading import RLock

from hub_api import READ
from hub_loop._watcher import Watcher
from hub_loop.pollers import EDGE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hub_loop._loop import Loop
    from hub_loop.pollers import Poller

_ONE = (1).to_bytes(8, sys.byteorder)  # by write and read: unlike `eventfd_write` they go on after EINTR (PEP 475)


class Wakeup:
    """A fd in the poller that any thread can make ready."""

    __slots__ = ("_drain", "_early", "_ends", "_lock", "fd", "inbox")

    def __init__(self, poller: Poller) -> None:
        self.inbox: deque[Posted] = deque()
        self.fd = -1
        self._lock = RLock()
        self._early = False
        self._ends: tuple[socket.socket, ...] = ()
        self.open(poller)

    def open(self, poller: Poller) -> None:
        """Get the fd, and have `poller` watch it."""
        with self._lock:
            if hasattr(os, "eventfd"):
                self.fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            else:
                self._ends = socketpair()
                for end in self._ends:
                    end.setblocking(False)
                self.fd = self._ends[0].fileno()
            # Edge-triggered, each write is an edge and nothing needs to be read; a 64-bit count does not overflow.
            self._drain = not poller.edge or bool(self._ends)
            self.join(poller)
            if self._early:
                self.wake()

    def join(self, poller: Poller) -> None:
        """Have `poller` watch the fd."""
        poller.watch(self.fd, READ | EDGE if poller.edge else READ)

    def abandon(self) -> None:
        """In a forked child: the fd is the parent's, so is what was posted, and the lock may never be released."""
        self._lock = RLock()
        self._early = False
        self.inbox = deque()
        try:
            self.close()
        except OSError:
            pass  # somebody had closed the number behind our back: so it is not open here, which is all we want

    def wake(self) -> None:
        """End the poll.  Call from: any thread, or a signal handler."""
        with self._lock:
            if self.fd < 0:
                self._early = True  # in a forked child that has not used its loop yet: the first poll will not block
                return
            if not self._ends:
                os.write(self.fd, _ONE)
                return
            try:
                self._ends[1].send(b"\0")
            except BlockingIOError:
                pass  # full of wake-ups already

    def deliver(self, events: int) -> None:
        """The poll ended: make the fd silent again, where it does not become so by itself."""
        if not self._drain:
            return
        if not self._ends:
            try:
                os.read(self.fd, 8)
            except BlockingIOError:
                pass  # read already
            return
        try:
            while self._ends[0].recv(4096):
                pass
        except BlockingIOError:
            pass  # empty

    def close(self) -> None:
        """Give the fd back.  Idempotent."""
        with self._lock:
            fd, self.fd = self.fd, -1
            if self._ends:
                ends, self._ends = self._ends, ()
                for end in ends:
                    end.close()
            elif fd >= 0:
                close(fd)

    def __del__(self) -> None:
        # A loop that was dropped without destroy().  An eventfd is a bare number: nothing else would close it.
        if getattr(self, "fd", -1) >= 0:
            self.close()


class Posted(Watcher):
    """A watcher whose event comes through the inbox.  A kind says who posts it, and when."""

    __slots__ = ("_sent",)

    def __init__(self, loop: Loop, ref: bool = True, priority: int | None = None) -> None:
        super().__init__(loop, ref, priority)
        self._sent: object = None  # the inbox that it was sent to: after a fork that is not the loop's any more

    def _disarm(self) -> None:
        self._sent = None  # what is still in the inbox does not count

    def _arrived(self) -> None:
        """Taken from the inbox by the turn: from here on a new post is a new event."""
        if self._sent is self.loop._wakeup.inbox:
            if self._active:
                self._fire()
            self._sent = None

    @property
    def pending(self) -> bool:
        """True from the event until the callback starts."""
        return self._pending or self._sent is self.loop._wakeup.inbox


class Async(Posted):
    """Calls back after `send` from any thread: see `hub_api.IAsyncWatcher`."""

    __slots__ = ()

    def _arm(self) -> None:
        self.loop._asyncs[self] = None

    def _disarm(self) -> None:
        self.loop._asyncs.pop(self, None)
        super()._disarm()

    def send(self) -> None:
        """Have the callback called.  Call from: any thread, or a signal handler.  Raises ValueError after `close`."""
        if self._closed:
            raise ValueError(f"cannot send to {self!r}: it was closed")
        loop = self.loop
        inbox = loop._wakeup.inbox
        if self._sent is not inbox:
            if loop._thread == 0:
                loop._refuse("send")
            self._sent = inbox
            inbox.append(self)
        if loop.sleeping:  # also if it was sent before: an interrupt may have come between the two
            loop.wakeup()

    def send_ignoring_arg(self, ignored: object, /) -> None:
        """The same as `send`, for places that pass an argument."""
        self.send()
