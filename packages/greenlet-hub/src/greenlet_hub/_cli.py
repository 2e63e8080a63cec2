"""The command line: which command is asked for.

Receives: arguments.  Gives: an exit status, and the output of a command.

A command is a module with two functions: `add_to(commands)` gives it its arguments, `run(options)` does it and returns
its exit status.  To add one, add its module to `_COMMANDS`.  The demonstration is what is done when none is named.

Rule 1: a module of a command imports at its top what parsing needs, and in `run` what it works with; `greenlet-hub run`
is in the process of somebody's program, and shall not bring more than that asks for.
Rule 2: whoever reads the output may go (`| head`), a disk may be full, and Ctrl-C may come between any two steps.  No
command must care, and `run` never hears of it from here: there all of that is the program's.
"""

from __future__ import annotations

import argparse
import sys

from greenlet_hub import _bench, _doctor, _resolve, _run, _say, _show
from greenlet_hub.__about__ import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_COMMANDS = {"bench": _bench, "demo": _show, "doctor": _doctor, "resolve": _resolve, "run": _run}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    ours, theirs = words, list[str]()
    if words[:1] == ["run"]:
        ours, theirs = _run.split(words[1:])
        ours = ["run", *ours]
    parsers = _parsers()
    options, unknown = parsers[""].parse_known_args(ours, argparse.Namespace(words=theirs))
    if options.command not in (None, "demo"):
        _refuse_options_before(options.command, words, parsers[""])
    if unknown:  # the usage that is shown is that of the command
        parsers[options.command or ""].error(f"unrecognized arguments: {' '.join(unknown)}")
    if options.command == "run":
        return _run.run(options)
    command = options.command or "demo"
    try:
        status: int = _COMMANDS[command].run(options)
        sys.stdout.flush()
    except BrokenPipeError:
        _say.stop_writing()
        return _say.NOBODY_READS
    except KeyboardInterrupt:
        return _say.fail(command, "interrupted", _say.INTERRUPTED)
    except OSError as error:
        if error.errno not in _say.CANNOT_BE_WRITTEN:
            raise
        _say.stop_writing()
        return _say.fail(command, f"cannot write the output: {error.strerror}", _say.FAILED)
    return status


def _refuse_options_before(command: str, words: list[str], parser: argparse.ArgumentParser) -> None:
    """Whoever writes `--json doctor` means the doctor's option; as the demonstration's it would be lost in silence."""
    before = words[: words.index(command)]  # the first such word is the command: the values of options are numbers
    if before:
        parser.error(f"{' '.join(before)} stands before {command}: a command's own options stand behind its name")


def _parsers() -> dict[str, argparse.ArgumentParser]:
    """The parser of each command by its name; that of the whole line has none."""
    parser = argparse.ArgumentParser(
        prog="greenlet-hub",
        description="Greenlets on an event loop, in pure Python.\n"
        "Without a command it shows the family under load: see `greenlet-hub demo --help`.",
        epilog=_show.EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"greenlet-hub {__version__}")
    _show.add_options(parser)
    commands = parser.add_subparsers(
        title="commands", dest="command", metavar="COMMAND", description="`greenlet-hub COMMAND --help` tells more"
    )
    for command in _COMMANDS.values():
        command.add_to(commands)
    return {"": parser, **commands.choices}
