"""One function over many arguments: `map` and its relatives, for pools and lanes.

Receives: a function and iterables.  Gives: a list, a job of one (`MapJob`), or results one by one (`_results`).

Two ways.  `map` and `map_async` know all arguments before they begin.  They hand the lane a few jobs, and each of these
makes one call after the other, from a line that all of them share; so a call costs no job, no switch of threads and no
wake-up.  The line is as fair as jobs are: while others wait for a place, such a job gives its own back after `SLICE`
seconds, and stands behind them.  `imap` and `imap_unordered` make one job of each call, as their results are wanted.

Rule 1: iterables are read in the greenlet that asks, never in a worker: so they may park, and raise to who gave them.
Rule 2: after an error, or if nobody wants the results, no call begins.  `map` waits for those under way unless killed.
Rule 3: an interrupt may come between any two steps, and a link that was called is then called again: so all links here
may be.
Rule 4: each call has a copy of the caller's context to itself, whichever job makes it.
"""

from __future__ import annotations

from _thread import get_ident
from collections import deque
from contextvars import copy_context
from time import perf_counter
from typing import Any, TypeVar

from hub_api import JobCancelledError, WorkerLostError
from hub_threadpool import _worker
from hub_threadpool._job import Job
from hub_threadpool._results import Results

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextvars import Context
    from types import TracebackType

    from hub_threadpool._lanes import Lane
    from hub_threadpool._ledger import Ledger

T = TypeVar("T")

SLICE = 0.005
"""Seconds after which a job of a `map` makes room, if others wait for a place: CPython's own switch interval."""


class Maps:
    """The part of a lane, and so of a pool, that calls one function with many arguments, or tells a callback."""

    if TYPE_CHECKING:
        _ledger: Ledger
        _thread: int

    __slots__ = ()

    def _at(self, lane: str | None) -> Lane:
        """The lane that `lane` names."""
        raise NotImplementedError

    def apply_async(
        self,
        func: Callable[..., T],
        args: tuple[Any, ...] | None = None,
        kwds: dict[str, Any] | None = None,
        callback: Callable[[T], object] | None = None,
        *,
        lane: str | None = None,
    ) -> Job[T]:
        """Start `func(*args, **kwds)` in a thread, as soon as there is a place, and return its job.

        `callback(value)` is called in the hub's thread when the call has returned; what it raises goes to
        `hub.handle_error`.  Nothing bounds how many jobs wait for a place: `spawn` does.
        Call from: the hub's thread, callbacks included.  Switches: never.
        Raises TypeError if `func` or `callback` is not callable, PoolKilledError after `kill`.
        """
        if callback is not None and not callable(callback):
            raise TypeError(f"cannot tell {callback!r}: it must be callable, or None")
        job = self._at(lane).submit(func, *(args or ()), **(kwds or {}))
        if callback is not None:
            job.rawlink(_Telling(callback))
        return job

    def map(self, func: Callable[..., T], *iterables: Iterable[Any], lane: str | None = None) -> list[T]:
        """Call `func` with the arguments that the iterables give together, in threads; the list of what it returned.

        If calls raise, no more are begun, and when those under way have ended, the exception of the first one in the
        order of the arguments is raised.  What an iterable raises comes before any call.
        A greenlet that is killed or timed out meanwhile is free at once; calls that run go on to their end.
        In a job of the same pool the calls are made one after the other, where it is.
        Switches: if there is a call to make, but in a job.  Raises otherwise as `map_async`.
        """
        if get_ident() != self._thread and getattr(_worker.here, "outbox", None) is self._ledger.outbox:
            _check(func, iterables)
            return [func(*args) for args in zip(*iterables, strict=False)]
        job = self.map_async(func, *iterables, lane=lane)
        try:
            return job.get()
        except BaseException:
            job.cancel()
            raise

    def map_async(
        self,
        func: Callable[..., T],
        *iterables: Iterable[Any],
        callback: Callable[[list[T]], object] | None = None,
        lane: str | None = None,
    ) -> MapJob[T]:
        """Begin what `map` does, and return a job whose value is the list.

        The iterables are read to their end first, by the caller.  `callback(list)` is called in the hub's thread when
        all calls have returned.
        Call from: the hub's thread.  Switches: never, unless an iterable does.
        Raises TypeError if `func` is not callable or there is no iterable, PoolKilledError after `kill`.
        """
        _check(func, iterables)
        if callback is not None and not callable(callback):
            raise TypeError(f"cannot tell {callback!r}: it must be callable, or None")
        at = self._at(lane)
        at._enter(f"map {func!r}")
        job = MapJob(at, func, list(zip(*iterables, strict=False)), copy_context())
        if callback is not None:
            job.rawlink(_Telling(callback))
        return job

    def imap(
        self, func: Callable[..., T], *iterables: Iterable[Any], maxsize: int | None = None, lane: str | None = None
    ) -> Results[T]:
        """The same as `map`, one result after the other, in the order of the arguments: an iterator.

        Calls are made as results are wanted, the first at the first `next`; at most `maxsize` (else twice the places)
        are ahead of those taken.  What a call or an iterable raises comes in its place.
        Call from: the hub's thread.  Switches: never here, see `Results`.
        Raises TypeError or ValueError for a function that is none, no iterables, or a maxsize that is not above 0.
        """
        return self._results(func, iterables, maxsize, lane, ordered=True)

    def imap_unordered(
        self, func: Callable[..., T], *iterables: Iterable[Any], maxsize: int | None = None, lane: str | None = None
    ) -> Results[T]:
        """The same as `imap`, but each result as soon as there is one, in the order in which the calls end."""
        return self._results(func, iterables, maxsize, lane, ordered=False)

    def _results(
        self,
        func: Callable[..., T],
        iterables: tuple[Iterable[Any], ...],
        maxsize: int | None,
        lane: str | None,
        ordered: bool,
    ) -> Results[T]:
        _check(func, iterables)
        at = self._at(lane)
        at._enter(f"map {func!r}")
        if maxsize is not None and (not isinstance(maxsize, int) or isinstance(maxsize, bool)):
            raise TypeError(f"maxsize must be a whole number or None, got {maxsize!r}")
        if maxsize is not None and maxsize < 1:
            raise ValueError(f"maxsize must be 1 or more, got {maxsize}: without a call ahead there is no result")
        return Results(at, func, zip(*iterables, strict=False), maxsize, ordered)


class _Telling:
    """The link that hands the value of a job to a callback, if it has one."""

    __slots__ = ("_callback",)

    def __init__(self, callback: Callable[[Any], object]) -> None:
        self._callback = callback

    def __call__(self, job: Job[Any]) -> None:
        if job.successful():
            self._callback(job.value)


def _check(func: object, iterables: tuple[object, ...]) -> None:
    if not callable(func):
        raise TypeError(f"cannot run {func!r} in a thread: it must be callable")
    if not iterables:
        raise TypeError(f"cannot map {func!r}: it takes at least one iterable of arguments")


class MapJob(Job[list[T]]):
    """What `map_async` returns: one job for the outside, which ends when all its calls have."""

    __slots__ = ("_context", "_errors", "_func", "_halted", "_line", "_pullers", "_results", "_stopped")

    def __init__(self, lane: Lane, func: Callable[..., T], arguments: list[tuple[Any, ...]], context: Context) -> None:
        whole: Any = func  # for its name: no worker will ever make the call as a whole
        super().__init__(lane, whole, (), {}, context, None)
        self._take()
        self._func = func
        self._context = context
        self._line = deque(enumerate(arguments))
        self._results: list[Any] = [None] * len(arguments)
        self._errors: list[tuple[int, BaseException, TracebackType | None]] = []
        self._pullers: dict[Job[None], None] = {}
        self._stopped = self._halted = False
        lane._maps.add(self)
        try:
            self._man()
        except BaseException:
            self.cancel()
            raise
        if not self._pullers:
            self._conclude()

    def cancel(self) -> bool:
        """End it with JobCancelledError, if it has not ended; returns whether it was ended by this.

        Calls that no worker has begun are not made; those that have begun run to their end.  Switches: never.
        """
        self._lane._enter(f"cancel {self!r}", even_if_killed=True)
        if self._state is not None:
            return False
        self._error = JobCancelledError(f"{self!r} was cancelled before all of its calls had ended")
        self._state = "cancelled"
        self._stop()
        self._tell()
        return True

    def _man(self) -> None:
        """Have as many jobs at the line as there are places, or calls."""
        while len(self._pullers) < min(self._lane.maxsize, len(self._pullers) + len(self._line)):
            puller = self._lane.submit(self._pull, self._lane._crew)
            puller.rawlink(self._pulled)  # first: what is in the list and tells nobody would be waited for for ever
            self._pullers[puller] = None

    def _stop(self) -> None:
        self._stopped = True
        if self._halted:
            return  # each that is cancelled below tells us, and comes here
        self._halted = True
        self._line.clear()
        for puller in list(self._pullers):
            puller.cancel()

    def _pull(self, crew: Any) -> None:
        """Make calls.  Call from: a worker."""
        line, results, func, context = self._line, self._results, self._func, self._context
        deadline = perf_counter() + SLICE
        while not (self._stopped or crew.closed):
            try:
                index, args = line.popleft()
            except IndexError:
                return
            try:
                results[index] = context.copy().run(func, *args)
            except BaseException as error:
                self._stopped = True
                found = error.__traceback__
                self._errors.append((index, error, found.tb_next if found is not None else None))
                return
            if (crew.queue or crew.dismissals) and perf_counter() >= deadline:
                return

    def _widen(self) -> None:
        """The lane has more places.  Call from: the hub's thread."""
        if self._stopped or self._state is not None:
            return
        try:
            self._man()
        except BaseException as error:
            self._give_up(error)

    def _pulled(self, puller: Job[None]) -> None:
        """One of our jobs has ended.  Call from: the hub's thread; may be called again."""
        self._pullers.pop(puller, None)
        error = puller.exception
        try:
            if error is not None and not (self._stopped and isinstance(error, JobCancelledError)):
                self._fail(error)  # it was killed, lost or forked
            if self._stopped or self._state is not None:
                self._stop()
            else:
                self._man()
        except BaseException as error:
            self._give_up(error)
        finally:
            if not self._pullers:
                self._conclude()

    def _give_up(self, error: BaseException) -> None:
        """No job could be had for calls that are left: the system has no thread, or an interrupt came.

        Then a job may make calls that we do not know of, so we cannot go on.  The interrupt itself goes its own way.
        """
        if isinstance(error, Exception):
            self._fail(error)
            self._stop()
            return
        lost = WorkerLostError(
            f"{self!r} was interrupted as it looked for workers, and which calls were made is not known"
        )
        lost.__cause__ = error
        self._fail(lost)
        self._stop()
        raise error

    def _fail(self, error: BaseException) -> None:
        self._stopped = True
        self._errors.append((len(self._results), error, error.__traceback__))

    def _conclude(self) -> None:
        if self._state is not None:
            pass  # cancelled; or interrupted below, and not everybody has been told
        elif self._errors:
            _, self._error, self._traceback = min(self._errors, key=lambda entry: entry[0])
            self._state = "raised"
        else:
            self._value = self._results
            self._state = "done"
        self._tell()
