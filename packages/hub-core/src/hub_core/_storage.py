"""What a native thread remembers: its hub, its hub class, its loop.

Receives: what `_local` stores.  Gives: the same, to the same thread, until the thread ends.
A module of its own so that `threading`, dearer to import than all of hub_core, comes with the first hub and not before.
"""

from __future__ import annotations

import threading
from _thread import get_ident
from weakref import WeakSet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hub_api import ILoopCore
    from hub_core._hub import Hub


class ThreadState(threading.local):
    """One thread's hub, hub class and loop; and the guard that ends its hubs with it."""

    hub: Hub | None = None
    hub_class: type[Hub] | None = None
    loop: ILoopCore | None = None
    guard: Guard | None = None

    def watch(self, hub: Hub) -> None:
        """End this hub with this thread, if nobody has done so before.

        The main thread's are left to the interpreter's end.
        """
        if not hub.main_hub:
            if self.guard is None:
                self.guard = Guard()
            self.guard.hubs.add(hub)


class Guard:
    """Ends the hubs of a thread: CPython drops a thread's storage in that very thread, as it ends.

    A hub that `get_hub` made is destroyed.  Of one that somebody made, only the greenlet is ended, which could never
    run again; its loop stays its holder's.  No hub may outlive its thread as a greenlet that has not ended: suspended
    it is never freed, and greenlet 3.5 crashes when the garbage collector meets one that had not started
    (test_local.py, "left alone").

    Dropped in another thread, the storage is that of a thread which has not ended: a fork has left it behind in the
    parent.  Whatever that thread was doing stays half done in the child, and nothing of it is touched.
    """

    __slots__ = ("hubs", "implicit", "thread")

    def __init__(self) -> None:
        self.thread = get_ident()
        self.hubs: WeakSet[Hub] = WeakSet()
        self.implicit: Hub | None = None

    def __del__(self) -> None:
        if get_ident() != self.thread:
            return
        for hub in list(self.hubs):
            if hub.loop is not None:
                hub._end_with_thread(destroy=hub is self.implicit)


local = ThreadState()


def find_thread(ident: int) -> threading.Thread | None:
    """The thread of that number.

    Numbers are given to other threads later, so whoever must know that one lives keeps the thread.
    None for a thread that `threading` does not know: it cannot be asked, and counts as ended for everybody but itself.
    """
    return next((thread for thread in threading.enumerate() if thread.ident == ident), None)


def is_main(ident: int) -> bool:
    """Whether that is the number of the main thread."""
    return ident == threading.main_thread().ident
