"""Who can run, and for how long: the hub's two lanes, and the budget of handoffs until it polls again.

Receives: greenlets made ready, new ones, and the time.  Gives: lanes for `_hub` to serve, and how many handoffs are
free until the next look at the clock, 0 for none.
Rule 1: nothing here switches.  Entries are taken from the lanes by `_hub`; here only a greenlet's own (`forget_ready`),
the next function of a carrier (`_load_next`), and in a forked child what is the parent's.
Rule 2: counting costs a handoff nothing.  The budget hands out handoffs by strides and counts what it hands out; what
was not used is in `left`, `_held` and `_rest`.  The difference is how often a greenlet got the thread, at any moment.

Law 5, the bound, in count and in time: between two polls there are at most MOST handoffs, and once SLICE seconds have
passed at most one more stride of them.  A stride is sized so that about four fit into a slice: 1 when greenlets run
for long, up to WIDEST when they hardly run at all.  So with greenlets that each run for `r` seconds the poll comes
after at most SLICE + max(r, SLICE / 4); right after a change from short runs to long ones, and in a fresh hub, the
first polls may take up to WIDEST * r (test_fairness.py).

How long greenlets stand in the ready lane is sampled, by one greenlet at a time: the last one in the lane as the hub
begins to hand over.  The lane is first in, first out, so how many go before it is known; the stride is cut short there,
and who finds nothing left reads the clock.  The rest of the stride is in `_rest`, and goes on.
"""

from __future__ import annotations

from _thread import get_ident
from collections import deque

from hub_core._base import HubBase

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from greenlet import greenlet

    from hub_api import IHub, ILoopCore, ILoopFactory, IResolver, IThreadPool
    from hub_core._carriers import NewEntry
    from hub_core._greenlets import RawGreenlet

SLICE = 0.0005
"""Seconds of handoffs after which the hub polls.

A poll costs 3 us, so this costs 0.6 % (benchmarks/bench_yield.py).
"""
WIDEST = 32
"""Handoffs between two looks at the clock, at the most."""
MOST = 1024
"""Handoffs between two polls, at the most."""
SAMPLE_EVERY = 0.001
"""Seconds between the beginnings of two samples of the time in the ready lane, at the least."""
BUCKETS = 26
"""Of the times in the ready lane: bucket n has those below 2**n microseconds, the last one whatever is longer."""


class Budget:
    """Counts the handoffs of one turn against the clock."""

    __slots__ = ("granted", "handoffs", "started", "stride")

    def __init__(self) -> None:
        self.started = 0.0
        """When this turn's handoffs began."""
        self.handoffs = 0
        """Those of this turn that are used up, by whole strides."""
        self.stride = WIDEST
        self.granted: int = 0
        """Handoffs given out so far, in all turns, less those given back."""

    def open(self, now: float, unused: int = 0) -> int:
        """A turn begins; `unused` handoffs of the last one are given back.

        Return the handoffs that are free until the next look at the clock.
        """
        self.started = now
        self.handoffs = 0
        self.granted += self.stride - unused
        return self.stride

    def extend(self, now: float) -> int:
        """The free handoffs are used up: return how many more there are, or 0 if it is time to poll."""
        self.handoffs += self.stride
        elapsed = now - self.started
        if elapsed > 0.0:
            fitting = self.handoffs * SLICE / elapsed / 4
            self.stride = WIDEST if fitting > WIDEST else int(fitting) or 1
        if elapsed >= SLICE or self.handoffs >= MOST:
            return 0
        self.granted += self.stride
        return self.stride


class Sampler:
    """Times in the ready lane: those measured so far, and the one under way."""

    __slots__ = ("_since", "counts", "due", "target", "total")

    def __init__(self) -> None:
        self.counts = [0] * (BUCKETS + 1)
        self.total: float = 0.0
        self.target = -1
        """How many greenlets will have been taken from the lane when the one that is watched is the next; or -1."""
        self._since = 0.0
        self.due: float = 0.0
        """When the next one may be watched."""

    def begin(self, now: float, taken: int, waiting: int) -> int:
        """The hub begins to hand over at `now`: watch the last of those that wait, if it is time to.

        `taken` were taken from the lane so far.  Return how many will be before the one that is watched.
        """
        if not taken <= self.target < taken + waiting:  # else the one of an earlier turn still stands in the lane
            if not waiting or now < self.due:
                self.target = -1
                return 2 * MOST
            self.due = now + SAMPLE_EVERY
            self._since = now
            self.target = taken + waiting - 1
        return self.target - taken

    def end(self, now: float) -> None:
        """The greenlet that is watched is the next."""
        self.target = -1
        waited = max(now - self._since, 0.0)
        self.counts[min(int(waited * 1e6).bit_length(), BUCKETS)] += 1
        self.total += waited


class Lane:
    """What a greenlet needs to hand over: who is ready, who runs, and how many handoffs are left.

    A hub has one.  In a forked child it gets another, and of the parent's nobody is ready any more, nobody runs, and
    nothing is left.  So a greenlet that wakes up asks only who runs by the lane that it has parked with, and learns of
    strangers and of forks alike.
    """

    __slots__ = ("left", "ready", "running")

    def __init__(self) -> None:
        self.ready: deque[greenlet] = deque()
        self.running: greenlet | None = None
        """Who got the thread last by the hub's own word; None for the hub."""
        self.left: int = 0
        """The handoffs until something else must be done than to hand over: see `Lanes`."""


class Lanes(HubBase):
    """The greenlets that can run, and how many may do so before the hub polls: the state that `Hub` schedules by."""

    __slots__ = (
        "_budget",
        "_carrier",
        "_carriers",
        "_copy_context",
        "_forks",
        "_handoffs",
        "_held",
        "_lane",
        "_load",
        "_new",
        "_ready",
        "_rest",
        "_resumed",
        "_round_ends",
        "_sampler",
        "_sampling",
        "_since",
        "_started",
    )

    def __init__(
        self,
        loop: ILoopCore | ILoopFactory | None,
        default: bool | None,
        threadpool: IThreadPool | Callable[[IHub], IThreadPool] | None,
        resolver: IResolver | Callable[[IHub], IResolver] | None,
    ) -> None:
        super().__init__(loop, default, threadpool, resolver)
        self._lane = Lane()
        self._ready: deque[greenlet] = self._lane.ready  # for those who make ready, at one look
        self._new: deque[NewEntry] = deque()
        # With the first hub, not with this module: they bring contextvars and weakref.
        from contextvars import copy_context

        from hub_core import _carriers

        self._copy_context = copy_context
        self._carriers = _carriers
        self._carrier: RawGreenlet | None = None  # one that is idle
        self._load: Any = None  # what the carrier is to run next
        self._budget = Budget()
        self._sampler = Sampler()
        self._sampling = False  # whether the one that is watched may be the next in this turn
        self._held = self._rest = 0
        self._since = self.loop.now()  # when this turn's greenlets began to run; parks keep it, for reports
        self._started = self._resumed = 0  # by the hub: out of the new lane, out of the ready lane
        self._handoffs = 0  # before this turn, without the hub
        self._round_ends = 0  # what `_started` will be when all that belong to this round are started
        self._forks: tuple[tuple[Lane, greenlet], ...] = ()
        """In a forked child, for each fork: the lane of the parent, and the greenlet that lives on here."""

    def make_ready(self, greenlet: greenlet) -> None:
        """Let a parked greenlet run again, after those already ready.

        Call from: the hub's thread, callbacks included, once for each `park`.  Switches: never.
        Raises InvalidThreadUseError elsewhere: use `loop.run_callback_threadsafe`.
        """
        if get_ident() != self.thread_ident or self.loop is None:
            self.refuse(f"make {greenlet!r} ready", "hub.loop.run_callback_threadsafe")
        if self.loop.sleeping:  # we are a signal handler inside the poll, and the loop cannot know of our lanes
            self.loop.wakeup()
        self._ready.append(greenlet)

    def start_soon(
        self,
        greenlet: greenlet,
        function: Callable[..., Any],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> None:
        """Start a greenlet that has not run yet, after those that are new already.

        `function` is its `run`; it starts in a copy of the caller's context, unless it has a `gr_context` already.
        Call from: the hub's thread, callbacks included.  Switches: never.
        """
        if get_ident() != self.thread_ident or self.loop is None:
            self.refuse(f"start {greenlet!r}", "hub.loop.run_callback_threadsafe")
        self._add_new((greenlet, function, args, kwargs or {}, self._copy_context() or None))

    def throw_soon(self, greenlet: greenlet, error: BaseException | type[BaseException]) -> None:
        """Raise `error` in a greenlet, in its turn; without effect if it is dead by then.  Switches: never."""
        if get_ident() != self.thread_ident or self.loop is None:
            self.refuse(f"throw into {greenlet!r}", "hub.loop.run_callback_threadsafe")
        self._add_new((greenlet, None, (error,), {}, None))

    def _add_new(self, entry: NewEntry) -> None:
        if self.loop.sleeping:
            self.loop.wakeup()
        self._new.append(entry)
        if self._lane.left:
            self._hold()

    def _hold(self) -> None:
        """Something is new: the next greenlet that parks shall switch to us; see `_extend`."""
        lane = self._lane
        self._held += lane.left
        lane.left = 0

    def forget_ready(self, greenlet: greenlet) -> None:
        """Take a greenlet that was resumed by other means out of the ready lane, if it is there.

        Call from: the hub's thread.  Switches: never.
        """
        if get_ident() != self.thread_ident:
            self.refuse(f"make {greenlet!r} unready")
        try:
            self._ready.remove(greenlet)
        except ValueError:
            pass  # it was not there

    def _leave_behind(self, heir: greenlet, keep: Callable[[object], None]) -> None:
        """In a forked child: part with all greenlets but the one that forked; `keep` gets those that could run.

        In-flight frames still hold the old lanes: they find them empty.
        Whatever interrupts this, it can be called again, and does the rest.
        """
        lane, new = self._lane, self._new
        parted = [*lane.ready], [*new]
        keep(parted)
        own = Lane()
        # A signal handler may have forked between the marking of its greenlet and the switch.
        own.ready.extend([ready for ready in parted[0] if ready is heir])
        own.running = lane.running
        # No call from here to the loop, so none of this is done or all of it.
        self._lane, self._ready, self._forks = own, own.ready, (*self._forks, (lane, heir))
        if self._carrier is not None:
            self._carrier.spawn_lane = own
        self._budget.granted -= lane.left + self._held + self._rest
        lane.left = self._held = self._rest = 0
        self._round_ends = self._started
        self._sampler.target, self._sampling = -1, False
        for left, _ in self._forks:
            left.running = None
            left.ready.clear()
        for _ in range(len(new)):
            if new[0][0] is heir:
                new.rotate(-1)
            else:
                del new[0]

    def _busy(self) -> bool:
        """Whether a greenlet can run; the loop asks before it sleeps, for one may have become ready in this turn."""
        return bool(self._ready or self._new)

    def _load_next(self) -> bool:
        """Whether the next function of this round can be carried too; then it is loaded, and no switch is needed."""
        new = self._new
        if self._started >= self._round_ends or not self._carriers.can_be_carried(new[0], self):
            return False
        # `_spend`, written out for the usual case: more are new, and all that is left is held.
        if self._held > 1 and not self._lane.left and len(new) > 1:
            self._held -= 1
        elif not self._spend(len(new) - 1, starting=True) or not new:
            return False
        self._started += 1
        self._load = new[0]
        del new[0]
        return True

    # -- the budget ---------------------------------------------------------------------------------------------------
    # In the hot path it is one number, `Lane.left`: the handoffs until something else must be done.  That is a look at
    # the clock, or, when something new came, a switch to the hub; what was left then is kept in `_held`.

    def _extend(self, lane: Lane) -> int:
        """A parking greenlet found nothing left.

        Return the handoffs that it and its followers have, or 0 for the hub: also if `lane` is the parent's, perhaps
        since a signal handler has forked in here.
        """
        if self._new or lane is not self._lane or self.loop is None:
            return 0
        left = self._look_at_clock()
        return left if lane is self._lane else 0

    def _count_handoffs(self) -> int:
        """Those that greenlets have made without the hub so far.  Call from: the hub's thread."""
        used = self._budget.granted - self._lane.left - self._held - self._rest
        return used - self._started - self._resumed

    def _open_budget(self) -> None:
        """The hub begins to hand over."""
        now, budget, sampler = self.loop.now(), self._budget, self._sampler
        unused = self._lane.left + self._held + self._rest
        taken = budget.granted - unused - self._started
        self._handoffs = taken - self._resumed
        self._held = self._rest = 0
        self._since = now
        left = budget.open(now, unused)
        self._sampling = False
        if sampler.target >= 0 or (now >= sampler.due and self._ready):
            ahead = sampler.begin(now, taken, len(self._ready))
            self._sampling = ahead < 2 * MOST  # else it is not reached in this turn, and the looks need not ask
            if ahead < left:
                self._rest = left - ahead
                left = ahead  # 0 if it is the first: who takes it looks at the clock
        self._lane.left = left

    def _spend(self, new: int, starting: bool = False) -> bool:
        """The hub takes one handoff from the budget, while so many new ones wait; False if there is none."""
        left = self._lane.left + self._held or self._look_at_clock(starting)
        self._lane.left = self._held = 0
        if not left:
            return False
        if new:
            self._held = left - 1
        else:
            self._lane.left = left - 1
        return True

    def _look_at_clock(self, starting: bool = False) -> int:
        left = self._rest
        if left:
            self._rest = 0
        else:
            self.loop.update_now()
            left = self._budget.extend(self.loop.now())
        if not self._sampling or not left:
            return left
        sampler = self._sampler
        ahead = sampler.target - (self._budget.granted - left - self._started)
        if ahead >= left:
            return left
        if ahead <= 0 and not starting:
            self.loop.update_now()
            sampler.end(self.loop.now())
            self._sampling = False
            return left
        # Who starts something new takes nobody from the lane: it gets one handoff, and the next one looks again.
        part = max(ahead, 1)
        self._rest = left - part
        return part
