"""The benchmark: every contender in turns, each time in a fresh process on a core of its own; then tables and plots.

    python benchmarks/run.py                 all rows, 7 rounds: writes the pages, the plots and the README's section
    python benchmarks/run.py --quick         small, a minute or two: rough figures, to see that everything works
    python benchmarks/run.py --only http --only yield --peers ours,gevent
    python benchmarks/run.py --from benchmarks/results/latest.json    measures nothing, writes all pages anew
    python benchmarks/run.py --profile "timer, firing"       where the time of rows goes (`profiles.py`)

A whole run publishes (see `Places`); any other run, and one that was interrupted, writes results/partial* only.  What
has been measured is on disk after each round.  Past --minutes no case is begun any more.
Exit status is 1 if a measurement failed, 130 after Ctrl-C; a peer that is not installed is said in the table and is no
failure.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shutil
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

import plots
import report
from greenlet_hub._bench import _measure
from greenlet_hub._bench._measure import Entry
from harness import Case, Result, number

HERE = Path(__file__).resolve().parent
ORDER = (
    "yield",
    "spawn",
    "callbacks",
    "timers",
    "waiter",
    "crossthread",
    "threadpool",
    "resolver",
    "http",
    "latency",
    "memory",
    "growth",
    "import",
    "insight",
)
CONCEPTS = (*ORDER, *sorted({path.stem.removeprefix("bench_") for path in HERE.glob("bench_*.py")} - {*ORDER}))
ROUNDS, QUICK_ROUNDS = 7, 1
ENOUGH = 3  # rounds, without which a whole run publishes nothing
MINUTES, QUICK_MINUTES = 45.0, 4.0  # past which nothing is begun; a measurement takes some seconds at most
GUESS, QUICK_GUESS = 1.2, 0.5  # seconds for a measurement of which no run tells how long it took
INTERRUPTED = 130


@dataclass(frozen=True)
class Places:
    """Where a run writes to: the figures, a page, its plots; and the README, if it has a part in it."""

    figures: Path
    page: Path
    plots: Path
    readme: Path | None


WHOLE = Places(
    HERE / "results/latest.json",
    HERE.parent / "docs/reference/benchmark-results.md",
    HERE.parent / "docs/_static/benchmarks",
    HERE.parent / "README.md",
)
PARTIAL = Places(HERE / "results/partial.json", HERE / "results/partial.md", HERE / "results/partial", None)


# -- what is measured -------------------------------------------------------------------------------------------------


def entries(options: argparse.Namespace) -> Iterator[Entry]:
    """The cases that the options ask for, each with those who can take part."""
    for name in CONCEPTS:
        if options.only and name not in options.only:
            continue
        cases: Sequence[Case] = importlib.import_module(f"bench_{name}").CASES
        for index, case in enumerate(cases):
            args = {**case.args, **((case.quick or {}) if options.quick else {})}
            pythons = {"ours before": options.before} if options.before else {}
            entry = Entry(f"bench_{name}", index, case, args, str(HERE), pythons, options.peers)
            why = None
            if options.quick and case.quick is None:
                why = "left out: too large for --quick"
            elif name == "http" and shutil.which("wrk") is None:
                why = "not installed: wrk (Debian: apt-get install wrk)"
            for contender in tuple(entry.able) if why else ():
                entry.leave_out(contender, why or "")
            yield entry


def expected(run: Iterable[Entry], rounds: int, guess: float, stored: dict[str, float]) -> float:
    """About how many seconds it will take: by what a round took in an earlier run, else by a guess."""
    return sum(
        stored.get(entry.name, guess * len(entry.able)) * min(rounds, entry.case.rounds or rounds) for entry in run
    )


# -- how far it is ----------------------------------------------------------------------------------------------------


class Teller:
    """Says how far it is: on a terminal a line that changes, else a line per case and round."""

    def __init__(self, console: Console, total: int) -> None:
        self._console = console
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        times = (TimeElapsedColumn(), TextColumn("left about"), TimeRemainingColumn())
        # auto_refresh would draw from a thread of its own, on the core that is measured.
        self.progress = Progress(
            *columns, *times, console=console, auto_refresh=False, transient=True, disable=not console.is_terminal
        )
        self._task = self.progress.add_task("", total=total)
        self._done = -1

    def tell(self, round_number: int, entry: Entry, contender: str | None) -> None:
        """Before a measurement; with None after the round of a case."""
        if contender is not None:
            self._done += 1
            text = f"round {round_number}: {entry.name}: {contender}"
            self.progress.update(self._task, completed=max(self._done, 0), description=text, refresh=True)
            return
        for result in entry.results:
            last = ", ".join(f"{c} {number(samples[-1])}" for c, samples in result.samples.items())
            notes = ", ".join(f"{c} {text}" for c, text in result.notes.items() if text.startswith("failed"))
            said = "; ".join(text for text in (last, notes) if text)
            if said:
                line = f"{round_number}: {result.row.name} ({result.row.unit}): {said}"
                self._console.print(line, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def sigterm_is_ctrl_c() -> Iterator[None]:
    """Have a run that is told to end keep what it has, as after Ctrl-C."""
    former = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)


# -- what is written --------------------------------------------------------------------------------------------------


def save(path: Path, around: dict[str, Any], results: Sequence[Result]) -> None:
    """Write the figures; whoever interrupts it finds the old ones or the new ones."""
    new = path.with_suffix(".new")
    new.write_text(json.dumps({"around": around, "results": [r.as_json() for r in results]}, indent=1) + "\n")
    os.replace(new, path)


def load(path: Path) -> tuple[dict[str, Any], list[Result]]:
    """What `save` has written."""
    stored = json.loads(path.read_text())
    return stored["around"], [Result.from_json(each) for each in stored["results"]]


def publish(places: Places, around: dict[str, Any], results: Sequence[Result]) -> None:
    """Write figures, plots, page, and the README's section."""
    readme = None if places.readme is None else places.readme.read_text()
    save(places.figures, around, results)
    try:
        drawn = plots.draw_all(results, places.plots)
    except ModuleNotFoundError as error:
        print(f"no plots: {error} (the dependency group `bench` has it)", file=sys.stderr)
        drawn = {}
    shown = {plot.title: (os.path.relpath(path, places.page.parent), plot.reading) for plot, path in drawn.items()}
    places.page.write_text(report.page(around, results, shown))
    if places.readme is not None and readme is not None:
        overview = drawn.get(plots.OVERVIEW)
        picture = None if overview is None else os.path.relpath(overview, places.readme.parent)
        places.readme.write_text(report.in_readme(readme, report.section(around, results, picture)))


def stored_seconds() -> dict[str, float]:
    """How long a round of each case took in the last whole run, if there was one."""
    try:
        return dict(load(WHOLE.figures)[0].get("seconds", {}))
    except FileNotFoundError:
        return {}


# -- the command ------------------------------------------------------------------------------------------------------


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Measure the hub family beside its peers.")
    parser.add_argument("--quick", action="store_true", help="small, a minute or two: to see that it works")
    parser.add_argument("--rounds", type=int, metavar="N", help=f"rounds ({ROUNDS}, or {QUICK_ROUNDS} with --quick)")
    parser.add_argument("--minutes", type=float, metavar="M", help=f"begin nothing after so long ({MINUTES:g})")
    parser.add_argument(
        "--only", action="append", choices=CONCEPTS, metavar="NAME", help=f"one of {', '.join(CONCEPTS)}; repeatable"
    )
    parser.add_argument("--peers", type=lambda text: text.split(","), metavar="A,B", help="only these, and ours")
    parser.add_argument(
        "--before",
        metavar="PYTHON",
        help="an interpreter with other packages of ours, of the commit before, say: one more contender",
    )
    parser.add_argument(
        "--from",
        dest="stored",
        type=Path,
        metavar="FILE",
        help="measure nothing; write the pages of a run that is stored",
    )
    parser.add_argument(
        "--profile",
        action="append",
        metavar="ROW",
        help="measure nothing; sample ours in that row; `losses`: all lost ones",
    )
    options = parser.parse_args(arguments)
    options.told = told(options)
    options.rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    options.minutes = options.minutes or (QUICK_MINUTES if options.quick else MINUTES)
    options.whole = not (options.quick or options.only or options.peers or options.rounds < ROUNDS)
    return options


def told(options: argparse.Namespace) -> str:
    """The options that were given, as the page has them: where somebody's interpreters lie is not for publishing."""
    given = ["--quick"] if options.quick else []
    given += [f"--rounds {options.rounds}"] if options.rounds else []
    given += [f"--minutes {options.minutes:g}"] if options.minutes else []
    given += [f"--only {name}" for name in options.only or ()]
    given += [f"--peers {','.join(options.peers)}"] if options.peers else []
    given += ["--before PYTHON"] if options.before else []
    return " ".join(given)


def run(options: argparse.Namespace) -> int:
    """Measure and write."""
    console = Console(stderr=True, soft_wrap=True)
    around = report.surroundings(options.told, rough=options.quick)
    all_entries = list(entries(options))
    results = [result for entry in all_entries for result in entry.results]
    guess = QUICK_GUESS if options.quick else GUESS
    seconds = expected(all_entries, options.rounds, guess, {} if options.quick else stored_seconds())
    counts = [(len(entry.able), min(options.rounds, entry.case.rounds or options.rounds)) for entry in all_entries]
    rounds = "1 round" if options.rounds == 1 else f"up to {options.rounds} rounds"
    console.print(
        f"{len(all_entries)} cases, {rounds}: about {max(seconds / 60, 0.1):.1f} minutes, and no case begins "
        f"after {options.minutes:g}.",
        highlight=False,
    )

    def keep() -> None:
        around["rounds"] += 1
        save(PARTIAL.figures, around, results)

    teller = Teller(console, sum(able * rounds for able, rounds in counts))
    until = monotonic() + 60 * options.minutes
    status = 0
    with sigterm_is_ctrl_c():
        try:
            with teller.progress:
                done = _measure.run(all_entries, options.rounds, until, teller.tell, after_round=keep)
                around["everything"] = done and not any(result.failed() for result in results)
        except KeyboardInterrupt:
            status = INTERRUPTED
            console.print("Interrupted: what there is, is kept.")
    around["seconds"] = {entry.name: entry.seconds / entry.rounds for entry in all_entries if entry.rounds}
    whole = options.whole and not status and around["rounds"] >= ENOUGH
    places = WHOLE if whole else PARTIAL
    publish(places, around, results)
    print(places.page.read_text())
    return status or (1 if any(result.failed() for result in results) else 0)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, or write anew, or profile."""
    options = parse(arguments)
    if options.profile:
        import profiles

        return profiles.run(options.profile, list(entries(options)), WHOLE.figures)
    if options.stored:
        publish(WHOLE, *load(options.stored))
        return 0
    return run(options)


if __name__ == "__main__":
    sys.exit(main())
