"""Spawn: a greenlet (task) for a function, and its end.  What exactly is timed: `greenlet_hub._bench._spawn`."""

from __future__ import annotations

from greenlet_hub._bench._spawn import BATCH, BATCHES, JOIN
from harness import Case, Row

CASES = [
    Case(
        (Row(f"spawn and end, in batches of {BATCH:,}", "us", goals={"gevent": 4.0, "asyncio": 1.0, "uvloop": 1.0}),),
        BATCHES,
        {"batches": 3},
        {"batches": 1},
    ),
    Case(
        (Row("spawn and join, one by one", "us", goals={"gevent": 4.0}),),
        JOIN,
        {"spawns": 20_000},
        {"spawns": 5_000},
    ),
]
