"""The greenlet that `spawn_raw` returns.

Receives: a function and the hub it will run on.  Gives: a greenlet that knows both the hub and its loop.
"""

from __future__ import annotations

from greenlet import greenlet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from hub_api import ILoopCore
    from hub_core._hub import Hub


class RawGreenlet(greenlet):
    """What `spawn_raw` returns: a greenlet that knows its hub, so that parking need not ask the thread for it."""

    __slots__ = ("hub", "loop", "switch_out")

    if TYPE_CHECKING:
        hub: Hub
        loop: ILoopCore
        switch_out: Callable[[], object] | None


def make_raw(run: Callable[..., object], hub: Hub) -> RawGreenlet:
    """A greenlet that will run `run` on `hub`.  No `__init__`: a class call that enters Python costs 100 ns more."""
    made = RawGreenlet(run, hub)
    made.hub = hub
    made.loop = hub.loop
    made.switch_out = None
    return made
