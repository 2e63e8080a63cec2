"""What a native thread remembers: its hub, its hub class, its loop.

Receives: what `_local` stores.  Gives: the same, to the same thread, until the thread ends.
A module of its own so that `threading`, dearer to import than all of hub_core, comes with the first hub and not before.
"""

from __future__ import annotations

import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hub_api import ILoopCore
    from hub_core._hub import Hub


class ThreadState(threading.local):
    """One thread's hub, hub class and loop; and the guard that ends an implicit hub with its thread."""

    hub: Hub | None = None
    hub_class: type[Hub] | None = None
    loop: ILoopCore | None = None
    guard: Guard | None = None

    def keep(self, hub: Hub) -> None:
        """Make an implicit hub this thread's, to be destroyed when the thread ends."""
        self.hub = hub
        if not hub.main_hub:
            self.guard = Guard(hub)


class Guard:
    """Destroys a hub when the thread that holds this guard ends: CPython drops a thread's storage in that very thread."""

    __slots__ = ("hub",)

    def __init__(self, hub: Hub) -> None:
        self.hub: Hub | None = hub

    def __del__(self) -> None:
        if self.hub is not None and self.hub.loop is not None:
            self.hub._end(destroy_loop=True)


local = ThreadState()


def find_thread(ident: int) -> threading.Thread | None:
    """The thread of that number.  Numbers are given to other threads later, so whoever must know that one lives keeps the thread.

    None for a thread that `threading` does not know: it cannot be asked, and counts as ended for everybody but itself.
    """
    return next((thread for thread in threading.enumerate() if thread.ident == ident), None)


def is_main(ident: int) -> bool:
    """Whether that is the number of the main thread."""
    return ident == threading.main_thread().ident
