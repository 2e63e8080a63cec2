"""Waits for a quiet loop, and for file descriptors of strangers.

Receives: file descriptors from users.  Gives: parked greenlets that a watcher makes ready again.
Rule 1: this file never calls the operating system; an fd only passes through to the loop.
Rule 2: whatever is started here is closed here, also when the wait ends in an exception.
"""

from __future__ import annotations

from _thread import get_ident

from greenlet import getcurrent

from hub_api import READ, WRITE, ConcurrentObjectUseError
from hub_core._local import this_hub
from hub_core._waiter import WAIT_REMEDY, check_raisable

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
        # The loop had nothing to do, but it does not know of our lanes.
        while hub._ready or hub._new or hub.loop.pendingcnt:
            hub.wait(watcher)


def wait_on_watcher(
    watcher: IWatcher,
    timeout: float | None = None,
    timeout_exc: BaseException | type[BaseException] | None = None,
    hub: Hub | None = None,
) -> None:
    """Park until `watcher` calls back; after `timeout` seconds raise `timeout_exc` (TimeoutError).

    Raises ConcurrentObjectUseError if another greenlet waits for the watcher, TypeError for a `timeout_exc` that cannot
    be raised; else as `Hub.wait`.
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
    if get_ident() != hub.thread_ident or hub.loop is None:
        hub.refuse(f"wait for {watcher!r}", WAIT_REMEDY)
    error = _timeout_error(timeout_exc)
    with hub.loop.timer(timeout) as timer:
        timer.start(hub.cancel_wait, watcher, error)
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
    if timeout_exc is None:
        return TimeoutError("timed out")
    check_raisable(timeout_exc, "timeout_exc")
    return timeout_exc
