"""What the tests of stat watchers see by: a loop that sees changes of paths by one mechanism only, and words for them.

The fixture `eye` of conftest.py makes one for each mechanism.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from hub_loop import Loop, supported
from hub_loop.testing import ManualClock

if TYPE_CHECKING:
    from hub_loop._stat import Stat

REAL = [name for name in ("epoll", "poll", "select") if name in supported()]
HAS_INOTIFY = sys.platform == "linux"
INTERVAL = 2.0


class Eye:
    """A loop that sees changes by one mechanism only, and the account of what its watchers said."""

    def __init__(self, loop: Loop, clock: ManualClock, polling: bool) -> None:
        self.loop, self.clock, self.polling = loop, clock, polling
        self.seen: list[tuple[str, str]] = []
        self.watchers: list[Stat] = []

    def watch(self, path: Any, **options: Any) -> Stat:
        """A started watcher."""
        watcher = self.loop.stat(path, INTERVAL, **options)
        self.watchers.append(watcher)
        watcher.start(lambda: self.seen.append((kind(watcher.prev), kind(watcher.attr))))
        return watcher

    def turn(self) -> None:
        """Give every change that was made the chance to be seen, by this mechanism and no other."""
        if self.polling:
            self.clock.advance(INTERVAL)
        self.loop.run(nowait=True)

    def look(self) -> list[tuple[str, str]]:
        """What is told of the changes since the last look."""
        self.turn()
        seen, self.seen = self.seen, []
        return seen


def kind(found: os.stat_result | None) -> str:
    """What a stat result is of, and how long, in a word."""
    if found is None:
        return "nothing"
    return {0o10: f"file of {found.st_size}", 0o04: "directory", 0o12: "link"}[found.st_mode >> 12]
