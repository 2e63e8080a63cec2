"""The end of the process: hubs that are alive then are destroyed, so that the `finally` blocks of greenlets run.

Receives: the main thread's hubs, as they are made.  Gives: their end, when the interpreter exits in an orderly way.

Also after a KeyboardInterrupt that has ended the program: a traceback, then the `finally` blocks, then the end by
SIGINT (docs/explain/shutdown.md).  Hubs of other threads end with those, or with the process.

Rule 1: what goes wrong with one hub does not concern the next.
Rule 2: a forked child that exits ends its own greenlets and not those that it has inherited: they are its parent's, and
what their `finally` blocks remove is, too.  A hub knows which is which (`_fork`), unless its loop tells nobody of
forks; such a hub is of no use in a child, and is left alone there.
"""

from __future__ import annotations

import atexit
import os
from _thread import get_ident
from weakref import WeakSet

from hub_core._base import GRACE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hub_core._hub import Hub

_hubs: WeakSet[Hub] = WeakSet()


def watch(hub: Hub) -> None:
    """Destroy this hub when the process ends, if nobody has done so before.  It is not kept alive by that."""
    _hubs.add(hub)


def _leave_the_deaf() -> None:
    """In a forked child: forget hubs that have not heard of the fork."""
    for hub in list(_hubs):
        if not hasattr(hub.loop, "fork_listener"):
            _hubs.discard(hub)


def _destroy_all() -> None:
    first: BaseException | None = None
    for hub in list(_hubs):
        if hub.loop is None or hub.thread_ident != get_ident():
            continue
        hard = isinstance(first, KeyboardInterrupt)
        try:
            hub.destroy(destroy_loop=True, timeout=0 if hard else GRACE)
        except BaseException as error:
            first = first or error
    if first is not None:
        raise first


atexit.register(_destroy_all)
os.register_at_fork(after_in_child=_leave_the_deaf)
