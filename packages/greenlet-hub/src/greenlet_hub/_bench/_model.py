"""What every benchmark is made of: rows, cases, results, and the little that contenders share.

Receives: functions that time something, one per contender.  Gives: `Case` objects that `_measure` runs, and `Result`
objects that whoever asked for them prints.
Rule 1: nothing here imports a peer, nor asyncio, before a contender asks for it: what a process has imported is part of
what it costs.
Rule 2: a measuring function times a fixed amount of work and returns a figure in the unit of its row, or why there is
none; it neither repeats nor averages.  Repeating, in fresh processes and in turns, is the runner's trade.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import asdict, dataclass, field, fields
from time import perf_counter
from typing import Any

Figure = float | str
"""A figure; or, as text, why there is none (a machine that is too small, say, which is no failure)."""
Figures = Figure | tuple[Figure, ...]
Measure = Callable[..., Figures]
AsyncMeasure = Callable[..., Coroutine[Any, Any, Figures]]


@dataclass(frozen=True)
class Row:
    """One line of the table.

    `goals`: contender -> how many times better than it we want to be, at least.  `at_most`: a goal for our own figure.
    Both are those of the project's performance goals; a row without either is there to be looked at.
    `curve`, `size`: the plot in which this row is a point, and where on its x axis.
    `brief`: whether the summary has it; the pages of figures have every row.
    """

    name: str
    unit: str
    higher_is_better: bool = False
    goals: Mapping[str, float] = field(default_factory=dict)
    at_most: float | None = None
    curve: str = ""
    size: float = 0.0
    brief: bool = True

    def ratio(self, ours: float, peer: float) -> float:
        """How many times better than the peer we are: 2.0 is twice as fast, or half as large."""
        better, worse = (ours, peer) if self.higher_is_better else (peer, ours)
        return better / worse if worse else float("inf")


@dataclass(frozen=True)
class Case:
    """One thing to measure: the rows it fills, in order, and a measuring function per contender.

    `args` go to the function; `quick` replaces some of them under --quick, or is None for a case that --quick leaves
    out.  `rounds`: no more than so many, however many the others get, for what takes long and varies little.
    """

    rows: tuple[Row, ...]
    contenders: Mapping[str, Measure]
    args: Mapping[str, Any] = field(default_factory=dict)
    quick: Mapping[str, Any] | None = field(default_factory=dict)
    rounds: int | None = None


@dataclass
class Result:
    """One row's samples, per contender, and what is to be said where a figure is missing."""

    concept: str
    row: Row
    samples: dict[str, list[float]] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)

    def take(self, contender: str, figure: Figure) -> None:
        """One more sample; or the reason why there is none."""
        if isinstance(figure, str):
            self.notes[contender] = figure
        else:
            self.samples.setdefault(contender, []).append(figure)

    def figure(self, contender: str) -> float | None:
        """The median, or None if there is no sample."""
        from statistics import median  # a fifth of what a measured process takes to start

        samples = self.samples.get(contender)
        return median(samples) if samples else None

    def ratio(self, contender: str) -> float | None:
        """How many times better than this contender we are."""
        ours, peer = self.figure("ours"), self.figure(contender)
        return None if ours is None or peer is None else self.row.ratio(ours, peer)

    def failed(self) -> bool:
        """Whether a measurement went wrong; what is not installed, or does not fit, has not."""
        return any(text.startswith("failed") for text in self.notes.values())

    def as_json(self) -> dict[str, Any]:
        """Everything, raw samples and medians."""
        medians = {contender: self.figure(contender) for contender in self.samples}
        return {
            "concept": self.concept,
            **asdict(self.row),
            "median": medians,
            "samples": self.samples,
            "notes": self.notes,
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Result:
        """The inverse of `as_json`; fields of a row that came later have their defaults."""
        row = Row(**{each.name: stored[each.name] for each in fields(Row) if each.name in stored})
        return cls(stored["concept"], row, stored["samples"], stored["notes"])


def microseconds(seconds: float, times: int) -> float:
    """The cost of one of `times` operations that took `seconds` together."""
    return seconds / times * 1e6


def number(figure: float | None) -> str:
    """Three digits that count."""
    if figure is None:
        return "-"
    decimals = 0 if abs(figure) >= 100 else 1 if abs(figure) >= 10 else 2
    return f"{figure:.{decimals}f}"


class Stopwatch:
    """Times what `parties` do together: from when the last of them begins until the first one ends.

    So neither starting them nor their deaths are timed.  It is off by at most one operation per party at either end.
    """

    def __init__(self, parties: int) -> None:
        self._missing = parties
        self._started = 0.0
        self.seconds = 0.0

    def begin(self) -> None:
        """A party is about to do its first operation."""
        self._missing -= 1
        if not self._missing:
            self._started = perf_counter()

    def end(self) -> None:
        """A party has done its last operation."""
        if not self.seconds:
            self.seconds = perf_counter() - self._started


def on_asyncio(measure: AsyncMeasure) -> Measure:
    """The contender that runs a coroutine on asyncio's own loop."""

    def run(**args: Any) -> Figures:
        import asyncio

        return asyncio.run(measure(**args))

    return run


def on_uvloop(measure: AsyncMeasure) -> Measure:
    """The contender that runs the same coroutine on uvloop."""

    def run(**args: Any) -> Figures:
        import asyncio

        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(measure(**args))

    return run


def on_trio(measure: AsyncMeasure) -> Measure:
    """The contender that runs a coroutine function on trio."""

    def run(**args: Any) -> Figures:
        from functools import partial

        import trio

        figures: Figures = trio.run(partial(measure, **args))
        return figures

    return run


def cores() -> tuple[int, int] | None:
    """The core for what is measured and the core for what drives it; the same one twice if there is only one."""
    if not hasattr(os, "sched_getaffinity"):
        return None
    usable = sorted(os.sched_getaffinity(0))
    return usable[-1], usable[-2 % len(usable)]


def pin(core: int | None) -> None:
    """Keep this process, and what it starts, on one core; without effect where the system cannot."""
    if core is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})
