"""The budget: how long greenlets may hand over among themselves before the hub polls again.

Receives: the time, from the hub, at the start of a turn and at each look at the clock.  Gives: how many handoffs are
free until the next look, 0 for none.

Law 5, the bound, in count and in time: between two polls there are at most MOST handoffs, and once SLICE seconds have
passed at most one more stride of them.  A stride is sized so that about four fit into a slice: 1 when greenlets run
for long, up to WIDEST when they hardly run at all.  So with greenlets that each run for `r` seconds the poll comes
after at most SLICE + max(r, SLICE / 4); right after a change from short runs to long ones, and in a fresh hub, the
first polls may take up to WIDEST * r (test_fairness.py).
"""

from __future__ import annotations

SLICE = 0.0005
"""Seconds of handoffs after which the hub polls.

A poll costs 3 us, so this costs 0.6 % (benchmarks/bench_yield.py).
"""
WIDEST = 32
"""Handoffs between two looks at the clock, at the most."""
MOST = 1024
"""Handoffs between two polls, at the most."""


class Budget:
    """Counts the handoffs of one turn against the clock."""

    __slots__ = ("_handoffs", "_started", "_stride")

    def __init__(self) -> None:
        self._started = 0.0
        self._handoffs = 0
        self._stride = WIDEST

    def open(self, now: float) -> int:
        """A turn begins: return the handoffs that are free until the next look at the clock."""
        self._started = now
        self._handoffs = 0
        return self._stride

    def extend(self, now: float) -> int:
        """The free handoffs are used up: return how many more there are, or 0 if it is time to poll."""
        self._handoffs += self._stride
        elapsed = now - self._started
        if elapsed > 0.0:
            fitting = self._handoffs * SLICE / elapsed / 4
            self._stride = WIDEST if fitting > WIDEST else int(fitting) or 1
        if elapsed >= SLICE or self._handoffs >= MOST:
            return 0
        return self._stride
