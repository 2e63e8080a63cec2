"""A clock that is moved by hand, a poller that follows a script, and a look at what is still active.

Receives: the script (`make_ready`, `drain`, `hang_up`, ...) from a test.  Gives: what a kernel would report.

    clock = ManualClock()
    poller = FakePoller(clock)
    loop = Loop(poller=poller, clock=clock)
    poller.make_ready(fd, READ, after=5.0)
    loop.run()                               # takes no real time; the clock says five seconds more

Rule 1: nothing here sleeps.  A poll that finds nothing moves the clock to its end; one that could never end raises.
Rule 2: the script speaks of numbers, but a loop's watchers check that theirs is open: give them real ones.
Rule 3: the loop's wake fd is the real one, so other threads and signal handlers reach a loop on a fake poller as ever.
With `real_fds` so is every fd that the script has not named: those that a loop opens for itself, a test's pipes.
"""

from __future__ import annotations

import errno
import os
import select
from collections import deque
from heapq import heappop, heappush
from itertools import count

from hub_api import READ
from hub_loop._loop import Loop
from hub_loop._watcher import Watcher
from hub_loop.pollers import BOTH, EDGE, HANGUP, INVALID, LONGEST, create, supported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVarTuple

    from hub_loop.pollers import Poller

    Ts = TypeVarTuple("Ts")

_PATIENCE = 10_000  # empty polls of LONGEST seconds, one after the other: more than a year of the clock's time


class NothingCanHappen(AssertionError):
    """A loop sleeps in a fake poller, and neither the script nor a timer nor another thread would ever wake it."""


class ManualClock:
    """A monotonic clock that moves only when told to: `Loop(clock=ManualClock())`.  Calling it gives the seconds."""

    __slots__ = ("_now",)

    def __init__(self, start: float = 1000.0) -> None:
        self._now = start

    def __call__(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        """Let time pass.  Raises ValueError for a negative number: the clock is monotonic."""
        if not seconds >= 0.0:
            raise ValueError(f"cannot advance {self!r} by {seconds!r} seconds: a monotonic clock does not go back")
        self._now += seconds

    def advance_to(self, time: float) -> None:
        """Let time pass until the clock says `time`; nothing if it is later already."""
        self._now = max(self._now, time)

    def __repr__(self) -> str:
        return f"<ManualClock at {self._now:g} s>"


class _File:
    """What the script says of one number."""

    __slots__ = ("hung_up", "invalid", "pollable", "ready", "shut")

    def __init__(self) -> None:
        self.ready = 0
        self.shut = False  # the peer will send no more (EPOLLRDHUP)
        self.hung_up = False  # both directions are over (EPOLLHUP)
        self.invalid = False
        self.pollable = True


class FakePoller:
    """A back-end that reports what a test has scripted: see `hub_loop.pollers.Poller` for the duties.

    It behaves as the kernel does: a level-triggered interest is reported in every poll while the fd is ready; an
    edge-triggered one once for each `make_ready`, and again after each new `watch`; an fd that nobody drained stays
    silent until more comes; a hang-up is reported whether asked for or not.  With `edge=False` it knows no EDGE.

    `clock` is moved instead of sleeping.  `wait_for_threads` is how many seconds, of real time, a poll that nothing
    else would end waits for another thread to wake the loop; only tests with threads need it.  With `real_fds` the
    system is asked about fds that the script has not named before they are watched; such a poll waits for them, too.

    Call from: the loop's thread.  It serves one loop: the first fd that is watched is taken for that loop's wake fd.
    """

    name = "fake"

    def __init__(
        self, clock: ManualClock, *, edge: bool = True, wait_for_threads: float = 0.0, real_fds: bool = False
    ) -> None:
        self.clock = clock
        self.edge = edge
        self.wait_for_threads = wait_for_threads
        self.closed: bool = False
        self.timeout: float | None = None
        """What the loop asked for in its last poll, in seconds."""
        self.polls: int = 0
        """How many polls there were."""
        self._files: dict[int, _File] = {}
        self._interests: dict[int, int] = {}
        self._listed: dict[int, None] = {}  # the kernel's ready list: who is to be looked at by the next poll
        self._plans: list[tuple[float, int, Callable[[], object]]] = []
        self._number = count().__next__
        self._visits: deque[Callable[[], object]] = deque()
        self._wake_fd = -1
        self._silence = 0
        self._system: Poller | None = create(supported()[0] if edge else "select") if real_fds else None

    # -- the script -------------------------------------------------------------------------------------------------

    def make_ready(self, fd: int, events: int, *, after: float = 0.0) -> None:
        """Let `fd` become ready for `events`, now or in `after` seconds; on a ready one: more data comes."""
        self._plan(after, self._make_ready, fd, events)

    def drain(self, fd: int, events: int = BOTH, *, after: float = 0.0) -> None:
        """Let `fd` be ready for `events` no more: everything was read, or its buffer is full."""
        self._plan(after, self._drain, fd, events)

    def shut(self, fd: int, *, after: float = 0.0) -> None:
        """Let the peer say that it will send no more: `fd` stays readable, and can still be written to."""
        self._plan(after, self._hang_up, fd, False)

    def hang_up(self, fd: int, *, after: float = 0.0) -> None:
        """Let the peer close: `fd` is ready for everything from then on, and every poll is told so."""
        self._plan(after, self._hang_up, fd, True)

    def invalidate(self, fd: int, *, after: float = 0.0) -> None:
        """Let `fd` be closed behind the loop's back: it is INVALID until it is forgotten, and cannot be watched."""
        self._plan(after, self._invalidate, fd)

    def make_unpollable(self, fd: int) -> None:
        """Let `fd` be a regular file, which the system refuses to poll."""
        self._file(fd).pollable = False

    def replace(self, fd: int) -> None:
        """Let the number stand for another file, fresh and silent: what was scripted and watched goes."""
        self._files.pop(fd, None)
        self.forget(fd)

    def when_blocking(self, func: Callable[[*Ts], object], /, *args: *Ts) -> None:
        """Call `func(*args)` inside the next poll that would sleep: what a signal handler does, or another thread.

        Each poll calls one, in the order they were given; then it looks again whether there is something to report.
        """
        self._visits.append(lambda: func(*args))

    # -- the duties -------------------------------------------------------------------------------------------------

    def watch(self, fd: int, interest: int) -> bool:
        """See `hub_loop.pollers.Poller.watch`."""
        if self.closed:
            return True
        if interest & EDGE and not self.edge:
            raise ValueError(f"fd {fd} was watched with EDGE, but this poller has edge=False")
        if self._wake_fd < 0:
            self._wake_fd = fd
            return self._system is None or self._system.watch(fd, READ)
        if self._system is not None and fd not in self._files:
            return self._system.watch(fd, interest)
        file = self._file(fd)
        if file.invalid:
            raise OSError(errno.EBADF, f"{os.strerror(errno.EBADF)}: fd {fd}")
        if not file.pollable:
            return False
        self._interests[fd] = interest
        self._listed[fd] = None  # ADD and MOD report what is there already
        return True

    def forget(self, fd: int) -> None:
        """See `hub_loop.pollers.Poller.forget`."""
        self._interests.pop(fd, None)
        self._listed.pop(fd, None)
        if self._system is not None:
            self._system.forget(fd)

    def poll(self, timeout: float | None) -> list[tuple[int, int]]:
        """See `hub_loop.pollers.Poller.poll`; takes no time but the clock's."""
        if self.closed:
            return []
        self.timeout = timeout
        self.polls += 1
        start = self.clock()
        found = self._look()
        if found or timeout == 0.0:
            return found
        if self._visits:
            self._visits.popleft()()
            found = self._look()
            if found:
                return found
        end = start + (LONGEST if timeout is None else timeout)
        while self._plans and self._plans[0][0] <= end:
            self.clock.advance_to(self._plans[0][0])
            found = self._look()
            if found:
                return found
        if timeout is None or timeout >= LONGEST:
            return self._sleep_long(end)
        self.clock.advance_to(end)
        return self._look()

    def fileno(self) -> int | None:
        """Nothing becomes readable when a script goes on."""
        return None

    def close(self) -> None:
        """See `hub_loop.pollers.Poller.close`."""
        self.closed = True
        self._wake_fd = -1
        self._interests.clear()
        self._listed.clear()
        if self._system is not None:
            self._system.close()

    def reopen(self) -> None:
        """See `hub_loop.pollers.Poller.reopen`; the script goes on."""
        self.closed = False
        if self._system is not None:
            self._system.reopen()

    def __repr__(self) -> str:
        watched = ", ".join(map(str, self._interests)) or "nothing"
        return f"<FakePoller {'closed' if self.closed else f'watching {watched}'} plans={len(self._plans)}>"

    # -- inside -----------------------------------------------------------------------------------------------------

    def _file(self, fd: int) -> _File:
        file = self._files.get(fd)
        if file is None:
            file = self._files[fd] = _File()
        return file

    def _plan(self, after: float, act: Callable[[*Ts], object], /, *args: *Ts) -> None:
        if after > 0.0:
            heappush(self._plans, (self.clock() + after, self._number(), lambda: act(*args)))
        else:
            act(*args)

    def _make_ready(self, fd: int, events: int) -> None:
        self._file(fd).ready |= events
        if events & self._interests.get(fd, 0):
            self._listed[fd] = None

    def _drain(self, fd: int, events: int) -> None:
        self._file(fd).ready &= ~events

    def _hang_up(self, fd: int, both: bool) -> None:
        file = self._file(fd)
        file.ready |= BOTH if both else READ
        file.shut = True
        file.hung_up |= both
        if fd in self._interests:
            self._listed[fd] = None

    def _invalidate(self, fd: int) -> None:
        self._file(fd).invalid = True
        if fd in self._interests:
            self._listed[fd] = None

    def _look(self) -> list[tuple[int, int]]:
        """What is to be reported at this moment."""
        while self._plans and self._plans[0][0] <= self.clock():
            heappop(self._plans)[2]()
        found = self._ask_system(0.0)
        for fd in list(self._listed):
            events = self._report(fd)
            del self._listed[fd]
            if events:
                found.append((fd, events))
                if not self._interests[fd] & EDGE:
                    self._listed[fd] = None  # to the end of the list, as the kernel has it
        if found:
            self._silence = 0
        return found

    def _report(self, fd: int) -> int:
        file, interest = self._file(fd), self._interests[fd]
        if file.invalid:
            return BOTH | INVALID
        events = file.ready & interest
        if file.hung_up:
            events |= BOTH | HANGUP
        elif file.shut:
            # RDHUP is among what EDGE asks for (_io needs it there); a poller without EDGE always asks for it.
            if interest & EDGE or (interest & READ and not self.edge):
                events |= READ | HANGUP
            else:
                events |= READ & interest
        return events

    def _ask_system(self, seconds: float) -> list[tuple[int, int]]:
        """Who woke the loop, and which real fds are ready, waiting for that up to `seconds` of real time."""
        if self._wake_fd < 0:
            return []
        if self._system is not None:
            found = self._system.poll(seconds)
        else:
            wake = select.poll()
            wake.register(self._wake_fd, select.POLLIN)
            found = [(fd, READ) for fd, _ in wake.poll(seconds * 1000.0)]
        if self.edge and (self._wake_fd, READ) in found:
            os.read(self._wake_fd, 4096)  # the loop does not drain it when told of edges, so the edge is made here
        return found

    def _sleep_long(self, end: float) -> list[tuple[int, int]]:
        """Nothing is known that would end this poll: that may be a timer far away, another thread, or a mistake."""
        if self.wait_for_threads and not self._silence:
            found = self._ask_system(self.wait_for_threads)
            if found:
                return found
        self._silence += 1
        if self._silence > _PATIENCE:
            raise NothingCanHappen(
                f"the loop polls, but nothing would ever wake it: {self!r} has no plan and no thread has woken it, "
                "and no timer came due in a year of its clock; script an event, start a timer, or set wait_for_threads"
            )
        self.clock.advance_to(end)
        return []


def active_watchers(loop: Loop) -> list[Watcher]:
    """The watchers of `loop` that are active: what keeps it going, and what a test has left behind."""
    return [watcher for watcher in loop._started() if watcher.active]


if TYPE_CHECKING:
    _conforms: type[Poller] = FakePoller
