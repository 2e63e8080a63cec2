"""Forks: what becomes of a hub and its greenlets in the child.

Receives: from the loop, the news that this is a forked child.  Gives: a hub that knows one greenlet, the one that
forked; all others stay behind.

A greenlet that is parked when its process forks is there twice, and with it whatever it was about to do: commit, send,
unlink.  So in the child it does not go on, neither to its next statement nor to its `finally` blocks.  Nobody looks for
it.  The hub gets a new lane, and by the old one nobody runs any more.  A greenlet that wakes up, whatever wakes it,
asks the lane that it parked with whether it is the one to run, as it must anyway.  If it is not, and the hub has got
another lane, it is the parent's: it switches away again and never comes back (`Hub._stay_behind`).  So forks cost
nothing to those who never fork.

Rule 1: `Listener.loop_forked` runs inside `os.fork()`: it takes no lock, calls nobody and asks the system nothing.
What a signal handler raises may end it at any moment; then it is called again.
Rule 2: what a greenlet left behind waits with, watchers and registrations, is taken out of the loop at the loop's first
use in the child, so that it neither keeps the loop running nor wakes anybody.  What a user has started goes on.
The same is done, by `let_go`, for greenlets that a destroyed hub has let go, if its loop lives on.
Rule 3: the main greenlet stays behind like any other, but gets what is thrown into it: somebody must end the process.
"""

from __future__ import annotations

from weakref import ref

from greenlet import getcurrent

from hub_core import _storage
from hub_core._fds import FdWaiter, Side
from hub_core._frames import locals_of
from hub_core._local import get_hub_if_exists
from hub_core._waiter import Waiter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from greenlet import greenlet

    from hub_api import ICallback, IWatcher
    from hub_core._base import HubBase
    from hub_core._hub import Hub
    from hub_core._ready import Lane

_kept: list[object] = []
"""What was ready or new in the parent.  To free it inside `os.fork()` would call destructors of users there."""
keep = _kept.append
_WAITS = (Waiter, Side)  # what a greenlet of ours parks in


def reinit(hub: Hub | None = None) -> None:
    """Make `hub`, or else this thread's hub, usable in a forked child now, rather than at its first use.

    Without effect if there is none, in the parent, and a second time.  It is needed only after a fork that Python does
    not know of, made by a C library; see `Hub.reinit`.
    Call from: the hub's thread.  Switches: never.
    """
    hub = get_hub_if_exists() if hub is None else hub
    if hub is not None:
        hub.reinit()


def is_left_behind(hub: Hub, parked: greenlet, lane: Lane) -> bool:
    """Whether a greenlet that parked with `lane` is the parent's, and not the one whose fork has made this process."""
    return lane is not hub._lane and all(parked is not heir for left, heir in hub._forks if left is lane)


def left_behind(parked: greenlet) -> bool:
    """Whether a fork has left this greenlet behind in the parent, so that it will never run in this process.

    Call from: the greenlet's own thread.  Switches: never.
    """
    # Here, because the first imports this module, and the second is for those who ask.
    from hub_core._hub import PARKS
    from hub_core._report_find import stack_of

    for frame in stack_of(parked):
        if frame.f_code in PARKS:
            names = locals_of(frame)
            hub: Any = names.get("self", names.get("hub"))
            if "lane" in names:
                if hub is None:  # `sleep`, which asks its own greenlet for its hub where it has to
                    hub = names["current"].hub
                return is_left_behind(hub, parked, names["lane"])
    return False


def listen(hub: Hub) -> None:
    """Have the loop of `hub` tell it of forks, if it tells anybody."""
    loop: Any = hub.loop
    if hasattr(loop, "fork_listener"):
        loop.fork_listener = Listener(hub)


def hub_on(loop: object) -> Hub | None:
    """The living hub that runs `loop`, or None; also None for a loop that tells nobody of forks."""
    listener = getattr(loop, "fork_listener", None)
    hub = listener.hub() if isinstance(listener, Listener) else None
    return None if hub is None or hub.loop is not loop or hub.owner_ended else hub


class Listener:
    """Told by the loop of a fork: see `hub_api.IForkListener`.  It does not keep the hub alive."""

    __slots__ = ("hub",)

    def __init__(self, hub: Hub) -> None:
        self.hub = ref(hub)

    def loop_forked(self) -> None:
        """Inside `os.fork()`, in the child."""
        hub = self.hub()
        if hub is not None:
            hub._leave_behind(getcurrent(), keep)

    def loop_renewed(self, watchers: Iterable[IWatcher], notified: Iterable[Callable[[int], object]]) -> None:
        """The loop works again: end the waits of those left behind, and tell the hub's parts."""
        hub = self.hub()
        if hub is None or hub.loop is None or not hub._forks:
            return
        hub._main = _storage.is_main(hub.thread_ident)
        heir = hub._forks[-1][1]
        for notify in notified:
            owner = getattr(notify, "__self__", None)
            if isinstance(owner, FdWaiter) and owner._reader.hub is hub:
                owner._forked(hub, heir)
        _end_waits(hub, watchers, heir)
        hub._tell_parts_of_fork()


def let_go(hub: HubBase, loop: Any) -> None:
    """`hub` is destroyed and leaves `loop` to the next one: take out of it what greenlets that were let go wait with.

    So that they neither keep it running nor are called back.  What a user has started goes on.
    Call from: the hub's thread.  Switches: never.
    """
    debug = getattr(loop, "debug", None)
    if debug is None:
        return  # nobody can say what such a loop has
    handles = debug()
    for handle in handles:
        owner = getattr(handle.callback, "__self__", None)
        if isinstance(owner, FdWaiter) and owner._reader.hub is hub:
            owner._let_go()
    _end_waits(hub, [handle for handle in handles if hasattr(handle, "stop")], None)


def _end_waits(hub: HubBase, handles: Iterable[IWatcher | ICallback], heir: greenlet | None) -> None:
    """Stop what greenlets of `hub` wait with, but for those of `heir`; without one, also what nobody waits with yet."""
    others = [handle for handle in handles if not _end_wait(hub, handle, heir)]
    for handle in others:  # such as the timeouts of `wait_on_watcher`
        if handle.callback == hub.cancel_wait and (
            heir is None or (handle.args and getattr(handle.args[0], "callback", None) is None)
        ):
            handle.stop()


def _end_wait(hub: HubBase, handle: IWatcher | ICallback, heir: greenlet | None) -> bool:
    """Stop what a greenlet waits with that never goes on; False if no greenlet waits with it."""
    waited = getattr(handle.callback, "__self__", None)
    if not isinstance(waited, _WAITS) or waited.hub is not hub:
        return False
    if heir is not None and waited.greenlet is None and waited.__class__ is not Side:
        return False
    if heir is None or waited.greenlet is not heir:
        waited._abandon()
        handle.stop()
    return True
