"""Frames: looking at the variables of other people's.

Receives: a frame.  Gives: a copy of its local variables.

Rule: what was looked at goes on as it would have.  Up to 3.12 CPython keeps the dict that `f_locals` returns in the
frame, where it would keep the variables' values alive: it is emptied.  But it is also the dict that `locals()` has
returned: one that somebody holds stays, brought up to date by the look as by another call of that (test_frames.py).
"""

from __future__ import annotations

import sys
from sys import getrefcount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import Any

_SNAPSHOTS = sys.version_info < (3, 13)
# From 3.13 on it is a view (PEP 667): nothing to do.
_let_go: Callable[[Any], object] = dict.clear if _SNAPSHOTS else id


def locals_of(frame: FrameType) -> dict[str, Any]:
    """A copy of a frame's local variables."""
    seen, holders = _look(frame)
    copied = dict(seen)
    if holders == _FRAME_ALONE and frame.f_code.co_flags & _FUNCTION and not keeps_locals(frame):
        _let_go(seen)
    return copied


def keeps_locals(frame: FrameType) -> bool:
    """Whether a frame goes on to hold each variable that was looked at a second time.

    So where it is traced: a debugger's changes come by way of that dict, which what is missing there would delete.
    """
    return _SNAPSHOTS and frame.f_trace is not None


def _look(frame: FrameType) -> tuple[dict[str, Any], int]:
    """A frame's variables, and how many references there are to that dict."""
    seen = frame.f_locals
    return seen, getrefcount(seen)


def _count_alone() -> int:
    return _look(sys._getframe())[1]


_FRAME_ALONE = _count_alone()
"""The references to a dict that nobody but its frame holds: counted at the same place, not written down."""
_FUNCTION = _look.__code__.co_flags & ~compile("", "", "exec").co_flags
"""The flags of code whose variables are no dict to begin with.  `inspect` has names for them, but is dear to import."""
