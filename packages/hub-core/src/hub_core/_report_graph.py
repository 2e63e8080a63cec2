"""Reports, the graph: who waits for whom, where that comes round, and who waits for nobody at all.

Receives: sightings.  Gives: owners, cycles, and verdicts about waits that nothing will end.

A greenlet waits for at most one thing, and a thing has at most one owner; so from each greenlet leads one way, which
ends, or runs into a cycle.

Orphans.  Whoever wakes a greenlet must hold its waiter, or what the waiter belongs to.  References are counted:

- *certain*: all references to the waiter are those of the waiting calls themselves.  C code that held it would hold a
  reference too, so nobody does.
- *suspect*: nobody holds the thing but the locals of greenlets that wait themselves, and the arguments with which they
  were started, which C code holds; and of these greenlets nobody can be woken either.  Such a greenlet may still be
  ended from outside, by `kill`, say.

Rule 1: a variable that a nested function shares, or a module's, does not count as the waiting call's own: somebody else
may have that function.  So a verdict may be missing, but none is given where somebody else holds the thing.
Rule 2: references are counted against counts taken at the same place in the code, never against a number written here.
"""

from __future__ import annotations

import gc
from collections import Counter
from inspect import CO_OPTIMIZED
from itertools import repeat
from operator import is_
from sys import getrefcount

from hub_core._find import is_greenlet, sift
from hub_core._frames import keeps_locals, locals_of
from hub_core._hub import Hub
from hub_core._report_find import Sighting, stack_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from greenlet import greenlet

_CLOSELY = 10
"""For how many things at most the arguments of greenlets are looked through: that takes a look at all objects."""


# -- owners and cycles ----------------------------------------------------------------------------------------------


class Unknown:
    """Stands for an owner that could not be asked."""

    def __init__(self, error: Exception) -> None:
        self.why = f"unknown: asking for it raised {type(error).__name__}"

    def __repr__(self) -> str:
        return self.why


def find_owners(sightings: list[Sighting]) -> None:
    """Ask each thing that is waited for who owns it; owners that were not seen yet are added, and asked in turn."""
    by_id = {id(sighting.greenlet): sighting for sighting in sightings}
    for sighting in sightings:  # grows meanwhile
        sighting.owner = _owner_of(sighting.thing)
        if is_greenlet(sighting.owner) and id(sighting.owner) not in by_id:
            owner = by_id[id(sighting.owner)] = Sighting(sighting.owner)
            owner.foreign = True
            owner.state = _state_of(owner)
            sightings.append(owner)


def _owner_of(thing: Any) -> Any:
    try:
        return getattr(thing, "owner", None)
    except Exception as error:
        return Unknown(error)


def _state_of(sighting: Sighting) -> str:
    if sighting.greenlet.dead:
        return "dead"
    if not sighting.greenlet:
        return "new"
    if not sighting.stack:
        return "running"
    hub = sighting.hub
    return "ready" if isinstance(hub, Hub) and sighting.greenlet in list(hub._ready) else "parked"


def thread_of(found: greenlet, threads: dict[int, int]) -> int:
    """The number of the thread that a greenlet runs in; 0 if that cannot be told."""
    member: Any = found
    while member is not None:
        if isinstance(member, Hub):
            return getattr(member, "thread_ident", 0)  # it may be about to be made
        if id(member) in threads:
            return threads[id(member)]
        member = member.parent
    return 0


def chains(sightings: Iterable[Sighting]) -> dict[int, tuple[int, ...]]:
    """For each number: its owner's, that one's owner's, and so on, until the way ends or comes round."""
    numbers = {id(sighting.greenlet): sighting.number for sighting in sightings}
    following = {
        sighting.number: numbers[id(sighting.owner)]
        for sighting in sightings
        if is_greenlet(sighting.owner) and sighting.state == "parked"
    }
    found: dict[int, tuple[int, ...]] = {}
    for start in following:
        way: dict[int, None] = {}
        number: int | None = following[start]
        while number is not None and number not in way:
            way[number] = None
            number = following.get(number)
        found[start] = tuple(way)
    return found


def cycles(ways: dict[int, tuple[int, ...]]) -> tuple[tuple[int, ...], ...]:
    """Each cycle once, from its lowest number on."""
    found: dict[tuple[int, ...], None] = {}
    for number, way in ways.items():
        if number in way:  # it comes back to itself, and `way` is the whole round
            first = way.index(min(way))
            found[way[first:] + way[:first]] = None
    return tuple(found)


# -- orphans --------------------------------------------------------------------------------------------------------


class Orphanage:
    """Finds the waits that nobody will end, by counting references."""

    def __init__(self, sightings: list[Sighting], hub: Hub) -> None:
        self._hub = hub
        self._sighted = Counter(id(each.reason) for each in sightings)
        self._candidates = [each for each in sightings if _may_be_orphan(each)]
        self._on_waiters: Counter[int] = Counter()
        """References that a candidate's own frames hold to its waiter, by the candidate's number."""
        self._on_reasons: Counter[int] = Counter()
        """References to each reason that candidates' frames and waiters hold."""
        self._holders: dict[int, set[int]] = {}
        """Which candidates hold a reason."""
        reasons = {id(each.reason) for each in self._candidates if each.reason is not None}
        for each in self._candidates:
            self._count(each, reasons)

    def verdicts(self) -> dict[int, tuple[str, str]]:
        """By number: the verdict and why."""
        found: dict[int, tuple[str, str]] = {}
        others: list[Sighting] = []
        for each in self._candidates:
            if self._waiter_is_alone(each):
                found[each.number] = ("certain", "nobody else holds this waiter")
            elif each.reason is not None:
                others.append(each)
        ours = self._ours({id(each.reason): each for each in others})
        suspects = [each for each in others if id(each.reason) in ours]
        stuck = {each.number for each in suspects} | set(found)
        while True:  # who holds a thing and may be woken may release it
            left = [each for each in suspects if self._holders[id(each.reason)] <= stuck]
            if len(left) == len(suspects):
                break
            suspects = left
            stuck = {each.number for each in suspects} | set(found)
        for each in suspects:
            found[each.number] = ("suspect", self._why_suspect(each))
        return found

    def _why_suspect(self, each: Sighting) -> str:
        others = sorted(self._holders[id(each.reason)] - {each.number})
        if not others:
            return "nobody else holds the object that it waits for"
        names = ", ".join(f"#{number}" for number in others[:10]) + (", ..." if len(others) > 10 else "")
        return f"nobody else holds the object that it waits for but {names}, which nobody can wake either"

    def _count(self, each: Sighting, reasons: set[int]) -> None:
        if each.reason is not None and each.waiter is not None:
            self._hold(each, id(each.reason))  # the waiter's own slot
        waiter = each.waiter
        for frame in each.stack:
            code = frame.f_code
            held = 2 if keeps_locals(frame) else 1
            if not code.co_flags & CO_OPTIMIZED:
                continue  # a module's variables are everybody's
            for name, value in locals_of(frame).items():
                if value is waiter or id(value) in reasons:
                    if name in code.co_cellvars or name in code.co_freevars:
                        continue
                    if value is waiter:
                        self._on_waiters[each.number] += held
                    else:
                        self._hold(each, id(value), held)

    def _hold(self, each: Sighting, reason: int, times: int = 1) -> None:
        self._on_reasons[reason] += times
        self._holders.setdefault(reason, set()).add(each.number)

    def _waiter_is_alone(self, each: Sighting) -> bool:
        return _waiter_count(each) - _WAITER_ALONE == self._on_waiters[each.number]

    def _ours(self, reasons: dict[int, Sighting]) -> set[int]:
        """Which of these reasons nobody holds but candidates."""
        found: set[int] = set()
        closely: list[tuple[Sighting, int]] = []
        for reason, each in reasons.items():
            unknown = _reason_count(each) - _REASON_ALONE - (self._sighted[reason] - 1) - self._on_reasons[reason]
            if not unknown:
                found.add(reason)
            elif unknown <= len(self._holders[reason]):
                closely.append((each, unknown))
        if len(closely) <= _CLOSELY:
            passing = {id(value) for frame in stack_of(self._hub) for value in locals_of(frame).values()}
            found.update(id(each.reason) for each, unknown in closely if _in_arguments(each, passing) == unknown)
        return found


def _in_arguments(sighting: Sighting, passing: set[int]) -> int:
    """In how many tuples the reason is that only frames and C code hold, which the collector does not see.

    Such are the arguments of a greenlet's function, from the start of the greenlet to its end.
    `passing`: what the hub's own frames hold for a moment.
    """
    # By number, for nobody may hold these tuples from one bytecode to the next: see `_find`.
    tuples = sift(tuple, gc.get_referrers, sighting.reason, is_)
    holders: list[set[int]] = list(map(set, map(map, repeat(id), map(gc.get_referrers, tuples))))
    return sum(len(each - passing) == 1 for each in holders)  # the one is the list that the tuples were sifted from


def _may_be_orphan(sighting: Sighting) -> bool:
    """Whether it waits on a waiter, in the hub of this report, and nothing in the loop leads to it."""
    return sighting.state == "parked" and not sighting.foreign and sighting.waiter is not None and not sighting.handles


def _waiter_count(sighting: Sighting) -> int:
    return getrefcount(sighting.waiter)


def _reason_count(sighting: Sighting) -> int:
    return getrefcount(sighting.reason)


def _alone() -> Sighting:
    import greenlet as greenlets

    sample = Sighting(greenlets.greenlet())
    dummy: Any = object
    sample.waiter, sample.reason = dummy(), dummy()
    return sample


_WAITER_ALONE = _waiter_count(_alone())
_REASON_ALONE = _reason_count(_alone())
