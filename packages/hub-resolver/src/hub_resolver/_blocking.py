"""The resolver that blocks: the `socket` module's own functions, called where they stand.

Receives: questions from greenlets.  Gives: the C library's answers and errors, unchanged; with a TTL those from before.
Rule: nothing here waits for a hub; the whole thread, with all its greenlets and timers, stands still during a lookup.
"""

from __future__ import annotations

from _thread import get_ident
from typing import Any

from hub_resolver import _steps
from hub_resolver._cache import SIZE, Cache, CacheInfo
from hub_resolver._calls import Call, Called, check_ttl, from_cache
from hub_resolver._library import LibraryResolver

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from hub_api import IHub

    T = TypeVar("T")


class BlockingResolver(LibraryResolver):
    """Looks names up in the calling thread and so stops the loop meanwhile: see `hub_api.IResolver`.

    For scripts, for tests, and where the C library answers from memory.  A timeout around a lookup cannot fire.
    `ttl`: seconds for which an answer, a "no" too, is kept for the hub's thread; None: nothing is kept.  `cache`: how
    many answers.  `stale`: seconds after that for which an answer is still better than an error.
    Call from: any thread.  Switches: never.  `hub` is taken as by every resolver, and needed with `ttl` only.
    Raises TypeError for a `ttl` without a hub: its loop has the clock.
    """

    def __init__(
        self, hub: IHub | None = None, *, ttl: float | None = None, cache: int = SIZE, stale: float = 0.0
    ) -> None:
        check_ttl(ttl)
        self._ttl = ttl
        self._cache: Cache[Call, Called] | None = None
        if ttl is not None:
            if hub is None:
                raise TypeError(
                    "BlockingResolver keeps answers by the clock of a hub's loop: give it the hub, or no ttl"
                )
            self._cache = Cache(hub.loop, cache, stale)
            self._thread = hub.thread_ident

    def cache_clear(self) -> None:
        """Forget all answers.  Call from: the hub's thread.  Switches: never."""
        if self._cache is not None:
            self._cache.clear()

    def cache_info(self) -> CacheInfo:
        """What the cache has done and holds.  Call from: any thread.  Switches: never."""
        return CacheInfo(0, 0, 0, 0, 0) if self._cache is None else self._cache.info()

    def close(self) -> None:
        """Forget what is kept; there is nothing else."""
        self.cache_clear()

    def _call(self, function: Callable[..., T], *args: Any) -> T:
        if self._cache is None or get_ident() != self._thread:
            return _steps.timed(function)(*args)
        result: T = from_cache(self._cache, self._ttl, Call(function, args), lambda function, args: function(*args))
        return result

    def __repr__(self) -> str:
        return f"<{type(self).__name__} at {id(self):#x}>"
