"""Reports: what a parked greenlet waits for.

Receives: a greenlet.  Gives: the reason that it parked with.
Rule: parking records nothing but the argument of `Hub.park`, in a frame that exists anyway (law 6); the reader pays.
"""

from __future__ import annotations

from hub_core._hub import Hub
from hub_core._waiter import Waiter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from greenlet import greenlet

_PARK = Hub.park.__code__


def wait_reason(parked: greenlet) -> object:
    """Return what a parked greenlet waits for: a watcher, an `FdWaiter`, a `Waiter`, or whatever `Hub.park` was given.

    None for a greenlet that is not parked there: one that runs, has ended, only sleeps for 0 seconds, or called
    `Hub.switch` itself.  Call from: the greenlet's own thread.  Switches: never.
    """
    frame = parked.gr_frame
    while frame is not None:
        if frame.f_code is _PARK:
            reason: object = frame.f_locals["reason"]
            if isinstance(reason, Waiter) and reason.reason is not None:
                return reason.reason
            return reason
        frame = frame.f_back
    return None
