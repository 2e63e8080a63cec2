"""Who has the C library answer, in a lane of the pool: here a question is a call of the `socket` module.

Receives: calls.  Gives: what became of them, in callbacks of the loop.

The lane is called "dns", and its threads come on top of the pool's: whatever keeps those busy delays no lookup.

Rule 1: two calls are the same question only if the C library would see the same arguments; one whose arguments can
change while it is under way is like no other.
Rule 2: each who is told gets lists and an error of his own.
Rule 3: the C library does not say for how long an answer holds.  So nothing is kept unless the resolver was told a TTL.
"""

from __future__ import annotations

import copy
import socket
import time
from _thread import get_ident
from functools import partial
from typing import Any, NamedTuple

from hub_resolver import _steps
from hub_resolver._answers import AGAIN, FAILED, FOUND, NETWORK, NO_DATA, NO_NAME
from hub_resolver._errors import HOST_NOT_FOUND, TRY_AGAIN
from hub_resolver._errors import NO_DATA as NO_ADDRESS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Hashable
    from typing import Self

    from hub_api import IHub, ILane, ILaneJob
    from hub_resolver._cache import Cache

LANE = "dns"


class Call:
    """A call of one of the `socket` module's functions, as a question."""

    __slots__ = ("_hash", "_key", "args", "function")

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self.function = function
        self.args = args
        try:
            self._key: Hashable = (function.__name__, _key(args))
        except TypeError:
            self._key = object()
        self._hash = hash(self._key)  # it is looked up in half a dozen tables on its way

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Call) and self._key == other._key

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        return f"{self.function.__name__}({', '.join(map(repr, self.args))})"


def _key(value: Any) -> Hashable:
    """Equal for arguments between which no function makes a difference.  Raises TypeError for what has no such key."""
    kind = type(value)
    if kind is int:
        number: int = value
        return number
    if kind is str or kind is bytes or value is None:
        return kind, value  # with the type, for under `python -b` str and bytes must not be compared
    if kind is tuple:
        return tuple(map(_key, value))
    if isinstance(value, int) and kind is not bool:
        return int(value)  # members of enumerations are the numbers that they stand for
    raise TypeError(f"{value!r} may change, or compare as it likes")


class Called(NamedTuple):
    """What became of one call."""

    question: Call
    status: str
    """One of FOUND, NO_DATA, NO_NAME, AGAIN, FAILED: see `Answer.status`."""
    value: Any = None
    error: BaseException | None = None
    ttl: float | None = None
    """Seconds for which this holds, if the resolver was told."""
    elapsed: float = 0.0
    """Seconds from the question to the answer."""
    via: str = NETWORK
    """See `Answer.via`."""

    def again(self, ttl: float | None, via: str) -> Self:
        """The same, for somebody else who asks."""
        return self._replace(value=_own(self.value), error=_renewed(self.error), ttl=ttl, via=via, elapsed=0.0)

    def outcome(self) -> Any:
        """Return the value or raise the error."""
        if self.error is None:
            return self.value
        try:
            raise self.error
        finally:
            del self  # else the traceback would keep the error that keeps it


def _own(value: Any) -> Any:
    if isinstance(value, list):
        return list(value)
    return tuple(map(_own, value)) if isinstance(value, tuple) else value


def _renewed(error: BaseException | None) -> BaseException | None:
    """One that is the same, and has no traceback yet: that of an error grows with each who raises it."""
    if error is None:
        return None
    try:
        made = copy.copy(error).with_traceback(None)
    except Exception:  # of a class whose constructor wants other arguments than its instances have
        return error  # all share this one
    made.__cause__ = error.__cause__
    return made


class _Entry:
    __slots__ = ("began", "call", "done", "job")

    def __init__(self, call: Call, done: Callable[[Called], object]) -> None:
        self.call = call
        self.done = done
        self.began = time.monotonic()
        self.job: ILaneJob[Any] | None = None


class CallAsker:
    """Has calls made in the lane that `lane` gives: see `IAsks`."""

    def __init__(self, hub: IHub, lane: Callable[[], ILane], ttl: float | None) -> None:
        self._hub = hub
        self._lane = lane
        self._ttl = ttl
        self._live: dict[_Entry, None] = {}
        self._newest: ILaneJob[Any] | None = None

    def ask(self, call: Call, done: Callable[[Called], object], /) -> Callable[[], object]:
        """See `IAsks.ask`.  Raises what the lane raises where it takes no job."""
        entry = _Entry(call, done)
        job = entry.job = self._lane().submit(_steps.timed(call.function), *call.args)
        job.rawlink(partial(self._ended, entry))
        self._live[entry] = None  # last: what an interrupt leaves half asked is not listed
        self._newest = job
        return partial(self._cancel, entry)

    def settle(self) -> None:
        """Tell who asked last at once if that call has been made meanwhile: he need not wait for a turn of the loop."""
        job, self._newest = self._newest, None
        if job is not None:
            job.take()

    def close(self) -> None:
        """See `IAsks.close`.  What a thread has begun goes on, and nobody is told."""
        live, self._live = self._live, {}
        if get_ident() == self._hub.thread_ident:  # else the thread has ended, and its pool with it
            for entry in live:
                if entry.job is not None:
                    entry.job.cancel()

    def _cancel(self, entry: _Entry) -> bool:
        """Take the call back, unless a thread has begun it: then it is False."""
        if entry not in self._live or entry.job is None:
            return True
        del self._live[entry]  # first: a job that is cancelled tells so at once
        if entry.job.cancel():
            return True
        self._live[entry] = None
        return False

    def _ended(self, entry: _Entry, job: ILaneJob[Any]) -> None:
        """Tell who asked, and then forget him.  An interrupt may come between two steps; then the loop goes on here."""
        if entry not in self._live:
            return
        try:
            elapsed = time.monotonic() - entry.began
            entry.done(called(entry.call, job.value, job.exception, self._ttl, elapsed))
        except BaseException as error:
            if isinstance(error, Exception):
                self._live.pop(entry, None)
            else:
                self._hub.loop.run_callback(self._ended, entry, job)
            raise
        self._live.pop(entry, None)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} at {id(self):#x} asking={len(self._live)}>"


def check_ttl(ttl: float | None) -> None:
    """Raises ValueError for what is no time to keep an answer of the C library."""
    if ttl is not None and not ttl > 0:
        raise ValueError(f"ttl must be seconds, or None to keep nothing, got {ttl!r}")


def from_cache(
    cache: Cache[Call, Called], ttl: float | None, call: Call, make: Callable[[Callable[..., Any], Any], Any]
) -> Any:
    """What is known of the call, else what comes of it, made as `make(function, args)` on the spot."""
    function = _steps.timed(call.function)
    if ttl is None or not cache.size:
        return make(function, call.args)
    notes = _steps.current()
    began = notes.now() if notes else 0.0
    known = cache.known(call)
    if known is None:
        epoch = cache.epoch
        try:
            known = called(call, make(function, call.args), None, ttl, 0.0)
        except OSError as error:
            known = called(call, None, error, ttl, 0.0)
        known = cache.keep(call, known, epoch)
    if notes:
        notes.answered(call, known, began)
    try:
        return known.outcome()
    finally:
        del known  # as in `Called.outcome`


def called(call: Call, value: Any, error: BaseException | None, ttl: float | None, elapsed: float) -> Called:
    """What became of a call that gave `value` or raised `error`."""
    status = FOUND if error is None else _status(error)
    return Called(call, status, value, error, ttl, elapsed)


_STATUSES: dict[type, dict[int, str]] = {
    socket.gaierror: {socket.EAI_NONAME: NO_NAME, socket.EAI_NODATA: NO_DATA, socket.EAI_AGAIN: AGAIN},
    socket.herror: {HOST_NOT_FOUND: NO_NAME, NO_ADDRESS: NO_DATA, TRY_AGAIN: AGAIN},
}


def _status(error: BaseException) -> str:
    number = error.errno if isinstance(error, OSError) else None
    return FAILED if number is None else _STATUSES.get(type(error), {}).get(number, FAILED)
