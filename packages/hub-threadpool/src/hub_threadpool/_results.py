"""Results one by one: the iterators of `imap` and `imap_unordered`.

Receives: a function and an iterator over its arguments, from `_mapping`.  Gives: results, as they are wanted.

Each call is a job; at most a bounded number of them is ahead of who takes the results.

Rule 1: iterables are read in the greenlet that asks, never in a worker: so they may park, and raise to who gave them.
Rule 2: an iterable is read by one greenlet at a time; others that come meanwhile take what is there, or park.
Rule 3: an interrupt may come between any two steps, and a link that was called is then called again: so all links here
may be, and who is told is told first and forgotten afterwards.
"""

from __future__ import annotations

from _thread import get_ident
from collections import OrderedDict, deque
from typing import Any, Generic, TypeVar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from hub_api import IWaiter
    from hub_threadpool._job import Job
    from hub_threadpool._lanes import Lane

T = TypeVar("T")


class Results(Generic[T]):
    """What `imap` and `imap_unordered` return: an iterator over results, which has calls made as they are wanted.

    `next` raises what a call has raised, and can be called again for the results that follow.
    Call from: a greenlet of the pool's hub.  Switches: `next`, if there is no result yet.
    """

    def __init__(
        self, lane: Lane, func: Callable[..., T], arguments: Iterator[tuple[Any, ...]], ahead: int | None, ordered: bool
    ) -> None:
        self._lane = lane
        self._func = func
        self._arguments: Iterator[tuple[Any, ...]] | None = arguments
        self._ahead = ahead
        self._ordered = ordered
        self._closed = False
        self._stop: BaseException | None = None
        self._jobs: dict[Job[T], None] = {}
        """Not taken yet, in the order of their arguments."""
        self._shelf: _Shelf[T] = _Shelf(self._jobs)
        self._reading = False
        self._in_line: deque[IWaiter] = deque()
        """Who waits for another greenlet to have read arguments."""

    def __iter__(self) -> Results[T]:
        return self

    def __next__(self) -> T:
        self._lane._enter(f"take a result of {self!r}", even_if_killed=True)
        try:
            job = self._take()
        except BaseException:  # killed or interrupted, perhaps just before it told the others: they shall look again
            _wake_all(self._in_line)
            self._shelf.release()
            raise
        if job is None:
            stop, self._stop = self._stop, None
            raise StopIteration if stop is None else stop
        try:
            return job.get()
        except StopIteration as error:
            raise RuntimeError(f"{job!r} raised StopIteration, which would end the iteration here") from error

    def _take(self) -> Job[T] | None:
        """The next job, ended, which is nobody else's from now on; None if there will be none."""
        while True:
            self._read_on()
            job = self._next_in_order() if self._ordered else self._next_to_end()
            if job is not None or not self._reading:
                return job
            self._await_reader()

    def close(self) -> None:
        """Read no more arguments, and cancel the calls that have not begun.  Idempotent.  Switches: never.

        The collector does the same to an iterator that is dropped.  Call from: any thread.
        """
        self._closed = True
        self._arguments = None
        jobs, self._jobs = self._jobs, {}
        shelf, self._shelf = self._shelf, _Shelf(self._jobs)
        if get_ident() == self._lane._thread:
            _cancel(jobs)
            shelf.release()
        elif jobs:
            try:
                self._lane._loop.run_callback_threadsafe(_cancel, jobs)
            except ValueError:
                pass  # the loop is destroyed, and its pool with it

    def __del__(self) -> None:
        if getattr(self, "_jobs", None):
            self.close()

    def _read_on(self) -> None:
        """Make a job of the next arguments; and of more, while there is no result to give.

        So one who reads arguments slowly does not hold back results that are there.
        """
        if self._reading:
            return
        self._reading = True
        try:
            ahead = self._ahead or 2 * self._lane.maxsize
            while self._arguments is not None and len(self._jobs) < ahead:
                if not self._read_one() or self._has_result():
                    return
        finally:
            self._reading = False
            _wake_all(self._in_line)

    def _read_one(self) -> bool:
        """Make a job of the next arguments; False if there are none, or nobody wants them any more."""
        assert self._arguments is not None
        try:
            arguments = next(self._arguments)
            if self._closed:
                return False  # meanwhile
            job = self._lane.submit(self._func, *arguments)
        except StopIteration:
            self._arguments = None
            return False
        except Exception as error:  # it comes after the results of what was read before; a kill comes at once
            self._arguments = None
            self._stop = error
            return False
        if not self._ordered:
            job.rawlink(self._shelf.put)  # first: what is listed and tells nobody would be waited for for ever
        self._jobs[job] = None
        _wake_all(self._in_line)  # they may take what is there while the next arguments are awaited
        return True

    def _await_reader(self) -> None:
        """Park until there is one job more, or the greenlet that reads arguments has stopped."""
        waiter = self._lane._hub.waiter()
        waiter.reason = self
        self._in_line.append(waiter)
        try:
            waiter.get()
        finally:
            if waiter in self._in_line:
                self._in_line.remove(waiter)

    def _has_result(self) -> bool:
        if not self._ordered:
            return bool(self._shelf.jobs)
        return next(iter(self._jobs)).ready()

    def _next_in_order(self) -> Job[T] | None:
        if not self._jobs:
            return None
        job = next(iter(self._jobs))
        del self._jobs[job]
        if not job.ready():
            try:
                self._lane._wait_for(job, None)
            except BaseException:
                if self._closed:
                    job.cancel()
                else:
                    self._jobs = {job: None} | self._jobs  # whoever asks next gets it
                raise
        return job

    def _next_to_end(self) -> Job[T] | None:
        while not self._shelf.jobs:
            if not self._jobs:
                return None
            shelf, waiter = self._shelf, self._lane._hub.waiter()
            waiter.reason = self
            shelf.waiters.append(waiter)
            try:
                waiter.get()
                if waiter in shelf.waiters:
                    shelf.waiters.remove(waiter)  # who told us was interrupted
            except BaseException:
                if waiter in shelf.waiters:
                    shelf.waiters.remove(waiter)
                else:  # it was told of a result that it does not take any more
                    shelf.tell()
                raise
            if not self._shelf.jobs:
                self._read_on()  # somebody else took what we waited for
        job = next(iter(self._shelf.jobs))
        self._jobs.pop(job, None)  # first: what stands on the shelf alone is taken by whoever asks next
        self._shelf.jobs.pop(job, None)
        if not self._jobs:
            self._shelf.release()
        return job

    def __repr__(self) -> str:
        name = getattr(self._func, "__qualname__", None) or repr(self._func)
        state = "closed" if self._arguments is None and not self._jobs else f"{len(self._jobs)} not taken"
        return f"<Results at {id(self):#x} of {name}, {state}>"


class _Shelf(Generic[T]):
    """Jobs that have ended and are not taken yet: what jobs link to, so that `Results` that are dropped are freed."""

    __slots__ = ("_wanted", "jobs", "waiters")

    def __init__(self, wanted: dict[Job[T], None]) -> None:
        self._wanted = wanted
        """Jobs that nobody has taken: their owner's."""
        self.jobs: OrderedDict[Job[T], None] = OrderedDict()
        self.waiters: deque[IWaiter] = deque()

    def put(self, job: Job[T]) -> None:
        """A job has ended.  May be called again."""
        if job in self._wanted:
            self.jobs[job] = None
        self.tell()

    def tell(self) -> None:
        """Wake one who waits, if there is something to take."""
        if self.jobs and self.waiters:
            waiter = self.waiters[0]
            waiter.switch(None)
            del self.waiters[0]

    def release(self) -> None:
        """Wake all who wait: no job is under way that could."""
        _wake_all(self.waiters)


def _wake_all(waiters: deque[IWaiter]) -> None:
    while waiters:
        waiter = waiters[0]
        waiter.switch(None)
        del waiters[0]


def _cancel(jobs: Iterable[Job[Any]]) -> None:
    for job in jobs:
        job.cancel()
