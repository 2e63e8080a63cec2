"""Jobs: one call each, which a worker makes, and which ends once, in the hub's thread.

Receives: a function and its arguments from a lane.  Gives: its value or its exception to the greenlets that ask.

The states, and who makes which move:

    QUEUED    `_call` holds the call.  Who takes it out has the job: `list.pop` gives it to one taker only.
    RUNNING   a worker has taken the call, and has said so beforehand (`Worker.job`).
    REPORTED  `_finished_at` is set, and before it the outcome; the job stands in the outbox.
    ENDED     `_state` is set.  Nothing changes any more, and who waited has been told.

    QUEUED --a worker takes the call--> RUNNING
    QUEUED --cancel, kill, a thread that could not be started take the call--> ENDED  (cancelled, killed, withdrawn)
    RUNNING --the worker: the function has returned or raised--> REPORTED
    REPORTED --the hub: `Outbox.deliver`--> ENDED  (done, raised)
    RUNNING --the hub: its worker has died (`Lane._audit`)--> ENDED  (lost)
    QUEUED, RUNNING, REPORTED --the hub: this is the child of a fork--> ENDED  (forked)

Rule 1: what ends a job is whoever took its call out: its worker, by what it reports, or who took it instead.  Each move
to ENDED asks for `_state` first, in the one thread that writes it; so a job ends once.
Rule 2: `run` is the only code here that runs in a worker; all else belongs to the hub's thread.
Rule 3: what a function raised is kept with the traceback of its own frames, none of ours; who gets it again gets that
traceback again, and not what the last one has added.
"""

from __future__ import annotations

import sys
from _thread import get_ident
from threading import getprofile, gettrace
from time import perf_counter
from types import MethodType
from typing import Any, Generic, TypeVar

from hub_api import JobCancelledError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context
    from types import TracebackType

    from hub_api import IWaiter
    from hub_threadpool._lanes import Lane

    Call = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any], Context]

T = TypeVar("T")
_OURS = "hub_threadpool."


class Job(Generic[T]):
    """One call that was handed to a pool or a lane: see `hub_api.IJob`.

    Made by `spawn` and its like.  Call from: the thread of the pool's hub; elsewhere InvalidThreadUseError.
    """

    __slots__ = (
        "__weakref__",
        "_call",
        "_error",
        "_finished_at",
        "_lane",
        "_links",
        "_name",
        "_queued_at",
        "_started_at",
        "_start_waiter",
        "_state",
        "_traceback",
        "_value",
        "_waiters",
    )

    def __init__(
        self,
        lane: Lane,
        func: Callable[..., T],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        context: Context,
        starter: IWaiter | None,
    ) -> None:
        self._lane = lane
        self._call: list[Call] = [(func, args, kwargs, context)]
        self._name: str = getattr(func, "__qualname__", None) or repr(func)
        self._start_waiter = starter
        """Who waits for the job to leave the queue: a greenlet in `spawn`."""
        self._state: str | None = None
        self._value: Any = None
        self._error: BaseException | None = None
        self._traceback: TracebackType | None = None
        self._waiters: list[IWaiter] = []
        self._links: list[Callable[[Job[T]], object]] = []
        self._started_at = self._finished_at = 0.0
        self._queued_at = perf_counter()

    # -- asking -----------------------------------------------------------------------------------------------------

    def ready(self) -> bool:
        """Whether it has ended."""
        return self._state is not None

    def successful(self) -> bool:
        """Whether it has ended with a value."""
        return self._state == "done"

    @property
    def value(self) -> T | None:
        """Its value; None if it has none, or none yet."""
        value: T | None = self._value if self._state is not None else None
        return value

    @property
    def exception(self) -> BaseException | None:
        """What it ended with instead of a value; None if it has one, or has not ended."""
        return self._error if self._state is not None else None

    def get(self, timeout: float | None = None) -> T:
        """Return the value of the call, or raise its exception; again and again, for any number of greenlets.

        After `timeout` seconds: TimeoutError; the job goes on.
        Switches: if it has not ended.
        Raises BlockingSwitchOutError in a callback if it has not ended; what ended it if it never ran or was lost:
        JobCancelledError, PoolKilledError, WorkerLostError, ForkedError.
        """
        lane = self._lane
        if get_ident() != lane._thread:
            lane._refuse(f"get the result of {self!r}")
        if self._state is None:
            lane._wait_for(self, timeout)
        try:
            return self._outcome()
        finally:
            del self  # else the traceback, which the job keeps, would keep the job

    def _outcome(self) -> T:
        if self._error is None:
            value: T = self._value
            return value
        try:
            raise self._error.with_traceback(self._traceback)
        finally:
            del self

    # -- acting -----------------------------------------------------------------------------------------------------

    def cancel(self) -> bool:
        """End it with JobCancelledError if no worker has taken it yet; returns whether it was ended by this.

        A call that has begun cannot be stopped.  Switches: never.
        """
        lane = self._lane
        if get_ident() != lane._thread:
            lane._refuse(f"cancel {self!r}")
        if not self._call:
            return False
        cancelled = JobCancelledError(f"{self!r} was cancelled before it started")
        if not lane._withdraw(self, "cancelled", cancelled):
            return False
        lane._note_corpse()
        return True

    def rawlink(self, callback: Callable[[Job[T]], object], /) -> None:
        """Have `callback(job)` called once, in the hub's thread, when the job has ended; soon, if it has already.

        What it raises goes to `hub.handle_error`.  Switches: never.  Raises TypeError if it cannot be called.
        """
        lane = self._lane
        if get_ident() != lane._thread:
            lane._refuse(f"link to {self!r}")
        if not callable(callback):
            raise TypeError(f"cannot link {callback!r} to {self!r}: it must be callable")
        self._links.append(callback)
        if self._state is not None and len(self._links) == 1:
            lane._loop.run_callback(self._tell)

    def unlink(self, callback: Callable[[Job[T]], object], /) -> None:
        """Do not call `callback` after all.  Without effect if it is not linked, or was called."""
        lane = self._lane
        if get_ident() != lane._thread:
            lane._refuse(f"unlink from {self!r}")
        if callback in self._links:
            self._links.remove(callback)

    def take(self) -> bool:
        """End it here and now if its call has been made and the loop has no other news to wait for; else it is False.

        Spares who has just submitted it, and has not parked since, a turn of the loop.  Links are called.
        Call from: the greenlet that has just submitted it.  Switches: never.
        """
        return bool(self._finished_at) and self._state is None and self._lane._ledger.outbox.take(self)

    # -- the lane's and the worker's ----------------------------------------------------------------------------------

    def _take(self) -> bool:
        """Take the call out, so that no worker will make it; False if it was taken before."""
        try:
            self._call.pop()
        except IndexError:
            return False
        return True

    def run(self, call: Call) -> None:
        """Make the call and keep its outcome.  Call from: the worker that has taken the call out."""
        func, args, kwargs, context = call
        try:
            if gettrace() is None and getprofile() is None:
                self._value = context.run(func, *args, **kwargs)
            else:
                self._value = _run_traced(call)
        except BaseException as error:  # SystemExit too: it is the caller's, and must not end the worker
            found = error.__traceback__
            self._traceback = found.tb_next if found is not None else None
            self._error = error.with_traceback(self._traceback)
            del found
        self._finished_at = perf_counter()
        # What is kept of an exception leads to this frame (`f_back`), so nothing may be left in it.
        del self, call, func, args, kwargs, context

    def _tell(self) -> None:
        """Tell everybody that it has ended.  An interrupt may come between two steps; then the loop goes on here."""
        try:
            self._tell_all()
        except BaseException:
            try:
                self._lane._loop.run_callback(self._tell)
            except ValueError:
                pass  # the loop was destroyed
            raise

    def _tell_all(self) -> None:
        hub, waiters, links = self._lane._hub, self._waiters, self._links
        if hub.loop is self._lane._loop:  # else the hub was destroyed, and its loop may live on under another one
            if self._start_waiter is not None:
                self._start_waiter.switch(None)
                self._start_waiter = None
            while waiters:
                waiter = waiters[0]
                waiter.switch(None)
                del waiters[0]
        while links:
            link = links[0]
            del links[0]
            try:
                link(self)
            except BaseException as error:
                if _may_repeat(link, error):
                    links.insert(0, link)
                    raise
                hub.handle_error(self, type(error), error, error.__traceback__)

    def __repr__(self) -> str:
        if self._state is not None:
            state = self._state if self._state != "raised" else f"raised {self._error!r}"
        else:
            state = "waits for a worker" if self._call else "in a worker"
        return f"<Job at {id(self):#x} {self._name} {state}>"


def _may_repeat(link: object, error: BaseException) -> bool:
    """Whether `link`, which has raised `error`, is to be called again.

    A method of this package is after any interrupt, KeyboardInterrupt or what else a signal handler raises: it takes up
    what was interrupted, and raises no such thing itself.  Any other function is if nothing of it was done.  CPython
    runs signal handlers at the first instruction of a Python function, RESUME, and what they raise there is not the
    function's; after a function in C it has been called.
    """
    if not isinstance(error, Exception) and isinstance(link, MethodType) and link.__module__.startswith(_OURS):
        return True
    entered = None if error.__traceback__ is None else error.__traceback__.tb_next
    if entered is None:
        return False
    import opcode  # at an error, and not before

    entry: int = entered.tb_frame.f_code.co_code[::2].find(opcode.opmap["RESUME"])
    return entered.tb_lasti <= 2 * entry


def _run_traced(call: Call) -> Any:
    """Make the call under the hooks of `threading.settrace` and `threading.setprofile`, as they are now.

    A hook that raises is uninstalled by CPython and its exception goes to whoever called what it was told of; here
    that is the job's, or one of our own calls, which then fails in its place.
    """
    func, args, kwargs, context = call
    trace, profile = gettrace(), getprofile()
    try:
        if trace is not None:
            sys.settrace(trace)
        if profile is not None:
            sys.setprofile(profile)
        return context.run(func, *args, **kwargs)
    finally:
        try:
            if profile is not None:
                sys.setprofile(None)
        finally:
            if trace is not None:
                sys.settrace(None)
