"""Counters: what a hub has done so far, for whoever wants to know whether it keeps up.

Receives: numbers that the hub's lanes and its loop keep anyway.  Gives: snapshots of them, in any thread.

Rule 1: nothing here is in the way of a switch, a callback or a turn; who reads pays.
Rule 2: no lock.  Each number is replaced in one step by one thread, so it never goes back for a reader that asks again.
Rule 3: a reader in another thread holds no hub: a hub refers to its thread's main greenlet (see `_storage.Guard`).
Rule 4: our tuples are made by `_make`.  A named tuple's own `__new__` has no builtins, and the interpreter may run what
is pending in any Python function: greenlet's clearing up after a thread that has ended, which then cannot import and
prints a KeyError (test_counters.py).
"""

from __future__ import annotations

from _thread import get_ident
from typing import NamedTuple
from weakref import ref

from hub_core._ready import BUCKETS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from hub_api import ICountingLoop
    from hub_core._hub import Hub

_NEEDED = ("calls", "clock", "iteration", "made_at", "polled", "progress")


class DelayHistogram(NamedTuple):
    """Times that greenlets stood in the ready lane before they ran: how many were how long.

    Sampled: one greenlet at a time, and at most one in a millisecond.  It is the last one in the ready lane when the
    hub begins to hand over, and its time goes from the clock reading of that turn until the moment when it is the next.
    """

    counts: tuple[int, ...]
    """How many samples each bucket has: bucket n those below `bounds[n]`, the last one all that are longer."""

    seconds: float
    """All samples together."""

    @property
    def bounds(self) -> tuple[float, ...]:
        """The upper bounds of all buckets but the last, in seconds: powers of two of a microsecond."""
        return tuple(2**n / 1e6 for n in range(BUCKETS))

    @property
    def samples(self) -> int:
        """How many there are."""
        return sum(self.counts)

    def percentile(self, percent: float) -> float:
        """Seconds within which that many percent of the samples ran: the upper bound of a bucket.

        Infinity if that is the last bucket, nan if there is no sample.  Raises ValueError outside of 0 to 100.
        """
        if not 0 <= percent <= 100:
            raise ValueError(f"a percentile is one of 0 to 100, got {percent!r}")
        wanted, seen = self.samples * percent / 100, 0
        if not self.samples:
            return float("nan")
        for count, bound in zip(self.counts, self.bounds, strict=False):
            seen += count
            if seen and seen >= wanted:
                return bound
        return float("inf")

    def __sub__(self, before: DelayHistogram) -> DelayHistogram:
        counts = tuple(after - earlier for after, earlier in zip(self.counts, before.counts, strict=True))
        return DelayHistogram._make((counts, self.seconds - before.seconds))


class CountersSnapshot(NamedTuple):
    """The counters of one hub at one moment; `later - earlier` is what happened in between.

    Turns, calls and times are those of the hub's loop, since the loop was made; the others the hub's own.
    """

    seconds: float
    """Since the loop was made: `poll_seconds` and `run_seconds` together."""

    turns: int
    """Turns of the loop that have begun."""

    switches: int
    """How often a greenlet got the thread: it was started, thrown into, or went on after it had parked.

    One that parks and finds itself the next counts as well, though there is nothing to switch.  A function that a
    carrier runs counts as the start of its own greenlet.  What strangers switch by themselves is not seen, nor is an
    exception that the hub raises in the main greenlet.
    """

    handoffs: int
    """Those of the switches that a parking greenlet made itself, without the hub.  The others are the hub's."""

    callbacks: int
    """Callbacks and watchers that the loop has called, and queued ones that it found stopped.

    Not the `switch` of a Waiter that a parking greenlet finds first in the queue and runs on its own stack.
    """

    poll_seconds: float
    """Asleep: in polls that might wait, the present one included.  A poll that is not to wait is no sleep."""

    run_seconds: float
    """The rest: greenlets, callbacks, the loop, and whatever else the thread did or waited for."""

    ready: int
    """Greenlets that are parked and can go on, now."""

    new: int
    """Greenlets that are to be started or thrown into, now."""

    pending: int
    """Callbacks and events that are queued in the loop, now."""

    ready_delay: DelayHistogram
    """How long greenlets stood in the ready lane before they ran."""

    @property
    def busy(self) -> float:
        """The share of time that was not slept, from 0 to 1; 0 if no time has passed."""
        return self.run_seconds / self.seconds if self.seconds else 0.0

    def __sub__(self, before: CountersSnapshot) -> CountersSnapshot:
        made = (
            self.seconds - before.seconds,
            self.turns - before.turns,
            self.switches - before.switches,
            self.handoffs - before.handoffs,
            self.callbacks - before.callbacks,
            self.poll_seconds - before.poll_seconds,
            self.run_seconds - before.run_seconds,
            self.ready,
            self.new,
            self.pending,
            self.ready_delay - before.ready_delay,
        )
        return CountersSnapshot._make(made)

    def as_dict(self) -> dict[str, Any]:
        """The same as numbers, lists and dicts, for JSON."""
        delay = self.ready_delay
        histogram = {"bounds": list(delay.bounds), "counts": list(delay.counts), "seconds": delay.seconds}
        return {**self._asdict(), "ready_delay": histogram}


class Counters:
    """The counters of a hub: see `Hub.counters`."""

    __slots__ = ("_hub",)

    def __init__(self, hub: Hub) -> None:
        counting_loop(hub, "count what it does")
        self._hub = ref(hub)

    def snapshot(self) -> CountersSnapshot:
        """Read all counters.

        Call from: any thread; without a lock.  Switches: never.
        In the hub's own thread the numbers are exact, and belong together.  In another thread none of them ever goes
        back; `switches` and `handoffs` lack what the present turn has handed over, and `callbacks` up to 50 of the
        present batch.  Raises ValueError if the hub is destroyed.
        """
        hub = self._hub()
        if hub is None or hub.loop is None:
            raise ValueError(f"cannot read {self!r}: the hub is destroyed, and its counters with it")
        loop = counting_loop(hub, "count what it does")
        hubs = hub._started + hub._resumed
        handoffs = hub._count_handoffs() if get_ident() == hub.thread_ident else hub._handoffs
        now, slept = _times(loop)
        sampler = hub._sampler
        made = (
            now - loop.made_at,
            loop.iteration,
            handoffs + hubs,
            handoffs,
            loop.calls,
            slept,
            now - loop.made_at - slept,
            len(hub._ready),
            len(hub._new),
            loop.pendingcnt,
            DelayHistogram._make((tuple(sampler.counts), sampler.total)),
        )
        return CountersSnapshot._make(made)

    def __repr__(self) -> str:
        hub = self._hub()
        return f"<Counters of {'a hub that is gone' if hub is None else repr(hub)}>"


def counting_loop(hub: Hub, what: str) -> ICountingLoop:
    """The loop of `hub`.  Raises TypeError if it does not tell what it has done, ValueError if there is none."""
    loop: Any = hub.loop
    if loop is None:
        raise ValueError(f"cannot {what}: {hub!r} is destroyed; get_hub() makes a new one")
    missing = [name for name in _NEEDED if not hasattr(loop, name)]
    if missing:
        raise TypeError(
            f"cannot {what}: the loop {loop!r} of {hub!r} has no {', '.join(missing)}; "
            "use a loop that is a hub_api.ICountingLoop, such as hub_loop.Loop"
        )
    counting: ICountingLoop = loop
    return counting


def _times(loop: ICountingLoop) -> tuple[float, float]:
    """The time on the loop's clock, and the seconds slept until then."""
    while True:
        polled = loop.polled
        now = loop.clock()
        if loop.polled is polled:  # else the loop fell asleep or woke up between the two, and the times do not fit
            slept, began = polled
            return now, slept if began is None else slept + max(now - began, 0.0)
