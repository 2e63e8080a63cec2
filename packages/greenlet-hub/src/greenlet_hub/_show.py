"""The command `greenlet-hub demo`, which is also what is done without a command: the family under load, and a table.

Receives: parsed arguments.  Gives: progress and a table, or one JSON object, on standard output, and an exit status:
0 all is well, 1 something was lost, failed or early, 2 wrong arguments or variables, 130 interrupted.
Rule: rich is imported here and nowhere else, and only to show something.  On a terminal the progress is one line that
changes, elsewhere a line a second.
"""

from __future__ import annotations

import argparse
import resource
import signal
from contextlib import contextmanager

from greenlet_hub import _say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from rich.console import Console
    from rich.table import Table

    from greenlet_hub import _demo

    Shower = Callable[[float, _demo.Report], None]

SPARE_FDS = 64
SELECT_FDS = 1024  # FD_SETSIZE: the poller `select` takes no number from there on (man 2 select, BUGS)
EPILOG = """\
Exit status:
  0  nothing was lost, failed or early
  1  something was
  2  wrong arguments, or a part cannot be had
  130  after Ctrl-C
  141  nobody reads the output any more

The environment replaces parts (HUB_LOOP, HUB_LOOP_BACKEND, HUB_THREADPOOL, HUB_RESOLVER):
  HUB_LOOP_BACKEND=poll greenlet-hub
"""


def add_to(commands: Any) -> None:
    """Add the command to those of a parser (what `add_subparsers` returns)."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "demo",
        help="show the family under load (what is done without a command)",
        description="Show the hub family under load, in one thread: an HTTP server and its keep-alive clients,\n"
        "sleeping greenlets, and wake-ups from a second thread.  Ends with a table.\n"
        "Uses the loopback interface only.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,  # what stands before the command counts, too
    )
    add_options(parser)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the demonstration can be told."""
    options = parser.add_argument_group("options of the demonstration")
    options.add_argument(
        "--seconds", type=_say.positive(float), metavar="S", help="how long to serve (default 5, with --quick 0.5)"
    )
    options.add_argument(
        "--clients", type=_say.positive(int), metavar="N", help="greenlets that ask (default 1000, with --quick 100)"
    )
    options.add_argument(
        "--timers", type=_say.positive(int), metavar="N", help="greenlets that sleep (default 10000, with --quick 1000)"
    )
    for option, words in (
        ("--quick", "a tenth of everything that is not given"),
        ("--json", "print one JSON object at the end, and nothing else"),
    ):
        default = parser.argument_default or False
        options.add_argument(option, action="store_true", default=default, help=words)


def run(options: argparse.Namespace) -> int:
    """Run the demonstration and show what came of it; returns the exit status."""
    from rich.console import Console

    from greenlet_hub import _demo

    try:
        hub = _say.take_hub()
    except (ValueError, ImportError) as error:
        return _say.fail("demo", str(error), _say.UNUSABLE)
    scale = 10 if options.quick else 1
    seconds = options.seconds or 5.0 / scale
    asked = options.clients or 1000 // scale

    class Show(Console):
        """A console that leaves a broken pipe to `_cli`; rich itself ends the process with status 1."""

        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    console = Show(quiet=options.json)
    clients, shortage = _allow_files(asked, getattr(hub.loop, "backend", ""))
    if shortage:
        console.print(shortage, style="yellow", soft_wrap=True)
    report = _demo.Report(clients=clients, sleepers=options.timers or 10000 // scale)
    told = repr(hub)
    console.print(told, highlight=False, soft_wrap=True)
    console.print(
        f"Serving {clients:,} keep-alive clients for {seconds:g} s, beside {report.sleepers:,} sleeping "
        "greenlets and a native thread that posts wake-ups.",
        soft_wrap=True,
    )
    with _noticing_ctrl_c() as interrupted, _showing_progress(console, seconds) as progress:
        _demo.run(report, seconds, interrupted, progress)
    problems = report.problems()
    if options.json:
        _say.say_json(_as_dict(report, told))
    else:
        _show(console, report, problems)
    if report.interrupted:
        return _say.INTERRUPTED
    return _say.FAILED if problems else _say.OK


def _show(console: Console, report: _demo.Report, problems: list[str]) -> None:
    console.print(_table(report))
    for problem in problems:
        console.print(f"FAILED: {problem}", style="bold red", highlight=False, soft_wrap=True)
    if report.interrupted:
        console.print("Interrupted.")
    elif not problems:
        console.print("All is well: nothing lost, nothing failed, nothing early.")


def _as_dict(report: _demo.Report, hub: str) -> dict[str, Any]:
    """The form of `--json`: docs/reference/greenlet-hub.md lists its keys."""
    return {
        "hub": hub,
        "seconds": report.seconds,
        "clients": report.clients,
        "requests": len(report.latencies),
        "latency": {"p50": _value(report.latencies, 0.5), "p99": _value(report.latencies, 0.99)},
        "sleepers": report.sleepers,
        "timers": len(report.lateness),
        "timer_lateness": {name: _value(report.lateness, share) for name, share in _LATENESS.items()},
        "wakeups_posted": report.posted,
        "wakeups_delivered": report.delivered,
        "bytes_per_sleeper": report.bytes_per_sleeper,
        "problems": report.problems(),
        "interrupted": report.interrupted,
    }


_LATENESS = {"p50": 0.5, "p99": 0.99, "max": 1.0}


def _allow_files(clients: int, poller: str) -> tuple[int, str]:
    """Raise the limit on open files, if need be; returns for how many clients there is room, and what is to be said.

    A client and its server have a socket each.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = 2 * clients + SPARE_FDS
    limits = [(needed, "")]
    if hard != resource.RLIM_INFINITY:
        limits.append((hard, f"the system allows {hard:,} (ulimit -Hn)"))
    if poller == "select":
        limits.append((SELECT_FDS, f"select takes {SELECT_FDS:,} (HUB_LOOP_BACKEND)"))
    allowed, whose = min(limits)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed == needed:
        return clients, ""
    room = max((allowed - SPARE_FDS) // 2, 1)
    return room, f"{clients:,} clients need {needed:,} open files and {whose}: going on with {room:,} clients."


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
def _showing_progress(console: Console, seconds: float) -> Iterator[Shower]:
    def describe(report: _demo.Report) -> str:
        return f"{len(report.latencies):,} requests, {len(report.lateness):,} timers, {report.delivered:,} wake-ups"

    if console.quiet or not console.is_terminal:
        next_line = 1.0

        def print_line(elapsed: float, report: _demo.Report) -> None:
            nonlocal next_line
            if elapsed >= next_line:
                next_line += 1.0
                console.print(f"{elapsed:4.1f} s: {describe(report)}", highlight=False)

        yield print_line
        return
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (BarColumn(), TextColumn("{task.completed:.1f} of {task.total:g} s"), TextColumn("{task.description}"))
    # auto_refresh would draw from a thread of its own, into our measurements.
    with Progress(*columns, console=console, auto_refresh=False, transient=True) as bar:
        task = bar.add_task("", total=seconds)

        def move_bar(elapsed: float, report: _demo.Report) -> None:
            bar.update(task, completed=elapsed, description=describe(report), refresh=True)

        yield move_bar


def _table(report: _demo.Report) -> Table:
    from rich.table import Table

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
    return " / ".join(f"{(_value(times, share) or 0.0) * 1000:.1f}" for share in shares) + " ms"


def _value(times: list[float], share: float) -> float | None:
    """The value below which that share of `times` lies; None without any."""
    return sorted(times)[min(int(share * len(times)), len(times) - 1)] if times else None
