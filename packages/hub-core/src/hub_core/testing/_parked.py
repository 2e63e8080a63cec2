"""All the others: wait until each is parked, and see who is.

Receives: nothing but the hub of this thread.  Gives: a moment in which nobody else can run; the greenlets that live.
Rule 1: never by sleeping for a while and hoping.  A hub knows its lanes, and its loop what is queued.
Rule 2: who looks again and again (`Lookout`) looks at what is new.  All objects of a test run are a hundred thousand,
and with every test pytest keeps some more.
"""

from __future__ import annotations

import gc
import sys
import threading
from _thread import get_ident
from weakref import WeakSet, ref

from greenlet import getcurrent, greenlet

from hub_core._find import known_greenlets, sift
from hub_core._local import this_hub
from hub_core._waits import idle
from hub_core.testing._switches import switches_seen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def wait_all_parked(cushion: float = 0.0) -> None:
    """Park until every other greenlet of this thread's hub is parked and nothing is left that could run now.

    That is: nobody is ready or new, no callback is queued, no event waits in the kernel and no timer is due.  What a
    thread, another process or the network is about to bring cannot be known: for that, `cushion` asks besides that no
    other greenlet has run for so many seconds of the loop's clock; whenever one does, they begin anew.  Of several
    greenlets that wait here each comes back when the others are parked, here or elsewhere.
    Call from: any greenlet but the hub.  Switches: always.
    Raises ValueError for a cushion that is no number of seconds, BlockingSwitchOutError in a callback.
    """
    if not cushion >= 0.0:
        raise ValueError(f"a cushion is 0 or more seconds, got {cushion!r}")
    hub = this_hub()
    current = getcurrent()
    while True:
        idle()
        if not cushion:
            return
        with switches_seen() as seen, hub.loop.timer(cushion) as timer:
            hub.wait(timer)
        ran = any(target is not hub and target is not current for _, target in seen)
        if not ran and not (hub._ready or hub._new or hub.loop.pendingcnt):
            return


def parked_greenlets() -> list[greenlet]:
    """Return the greenlets that were started and have not ended, of all threads, but for the first of each.

    Hubs that have run are among them, and the current greenlet if it is not the first of its thread.
    Call from: anywhere.  Looks at every object that the garbage collector knows.
    """
    return [each for each in known_greenlets() if each and each.parent is not None]


class Lookout:
    """Tells who is parked, time after time: `parked_greenlets` for the price of what has been made since the last time.

    A greenlet can be left behind only by whoever made it or started it.  So those that are known are held, weakly, and
    only what is new is sought.  That is in the collector's two young generations, for each look ends by putting what is
    in them into the old one; unless something else has put objects there in between, as a collection of the middle or
    of the old generation does, and `gc.freeze` followed by `gc.unfreeze`: then all objects are looked at.  So it is
    also if other threads were there at the last look, which may have made some in the middle of it, unless they are
    trusted.
    Call from: one thread at a time.
    """

    def __init__(self) -> None:
        self._known: dict[int, ref[greenlet]] = {}
        self._trusted: WeakSet[threading.Thread] = WeakSet()
        self._sign: tuple[int, int] | None = None  # of the old generation, when it last was known through and through
        self.thorough = 0  # how often all objects were looked at

    def trust(self, threads: Iterable[threading.Thread]) -> None:
        """Take it that these threads make no greenlets, as that of a library: what they make may be overlooked."""
        self._trusted = WeakSet(threads)

    def parked_greenlets(self) -> list[greenlet]:
        """Return what `hub_core.testing.parked_greenlets` would, the longest known first.  Collects young garbage."""
        new: list[greenlet] = []
        if self._sign == _old_generation():
            for generation in _YOUNG:  # the younger first: what moves on meanwhile is found twice, and not missed
                new += sift(greenlet, gc.get_objects, generation)
        if self._sign != _old_generation():
            self.thorough += 1
            new = known_greenlets()
        living = {key: known for key, known in self._known.items() if known() is not None}
        self._known = living | {id(each): ref(each) for each in new if each.parent is not None}
        del new
        alone = self._is_alone()
        gc.collect(_YOUNG[-1])
        self._sign = _old_generation() if alone and GENERATIONS else None
        return [each for known in self._known.values() if (each := known()) and each.parent is not None]

    def _is_alone(self) -> bool:
        return all(each.ident == get_ident() or each in self._trusted for each in threading.enumerate())


def other_firsts() -> list[greenlet]:
    """The first greenlets of other threads: each thread that has greenlets has one."""
    first = getcurrent()
    while first.parent is not None:
        first = first.parent
    return [each for each in known_greenlets() if each.parent is None and each is not first]


GENERATIONS = sys.version_info < (3, 14) and sys.implementation.name == "cpython"
"""Whether the collector has two young generations and an old one.  From 3.14 on that depends on the release."""
_YOUNG = (0, 1)


def _old_generation() -> tuple[int, int]:
    """Something that changes whenever the collector puts objects into its old generation, or sets them aside.

    The collections of the middle generation since the last one of the old, which `gc.freeze` forgets, and all of both.
    Not `gc.get_freeze_count()`, which counts by walking: 16 ms where pytest and hypothesis were set aside.
    """
    return gc.get_count()[2], sum(generation["collections"] for generation in gc.get_stats()[1:])
