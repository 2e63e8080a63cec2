"""Prepare, check and idle watchers: alike but for when the turn calls them.

Receives: the turn's calls of `call_all` and `queue_all`.  Gives: callbacks; prepare and check run where the turn
says, idle ones in the line of watchers, and only when nothing else is queued.
"""

from __future__ import annotations

from hub_loop._watcher import Watcher, urgency

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hub_loop._turn import Turn


class Phase(Watcher):
    """A watcher of one moment of the turn; active ones stand in the loop's table of that moment, in order of start."""

    __slots__ = ()

    def _table(self) -> dict[Phase, None]:
        raise NotImplementedError

    def _arm(self) -> None:
        self._table()[self] = None

    def _disarm(self) -> None:
        self._table().pop(self, None)


class Prepare(Phase):
    """Calls back before each poll."""

    __slots__ = ()

    def _table(self) -> dict[Phase, None]:
        return self.loop._prepares


class Check(Phase):
    """Calls back after each poll."""

    __slots__ = ()

    def _table(self) -> dict[Phase, None]:
        return self.loop._checks


class Idle(Phase):
    """Calls back in turns in which nothing else is to be done; while active, the poll does not block."""

    __slots__ = ()

    def _table(self) -> dict[Phase, None]:
        return self.loop._idles


def call_all(loop: Turn, watchers: dict[Phase, None]) -> None:
    """Call the callbacks of a phase now, higher priorities first."""
    for watcher in sorted(watchers, key=urgency):
        watcher._pending = watcher._active
        loop._deliver(watcher)


def queue_all(watchers: dict[Phase, None]) -> None:
    """Queue the idle watchers: those of the highest priority among them only."""
    highest = min(map(urgency, watchers))
    for watcher in watchers:
        if urgency(watcher) == highest:
            watcher._fire()
