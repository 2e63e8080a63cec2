"""Carriers: greenlets that run one spawned function after another, where nobody holds the greenlets themselves.

Receives: entries of the hub's lane for new greenlets.  Gives: the verdict whether a greenlet can be seen by anybody.

To start a greenlet costs many times what a switch costs: CPython maps memory for its first frame and unmaps it at the
end (8 us of 11, benchmarks/bench_spawn.py).  And most spawned functions are fire and forget: the greenlet that
`spawn_raw` returned is dropped at once.  The hub has such a function run by a carrier, which it keeps for the next
one.

Rule 1: whoever holds a greenlet holds its function's own.  A function is carried only if nothing but the lane holds
its greenlet, and nothing was done to it; and afterwards the carrier is kept only if the same holds of itself.
Otherwise it ends as the function's own greenlet would.  What remains to be seen is what no reference shows: the number
`id()` of a greenlet that was dropped, and a frame below the function's.  While switches are traced nothing is carried.
Rule 2: references are counted against counts taken at the same place in the code, never against a number written here.
Each function runs in the context that it was spawned with, which the carrier takes on as its own `gr_context`.
Rule 3: a carrier that was parked is not kept.  While the hub has not run again, its frame still stands in the switch
to the carrier and holds what it held at the start, so an equal count means that nobody else holds anything.
"""

from __future__ import annotations

from sys import getrefcount
from weakref import getweakrefcount

from hub_core._greenlets import RawGreenlet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context
    from typing import Any

    from greenlet import greenlet

    from hub_core._ready import Lanes

    NewEntry = tuple[greenlet, Callable[..., Any] | None, tuple[Any, ...], dict[str, Any], Context | None]
    """A greenlet to start with its function, its arguments, and the context to start in.

    Or, without a function, one to throw into, with the error.
    """


def _holders(entry: tuple[Any, ...]) -> int:
    return getrefcount(entry[0])


_LANE_ONLY = _holders((object(),))


def can_be_carried(entry: NewEntry, hub: Lanes) -> bool:
    """Whether nobody could tell if the function of this entry ran in another greenlet."""
    if _holders(entry) != _LANE_ONLY:
        return False
    new = entry[0]
    return type(new) is RawGreenlet and new.run is entry[1] and untouched(new, hub) and new.gr_context is None


def untouched(candidate: RawGreenlet, hub: Lanes) -> bool:
    """Whether it has no attributes of the user's, no weak references, and its own hub as parent."""
    return (
        not candidate.__dict__
        and candidate.hub is hub
        and candidate.loop is hub.loop
        and candidate.switch_out is None
        and candidate.parent is hub
        and not getweakrefcount(candidate)
    )
