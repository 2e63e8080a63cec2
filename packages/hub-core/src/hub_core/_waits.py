"""Waits: for a quiet loop, and for file descriptors.

Receives: file descriptors from users.  Gives: parked greenlets that a watcher or a registration makes ready again.
Rule 1: this file never calls the operating system; an fd only passes through to the loop.
Rule 2: whatever is started here is closed here, also when the wait ends in an exception.
"""

from __future__ import annotations

from greenlet import getcurrent

from hub_api import READ, WRITE, ConcurrentObjectUseError
from hub_core._local import this_hub
from hub_core._waiter import Waiter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hub_api import IIoWatcher, IWatcher
    from hub_core._hub import Hub


def idle(priority: int = 0) -> None:
    """Park until there is nothing else to do, for the loop and for greenlets.

    `priority`: which idle greenlets go first.
    """
    hub = this_hub()
    with hub.loop.idle() as watcher:
        if priority:
            watcher.priority = priority
        hub.wait(watcher)
        while (
            hub._ready or hub._new or hub.loop.pendingcnt
        ):  # the loop had nothing to do, but does not know of our lanes
            hub.wait(watcher)


def wait_on_watcher(
    watcher: IWatcher,
    timeout: float | None = None,
    timeout_exc: BaseException | type[BaseException] | None = None,
    hub: Hub | None = None,
) -> None:
    """Park until `watcher` calls back; after `timeout` seconds raise `timeout_exc` (TimeoutError).

    Raises ConcurrentObjectUseError if another greenlet waits for the watcher; else as `Hub.wait`.
    """
    if watcher.callback is not None:
        raise ConcurrentObjectUseError(
            f"This socket is already used by another greenlet: {watcher.callback!r}; "
            f"{getcurrent()!r} needs a watcher of its own"
        )
    hub = this_hub() if hub is None else hub
    if timeout is None:
        hub.wait(watcher)
        return
    with hub.loop.timer(timeout) as timer:
        timer.start(hub.cancel_wait, watcher, _timeout_error(timeout_exc))
        hub.wait(watcher)


def wait_read(
    fd: int, timeout: float | None = None, timeout_exc: BaseException | type[BaseException] | None = None
) -> None:
    """Park until `fd` can be read, or has hung up; after `timeout` seconds raise `timeout_exc` (TimeoutError).

    For an fd that this code does not own; who opens and closes it does better with an `FdWaiter`, which asks the
    kernel once.
    Call from: any greenlet but the hub.  Switches: always.
    Raises ValueError or OSError for a negative or closed fd, OSError (EBADF) if it leaves the loop meanwhile.
    """
    _wait_fd(fd, READ, timeout, timeout_exc)


def wait_write(
    fd: int, timeout: float | None = None, timeout_exc: BaseException | type[BaseException] | None = None
) -> None:
    """Park until `fd` can be written: see `wait_read`."""
    _wait_fd(fd, WRITE, timeout, timeout_exc)


def wait_readwrite(
    fd: int, timeout: float | None = None, timeout_exc: BaseException | type[BaseException] | None = None
) -> None:
    """Park until `fd` can be read or written: see `wait_read`."""
    _wait_fd(fd, READ | WRITE, timeout, timeout_exc)


def _wait_fd(
    fd: int, events: int, timeout: float | None, timeout_exc: BaseException | type[BaseException] | None
) -> None:
    hub = this_hub()
    watcher: IIoWatcher = hub.loop.io(fd, events)
    try:
        wait_on_watcher(watcher, timeout, timeout_exc, hub)
    finally:
        watcher.close()


def _timeout_error(timeout_exc: BaseException | type[BaseException] | None) -> BaseException | type[BaseException]:
    return TimeoutError("timed out") if timeout_exc is None else timeout_exc


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

    __slots__ = ("_reader", "_registration", "_writer")

    def __init__(self, fd: int, hub: Hub | None = None) -> None:
        hub = this_hub() if hub is None else hub
        self._reader = Waiter(hub)
        self._writer = Waiter(hub)
        self._reader.reason = self._writer.reason = self
        self._registration = hub.loop.register(fd, self._notify)

    def _notify(self, events: int) -> None:
        if events & READ:
            self._reader.switch(None)
        if events & WRITE:
            self._writer.switch(None)
        if (
            not events and self._reader.hub.loop is not None
        ):  # else the loop goes with its hub, where nobody runs any more
            for waiter in (self._reader, self._writer):
                if waiter.greenlet is not None:
                    import errno

                    waiter.throw(OSError(errno.EBADF, f"the file was closed while {waiter.greenlet!r} waited for it"))

    def wait_read(self, timeout: float | None = None) -> None:
        """Return at once if the fd may be readable, else park until it is; after `timeout` seconds raise TimeoutError.

        Switches: if it is not known to be readable.  Raises ConcurrentObjectUseError if another greenlet waits to read,
        OSError (EBADF) if the fd is closed meanwhile, ValueError after `close`.
        """
        if not self._registration.ready & READ:
            self._wait(READ, self._reader, timeout)

    def wait_write(self, timeout: float | None = None) -> None:
        """The same for writing."""
        if not self._registration.ready & WRITE:
            self._wait(WRITE, self._writer, timeout)

    def _wait(self, events: int, waiter: Waiter, timeout: float | None) -> None:
        self._registration.want(events)
        try:
            if timeout is None:
                waiter.get()
                return
            with waiter.hub.loop.timer(timeout) as timer:
                timer.start(waiter.throw, TimeoutError("timed out"))
                waiter.get()
            waiter.clear()  # of a timeout that came in the same turn, right behind the event
        except BaseException:
            if waiter.greenlet is None:  # else it is another's wait, which goes on
                self._registration.unwant(events)
                waiter.clear()
            raise

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
