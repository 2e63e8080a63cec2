"""FdWaiter: waits for a file descriptor that its user opens and closes.

Receives: `wait_read`/`wait_write` from greenlets, `notify(events)` from the fd's registration in the loop.  Gives:
parked greenlets that are made ready by an edge.
Rule 1: the latch of the registration is the outcome of a wait; nothing else travels.  Who resumes looks there.
Rule 2: a side's `greenlet` is set while that greenlet waits and nobody has made it ready; who takes it out appends it
to the ready lane in the same breath.  So it stands there once, and one that finds its own name still in the slot was
resumed by a stranger.
Rule 3: this file never calls the operating system; an fd only passes through to the loop.
"""

from __future__ import annotations

from _thread import get_ident

from greenlet import getcurrent

from hub_api import READ, WRITE, ConcurrentObjectUseError, InvalidSwitchError
from hub_core._local import this_hub

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from greenlet import greenlet

    from hub_api import IRegistration
    from hub_core._hub import Hub


class _Side:
    """One direction of an fd, and the greenlet that waits for it."""

    __slots__ = ("_bit", "_hub", "_owner", "_registration", "greenlet")

    def __init__(self, owner: FdWaiter, bit: int, hub: Hub, registration: IRegistration) -> None:
        self._owner = owner
        self._bit = bit
        self._hub = hub
        self._registration = registration
        self.greenlet: greenlet | None = None

    def wait(self) -> None:
        """Park until the latch is set, the fd leaves the loop, or `wake` is called."""
        hub = self._hub
        current = getcurrent()
        if hub._running is not current and (get_ident() != hub.thread_ident or hub.loop is None):  # as in Waiter.get
            hub.refuse(f"wait on {self._owner!r}", "an FdWaiter of this thread's hub")
        if self.greenlet is not None:
            raise ConcurrentObjectUseError(
                f"{current!r} cannot wait on {self._owner!r}: {self.greenlet!r} already does; "
                "one greenlet may wait to read and one to write"
            )
        try:
            self._registration.want(self._bit)
            self.greenlet = current
            hub.park(current, self._owner)
        except BaseException:
            if self.greenlet is current or self.greenlet is None:  # else another one waits here by now
                self._leave()
            hub.forget_ready(current)  # if it was made ready already, what came is still in the latch
            raise
        if self.greenlet is current or self._registration.fd < 0:
            self._raise_for_failed_wait(current)

    def wait_at_most(self, seconds: float) -> None:
        """The same; raise TimeoutError if the latch is not set by then."""
        with self._hub.loop.timer(seconds) as timer:
            timer.start(self.wake)
            self.wait()
        if not self._registration.ready & self._bit:
            raise TimeoutError("timed out")

    def wake(self) -> None:
        """Make who waits ready, without an event."""
        greenlet = self.greenlet
        if greenlet is not None:
            self._leave()
            self._hub.make_ready(greenlet)

    def _leave(self) -> None:
        self.greenlet = None
        self._registration.unwant(self._bit)

    def _raise_for_failed_wait(self, current: greenlet) -> NoReturn:
        if self.greenlet is not current:
            import errno

            raise OSError(errno.EBADF, f"the file was closed while {current!r} waited for it")
        self._leave()
        raise InvalidSwitchError(
            f"invalid switch into {current!r}: a stranger resumed it while it waited on {self._owner!r}; "
            "an event, a timeout or closing the FdWaiter wakes it, not greenlet.switch()"
        )


class FdWaiter:
    """Waits for one file descriptor that its user opens and closes: the kernel is asked once, then never again.

    Readiness is latched.  So wait, then read; and after a read that raised BlockingIOError say `clear_read`, on a
    byte stream (TCP, a pipe) also after one that came back short: the next `wait_read` then parks at once, without a
    read that is bound to fail.  Of datagrams a short one proves nothing.  The same for writing.  `close` before the
    fd is closed: greenlets that still wait get an OSError (EBADF), and a new file under the old number gets no stale
    event.

    One greenlet may wait to read and one to write.  The fd must be non-blocking.
    Call from: greenlets of the hub's thread.
    Raises ValueError or OSError for a negative or closed fd, ValueError if this loop has a registration of the fd
    already.
    """

    __slots__ = ("_reader", "_ready", "_registration", "_writer")

    def __init__(self, fd: int, hub: Hub | None = None) -> None:
        hub = this_hub() if hub is None else hub
        self._ready = hub._ready
        self._registration = registration = hub.loop.register(fd, self._notify)
        self._reader = _Side(self, READ, hub, registration)
        self._writer = _Side(self, WRITE, hub, registration)

    def _notify(self, events: int) -> None:
        if events & READ:
            greenlet = self._reader.greenlet
            if greenlet is not None:
                self._reader.greenlet = None
                self._ready.append(greenlet)
        if events & WRITE:
            greenlet = self._writer.greenlet
            if greenlet is not None:
                self._writer.greenlet = None
                self._ready.append(greenlet)
        if not events and self._reader._hub.loop is not None:  # else nobody runs any more
            self._reader.wake()
            self._writer.wake()

    def wait_read(self, timeout: float | None = None) -> None:
        """Return at once if the fd may be readable, else park until it is; after `timeout` seconds raise TimeoutError.

        Switches: if it is not known to be readable.  Raises ConcurrentObjectUseError if another greenlet waits to read,
        OSError (EBADF) if the fd is closed meanwhile, ValueError after `close`.
        """
        if not self._registration.ready & READ:
            if timeout is None:
                self._reader.wait()
            else:
                self._reader.wait_at_most(timeout)

    def wait_write(self, timeout: float | None = None) -> None:
        """The same for writing."""
        if not self._registration.ready & WRITE:
            if timeout is None:
                self._writer.wait()
            else:
                self._writer.wait_at_most(timeout)

    def clear_read(self) -> None:
        """Say that there is nothing more to read for now.  Without effect once the peer has hung up."""
        self._registration.clear(READ)

    def clear_write(self) -> None:
        """Say that nothing more can be written for now."""
        self._registration.clear(WRITE)

    def fileno(self) -> int:
        """The file descriptor, -1 after `close`."""
        return self._registration.fd

    def close(self) -> None:
        """Leave the loop; to be called before the fd is closed.  Idempotent.  Switches: never."""
        self._registration.close()

    def __repr__(self) -> str:
        return f"<FdWaiter {self._registration!r} reader={self._reader.greenlet!r} writer={self._writer.greenlet!r}>"
