"""Callbacks, queued on the loop from its own thread.  What exactly is timed: `greenlet_hub._bench._callbacks`."""

from __future__ import annotations

from greenlet_hub._bench._callbacks import GET, QUEUE
from harness import Case, Row

CASES = [
    Case(
        (Row("`run_callback`, queue + run", "us", goals={"gevent": 1.0, "asyncio": 1.0, "uvloop": 1.0}),),
        QUEUE,
        {"batches": 600},
        {"batches": 80},
    ),
    Case(
        (Row("`run_callback(waiter.switch)`, then `get`", "us", goals={"gevent": 1.0}),),
        GET,
        {"waits": 60_000},
        {"waits": 20_000},
    ),
]
