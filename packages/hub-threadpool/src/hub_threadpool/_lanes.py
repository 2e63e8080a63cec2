"""Lanes: named shares of a pool.  The pool is one itself, for what names none.

Receives: functions from greenlets.  Gives: jobs, which a crew of workers runs.

Places.  A lane has `maxsize` places, and at most as many workers.  A job that finds no place free waits in the lane's
queue, first in, first out; with it waits its greenlet, in `spawn` until the job has a place, in `apply` until it has
ended.  `spawn_nowait` refuses such a job, and `submit` lets it wait alone: nothing bounds how many.

Rule 1: everything here runs in the hub's thread, but for what says otherwise.  The thread side is in `_worker`.
Rule 2: a job stands in its lane's table from the call that makes it until it has ended; while one stands in any table
of the pool, the pool keeps the loop running (`loop.ref`), so that who waits for it never sees LoopExit.
Rule 3: each step leaves the table such that the next one can be taken again.  An interrupt may come between any two.
Rule 4: what a lane shares with its workers (`_crew`, and the pool's outbox) is of this process.  In a forked child it
is thrown away, and the jobs of the parent end (`_after_fork`): by a hook (`_forks`); or at the first use, in hooks that
run before ours and after forks that Python is not told of.
"""

from __future__ import annotations

from _thread import get_ident
from collections import deque
from contextvars import copy_context
from os import getpid
from weakref import WeakSet, ref

from hub_api import ForkedError, PoolFullError, PoolKilledError, WorkerLostError
from hub_threadpool import _forks, _worker
from hub_threadpool._job import Job
from hub_threadpool._ledger import LaneCounters
from hub_threadpool._mapping import MapJob, Maps
from hub_threadpool._outbox import Event, Outbox
from hub_threadpool._worker import Crew

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn, ParamSpec, TypeVar

    from hub_api import IWaiter
    from hub_threadpool._ledger import Ledger, Table

    P = ParamSpec("P")
    T = TypeVar("T")


class Lane(Maps):
    """Places of a pool under a name of their own, so that what waits elsewhere in the pool delays nobody here.

    Made by `ThreadPool.lane`.  Call from: greenlets of the hub's thread; `apply` also from a job of the same pool;
    `counters`, `size` and `len` from any thread.  Elsewhere InvalidThreadUseError.
    """

    def __init__(self, ledger: Ledger, name: str, maxsize: int, idle_task_timeout: float | None) -> None:
        self._maxsize = check_maxsize(maxsize)
        self._ledger = ledger
        self._hub, self._loop, self._thread = ledger.hub, ledger.loop, ledger.thread
        self.name: str = name
        """The pool's, with what the lane was asked for by behind it; its workers' threads are called after it."""
        self.counters: LaneCounters = LaneCounters()
        """How many jobs it has had, and how long they waited and ran.  From any thread."""
        self._idle_timeout = idle_task_timeout
        self._jobs: Table = {}
        self._maps: WeakSet[MapJob[Any]] = WeakSet()
        self._corpses = 0
        self._withdrawn: dict[Job[Any], tuple[str, BaseException]] = {}
        self._bereaved: deque[Job[Any]] = deque()
        self._crew = self._make_crew()
        _forks.watch(self, type(self._loop))
        ledger.tables.append(self._jobs)

    def _make_crew(self) -> Crew:
        return Crew(ref(self), self.name, self._maxsize, self._idle_timeout, self._ledger.outbox)

    # -- sizes ------------------------------------------------------------------------------------------------------

    @property
    def maxsize(self) -> int:
        """How many threads there may be; assignable.

        More: jobs that wait start at once.  Fewer: threads leave as they become idle, and no job is disturbed.
        Raises TypeError or ValueError for what is not a whole number above 0.
        """
        return self._maxsize

    @maxsize.setter
    def maxsize(self, maxsize: int) -> None:
        check_maxsize(maxsize)
        self._enter("change maxsize")
        grows, self._maxsize = maxsize > self._crew.maxsize, maxsize
        try:
            self._crew.resize(maxsize)
            if grows:
                self._start_waiting()
                for job in list(self._maps):
                    job._widen()
        except BaseException as error:
            self._look_after(error)
            raise

    @property
    def size(self) -> int:
        """How many threads there are."""
        return len(self._crew.workers)

    def __len__(self) -> int:
        """How many jobs have not ended."""
        return len(self._jobs)

    def __bool__(self) -> bool:
        """True: one without jobs is still one."""
        return True

    # -- jobs -------------------------------------------------------------------------------------------------------

    def spawn(self, func: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Job[T]:
        """Start `func(*args, **kwargs)` in a thread and return its job.

        A greenlet that is killed while it waits for a place takes its job along, unless that has started meanwhile.
        Switches: if all places are taken, until the job has one.
        Raises TypeError if `func` is not callable, PoolKilledError after `kill` or if that comes while it waits (in the
        child of a fork: ForkedError), BlockingSwitchOutError in a callback if all places are taken, RuntimeError if the
        system refuses a thread and there is no worker yet.
        """
        if len(self._jobs) < self._maxsize:
            return self._submit(func, args, kwargs)
        starter = self._hub.waiter()
        job = self._submit(func, args, kwargs, starter)
        starter.reason = job
        try:
            starter.get()
        except BaseException:
            job.cancel()
            raise
        finally:
            job._start_waiter = None
        if job._state in ("killed", "forked") and job._error is not None:  # it never got a place
            raise job._error
        return job

    def spawn_nowait(self, func: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Job[T]:
        """The same as `spawn`, but raises PoolFullError where that would wait.  Switches: never."""
        self._enter(f"spawn {func!r}")
        if len(self._jobs) >= self._maxsize:
            raise PoolFullError(
                f"{self!r} has no place for {func!r}: wait with spawn(), let it wait with submit(), or raise maxsize"
            )
        return self._submit(func, args, kwargs)

    def submit(self, func: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Job[T]:
        """The same as `spawn`, but the job waits for its place alone; nothing bounds how many do.  Switches: never."""
        return self._submit(func, args, kwargs)

    def apply(
        self, func: Callable[..., T], args: tuple[Any, ...] | None = None, kwds: dict[str, Any] | None = None
    ) -> T:
        """Call `func(*args, **kwds)` in a thread, and return or raise what it did.

        A greenlet that is killed or timed out meanwhile is free at once.  The call then does not take place if it has
        not begun, else it runs to its end and nobody is told.
        In a job of the same pool the call is made at once, where it is, and takes no place: it shall not wait for
        one that its own job may hold.
        Switches: unless in a job, or if the call has ended before the greenlet comes to park; even then every 2 ms.
        Raises also what `spawn` and `Job.get` raise.
        """
        if get_ident() != self._thread:
            if getattr(_worker.here, "outbox", None) is self._ledger.outbox:
                return func(*args or (), **kwds or {})
            self._refuse(f"apply {func!r}")
        job: Job[T] = self._submit(func, args or (), kwds or {})
        try:
            if not (job._finished_at and self._ledger.outbox.take(job)):
                self._park_for(job)
        except BaseException:
            job.cancel()
            raise
        try:
            return job._outcome()
        finally:
            del job  # else the traceback, which the job keeps, would keep the job

    def join(self, timeout: float | None = None) -> bool:
        """Wait until every job has ended: True.  Or for `timeout` seconds: False.  Switches: if there are any."""
        return self._join([self._jobs], timeout)

    def _at(self, lane: str | None) -> Lane:
        if lane is not None:
            raise TypeError(f"{self!r} has no lanes of its own, so not {lane!r} either: ask its pool")
        return self

    # -- inside -----------------------------------------------------------------------------------------------------

    def _submit(
        self, func: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any], starter: IWaiter | None = None
    ) -> Job[T]:
        ledger, crew = self._ledger, self._crew
        if get_ident() != self._thread or getpid() != crew.pid or ledger.killed:
            self._enter(f"spawn {func!r}")
            crew = self._crew
        if not callable(func):
            raise TypeError(f"cannot run {func!r} in a thread: it must be callable")
        job: Job[T] = Job(self, func, args, kwargs, copy_context(), starter)
        queued = False
        try:
            self._jobs[job] = None  # first: who asks meanwhile whether the loop is still to be held finds it
            if not ledger.holding:
                ledger.hold()
            crew.queue.append(job)
            queued = True
            crew.summon()
        except BaseException as error:
            if queued and isinstance(error, RuntimeError):
                crew.miss()
                if crew.workers:  # there is no thread for it, but somebody at work: who takes it later, or has done so
                    return job
            if self._withdraw(job, "withdrawn", error) or not isinstance(error, Exception):
                raise
        return job

    def _wait_for(self, job: Job[Any], timeout: float | None) -> None:
        """Park until the job has ended, unless it has."""
        if getpid() != self._crew.pid:
            self._after_fork()
        if job._state is not None:
            return
        if timeout is not None and timeout <= 0:
            raise TimeoutError(f"{job!r} has not ended")
        self._park_for(job, timeout)

    def _park_for(self, job: Job[Any], timeout: float | None = None) -> None:
        waiter = self._hub.waiter()
        waiter.reason = job
        job._waiters.append(waiter)
        try:
            if timeout is None:
                waiter.get()
                return
            with self._loop.timer(timeout) as timer:
                timer.start(waiter.throw, TimeoutError(f"{job!r} has not ended within {timeout} s"))
                waiter.get()
        except BaseException:
            if waiter in job._waiters:  # killed or timed out: the end of the job is no longer our concern
                job._waiters.remove(waiter)
            raise

    def _join(self, tables: list[Table], timeout: float | None) -> bool:
        self._enter("join it", even_if_killed=True)
        if not any(tables):
            return True
        if timeout is not None and timeout <= 0:
            return False
        waiter = self._hub.waiter()
        waiter.reason = self
        entry = (waiter, tables)
        self._ledger.joiners.append(entry)
        try:
            if timeout is None:
                waiter.get()
            else:
                with self._loop.timer(timeout) as timer:
                    timer.start(waiter.switch, None)
                    waiter.get()
        finally:
            self._ledger.joiners.remove(entry)
        return not any(tables)

    def _finish(self, job: Job[Any]) -> None:
        """A worker has reported, or a job is ended by other means and not everybody has been told."""
        if job._state is None:
            self.counters.add(job)
            job._state = "done" if job._error is None else "raised"
        self._jobs.pop(job, None)  # first: whoever is told finds the place free
        job._tell()
        if not self._jobs:
            self._ledger.settle()

    def _end(self, job: Job[Any], state: str, error: BaseException) -> None:
        """End a job that has no outcome of its own.  Its call has been taken out, by the caller or a dead worker."""
        if job._state is not None:
            return
        job._error = error
        job._traceback = error.__traceback__
        job._state = state
        try:
            self._finish(job)
        except BaseException:
            self._ledger.outbox.news.append(job)  # interrupted: the rest is told in the loop's next batch
            self._ledger.outbox.post()
            raise

    def _withdraw(self, job: Job[Any], state: str, error: BaseException) -> bool:
        """End a job whose call nobody has taken yet; False if somebody has.

        What is meant is noted first: an interrupt may come when the call has been taken out, and then `_audit` ends it.
        """
        self._withdrawn[job] = state, error
        try:
            taken = job._take()
            if taken:
                self._end(job, state, error)
        except BaseException as interrupt:
            self._look_after(interrupt)
            raise
        self._withdrawn.pop(job, None)
        return taken

    def _look_after(self, error: BaseException) -> None:
        """An error has come between two steps: have the loop look after what it has left behind."""
        self._ledger.outbox.news.append(Event(self._crew, None, error))
        self._ledger.outbox.post()

    def _has_started(self, job: Job[Any]) -> None:
        if job._start_waiter is not None and self._hub.loop is self._loop:
            job._start_waiter.switch(None)

    def _note_corpse(self) -> None:
        """A job that was ended stays in the queue until a worker meets it; see to it that they do not pile up."""
        self._corpses += 1
        if self._corpses > 64 and self._corpses * 2 > len(self._crew.queue):
            self._corpses = 0
            try:
                self._clear_corpses()
            except BaseException as error:
                self._look_after(error)  # a job may be in no queue now
                raise

    def _clear_corpses(self) -> None:
        queue = self._crew.queue
        for _ in range(len(queue)):
            try:
                job = queue.popleft()
            except IndexError:
                break
            if job._call:
                queue.append(job)
        self._start_waiting()  # a worker may have found the queue empty meanwhile

    def _start_waiting(self) -> None:
        """Find workers for those in the queue.  If the system has no thread for us, who is at work takes them later."""
        crew = self._crew
        try:
            for _ in range(len(crew.queue)):
                if not crew.queue or not (crew.idle or crew.has_room()):
                    return
                crew.summon()
        except Exception as error:
            if not crew.workers:
                for job in list(self._jobs):
                    self._withdraw(job, "lost", _because(WorkerLostError(f"there is no worker for {job!r}"), error))
            self._hub.handle_error(self, type(error), error, error.__traceback__)

    def _audit(self, cause: BaseException | None) -> None:
        """A worker has died, or the hub's thread was interrupted.  End what is lost, find workers for what waits.

        The order of the questions matters, see `_worker`, rule 3: taken, without an outcome, in nobody's hands, and
        still without an outcome.
        """
        crew = self._crew
        while crew.unbegun:
            job = crew.unbegun[0]
            self._end(job, "killed", PoolKilledError(f"{job!r} never ran: the process ends"))
            crew.unbegun.popleft()
        crew.miss()
        queued = _snapshot(crew.queue)
        for job in list(self._jobs):
            if job._call:
                self._withdrawn.pop(job, None)  # interrupted before it was
                if job not in queued:
                    crew.queue.append(job)  # the dead had it in hand; twice does no harm, for it is taken once
            elif not job._finished_at:
                held = job in [worker.job for worker in list(crew.workers)]
                if not held and not job._finished_at:
                    self._end(job, *(self._withdrawn.get(job) or _lost(job, cause)))
            elif job._state is None:
                self._finish(job)
        self._withdrawn.clear()
        self._start_waiting()

    def _close_down(self, tell: bool) -> None:
        """Let the workers leave, and those that no worker has taken never run.  `tell`: we are in the hub's thread."""
        try:
            for job in list(self._jobs):
                if not tell:
                    job._take()
                elif job._call:
                    killed = PoolKilledError(f"{job!r} never ran: its pool was killed and takes no more jobs")
                    self._withdraw(job, "killed", killed)
        finally:
            self._crew.close()

    # -- forks ------------------------------------------------------------------------------------------------------

    def _after_fork(self) -> None:
        """In the child of a fork: what the lane shared with its workers is made anew, and the parent's jobs end.

        Takes no lock, asks the system for nothing, and may be called again.  Who waits is told in the loop's next turn.
        """
        crew, ledger = self._crew, self._ledger
        if crew.pid != getpid():
            # If it was a job that forked, its thread is here, and shall take no other.
            crew.closed = crew.forsaken = True
            if ledger.outbox is crew.outbox:
                ledger.outbox = Outbox(self._hub, self._loop)
            for job in list(self._jobs):
                job._take()
                if job._state is None:
                    job._error = ForkedError(f"{job._name} was under way in the parent of this forked process")
                    job._traceback = None
                    job._state = "forked"
                self._bereaved.append(job)
            self._jobs.clear()
            self._withdrawn.clear()
            self._corpses = 0
            self.counters = LaneCounters()
            self._crew = self._make_crew()
            crew.close_bells()
        if (self._bereaved or ledger.holding) and get_ident() == self._thread:
            try:
                self._loop.run_callback_threadsafe(self._tell_bereaved)
            except ValueError:
                pass  # the loop was destroyed before the fork

    def _tell_bereaved(self) -> None:
        try:
            while self._bereaved:
                self._bereaved[0]._tell()
                self._bereaved.popleft()
            self._ledger.settle()
        except BaseException:
            self._loop.run_callback(self._tell_bereaved)  # the others shall not suffer
            raise

    # -- checks -----------------------------------------------------------------------------------------------------

    def _enter(self, what: str, even_if_killed: bool = False) -> None:
        """Every public call from the hub's thread begins so."""
        if get_ident() != self._thread:
            self._refuse(what)
        if getpid() != self._crew.pid:
            self._after_fork()
        if self._ledger.killed and not even_if_killed:
            raise PoolKilledError(f"cannot {what}: {self!r} was killed and takes no more jobs; make a new ThreadPool")

    def _refuse(self, what: str) -> NoReturn:
        self._hub.refuse(
            f"{what} of {self!r}",
            "the pool in a greenlet of its hub, and not from a job or another thread, from where "
            "hub.loop.run_callback_threadsafe gets there; only apply() works in a job, too",
        )

    def __del__(self) -> None:
        # Dropped without kill(): idle workers would wait for ever.
        crew = getattr(self, "_crew", None)
        if crew is not None:
            crew.close()

    def __repr__(self) -> str:
        state = " killed" if self._ledger.killed else ""
        return (
            f"<{type(self).__name__} {self.name!r} at {id(self):#x}{state} jobs={len(self)} "
            f"waiting={sum(1 for job in list(self._jobs) if job._call)} size={self.size} maxsize={self._maxsize}>"
        )


def check_maxsize(maxsize: int) -> int:
    """Return `maxsize` if a lane can have it.  Raises TypeError or ValueError."""
    if not isinstance(maxsize, int) or isinstance(maxsize, bool):
        raise TypeError(f"maxsize must be a whole number, got {maxsize!r}")
    if maxsize < 1:
        raise ValueError(f"maxsize must be 1 or more, got {maxsize}: without a thread no job could ever run")
    return maxsize


def _snapshot(queue: deque[Job[Any]]) -> set[Job[Any]]:
    while True:
        try:
            return set(queue)
        except RuntimeError:
            continue  # a worker took one meanwhile


def _lost(job: Job[Any], cause: BaseException | None) -> tuple[str, WorkerLostError]:
    lost = WorkerLostError(f"the worker of {job!r} has died; whether the call had an effect is not known")
    return "lost", _because(lost, cause)


def _because(error: WorkerLostError, cause: BaseException | None) -> WorkerLostError:
    error.__cause__ = cause
    return error
