"""The turn: what a loop does over and over.

Receives: queued callbacks, started watchers, and events from the poller.  Gives: calls, in order, one at a time.

A turn, step by step:

0. In a forked child, in its first turn: the loop gets a poller and a wake fd of its own, and fork watchers are called.
1. prepare watchers are called.
2. The time to sleep is chosen: none if told not to wait, if callbacks are queued, if an idle watcher is active, if an
   fd that is always ready is watched, if `busy` says that somebody outside has work, or if nothing is referenced; else
   until the next deadline.
3. poll.
4. fds: each registration latches readiness, tells its owner, and queues its watchers (in `_fired`, as all events are).
5. The inbox (async watchers that other threads have sent, signal watchers) is emptied, and their events are queued.
6. The clock is read.
7. Due timers are queued, oldest deadline first.
8. check watchers are called; if nothing at all is queued, idle watchers are queued.
9. The batch, which is in `_batch`: callbacks that are queued, then watchers whose events have happened.

Rule 1: `_thread` is the one test of every public call: another thread never matches it, and a destroyed loop matches
nobody.
Rule 2: what other threads read to learn what the loop has done (`iteration`, `calls`, `polled`) changes in one step.
"""

from __future__ import annotations

import threading
from _thread import get_ident
from contextvars import Context

from hub_api import HubDestroyed, InvalidThreadUseError
from hub_loop import _faults, _fork, _io, _phases, pollers
from hub_loop._batch import Batch
from hub_loop._timers import TimerQueue
from hub_loop._wakeup import Wakeup
from hub_loop.pollers import LONGEST

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from hub_api import IForkListener
    from hub_loop._children import Child, Sentinel
    from hub_loop._signals import Door, Signal
    from hub_loop._stat import Inotify, Stat
    from hub_loop._wakeup import Async
    from hub_loop._watcher import Watcher
    from hub_loop.pollers import Poller


class Turn(Batch):
    """The state of a loop, and its running; `Loop` adds what users call."""

    # Slots, because CPython is fast with the attributes of an instance only as long as there are at most 30.
    __slots__ = (
        "_always_ready",
        "_asyncs",
        "_attends",
        "_broken",
        "_checks",
        "_children",
        "_door",
        "_fork_state",
        "_forks",
        "_idles",
        "_inotify",
        "_last_fault",
        "_pid",
        "_polled",
        "_poller",
        "_prepares",
        "_refs",
        "_registrations",
        "_running",
        "_sentinels",
        "_signals",
        "_stats",
        "_strays",
        "_thread",
        "_timers",
        "_wakeup",
        "busy",
        "fork_listener",
        "iteration",
        "made_at",
        "polled",
        "sleeping",
    )

    def __init__(self, poller: Poller, clock: Callable[[], float]) -> None:
        super().__init__(clock)
        self._thread = 0
        self._poller = poller
        try:
            self._wakeup = Wakeup(self._poller)
        except BaseException:
            self._poller.close()
            raise
        self.sleeping: bool = False
        self._refs = 0
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
        self._door: Door | None = None
        self._attends = 0  # the process whose signals end its sleep, where that is its business: see _attend
        self._children: dict[Child, None] = {}
        self._sentinels: dict[int, Sentinel] = {}
        self._stats: dict[Stat, None] = {}
        self._inotify: Inotify | None = None
        self._strays: set[int] = set()
        self.busy: Callable[[], object] | None = None
        self.fork_listener: IForkListener | None = None
        self._broken = self._running = False
        self._last_fault = float("-inf")  # when the system was short of something: see _faults
        self.iteration: int = 0
        self.made_at: float = self._now
        self.polled: tuple[float, float | None] = (0.0, None)
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
        self.sleeping = False  # it may have slept in a host's poll: see Loop.poll_elsewhere
        if self.polled[1] is not None:
            self._end_sleep()
        try:
            if self._blank:
                self._blank = Context()
            return self._blank.run(self._take_turns, nowait, once)
        finally:
            self._running = False

    def _take_turns(self, nowait: bool, once: bool) -> bool:
        # `_anything_left`, written out: 0.3 us of a turn (benchmarks/bench_http.py).
        while (
            nowait
            or self._refs > 0
            or self._queue
            or self._fired
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

    def break_(self) -> None:
        """Have `run` return at the end of this turn."""
        if get_ident() != self._thread:
            self._refuse("break it", "run_callback_threadsafe(loop.break_)")
        self._broken = True
        if self.sleeping:  # we are a signal handler inside the poll
            self.wakeup()

    def _anything_left(self) -> bool:
        if self._refs > 0 or self._queue or self._fired or self._wakeup.inbox or (self._fork_state and self._forks):
            return self._thread != 0
        return False

    def _started(self) -> list[Watcher]:
        """All watchers that are active or pending, each once."""
        found: dict[Watcher, None] = dict.fromkeys(self._timers.timers())
        for table in (self._prepares, self._checks, self._idles, self._forks, self._asyncs):
            found.update(dict.fromkeys(table))
        for others in (self._signals, self._children, self._stats):
            found.update(dict.fromkeys(others))
        for registration in list(self._registrations.values()):
            found.update(dict.fromkeys(registration._watchers))
        found.update(dict.fromkeys(self._fired))
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
                elif events:  # else it has left in this very turn
                    self._meet_stray(fd)
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
        if self._idles and not self._queue and not self._fired:
            _phases.queue_all(self._idles)
        if self._queue or self._fired:
            self._run_batch()

    def _meet_stray(self, fd: int) -> None:
        """The poller reports a number that nobody has registered: forget it; if that does not help, get a new poller.

        Its file lives on under another number, a dup or a forked child's, and was closed here without leaving the loop
        first.  The kernel goes on to report it, and nobody can take it out any more (man 7 epoll, Q6).
        """
        self._poller.forget(fd)
        if fd not in self._strays:
            self._strays.add(fd)
            return
        self._strays.clear()
        self._poller.close()
        self._poller.reopen()
        self._wakeup.join(self._poller)
        for registration in list(self._registrations.values()):
            try:
                registration._arm_in_child()
            except OSError:
                registration.evict()  # it was closed, too

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
                if self._attends != self._pid:
                    self._attend()
                # First say that we sleep, then look whether there is anything to do: see _wakeup.  A signal handler
                # that starts a timer after the look writes to the wake fd; one that starts it before is seen
                # (test_signals.py).
                self.sleeping = True
                timeout = self._time_to_sleep()
                if timeout == 0.0:
                    self.sleeping = False
                    polled = poller.poll(0.0)
                else:
                    slept, began = self.polled[0], self._clock()
                    self.polled = (slept, began)
                    polled = poller.poll(timeout)
                    self.sleeping = False
                    self.polled = (slept + (self._clock() - began), None)
        except BaseException as error:
            self.sleeping = False
            self._end_sleep()
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

    def _attend(self) -> None:
        """Before the first sleep in this process.  A loop of the main thread has signals end it: see `Loop`."""
        self._attends = self._pid

    def _time_to_sleep(self) -> float:
        if self._queue or self._fired or self._wakeup.inbox or self._idles or self._broken or self._refs <= 0:
            return 0.0
        if self.busy is not None and self.busy():
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

    def _begin_sleep(self) -> None:
        slept, began = self.polled
        if began is None:
            self.polled = (slept, self._clock())

    def _end_sleep(self) -> None:
        slept, began = self.polled
        if began is not None:
            self.polled = (slept + (self._clock() - began), None)

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
        raise InvalidThreadUseError(
            f"cannot {what} of {self!r} from {describe_thread(get_ident())}: "
            f"it belongs to {describe_thread(abs(self._thread))}; use {remedy or 'run_callback_threadsafe'}"
        )


def describe_thread(ident: int) -> str:
    """Name a thread, for errors.  One that `threading` does not know has only its number."""
    name = next((thread.name for thread in threading.enumerate() if thread.ident == ident), None)
    return f"thread {ident:#x}" if name is None else f"thread {name!r} ({ident:#x})"
