"""The words of a trace: names of greenlets, where they were spawned, what they wait for.

Receives: suspended greenlets.  Gives: texts.
Rule: as cheap as can be, for this is done at each switch: one look at the frame that a greenlet is suspended in, and no
`repr`.  Reports (`hub.report()`) tell more, and take their time.
"""

from __future__ import annotations

import json
import sys
from functools import lru_cache

from greenlet import GreenletExit, greenlet

from hub_core import FdWaiter, Hub, Waiter
from hub_core._hub import PARKS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType, FrameType
    from typing import Any

_PARK, _RAW_PARK, *_YIELD, _ASIDE = PARKS
_START = Hub._start_next.__code__
ENDS = '"ends"'
_SWITCHES = '"switches"'
_YIELDS = '"is ready: sleep(0)"'
_DIRECTIONS = {1: "to read", 2: "to write", 3: "to read or write"}
_SNAPSHOTS = sys.version_info < (3, 13)

quoted = lru_cache(1000)(json.dumps)
"""A text as JSON; most texts come again."""


def end_of(origin: greenlet, target: greenlet) -> str:
    """Why a greenlet's slice has ended, as JSON; ENDS if the greenlet has."""
    frame = origin.gr_frame
    if frame is None:
        return ENDS if origin.dead else _SWITCHES
    code = frame.f_code
    if code is _PARK:
        return quoted(_wait(_locals(frame, "reason")[0]))
    if code in _YIELD:
        return _YIELDS
    if code is _RAW_PARK:
        return '"waits in hub.switch()"'
    return '"hands over"' if isinstance(origin, Hub) else _SWITCHES


def _wait(reason: Any) -> str:
    """What a greenlet has parked for."""
    kind = type(reason)
    if kind is Waiter:
        if reason.reason is None:
            return f"waits for Waiter {id(reason):#x}"
        reason = reason.reason
        kind = type(reason)
    if reason is None:
        return "waits"
    name = kind.__name__
    if name == "FdWaiter" and kind is FdWaiter:
        return f"waits for fd {reason.fileno()}"
    if kind.__module__.startswith("hub_loop."):
        if name == "Timer":
            return "sleeps"
        if name == "Io":
            return f"waits for fd {reason.fd} {_DIRECTIONS.get(reason.events, '')}"
    return f"waits for {kind.__qualname__} {id(reason):#x}"


def start_of(origin: greenlet, target: greenlet) -> tuple[str, str]:
    """The name of the function that the hub starts in `target`, and the name of the exception that it throws into it.

    Each is empty if that cannot be seen: it was not the hub that did it.
    """
    frame = origin.gr_frame if isinstance(origin, Hub) else None
    if frame is None or frame.f_code is not _START:
        return "", ""
    chosen, function, args = _locals(frame, "chosen", "function", "args")
    if chosen is not target:
        return "", ""
    if function is not None:
        return _function_name(function), ""
    thrown = args[0] if args else GreenletExit
    return "", (thrown if isinstance(thrown, type) else type(thrown)).__name__


def runs_nothing_yet(depth: int) -> bool:
    """Whether the current greenlet has no frame but those of a notice, which are `depth` of the callers'."""
    try:
        sys._getframe(depth + 1)
    except ValueError:
        return True
    return False


def _function_name(function: Any) -> str:
    name = getattr(function, "__qualname__", None)
    return name if isinstance(name, str) else type(function).__qualname__


def name_of(found: greenlet) -> str:
    """What a greenlet is called; empty if neither its `name` nor its frames tell."""
    if isinstance(found, Hub):
        return f"hub {found.name}".rstrip()
    try:
        name = getattr(found, "name", None)
    except Exception:
        name = None  # a property that fails is no name
    if isinstance(name, str) and name:
        return name
    return "main greenlet" if found.parent is None else ""


def outermost(found: greenlet) -> str:
    """The function that a suspended greenlet began with; its type if that cannot be seen."""
    frame = found.gr_frame
    if frame is None:
        return type(found).__name__
    while frame.f_back is not None:
        frame = frame.f_back
    return frame.f_code.co_qualname


def spawn_site(found: greenlet) -> str:
    """Where `spawn_raw` was called; empty if that is not known."""
    code: CodeType | None = getattr(found, "spawn_code", None)
    return "" if code is None else _place(code, getattr(found, "spawn_lasti", -1))


@lru_cache(1000)
def _place(code: CodeType, lasti: int) -> str:
    lines = (line for start, end, line in code.co_lines() if start <= lasti < end)
    return f"{code.co_filename}:{next(lines, None) or code.co_firstlineno} in {code.co_qualname}"


def _locals(frame: FrameType, *names: str) -> list[Any]:
    """Local variables of a frame.  Nothing of it is kept: up to 3.12 the frame holds what `f_locals` has returned."""
    seen = frame.f_locals
    values = [seen.get(name) for name in names]
    if _SNAPSHOTS and frame.f_trace is None:  # else a debugger's changes come by way of that dict
        seen.clear()
    return values
