"""Calls of an executor: each is made once, and ends its future whatever comes in between.

Receives: a function and its arguments from `submit`.  Gives: the outcome, to the future.

Rule 1: who ends a call has claimed it, and says as whom; so after an exception between two steps it can be asked who
must bring it to an end (`mend`).  Until somebody has claimed it, it is anybody's.
Rule 2: in the child of a fork a call is the parent's: it is not ended there, and who waits gets ForkedError.
"""

from __future__ import annotations

import concurrent.futures
import os
from _thread import get_ident
from time import perf_counter
from typing import Any, Generic, TypeVar

from hub_api import ForkedError
from hub_threadpool._future import make_up

TYPE_CHECKING = False
if TYPE_CHECKING:
    import contextvars
    from collections.abc import Callable

    from hub_threadpool._executor import _Crew
    from hub_threadpool._future import Future

T = TypeVar("T")


class Call(Generic[T]):
    """One call, from `submit` to its end."""

    __slots__ = ("_claims", "_load", "crew", "future", "name", "started_at")  # a million may wait

    future: Future[T]

    def __init__(
        self, crew: _Crew, load: tuple[Callable[..., T], tuple[Any, ...], dict[str, Any], contextvars.Context]
    ) -> None:
        self.crew = crew
        self._load: tuple[Callable[..., T], tuple[Any, ...], dict[str, Any], contextvars.Context] | None = load
        self._claims: list[object] = []
        self.name: str = getattr(load[0], "__qualname__", None) or repr(load[0])
        self.started_at = 0.0

    def claim(self, me: object) -> bool:
        """Whether `me` is the one that may end this call: the first that asks, also when it asks again."""
        if not self._claims:
            self._claims.append(me)  # of two the second is no harm
        return self._claims[0] is me

    @property
    def claimed(self) -> bool:
        """Whether somebody has claimed it."""
        return bool(self._claims)

    def run(self, me: object) -> None:
        """Make the call, unless somebody has begun it or it was cancelled.

        `me`: whoever claims it, once for each call.  An exception from outside that comes between two steps is the
        future's if it is claimed; else the caller's.
        """
        try:
            if self.claim(me):
                self._make()
        except BaseException as stray:  # a done callback's SystemExit, or what was thrown into this thread
            if not self.mend(me, stray):
                raise
            self.crew.report(self.future, stray)
        finally:
            del self, me  # a traceback holds this frame

    def _make(self) -> None:
        future = self.future
        value: Any = None  # only where the function returned it
        error: BaseException | None = None
        try:
            if not future.set_running_or_notify_cancel():
                return
            assert self._load is not None
            func, args, kwargs, context = self._load
            self._load = None
            self.started_at = perf_counter()
            try:
                value = context.run(func, *args, **kwargs)
            except BaseException as raised:  # SystemExit too: it is the caller's, and must not end the worker
                error = raised
            del func, args, kwargs, context  # whatever they hold must not live as long as a done callback takes
            if self.crew.forked:
                return  # by the call itself, in the child: the future is the parent's, and its lock may be held
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(value)
        finally:
            del future, value, error, self  # a traceback holds this frame

    def refuse(self, error: BaseException | None) -> None:
        """End it without having made it: by `error`, or as cancelled.  Nothing if somebody has begun it."""
        me = object()
        try:
            if not self.claim(me):
                return
            self._load = None
            if error is None:
                self.future.cancel()
            if self.future.set_running_or_notify_cancel():
                assert error is not None
                self.future.set_exception(error)
        except BaseException as stray:
            self.mend(me, error if error is not None else stray)
            raise

    def mend(self, me: object, error: BaseException) -> bool:
        """After an exception where none should be: have the future ended, by `error` if it has no outcome.

        False if `me` has not claimed it.  May be called again.
        """
        if not self._claims or self._claims[0] is not me:
            return False
        if not self.crew.forked:
            try:
                if not self.future.done():
                    self.future.set_exception(error)
            except concurrent.futures.InvalidStateError:
                pass  # it was cancelled at this moment
            make_up(self.future)
        return True

    @property
    def forked(self) -> bool:
        """Whether this is the child of a fork, and the call the parent's."""
        return self.crew.forked

    def check(self) -> None:
        """Raise ForkedError in the child of a fork, where the thread that would make the call is no more."""
        if self.crew.forked:
            raise ForkedError(
                f"a future was under way when process {self.crew.pid} was forked: the threads of {self.crew.name!r} "
                f"are not in this child, {os.getpid()}; submit the call again"
            )

    def help(self) -> None:
        """Make the call here if this thread is one of the crew's and nobody has begun it."""
        if get_ident() in self.crew.idents:
            self.run(object())
