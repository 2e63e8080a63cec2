"""Jobs: one call each, that runs in a worker and ends in the hub's thread.

Receives: a function and its arguments from the pool.  Gives: its value or its exception to the greenlets that ask, and
word of its end to the pool.

A job is in one of three states: queued or running, which only its worker knows apart, and ended.

Rule 1: `run` and `work` are the only code of this package in a worker, and they touch nothing of the hub but
`run_callback_threadsafe`; all else belongs to the hub's thread.
Rule 2: a job ends once, in `_end`, whatever its function raised; who no longer waits by then is not told.
Rule 3: a worker holds the queue and the job it runs, never the pool, so that a forgotten pool can be collected.
"""

from __future__ import annotations

from _thread import get_ident
from typing import Any, Generic, TypeVar

from hub_api import InvalidThreadUseError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from queue import SimpleQueue

    from hub_api import IHub, ILoopCore, IWaiter

T = TypeVar("T")


class Job(Generic[T]):
    """One call handed to a pool: see `hub_api.IJob`."""

    def __init__(
        self,
        hub: IHub,
        func: Callable[..., T],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        ended: Callable[[], object],
    ) -> None:
        self._hub = hub
        self._loop = hub.loop
        self._call: tuple[Callable[..., T], tuple[Any, ...], dict[str, Any]] | None = (func, args, kwargs)
        self._name = repr(func)
        self._tell_pool = ended
        self._ended = False
        self._value: Any = None
        self._error: BaseException | None = None
        self._waiters: list[IWaiter] = []

    def ready(self) -> bool:
        """Whether it has ended."""
        return self._ended

    def get(self) -> T:
        """Return the value of the call, or raise its exception; again and again, for any number of greenlets.

        Call from: a greenlet of the pool's hub.  Switches: if it has not ended.
        Raises InvalidThreadUseError in another thread, BlockingSwitchOutError in a callback if it has not ended.
        """
        check_thread(self._hub, f"get the result of {self!r}")
        if not self._ended:
            waiter = self._hub.waiter()
            self._waiters.append(waiter)
            try:
                waiter.get()
            finally:
                if waiter in self._waiters:  # killed or timed out: the end of the job is no longer our concern
                    self._waiters.remove(waiter)
        if self._error is not None:
            raise self._error
        value: T = self._value
        return value

    def run(self) -> None:
        """Make the call.  Call from: a worker, once."""
        assert self._call is not None, f"{self!r} was run before"
        func, args, kwargs = self._call
        value = error = None
        try:
            value = func(*args, **kwargs)
        except BaseException as raised:  # SystemExit too: it is the caller's, and must not end the worker
            error = raised
        self._call = None
        del func, args, kwargs  # whatever they hold must not live until the worker's next job
        try:
            self._loop.run_callback_threadsafe(self._end, value, error)
        except ValueError:
            pass  # the loop was destroyed meanwhile: nobody is left to tell

    def _end(self, value: T | None, error: BaseException | None) -> None:
        """In the hub's thread, as a callback: make the outcome known."""
        self._ended = True
        self._value, self._error = value, error
        waiters, self._waiters = self._waiters, []
        wake(self._hub, self._loop, waiters)
        self._tell_pool()

    def __repr__(self) -> str:
        outcome = "in a worker" if not self._ended else "done" if self._error is None else f"raised {self._error!r}"
        return f"<Job at {id(self):#x} {self._name} {outcome}>"


def work(jobs: SimpleQueue[Job[Any] | None]) -> None:
    """The body of a worker: run jobs until it is handed None."""
    while True:
        job = jobs.get()
        if job is None:
            return
        job.run()
        del job  # else its result would live until the next one comes


def wake(hub: IHub, loop: ILoopCore, waiters: list[IWaiter]) -> None:
    """Let the greenlets go on, unless the hub was destroyed: its loop may live on under another hub."""
    if hub.loop is loop:
        for waiter in waiters:
            waiter.switch(None)


def check_thread(hub: IHub, what: str) -> None:
    """Raise InvalidThreadUseError unless called from the hub's thread."""
    if get_ident() != hub.thread_ident:
        raise InvalidThreadUseError(
            f"cannot {what} from thread {get_ident():#x}: the pool belongs to {hub!r}; "
            "call from a greenlet of that hub, not from a job or another thread"
        )
