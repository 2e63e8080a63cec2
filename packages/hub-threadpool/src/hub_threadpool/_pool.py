"""The thread pool: the lane for whatever names none, and the door to the others.

Receives: functions from greenlets.  Gives: jobs and lanes, and their common end.

How many threads there can be: `maxsize`, and the `maxsize` of each lane that was asked for.

Rule 1: `len`, `size`, `join` and `kill` of the pool are about all its lanes; `maxsize`, `spawn` and `counters` are
about its own places.
Rule 2: no thread exists before the first job; threads are daemons, and what they keep the end of a process waiting is
in `_exit`.
"""

from __future__ import annotations

from _thread import get_ident

from hub_threadpool._lanes import Lane
from hub_threadpool._ledger import Ledger

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any, Self, TypeVar

    from hub_api import IHub

    T = TypeVar("T")

IDLE_TASK_TIMEOUT = 5.0
"""Seconds after which a thread without a job leaves."""


class ThreadPool(Lane):
    """Runs blocking calls in other threads while the calling greenlets are parked: see `hub_api.IThreadPool`.

    `idle_task_timeout`: seconds after which a thread without a job leaves; None: never.  `name`: for the names of
    threads, `{name}-worker-{number}`; without it the hub's, or "hub".
    In a `with` block: the end waits for the jobs and kills the pool; an exception kills it at once.
    Call from: greenlets of the hub's thread; elsewhere InvalidThreadUseError, but `apply` also works in its own jobs,
    and `len`, `size` and `counters` can be read from any thread.
    Raises TypeError or ValueError for a maxsize that is not a whole number above 0, or a timeout that is no time.
    """

    def __init__(
        self,
        maxsize: int = 10,
        *,
        hub: IHub,
        idle_task_timeout: float | None = IDLE_TASK_TIMEOUT,
        name: str | None = None,
    ) -> None:
        if idle_task_timeout is not None and not idle_task_timeout >= 0:
            raise ValueError(f"idle_task_timeout must be seconds, or None for ever, got {idle_task_timeout!r}")
        self._lanes: dict[str, Lane] = {}
        name = name if name is not None else hub.name or "hub"
        super().__init__(Ledger(hub, name), name, maxsize, idle_task_timeout)
        if get_ident() != self._thread:
            self._refuse("make a pool")

    @property
    def idle_task_timeout(self) -> float | None:
        """Seconds after which a thread without a job leaves; None: never."""
        return self._idle_timeout

    # -- lanes ------------------------------------------------------------------------------------------------------

    def lane(self, name: str, maxsize: int | None = None) -> Lane:
        """The lane of that name, made when first asked for.

        `maxsize`: its places, which come on top of the pool's; None leaves those it has, and gives a new one as many as
        the pool has.
        Switches: never.  Raises TypeError or ValueError as `maxsize` does, PoolKilledError after `kill`.
        """
        self._enter(f"get the lane {name!r}")
        found = self._lanes.get(name)
        if found is None:
            places = self._maxsize if maxsize is None else maxsize
            found = Lane(self._ledger, f"{self.name}-{name}", places, self._idle_timeout)
            self._lanes[name] = found
        elif maxsize is not None:
            found.maxsize = maxsize
        return found

    @property
    def lanes(self) -> dict[str, Lane]:
        """The lanes by name, without the pool's own places."""
        return dict(self._lanes)

    def apply(
        self,
        func: Callable[..., T],
        args: tuple[Any, ...] | None = None,
        kwds: dict[str, Any] | None = None,
        *,
        lane: str | None = None,
    ) -> T:
        """Call `func(*args, **kwds)` in a thread, of the lane if one is named: see `Lane.apply`."""
        if lane is None:
            return super().apply(func, args, kwds)
        found = self._lanes.get(lane)
        if found is None:  # in a job the call is made where it is, or refused, whatever the lane
            found = self.lane(lane) if get_ident() == self._thread else self
        return Lane.apply(found, func, args, kwds)

    def _at(self, lane: str | None) -> Lane:
        return self if lane is None else self.lane(lane)

    # -- the whole ----------------------------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """How many threads there are, those of all lanes."""
        return sum(len(lane._crew.workers) for lane in self._all())

    def __len__(self) -> int:
        """How many jobs have not ended, those of all lanes."""
        return sum(len(lane._jobs) for lane in self._all())

    def _all(self) -> list[Lane]:
        return [self, *self._lanes.values()]

    def join(self, timeout: float | None = None) -> bool:
        """Wait until every job of every lane has ended: True.  Or for `timeout` seconds: False.

        Switches: if there are any.
        """
        return self._join(self._ledger.tables, timeout)

    def kill(self) -> None:
        """Take no more jobs, and let the threads leave; final and idempotent.  Switches: never.

        Jobs that no worker has taken end with PoolKilledError, and with it greenlets in `spawn`.  A job that runs
        cannot be stopped: it runs to its end, who waits for it gets its outcome, and `join` waits for it.
        Call from: the hub's thread, or any thread once that one has ended, if `threading` knew it.
        """
        owner = self._ledger.owner
        here = owner is None or owner.is_alive()
        if here:
            self._enter("kill it", even_if_killed=True)
        self._ledger.killed = True
        for lane in self._all():
            lane._close_down(tell=here)

    def __enter__(self) -> Self:
        self._enter("enter it")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.join()
        finally:
            self.kill()
