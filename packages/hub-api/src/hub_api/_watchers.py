"""What every loop's watchers promise: one Protocol for the common life, one per kind for what it adds.

A watcher is created by its loop, idle.  `start` makes it active: the loop then keeps it alive and calls back.  `stop`
makes it idle again and may be followed by another `start`.  `close` is the end.  All of it belongs to the loop's own
thread; the one exception is `IAsyncWatcher.send`.
"""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from types import TracebackType
from typing import Any, Literal, Protocol, Self, TypeVarTuple, overload

Ts = TypeVarTuple("Ts")


class ICallback(Protocol):
    """A function queued on the loop, to be called once.

    Truth value: true while it is queued and while it runs.
    """

    @property
    def callback(self) -> Callable[..., object] | None:
        """The function, or None from the moment it starts to run or is stopped."""
        ...

    @property
    def args(self) -> tuple[Any, ...] | None:
        """Its arguments, or None after it has run or was stopped."""
        ...

    @property
    def pending(self) -> bool:
        """True while it is queued and has not started."""
        ...

    def stop(self) -> None:
        """Do not run it.

        Idempotent; no effect on one that has run.  Call from: the loop's thread.  Switches: never.
        """
        ...

    def close(self) -> None:
        """The same as `stop`."""
        ...

    def __bool__(self) -> bool: ...


class IWatcher(Protocol):
    """An event loop watcher: calls its callback, in the loop's thread, when its event has happened.

    You must `close` it when you are done with it (or use it as a context manager), to give its resources back.
    """

    callback: Callable[..., object] | None
    """What will be called; None while stopped.  Settable: a callable or None."""

    args: tuple[Any, ...] | None
    """What it will be called with; None while stopped.  Settable: a tuple or None."""

    ref: bool
    """Whether the watcher, while active, keeps `run` from returning.  Settable at any time."""

    priority: int | None
    """Loop-specific; settable only while inactive."""

    @property
    def loop(self) -> Any:
        """The loop that made it."""
        ...

    @property
    def active(self) -> bool:
        """True from `start` until `stop`, or until a one-shot watcher fires."""
        ...

    @property
    def pending(self) -> bool:
        """True from the event until the callback starts."""
        ...

    @property
    def closed(self) -> bool:
        """True after `close`; for an io watcher also once `ILoop.closing_fd` has taken its fd away."""
        ...

    def start(self, callback: Callable[[*Ts], object], /, *args: *Ts) -> None:
        """Call `callback(*args)` at each event.  On an active watcher only callback and arguments are replaced.

        Call from: the loop's thread.  Switches: never.
        Raises TypeError if `callback` is not callable, ValueError after `close` or after the loop was destroyed.
        """
        ...

    def stop(self) -> None:
        """Become inactive; an event that was seen but not yet delivered is dropped.  Idempotent."""
        ...

    def close(self) -> None:
        """Stop, and give back what the loop holds for it.  Idempotent; the watcher cannot be started again."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None, /
    ) -> None: ...


class IIoWatcher(IWatcher, Protocol):
    """Watches one file descriptor; calls back in every turn in which it is ready, as long as the watcher is active."""

    @property
    def fd(self) -> int:
        """The file descriptor, or -1 once `ILoop.closing_fd` has taken it away."""
        ...

    @property
    def events(self) -> int:
        """What is watched: READ, WRITE or both.  An error or a hang-up counts as ready for each of them."""
        ...

    @overload
    def start(self, callback: Callable[[*Ts], object], /, *args: *Ts) -> None: ...
    @overload
    def start(self, callback: Callable[[*Ts], object], /, *args: *Ts, pass_events: Literal[False]) -> None: ...
    @overload
    def start(self, callback: Callable[[int, *Ts], object], /, *args: *Ts, pass_events: Literal[True]) -> None:
        """As `IWatcher.start`; with `pass_events=True` the callback gets the ready events before its arguments."""
        ...


class ITimerWatcher(IWatcher, Protocol):
    """Calls back once after a delay, or again and again.  Never early; late by at most one turn of the loop."""

    def start(self, callback: Callable[[*Ts], object], /, *args: *Ts, update: bool | None = None) -> None:
        """Call back `after` seconds from now.

        `update=False` counts from the loop's cached `now()` instead of the clock.
        """
        ...

    def again(self, callback: Callable[[*Ts], object], /, *args: *Ts, update: bool | None = None) -> None:
        """(Re)start a repeating timer so that it fires `repeat` seconds from now; start a one-shot one afresh."""
        ...


class IAsyncWatcher(IWatcher, Protocol):
    """Calls back in the loop's thread after `send`, which any thread or signal handler may call."""

    def send(self) -> None:
        """Wake the loop and have it call back.  Several sends before the callback count as one.

        Call from: any thread, or a Python signal handler.  Switches: never.
        """
        ...

    def send_ignoring_arg(self, ignored: object, /) -> None:
        """The same as `send`, for places that pass an argument."""
        ...


class ISignalWatcher(IWatcher, Protocol):
    """Calls back after the process received the signal.  Signals that come before the callback has run count as one.

    While one is active, the Python handler that was there before is not called; the last one that stops puts it back.
    """

    @property
    def signum(self) -> int:
        """The number of the signal."""
        ...


class IChildWatcher(IWatcher, Protocol):
    """Calls back once, when a child process has ended; with `trace`, also whenever it has stopped or continued.

    The watcher is inactive from the moment at which the callback for the end starts.  The child is then reaped: nobody
    else can wait for it.  One that is stopped before that leaves the child to be waited for by others.  Started again,
    a watcher that knows the end tells it again.
    """

    rpid: int
    """The process that the last event was about, 0 before the first.  Settable, and nobody reads it but its users."""

    rstatus: int
    """The wait status of the last event, as `os.waitstatus_to_exitcode` and `os.WIFSTOPPED` read it.  Settable.

    If somebody else has waited for the child, and the system does not tell what they got, it is that of exit code 255.
    """

    @property
    def pid(self) -> int:
        """The process that is watched."""
        ...


class IStatWatcher(IWatcher, Protocol):
    """Calls back when what `os.lstat(path)` says has changed: also when the path comes, goes, or is replaced.

    What counts as a change is what is between two looks, the first of which is taken by `start`.  Several changes
    between two calls of the callback are one.  The time of the last access does not count.
    """

    @property
    def path(self) -> str | bytes | PathLike[str] | PathLike[bytes]:
        """The path as it was given.  A relative one is looked up in the directory that is current at each look."""
        ...

    @property
    def interval(self) -> float:
        """Seconds between two looks, where the system does not notify; 0 for the loop's own choice.

        As it was given; `start` raises what is shorter than the loop allows, negative numbers included.
        """
        ...

    @property
    def attr(self) -> Any:
        """What `os.lstat` said at the last look; None if nothing was there, and before `start`."""
        ...

    @property
    def prev(self) -> Any:
        """The `attr` of the last callback, or of `start`, before the change that is told; None if nothing was there."""
        ...


class IRegistration(Protocol):
    """One fd's place in the poller for as long as its owner keeps it: registered once, readiness latched.

    The kernel is asked once, edge-triggered where it can be.  Each edge sets bits in `ready`; only the owner clears
    them, with `clear`, after a read or write that said "not now", or of a byte stream came back short.  So an owner
    tries first when the latch is set, and when it is not set waits without a system call: neither a read in vain nor
    a word to the kernel.

    `notify(events)` is called in the loop's turn, before any callback of that turn: it should only mark who is to go
    on.  `events` is what was wanted and is ready now, READ or WRITE or both, or 0 if the fd has left the loop.  An
    error or a hang-up counts as ready for both: whoever waits learns from its own call what is wrong.  What `notify`
    raises goes to `handle_error` with the registration as context, and the registration goes on.

    One file may have several numbers (`dup`); each is registered for itself, and leaves for itself.
    Call from: the loop's thread, all of it; elsewhere `InvalidThreadUseError`.  Switches: never.
    """

    ready: int
    """The latch: READ and WRITE bits seen and not cleared.  Readable; changed through `clear`.

    Where the poller knows no edges only what is wanted is looked for, so a bit may be missing that a `want` would find.
    An fd that the system cannot poll (a regular file) is ready for both, always.
    """

    @property
    def fd(self) -> int:
        """The file descriptor, or -1 after `close` or `ILoop.closing_fd`."""
        ...

    def want(self, events: int) -> None:
        """Have `notify(events)` called, once for each of `events`, when it becomes ready.  Look at `ready` first.

        An edge is told once: what is latched already is not told again, but for what is always ready.
        While something is wanted the loop's `run` goes on.  What `notify` raises is reported; but after an interrupt
        (KeyboardInterrupt, SystemExit), which `run` raises, the same is told again.
        Raises ValueError after `close`, and for a mask that is not READ, WRITE or both; OSError if the system has to be
        asked and refuses.
        """
        ...

    def unwant(self, events: int) -> None:
        """Take a `want` back.  Fine if it was told meanwhile, or never was."""
        ...

    def clear(self, events: int) -> None:
        """Say that `events` are not ready any more.

        Without effect on READ once the peer has said that it will send no more, because then a short read is not the
        last one; and where the fd is always ready.
        """
        ...

    def close(self) -> None:
        """Leave the poller; who still wants something is notified with 0.  Before `os.close`.  Idempotent.

        The number is then free: nothing of the old file is told to whoever gets it next, whatever was polled already.
        Io watchers of the fd leave with it, as by `ILoop.closing_fd`.
        """
        ...
