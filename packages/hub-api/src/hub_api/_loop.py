"""What an event loop promises.

`ILoopCore` is what a hub needs of a loop.  `ILoop` is the whole documented interface: the same with the watchers for
signals, child processes, forks and paths.  A loop says which of them it is by what it implements; the family's own
checks are static.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from os import PathLike
from types import TracebackType
from typing import Protocol, TypeVarTuple

from hub_api._watchers import (
    IAsyncWatcher,
    ICallback,
    IChildWatcher,
    IIoWatcher,
    IRegistration,
    ISignalWatcher,
    IStatWatcher,
    ITimerWatcher,
    IWatcher,
)

Ts = TypeVarTuple("Ts")


class IErrorHandler(Protocol):
    """Whoever is told of exceptions that a loop's callbacks raise."""

    def handle_error(
        self, context: object, type: type[BaseException], value: BaseException, tb: TracebackType | None, /
    ) -> None:
        """Deal with one exception.

        `context` is what raised or failed: a callback, a watcher, a registration, or what else a caller of the loop's
        `handle_error` names; the loop itself where it was short of something, which passes; None for a failure of the
        loop that does not pass, and for an interrupt between two calls.
        """
        ...


class IForkListener(Protocol):
    """Whoever runs greenlets, say, on a loop, and must know that this is a forked child."""

    def loop_forked(self) -> None:
        """Called inside `os.fork()`, in the child, in the loop's thread, after each fork.

        The loop cannot be used yet.  Must take no lock, ask the system nothing, and raise nothing.  What a signal
        handler raises may end it at any moment: then it is called again in the same child, and does the rest.
        """
        ...

    def loop_renewed(self, watchers: Iterable[IWatcher], notified: Iterable[Callable[[int], object]]) -> None:
        """Called once at the loop's first use in the child, before any callback: it works again.

        `watchers`: all that are active or pending.  `notified`: the functions that registrations notify.
        """
        ...


class ILoopCore(Protocol):
    """An event loop as a hub uses it.

    Call from: the thread that made it, but for `run_callback_threadsafe`, `wakeup` and `IAsyncWatcher.send`; elsewhere
    `InvalidThreadUseError`.  Switches: never; a loop has not heard of greenlets.  After `destroy`: ValueError.
    """

    error_handler: IErrorHandler | None
    """Told of every exception raised by a callback; None prints the traceback."""

    busy: Callable[[], object] | None
    """Asked before each poll that may block: while it returns something true, the poll does not block.

    For who runs greenlets, say, beside the loop's callbacks.  Not to be called by users; None asks nobody.
    """

    sleeping: bool
    """True while the loop is in a poll that may block: seen by signal handlers inside it, and by other threads."""

    @property
    def default(self) -> bool:
        """Whether this is the main thread's loop, which outlives the hubs that use it."""
        ...

    @property
    def approx_timer_resolution(self) -> float:
        """Seconds: delays closer together than this are not told apart by the poller."""
        ...

    @property
    def MINPRI(self) -> int:
        """The lowest priority of a watcher."""
        ...

    @property
    def MAXPRI(self) -> int:
        """The highest priority of a watcher."""
        ...

    @property
    def activecnt(self) -> int:
        """How many things keep `run` from returning."""
        ...

    @property
    def pendingcnt(self) -> int:
        """How many events and callbacks are queued and have not run."""
        ...

    def run(self, nowait: bool = False, once: bool = False) -> bool:
        """Take turns until nothing is left that could happen, or until `break_`.

        `nowait`: one turn that does not block.  `once`: one turn, which blocks until there is something to do.
        Returns whether anything is left that could still happen.
        """
        ...

    def break_(self) -> None:
        """Have `run` return at the end of this turn."""
        ...

    def now(self) -> float:
        """Seconds on the monotonic clock, as read last."""
        ...

    def update_now(self) -> None:
        """Read the clock."""
        ...

    def ref(self) -> None:
        """Keep `run` from returning, until as many `unref`."""
        ...

    def unref(self) -> None:
        """Take one `ref` back, or let `run` return in spite of one active watcher."""
        ...

    def destroy(self) -> None:
        """Stop everything and give all file descriptors back.  Idempotent."""
        ...

    def fileno(self) -> int | None:
        """The file descriptor that is ready when the loop has something to do, or None if its poller has none."""
        ...

    def run_callback(self, func: Callable[[*Ts], object], /, *args: *Ts) -> ICallback:
        """Call `func(*args)` in the callback batch of this turn or of the next; first in, first out."""
        ...

    def run_callback_threadsafe(self, func: Callable[[*Ts], object], /, *args: *Ts) -> ICallback:
        """The same from any thread or signal handler; a blocking poll ends at once."""
        ...

    def run_mark(self, marks: Container[object], /) -> bool:
        """Run the oldest queued callback here and now if it is a method whose function is one of `marks`.

        For a hub whose own callbacks only make greenlets ready: those may run on any greenlet's stack.  Returns whether
        one was taken from the queue.
        """
        ...

    def wakeup(self) -> None:
        """End the poll that blocks now, or make the next one not block.  Call from: any thread or signal handler."""
        ...

    def handle_error(
        self, context: object, type: type[BaseException], value: BaseException, tb: TracebackType | None, /
    ) -> None:
        """Hand an exception to `error_handler`."""
        ...

    def io(self, fd: int, events: int, ref: bool = True, priority: int | None = None) -> IIoWatcher:
        """A watcher for readiness of `fd`.

        Raises ValueError for a negative fd or an empty or unknown mask, OSError for a closed fd.
        """
        ...

    def timer(self, after: float, repeat: float = 0.0, ref: bool = True, priority: int | None = None) -> ITimerWatcher:
        """A watcher for time.

        `after` seconds, then every `repeat` seconds unless that is 0.  Raises ValueError for a negative repeat.
        """
        ...

    def async_(self, ref: bool = True, priority: int | None = None) -> IAsyncWatcher:
        """A watcher that another thread can trigger."""
        ...

    def idle(self, ref: bool = True, priority: int | None = None) -> IWatcher:
        """A watcher that calls back in turns in which nothing else is to be done, and keeps the poll from blocking."""
        ...

    def prepare(self, ref: bool = True, priority: int | None = None) -> IWatcher:
        """A watcher that calls back before each poll."""
        ...

    def check(self, ref: bool = True, priority: int | None = None) -> IWatcher:
        """A watcher that calls back after each poll."""
        ...

    def register(self, fd: int, notify: Callable[[int], object], /) -> IRegistration:
        """Put `fd` into the poller for life, and have `notify` called for what is wanted of it: see `IRegistration`.

        For whoever opens and closes the fd; strangers' fds are for `io`.  The fd must be non-blocking.
        Raises ValueError if the loop has a registration of it already, or if its number is too high for the poller;
        OSError if it is closed or the system refuses.  Nothing is registered then, and one may try again.
        """
        ...

    def closing_fd(self, fd: int) -> bool:
        """Take `fd` out of the loop before it is closed; who waits for it is told.  Returns whether anybody did.

        Its io watchers are closed, and called back once more if they are active; an owner that wants something is
        notified with 0.  Another thread that is to close the fd has this called by `run_callback_threadsafe` and waits
        until it was.
        """
        ...


class ICountingLoop(ILoopCore, Protocol):
    """A loop that tells what it has done: what `hub.counters` and `hub.watch` of hub-core need.

    Call from: any thread, without a lock; also after `destroy`, when nothing changes any more.  Each of these is
    replaced in one step, so a reader sees it as it was at some moment.
    """

    @property
    def iteration(self) -> int:
        """Turns begun so far."""
        ...

    @property
    def calls(self) -> int:
        """Calls of callbacks and watchers so far: each that was taken from its line, also if it was stopped meanwhile.

        What `run_mark` takes is not among them: to add one would cost it a tenth.  During a batch the number may lag
        behind, by 50 calls at the most.
        """
        ...

    @property
    def polled(self) -> tuple[float, float | None]:
        """Seconds slept: those in polls that might sleep and are over, and when the present one began, or None.

        A poll that is not to wait counts as work.  The time that a host polls for this loop counts as sleep.
        """
        ...

    @property
    def made_at(self) -> float:
        """When the loop was made, on its own clock."""
        ...

    def clock(self) -> float:
        """Seconds on the loop's monotonic clock, at this moment."""
        ...

    def progress(self) -> object:
        """Something that is equal to what it was only if the loop has begun no turn and no call meanwhile.

        None while the loop blocks nobody: while it sleeps, be it in a host's poll; and in a forked child until its
        first use, for until then it counts what belongs to the parent.
        """
        ...


class ILoop(ILoopCore, Protocol):
    """The whole documented loop: a core with signals, children, forks and paths."""

    fork_listener: IForkListener | None
    """Told in a forked child; set by the hub that uses the loop.  None tells nobody."""

    def signal(self, signum: int, ref: bool = True, priority: int | None = None) -> ISignalWatcher:
        """A watcher for a signal.

        Raises TypeError if `signum` is no number, ValueError if the system has no such signal or nobody can catch it
        (SIGKILL, SIGSTOP).  `start` raises ValueError where the system lets nobody set a handler: in CPython, in any
        thread but the main one.
        """
        ...

    def child(self, pid: int, trace: bool = False, ref: bool = True) -> IChildWatcher:
        """A watcher for the end of a child process; with `trace`, for its stops and continuations too.

        Raises TypeError if `pid` is no number, ValueError if it is not positive: nothing here waits for any child, or
        for a group.  `start` raises ChildProcessError if there is no such child, or somebody has waited for it already.
        """
        ...

    def fork(self, ref: bool = True, priority: int | None = None) -> IWatcher:
        """A watcher for forks: calls back once in the child, before anything else in the loop's first turn there.

        Never in the parent.  A fork that is still to be told keeps `run` from returning, whatever `ref` says.
        """
        ...

    def stat(
        self,
        path: str | bytes | PathLike[str] | PathLike[bytes],
        interval: float = 0.0,
        ref: bool = True,
        priority: int | None = None,
    ) -> IStatWatcher:
        """A watcher for a path, which need not exist; symbolic links are not followed.

        `interval`: seconds between two looks, 0 for the loop's own choice.  Raises TypeError for what is no path or no
        number, ValueError for a path that no system could have.
        """
        ...

    def reinit(self) -> None:
        """Make the loop usable in a forked child, at once.

        A loop does so by itself, at its first use in a child that was forked by `os.fork`; this is for forks that
        Python is not told of, and for errors to come here.  Without effect in the parent, when done already, and
        after `destroy`.
        Call from: the loop's thread, which must be the one that has forked.  Raises OSError if the system is out of
        file descriptors; the next use tries again.
        """
        ...


class ILoopFactory(Protocol):
    """Whatever makes a loop: a loop class, or a function like one."""

    def __call__(self, *, default: bool | None = None) -> ILoopCore:
        """Make a loop; `default` says whether it is the main thread's."""
        ...
