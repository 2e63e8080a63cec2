"""Reports, finding: the greenlets of a hub, their stacks, and what they wait for.

Receives: a hub.  Gives: a `Sighting` of each greenlet, which holds the things themselves and lives as long as the
making of one report.

How greenlets are found: see `_find`; and the owners of what is waited for lead to others.

Rule 1: a stack is taken by one call of C code that runs no Python.  So no other thread runs in the middle of it, and a
stack is of one moment.  This is more than tidiness: from 3.12 on the frames of a parked greenlet are linked past places
on its C stack, and greenlet mends these links when `gr_frame` is read, until the greenlet is resumed.
Rule 2: no other thread's main greenlet is ever held by a local variable alone.  greenlet 3.5 crashes if, when a thread
ends, nobody holds its main greenlet but somebody whom the collector cannot see (`_storage`).
Rule 3: what was looked at is as it was: see `_frames`.
"""

from __future__ import annotations

import sys
from itertools import accumulate, chain, repeat

from hub_core._fds import FdWaiter
from hub_core._find import ask, known_greenlets, near_greenlets
from hub_core._fork import left_behind
from hub_core._frames import locals_of
from hub_core._hub import Hub
from hub_core._waiter import Waiter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import FrameType
    from typing import Any

    from greenlet import greenlet

FAMILY = frozenset({"hub_api", "hub_loop", "hub_core", "hub_threadpool", "hub_resolver", "greenlet_hub"})
_PARK = Hub.park.__code__
_CARRY = Hub._carrier_loop.__code__
_DEEPEST = 100_000  # frames; what lies below is not looked at


# -- stacks ---------------------------------------------------------------------------------------------------------


def stack_of(parked: greenlet) -> list[FrameType]:
    """The frames of a suspended greenlet, innermost first; none for one that runs, has ended, or has not started."""
    return _follow(parked, "gr_frame")


def stack_from(frame: FrameType) -> list[FrameType]:
    """A frame and those that have called it."""
    return [frame, *_follow(frame, "f_back")]


def _follow(start: object, first: str) -> list[FrameType]:
    found: list[Any] = []
    try:
        found.extend(accumulate(chain((first,), repeat("f_back", _DEEPEST)), getattr, initial=start))
    except AttributeError:
        pass  # of None, behind the outermost frame: what came before is in the list
    return [frame for frame in found[1:] if frame is not None]


def is_family(frame: FrameType) -> bool:
    """Whether a frame is the hub family's own code."""
    name = frame.f_globals.get("__name__")
    return isinstance(name, str) and name.partition(".")[0] in FAMILY


def reason_of(stack: list[FrameType]) -> object:
    """What the greenlet of this stack was parked for: see `hub_core.wait_reason`."""
    for frame in stack:
        if frame.f_code is _PARK:
            reason = locals_of(frame).get("reason")
            return reason.reason if isinstance(reason, Waiter) and reason.reason is not None else reason
    return None


# -- sightings ------------------------------------------------------------------------------------------------------


class Sighting:
    """A greenlet as it was met, with the objects themselves."""

    __slots__ = (
        "foreign",
        "greenlet",
        "handles",
        "hub",
        "number",
        "owner",
        "reason",
        "since",
        "stack",
        "state",
        "waiter",
    )

    def __init__(self, found: greenlet, stack: list[FrameType] | None = None) -> None:
        self.greenlet = found
        self.stack: list[FrameType] = stack_of(found) if stack is None else stack
        self.hub: Any = None
        self.waiter: Waiter | None = None
        """What it parked for, if that is a waiter."""
        self.reason: Any = None
        """What it parked for, or what its waiter says that this is; never the waiter itself."""
        self.since: float | None = None
        self.state = ""
        self.number = 0
        self.foreign = False
        """Whether it is shown as an owner only, and parks elsewhere."""
        self.owner: Any = None
        self.handles: list[Any] = []
        for frame in self.stack:
            if frame.f_code is _PARK:
                self._read_park(locals_of(frame))
                break

    def _read_park(self, parked: dict[str, Any]) -> None:
        self.hub = parked.get("self")
        self.since = parked.get("since")
        reason = parked.get("reason")
        if isinstance(reason, Waiter):
            self.waiter, reason = reason, reason.reason
        self.reason = None if reason is self.waiter else reason

    @property
    def thing(self) -> Any:
        """What it waits for, as far as anybody has said."""
        return self.waiter if self.reason is None else self.reason

    @property
    def side(self) -> Any:
        """The side of an `FdWaiter` that it waits at."""
        if isinstance(self.reason, FdWaiter):
            for side in (self.reason._reader, self.reason._writer):
                if side.greenlet is self.greenlet:
                    return side
        return None


def see_all(hub: Hub, touched: Iterable[list[Any]]) -> tuple[list[Sighting], dict[int, int]]:
    """All greenlets that are parked in this hub, or ready, in no order; and the hub's parent, if it does not run.

    And the numbers of threads, by the ids of the main greenlets to which any hub belongs.
    `touched`: what the loop's handles lead to.
    """
    ready = list(hub._ready)  # one step, as in `near_greenlets`
    found = known_greenlets()
    known = set(map(id, found))
    for extra in chain([hub.parent], near_greenlets(hub, touched)):
        if extra is not None and id(extra) not in known:
            known.add(id(extra))
            found.append(extra)
    in_lane = set(map(id, ready))
    seen = [sighting for sighting in map(_see, found, repeat(hub), repeat(in_lane)) if sighting is not None]
    hubs = [each for each in found if isinstance(each, Hub) and getattr(each, "loop", None)]  # not half made, nor ended
    return seen, {id(each.parent): each.thread_ident for each in hubs}


def _see(found: greenlet, hub: Hub, in_lane: set[int]) -> Sighting | None:
    if found is hub or not found or (found.parent is None and found is not hub.parent):
        return None  # `not found`: not started, or ended.  A main greenlet without a parent is another thread's.
    sighting = Sighting(found)
    stack = sighting.stack
    if not stack or (sighting.hub is not hub if sighting.hub is not None else not _below(found, hub)):
        return None
    if stack[0].f_code is _CARRY:
        return None  # a carrier between two functions
    if hub._forks and found is not hub.parent and left_behind(found):
        return None  # the parent's
    sighting.state = "ready" if id(found) in in_lane else "parked"
    return sighting


def _below(found: greenlet, hub: Hub) -> bool:
    """Whether a greenlet that is suspended, but not in `park`, is one of this hub's.

    The hub's parent is; and whoever has the hub among its own.  Other hubs of the thread are not.
    """
    if found is hub.parent:
        return True
    parent = None if isinstance(found, Hub) else found.parent
    while parent is not None:
        if parent is hub:
            return True
        parent = parent.parent
    return False


# -- names ----------------------------------------------------------------------------------------------------------


def name_of(found: greenlet) -> str | None:
    """Its `name`, if it has one that is a text."""
    name = ask(found, "name")
    return name if isinstance(name, str) and name else None


def running_stack(hub: Hub) -> list[FrameType]:
    """The stack of what the hub's thread runs now, without this report's own frames; none once that has ended."""
    from _thread import get_ident

    if hub.owner_ended:
        return []  # its number may be another thread's by now
    if get_ident() == hub.thread_ident:
        stack = stack_from(sys._getframe(1))
        while stack and is_family(stack[0]):
            del stack[0]
        return stack
    frame = sys._current_frames().get(hub.thread_ident)
    return [] if frame is None else stack_from(frame)
