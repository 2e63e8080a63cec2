"""What a native thread remembers: its hub, its hub class, its loop.

Receives: what `_local` stores.  Gives: the same, to the same thread, until the thread ends.
A module of its own so that `threading`, dearer to import than all of hub_core, comes with the first hub and not before.
"""

from __future__ import annotations

import sys
import threading
from _thread import get_ident
from weakref import WeakSet

from hub_core._frames import locals_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hub_api import ILoopCore
    from hub_core._hub import Hub


_ending: dict[int, Hub] = {}
"""Of threads that are ending: the hub that is being ended."""


class ThreadState(threading.local):
    """One thread's hub, hub class and loop; and the guard that ends its hubs with it."""

    hub: Hub | None = None
    hub_class: type[Hub] | None = None
    loop: ILoopCore | None = None
    guard: Guard | None = None

    def __init__(self) -> None:
        self.present = [0]
        """The `id` of `hub`, 0 without one, for other threads to read: each hub of this thread has this list."""
        hub = _ending.pop(get_ident(), None)
        if hub is not None:  # asked for by a `finally` block at the thread's end, when the storage is gone already
            self.set_hub(hub)

    def set_hub(self, hub: Hub | None) -> None:
        """Make it this thread's hub.  Nobody else writes `hub`."""
        self.hub = hub
        self.present[0] = 0 if hub is None else id(hub)

    def watch(self, hub: Hub) -> None:
        """End this hub with this thread, the main thread's when the interpreter exits, unless somebody does before."""
        if hub.main_hub:
            from hub_core import _exit

            _exit.watch(hub)
        else:
            if self.guard is None:
                self.guard = Guard()
            self.guard.hubs.add(hub)


class Guard:
    """Ends the hubs of a thread: CPython drops a thread's storage in that very thread, as it ends.

    Their parked greenlets get GreenletExit, and nobody is waited for.  A hub that `get_hub` made is destroyed.  Of one
    that somebody made, only the greenlet is ended, which could never run again; its loop stays its holder's, who is
    warned if he drops it (`HubBase.__del__`).  No hub may outlive its thread as a greenlet that has not ended:
    suspended it is never freed, and greenlet 3.5 crashes when the garbage collector meets one that had not started
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
        made = False  # whether there is storage again; CPython never drops it, so it must not keep anything
        for hub in (hub for hub in list(self.hubs) if hub.loop is not None):  # asked of each in its turn
            if made:
                local.hub = hub
            else:
                _ending[self.thread] = hub
            try:
                hub._end_with_thread(destroy=hub is self.implicit)
            finally:
                made = made or _ending.pop(self.thread, None) is None
        if made:
            vars(local).clear()


local = ThreadState()


def creation_site(hub: object) -> str:
    """Where user code made `hub`: the first frame that belongs neither to hub_core nor to a method of the hub."""
    frame = sys._getframe(1)
    while frame.f_back is not None and (
        frame.f_globals.get("__name__", "").startswith("hub_core.") or locals_of(frame).get("self") is hub
    ):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def find_thread(ident: int) -> threading.Thread | None:
    """The thread of that number.

    Numbers are given to other threads later, so whoever must know that one lives keeps the thread.
    None for a thread that `threading` does not know: it cannot be asked, and lives as long as its number has a frame.
    """
    return next((thread for thread in threading.enumerate() if thread.ident == ident), None)


def describe_thread(ident: int) -> str:
    """Name a thread, for errors.  One that `threading` does not know has only its number."""
    thread = find_thread(ident)
    return f"thread {ident:#x}" if thread is None else f"thread {thread.name!r} ({ident:#x})"


def is_main(ident: int) -> bool:
    """Whether that is the number of the main thread."""
    return ident == threading.main_thread().ident
