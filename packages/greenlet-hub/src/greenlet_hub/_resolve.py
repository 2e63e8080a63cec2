"""The command `greenlet-hub resolve`: one lookup by one of the family's resolvers, and why it gave what it gave.

Receives: parsed arguments.  Gives: addresses, a trace or JSON on standard output, errors on standard error, and an exit
status: 0 found, 1 not found, 2 what was asked for cannot be done.
Rule: plain text, a line per thing, so that it can be read by `while read`; no colours, no width of a terminal.
"""

from __future__ import annotations

import argparse
import socket

from greenlet_hub import _defaults, _say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from hub_resolver import Trace

FOUND, NOT_FOUND = _say.OK, _say.FAILED
_FAMILIES: dict[str | None, int] = {None: socket.AF_UNSPEC, "4": socket.AF_INET, "6": socket.AF_INET6}
_EPILOG = """\
Exit status:
  0  addresses were found
  1  there are none, or nobody answered
  2  wrong arguments, or the resolver cannot be had
  130  after Ctrl-C
  141  nobody reads the output any more

Examples:
  greenlet-hub resolve www.example.com
  greenlet-hub resolve --trace --resolver dnspython www.example.com
  greenlet-hub resolve --json --family 6 --port https www.example.com
"""


def add_to(commands: Any) -> None:
    """Add the command to those of a parser (what `add_subparsers` returns)."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "resolve",
        help="look a name up, and tell how",
        description="Look NAME up as a program on this hub would, and print its addresses, the best first.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", metavar="NAME", help="a host name, or an address")
    parser.add_argument(
        "--resolver",
        metavar="R",
        default="",
        help=f"{', '.join(_defaults.RESOLVERS)}, or package.module:Class; without it HUB_RESOLVER, else thread",
    )
    parser.add_argument("--family", choices=("4", "6"), help="only IPv4, or only IPv6, addresses")
    parser.add_argument(
        "--port", "--service", dest="port", metavar="P", help="a number, or the name of a service; printed behind"
    )
    parser.add_argument("--trace", action="store_true", help="print every step, with its time")
    parser.add_argument("--json", action="store_true", help="print one JSON object; with --trace it has the steps")


def run(options: argparse.Namespace) -> int:
    """Look up and print; returns the exit status."""
    try:
        trace = _look_up(options)
    except (ValueError, ImportError) as error:  # of any part: a resolver may need the pool, and that only now
        return _say.fail("resolve", str(error), _say.UNUSABLE)
    if options.json:
        _print_json(trace, steps=options.trace)
    elif options.trace:
        _say.say(str(trace))
    elif trace.error is None:
        for address in trace.addresses:
            _say.say(address if options.port is None else f"{address} {trace.entries[0][4][1]}")
    if trace.error is None:
        return FOUND
    return _say.fail("resolve", f"{options.name}: {trace.reason}", NOT_FOUND)


def _look_up(options: argparse.Namespace) -> Trace:
    """Raises ValueError or ImportError, each a sentence, if a part cannot be had."""
    resolver = _defaults.make_resolver(_say.take_hub(), options.resolver, "--resolver")
    try:
        from hub_resolver import trace

        return trace(resolver, options.name, options.port, _FAMILIES[options.family], socket.SOCK_STREAM)
    finally:
        resolver.close()


def _print_json(trace: Trace, *, steps: bool) -> None:
    told = trace.as_dict()
    if not steps:
        del told["steps"]
    _say.say_json(told)
