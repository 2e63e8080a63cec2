"""The table: medians, ratios, goals, losses included.

Receives: samples from the runner.  Gives: Markdown, and what JSON stores.  A ratio says how many times better we are
than a peer in that row, whatever the unit: above 1 we win.
Rule: nothing here names a machine, a user or a path.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import timeit
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from harness import Row

FAMILY = ("greenlet-hub", "hub-api", "hub-loop", "hub-core", "hub-threadpool", "hub-resolver")
PEERS = ("gevent", "eventlet", "uvloop", "trio", "greenlet")
BEGIN, END = "<!-- benchmark:begin -->", "<!-- benchmark:end -->"
_NOT_OTHERS = ("ours", "gevent", "gevent raw", "bare epoll")  # the last is a limit, not a peer


@dataclass
class Result:
    """One row's samples, per contender, and what is to be said where a figure is missing."""

    concept: str
    row: Row
    samples: dict[str, list[float]] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)

    def figure(self, contender: str) -> float | None:
        """The median, or None if there is no sample."""
        samples = self.samples.get(contender)
        return median(samples) if samples else None

    def ratio(self, contender: str) -> float | None:
        """How many times better than this contender we are."""
        ours, peer = self.figure("ours"), self.figure(contender)
        return None if ours is None or peer is None else self.row.ratio(ours, peer)

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
    def from_json(cls, stored: dict[str, Any]) -> Result:
        """The inverse of `as_json`."""
        row = Row(*(stored[name] for name in ("name", "unit", "higher_is_better", "goals", "at_most")))
        return cls(stored["concept"], row, stored["samples"], stored["notes"])


def surroundings(rounds: int, options: str) -> dict[str, Any]:
    """When, on what and with what versions the figures were taken."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "rounds": rounds,
        "options": options,
        "python": f"{platform.python_implementation()} {platform.python_version()}, {_call()}",
        "kernel": f"{platform.system()} {_numbers(platform.release())}",
        "cpu": _cpu_model(),
        "cpus": os.cpu_count(),
        "versions": dict(_versions()),
    }


def _call() -> str:
    """What a call of an empty function costs: the yardstick of this build of CPython.

    It differs by a factor of three between builds of one version, which moves the figures of pure Python and leaves
    those of compiled peers where they are.
    """
    seconds = min(timeit.repeat("function()", "def function(): pass", number=200_000, repeat=9)) / 200_000
    return f"{seconds * 1e9:.0f} ns per empty call"


def _numbers(release: str) -> str:
    """A release without what a distribution or a host has added to it."""
    found = re.match(r"\d+(\.\d+)*", release)
    return found[0] if found else release


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _versions() -> Iterator[tuple[str, str]]:
    for name in (*FAMILY, *PEERS):
        try:
            yield name, importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            yield name, "not installed"
    wrk = shutil.which("wrk")
    # `wrk -v` ends with status 1.
    said = subprocess.run([wrk, "-v"], stdout=subprocess.PIPE, text=True, timeout=10).stdout.split() if wrk else []
    yield "wrk", said[1] if len(said) > 1 else "not installed"


# -- Markdown ---------------------------------------------------------------------------------------------------------


def page(around: dict[str, Any], results: list[Result]) -> str:
    """The whole page: the summary, then every figure of every contender."""
    parts = ["# Benchmarks", describe(around), "## Against the goals", summary(results)]
    for concept in dict.fromkeys(result.concept for result in results):
        parts += [f"## {concept.removeprefix('bench_')}", details([r for r in results if r.concept == concept])]
    return "\n\n".join(parts) + "\n"


def describe(around: dict[str, Any]) -> str:
    """The circumstances, in a paragraph."""
    versions = ", ".join(f"{name} {version}" for name, version in around["versions"].items())
    return (
        f"{around['date']}; {around['python']}; {around['kernel']}; {around['cpu']}, {around['cpus']} CPUs. "
        f"Medians of {around['rounds']} rounds in which the contenders take turns, each in a process of its own on one "
        f"core{'; options: ' + around['options'] if around['options'] else ''}.\n{versions}.\n\n"
        "A ratio says how many times better ours is than that peer, whatever the unit; **bold** where ours loses."
    )


def summary(results: list[Result]) -> str:
    """A line per row: ours, gevent, the goals, and the best of the other peers."""
    lines = []
    for result in results:
        others = {c: ratio for c in result.samples if c not in _NOT_OTHERS and (ratio := result.ratio(c)) is not None}
        best = min(others, key=others.__getitem__) if others else None
        lines.append(
            [
                result.row.name,
                result.row.unit,
                number(result.figure("ours")),
                _figure(result, "gevent"),
                _times(result.ratio("gevent")),
                _goals(result),
                "-" if best is None else f"{best} {number(result.figure(best))}, {_times(others[best])}",
            ]
        )
    return _table(["row", "unit", "ours", "gevent", "ratio", "goals", "best of the others"], lines)


def details(results: list[Result]) -> str:
    """A line per row, a column per contender: median and ratio."""
    contenders = list(dict.fromkeys(c for result in results for c in (*result.samples, *result.notes)))
    lines = []
    for result in results:
        line = [result.row.name, result.row.unit]
        for contender in contenders:
            ratio = (
                "" if contender == "ours" or result.ratio(contender) is None else f", {_times(result.ratio(contender))}"
            )
            line.append(_figure(result, contender) + ratio)
        lines.append(line)
    notes: dict[str, dict[str, None]] = {}
    for result in results:
        for contender, text in result.notes.items():
            notes.setdefault(text, {})[contender] = None
    said = [f"- {', '.join(who)}: {text}" for text, who in notes.items()]
    return "\n".join([_table(["row", "unit", *contenders], lines), *([""] if said else []), *said])


def _figure(result: Result, contender: str) -> str:
    if not result.samples.get(contender) and contender in result.notes:
        return "not installed" if result.notes[contender].startswith("not installed") else "failed"
    return number(result.figure(contender))


def _goals(result: Result) -> str:
    texts = []
    for contender, goal in result.row.goals.items():
        ratio = result.ratio(contender)
        if ratio is not None:
            verdict = "met" if ratio >= goal else f"**missed: {ratio:.2f}**"
            texts.append(f"{contender} >= {goal:.3g}: {verdict}")
    ours = result.figure("ours")
    if result.row.at_most is not None and ours is not None:
        texts.append(f"<= {result.row.at_most:g}: {'met' if ours <= result.row.at_most else '**missed**'}")
    return "; ".join(texts) or "-"


def without_paths(text: str) -> str:
    """An error's text without the places of files, which would tell where it ran."""
    return re.sub(r"\S*/\S+", "...", text)


def number(figure: float | None) -> str:
    """Three digits that count."""
    if figure is None:
        return "-"
    decimals = 0 if abs(figure) >= 100 else 1 if abs(figure) >= 10 else 2
    return f"{figure:.{decimals}f}"


def _times(ratio: float | None) -> str:
    if ratio is None:
        return "-"
    return f"{ratio:.2f}x" if ratio >= 1.0 else f"**{ratio:.2f}x**"


def _table(head: list[str], lines: Iterable[list[str]]) -> str:
    rule = ["---"] * 2 + ["---:"] * (len(head) - 2)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *lines))


def rewrite_readme(readme: Path, around: dict[str, Any], results: list[Result]) -> None:
    """Put the summary between the two marks.  Raises ValueError if they are not there."""
    text = readme.read_text()
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(
            f"{readme.name} has no place for the table: it needs the lines {BEGIN} and {END}, in this order"
        )
    readme.write_text(f"{before}{BEGIN}\n{describe(around)}\n\n{summary(results)}\n{END}{after}")
