"""Profiles: where the time of ours goes in a row, by sampling stacks.

    python benchmarks/run.py --profile "timer, firing" --profile "HTTP hello, 100 connections"
    python benchmarks/run.py --profile losses        every row that the last whole run has lost to a peer

The first two write results/partial-profiles.md and print it, the last one the page of the documentation.
Receives: cases, whose contender "ours" is run in a process with a sampler (`sampler.py`).  Gives: for each a flame
graph (SVG), and one page with a table per row: which function was on top how often, and how much the kernel had of it.
Why samples: profilers of CPython that count calls hook each of them, make a call cost several times as much, and mix up
the stacks when greenlets switch.  A signal at each tick of CPU time asks the running frame where it is.
What it cannot see: time in C is told to the Python function that called it; CPython looks for signals where a function
begins and behind calls, so what is done between two calls is told to the later one; only the main thread is asked.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flame
import report
from greenlet_hub._bench import _measure
from greenlet_hub._bench._measure import Entry
from harness import Result

HERE = Path(__file__).resolve().parent
WHOLE = HERE.parent / "docs/explain/profiles.md", HERE.parent / "docs/_static/benchmarks/profiles"
PARTIAL = HERE / "results/partial-profiles.md", HERE / "results/partial/profiles"
"""The page, and the directory of its pictures: of all losses, and of rows that somebody has named."""
LOSSES = "losses"
TOP = 12
LONGER = 3  # times as much work as for a figure, so that there are enough samples
GROWING = (
    "calls",
    "waits",
    "wakes",
    "batches",
    "spawns",
    "each",
    "timers",
    "events",
    "posts",
    "seconds",
    "yields",
    "starts",
)
TIMED = ("us", "ms", "k/s")  # a profile of time explains no memory
FEW = 1_000


@dataclass(frozen=True)
class Profile:
    """What a sampler has seen: how often each stack (outermost first), and CPU time outside and inside the kernel."""

    name: str
    stacks: Mapping[tuple[str, ...], int]
    user: float
    system: float

    @property
    def samples(self) -> int:
        """How many there are."""
        return sum(self.stacks.values())

    def tops(self) -> list[tuple[str, float, float]]:
        """Function, its share as the top of the stack, its share anywhere in it; the most frequent first."""
        top: Counter[str] = Counter()
        anywhere: Counter[str] = Counter()
        for stack, count in self.stacks.items():
            top[stack[-1]] += count
            for function in set(stack):
                anywhere[function] += count
        total = self.samples
        most = [(function, count) for function, count in top.most_common(TOP) if count >= total / 100]
        return [(function, count / total, anywhere[function] / total) for function, count in most]


def run(names: Sequence[str], entries: Sequence[Entry], figures: Path) -> int:
    """Profile the cases with these rows, and write the page; returns the exit status."""
    results = _stored(figures)
    wanted = [r.row.name for r in lost(results)] if list(names) == [LOSSES] else names
    cases = {row.name: entry for entry in entries for row in entry.case.rows}
    unknown = [name for name in wanted if name not in cases]
    if unknown and list(names) != [LOSSES]:
        print(f"no row has the name {unknown[0]!r}: the table of results has the names", file=sys.stderr)
        return 2
    chosen: dict[str, tuple[str, Entry]] = {}  # one profile for the rows of a case, named as the first that is wanted
    for name in wanted:
        if name in cases:
            chosen.setdefault(cases[name].name, (name, cases[name]))
    profiles, failed = [], False
    for name, entry in chosen.values():
        print(f"{name} ...", file=sys.stderr, flush=True)
        try:
            profiles.append(take(entry, name))
        except _measure.Failed as error:
            failed = True
            print(f"{name}: {error}", file=sys.stderr)
    page, pictures = WHOLE if list(names) == [LOSSES] else PARTIAL
    write(profiles, {result.row.name: result for result in results}, page, pictures)
    print(page.read_text())
    return 1 if failed else 0


def lost(results: Iterable[Result]) -> Iterator[Result]:
    """The rows in which a peer is better, by more than figures vary."""
    for result in results:
        timed = result.row.unit in TIMED and not result.concept.endswith("import")  # whose work is in other processes
        if timed and result.row.brief and any(ratio < 0.95 for ratio in report.peers(result).values()):
            yield result


def _stored(path: Path) -> list[Result]:
    if not path.exists():
        return []
    return [Result.from_json(each) for each in json.loads(path.read_text())["results"]]


# -- taking -----------------------------------------------------------------------------------------------------------


def take(entry: Entry, name: str) -> Profile:
    """Run ours once, with more work than for a figure, and a sampler in the process that does the work.

    Raises Failed if there is no sample.
    """
    longer = {n: v * LONGER for n, v in entry.args.items() if n in GROWING and isinstance(v, int | float)}
    # Of a curve, the part in which making what waits is not most of the work.
    args = {**entry.args, **longer, **({"most": FEW} if "most" in entry.args else {})}
    with tempfile.TemporaryDirectory() as scratch:
        environment = {"BENCH_PROFILE": scratch, **_measure.environment()}
        command = [sys.executable, "sampler.py", entry.module, str(entry.index), json.dumps(args)]
        with tempfile.TemporaryFile() as err:
            worker = subprocess.Popen(
                command, cwd=HERE, env=environment, stdout=subprocess.DEVNULL, stderr=err, start_new_session=True
            )
            _measure.wait(worker)
            err.seek(0)
            lines = err.read().decode(errors="replace").strip().splitlines()
        # A server that was started is what is looked at; else the process itself.
        files = sorted(Path(scratch).iterdir(), key=lambda path: path.name.startswith("server"))
        if worker.returncode or not files:
            raise _measure.Failed(lines[-1] if lines else f"ended with status {worker.returncode}, without a sample")
        seen = json.loads(files[-1].read_text())
    return Profile(name, {tuple(stack): count for stack, count in seen["stacks"]}, seen["user"], seen["system"])


# -- telling ----------------------------------------------------------------------------------------------------------


def slug(name: str) -> str:
    """A name that a file can have."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def write(profiles: Sequence[Profile], results: Mapping[str, Result], page: Path, pictures: Path) -> None:
    """Write the pictures, and the page that shows them; pictures of an earlier page go."""
    pictures.mkdir(parents=True, exist_ok=True)
    for old in pictures.glob("*.svg"):
        old.unlink()
    for profile in profiles:
        (pictures / f"{slug(profile.name)}.svg").write_text(flame.svg(profile.stacks, profile.name))
    where = os.path.relpath(pictures, page.parent)
    page.write_text("\n\n".join(paragraphs(profiles, results, where)) + "\n")


def paragraphs(profiles: Iterable[Profile], results: Mapping[str, Result], where: str) -> Iterator[str]:
    """The page, paragraph by paragraph."""
    yield "# Profiles of the rows that ours loses"
    yield (
        "Made by `hatch run bench --profile losses`; do not edit. What it means, what was tried and what is left: "
        "[where the time goes](where-time-goes.md)."
    )
    yield (
        "Each is ours alone, sampled as often as the kernel's clock ticks (some milliseconds of CPU time): how often a "
        "function was on top of the stack, and how often anywhere in it. Time in C counts for the Python function that "
        "called it; `greenlet.switch` is a part of the function that parks. CPython looks for signals where a function "
        "begins and behind calls, so a loop's own steps may count for the function that it calls next. In the pictures "
        "a box is as wide as its share, and whoever is called stands above the caller."
    )
    for profile in profiles:
        yield from _part(profile, results.get(profile.name), where)


def _part(profile: Profile, result: Result | None, where: str) -> Iterator[str]:
    yield f"## {profile.name}"
    total = profile.user + profile.system
    said = (
        f"{profile.samples:,} samples; {profile.system / total:.0%} of the CPU time is the kernel's." if total else ""
    )
    if result is not None:
        said += " " + ", ".join(f"{peer} {report.times(ratio)}" for peer, ratio in report.peers(result).items()) + "."
    yield said
    yield f"![Flame graph: see the table below]({where}/{slug(profile.name)}.svg)"
    lines = [f"| `{function}` | {top:.0%} | {anywhere:.0%} |" for function, top, anywhere in profile.tops()]
    yield "\n".join(["| function | on top | anywhere |", "| --- | ---: | ---: |", *lines])


def dump(kind: str, stacks: Counter[tuple[str, ...]], user: float, system: float) -> None:
    """What a sampler leaves for `take`."""
    told: dict[str, Any] = {"stacks": [[list(s), c] for s, c in stacks.items()], "user": user, "system": system}
    Path(os.environ["BENCH_PROFILE"], f"{kind}-{os.getpid()}.json").write_text(json.dumps(told))
