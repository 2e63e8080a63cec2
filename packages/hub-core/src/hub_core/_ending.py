"""The end of a hub's greenlets: each gets GreenletExit, and time for what it has in its `finally` blocks.

Receives: a hub that is to be destroyed, and a deadline.  Gives: those that have not ended by then.

The order.  First what was thrown by `kill` already.  Then the new greenlets, in the order of their starts: they end
without running.  Then those that are ready, in the order in which they would have gone on.  Then those that are parked,
in no order that can be relied on.  All have got their exception before the first that parks again on its way out goes
on.  What they spawn meanwhile comes in a next round, as long as there is time; those that nothing can wake any more are
no reason to leave that out.

Rule 1: nothing here switches: exceptions go into the lane, and who destroys waits by a Waiter, as everybody does.
Rule 2: each greenlet gets GreenletExit once.  One that catches it and goes on has chosen so, and is let go at the end.
Rule 3: a KeyboardInterrupt while we wait is the second one, or as good as that: nobody is waited for any more.
"""

from __future__ import annotations

from greenlet import GreenletExit, getcurrent

from hub_api import HubDestroyed, LoopExit
from hub_core._parked import parked_greenlets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from greenlet import greenlet

    from hub_core._base import HubBase
    from hub_core._hub import Hub

_FEW = 10
"""So many greenlets are described in a warning."""


def end_greenlets(hub: Hub, timeout: float | None, left: list[str]) -> None:
    """Raise GreenletExit in each greenlet of `hub` and wait until they have ended; `left` tells of those that have not.

    Call from: a greenlet that does not run below the hub.  Switches: if there are any.
    Raises what surfaces here meanwhile: at once if it is a KeyboardInterrupt, else when the others have ended.
    """
    if not hub._new and not parked_greenlets(hub):
        return
    try:
        timer, look = hub.loop.timer(timeout or 0.0, ref=False), hub.loop.prepare(ref=False)
    except ValueError:
        return  # somebody has destroyed the loop: nobody can run on it any more
    hub.parent = getcurrent()  # whatever surfaces does so here, whichever greenlet has made the hub
    end = _End(hub)
    try:
        with timer, look:
            if timeout is not None:
                timer.start(end.expire)
            look.start(end.look)
            while not end.expired:
                found = _throw_into_all(hub, told=end.left)
                if not found:
                    break
                end.left += found
                end.wait()
    finally:
        left += _describe([each for each in end.left if not each.dead])
    if end.error is not None:
        raise end.error


def tell(hub: HubBase, died: greenlet, error: BaseException) -> None:
    """At the end of a thread a greenlet has died of `error`: print it.  There is no main greenlet to raise it in.

    SystemExit ends a thread in silence, as always.
    """
    if not isinstance(error, hub.NOT_ERROR):
        hub.print_exception(died, type(error), error, error.__traceback__)


class _End:
    """The wait for the ends of many."""

    def __init__(self, hub: Hub) -> None:
        self.left: list[greenlet] = []
        self.expired = False
        self.error: BaseException | None = None
        self._waiter = hub.waiter()
        self._waiter.reason = hub

    def wait(self) -> None:
        """Park until all have ended, the time is up, or the loop has nothing left that could wake one of them."""
        self._waiter.clear()
        while not self._waiter.ready():
            try:
                self._waiter.get()
            except LoopExit:
                pass
            except (KeyboardInterrupt, HubDestroyed):
                raise
            except BaseException as error:  # a greenlet that calls sys.exit() on its way out, say: the others go on
                self.error = self.error or error
                continue
            return

    def look(self) -> None:
        """Strike off who has ended.  Called before each poll; so it looks no further than the first that has not."""
        while self.left and self.left[-1].dead:
            del self.left[-1]
        if not self.left:
            self._waiter.switch(None)

    def expire(self) -> None:
        """The time is up."""
        self.expired = True
        self._waiter.switch(None)


def _throw_into_all(hub: Hub, told: list[greenlet]) -> list[greenlet]:
    """Queue GreenletExit for each greenlet of the hub that has not ended and was not `told`, and return them."""
    lane = [*hub._new]
    hub._new.clear()
    hub._new.extend(entry for entry in lane if entry[1] is None)
    found = dict.fromkeys(entry[0] for entry in lane if entry[1] is not None)
    found.update(dict.fromkeys(parked_greenlets(hub)))
    for each in told:
        found.pop(each, None)
    others = [each for each in hub._ready if each not in found]
    hub._ready.clear()  # the same object, for others know it; and nobody shall go on before it is his turn to end
    hub._ready.extend(others)
    for each in found:
        if each.parent is not hub:
            each.parent = hub  # else its end would wake its parent, which has one of its own to come
        hub.throw_soon(each, GreenletExit)
    return [*found]


def _describe(left: list[greenlet]) -> list[str]:
    if not left:
        return []
    from hub_core._report import wait_reason

    lines = [f"{each!r}, waiting for {wait_reason(each)!r}" for each in left[:_FEW]]
    return [*lines, f"and {len(left) - _FEW} more"] if len(left) > _FEW else lines


def warn(hub: HubBase, left: list[str]) -> None:
    """Name those that were let go, as a warning at the call of `destroy`."""
    import warnings

    warnings.warn(
        f"{hub!r} is destroyed, and greenlets that got GreenletExit had not ended by then; they are let go as they "
        f"stand: {'; '.join(left)}",
        RuntimeWarning,
        stacklevel=3,
    )
