"""Forks: what becomes of a loop in the child, and the watcher that is told of it.

Receives: the news of a fork from `os.register_at_fork`, `reinit` from users, the first step of each turn.  Gives: in
the child, a loop that stands on a poller and a wake fd of its own; calls of fork watchers.

The states of a loop (`_fork_state`), and who makes which move:

    WHOLE     poller and wake fd are this process's.  So is a loop made, and so it stays in the parent.
    SEVERED   this is the child of a fork.  Poller and wake fd are closed, and what other threads had posted is dropped.
              `_thread` is negative, so that no thread matches it: the test that every public call makes anyway fails,
              and `_refuse`, to which it leads, renews the loop instead of refusing.
    RENEWED   poller and wake fd are the child's own, everything is armed in them; fork watchers are still to be called.
    TELLING   those to be called are marked as pending, and are being called.
    ORPHANED  the child of a fork that another thread made: the loop's own thread is not in this process.  The end.

    WHOLE, SEVERED, RENEWED, TELLING --sever: the hook, in the child--> SEVERED, or ORPHANED
    SEVERED --renew: the first public call, or the first turn--> RENEWED
    RENEWED --the first step of the first turn--> TELLING
    TELLING --none is pending any more--> WHOLE; an interrupt leaves the rest to the first step of the next turn

Rule 1: the hook runs inside `os.fork()`, which may have been called from a callback, from a greenlet, or from a signal
handler inside the poll, while other threads of the parent held any lock.  So it takes no lock, opens nothing and raises
nothing.  It closes at once rather than later because a poll that it interrupted would else go on, in the child, with
the parent's epoll and take the parent's edges.
It may be ended at any moment by what a signal handler raises, which CPython prints and drops.  So each hook is
registered several times, and what one call has left undone the next one does (test_fork_moments.py).
Rule 2: poller and wake fd of the parent are only ever closed.  Both numbers lead to the parent's own kernel objects:
whatever else were done to them would be done to the parent (test_fork.py, "undisturbed").
Rule 3: a renewal that the system refuses leaves the loop severed, and the call raises; the next one tries again.
"""

from __future__ import annotations

import errno
import os
from _thread import get_ident
from weakref import WeakSet

from hub_loop._callback import Post
from hub_loop._phases import Phase
from hub_loop._wakeup import Posted
from hub_loop._watcher import urgency

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from hub_loop._io import Registration
    from hub_loop._turn import Turn
    from hub_loop._watcher import Watcher

WHOLE, SEVERED, RENEWED, TELLING, ORPHANED = range(5)
TRIES = 4
"""How many times each hook is registered: as many signals, less one, may strike in one fork, and all is done."""

_loops: WeakSet[Turn] | None = None  # None until there is a first loop: only then does a fork concern us
_severed: set[int] = set()
"""The `id`s of the loops that the hook is done with, in this child."""


class Fork(Phase):
    """Calls back in a forked child, at the beginning of the loop's first turn there."""

    __slots__ = ()

    def _table(self) -> dict[Phase, None]:
        return self.loop._forks


def track(loop: Turn) -> None:
    """Have `loop` told of forks.  It is not kept alive by that."""
    global _loops
    if _loops is None:
        first: WeakSet[Turn] = WeakSet()
        os.register_at_fork(after_in_child=_severed.clear)  # by C code alone, so nothing can keep it from being done
        call_in_child(_after_in_child)
        if _loops is None:  # still: another thread may have made its first loop meanwhile
            _loops = first  # and only now: an interrupt leaves it to the next loop to register the hooks
    loop._pid = os.getpid()
    _loops.add(loop)


def tracked() -> list[Turn]:
    """Return the loops of all threads, destroyed ones included: each that has been made and is still in memory."""
    while True:
        try:
            return list(_loops or ())
        except RuntimeError:
            pass  # another thread has made one meanwhile


def call_in_child(hook: Callable[[], object]) -> None:
    """Have `hook` called inside each `os.fork()`, in the child: several times, so that no interrupt undoes it."""
    for _ in range(TRIES):
        os.register_at_fork(after_in_child=hook)


def _after_in_child() -> None:
    for loop in tracked():
        if id(loop) not in _severed:
            sever(loop)
            _severed.add(id(loop))


def sever(loop: Turn) -> None:
    """Part with what belongs to the parent.  Call from: the thread that has forked, in the child.

    Whatever interrupts it, it can be called again, and does the rest.
    """
    owner = abs(loop._thread)
    if not owner:
        return
    loop.sleeping = False
    loop._wakeup.abandon()
    try:
        loop._poller.close()
    except OSError:
        pass  # a kqueue is not inherited: its number is not open here
    for callback in loop._queue:  # what others have told the parent
        if type(callback) is Post:
            callback.stop()
    for watcher in loop._fired:  # the same, and its children's ends
        if isinstance(watcher, Posted) or watcher in loop._children:
            watcher._pending = False
    if owner == get_ident() and loop.fork_listener is not None:
        loop.fork_listener.loop_forked()
    # Last: until here a signal handler finds a loop that keeps everything in memory and asks the system nothing.
    if owner == get_ident():
        loop._fork_state, loop._thread = SEVERED, -owner
    else:
        loop._fork_state, loop._thread, loop._broken = ORPHANED, 0, True


def renew(loop: Turn) -> None:
    """Give a severed loop a poller and a wake fd, and arm what was armed.  Call from: the loop's thread.

    Raises OSError if the system is out of file descriptors or memory; the loop is then as severed as before.
    """
    refused: list[tuple[Registration, OSError]] = []
    failed: list[tuple[object, BaseException]] = []
    loop._poller.reopen()
    try:
        loop._wakeup.open(loop._poller)
        for registration in list(loop._registrations.values()):
            try:
                registration._arm_in_child()
            except OSError as error:
                refused.append((registration, error))
        _tell_everybody(loop, get_ident(), os.getpid(), refused, failed)
    except BaseException:
        if loop._fork_state == SEVERED:
            loop._wakeup.close()
            loop._poller.close()
        raise
    for who, failure in failed:
        loop.handle_error(who, type(failure), failure, failure.__traceback__)


def _tell_everybody(
    loop: Turn,
    thread: int,
    pid: int,
    refused: list[tuple[Registration, OSError]],
    failed: list[tuple[object, BaseException]],
) -> None:
    """The loop is renewed: tell its listener, evict whom the poller has refused, have watchers renew what they hold.

    An interrupt is noted as a failure, and what it struck is done again: nobody would do it later.
    """
    listener = loop.fork_listener
    untold: list[Watcher] | None = None
    # No call from here to the `try`: the loop is either severed or sure to tell.
    loop._fork_state, loop._thread, loop._pid = RENEWED, thread, pid
    while listener is not None or refused or untold or untold is None:
        try:
            if listener is not None:
                notified = [r._notify for r in loop._registrations.values() if r._notify is not None]
                listener.loop_renewed(loop._started(), notified)
                listener = None
            while refused:
                registration, refusal = refused[-1]
                registration.evict()  # who waits for it is told, as by `closing_fd`
                del refused[-1]
                if refusal.errno != errno.EBADF:  # a child closes fds, as children do: that is no failure
                    failed.append((registration, refusal))
            if untold is None:
                untold = loop._started()[::-1]
            while untold:
                untold[-1]._forked()
                del untold[-1]
        except BaseException as error:
            struck: list[Any] = untold or refused
            failed.append((listener or (untold[-1] if untold else loop), error))
            if isinstance(error, Exception):
                if listener is not None:
                    listener = None
                elif struck:
                    del struck[-1]


def reinit(loop: Turn) -> None:
    """See `hub_api.ILoop.reinit`."""
    if loop._fork_state != SEVERED and loop._pid != os.getpid():
        sever(loop)  # a fork that Python was not told of, or a hook that runs before ours
    if get_ident() != loop._thread:
        loop._refuse("reinit it")


def first_step(loop: Turn) -> None:
    """The turn's first step, where there was a fork."""
    if loop._fork_state == SEVERED:
        renew(loop)
    if loop._fork_state == RENEWED:
        for watcher in tuple(loop._forks):
            watcher._pending = watcher._active
        loop._fork_state = TELLING
    for watcher in sorted(loop._forks, key=urgency):
        if watcher._pending:
            loop._deliver(watcher)
    if loop._fork_state == TELLING:  # else one of them has forked, and this is its child
        loop._fork_state = WHOLE
