"""The loop as users see it: callbacks, watchers, registrations, clock, counts, and its end.

Receives: calls of users.  Gives: entries for the turn, which is in `_turn`.
"""

from __future__ import annotations

import sys
import threading
import time
from _thread import get_ident
from contextvars import copy_context
from types import MethodType

from hub_loop import _fork, _io, _phases, pollers
from hub_loop._callback import Callback, Post, struck_at_entry
from hub_loop._timers import Timer
from hub_loop._turn import Turn
from hub_loop._wakeup import Async
from hub_loop._watcher import MAXPRI, MINPRI

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Container, Iterable
    from typing import TypeVarTuple

    from hub_loop._children import Child
    from hub_loop._signals import Interrupt, Signal
    from hub_loop._stat import Path, Stat
    from hub_loop._watcher import Watcher
    from hub_loop.pollers import Poller

    Ts = TypeVarTuple("Ts")

_new = object.__new__


def _first(line: deque[Callback] | deque[Watcher]) -> object:
    try:
        return line[0]
    except IndexError:  # and no look before: another thread's look and its step are two moments
        return None


class Loop(Turn):
    """An event loop: see `hub_api.ILoop`.

    `flags` names a poller, or several in order of preference ("epoll", "kqueue", "poll", "select"); without it
    HUB_LOOP_BACKEND decides, else the best that the system has.  `default` marks the main thread's loop, which
    outlives its hubs.
    `poller` and `clock` (seconds, monotonic) replace the real ones: `hub_loop.testing` has both.
    Raises ValueError for an unknown poller, OSError if the system is out of file descriptors.
    """

    MINPRI = MINPRI
    MAXPRI = MAXPRI
    approx_timer_resolution: float = 0.001

    def __init__(
        self,
        flags: str | Iterable[str] | None = None,
        default: bool | None = None,
        *,
        poller: Poller | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.default: bool = default is None or bool(default)
        super().__init__(pollers.create(pollers.choose(flags)) if poller is None else poller, clock)
        # The thread itself: numbers of ended ones are given to others.  None if `threading` does not know it.
        self._owner = next((thread for thread in threading.enumerate() if thread.ident == self._thread), None)
        self._listen: Callable[[Loop], None] | None = None
        if self.default and self._owner is threading.main_thread():
            from hub_loop._signals import attend  # now: when it first sleeps, there may be no fd left to read it with

            self._listen = attend

    # -- callbacks --------------------------------------------------------------------------------------------------

    def run_callback(self, func: Callable[[*Ts], object], /, *args: *Ts) -> Callback:
        """Queue `func(*args)` for the next batch, or for the running one: see `hub_api.ILoopCore.run_callback`."""
        if get_ident() != self._thread:
            return self._run_from_elsewhere(func, args)
        if not callable(func):
            raise TypeError(f"cannot run {func!r}: a callback must be callable")
        callback: Callback = _new(Callback)  # no frame for __init__: 45 ns of 250 (benchmarks/bench_callbacks.py)
        callback.callback = func
        callback.args = args
        callback._context = copy_context() or None
        self._queue.append(callback)
        if self.sleeping:  # we are a signal handler inside the poll
            self._wakeup.wake()
        return callback

    def _run_from_elsewhere(self, func: Callable[..., object], args: tuple[object, ...]) -> Callback:
        self._refuse("run a callback", "run_callback_threadsafe")
        return self.run_callback(func, *args)  # in the right thread after all, of a forked child

    def run_callback_threadsafe(self, func: Callable[[*Ts], object], /, *args: *Ts) -> Callback:
        """The same from any thread or signal handler: see `hub_api.ILoopCore.run_callback_threadsafe`."""
        if not callable(func):
            raise TypeError(f"cannot run {func!r}: a callback must be callable")
        if self._thread == 0:
            self._refuse("post to it")
        post: Post = _new(Post)  # as in run_callback
        post.callback = func
        post.args = args
        post._context = copy_context() or None
        self._queue.append(post)  # which is one step for the interpreter, whatever thread makes it
        if self.sleeping:
            self.wakeup()
        return post

    def run_mark(self, marks: Container[object], /) -> bool:
        """Run the oldest queued callback now if it is a method whose function is in `marks`."""
        queue = self._queue
        if not queue or self._ranked:
            return False
        entry = queue[0]
        func = entry.callback
        if type(func) is not MethodType or func.__func__ not in marks:
            return False
        del queue[0]
        entry.callback = None
        try:
            func(*(entry.args or ()))
        except BaseException as error:
            if struck_at_entry(func, error):
                entry.callback = func
                queue.appendleft(entry)
            else:
                entry.args = None
            self._report(entry, error)
        else:
            entry.args = None
        return True

    # -- watchers ---------------------------------------------------------------------------------------------------

    def io(self, fd: int, events: int, ref: bool = True, priority: int | None = None) -> _io.Io:
        """A watcher for readiness of `fd`: see `hub_api.ILoopCore.io`."""
        if self._thread == 0:
            self._refuse("make an io watcher")
        return _io.Io(self, fd, events, ref, priority)

    def timer(self, after: float, repeat: float = 0.0, ref: bool = True, priority: int | None = None) -> Timer:
        """A watcher for time, in seconds: see `hub_api.ILoopCore.timer`."""
        if self._thread == 0:
            self._refuse("make a timer")
        return Timer(self, after, repeat, ref, priority)

    def async_(self, ref: bool = True, priority: int | None = None) -> Async:
        """A watcher that any thread can trigger by its `send`."""
        if self._thread == 0:
            self._refuse("make an async watcher")
        return Async(self, ref, priority)

    def idle(self, ref: bool = True, priority: int | None = None) -> _phases.Idle:
        """A watcher for turns in which nothing else is to be done."""
        if self._thread == 0:
            self._refuse("make an idle watcher")
        return _phases.Idle(self, ref, priority)

    def prepare(self, ref: bool = True, priority: int | None = None) -> _phases.Prepare:
        """A watcher for the moment before each poll."""
        if self._thread == 0:
            self._refuse("make a prepare watcher")
        return _phases.Prepare(self, ref, priority)

    def check(self, ref: bool = True, priority: int | None = None) -> _phases.Check:
        """A watcher for the moment after each poll."""
        if self._thread == 0:
            self._refuse("make a check watcher")
        return _phases.Check(self, ref, priority)

    def signal(self, signum: int, ref: bool = True, priority: int | None = None) -> Signal:
        """A watcher for a signal: see `hub_api.ILoop.signal`."""
        if self._thread == 0:
            self._refuse("make a signal watcher")
        from hub_loop._signals import Signal  # brings `signal`, which few programs need

        return Signal(self, signum, ref, priority)

    def interrupt(self, signum: int | str, ref: bool = True, priority: int | None = None) -> Interrupt:
        """A watcher for a signal, by number or name, that calls back inside the Python signal handler.

        So at once, between two instructions of whatever runs in the main thread, not in a turn of its own: the callback
        should look around, and touch nothing.  An Exception that it raises goes to `handle_error`.
        Otherwise as `signal`.
        """
        if self._thread == 0:
            self._refuse("make a signal watcher")
        from hub_loop._signals import Interrupt, number_of

        return Interrupt(self, number_of(signum) if isinstance(signum, str) else signum, ref, priority)

    def child(self, pid: int, trace: bool = False, ref: bool = True) -> Child:
        """A watcher for the end of a child process: see `hub_api.ILoop.child`."""
        if self._thread == 0:
            self._refuse("make a child watcher")
        from hub_loop._children import Child  # few programs need it

        return Child(self, pid, trace, ref)

    def _attend(self) -> None:
        if self._listen is None:
            super()._attend()
        else:
            self._listen(self)

    def install_sigchld(self) -> None:
        """Have the kernel keep the statuses of children: if SIGCHLD is ignored, which drops them, it is no more.

        Child watchers need no handler of SIGCHLD, and one that somebody has set stays.  Without effect outside the main
        thread, where CPython lets nobody set handlers.
        """
        from hub_loop._signals import end_ignoring_children

        end_ignoring_children()

    def reset_sigchld(self) -> None:
        """Nothing: child watchers have set no handler of SIGCHLD that could be in the way."""

    def fork(self, ref: bool = True, priority: int | None = None) -> _fork.Fork:
        """A watcher for the first turn in a forked child: see `hub_api.ILoop.fork`."""
        if self._thread == 0:
            self._refuse("make a fork watcher")
        return _fork.Fork(self, ref, priority)

    def stat(self, path: Path, interval: float = 0.0, ref: bool = True, priority: int | None = None) -> Stat:
        """A watcher for a path: see `hub_api.ILoop.stat`."""
        if self._thread == 0:
            self._refuse("make a stat watcher")
        from hub_loop._stat import Stat  # few programs watch paths

        return Stat(self, path, interval, ref, priority)

    def register(self, fd: int, notify: Callable[[int], object], /) -> _io.Registration:
        """Put `fd` into the poller for life: see `hub_api.ILoopCore.register`."""
        if get_ident() != self._thread:
            self._refuse(f"register fd {fd}")
        _io.check_fd(fd)
        if not callable(notify):
            raise TypeError(f"notify must be callable, got {notify!r}")
        registration = self._registrations.get(fd)
        if registration is None:
            registration = _io.Registration(self, self._poller, fd)
        elif registration._notify is not None:
            raise ValueError(
                f"fd {fd} is registered already: {registration!r}; close that registration before the fd is closed"
            )
        registration.ready = registration._stuck = 0  # of the file that the number stood for before
        registration._notify = notify
        try:
            registration._arm(afresh=True)
        except BaseException:
            registration._notify = None
            raise
        self._registrations[fd] = registration
        return registration

    def closing_fd(self, fd: int) -> bool:
        """Take `fd` out of the loop, to be called before it is closed: see `hub_api.ILoopCore.closing_fd`."""
        if get_ident() != self._thread:
            self._refuse(f"take fd {fd} out", "run_callback_threadsafe(loop.closing_fd, fd)")
        registration = self._registrations.get(fd)
        return registration is not None and registration.evict()

    def _forget_registration(self, registration: _io.Registration) -> None:
        if self._registrations.get(registration.fd) is registration:
            del self._registrations[registration.fd]
        self._always_ready.pop(registration.fd, None)

    # -- clock, counts, end -----------------------------------------------------------------------------------------

    def now(self) -> float:
        """Seconds on the monotonic clock, as read by this turn or by `update_now`."""
        if self._thread == 0:
            self._refuse("tell the time")
        return self._now

    def update_now(self) -> None:
        """Read the clock."""
        if get_ident() != self._thread:
            self._refuse("read the clock")
        self._now = self._clock()

    def ref(self) -> None:
        """Keep `run` from returning, until as many `unref`."""
        if get_ident() != self._thread:
            self._refuse("ref it")
        self._refs += 1

    def unref(self) -> None:
        """Take one `ref` back."""
        if get_ident() != self._thread:
            self._refuse("unref it")
        self._refs -= 1
        if self.sleeping:  # we are a signal handler inside the poll, which now may have nothing left to wait for
            self.wakeup()

    @property
    def activecnt(self) -> int:
        """How many things keep `run` from returning."""
        return max(self._refs, 0) + self.pendingcnt

    @property
    def pendingcnt(self) -> int:
        """How many events and callbacks are queued and have not run."""
        return len(self._queue) + len(self._fired) + len(self._wakeup.inbox)

    def debug(self) -> list[object]:
        """Everything that may still call something: queued callbacks, watchers that are active or pending, owners' fds.

        For reports.  Each has `callback`, and all but the fds have `args`.  Call from: any thread.
        """
        owned = [each for each in list(self._registrations.values()) if each.callback is not None]
        return [*list(self._queue), *self._started(), *owned]

    @property
    def backend(self) -> str:
        """The name of the poller."""
        return self._poller.name

    def fileno(self) -> int | None:
        """The fd that is ready when the loop has something to do.

        None if the poller has none or the loop is destroyed.
        """
        if self._thread < 0:
            self._refuse("tell its fd")
        return None if self._thread == 0 else self._poller.fileno()

    def reinit(self) -> None:
        """Make the loop usable in a forked child, now rather than at its first use: see `hub_api.ILoop.reinit`."""
        if self._thread:
            _fork.reinit(self)

    def poll_elsewhere(self) -> float:
        """Leave the sleeping to a host: say for how many seconds it may sleep at most before it gives this loop a turn.

        For a loop that is a guest in another one (docs/howto/write-your-own-loop.md).  Call it after each
        `run(nowait=True)` that has said that something is left.  The loop then counts as sleeping: what is started or
        posted makes `fileno` ready, so a host that polls that misses nothing; one that cannot must look in by itself.
        """
        if get_ident() != self._thread:
            self._refuse("sleep for it")
        self.sleeping = True  # before the look, as in the loop's own poll
        seconds = self._time_to_sleep()
        if seconds > 0.0:
            self._begin_sleep()
        return seconds

    # -- what it has done: see hub_api.ICountingLoop ------------------------------------------------------------------

    def clock(self) -> float:
        """Seconds on the monotonic clock, at this moment: see `hub_api.ICountingLoop.clock`."""
        return self._clock()

    def progress(self) -> object:
        """What changes whenever the loop gets on, or None: see `hub_api.ICountingLoop.progress`."""
        if self.polled[1] is not None or self._thread < 0:
            return None
        return self.iteration, self.calls, _first(self._queue), _first(self._fired)

    def destroy(self) -> None:
        """Stop everything and give all file descriptors back.  Idempotent.

        Call from: the loop's thread, but not from inside its poll; or any thread once that one has ended, be it from
        inside a callback of the loop that switched away and was never resumed.
        Raises InvalidThreadUseError in another thread while the loop's lives: post `loop.destroy` to it.  A thread that
        `threading` does not know cannot be asked, and counts as ended unless it runs the loop.
        """
        if self._thread == 0:
            return
        if get_ident() != abs(self._thread) and self._owner_lives():
            self._refuse("destroy it", "run_callback_threadsafe(loop.destroy), or wait until that thread has ended")
        self._thread, self._fork_state = 0, _fork.WHOLE
        self._broken = True
        if self._door is not None:
            self._door.remove(self)
        self._wakeup.close()
        self._poller.close()  # first: what is told below unregisters nothing any more
        for registration in list(self._registrations.values()):
            registration.evict()
        for watcher in self._started():
            watcher.stop()
        self._queue.clear()
        self._fired.clear()
        self._wakeup.inbox.clear()

    def _owner_lives(self) -> bool:
        if self._owner is not None:
            return self._owner.is_alive()
        return self._running and abs(self._thread) in sys._current_frames()

    def _format(self) -> str:
        """What a hub's repr says of its loop."""
        if self._thread == 0:
            return "left behind by a fork" if self._fork_state == _fork.ORPHANED else "destroyed"
        fileno = None if self._thread < 0 else self.fileno()
        text = f"{self.backend}{' default' if self.default else ''} pending={self.pendingcnt} ref={max(self._refs, 0)}"
        if self._thread < 0:
            text += " forked"
        return text if fileno is None else f"{text} fileno={fileno}"

    def __repr__(self) -> str:
        return f"<{type(self).__name__} at {id(self):#x} {self._format()}>"
