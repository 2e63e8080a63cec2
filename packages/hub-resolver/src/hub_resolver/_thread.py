"""The resolver that asks in a thread: the `socket` module's own functions, called by a worker of the hub's pool.

Receives: questions from greenlets.  Gives: the C library's answers and errors, unchanged, while the loop goes on.

Rule 1: the pool is the hub's, read at each lookup; whoever assigns another pool to the hub has lookups go there.
Rule 2: in a pool with lanes (`hub_api.ILanes`) lookups have a lane of their own, so no job of another kind delays them,
and equal ones are joined.  One without lanes is used as it is: each lookup is a call of its `apply`.
"""

from __future__ import annotations

import socket
from _thread import get_ident
from typing import Any

from hub_resolver import _steps
from hub_resolver._answers import AGAIN, DEADLINE
from hub_resolver._asking import Asking, in_time
from hub_resolver._cache import SIZE
from hub_resolver._calls import LANE, Call, CallAsker, Called, check_ttl, from_cache
from hub_resolver._errors import TRY_AGAIN, gaierror, herror
from hub_resolver._library import LibraryResolver

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from hub_api import IHub, ILane, IThreadPool

    T = TypeVar("T")


class ThreadResolver(LibraryResolver, Asking[Call, Called]):
    """Looks names up in the lane "dns" of `hub.threadpool`: see `hub_api.IResolver`.

    `threads`: how many lookups the C library makes at once, the rest wait; None: as many as the pool has threads, or as
    `hub.threadpool.lane("dns", n)` says.  `ttl`: seconds for which an answer, a "no" too, is kept; None: nothing is
    kept, for the C library does not say how long an answer holds.  `cache`: how many answers are kept.  `stale`:
    seconds after that for which an answer is still better than an error.  `deadline`: seconds that a lookup may take.
    Call from: greenlets of the hub, and jobs of its pool; elsewhere InvalidThreadUseError.  Switches: always.
    """

    def __init__(
        self,
        hub: IHub,
        *,
        threads: int | None = None,
        ttl: float | None = None,
        cache: int = SIZE,
        stale: float = 0.0,
        deadline: float | None = None,
    ) -> None:
        check_ttl(ttl)
        if threads is not None and (not isinstance(threads, int) or isinstance(threads, bool) or threads < 1):
            raise ValueError(f"threads must be a whole number above 0, or None, got {threads!r}")
        self._calls = asker = CallAsker(hub, self._lane, ttl)
        super().__init__(hub, asker, cache=cache if ttl is not None else 0, stale=stale, deadline=deadline)
        self._threads = threads
        self._ttl = ttl
        self._pool: IThreadPool | None = None
        self._dns: ILane | None = None

    # -- where the call is made ---------------------------------------------------------------------------------------

    def _call(self, function: Callable[..., T], *args: Any) -> T:
        pool = self._hub.threadpool
        result: T
        if not hasattr(pool, "lane"):
            result = self._in_the_pool(pool, Call(function, args))
        elif get_ident() != self._hub.thread_ident:
            # A job of the pool makes the call itself; others are refused
            result = pool.apply(_steps.timed(function), args)
        else:
            result = self._in_the_lane(Call(function, args))
        return result

    @in_time
    def _in_the_lane(self, call: Call) -> Any:
        (reply,) = self._ask([call])
        try:
            return reply.outcome()
        finally:
            del reply  # as in `Called.outcome`

    def _in_the_pool(self, pool: IThreadPool, call: Call) -> Any:
        if self.deadline is not None:
            raise TypeError(
                f"{self!r} cannot keep a deadline in {pool!r}, which has no lanes: use one that has (hub_api.ILanes), "
                "or no deadline"
            )
        ours = get_ident() == self._hub.thread_ident  # the cache is that thread's, and not that of a job
        return from_cache(self._cache, self._ttl if ours else None, call, pool.apply)

    def _lane(self) -> ILane:
        pool: Any = self._hub.threadpool
        if self._dns is None or self._pool is not pool:
            self._dns, self._pool = pool.lane(LANE, self._threads), pool
        return self._dns

    def _settle(self) -> None:
        self._calls.settle()

    def _late(self, question: Call) -> Called:
        error = herror(TRY_AGAIN) if question.function is socket.gethostbyaddr else gaierror(socket.EAI_AGAIN)
        return Called(question, AGAIN, error=error, via=DEADLINE)
