"""The beginning of a worker, of a pool or of an executor: either its thread takes it up, or who started it gives it up.

Receives: a thread that was started.  Gives: the certainty that its body runs, or an error that says why it never will.
Rule: there is one entry, and `list.pop` gives it to one taker only; so of the two each knows what the other has done.
"""

from __future__ import annotations

from time import sleep

TYPE_CHECKING = False
if TYPE_CHECKING:
    import threading


class Entrant:
    """A worker as far as its beginning is concerned."""

    __slots__ = ("_entry", "thread")

    thread: threading.Thread

    def __init__(self) -> None:
        self._entry = [None]

    def enter(self) -> bool:
        """Whether the caller is the first to ask: the thread as it begins, or who gives up on it."""
        try:
            self._entry.pop()
        except IndexError:
            return False
        return True

    @property
    def stillborn(self) -> bool:
        """Whether its thread is not there and has run no line of ours."""
        return bool(self._entry) and not self.thread.is_alive()

    def await_entry(self) -> None:
        """Make sure that it has begun.  Call from: who started it.

        A hook of `threading` that raises ends the thread before our first line, and so does what is thrown into it.
        Costs nothing: until `Thread.start` comes to return, the thread has the interpreter's lock, and has begun.
        """
        while self._entry:
            if self.stillborn:
                raise RuntimeError(
                    f"thread {self.thread.name!r} ended before it began: a hook of threading.settrace or "
                    "threading.setprofile has raised in it, or an exception was thrown into it; threading.excepthook "
                    "was told what"
                )
            sleep(0.0002)
