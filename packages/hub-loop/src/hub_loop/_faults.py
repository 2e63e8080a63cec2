"""Faults: what a loop does when a system call that it makes for itself fails.

Receives: the exception.  Gives: a moment of rest, then either the exception back, or one report and the way on.

A call that the loop makes in somebody's name (`start`, `register`, `wakeup`) raises at that call.  The loop's own, the
poll, the narrowing of an interest, the emptying of the wake fd, have no caller.  They fail in two ways:

- The system is short of something, or was disturbed: that passes.  It is told to `handle_error` with the loop as
  context, so a hub prints it and throws it at nobody, and the turn goes on with timers, the inbox and callbacks.
- Anything else (the poller's fd was closed by others, say) does not pass.  It is raised: `Turn.run` tells it with
  context None, which a hub throws into the main greenlet, and without a handler `run` itself raises it.

Rule 1: whatever it is, the loop rests for REST seconds first, so that a failure that stays cannot keep the CPU busy.
Rule 2: a failure that passes is told once, and again only when there was none for QUIET seconds.
"""

from __future__ import annotations

import errno
from time import sleep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hub_loop._turn import Turn

REST = 0.01
"""Seconds."""
QUIET = 1.0
"""Seconds, on the loop's clock."""

_PASSING = frozenset({errno.ENOMEM, errno.ENOBUFS, errno.ENOSPC, errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.EINTR})


def passes(error: Exception) -> bool:
    """Whether the system was short of something, or disturbed."""
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in _PASSING)


def endure(loop: Turn, error: BaseException) -> None:
    """Go on after a failure that passes; raise any other, and interrupts, which are no failures."""
    if not isinstance(error, Exception):
        raise error
    sleep(REST)
    if not passes(error):
        raise error
    now = loop._clock()
    before, loop._last_fault = loop._last_fault, now
    if now - before >= QUIET:
        error.add_note(f"the loop tries again every {REST} s, and tells again after {QUIET} s without such a failure")
        loop.handle_error(loop, type(error), error, error.__traceback__)
