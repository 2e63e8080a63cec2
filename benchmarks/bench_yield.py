"""Yield: `sleep(0)` in rings of 2 to 10,000 greenlets (tasks).  What exactly is timed: `greenlet_hub._bench._yield`."""

from __future__ import annotations

from greenlet_hub._bench._yield import CONTENDERS
from harness import Case, Row

GOALS = {"gevent": 2.0, "asyncio": 1.0, "uvloop": 1.0}


def _case(ring: int, yields: int) -> Case:
    row = Row(f"yield, `sleep(0)` in a ring of {ring:,}", "us", goals=GOALS)
    return Case((row,), CONTENDERS, {"ring": ring, "each": yields // ring}, {"each": yields // 8 // ring})


CASES = [_case(2, 120_000), _case(100, 120_000), _case(1_000, 120_000), _case(10_000, 240_000)]
