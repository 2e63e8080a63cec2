"""The life that all watchers share: idle, active, pending, closed.

Receives: `start`, `stop`, `close` from users, `_fire` from the mechanism that saw the event.  Gives: an entry in the
loop's line of watchers, and at last the call of the callback.
Rule 1: everything that changes `_active`, `_pending` or the loop's count of references is in this file and in
`_timers`.
Rule 2: a mechanism is armed before the watcher says that it is active, so a refusal by the system leaves it idle.
Rule 3: a stopped watcher has no callback; users test for that.
"""

from __future__ import annotations

from _thread import get_ident
from contextvars import Context, copy_context

from hub_loop._callback import struck_at_entry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any, Self, TypeVarTuple

    from hub_loop._loop import Loop

    Ts = TypeVarTuple("Ts")

MINPRI, MAXPRI = -2, 2


class Watcher:
    """Base of all watchers: see `hub_api.IWatcher`.  A kind says how it is armed (`_arm`) and disarmed (`_disarm`)."""

    __slots__ = (
        "__weakref__",
        "_active",
        "_args",
        "_callback",
        "_closed",
        "_context",
        "_pending",
        "_priority",
        "_ref",
        "loop",
    )

    def __init__(self, loop: Loop, ref: bool = True, priority: int | None = None) -> None:
        self.loop: Loop = loop
        self._ref = ref
        self._priority = 0 if priority is None else _clamp(priority)
        self._active = self._pending = self._closed = False
        self._callback: Callable[..., object] | None = None
        self._args: tuple[Any, ...] | None = None
        self._context: Context | None = None

    # -- what a kind fills in ---------------------------------------------------------------------------------------

    def _arm(self) -> None:
        """Have the mechanism call `_fire`.  May raise; the watcher is then still idle."""
        raise NotImplementedError

    def _disarm(self) -> None:
        """Undo `_arm`.  Idempotent, and fine if `_arm` was never called."""
        raise NotImplementedError

    def _forked(self) -> None:
        """This is a forked child, and its loop has a new poller: make anew what `_arm` got from the system.

        Called once for each active watcher, before the child's first turn; fds in the poller are armed already.
        """

    # -- life -------------------------------------------------------------------------------------------------------

    def start(self, callback: Callable[[*Ts], object], /, *args: *Ts) -> None:
        """Call `callback(*args)` at each event: see `hub_api.IWatcher.start`."""
        self._start(callback, args)

    def _start(self, callback: Callable[..., object], args: tuple[Any, ...]) -> None:
        loop = self.loop
        if get_ident() != loop._thread:
            loop._refuse(f"start {self!r}", "loop.run_callback_threadsafe(watcher.start, callback)")
        if not callable(callback):
            raise TypeError(f"cannot start {self!r} with {callback!r}: a callback must be callable")
        context = copy_context() or None
        if not self._active:
            if self._closed:
                raise ValueError(f"cannot start {self!r}: it was closed; ask the loop for a new watcher")
            self._arm()
            self._active = True
            if self._ref:
                loop._refs += 1
            if loop.sleeping:
                loop.wakeup()
        self._callback = callback
        self._args = args
        self._context = context

    def stop(self) -> None:
        """Become idle and drop an event not yet delivered: see `hub_api.IWatcher.stop`."""
        if self._active:
            loop = self.loop
            if get_ident() != loop._thread and loop._thread:
                loop._refuse(f"stop {self!r}", "loop.run_callback_threadsafe(watcher.stop)")
            self._deactivate()
        self._disarm()  # also when idle: a KeyboardInterrupt may have come between arming and saying so
        self._pending = False
        self._callback = self._args = self._context = None

    def _deactivate(self) -> None:
        self._active = False
        if self._ref:
            self.loop._refs -= 1
            if self.loop.sleeping:  # as in Loop.unref
                self.loop.wakeup()

    def close(self) -> None:
        """Stop for good.  Idempotent."""
        self.stop()
        self._closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        self.close()

    # -- events -----------------------------------------------------------------------------------------------------

    def _fire(self) -> None:
        """The event has happened: queue the callback, once."""
        if not self._pending:
            # Not by a method of the loop: between here and the line there must be no call that an interrupt could end.
            self._pending = True
            if self._priority:
                self.loop._ranked = True
            self.loop._fired.append(self)

    def _run(self) -> None:
        """Deliver the event; called by the loop's batch.  What the callback raises is the batch's business."""
        if self._pending:
            context = self._its_context()  # a call, and so before the event counts as delivered
            self._pending = False
            callback = self._callback
            if callback is not None:
                try:
                    if context is None:
                        callback(*(self._args or ()))
                    else:
                        context.run(callback, *(self._args or ()))
                except BaseException as error:
                    self._pending = struck_at_entry(callback, error)
                    raise

    def _its_context(self) -> Context | None:
        """The context for one call, None for that of the loop: see `_batch`."""
        if self._context is not None:
            return self._context.copy()
        return Context() if self.loop._blank else None

    def _failed(self) -> None:
        """The callback raised.  Most kinds go on."""

    # -- attributes -------------------------------------------------------------------------------------------------

    @property
    def active(self) -> bool:
        """True from `start` until `stop`, or until a one-shot watcher fires."""
        return self._active

    @property
    def pending(self) -> bool:
        """True from the event until the callback starts."""
        return self._pending

    @property
    def closed(self) -> bool:
        """True after `close`, or when the loop has taken the fd away."""
        return self._closed

    @property
    def callback(self) -> Callable[..., object] | None:
        """What will be called, or None."""
        return self._callback

    @callback.setter
    def callback(self, callback: Callable[..., object] | None) -> None:
        if callback is not None and not callable(callback):
            raise TypeError(f"callback of {self!r} must be callable or None, got {callback!r}")
        self._check_setter("callback")
        self._callback = callback

    @property
    def args(self) -> tuple[Any, ...] | None:
        """What it will be called with, or None."""
        return self._args

    @args.setter
    def args(self, args: tuple[Any, ...] | None) -> None:
        if args is not None and not isinstance(args, tuple):
            raise TypeError(f"args of {self!r} must be a tuple or None, got {args!r}")
        self._check_setter("args")
        self._args = args

    @property
    def ref(self) -> bool:
        """Whether the watcher, while active, keeps `Loop.run` from returning."""
        return self._ref

    @ref.setter
    def ref(self, ref: bool) -> None:
        ref = bool(ref)
        if ref != self._ref:
            if get_ident() != self.loop._thread and self.loop._thread:
                self.loop._refuse(f"set ref of {self!r}", "loop.run_callback_threadsafe")
            self._ref = ref
            if self._active:
                self.loop._refs += 1 if ref else -1
                if self.loop.sleeping:
                    self.loop.wakeup()

    @property
    def priority(self) -> int | None:
        """From MINPRI to MAXPRI, 0 unless set: who goes first among events of one turn."""
        return self._priority

    @priority.setter
    def priority(self, priority: int | None) -> None:
        if self._active:
            raise AttributeError(f"cannot set the priority of {self!r} while it is active; stop it first")
        self._priority = 0 if priority is None else _clamp(priority)

    def _check_setter(self, name: str) -> None:
        """The loop may be about to call this watcher; one that is idle is an object like any other."""
        loop = self.loop
        if (self._active or self._pending) and get_ident() != loop._thread and loop._thread:
            loop._refuse(f"set {name} of {self!r}", "loop.run_callback_threadsafe(setattr, watcher, name, value)")

    def _details(self) -> str:
        """What the kind adds to the repr."""
        return ""

    def __repr__(self) -> str:
        words = [type(self).__name__.lower(), f"at {id(self):#x}"]
        words += [word for word in ("active", "pending", "closed") if getattr(self, "_" + word)] or ["idle"]
        if not self._ref:
            words.append("unref")
        if self._callback is not None:
            words.append(f"callback={self._callback!r} args={_short(self._args)}")
        return f"<{' '.join(words)}{self._details()}>"


def _short(args: tuple[Any, ...] | None) -> str:
    # Arguments may be huge, or may hold the watcher itself: name their types only.
    return f"({', '.join(type(arg).__name__ for arg in args or ())})"


def _clamp(priority: int) -> int:
    if not isinstance(priority, int):
        raise TypeError(f"priority must be an integer from {MINPRI} to {MAXPRI}, or None, got {priority!r}")
    return max(MINPRI, min(MAXPRI, priority))


def urgency(watcher: Watcher) -> int:
    """The key by which watchers are sorted: higher priorities first."""
    return -watcher._priority
