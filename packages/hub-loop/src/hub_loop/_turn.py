"""The turn: what a loop does over and over.

Receives: queued callbacks, started watchers, and events from the poller.  Gives: calls, in order, one at a time.

A turn, step by step:

0. In a forked child, in its first turn: the loop gets a poller and a wake fd of its own, and fork watchers are called.
1. prepare watchers are called.
2. The time to sleep is chosen: none if told not to wait, if callbacks are queued, if an idle watcher is active, if an
   fd that is always ready is watched, or if nothing is referenced; else until the next deadline.
3. poll.
4. fds: each registration latches readiness, tells its owner, and queues the callbacks of its watchers.
5. The inbox (async watchers that other threads have sent, signal watchers) is moved into the queue.
6. The clock is read.
7. Due timers are queued, oldest deadline first.
8. check watchers are called; if nothing at all is queued, idle watchers are queued.
9. The batch: everything queued is called, first in, first out, also what is queued meanwhile.  The clock is looked at
   after every 50 calls; BATCH_SECONDS after the first look the rest waits for the next turn, in which watchers whose
   events are new go before it.  Watchers of a priority above 0 go first, those below 0 go last.

Rule 1: the turn switches nowhere, and what a callback raises goes to one place, `handle_error`.
Rule 2: an entry leaves a queue by `del queue[0]`, in the same breath as it is looked at.  That is not a call, so no
signal handler can run, and no KeyboardInterrupt arise, between the taking of an entry and its use (test_signals.py).
An interrupt that comes once a callback is entered is that callback's, be it at its first instruction.
Rule 3: `_thread` is the one test of every public call: another thread never matches it, and a destroyed loop matches
nobody.
"""

from __future__ import annotations

import sys
from _thread import get_ident
from collections import deque
from itertools import islice

from hub_api import HubDestroyed, InvalidThreadUseError
from hub_loop import _faults, _fork, _io, _phases, pollers
from hub_loop._callback import Callback, Post
from hub_loop._timers import TimerQueue
from hub_loop._wakeup import Async, Wakeup
from hub_loop._watcher import Watcher
from hub_loop.pollers import LONGEST

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any

    from hub_api import IErrorHandler
    from hub_loop._children import Child, Sentinel
    from hub_loop._signals import Signal
    from hub_loop._stat import Inotify, Stat
    from hub_loop.pollers import Poller

BATCH_SECONDS = 0.005
"""How long a batch may go on while callbacks queue further ones: CPython's own switch interval."""
_STRIDE = 50  # callbacks between two looks at the clock


class Turn:
    """The state of a loop, and its running; `Loop` adds what users call."""

    def __init__(self, poller: Poller, clock: Callable[[], float]) -> None:
        self._thread = 0
        self._poller = poller
        try:
            self._wakeup = Wakeup(self._poller)
        except BaseException:
            self._poller.close()
            raise
        self.error_handler: IErrorHandler | None = None
        self.sleeping: bool = False
        self._clock = clock
        self._now = clock()
        self._refs = 0
        self._queue: deque[Any] = deque()  # callbacks and watchers, told apart by `type(x) is`: faster than isinstance
        self._ranked: deque[Watcher] = deque()
        self._timers = TimerQueue()
        self._registrations: dict[int, _io.Registration] = {}
        self._always_ready: dict[int, _io.Registration] = {}
        self._polled: list[tuple[int, int]] = []
        self._prepares: dict[_phases.Phase, None] = {}
        self._checks: dict[_phases.Phase, None] = {}
        self._idles: dict[_phases.Phase, None] = {}
        self._forks: dict[_phases.Phase, None] = {}
        self._asyncs: dict[Async, None] = {}
        self._signals: dict[Signal, None] = {}
        self._children: dict[Child, None] = {}
        self._sentinels: dict[int, Sentinel] = {}
        self._stats: dict[Stat, None] = {}
        self._inotify: Inotify | None = None
        self._backlog: object = None  # the last entry that the last batch had no time for
        self._broken = self._running = False
        self._last_fault = float("-inf")  # when the system was short of something: see _faults
        self.iteration: int = 0
        self._fork_state = _fork.WHOLE
        self._pid = 0
        self._thread = get_ident()
        _fork.track(self)

    # -- running ----------------------------------------------------------------------------------------------------

    def run(self, nowait: bool = False, once: bool = False) -> bool:
        """Take turns until nothing is left that could happen: see `hub_api.ILoopCore.run`.

        Raises RuntimeError from inside a callback of this loop: it is running already.
        """
        if get_ident() != self._thread:
            self._refuse("run it")
        if self._running:
            raise RuntimeError(f"{self!r} is running already; a callback cannot run it again")
        self._running, self._broken = True, False
        try:
            # `_anything_left`, written out: 0.3 us of a turn (benchmarks/bench_http.py).
            while (
                nowait
                or self._refs > 0
                or self._queue
                or self._ranked
                or self._wakeup.inbox
                or (self._fork_state and self._forks)
            ):
                try:
                    self._turn(nowait)
                except HubDestroyed:
                    raise
                except BaseException as error:
                    if self.error_handler is None:
                        raise
                    self.handle_error(None, type(error), error, error.__traceback__)
                if nowait or once or self._broken:
                    break
            return self._anything_left()
        finally:
            self._running = False

    def break_(self) -> None:
        """Have `run` return at the end of this turn."""
        if get_ident() != self._thread:
            self._refuse("break it", "run_callback_threadsafe(loop.break_)")
        self._broken = True

    def _anything_left(self) -> bool:
        if self._refs > 0 or self._queue or self._ranked or self._wakeup.inbox or (self._fork_state and self._forks):
            return self._thread != 0
        return False

    def _started(self) -> list[Watcher]:
        """All watchers that are active or pending, each once."""
        found: dict[Watcher, None] = dict.fromkeys(self._timers.timers())
        for table in (self._prepares, self._checks, self._idles, self._forks, self._asyncs):
            found.update(dict.fromkeys(table))
        for others in (self._signals, self._children, self._stats):
            found.update(dict.fromkeys(others))
        for registration in self._registrations.values():
            found.update(dict.fromkeys(registration._watchers))
        found.update(dict.fromkeys(entry for entry in (*self._queue, *self._ranked) if isinstance(entry, Watcher)))
        return list(found)

    def _turn(self, nowait: bool) -> None:
        self.iteration += 1
        if self._fork_state or self._prepares:
            if self._fork_state:
                _fork.first_step(self)
            if self._prepares:
                _phases.call_all(self, self._prepares)
            if self._thread == 0:  # one of them has destroyed the loop
                return
        polled = self._poll(nowait)
        fd = -1
        try:
            for fd, events in polled:
                registration = self._registrations.get(fd)
                if registration is not None:
                    registration.deliver(events)
                elif fd == self._wakeup.fd:
                    self._wakeup.deliver(events)
                else:
                    self._poller.forget(fd)
        except BaseException as error:
            self._keep_undelivered(fd, error)
            _faults.endure(self, error)
        else:
            self._polled = []
        if self._always_ready:
            for registration in list(self._always_ready.values()):
                registration.deliver(pollers.BOTH)
        if self._wakeup.inbox:
            self._take_inbox()
        self._now = now = self._clock()
        timers = self._timers
        if timers.young:
            timers.admit()
        if timers.heap and timers.heap[0][0] <= now:
            timers.fire_due(now)
        if self._checks:
            _phases.call_all(self, self._checks)
        if self._idles and not self._queue and not self._ranked:
            _phases.queue_all(self._idles)
        if self._ranked:
            self._run_ranked()
        elif self._queue:
            self._run_queue()

    def _keep_undelivered(self, fd: int, error: BaseException) -> None:
        """An exception ended the dispatch at `fd`.  The kernel tells an edge once, so the next turn goes on from there.

        With what was interrupted (by Ctrl-C, say), for it may not have been told; behind what has failed by itself.
        States are told again by the next poll, and may have passed by then.
        """
        numbers = [number for number, _ in self._polled]
        if fd in numbers:
            del self._polled[: numbers.index(fd) + isinstance(error, Exception)]
        edges = {number for number, registration in self._registrations.items() if registration._armed & pollers.EDGE}
        self._polled = [event for event in self._polled if event[0] in edges]

    def _poll(self, nowait: bool) -> list[tuple[int, int]]:
        """Ask the poller; what it tells stands in `_polled` until all of it is delivered."""
        poller = self._poller
        try:
            if nowait or self._queue or self._polled:
                polled = poller.poll(0.0)
            else:
                # First say that we sleep, then look whether there is anything to do: see _wakeup.  A signal handler
                # that starts a timer after the look writes to the wake fd; one that starts it before is seen
                # (test_signals.py).
                self.sleeping = True
                timeout = self._time_to_sleep()
                if timeout == 0.0:
                    self.sleeping = False
                polled = poller.poll(timeout)
                self.sleeping = False
        except BaseException as error:
            self.sleeping = False
            if not (isinstance(error, OSError) and error.errno):  # else the system refused, and told no edge
                # It may have come after the kernel had told its edges; it tells each once, unless asked again.
                # (If what came was a signal handler that forked, this is the child, and the poller asks nobody.)
                for registration in list(self._registrations.values()):
                    registration._arm_again()
            _faults.endure(self, error)
            polled = []
        if self._polled:
            polled[:0] = self._polled
        self._polled = polled
        return polled

    def _time_to_sleep(self) -> float:
        if self._queue or self._ranked or self._wakeup.inbox or self._idles or self._broken or self._refs <= 0:
            return 0.0
        if self._always_ready and any(r._watchers or r._wanted for r in self._always_ready.values()):
            return 0.0
        deadline = self._timers.deadline()
        if deadline is None:
            return LONGEST
        left = deadline - self._clock()
        if left <= 0.0:  # comparisons, for min and max cost twice as much (benchmarks/bench_growth.py)
            return 0.0
        if left >= LONGEST:
            return LONGEST
        return left

    def wakeup(self) -> None:
        """End the poll that blocks now.  Call from: any thread or signal handler.  Switches: never."""
        self.sleeping = False  # whoever comes after us need not write again
        try:
            self._wakeup.wake()
        except BaseException:  # an interrupt in our thread, which need not be the loop's
            self.sleeping = True
            raise

    def _take_inbox(self) -> None:
        inbox = self._wakeup.inbox
        for _ in range(len(inbox)):
            inbox[0]._arrived()  # may be repeated, if an interrupt comes before the next line
            del inbox[0]

    def _overtake(self) -> None:
        """Call the watchers whose events are new: they do not wait behind callbacks that come faster than they run.

        Their entries stay in the queue, and are nothing any more when the batch comes to them.
        """
        left, self._backlog = self._backlog, None
        queue, look = self._queue, _STRIDE
        new: list[Any] = []
        while left not in new and len(new) < len(queue):
            look *= 2
            new = list(islice(reversed(queue), look))  # in one step, while other threads may append
        if left in new:
            del new[new.index(left) :]
        for entry in reversed(new):
            if isinstance(entry, Watcher):
                self._deliver(entry)

    def _run_queue(self) -> None:
        if self._backlog is not None:
            self._overtake()
        queue = self._queue
        deadline = 0.0
        while queue:
            for _ in range(_STRIDE):
                if not queue:
                    return
                entry = queue[0]
                del queue[0]
                try:
                    kind = type(entry)
                    if kind is Callback or kind is Post:
                        func = entry.callback
                        if func is not None:
                            args = entry.args
                            entry.callback = None
                            if args:
                                func(*args)
                            else:
                                func()  # a call that CPython can inline: 20 ns of 300 (benchmarks/bench_callbacks.py)
                            entry.args = None
                    else:
                        entry._run()
                except BaseException as error:
                    self._callback_failed(entry, error)
            now = self._clock()
            deadline = deadline or now + BATCH_SECONDS
            if now >= deadline:
                self._backlog = queue[-1] if queue else None
                return

    def _run_ranked(self) -> None:
        """The batch when watchers of a priority are among the events: above 0, then the queue, then below 0."""
        ranked = self._ranked = deque(sorted(self._ranked, key=_phases._urgency))
        while ranked and ranked[0]._priority > 0:
            watcher = ranked[0]
            del ranked[0]
            self._deliver(watcher)
        self._run_queue()
        for _ in range(len(ranked)):  # not those that come meanwhile
            if ranked:
                watcher = ranked[0]
                del ranked[0]
                self._deliver(watcher)

    def _deliver(self, watcher: Watcher) -> None:
        try:
            watcher._run()
        except BaseException as error:
            self._callback_failed(watcher, error)

    # -- errors -----------------------------------------------------------------------------------------------------

    def _callback_failed(self, entry: Callback | Watcher, error: BaseException) -> None:
        if isinstance(entry, Callback):
            entry.args = None
        elif entry._pending:  # an interrupt that came before the watcher could look: its event is still to be told
            self._queue.appendleft(entry)
        else:
            entry._failed()
        if isinstance(error, HubDestroyed):
            self._queue.clear()
            self._ranked.clear()
            raise error
        self.handle_error(entry, type(error), error, error.__traceback__)

    def handle_error(
        self, context: object, type: type[BaseException], value: BaseException, tb: TracebackType | None, /
    ) -> None:
        """Hand an exception to `error_handler`, or print it.  A handler that raises is printed, and the loop goes on.

        Without a handler KeyboardInterrupt and SystemExit are not printed: `run` raises them.
        """
        handler = self.error_handler
        if handler is None:
            if not issubclass(type, Exception):
                raise value
            _print_exception(type, value, tb)
            return
        try:
            handler.handle_error(context, type, value, tb)
        except HubDestroyed:
            raise
        except Exception as error:
            _print_exception(error.__class__, error, error.__traceback__)

    def _refuse(self, what: str, remedy: str = "") -> None:
        """Raise the error that says why `what` cannot be done here.

        In a forked child the first public call comes here: it makes the loop usable, returns, and the call goes on.
        """
        if self._thread == -get_ident():
            _fork.renew(self)
            return
        if self._fork_state == _fork.ORPHANED:
            raise ValueError(
                f"cannot {what}: {self!r} belonged to a thread of the parent process, which a fork by another thread "
                "has left behind; make a new loop in this process"
            )
        if self._thread == 0:
            raise ValueError(f"cannot {what}: operation on destroyed loop {self!r}")
        advice = f"; use {remedy}" if remedy else ""
        raise InvalidThreadUseError(
            f"cannot {what} of {self!r} from thread {get_ident():#x}: "
            f"it belongs to thread {abs(self._thread):#x}{advice}"
        )


def _print_exception(kind: type[BaseException], value: BaseException, tb: TracebackType | None) -> None:
    if sys.stderr is None:  # as under pythonw, or in a daemon: traceback would turn to stdout
        return
    # Imported here: it costs more than all of hub_loop, and most programs never print.
    import traceback

    try:
        traceback.print_exception(kind, value, tb)
    except Exception:
        pass  # stderr itself is broken: there is nobody left to tell, and the loop must go on
