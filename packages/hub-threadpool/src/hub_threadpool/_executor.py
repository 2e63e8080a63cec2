"""The executor: the interface of `concurrent.futures`, for code that was written for it, on threads of its own.

Receives: calls, from any thread.  Gives: futures, whose waits park the calling greenlet.

A pool belongs to its hub and is used from its thread; an executor is used from anywhere: by greenlets, by other hubs,
by threads, by asyncio (`run_in_executor`).  So it does not stand on a pool's places, which the hub hands out.  It has a
crew: threads that take calls out of one queue, and need nobody to hand them over.

Rule 1: `submit` never parks and never blocks; what waits stands in the queue, which has no bound.
Rule 2: a call is made once, by the first that takes its load: a worker, or a job that waits for it (`Call.help`).  So
a job that waits for jobs of its own executor does not wait for a place that it takes itself.
Rule 3: an exception may come between any two steps, in a worker as in who submits.  A worker is known to the crew from
before it starts until after its last step (`leave`, which may be called again), and what it has at hand is then made by
others, or ends with an error.
Rule 4: workers hold the crew and never the executor: one that is dropped makes its calls, and then lets them go.
"""

from __future__ import annotations

import concurrent.futures
import contextvars
import itertools
import os
import threading
import weakref
from _thread import allocate_lock, get_ident
from collections import deque
from concurrent.futures.thread import BrokenThreadPool
from time import sleep
from typing import Any, ParamSpec, TypeVar

from hub_api import WorkerLostError
from hub_threadpool import _exit
from hub_threadpool._call import Call
from hub_threadpool._entry import Entrant
from hub_threadpool._future import Future, make_up

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from hub_api import IHub

P = ParamSpec("P")
T = TypeVar("T")

_numbers = itertools.count()
_crews: weakref.WeakSet[_Crew] = weakref.WeakSet()


class ThreadPoolExecutor(concurrent.futures.Executor):
    """Makes calls in at most `max_workers` threads; its futures park the greenlets that wait for them.

    Arguments as those of `concurrent.futures.ThreadPoolExecutor`; `hub` is told of what goes wrong where nobody waits.
    `initializer(*initargs)` is called in each thread before its first call; if it raises, the executor is broken.
    Call from: any thread, every method.
    Raises TypeError or ValueError for arguments that make no executor.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        thread_name_prefix: str = "",
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        hub: IHub,
    ) -> None:
        if max_workers is None:
            max_workers = min(32, (os.cpu_count() or 1) + 4)  # as the standard library says
        if not isinstance(max_workers, int) or isinstance(max_workers, bool):
            raise TypeError(f"max_workers must be a whole number, got {max_workers!r}")
        if max_workers < 1:
            raise ValueError(f"max_workers must be greater than 0, got {max_workers}")
        if initializer is not None and not callable(initializer):
            raise TypeError(f"initializer must be a callable, got {initializer!r}")
        name = thread_name_prefix or f"ThreadPoolExecutor-{next(_numbers)}"
        self._crew = _Crew(hub, max_workers, name, initializer, initargs)
        self._let_go = weakref.finalize(self, self._crew.drop)
        self._let_go.atexit = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have `fn(*args, **kwargs)` called in a thread, in a copy of the caller's context.

        Call from: any thread, callbacks and jobs included; not a Python signal handler, which would wait for ever for a
        lock if it came while its thread was in here (so in the standard library's): use `hub.loop.signal`.
        Switches: never.
        Raises TypeError if `fn` is not callable, RuntimeError after `shutdown`, as the process ends, and if there is no
        thread and the system gives none, BrokenThreadPool after an initializer has raised.
        """
        if not callable(fn):
            raise TypeError(f"cannot run {fn!r} in a thread: it must be callable")
        crew = self._present_crew()
        call: Call[T] = Call(crew, (fn, args, kwargs, contextvars.copy_context()))
        future = call.future = Future(crew.hub, call)
        crew.put(call)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls; with `wait`, return when all that were taken are made and the threads have ended.

        `cancel_futures` cancels those that no thread has begun.  Idempotent.
        Call from: any thread.  Switches: with `wait`, if there are threads; in a thread without a hub it blocks.
        Raises RuntimeError with `wait` in a job of this executor, which would wait for itself.
        """
        crew = self._present_crew()
        if wait and get_ident() in crew.idents:
            raise RuntimeError(
                f"a job of {self!r} cannot wait for all jobs to end, for it is one of them: "
                "call shutdown(wait=False), or shut down where the executor was made"
            )
        crew.close()
        if cancel_futures:
            crew.cancel()
        if wait:
            crew.ended.result()
            for thread in crew.left:
                thread.join()  # each is past its body's last line but one

    def _present_crew(self) -> _Crew:
        """The crew; in the child of a fork, where its threads are no more, a new one."""
        crew = self._crew
        if crew.forked:
            crew = self._crew = crew.successor()
            self._let_go.detach()
            self._let_go = weakref.finalize(self, crew.drop)
            self._let_go.atexit = False
        return crew

    def __repr__(self) -> str:
        crew = self._crew
        state = " forked" if crew.forked else " broken" if crew.broken else " shut down" if crew.closed else ""
        return (
            f"<ThreadPoolExecutor at {id(self):#x}{state} {crew.name!r} queued={len(crew.calls)} "
            f"size={len(crew.workers)} max_workers={crew.size}>"
        )


class _Worker(Entrant):
    """One thread of a crew, as the others see it."""

    __slots__ = ("bell", "call")

    def __init__(self, crew: _Crew, name: str) -> None:
        super().__init__()
        self.bell = allocate_lock()
        """Held while there is nothing to wake it for."""
        self.call: Call[Any] | None = None
        """What it has taken: who dies between two steps leaves it here for the others."""
        self.thread = threading.Thread(target=_work, args=(crew, self), name=name, daemon=True)
        self.bell.acquire()

    def wake(self) -> None:
        """Have it look at the queue.  Call from: under the crew's lock."""
        try:
            self.bell.release()
        except RuntimeError:
            pass  # it was woken already, and has not looked

    def doing(self) -> tuple[str, float] | None:
        """The name of the call that it makes, and when that began."""
        call = self.call
        return None if call is None else (call.name, call.started_at)


class _Crew:
    """The threads of an executor, and the queue of their calls."""

    def __init__(
        self,
        hub: IHub,
        size: int,
        name: str,
        initializer: Callable[..., object] | None,
        initargs: tuple[Any, ...],
    ) -> None:
        self.hub = hub
        self._loop = hub.loop
        self.size, self.name = size, name
        self._initializer, self._initargs = initializer, initargs
        self.pid = os.getpid()
        self.calls: deque[Call[Any]] = deque()
        self.workers: list[_Worker] = []
        self.idents: set[int] = set()
        self.left: list[threading.Thread] = []
        """Threads that are past their last call."""
        self.ended: Future[None] = Future(hub)
        """Ends when there are no more threads and never will be."""
        self.closed = self.forked = self._dropped = False
        self.broken: BaseException | None = None
        self._idle: list[_Worker] = []  # last in, first out: whose stack and caches are warm
        self._started = 0
        self._lock = allocate_lock()
        _crews.add(self)

    def successor(self) -> _Crew:
        """A crew without threads and calls, for the child of a fork."""
        made = _Crew(self.hub, self.size, self.name, self._initializer, self._initargs)
        made.broken = self.broken
        if self.closed:
            made.close()
        return made

    def put(self, call: Call[Any]) -> None:
        """Queue a call, and see that there is a thread for it.  Call from: any thread."""
        with self._lock:
            if self.broken is not None:
                raise self._broken_error()
            if self.closed:
                remedy = "the process ends" if _exit.is_ending() else "make a new ThreadPoolExecutor"
                raise RuntimeError(f"cannot schedule new futures after shutdown; {remedy}")
            self.calls.append(call)
            try:
                self._man()
            except BaseException as error:  # the system gives no more threads, or an interrupt
                if not (isinstance(error, RuntimeError) and self.workers):
                    self.calls.remove(call)
                    raise

    def _man(self) -> None:
        """Wake or start a worker, if there is one to be had.  Under the lock."""
        if self._idle:
            self._wake_one()
            return
        self._forget_stillborn()
        if len(self.workers) < self.size:
            self._started += 1
            worker = _Worker(self, f"{self.name}_{self._started - 1}")
            self.workers.append(worker)
            try:
                _exit.start(self, worker.thread)
                worker.await_entry()
            except BaseException:
                if worker.enter():  # else it has begun, and an interrupt came to us after that
                    self.workers.remove(worker)
                raise

    def _wake_one(self) -> None:
        self._idle[-1].wake()  # first: what is in the list and awake leaves the list itself
        del self._idle[-1]

    def _forget_stillborn(self) -> None:
        for worker in [worker for worker in self.workers if worker.stillborn]:
            self.workers.remove(worker)

    def take(self, me: _Worker) -> Call[Any] | None:
        """The next call for the current worker, or None when it is to end."""
        while True:
            if self.forked:
                return None  # a call has forked, and this is its thread in the child: the queue is the parent's
            with self._lock:
                if me in self._idle:
                    self._idle.remove(me)  # who woke us was interrupted
                if self.calls:
                    # First the copy, then the deletion: an exception thrown into this thread may come between any two.
                    me.call = self.calls[0]
                    del self.calls[0]
                elif self.closed:
                    return None
                else:
                    self._idle.append(me)
            if self._dropped and not self.closed:
                self.close()
            if me.call is not None:
                return me.call
            me.bell.acquire()

    def drop(self) -> None:
        """The executor was collected: close, now or when the lock is free.

        The collector may call this at any moment, also in a worker that holds the lock; whoever lets go of it looks.
        """
        self._dropped = True
        if self._lock.acquire(blocking=False):
            self._lock.release()
            self.close()

    def retire(self) -> None:
        """The process ends: calls that are queued are made as long as `_exit` allows."""
        self.close()

    def close(self) -> None:
        """Let the workers end when they have made the calls that are queued.  Idempotent."""
        with self._lock:
            self.closed = True
            while self._idle:
                self._wake_one()
            self._forget_stillborn()
            unmanned = not self.workers
        if unmanned:
            self._end()

    def _end(self) -> None:
        """There are no more threads and never will be.  Idempotent."""
        try:
            if not self.ended.done():
                self.ended.set_result(None)
        except concurrent.futures.InvalidStateError:
            pass  # another thread has come to the same end
        make_up(self.ended)

    def cancel(self) -> None:
        """Cancel the calls that nobody has begun.  Call from: any thread, once closed."""
        self._refuse(None)

    def _refuse(self, error: BaseException | None) -> None:
        """End what is queued.  It stays in the queue until then: an interrupt leaves the rest to workers."""
        with self._lock:
            calls = list(self.calls)
        for call in calls:
            call.refuse(error)
        with self._lock:
            while self.calls and self.calls[0].claimed:
                del self.calls[0]

    def initialize(self) -> bool:
        """Prepare the current worker; False if that failed, and the executor with it."""
        if self._initializer is not None and self.broken is None:
            try:
                self._initializer(*self._initargs)
            except BaseException as error:
                self.broken = error
                self.report(self._initializer, error)
        if self.broken is None:
            return True
        self._refuse(self._broken_error())
        return False

    def _broken_error(self) -> BrokenThreadPool:
        made = BrokenThreadPool(
            f"the initializer of {self.name!r} raised {self.broken!r}, so no call can be made; make a new executor"
        )
        made.__cause__ = self.broken
        return made

    def leave(self, me: _Worker) -> None:
        """A worker is about to end.  May be called again, after an exception in between."""
        me.enter()
        if self.forked:
            return
        call, failed = me.call, None
        if call is not None and call.claimed:
            call.mend(me, WorkerLostError(f"the worker of {call.name} has died; whether it had an effect is not known"))
        with self._lock:
            self.idents.discard(get_ident())
            if me in self._idle:
                self._idle.remove(me)
            if me in self.workers:
                self.workers.remove(me)
                self.left.append(me.thread)
            if call is not None and not call.claimed:
                self.calls.appendleft(call)
            try:
                if self.calls:
                    self._man()  # this one was not told to end: others wait for their calls
            except RuntimeError as error:  # the system gives no thread
                failed = None if self.workers else error
        if failed is not None:
            lost = WorkerLostError(f"the last worker of {self.name!r} has died, and the system gives no other thread")
            lost.__cause__ = failed
            self._refuse(lost)
        if self._dropped:
            self.close()
        with self._lock:
            last = self.closed and not self.workers
        if last:
            self._end()

    def report(self, context: object, error: BaseException) -> None:
        """Hand an error that nobody waits for to the hub."""
        try:
            self._loop.run_callback_threadsafe(self.hub.handle_error, context, type(error), error, error.__traceback__)
        except ValueError:  # the hub is no more
            threading.excepthook(
                threading.ExceptHookArgs((type(error), error, error.__traceback__, threading.current_thread()))
            )


def _work(crew: _Crew, me: _Worker) -> None:
    """The body of a worker."""
    try:
        _serve(crew, me)
    except SystemExit:
        pass  # thrown into this thread from outside: it ends, as any thread does
    except BaseException as stray:
        crew.report(me.thread, stray)
    finally:
        while True:
            try:
                crew.leave(me)
                break
            except BaseException:
                sleep(0.01)  # out of memory, or one more who wants us dead


def _serve(crew: _Crew, me: _Worker) -> None:
    # A function of its own: what is thrown in at its first step, or as its loop goes round, is caught by the caller.
    if not me.enter():
        return
    crew.idents.add(get_ident())
    if crew.initialize():
        while (call := crew.take(me)) is not None:
            call.run(me)
            me.call = call = None  # else its result would live until the next one comes


def _forked() -> None:
    """In the child of a fork: no crew has threads any more, and its lock may be held for ever."""
    for crew in list(_crews):
        crew.forked = True


os.register_at_fork(after_in_child=_forked)
