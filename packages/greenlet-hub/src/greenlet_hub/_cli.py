"""The command line: what is asked for, how far it is, what came of it.

Receives: arguments.  Gives: text on standard output, and an exit status: 0 all is well, 1 something was lost, failed or
early, 2 wrong arguments, 130 interrupted.
Rule: rich is imported here and nowhere else.  On a terminal the progress is one line that changes, elsewhere a line a
second.
"""

from __future__ import annotations

import argparse
import resource
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from greenlet_hub import _demo, get_hub
from greenlet_hub.__about__ import __version__

INTERRUPTED = 130  # 128 + SIGINT, as shells say it
SPARE_FDS = 64


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    options = _parse(arguments)
    console = Console()
    clients = _allow_files(console, options.clients)
    report = _demo.Report(clients=clients, sleepers=options.timers)
    console.print(f"{get_hub()!r}", highlight=False, soft_wrap=True)
    console.print(
        f"Serving {clients:,} keep-alive clients for {options.seconds:g} s, beside {options.timers:,} sleeping "
        "greenlets and a native thread that posts wake-ups.",
        soft_wrap=True,
    )
    with _noticing_ctrl_c() as interrupted, _showing_progress(console, options.seconds) as progress:
        _demo.run(report, options.seconds, interrupted, progress)
    console.print(_table(report))
    problems = report.problems()
    for problem in problems:
        console.print(f"FAILED: {problem}", style="bold red", highlight=False, soft_wrap=True)
    if report.interrupted:
        console.print("Interrupted.")
        return INTERRUPTED
    if not problems:
        console.print("All is well: nothing lost, nothing failed, nothing early.")
    return 1 if problems else 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="greenlet-hub",
        description="Show the hub family under load, in one thread: an HTTP server and its keep-alive clients, "
        "sleeping greenlets, and wake-ups from a second thread.  Ends with a table.  Uses the loopback interface only.",
        epilog="Exit status: 0 if nothing was lost, failed or early, else 1; 130 after Ctrl-C.  The environment "
        "replaces parts (HUB_LOOP, HUB_LOOP_BACKEND, HUB_THREADPOOL, HUB_RESOLVER): "
        "HUB_LOOP_BACKEND=poll greenlet-hub",
    )
    parser.add_argument(
        "--seconds", type=_positive(float), metavar="S", help="how long to serve (default 5, with --quick 0.5)"
    )
    parser.add_argument(
        "--clients", type=_positive(int), metavar="N", help="greenlets that ask (default 1000, with --quick 100)"
    )
    parser.add_argument(
        "--timers", type=_positive(int), metavar="N", help="greenlets that sleep (default 10000, with --quick 1000)"
    )
    parser.add_argument("--quick", action="store_true", help="a tenth of everything that is not given")
    parser.add_argument("--version", action="version", version=f"greenlet-hub {__version__}")
    options = parser.parse_args(arguments)
    scale = 10 if options.quick else 1
    options.seconds = options.seconds or 5.0 / scale
    options.clients = options.clients or 1000 // scale
    options.timers = options.timers or 10000 // scale
    return options


def _positive(kind: type[int] | type[float]) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            number = kind(text)
        except ValueError:
            number = 0
        if not 0 < number < 1e9:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
        return number

    return parse


def _allow_files(console: Console, clients: int) -> int:
    """Raise the limit on open files, if need be; returns for how many clients there is room.

    A client and its server have a socket each.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = 2 * clients + SPARE_FDS
    if soft == resource.RLIM_INFINITY or needed <= soft:
        return clients
    allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed == needed:
        return clients
    room = max((allowed - SPARE_FDS) // 2, 1)
    console.print(
        f"{clients:,} clients need {needed:,} open files and the system allows {hard:,} (ulimit -Hn): "
        f"going on with {room:,} clients.",
        style="yellow",
        soft_wrap=True,
    )
    return room


@contextmanager
def _noticing_ctrl_c() -> Iterator[Callable[[], bool]]:
    """Have the first Ctrl-C end the show early; from the second on it is the usual KeyboardInterrupt."""
    seen = False

    def notice(signum: int, frame: object) -> None:
        nonlocal seen
        seen = True
        signal.signal(signal.SIGINT, former)

    former = signal.signal(signal.SIGINT, notice)
    try:
        yield lambda: seen
    finally:
        signal.signal(signal.SIGINT, former)


@contextmanager
def _showing_progress(console: Console, seconds: float) -> Iterator[Callable[[float, _demo.Report], None]]:
    def describe(report: _demo.Report) -> str:
        return f"{len(report.latencies):,} requests, {len(report.lateness):,} timers, {report.delivered:,} wake-ups"

    if not console.is_terminal:
        next_line = 1.0

        def print_line(elapsed: float, report: _demo.Report) -> None:
            nonlocal next_line
            if elapsed >= next_line:
                next_line += 1.0
                console.print(f"{elapsed:4.1f} s: {describe(report)}", highlight=False)

        yield print_line
        return
    columns = (BarColumn(), TextColumn("{task.completed:.1f} of {task.total:g} s"), TextColumn("{task.description}"))
    # auto_refresh would draw from a thread of its own, into our measurements.
    with Progress(*columns, console=console, auto_refresh=False, transient=True) as bar:
        task = bar.add_task("", total=seconds)

        def move_bar(elapsed: float, report: _demo.Report) -> None:
            bar.update(task, completed=elapsed, description=describe(report), refresh=True)

        yield move_bar


def _table(report: _demo.Report) -> Table:
    table = Table(show_header=False)
    table.add_column()
    table.add_column(justify="right")
    rate = len(report.latencies) / report.seconds if report.seconds else 0.0
    memory = report.bytes_per_sleeper
    rows = [
        ("requests", f"{len(report.latencies):,} ({rate:,.0f} a second)"),
        ("errors", f"{len(report.failures):,}"),
        ("latency p50 / p99", _milliseconds(report.latencies, 0.5, 0.99)),
        ("timers", f"{len(report.lateness):,}"),
        ("timers early", f"{sum(late < 0 for late in report.lateness):,}"),
        ("timer lateness p50 / p99 / max", _milliseconds(report.lateness, 0.5, 0.99, 1.0)),
        ("wake-ups posted", f"{report.posted:,}"),
        ("wake-ups delivered", f"{report.delivered:,}"),
        ("memory per sleeping greenlet", "not told by this system" if memory is None else f"{memory / 1024:.1f} KiB"),
    ]
    for row in rows:
        table.add_row(*row)
    return table


def _milliseconds(times: list[float], *shares: float) -> str:
    """The values below which those shares of `times` lie."""
    if not times:
        return "-"
    ordered = sorted(times)
    values = [ordered[min(int(share * len(ordered)), len(ordered) - 1)] * 1000 for share in shares]
    return " / ".join(f"{value:.1f}" for value in values) + " ms"
