"""FdWaiter: waits for a file descriptor that its user opens and closes.

Receives: `wait_read`/`wait_write` from greenlets, `notify(events)` from the fd's registration in the loop.  Gives:
parked greenlets that are made ready by an edge.
Rule 1: the latch of the registration is the outcome of a wait; nothing else travels.  Who resumes looks there.
Rule 2: a side's `greenlet` is set while that greenlet waits and nobody has made it ready; who takes it out appends it
to the ready lane in the same breath, and calls nobody before.  So it stands there once, an interrupt comes before both
or behind both, and one that finds its own name still in the slot was resumed by a stranger.  Who takes it out without
an event leaves the want to the one that resumes, which takes it back unless another one waits there by then.
Rule 3: this file never calls the operating system; an fd only passes through to the loop.
"""

from __future__ import annotations

from _thread import get_ident

from greenlet import getcurrent

from hub_api import READ, WRITE, ConcurrentObjectUseError, InvalidSwitchError
from hub_core._local import this_hub
from hub_core._waiter import WAIT_REMEDY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from greenlet import greenlet

    from hub_api import IRegistration
    from hub_core._hub import Hub


class Side:
    """One direction of an fd, and the greenlet that waits for it."""

    __slots__ = ("_bit", "_owner", "_registration", "greenlet", "hub")

    def __init__(self, owner: FdWaiter, bit: int, hub: Hub, registration: IRegistration) -> None:
        self._owner = owner
        self._bit = bit
        self.hub = hub
        self._registration = registration
        self.greenlet: greenlet | None = None

    def wait(self) -> None:
        """Park until an edge comes, the fd leaves the loop, or `_expire` is called."""
        hub = self.hub
        current = getcurrent()
        # As in Waiter.get.
        if hub._lane.running is not current and (get_ident() != hub.thread_ident or hub.loop is None):
            hub.refuse(f"wait on {self._owner!r}", WAIT_REMEDY)
        if self.greenlet is not None and not self._left_behind():
            raise ConcurrentObjectUseError(
                f"{current!r} cannot wait on {self._owner!r}: {self.greenlet!r} already does; "
                "one greenlet may wait to read and one to write"
            )
        try:
            self._registration.want(self._bit)
            self.greenlet = current
            hub.park(current, self._owner)
            if self.greenlet is current or not self._registration.ready & self._bit:
                self._woken_otherwise(current)
        except BaseException:
            if self.greenlet is current or self.greenlet is None:  # else another one waits here by now
                self._leave()
            hub.forget_ready(current)  # if it was made ready already, what came is still in the latch
            raise

    def wait_at_most(self, seconds: float) -> None:
        """The same; raise TimeoutError if the latch is not set by then."""
        hub = self.hub
        if get_ident() != hub.thread_ident or hub.loop is None:
            hub.refuse(f"wait on {self._owner!r}", WAIT_REMEDY)
        with hub.loop.timer(seconds) as timer:
            timer.start(self._expire, getcurrent())
            self.wait()
            # An edge that another reader was quicker to take looks the same in the latch.
            late = not timer.active
        if late and not self._registration.ready & self._bit:
            raise TimeoutError("timed out")

    def _expire(self, waiting: greenlet) -> None:
        """The time of `waiting` is up.  If it was made ready before, another one may wait here, which has more time."""
        if self.greenlet is waiting:
            self.greenlet = None
            self.hub._ready.append(waiting)

    def _left_behind(self) -> bool:
        """Whether who waited here is the parent's: a forked child's first use of the loop, which tells us, is ours."""
        self._registration.unwant(0)
        return self.greenlet is None

    def _abandon(self) -> None:
        """The greenlet that waits stays behind a fork."""
        if self.greenlet is not None:
            self._leave()

    def _leave(self) -> None:
        self.greenlet = None
        self._registration.unwant(self._bit)

    def _woken_otherwise(self, current: greenlet) -> None:
        """By its timer, `close` or a stranger; or by an edge that another reader was quicker to take."""
        if self.greenlet is current:
            raise InvalidSwitchError(
                f"invalid switch into {current!r}: a stranger resumed it while it waited on {self._owner!r}; "
                "an event, a timeout or closing the FdWaiter wakes it, not greenlet.switch()"
            )
        if self._registration.fd < 0:
            import errno

            raise OSError(errno.EBADF, f"the file was closed while {current!r} waited for it")
        if self.greenlet is None:
            self._registration.unwant(self._bit)


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
        self._reader = Side(self, READ, hub, registration)
        self._writer = Side(self, WRITE, hub, registration)

    def _notify(self, events: int) -> None:
        if not events:  # the fd leaves the loop
            if self._reader.hub.loop is None:
                return  # nobody runs any more
            events = READ | WRITE
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

    def _forked(self, hub: Hub, heir: greenlet) -> None:
        """This is a forked child: those who wait, but for the greenlet that forked, are the parent's."""
        self._ready = hub._ready
        for side in (self._reader, self._writer):
            if side.greenlet is not heir:
                side._abandon()

    def _let_go(self) -> None:
        """The hub is destroyed, its loop is not: those who wait never go on."""
        self._reader._abandon()
        self._writer._abandon()

    def wait_read(self, timeout: float | None = None) -> None:
        """Return at once if the fd may be readable, else park until it is; after `timeout` seconds raise TimeoutError.

        It may return in vain, also before the time is up: if another greenlet has read meanwhile what woke this one.
        Switches: if it is not known to be readable.  Raises ConcurrentObjectUseError if another greenlet waits to read,
        OSError (EBADF) if the fd is closed meanwhile, ValueError after `close`.
        """
        if not self._registration.ready & READ:
            if timeout is None:
                self._reader.wait()
            else:
                self._reader.wait_at_most(timeout)
        elif get_ident() != self._reader.hub.thread_ident:
            self._reader.hub.refuse(f"wait on {self!r}", WAIT_REMEDY)

    def wait_write(self, timeout: float | None = None) -> None:
        """The same for writing."""
        if not self._registration.ready & WRITE:
            if timeout is None:
                self._writer.wait()
            else:
                self._writer.wait_at_most(timeout)
        elif get_ident() != self._reader.hub.thread_ident:
            self._reader.hub.refuse(f"wait on {self!r}", WAIT_REMEDY)

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
