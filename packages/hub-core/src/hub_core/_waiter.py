"""The Waiter: one wait of one greenlet, and its outcome.

Receives: `switch`/`throw` from callbacks and other greenlets.  Gives: the outcome, out of `get`.

Rule 1: `switch` and `throw` only mark (law 1): they store the outcome and make the waiting greenlet ready.
Rule 2: nothing travels on the greenlet's switch (law 4).  The greenlet that wakes reads its own Waiter, and if there
is nothing in it, it was a stranger who woke it.
Rule 3: no outcome is lost.  One for a greenlet that waits is delivered to it; one that comes without a waiting
greenlet, or while the delivery of another is under way, is stored for the next `get`; and when the greenlet is killed
before it could take its delivery, that is stored too.
Rule 4: an interrupt does not undo what a callback was told.  One that comes as `switch` is entered has the loop call it
again; one that comes in the middle is raised when the outcome is stored (test_signals.py).
"""

from __future__ import annotations

from _thread import get_ident

from greenlet import GreenletExit, getcurrent

from hub_api import ConcurrentObjectUseError, InvalidSwitchError
from hub_core._local import this_hub

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any, NoReturn

    from greenlet import greenlet

    from hub_core._hub import Hub


WAIT_REMEDY = "one of this thread's hub here, and hub.loop.run_callback_threadsafe to wake who waits there"


class _Nothing:
    """Stands where an outcome is missing; None is an outcome."""

    def __repr__(self) -> str:
        return "nothing"


NOTHING = _Nothing()


class _Thrown:
    """An exception as an outcome: the arguments of `throw`, as they were given."""

    __slots__ = ("args",)

    def __init__(self, args: tuple[Any, ...]) -> None:
        self.args = args


class _Pair:
    """An outcome under way to the waiting greenlet, and the one that came after it, for the next `get`."""

    __slots__ = ("first", "second")

    def __init__(self, first: Any, second: Any) -> None:
        self.first = first
        self.second = second


class Waiter:
    """A low-level way to park a greenlet until somebody has a value or an exception for it.

    `get` parks the calling greenlet until `switch(value)` or `throw(...)` is called; if that happened before, it
    returns without parking.  A waiter serves one greenlet at a time; `clear` makes it fit for another wait.
    Call from: the hub's thread.  `get`: any greenlet but the hub; `switch` and `throw`: anywhere in that thread.
    """

    __slots__ = ("_outcome", "greenlet", "hub", "reason")

    def __init__(self, hub: Hub | None = None) -> None:
        self.hub: Hub = this_hub() if hub is None else hub
        self.greenlet: greenlet | None = None
        """The greenlet that waits in `get`, or None."""
        self.reason: object = None
        """What the wait is for, if that is more than the waiter itself."""
        # With a greenlet: what is being delivered to it.  Without: what is stored.
        self._outcome: Any = NOTHING

    def switch(self, value: Any = None, /) -> None:
        """Make `value` the outcome; a waiting greenlet gets it and is made ready.

        Call from: the hub's thread, callbacks included.  Switches: never.
        Raises InvalidThreadUseError elsewhere: use `hub.loop.run_callback_threadsafe(waiter.switch, value)`.
        """
        hub = self.hub
        try:
            here = get_ident() == hub.thread_ident
        except BaseException:
            self.switch(value)  # the call cannot fail: this is an interrupt, and what we were told has happened
            raise
        if not here:
            hub.refuse(f"switch {self!r}", "hub.loop.run_callback_threadsafe(waiter.switch, value)")
        greenlet = self.greenlet
        if greenlet is None:
            self._outcome = value
        elif self._outcome is NOTHING:
            loop = hub.loop
            if loop is None:
                hub.refuse(f"switch {self!r}", "a Waiter of this thread's hub")
            if loop.sleeping:  # we are a signal handler inside the poll
                loop.wakeup()
            self._outcome = value
            hub._ready.append(greenlet)  # right behind the store: no signal handler comes between the two
        else:
            self._outcome = _Pair(self._outcome.first if type(self._outcome) is _Pair else self._outcome, value)

    def switch_args(self, *args: Any) -> None:
        """The same as `switch(args)`."""
        self.switch(args)

    def throw(self, *throw_args: Any) -> None:
        """Make an exception the outcome: a class, an instance, or a `(type, value, traceback)` triple.

        Without arguments it is GreenletExit.
        Call from, switches, raises: as `switch`; TypeError if the arguments do not make an exception.
        """
        _check_throwable(throw_args)
        self.switch(_Thrown(throw_args))

    def get(self) -> Any:
        """Return the value, or raise the exception; a stored one at once and again and again, else when it comes.

        Call from: any greenlet but the hub.  Switches: if nothing is stored.
        Raises BlockingSwitchOutError in a callback, ConcurrentObjectUseError if another greenlet waits already,
        InvalidSwitchError if a stranger switches to the greenlet.
        """
        outcome = self._outcome
        if outcome is NOTHING or self.greenlet is not None:
            if type(outcome) is _Pair:
                outcome = outcome.second  # stored while another greenlet is about to get the first
                return _raise(*outcome.args) if type(outcome) is _Thrown else outcome
            hub = self.hub
            current = getcurrent()
            # Who runs by the hub's own word is in its thread; to ask for the thread's number costs 30 ns more.
            if hub._lane.running is not current and (get_ident() != hub.thread_ident or hub.loop is None):
                hub.refuse(f"wait on {self!r}", WAIT_REMEDY)
            if self.greenlet is not None:
                raise ConcurrentObjectUseError(
                    f"{current!r} cannot wait on {self!r}: {self.greenlet!r} already does; use one Waiter per wait"
                )
            self.greenlet = current
            try:
                hub.park(current, self)
            except BaseException:
                self._cut_short(current)
                raise
            self.greenlet = None
            outcome = self._outcome
            self._outcome = NOTHING
            if type(outcome) is _Pair:
                outcome, self._outcome = outcome.first, outcome.second
            if outcome is NOTHING:
                self._raise_invalid_switch(current)
        if type(outcome) is _Thrown:
            _raise(*outcome.args)
        return outcome

    def _cut_short(self, current: greenlet) -> None:
        """The wait of `current` ends by an exception.  If a delivery was under way, it stays as what is stored."""
        if self._outcome is not NOTHING:
            if type(self._outcome) is _Pair:
                self._outcome = self._outcome.first
            self.hub.forget_ready(current)
        self.greenlet = None

    def _abandon(self) -> None:
        """The greenlet that waits stays behind a fork: what comes, or is under way to it, is stored.  Idempotent."""
        self.greenlet = None
        if type(self._outcome) is _Pair:
            self._outcome = self._outcome.second

    def _raise_invalid_switch(self, current: greenlet) -> NoReturn:
        raise InvalidSwitchError(
            f"invalid switch into {current!r}: a stranger resumed it while it waited on {self!r} of {self.hub!r}; "
            f"wake it by waiter.switch(value) or waiter.throw(error), not by greenlet.switch()"
        )

    def clear(self) -> None:
        """Forget the stored outcome, so that the waiter can be used for another wait."""
        if get_ident() != self.hub.thread_ident:
            self.hub.refuse(f"clear {self!r}", "hub.loop.run_callback_threadsafe(waiter.clear)")
        if self.greenlet is None:
            self._outcome = NOTHING
        elif type(self._outcome) is _Pair:
            self._outcome = self._outcome.first

    def _stored(self) -> Any:
        if self.greenlet is None:
            return self._outcome
        return self._outcome.second if type(self._outcome) is _Pair else NOTHING

    def ready(self) -> bool:
        """Whether an outcome is stored."""
        return self._stored() is not NOTHING

    def successful(self) -> bool:
        """Whether a value is stored, and not an exception."""
        stored = self._stored()
        return stored is not NOTHING and type(stored) is not _Thrown

    @property
    def value(self) -> Any:
        """The stored value, or None."""
        return self._stored() if self.successful() else None

    @property
    def exc_info(self) -> tuple[Any, ...] | None:
        """The arguments of a stored `throw`, as they were given, or None."""
        stored = self._stored()
        return stored.args if type(stored) is _Thrown else None

    def __call__(self, source: Any) -> None:
        """Take over the outcome of `source` (its `exception`, or its `value`): the field's link protocol."""
        if source.exception is None:
            self.switch(source.value)
        else:
            self.throw(source.exception)

    def __str__(self) -> str:
        text = f"<{type(self).__name__} greenlet={self.greenlet}"
        if self.successful():
            return f"{text} value={self.value!r}>"
        return f"{text} exc_info={self.exc_info}>" if self.ready() else f"{text}>"

    __repr__ = __str__


def _check_throwable(throw_args: tuple[Any, ...]) -> None:
    kind = throw_args[0] if throw_args else GreenletExit
    if len(throw_args) > 3 or not _is_raisable(kind):
        raise TypeError(
            f"throw takes an exception class, an instance or a (type, value, traceback) triple, got {throw_args!r}"
        )


def check_raisable(error: object, what: str) -> None:
    """Raise TypeError unless `error`, which is `what`, can be raised: at the call, while there is somebody to tell."""
    if not _is_raisable(error):
        raise TypeError(f"{what} must be an exception class or an instance, got {error!r}")


def _is_raisable(error: object) -> bool:
    return isinstance(error, BaseException) or (isinstance(error, type) and issubclass(error, BaseException))


def _raise(kind: Any = GreenletExit, value: Any = None, traceback: TracebackType | None = None) -> NoReturn:
    """Raise what `throw` was given, by the rules of `greenlet.throw`."""
    if isinstance(kind, BaseException):
        error = kind
    elif isinstance(value, kind):
        error = value
    elif value is None:
        error = kind()
    else:
        error = kind(*value) if isinstance(value, tuple) else kind(value)
    if traceback is not None:
        error = error.with_traceback(traceback)
    raise error
