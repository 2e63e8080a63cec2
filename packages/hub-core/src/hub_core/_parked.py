"""Who is parked: the greenlets of a hub that have started and have not ended.

Receives: a hub.  Gives: its greenlets, found where they are, for nobody keeps a list.
Rule: to park and to spawn leave no trace that would have to be cleared away; the reader pays.
"""

from __future__ import annotations

import gc

from greenlet import getcurrent, greenlet

from hub_core._base import HubBase
from hub_core._find import handles_of, known_greenlets, near_greenlets, sift, touched_by
from hub_core._greenlets import RawGreenlet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hub_core._hub import Hub


def parked_greenlets(hub: Hub) -> list[greenlet]:
    """The greenlets of `hub` that have started and not ended: those spawned on it, and those below them.

    First those that are ready, in the order in which they will go on; the others in no order that can be relied on.
    The current greenlet and those that it or the hub runs below do not count, nor does an idle carrier, nor another hub
    with what is below it, nor a plain greenlet whose parent is a stranger, nor what a fork has left behind in the
    parent.  Of what `gc.freeze` hides only those are found that are ready or that a handle of the loop leads to.
    Call from: the hub's thread.  Switches: never.
    """
    apart = {hub._carrier, *_line(getcurrent()), *_line(hub)}
    near = near_greenlets(hub, map(touched_by, handles_of(hub.loop)))
    # The collector's own search is several times as fast as a look at each object, and most hubs have nobody left.
    holders = list(sift(greenlet, gc.get_referrers, hub))
    if not any(_started(each) and each not in apart for each in (*holders, *near)):
        return []
    found = dict.fromkeys(
        each for each in (*known_greenlets(), *near) if _started(each) and each not in apart and _belongs(each, hub)
    )
    if hub._forks:
        from hub_core._fork import left_behind

        found = dict.fromkeys(each for each in found if not left_behind(each))
    ready = dict.fromkeys(each for each in hub._ready if each in found)
    return [*ready, *(each for each in found if each not in ready)]


def _started(found: greenlet) -> bool:
    """Whether it has started and not ended, and is neither a hub nor the first of a thread."""
    return bool(found) and found.parent is not None and not isinstance(found, HubBase)


def _belongs(found: greenlet, hub: Hub) -> bool:
    if isinstance(found, RawGreenlet) and getattr(found, "hub", None) is hub:
        return True
    return next((above for above in _line(found) if isinstance(above, HubBase)), None) is hub


def _line(member: greenlet | None) -> list[greenlet]:
    """A greenlet and those it runs below, up to the first of its thread."""
    line = []
    while member is not None:
        line.append(member)
        member = member.parent
    return line
