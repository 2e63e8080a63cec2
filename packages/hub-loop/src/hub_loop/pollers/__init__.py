"""Pollers: the one place that asks the operating system which file descriptors are ready.

Each back-end is a class with the duties of `Poller`, and nothing else: it keeps no readiness, calls nobody back and
knows no watcher.  `_io` gives it interests and gets `(fd, events)` pairs.  Masks are the bits below; HUP and ERR of
the system are widened to READ|WRITE by the back-end, because whoever waits for either must wake up and see the error
from its own call.
"""

from __future__ import annotations

import os
import select as _system

from hub_api import READ, WRITE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Protocol

    class Poller(Protocol):
        """What a back-end must do.  Call from: the loop's thread.  Nothing here switches or calls back."""

        name: str
        """What `Loop(flags=...)` and HUB_LOOP_BACKEND call it."""

        edge: bool
        """Whether EDGE is understood.  Where it is not, the registration asks again for each wait instead."""

        def watch(self, fd: int, interest: int) -> bool:
            """Report `interest` (READ, WRITE, with or without EDGE) for `fd` from now on, in place of what was before.

            Must not rely on its own memory: the number may have been closed and reused behind our back.
            Returns False if the system cannot poll this kind of file, which then counts as always ready.
            Raises OSError if the fd is closed or the system refuses; ValueError if the number is too high for this
            back-end.
            """
            ...

        def forget(self, fd: int) -> None:
            """Report nothing for `fd` any more.  Fine if the fd is unknown or was closed already."""
            ...

        def poll(self, timeout: float | None) -> list[tuple[int, int]]:
            """Wait for at most `timeout` seconds (None: for ever) and return `(fd, events)`, each fd once.

            Never returns early because of rounding.  A fd that is not open any more is reported as INVALID, if the
            system tells.
            """
            ...

        def fileno(self) -> int | None:
            """The fd that becomes readable when `poll` would return something, if there is such a thing."""
            ...

        def close(self) -> None:
            """Give back what the system holds, and leave alone what others hold of the same.  Idempotent.

            Until `reopen` nothing is watched: `watch` answers True, and `poll`, also one that was interrupted by a
            signal handler which closed this, returns nothing and at once.  (In a forked child the system's object is
            the parent's as well, and a turn in which the fork happened goes on.)
            """
            ...

        def reopen(self) -> None:
            """After `close`: be as new, with nothing watched.  Raises OSError if the system refuses."""
            ...


BOTH = READ | WRITE
HANGUP = 4
"""Reading comes to an end: a short read proves nothing.  Told with edges only; states are told again at each poll."""
INVALID = 8
"""The fd is not open any more."""
EDGE = 16
"""In an interest: report changes, not states."""

LONGEST = 3600.0
"""Seconds: no poll asks the system for more, which keeps every back-end's integers in range."""

_NAMES = ("epoll", "kqueue", "poll", "select")
# Looked up once, and the back-ends bind what they call at import: gevent's patching takes `epoll` away later.
_HAVE = tuple(name for name in _NAMES if hasattr(_system, name))


def raised_by_the_call(error: BaseException) -> bool:
    """Whether `error`, just caught in the frame that made a system call, is that call's and no signal handler's.

    A handler that ran inside the call has a frame of its own.
    """
    return error.__traceback__ is None or error.__traceback__.tb_next is None


def supported() -> list[str]:
    """The back-ends that this system has, best first."""
    return list(_HAVE)


def choose(flags: str | Iterable[str] | None) -> str:
    """The back-end that `flags` ask for, else HUB_LOOP_BACKEND, else the best one.

    Raises ValueError for a name that is unknown or that this system does not have, TypeError for anything but names.
    """
    asked = flags or os.environ.get("HUB_LOOP_BACKEND") or None
    who = "" if flags else f"HUB_LOOP_BACKEND is {asked!r}: "
    have = _HAVE
    if asked is None:
        return have[0]
    names = asked.replace(",", " ").split() if isinstance(asked, str) else list(asked)
    for name in names:
        if name == "default":
            return have[0]
        if not isinstance(name, str):
            raise TypeError(f"flags must be names of pollers, got {flags!r}; this system has {', '.join(have)}")
        if name not in _NAMES:
            raise ValueError(f"{who}unknown poller {name!r}; this system has {', '.join(have)}")
    for name in names:
        if name in have:
            return name
    raise ValueError(f"{who}this system has no {' or '.join(names)}; it has {', '.join(have)}")


def create(name: str) -> Poller:
    """Make the back-end of that name."""
    return load(name)()


def load(name: str) -> type[Poller]:
    """The class of the back-end of that name; only its module is imported."""
    if name == "epoll":
        from hub_loop.pollers.epoll import EpollPoller

        return EpollPoller
    if name == "kqueue":
        from hub_loop.pollers.kqueue import KqueuePoller

        return KqueuePoller
    from hub_loop.pollers.select import PollPoller, SelectPoller

    return PollPoller if name == "poll" else SelectPoller
