"""The file of a trace: JSON that grows at its end and can be read at any moment.

Receives: lines, each one event and a comma, from several threads.  Gives: a file in the JSON array form of the Trace
Event Format, in which the closing bracket may be missing: so what a killed process has left behind can be loaded, too.

Rule 1: whatever happens to the file is said once and ends the trace.  It never reaches the program that is traced.
Rule 2: a forked child has its own file, `NAME-PID.json` beside the parent's, made when it has something to write.
Rule 3: a program may close all numbers, as daemons do, and open others: before each write we look whether ours is
still our file.
"""

from __future__ import annotations

import os
import sys
from threading import RLock


class TraceFile:
    """A file of events.  Raises OSError if it cannot be made."""

    def __init__(self, path: str) -> None:
        self.path = self._first = os.path.abspath(path)
        self._lock = RLock()  # again in a signal handler, perhaps
        self._fd = -1
        self._identity: tuple[int, int] = (0, 0)
        self._open()
        os.register_at_fork(after_in_child=self._forked)

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
        self._fd = os.open(self.path, flags, 0o666)
        found = os.fstat(self._fd)
        self._identity = found.st_dev, found.st_ino
        self._put(b"[\n")

    def _is_ours(self) -> bool:
        try:
            found = os.fstat(self._fd)
        except OSError:
            return False
        return self._identity == (found.st_dev, found.st_ino)

    @property
    def closed(self) -> bool:
        """Whether nothing is written any more."""
        return not self.path

    def write(self, lines: list[str]) -> None:
        """Write the lines and empty the list.  Call from: any thread."""
        count = len(lines)
        data = "".join(lines[:count]).encode()
        del lines[:count]  # a signal handler may have added to it meanwhile
        with self._lock:
            if not data or self.closed:
                return
            try:
                if self._fd < 0:
                    self._open()
                if not self._is_ours():
                    raise OSError("the program has closed it")
                self._put(data)
            except OSError as error:
                self._give_up(error)

    def close(self, last: str) -> None:
        """Write the last event, which has no comma, and the closing bracket.  Idempotent."""
        with self._lock:
            if self._fd >= 0:
                self.write([f"{last}\n]\n"])
            self._drop()
            self.path = ""

    def _put(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._fd, data) :]

    def _give_up(self, error: OSError) -> None:
        path, self.path = self.path, ""
        self._drop()
        complain(f"the trace ends here, {path} cannot be written: {error.strerror or error}")

    def _drop(self) -> None:
        """Close the number, unless it is another file's by now."""
        if self._fd >= 0 and self._is_ours():
            os.close(self._fd)
        self._fd = -1

    def _forked(self) -> None:
        self._lock = RLock()  # a thread of the parent may have had the old one
        self._drop()
        if not self.closed:
            stem, extension = os.path.splitext(self._first)
            self.path = f"{stem}-{os.getpid()}{extension}"


def complain(words: str) -> None:
    """Say it on standard error, if there is one."""
    try:
        sys.stderr.write(f"greenlet-hub run: {words}\n")
    except (AttributeError, OSError, ValueError):
        pass  # None or closed: nobody is left to tell
