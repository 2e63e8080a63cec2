"""Import: what a program pays before its first line, above bare Python.

Timed: a whole process that imports one module and ends, less a whole process that does nothing; both are started five
times in turns, and the figure is the difference of the medians (a run of 3 rounds has 15 starts of each).  Unit: ms.
Modules: how many more `sys.modules` has.  `python -I`: no user site, no environment; the byte code is compiled already.
The family is imported from where it is installed: an editable install adds a path entry per package, which costs a
little.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from statistics import median
from time import perf_counter

from harness import Case, Measure, Row

COUNT = "import sys; before = len(sys.modules); {}; print(len(sys.modules) - before)"


def _seconds(statement: str) -> float:
    # The end is seen on a pipe: to wait for a process with a timeout polls it, at ever longer intervals.
    started = perf_counter()
    subprocess.run([sys.executable, "-I", "-c", statement], check=True, timeout=60, stdout=subprocess.PIPE)
    return perf_counter() - started


def importing(statement: str) -> Callable[[int], tuple[float, float]]:
    """The contender for one import statement."""

    def measure(starts: int) -> tuple[float, float]:
        counted = subprocess.run(
            [sys.executable, "-I", "-c", COUNT.format(statement)],
            check=True,
            timeout=60,
            stdout=subprocess.PIPE,
            text=True,
        )  # which also compiles what was not compiled yet
        bare, full = [], []
        for _ in range(starts):
            bare.append(_seconds("pass"))
            full.append(_seconds(statement))
        return (median(full) - median(bare)) * 1e3, float(counted.stdout)

    return measure


CONTENDERS: dict[str, Measure] = {
    "ours": importing("import greenlet_hub"),
    "gevent": importing("import gevent"),
    "eventlet": importing("import eventlet"),
    "asyncio": importing("import asyncio"),
    "uvloop": importing("import uvloop"),
    "trio": importing("import trio"),
}

CASES = [
    Case(
        (
            Row("import, above bare Python", "ms", goals={"gevent": 1.0, "asyncio": 1.0}, at_most=12.0),
            Row("import, modules", "modules", at_most=25.0),
        ),
        CONTENDERS,
        {"starts": 5},
        {"starts": 2},
    ),
]
