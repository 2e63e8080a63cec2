"""Paths: a watcher that says when what `lstat` tells of a path has changed.

Receives: paths; events of inotify; the ticks of a timer.  Gives: callbacks, and the stat results before and after.

What decides is always `lstat`: a watcher looks, compares, and calls back if there is a difference.  When to look is
told by two sources:

- A timer of the loop, for every watcher, at its `interval`.  It works for every path and every file system.
- inotify, where there is `inotify_simple` (the extra `hub-loop[inotify]`) and the kernel has it: a hint that comes at
  once.  It is no more than a hint: network file systems change without it, its queue may overflow, the user's number
  of watches may be used up, and files that may not be read cannot be watched.  Then the timer is what is left.

One inotify fd serves all paths of a loop.  For each path it watches the file itself and the directories on the way to
it; while the path is missing, the nearest directory that exists is asked for arrivals.

Rule 1: inotify's marks are put in place before the look that they are to be compared with, so no change is missed
between the two.
Rule 2: reading is no change: the time of the last access is not compared.  A callback may read the file.
Rule 3: an inotify fd that came through a fork leads to the parent's queue: it is closed and nothing else (`mine`).
"""

from __future__ import annotations

import os

from hub_loop._io import InternalFd
from hub_loop._watcher import Watcher

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from os import PathLike
    from typing import Any

    from hub_loop._loop import Loop
    from hub_loop._timers import Timer

    Path = str | bytes | PathLike[str] | PathLike[bytes]

DEFAULT_INTERVAL = 5.007
"""Seconds between two looks for `interval=0`; no round number, so that it does not beat with other periods."""
SHORTEST_INTERVAL = 0.1074891
"""Seconds: shorter intervals are raised to this when the watcher starts."""

# From linux/inotify.h, part of the kernel's interface (man 7 inotify).
_MODIFY, _ATTRIB, _MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x2, 0x4, 0x40, 0x80, 0x100, 0x200
_DELETE_SELF, _MOVE_SELF, _UNMOUNT, _OVERFLOW, _IGNORED = 0x400, 0x800, 0x2000, 0x4000, 0x8000
_ONLYDIR, _DONT_FOLLOW, _MASK_ADD = 0x1000000, 0x2000000, 0x20000000

_GONE = _DELETE_SELF | _MOVE_SELF
_ARRIVAL = _CREATE | _MOVED_TO
_CONTENTS = _MODIFY | _ATTRIB | _ARRIVAL | _MOVED_FROM | _DELETE
_ITSELF = ""  # in place of a name: the mark is on the path itself and not on a directory that leads to it
_TRIES = 3  # how often the marks are put in place anew if the path is being replaced meanwhile


class Stat(Watcher):
    """Watches one path: see `hub_api.IStatWatcher`."""

    __slots__ = ("_interval", "_marked", "_paths", "_timer", "attr", "path", "prev")

    def __init__(
        self, loop: Loop, path: Path, interval: float = 0.0, ref: bool = True, priority: int | None = None
    ) -> None:
        if not isinstance(path, (str, bytes, os.PathLike)):
            raise TypeError(f"path must be a str, bytes or os.PathLike, got {path!r}")
        self._paths: bytes = os.fsencode(path)
        if not self._paths or b"\0" in self._paths:
            raise ValueError(f"path must be one that the system can look at, not empty and without null, got {path!r}")
        try:
            if not (interval >= 0.0 or interval < 0.0):
                raise ValueError("interval must be a number of seconds, got nan")
        except TypeError:
            raise TypeError(f"interval must be a number of seconds, got {interval!r}") from None
        self._interval = interval
        super().__init__(loop, ref, priority)
        self.path: Path = path
        self.attr: os.stat_result | None = None
        self.prev: os.stat_result | None = None
        self._timer: Timer | None = None
        self._marked: tuple[int, int] | None = None  # which file inotify's marks were made for

    @property
    def interval(self) -> float:
        """Seconds between two looks; 0 stands for DEFAULT_INTERVAL.  From `start` on SHORTEST_INTERVAL or more."""
        return self._interval

    def _arm(self) -> None:
        loop = self.loop
        if self._interval:
            self._interval = max(self._interval, SHORTEST_INTERVAL)
        loop._stats[self] = None
        seconds = self._interval or DEFAULT_INTERVAL
        self._timer = loop.timer(seconds, seconds, ref=False)
        self._timer.start(self._look)
        self._join()
        self.prev, self.attr = None, self._lstat(mark=True)

    def _disarm(self) -> None:
        loop = self.loop
        loop._stats.pop(self, None)
        if self._timer is not None:
            self._timer.close()
        if loop._inotify is not None:
            loop._inotify.release(self)
            if not loop._stats:
                loop._inotify.close()

    def _forked(self) -> None:
        if self.loop._inotify is not None and not self.loop._inotify.mine:
            self.loop._inotify.close()
        self._join()
        self._look(mark=True)

    def _join(self) -> None:
        if self.loop._inotify is None:
            module = find_inotify()
            if module is not None:
                try:
                    self.loop._inotify = Inotify(self.loop, module)
                except OSError:
                    pass  # no more instances for this user, or no such system call: the timer is what is left

    def _look(self, mark: bool = False) -> None:
        """Look at the path, and call back if it has changed; `mark` if inotify's marks may be on what it was before."""
        found, known = self._lstat(mark), self.attr
        self.attr = found
        if _essence(found) != _essence(known):
            if not self._pending:  # else `prev` is what the callback saw last, and this change goes with the one before
                self.prev = known
            self._fire()

    def _lstat(self, mark: bool) -> os.stat_result | None:
        found = _lstat(self._paths)
        inotify = self.loop._inotify
        if inotify is not None and inotify.mine:
            for _ in range(_TRIES):
                if not mark and _identity(found) == self._marked:
                    break
                self._marked, mark = _identity(found), False
                inotify.mark(self)
                found = _lstat(self._paths)
        return found

    def _details(self) -> str:
        return f" path={self.path!r}{' missing' if self._active and self.attr is None else ''}"


class Inotify:
    """The inotify fd of one loop, and which of its marks belong to which watchers."""

    __slots__ = ("_inotify", "_loop", "_pid", "_reader", "_users")

    def __init__(self, loop: Loop, module: Any) -> None:
        self._loop = loop
        self._pid = os.getpid()
        self._users: dict[int, dict[Stat, set[str]]] = {}  # by mark: whose it is, and the names that each waits for
        self._inotify: Any = module.INotify(nonblocking=True)
        try:
            self._reader = InternalFd(loop, self._inotify.fileno(), self._noticed)
        except BaseException:
            self._inotify.close()
            raise

    @property
    def mine(self) -> bool:
        """Whether this is the process that made it."""
        return self._pid == os.getpid()

    def close(self) -> None:
        """Give the fd back.  Idempotent.  Switches: never."""
        if self._loop._inotify is self:
            self._loop._inotify = None
            if self._reader.fd >= 0:
                self._reader.evict()
            self._inotify.close()

    def mark(self, stat: Stat) -> None:
        """Put the marks of one path where they belong by now."""
        self.release(stat)
        missing = not self._add(stat, stat._paths, _CONTENTS | _GONE | _DONT_FOLLOW, _ITSELF)
        for directory, name in _way(stat._paths):
            mask = _GONE | _ONLYDIR | (_ARRIVAL if missing else 0)
            if self._add(stat, directory, mask, os.fsdecode(name)):
                missing = False

    def _add(self, stat: Stat, path: bytes, mask: int, name: str) -> bool:
        try:
            mark = self._inotify.add_watch(path, mask | _MASK_ADD)
        except OSError:
            return False  # missing, not readable, or no more marks for this user
        self._users.setdefault(mark, {}).setdefault(stat, set()).add(name)
        return True

    def release(self, stat: Stat) -> None:
        """Take the marks of one path back."""
        for mark, users in list(self._users.items()):
            if users.pop(stat, None) is not None and not users:
                del self._users[mark]
                if self.mine:
                    try:
                        self._inotify.rm_watch(mark)
                    except OSError:
                        pass  # its file has gone, and the mark with it

    def _noticed(self) -> None:
        told: dict[Stat, bool] = {}
        try:
            queued = self._inotify.read(timeout=0)
        except OSError as error:
            self.close()  # somebody has closed the fd, or worse: the timer is what is left
            self._loop.handle_error(self, type(error), error, error.__traceback__)
            return
        for mark, mask, _, name in queued:
            if mask & _OVERFLOW:
                told = dict.fromkeys(self._loop._stats, True)
            for stat, names in self._users.get(mark, {}).items():
                gone = bool(mask & (_GONE | _UNMOUNT | _IGNORED))
                if gone or (name and name in names):
                    told[stat] = True
                elif _ITSELF in names:
                    told.setdefault(stat, False)
            if mask & _IGNORED:
                self._users.pop(mark, None)
        for stat, mark_again in told.items():
            stat._look(mark_again)


def find_inotify() -> Any:
    """The module `inotify_simple`, or None if it is not installed."""
    try:
        import inotify_simple
    except ImportError:
        return None
    return inotify_simple


def _way(path: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The directories that lead to a path, nearest first, each with the name that leads on from it."""
    directory, name = os.path.split(path.rstrip(b"/"))
    while name:
        yield directory or b".", name
        directory, name = os.path.split(directory)


def _lstat(path: bytes) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except OSError:
        return None  # missing; or nobody may look at it, which is the same to us


def _identity(found: os.stat_result | None) -> tuple[int, int] | None:
    return None if found is None else (found.st_dev, found.st_ino)


def _essence(found: os.stat_result | None) -> tuple[int, ...] | None:
    """What makes a difference: all but the time of the last access."""
    if found is None:
        return None
    return (
        *(found.st_dev, found.st_ino, found.st_mode, found.st_nlink, found.st_uid, found.st_gid, found.st_rdev),
        *(found.st_size, found.st_mtime_ns, found.st_ctime_ns),
    )
