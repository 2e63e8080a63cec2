"""The command `greenlet-hub bench`: how the kernel compares with whichever peers are installed, in half a minute.

Receives: parsed arguments.  Gives: a table or JSON on standard output, progress and errors on standard error, and an
exit status. This is a small part of the project's benchmark: what needs no server and no second machine.  Both have
their rows, their runner (`_measure`) and their workloads (`_yield`, `_spawn`, ...) from here; servers, plots and goals
are in `benchmarks/` of the repository, which imports this package and not the other way round.
Rule: this file imports nothing, for every measured process imports it: see `_worker`.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from typing import Any

_DESCRIPTION = """\
Measure this installation beside the peers that are installed (gevent, eventlet, asyncio, uvloop, trio), in turns,
each time in a process of its own.  The figures are rough: small work, and whatever else this machine is doing."""

_EPILOG = """\
Exit status:
  0  measured
  1  a measurement failed; the table says which
  2  wrong arguments
  130  after Ctrl-C; what there is, is printed
  141  nobody reads the output any more

A figure is a median; behind it, how many times better ours is than that peer: 2.00x is half the time, `!` is a loss.
"""


def add_to(commands: Any) -> None:
    """Add the command to those of a parser (what `add_subparsers` returns)."""
    import argparse

    from greenlet_hub import _say

    parser: argparse.ArgumentParser = commands.add_parser(
        "bench",
        help="measure this installation beside its peers, roughly",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--seconds",
        type=_say.positive(float),
        default=30.0,
        metavar="S",
        help="begin nothing after so long (default 30)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object, with every sample")


def run(options: argparse.Namespace) -> int:
    """Measure and print; returns the exit status."""
    from greenlet_hub._bench import _command

    return _command.run(options.seconds, as_json=options.json)
