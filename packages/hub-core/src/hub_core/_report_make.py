"""Reports, the making: from sightings to a `Report`, which refers to nothing that it shows.

Receives: a hub.  Gives: its report.
Rule 1: a thing is asked for its `repr` once, and what that raises is told in its place.
Rule 2: no sighting outlives the call.
"""

from __future__ import annotations

import gc
import reprlib
from _thread import get_ident
from math import inf

from greenlet import getcurrent

from hub_core import _report_graph, _report_hints
from hub_core._fds import FdWaiter, Side
from hub_core._find import ask, behind, handles_of, is_greenlet, touched_by
from hub_core._fork import left_behind
from hub_core._greenlets import RawGreenlet
from hub_core._report import FrameReport, GreenletReport, OrphanReport, Report, WaitReport
from hub_core._report_find import Sighting, is_family, name_of, running_stack, see_all
from hub_core._waiter import Waiter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType, FrameType
    from typing import Any

    from hub_core._hub import Hub

_MOST = 200
"""Characters of a `repr`."""
_INNER, _OUTER = 40, 10
"""Frames of a deep stack that are shown, at its two ends."""
_WORDS = {1: "read", 2: "write", 3: "read|write"}


class _Repr(reprlib.Repr):
    """A `repr` that does not write out large containers, and raises nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.maxother = self.maxstring = self.maxlong = _MOST

    def repr_instance(self, x: Any, level: int) -> str:
        try:
            text = repr(x)
        except Exception as error:
            return f"<{type(x).__qualname__} at {id(x):#x}, whose repr raised {type(error).__qualname__}>"
        return text if len(text) <= _MOST else f"{text[: _MOST - 20]}...{text[-17:]}"


_shown = _Repr()


def shown(thing: object) -> str:
    """The `repr` of a thing, at most a line long."""
    try:
        text = _shown.repr(thing)
        return text if text.isprintable() else text.encode("unicode_escape").decode()
    except Exception as error:  # of a container that changes meanwhile, or one that lies about its length
        return f"<{type(thing).__qualname__} at {id(thing):#x}, whose repr raised {type(error).__qualname__}>"


def make(hub: Hub, now: float) -> Report:
    """The report of a hub as it is now, by its loop's clock: see `Hub.report`."""
    return _Making(hub, now).report()


class _Stack:
    """What is told of a stack: its frames, how many of them are left out, and its outermost function."""

    __slots__ = ("name", "omitted", "places")

    def __init__(self, places: tuple[FrameReport, ...], omitted: int, name: str) -> None:
        self.places = places
        self.omitted = omitted
        self.name = name


def _stack_of_report(frames: list[FrameType]) -> _Stack:
    places = list(map(_place, frames))
    chosen = [place for place in places if not place.family] or places
    omitted = len(chosen) - _INNER - _OUTER
    name = chosen[-1].function if chosen else ""
    if omitted > 0:
        chosen = chosen[:_INNER] + chosen[-_OUTER:]
    return _Stack(tuple(chosen), max(0, omitted), name)


def _place(frame: FrameType) -> FrameReport:
    code = frame.f_code
    return FrameReport(code.co_filename, frame.f_lineno or code.co_firstlineno, code.co_qualname, is_family(frame))


class _Making:
    """What one report is made from."""

    def __init__(self, hub: Hub, now: float) -> None:
        self.hub = hub
        self.stacks: dict[tuple[int, ...], _Stack] = {}
        self.sites: dict[tuple[CodeType, int], FrameReport] = {}
        self.texts: dict[int, str] = {}
        loop: Any = hub.loop
        self.now = now
        self.handles: list[Any] = handles_of(loop)
        if hub._forks:
            self.handles = [each for each in self.handles if not _is_parents(each, hub)]
        touched = list(map(touched_by, self.handles))
        self.sightings, self.threads = see_all(hub, touched)
        self.sightings.sort(key=lambda each: (each.greenlet is not hub.parent, each.since or 0.0))
        self._join_handles(touched)
        del touched  # references are counted below
        self.running = self._see_running()
        _report_graph.find_owners(self.sightings)
        for number, each in enumerate(self.sightings, 1):
            each.number = number
        self.by_id = {id(each.greenlet): each for each in self.sightings}
        self.ways = _report_graph.chains(self.sightings)
        self.verdicts = _report_graph.Orphanage(self.sightings, hub).verdicts()

    def _join_handles(self, touched: list[list[Any]]) -> None:
        leading: dict[int, list[Any]] = {}
        for handle, met_there in zip(self.handles, touched, strict=True):
            for number in set(map(id, met_there)):
                leading.setdefault(number, []).append(handle)
        for each in self.sightings:
            met: dict[int, Any] = {}
            side = each.side
            parts = (each.waiter, each.reason if side is None else side, each.greenlet)
            for part in parts:
                for handle in leading.get(id(part), ()) if part is not None else ():
                    if not _is_idle(handle):
                        met[id(handle)] = handle
            if side is not None and side._registration.fd >= 0:
                met[id(side._registration)] = side._registration
            each.handles = list(met.values())

    def _see_running(self) -> Sighting | None:
        hub, stack = self.hub, running_stack(self.hub)
        if hub.owner_ended:
            return None
        running: Any = getcurrent() if get_ident() == hub.thread_ident else hub._lane.running
        if running is None or running.dead:
            running = hub
        if (running is hub and all(map(is_family, stack))) or any(each.greenlet is running for each in self.sightings):
            return None
        sighting = Sighting(running, stack)
        sighting.hub, sighting.state = self.hub, "running"
        sighting.waiter = sighting.reason = sighting.since = None
        self.sightings.append(sighting)
        return sighting

    def report(self) -> Report:
        hub = self.hub
        shown_by_number = {each.number: self._greenlet(each) for each in self.sightings}
        running = None if self.running is None else shown_by_number.pop(self.running.number)
        return Report(
            hub=shown(hub),
            thread=hub.thread_ident,
            polling=bool(getattr(hub.loop, "sleeping", False)),
            greenlets=tuple(shown_by_number.values()),
            new=len(hub._new),
            running=running,
            cycles=_report_graph.cycles(self.ways),
            orphans=tuple(OrphanReport(number, *self.verdicts[number]) for number in sorted(self.verdicts)),
            hints=tuple(_report_hints.find(hub, self.sightings, self.handles, self.threads)),
            handles=tuple(map(self._text, self.handles)),
            incomplete=tuple(self._missing()),
        )

    def _missing(self) -> list[str]:
        missing = []
        frozen = gc.get_freeze_count()
        if frozen:
            missing.append(
                f"{frozen} objects were set aside by gc.freeze(): of greenlets among them only those are shown that "
                "the hub's lanes, the loop's handles or an owner lead to"
            )
        if self.hub.loop is not None and not hasattr(self.hub.loop, "debug"):
            missing.append("the loop does not tell what it has started (it has no `debug`): wakers may be missing")
        return missing

    def _greenlet(self, each: Sighting) -> GreenletReport:
        stack = self._stack(each)
        return GreenletReport(
            number=each.number,
            id=id(each.greenlet),
            name=self._name(each),
            state=each.state,
            main=each.greenlet is self.hub.parent,
            thread=_report_graph.thread_of(each.greenlet, self.threads),
            spawned_at=self._spawn_site(each.greenlet),
            stack=stack.places,
            omitted=stack.omitted,
            wait=self._wait(each) if each.state == "parked" and each.hub is not None else None,
            chain=self.ways.get(each.number, ()),
        )

    def _name(self, each: Sighting) -> str:
        if each.greenlet is self.hub:
            return "hub"
        return name_of(each.greenlet) or self._stack(each).name or type(each.greenlet).__name__

    def _stack(self, each: Sighting) -> _Stack:
        """Most stacks of a program are alike, and to look at each frame takes time."""
        # By number: to hash a code object, CPython looks at all of its constants.  The frames keep them alive.
        key = tuple([number for frame in each.stack for number in (id(frame.f_code), frame.f_lasti)])
        stack = self.stacks.get(key)
        if stack is None:
            stack = self.stacks[key] = _stack_of_report(each.stack)
        return stack

    def _spawn_site(self, found: object) -> FrameReport | None:
        if not isinstance(found, RawGreenlet) or found.spawn_code is None:
            return None
        code, lasti = found.spawn_code, found.spawn_lasti
        place = self.sites.get((code, lasti))
        if place is None:
            lines = (line for start, end, line in code.co_lines() if start <= lasti < end)
            line = next(lines, None) or code.co_firstlineno
            place = self.sites[code, lasti] = FrameReport(code.co_filename, line, code.co_qualname)
        return place

    def _text(self, thing: object) -> str:
        """Once for each thing; all that are asked for live as long as we do."""
        text = self.texts.get(id(thing))
        if text is None:
            text = self.texts[id(thing)] = shown(thing)
        return text

    def _wait(self, each: Sighting) -> WaitReport:
        thing = each.thing
        fd, direction = _direction(each)
        owner, text, state = self._owner(each)
        return WaitReport(
            text=self._text(thing),
            type=type(thing).__qualname__,
            fd=fd,
            direction=direction,
            waited=None if each.since is None else max(0.0, self.now - each.since),
            left=self._left(each),
            wakers=tuple(map(self._text, each.handles)),
            owner=owner,
            owner_text=text,
            owner_state=state,
        )

    def _owner(self, each: Sighting) -> tuple[int | None, str | None, str | None]:
        if each.owner is None:
            return None, None, None
        if not is_greenlet(each.owner):
            return None, self._text(each.owner), None
        owner = self.by_id[id(each.owner)]
        return owner.number, f"#{owner.number} {self._name(owner)!r}", owner.state

    def _left(self, each: Sighting) -> float | None:
        deadlines = [at for handle in each.handles if isinstance(at := getattr(handle, "at", None), float)]
        left = min(deadlines, default=inf) - self.now
        return None if left == inf else left


def _is_parents(handle: Any, hub: Hub) -> bool:
    """Whether those who wait with this handle were left behind by a fork; the loop has it until its first use."""
    callback = getattr(handle, "callback", None)
    if callback == hub.cancel_wait and handle.args:  # a timeout, of the wait for another watcher
        return getattr(handle.args[0], "callback", None) is not None and _is_parents(handle.args[0], hub)
    waiting = behind([handle]) if isinstance(ask(callback, "__self__"), (Waiter, Side, FdWaiter)) else []
    return bool(waiting) and all(map(left_behind, waiting))


def _is_idle(handle: Any) -> bool:
    """Whether a watcher is neither active nor pending; other handles do not say."""
    return not getattr(handle, "active", True) and not getattr(handle, "pending", True)


def _direction(each: Sighting) -> tuple[int | None, str | None]:
    side = each.side
    if side is not None:
        return side._registration.fd, _WORDS[side._bit]
    fd, events = ask(each.reason, "fd"), ask(each.reason, "events")
    return (fd, _WORDS.get(events)) if isinstance(fd, int) and isinstance(events, int) else (None, None)
