"""Waiter: two greenlets that wake each other in turns.  What exactly is timed: `greenlet_hub._bench._waiter`."""

from __future__ import annotations

from greenlet_hub._bench._waiter import CONTENDERS
from harness import Case, Row

CASES = [
    Case(
        (Row("Waiter ping-pong, per wake", "us", goals={"gevent": 1.3, "asyncio": 1.0}),),
        CONTENDERS,
        {"wakes": 80_000},
        {"wakes": 30_000},
    ),
]
