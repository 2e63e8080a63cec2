"""Timers: start + stop while 10 to 1,000,000 others are pending, and firing.  See `greenlet_hub._bench._timers`.

The curve has a row per number of pending ones; goals stand at three of them.
"""

from __future__ import annotations

from functools import partial

from greenlet_hub._bench._timers import FIRED, STOPPED
from harness import SIZES, Case, Row, growing, too_big

KIB = {"trio": 4.0}  # a task; the others have an object or two
TASKS = 100_000


def _limit(contender: str, size: int) -> str | None:
    if contender == "trio" and size > TASKS:
        return f"left out: a deadline of trio's is a task's, and more than {TASKS:,} of them take minutes"
    return too_big(size, KIB.get(contender, 1.0))


def _row(pending: int) -> Row:
    goals = {"gevent": 1.0, "asyncio": 1.0} if pending in (1_000, 100_000, 1_000_000) else {}
    name = f"timer, start + stop, {pending:,} pending"
    return Row(name, "us", goals=goals, curve="timers", size=pending, brief=bool(goals))


CASES = [
    Case(
        tuple(_row(size) for size in SIZES),
        {contender: growing(measure, partial(_limit, contender)) for contender, measure in STOPPED.items()},
        {"timers": 50_000, "most": SIZES[-1]},
        {"timers": 4_000, "most": 10_000},
        rounds=3,
    ),
    Case((Row("timer, firing", "us"),), FIRED, {"timers": 100_000}, {"timers": 20_000}),
]
