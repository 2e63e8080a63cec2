"""The runner: every contender in turns, each time in a fresh process on a core of its own; then the table.

    python benchmarks/run.py                 all rows, 7 rounds
    python benchmarks/run.py --quick         small, 3 rounds: to see that everything works, not to quote
    python benchmarks/run.py --only http --only yield --peers ours,gevent
    python benchmarks/run.py --readme        measures nothing: puts the last whole run's table into README.md

A whole run writes results/latest.md and latest.json; any other run writes partial.md and partial.json beside them.
Order: for each case, round by round, A B C A B C ..., so that a slow minute of the machine hits everybody alike.
Exit status is 1 if a measurement failed; a peer that is not installed is said in the table and is no failure.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

import report
from harness import Case, cores
from report import Result

HERE = Path(__file__).resolve().parent
CONCEPTS = ("yield", "spawn", "callbacks", "timers", "waiter", "crossthread", "http", "memory", "growth", "import")
MODULES = {"ours": "greenlet_hub", "gevent": "gevent", "eventlet": "eventlet", "uvloop": "uvloop", "trio": "trio"}
TIMEOUT = 120.0  # seconds for one measurement
# Nothing from outside may change what is measured: no PYTHON*, no HUB_*, no GEVENT_*.
ENVIRONMENT = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH") if name in os.environ}


class Failed(Exception):
    """A measurement gave no figure."""


def measure(concept: str, index: int, contender: str, args: dict[str, object]) -> list[float]:
    """Run one measurement in a process, which is gone when this returns, as is whatever it started."""
    where = cores()
    command = [sys.executable, "worker.py", concept, str(index), contender, "", json.dumps(args)]
    if where is not None:
        command[-2] = f"{where[0]},{where[1]}"
    worker = subprocess.Popen(
        command, cwd=HERE, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    try:
        out, err = worker.communicate(timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        raise Failed(f"no figure after {TIMEOUT:.0f} seconds") from None
    finally:
        end_group(worker)
    if worker.returncode or not out:
        lines = err.decode(errors="replace").strip().splitlines()
        raise Failed(lines[-1] if lines else f"the process ended with status {worker.returncode}")
    figures: list[float] = json.loads(out)
    return figures


def end_group(worker: subprocess.Popen[bytes]) -> None:
    """End the worker and the servers it may have left: they are one session, which `Popen` made for it."""
    try:
        os.killpg(worker.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # the usual case: all have ended
    worker.communicate()


def missing(contender: str) -> str | None:
    """Why a contender cannot take part, or None."""
    module = MODULES.get(contender.split()[0])
    if module is not None and importlib.util.find_spec(module) is None:
        return f"not installed: {module}"
    return None


def run_case(concept: str, index: int, case: Case, options: argparse.Namespace, progress: Progress) -> list[Result]:
    """All rounds of one case: a result per row."""
    results = [Result(concept, row) for row in case.rows]
    contenders = [c for c in case.contenders if options.peers is None or c == "ours" or c.split()[0] in options.peers]
    absent = {c: why for c in contenders if (why := missing(c))}
    if concept == "bench_http" and shutil.which("wrk") is None:
        absent = dict.fromkeys(contenders, "not installed: wrk")
    for result in results:
        result.notes.update(absent)
    args = {**case.args, **((case.quick or {}) if options.quick else {})}
    task = progress.add_task(case.rows[0].name, total=options.rounds * (len(contenders) - len(absent)))
    failed: set[str] = set()
    for _ in range(options.rounds):
        for contender in contenders:
            if contender in absent or contender in failed:
                continue
            try:
                figures = measure(concept, index, contender, args)
            except Failed as error:
                failed.add(contender)
                figures = []
                progress.console.print(f"{case.rows[0].name}: {contender}: {error}", markup=False)
                for result in results:
                    result.notes[contender] = f"failed: {report.without_paths(str(error))}"
            for result, figure in zip(results, figures, strict=False):
                result.samples.setdefault(contender, []).append(figure)
            progress.advance(task)
    progress.remove_task(task)
    for result in results:
        figures_text = ", ".join(f"{c} {report.number(result.figure(c))}" for c in result.samples)
        progress.console.print(f"{result.row.name} ({result.row.unit}): {figures_text}", markup=False, highlight=False)
    return results


def chosen(options: argparse.Namespace) -> Iterator[tuple[str, int, Case]]:
    """The cases that the options ask for."""
    for name in CONCEPTS:
        if options.only and name not in options.only:
            continue
        cases: Iterable[Case] = importlib.import_module(f"bench_{name}").CASES
        for index, case in enumerate(cases):
            if (case.full and not options.full) or (case.quick is None and options.quick):
                continue
            yield f"bench_{name}", index, case


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Measure the hub family beside its peers.")
    parser.add_argument(
        "--quick", action="store_true", help="three small rounds, under two minutes: to see that it works"
    )
    parser.add_argument("--full", action="store_true", help="also HTTP with 10,000 connections")
    parser.add_argument("--rounds", type=int, metavar="N", help="rounds of each case (7, or 3 with --quick)")
    parser.add_argument(
        "--only", action="append", choices=CONCEPTS, metavar="NAME", help=f"one of {', '.join(CONCEPTS)}; repeatable"
    )
    parser.add_argument("--peers", type=lambda text: text.split(","), metavar="A,B", help="only these, and ours")
    parser.add_argument(
        "--readme", action="store_true", help="measure nothing; put the table of the last whole run into README.md"
    )
    options = parser.parse_args()
    options.rounds = options.rounds or (3 if options.quick else 7)
    return options


def main() -> int:
    """Measure and report, or rewrite the README."""
    options = parse()
    results_dir = HERE / "results"
    if options.readme:
        latest = results_dir / "latest.json"
        if not latest.exists():
            print("there is no whole run yet: run without --quick, --only, --peers and --rounds first", file=sys.stderr)
            return 1
        stored = json.loads(latest.read_text())
        report.rewrite_readme(
            HERE.parent / "README.md", stored["around"], [Result.from_json(r) for r in stored["results"]]
        )
        return 0
    whole = not (options.quick or options.only or options.peers or options.rounds < 7)
    around = report.surroundings(options.rounds, " ".join(sys.argv[1:]))
    results: list[Result] = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True, soft_wrap=True), transient=True) as progress:
        for concept, index, case in chosen(options):
            results += run_case(concept, index, case, options, progress)
    page = report.page(around, results)
    name = "latest" if whole else "partial"
    (results_dir / f"{name}.md").write_text(page)
    stored = {"around": around, "results": [result.as_json() for result in results]}
    (results_dir / f"{name}.json").write_text(json.dumps(stored, indent=1) + "\n")
    print(page)
    return 1 if any(text.startswith("failed") for result in results for text in result.notes.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
