"""Futures: calls of an executor, as the standard library knows them, whose waits park the greenlet and not the thread.

Receives: outcomes, set by whichever thread makes the call.  Gives: `Future`, and `wait` and `as_completed`, which take
any future of `concurrent.futures`.

The states are those of `concurrent.futures.Future`, and that class keeps them; ours adds who waits.  Its own part hangs
on one done callback, the first of each future: it copies the outcome, so that to read it takes no lock, and tells those
who wait.

Rule 1: of the standard library's class only the public methods are used.
Rule 2: a future ends without help of any hub, in the thread that makes its call; so a thread that blocks, be it in
`concurrent.futures.wait`, is late and never stuck.
Rule 3: who waits links first and looks afterwards; who ends a future marks it first and looks for links afterwards.
Rule 4: an exception may come between any two steps, and another thread be between the standard library's state and
ours.  So whoever finds the one without the other makes up for it (`_conclude`, which may be called again); a link is
told first and removed afterwards; and who is told twice takes it once.
Rule 5: in the child of a fork a future that has not ended is asked nothing that takes the standard library's lock: a
thread of the parent's may hold it there for ever.
"""

from __future__ import annotations

import concurrent.futures
import threading
import time
from collections import deque
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION, CancelledError
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from hub_api import ICallback, IHub

T = TypeVar("T")


class ICall(Protocol):
    """What a future asks of the call that will end it."""

    @property
    def forked(self) -> bool:
        """Whether it is the parent's, and this is the child of a fork."""
        ...

    def check(self) -> None:
        """Raise if nobody will ever make it."""
        ...

    def help(self) -> None:
        """Make it now, if the current thread is one of those that would and nobody has begun."""
        ...


class Future(concurrent.futures.Future[T]):
    """A call of a `ThreadPoolExecutor`; a `concurrent.futures.Future` whose waits park the calling greenlet.

    In a thread that has no hub they block that thread.  The functions of `add_done_callback` are called by whoever ends
    the future, so usually in a worker: what they want to tell a greenlet goes through `run_callback_threadsafe`.
    Call from: any thread.
    """

    def __init__(self, hub: IHub, call: ICall | None = None) -> None:
        super().__init__()
        self._hub = hub
        self._call = call
        self._links: deque[_Sleeper] = deque()
        self._ended = self._revoked = False
        self._value: Any = None
        self._error: BaseException | None = None
        super().add_done_callback(_conclude)

    def done(self) -> bool:
        """Whether it has ended, or was cancelled.  In the child of a fork a call that was under way never has."""
        return self._ended or (not self._is_the_parents() and super().done())

    def running(self) -> bool:
        """Whether the call is being made."""
        return not self._ended and not self._is_the_parents() and super().running()

    def cancelled(self) -> bool:
        """Whether it was cancelled."""
        if self._ended:
            return self._revoked
        return not self._is_the_parents() and super().cancelled()

    def cancel(self) -> bool:
        """Cancel the call if nobody has begun it; returns whether it is cancelled."""
        if self._is_the_parents():
            return False
        try:
            return super().cancel()
        finally:
            if not self._ended and super().done():
                _conclude(self)  # an interrupt has come in between

    def add_done_callback(self, fn: Callable[[concurrent.futures.Future[T]], object]) -> None:
        """Have `fn(future)` called by whoever ends it; at once if it has ended.

        Raises ForkedError in the child of a fork if it was under way there.
        """
        if self._call is not None and not self._ended:
            self._call.check()
        super().add_done_callback(fn)

    def result(self, timeout: float | None = None) -> T:
        """Return the value of the call, or raise its exception; again and again.

        Switches: if it has not ended; in a thread without a hub it blocks.
        Raises TimeoutError after `timeout` seconds, CancelledError, ForkedError in the child of a fork,
        BlockingSwitchOutError in a callback of the loop if it has not ended.
        """
        if not self._ended:
            self._await(timeout)
        try:
            if self._revoked:
                raise CancelledError
            if self._error is not None:
                raise self._error
            value: T = self._value
            return value
        finally:
            del self  # the traceback holds this frame, which would hold the exception that holds the traceback

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return the exception of the call, or None if it returned.  Otherwise as `result`."""
        if not self._ended:
            self._await(timeout)
        if self._revoked:
            raise CancelledError
        return self._error

    def __repr__(self) -> str:
        if self._is_the_parents():
            return f"<Future at {id(self):#x} of the parent of this forked process>"
        return super().__repr__()

    def _is_the_parents(self) -> bool:
        call = self._call
        return call is not None and not self._ended and call.forked

    def _await(self, timeout: float | None) -> None:
        self._check()
        if timeout is None:
            self._help()
        if super().done():
            _conclude(self)
            return
        sleeper = _sleeper(self._hub, self, timeout)
        self._link(sleeper)
        try:
            while not self._ended and sleeper.sleep():
                pass
        finally:
            self._unlink(sleeper)
        if not self._ended:
            raise TimeoutError(f"{self!r} has not ended after {timeout} seconds")

    def _check(self) -> None:
        """Before a wait: see that it can end."""
        call = self._call
        if call is not None and not self._ended:
            call.check()

    def _help(self) -> None:
        """Before a wait without end: make the call here, if this thread is one that would and nobody has begun."""
        call = self._call
        if call is not None and not self._ended:
            call.help()

    def _link(self, sleeper: _Sleeper) -> None:
        self._links.append(sleeper)
        if self.done():
            _conclude(self)

    def _unlink(self, sleeper: _Sleeper) -> None:
        try:
            self._links.remove(sleeper)
        except ValueError:
            pass  # told already

    def _tell(self) -> None:
        while True:
            try:
                sleeper = self._links[0]
            except IndexError:
                return
            sleeper.tell(self)
            self._unlink(sleeper)


def _conclude(future: concurrent.futures.Future[T]) -> None:
    """The first done callback of each future: it has ended, so keep the outcome and tell who waits.

    May be called again, and by several threads at a time.
    """
    assert isinstance(future, Future)
    if not future._ended:
        base: Any = super(Future, future)  # mypy has no type for it
        revoked = base.cancelled()
        if not revoked:
            future._error = base.exception()
            if future._error is None:
                future._value = base.result()
        future._revoked = revoked
        future._ended = True
    future._call = None
    future._tell()


def make_up(future: Future[Any]) -> None:
    """After an exception in who ends a future: have those who wait told, if it has ended.  May be called again."""
    if future.done():
        _conclude(future)


# -- several at a time ------------------------------------------------------------------------------------------------


class DoneAndNotDone(NamedTuple, Generic[T]):
    """What `wait` returns: two sets of futures."""

    done: set[concurrent.futures.Future[T]]
    not_done: set[concurrent.futures.Future[T]]


def wait(
    fs: Iterable[concurrent.futures.Future[T]], timeout: float | None = None, return_when: str = ALL_COMPLETED
) -> DoneAndNotDone[T]:
    """Wait for futures, as `concurrent.futures.wait` does, and park the calling greenlet instead of its thread.

    `return_when` is FIRST_COMPLETED, FIRST_EXCEPTION or ALL_COMPLETED of `concurrent.futures`.
    Call from: any thread.  Switches: if there is something to wait for; in a thread without a hub it blocks.
    Raises ValueError for another `return_when`, TypeError if no future is one of ours, ForkedError if one of them was
    under way at a fork, in the child.
    """
    if return_when not in (FIRST_COMPLETED, FIRST_EXCEPTION, ALL_COMPLETED):
        raise ValueError(f"return_when must be FIRST_COMPLETED, FIRST_EXCEPTION or ALL_COMPLETED, got {return_when!r}")
    futures = set(fs)
    done = {future for future in futures if future.done()}
    left = futures - done
    if left and not _enough(done, return_when):
        sleeper = _sleeper_for(left, _hub_of(futures), timeout)
        try:
            _link_all(left, sleeper)
            idle = _not_begun(left, timeout)
            while left and sleeper.sleep_after(idle):
                ended = sleeper.take() & left
                done |= ended
                idle -= ended
                left -= ended
                if ended and _enough(ended, return_when):
                    break
        finally:
            _unlink_all(left, sleeper)
    return DoneAndNotDone(done, left)


def _enough(done: set[concurrent.futures.Future[T]], return_when: str) -> bool:
    if return_when == FIRST_COMPLETED:
        return bool(done)
    if return_when == FIRST_EXCEPTION:
        return any(not future.cancelled() and future.exception() is not None for future in done)
    return False


def as_completed(
    fs: Iterable[concurrent.futures.Future[T]], timeout: float | None = None
) -> Iterator[concurrent.futures.Future[T]]:
    """Yield futures as they end, as `concurrent.futures.as_completed` does, and park between them.

    Those that have ended come first; one that is given twice comes once.  It keeps no future that it has yielded.
    Call from: any thread.  Switches: if the next one has not ended; in a thread without a hub it blocks.
    Raises TimeoutError `timeout` seconds after the first `next`, TypeError if no future is one of ours, ForkedError if
    one of them was under way at a fork, in the child.
    """
    left = set(fs)
    del fs  # a generator's arguments live as long as it does
    count, hub = len(left), _hub_of(left)
    ready = deque(future for future in left if future.done())
    left.difference_update(ready)
    sleeper = _sleeper_for(left, hub, timeout) if left else None
    idle = _not_begun(left, timeout)
    try:
        if sleeper is not None:
            _link_all(left, sleeper)
        while True:
            while ready:
                yield ready.popleft()
            if sleeper is None or not left:
                return
            if not sleeper.sleep_after(idle):
                raise TimeoutError(f"{len(left)} (of {count}) futures unfinished")
            ready.extend(sleeper.take() & left)
            left.difference_update(ready)
            idle.difference_update(ready)
    finally:
        if sleeper is not None:
            _unlink_all(left, sleeper)


def _hub_of(futures: set[concurrent.futures.Future[T]]) -> IHub | None:
    """The hub that one of the futures knows, and through it that of the current thread."""
    return next((future._hub for future in futures if isinstance(future, Future)), None)


def _sleeper_for(futures: set[concurrent.futures.Future[T]], hub: IHub | None, timeout: float | None) -> _Sleeper:
    if hub is None:
        raise TypeError(
            f"none of the {len(futures)} unfinished futures comes from a hub_threadpool.ThreadPoolExecutor; for others "
            "use concurrent.futures.wait or as_completed, which block the thread"
        )
    for future in futures:
        if isinstance(future, Future):
            future._check()
    return _sleeper(hub, list(futures), timeout)


def _not_begun(futures: set[concurrent.futures.Future[T]], timeout: float | None) -> set[concurrent.futures.Future[T]]:
    """Those that may be made here before a wait: for a wait that has a time, none."""
    return set(futures) if timeout is None else set()


def _link_all(futures: set[concurrent.futures.Future[T]], sleeper: _Sleeper) -> None:
    for future in futures:
        if isinstance(future, Future):
            future._link(sleeper)
        else:
            future.add_done_callback(sleeper.tell)


def _unlink_all(futures: set[concurrent.futures.Future[T]], sleeper: _Sleeper) -> None:
    for future in futures:
        if isinstance(future, Future):
            future._unlink(sleeper)
    sleeper.awake = True  # a stranger's future has no way to take a callback back


# -- how to wait ------------------------------------------------------------------------------------------------------


class _Sleeper:
    """One wait for futures that end in other threads."""

    def __init__(self, timeout: float | None) -> None:
        self.awake = False
        self._told: deque[concurrent.futures.Future[Any]] = deque()
        self._deadline = None if timeout is None else time.monotonic() + timeout

    def tell(self, future: concurrent.futures.Future[Any]) -> None:
        """`future` has ended.  Call from: any thread."""
        if not self.awake:
            self._told.append(future)
            self._wake()

    def take(self) -> set[concurrent.futures.Future[Any]]:
        """Those that were told of since the last time."""
        taken = set()
        while self._told:
            taken.add(self._told.popleft())
        return taken

    def sleep_after(self, futures: set[concurrent.futures.Future[Any]]) -> bool:
        """Make calls that nobody has begun, if this thread is one that would, until something is told; then `sleep`."""
        while futures and not self._told:
            future = futures.pop()
            if isinstance(future, Future):
                future._help()
        return self.sleep()

    def sleep(self) -> bool:
        """Return once something is told: True.  Or when the time is up: False."""
        raise NotImplementedError

    def _wake(self) -> None:
        raise NotImplementedError

    def _seconds_left(self) -> float | None:
        return None if self._deadline is None else self._deadline - time.monotonic()


class _Parked(_Sleeper):
    """The wait of a greenlet."""

    def __init__(self, hub: IHub, reason: object, timeout: float | None) -> None:
        super().__init__(timeout)
        self._hub, self._loop = hub, hub.loop
        self._waiter = hub.waiter()
        self._waiter.reason = reason
        self._posted: ICallback | None = None
        self._late = False

    def sleep(self) -> bool:
        self._waiter.clear()
        seconds = self._seconds_left()
        if self._told:
            return True
        if seconds is not None and seconds <= 0:
            return False
        timer = None if seconds is None else self._loop.timer(seconds)
        self._loop.ref()  # a thread is at work, which the loop cannot see
        try:
            if timer is not None:
                timer.start(self._time_is_up)
            self._waiter.get()
        finally:
            self._loop.unref()
            if timer is not None:
                timer.close()
        return bool(self._told) or not self._late

    def _time_is_up(self) -> None:
        self._late = True
        self._waiter.switch(None)

    def _wake(self) -> None:
        posted = self._posted
        if posted is None or not posted.pending:  # the loop marks it as begun before it calls, and so before the look
            try:
                self._posted = self._loop.run_callback_threadsafe(self._arrive)
            except ValueError:
                pass  # the loop was destroyed meanwhile, and its greenlets with it

    def _arrive(self) -> None:
        if self._hub.loop is self._loop:
            self._waiter.switch(None)


class _Blocked(_Sleeper):
    """The wait of a thread that has no hub."""

    def __init__(self, timeout: float | None) -> None:
        super().__init__(timeout)
        self._event = threading.Event()

    def sleep(self) -> bool:
        self._event.clear()
        if self._told:
            return True
        return self._event.wait(self._seconds_left())

    def _wake(self) -> None:
        self._event.set()


def _sleeper(hub: IHub, reason: object, timeout: float | None) -> _Sleeper:
    here = hub.of_this_thread()
    if here is None or here.loop is None:
        return _Blocked(timeout)
    return _Parked(here, reason, timeout)
