"""The thread pool: room for so many jobs at a time, and a thread for each.

Receives: functions from greenlets.  Gives: jobs, which hold what the functions returned or raised.

Room.  A pool has `maxsize` places.  A job takes one from `spawn` to its end, and there is a thread for each place
taken; so no job waits for another, except in `spawn`, where the greenlet parks until it is given a place.  Places are
given first come, first served: the end of a job hands its place to the greenlet that parked first.

Rule 1: everything here runs in the hub's thread.  What runs in a worker is in `_job`.
Rule 2: no thread exists before the first job; threads are daemons, so they do not keep a process from ending.
Rule 3: a place taken keeps the loop running (`loop.ref`), so that who waits for a job never sees LoopExit.
"""

from __future__ import annotations

import threading
from collections import deque
from queue import SimpleQueue

from hub_threadpool._job import Job, check_thread, wake, work

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, ParamSpec, TypeVar

    from hub_api import IHub, IWaiter

    P = ParamSpec("P")
    T = TypeVar("T")


class ThreadPool:
    """Runs blocking calls in other threads while the calling greenlets are parked: see `hub_api.IThreadPool`.

    Call from: greenlets of the hub's thread; elsewhere, a job included, InvalidThreadUseError.
    Raises TypeError or ValueError for a maxsize that is not a whole number above 0.
    """

    def __init__(self, maxsize: int = 10, *, hub: IHub) -> None:
        if not isinstance(maxsize, int) or isinstance(maxsize, bool):
            raise TypeError(f"maxsize must be a whole number, got {maxsize!r}")
        if maxsize < 1:
            raise ValueError(f"maxsize must be 1 or more, got {maxsize}: without a thread no job could ever run")
        check_thread(hub, "make a pool")
        # Kept because the number of a thread that has ended is given to the next one.
        self._owner = next((thread for thread in threading.enumerate() if thread.ident == hub.thread_ident), None)
        self._hub = hub
        self._loop = hub.loop
        self._maxsize = maxsize
        self._taken = 0
        self._killed = False
        self._jobs: SimpleQueue[Job[Any] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._parked: deque[_Candidate] = deque()  # greenlets in spawn
        self._joiners: list[IWaiter] = []

    @property
    def maxsize(self) -> int:
        """How many threads there may be."""
        return self._maxsize

    @property
    def size(self) -> int:
        """How many threads there are."""
        return sum(thread.is_alive() for thread in self._threads)

    def __len__(self) -> int:
        """How many jobs have not ended."""
        return self._taken

    def __bool__(self) -> bool:
        """True: a pool without jobs is still a pool."""
        return True

    def spawn(self, func: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Job[T]:
        """Start `func(*args, **kwargs)` in a thread and return its job.

        Switches: if all places are taken, until one is free.
        Raises TypeError if `func` is not callable, RuntimeError after `kill` or if the system refuses a thread.
        """
        check_thread(self._hub, f"spawn {func!r}")
        if not callable(func):
            raise TypeError(f"cannot run {func!r} in a thread: it must be callable")
        self._check_alive()
        self._take()
        try:
            if len(self._threads) < self._taken:
                self._start_thread()
            job = Job(self._hub, func, args, kwargs, self._give_back)
        except BaseException:
            self._give_back()
            raise
        self._jobs.put(job)
        return job

    def apply(
        self, func: Callable[..., T], args: tuple[Any, ...] | None = None, kwds: dict[str, Any] | None = None
    ) -> T:
        """Call `func(*args, **kwds)` in a thread, and return or raise what it did.

        Switches: always.  A greenlet that is killed meanwhile is free at once; the call runs to its end, and nobody is
        told.
        Raises also what `spawn` raises, and BlockingSwitchOutError in a callback.
        """
        return self.spawn(func, *(args or ()), **(kwds or {})).get()

    def join(self) -> None:
        """Wait until every job has ended.  Switches: if there are any."""
        check_thread(self._hub, "join the pool")
        if self._taken:
            waiter = self._hub.waiter()
            self._joiners.append(waiter)
            try:
                waiter.get()
            finally:
                if waiter in self._joiners:
                    self._joiners.remove(waiter)

    def kill(self) -> None:
        """Take no more jobs and let the threads end; those that run a job end after it.  Idempotent.  Switches: never.

        Greenlets parked in `spawn` get a RuntimeError; those that wait for a job still get its outcome.
        Call from: the hub's thread, or any thread once that one has ended, if `threading` knew it.
        """
        if self._owner is None or self._owner.is_alive():
            check_thread(self._hub, "kill the pool")
            while self._parked:
                self._parked.popleft().waiter.switch(None)  # they see that they were given no place
        self._killed = True
        self._dismiss()

    def _check_alive(self) -> None:
        if self._killed:
            raise RuntimeError(f"{self!r} was killed and takes no more jobs; make a new ThreadPool")

    def _take(self) -> None:
        """Take a place, or park until one is handed over."""
        if self._taken < self._maxsize:
            self._taken += 1
            self._loop.ref()
            return
        candidate = _Candidate(self._hub.waiter())
        self._parked.append(candidate)
        try:
            candidate.waiter.get()
            self._check_alive()
        except BaseException:
            if candidate.has_place:  # handed over, but its greenlet was killed before it could run
                self._give_back()
            elif candidate in self._parked:
                self._parked.remove(candidate)
            raise

    def _give_back(self) -> None:
        """A job has ended: hand its place to the greenlet that parked first, if there is one."""
        if self._parked:
            candidate = self._parked.popleft()
            candidate.has_place = True
            candidate.waiter.switch(None)
            return
        self._taken -= 1
        self._loop.unref()
        if not self._taken:
            joiners, self._joiners = self._joiners, []
            wake(self._hub, self._loop, joiners)

    def _start_thread(self) -> None:
        name = f"{self._hub.name or 'hub'}-worker-{len(self._threads) + 1}"
        thread = threading.Thread(target=work, args=(self._jobs,), name=name, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _dismiss(self) -> None:
        for _ in self._threads:
            self._jobs.put(None)

    def __del__(self) -> None:
        # Dropped without kill(): idle workers would wait in the queue for ever.
        if getattr(self, "_threads", None):
            self._dismiss()

    def __repr__(self) -> str:
        state = " killed" if self._killed else ""
        return (
            f"<ThreadPool at {id(self):#x}{state} jobs={self._taken} parked={len(self._parked)} "
            f"size={self.size} maxsize={self._maxsize}>"
        )


class _Candidate:
    """A greenlet parked in `spawn`, and whether it was handed a place."""

    __slots__ = ("has_place", "waiter")

    def __init__(self, waiter: IWaiter) -> None:
        self.waiter = waiter
        self.has_place = False
