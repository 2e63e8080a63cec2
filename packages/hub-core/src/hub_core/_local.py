"""Which hub: the one of this native thread, made when it is first asked for.

Receives: factories from whoever composes the parts (`set_defaults`), `set_hub` and friends from users.  Gives:
`get_hub()`.
Rule 1: a thread sees its own hub and no other; nothing here is shared between threads but the factories.
Rule 2: an implicit hub does not outlive its thread: the guard in the thread's storage destroys it as the thread ends.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from hub_api import IHub, ILoopCore, ILoopFactory, IResolver, IThreadPool
    from hub_core._hub import Hub
    from hub_core._storage import ThreadState


class Defaults:
    """What a hub makes when it was not given: factories, or None where nobody has said."""

    loop: ILoopFactory | None = None
    threadpool: Callable[[IHub], IThreadPool] | None = None
    resolver: Callable[[IHub], IResolver] | None = None
    hub_class: type[Hub] | None = None
    watch: Callable[[], float | None] | None = None


defaults = Defaults()
_local: ThreadState | None = None


def _storage() -> ThreadState:
    """This thread's storage; see there why it is not imported with this module."""
    global _local
    if _local is None:
        from hub_core._storage import local

        _local = local
    return _local


def set_defaults(
    *,
    loop: ILoopFactory | None = None,
    threadpool: Callable[[IHub], IThreadPool] | None = None,
    resolver: Callable[[IHub], IResolver] | None = None,
    watch: Callable[[], float | None] | None = None,
) -> None:
    """Name the factories that hubs made from now on use for parts they were not given.

    `watch` is asked by each new hub for the threshold that it is to be watched with, or None.
    For the package that composes the family, or an application in its place.  None leaves a factory as it is.
    Call from: any thread, before the first hub.  Switches: never.
    """
    defaults.loop = loop or defaults.loop
    defaults.threadpool = threadpool or defaults.threadpool
    defaults.resolver = resolver or defaults.resolver
    defaults.watch = watch or defaults.watch


def get_hub(*args: object, **kwargs: object) -> Hub:
    """Return this thread's hub; if there is none, make one of the class that `get_hub_class` returns.

    Arguments are deprecated and ignored: use `set_hub`.
    Call from: any thread.  Switches: never.  Raises LookupError if nobody has said which loop to use.
    """
    if args or kwargs:
        import warnings

        warnings.warn(
            "arguments of get_hub() are ignored; use set_hub() with a hub made to your wish",
            DeprecationWarning,
            stacklevel=2,
        )
    return this_hub()


def this_hub() -> Hub:
    """`get_hub` for the family's own calls: to look for deprecated arguments costs 60 ns."""
    hub = None if _local is None else _local.hub
    if hub is None:
        hub = get_hub_class()()
        local = _storage()
        local.set_hub(hub)
        if local.guard is not None:
            local.guard.implicit = hub
    return hub


def get_hub_if_exists() -> Hub | None:
    """Return this thread's hub, or None rather than make one."""
    return _storage().hub


def set_hub(hub: Hub | None) -> None:
    """Make `hub` this thread's hub, or leave the thread without one.  The former hub is not destroyed.

    Raises TypeError for anything but a Hub, InvalidThreadUseError for a hub of another thread.
    """
    from hub_core._hub import Hub

    if hub is not None:
        if not isinstance(hub, Hub):
            raise TypeError(f"set_hub takes a Hub or None, got {hub!r}")
        hub.check_thread("set_hub")
    local = _storage()
    if local.guard is not None and local.guard.implicit is not hub:
        local.guard.implicit = None  # the former hub is now its holder's to destroy
    local.set_hub(hub)


def enter(hub: Any) -> tuple[Hub | None, Hub | None]:
    """Make `hub` this thread's hub for a block: see `Hub.__enter__`.  Returns what `leave` needs."""
    local = _storage()
    former = local.hub, None if local.guard is None else local.guard.implicit
    local.set_hub(hub)
    return former


def leave(former: tuple[Hub | None, Hub | None]) -> None:
    """End the block: the thread has the hub again that it had before, unless that was destroyed meanwhile."""
    local = _storage()
    hub, implicit = former
    if hub is not None and hub.loop is not None:
        local.set_hub(hub)
        if local.guard is not None:
            local.guard.implicit = implicit
    elif local.hub is not None and local.hub.loop is None:
        local.set_hub(None)


def get_hub_class() -> type[Hub]:
    """Return the class of hub that `get_hub` makes in this thread; asked once, it stays for this thread."""
    local = _storage()
    if local.hub_class is None:
        from hub_core._hub import Hub

        local.hub_class = defaults.hub_class or Hub
    return local.hub_class


def set_default_hub_class(hub_class: type[Hub]) -> None:
    """Set the class of hub for threads that have not asked for theirs yet."""
    from hub_core._hub import Hub

    if not (isinstance(hub_class, type) and issubclass(hub_class, Hub)):
        raise TypeError(f"set_default_hub_class takes a subclass of Hub, got {hub_class!r}")
    defaults.hub_class = hub_class


def forget(hub: object, loop: ILoopCore, destroyed: bool) -> None:
    """`hub` is destroyed.

    Drop it from this thread, and keep its loop for the next hub unless that is destroyed as well.
    """
    local = _storage()
    if local.hub is hub:
        local.set_hub(None)
    if not destroyed:
        local.loop = loop
    elif local.loop is loop:
        local.loop = None


def get_loop() -> ILoopCore | None:
    """Return the loop that a destroyed hub left to this thread, or None; also None once the next hub has taken it."""
    return _storage().loop


def take_loop(loop: ILoopCore) -> ILoopCore:
    """`loop` is a hub's from now on, and no other one's: if it is the one that was left to this thread, forget it."""
    local = _storage()
    if local.loop is loop:
        local.loop = None
    return loop


def set_loop(loop: ILoopCore | None) -> None:
    """Set the loop that the next hub of this thread uses."""
    _storage().loop = loop
