"""Forks: the lanes of this process, which hear of it in the child.

Receives: lanes, as they are made.  Gives: a call of each one's `_after_fork` in the child, from a hook of
`os.register_at_fork`.
Rule: a lane that fails there is no harm to the others; the first thing that was raised is raised in the end.
"""

from __future__ import annotations

import os
from weakref import WeakSet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hub_threadpool._lanes import Lane

_lanes: WeakSet[Lane] | None = None  # None until there is a first one: only then does a fork concern us
_hooked: set[type] = set()


def watch(lane: Lane, loop: type) -> None:
    """Tell the lane of forks, after its loop, which is of that type.  It is not kept alive by that.

    Hooks run in the order of their registration, and a loop's, which drops what was posted, comes with the first of its
    kind.  So ours is registered once more after each kind; a lane may be told again.
    """
    global _lanes
    if _lanes is None:
        first: WeakSet[Lane] = WeakSet()
        if _lanes is None:  # still: another thread may have made its first lane meanwhile
            _lanes = first
    if loop not in _hooked:
        _hooked.add(loop)
        os.register_at_fork(after_in_child=_after_in_child)
    _lanes.add(lane)


def _after_in_child() -> None:
    failed: BaseException | None = None
    for lane in list(_lanes or ()):
        try:
            lane._after_fork()
        except BaseException as error:  # a loop of somebody else's that takes no posts here
            failed = failed or error
    if failed is not None:
        raise failed
