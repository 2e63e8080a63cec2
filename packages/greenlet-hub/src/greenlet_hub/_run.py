"""The command `greenlet-hub run`: somebody's program, with reports of hangs and of what blocks, and with a trace.

Receives: parsed arguments.  Gives: the program, run in this process; its exit status is its own.

How the program's hubs hear of it: `hub_core.set_defaults`, through which each new hub asks for its loop and for how
long it may be blocked.  Nothing of the program is changed, nor is the environment, which its children inherit.

Rule: what we say goes to standard error, so that standard output is the program's.
"""

from __future__ import annotations

import argparse
import atexit
import signal
import sys
from functools import partial

import hub_core
from greenlet_hub import _defaults, _program, _say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any

    from greenlet_hub._trace import Tracer
    from hub_api import ILoopCore

THRESHOLD = 0.1
SIGNAL = "SIGUSR2"
_VALUED = {"--trace", "--watch", "--report-signal"}
"""Options whose value is the next word."""
_EPILOG = f"""\
Options of ours stand before the program, those behind it are the program's.

  reports    `kill -{SIGNAL.removeprefix("SIG")} PID` prints who waits for what; a LoopExit says it by itself
  watch      tells on standard error of what keeps a hub from running for longer than SECONDS
  trace      open FILE at https://ui.perfetto.dev or in chrome://tracing: each greenlet is a track

Exit status:
  that of the program, as if python had run it
  2  wrong arguments, or there is no such program

Examples:
  greenlet-hub run server.py --port 8080
  greenlet-hub run --trace out.json -m mypackage
  greenlet-hub run --watch 0.02 --no-report-signal script.py
"""


def add_to(commands: Any) -> None:
    """Add the command to those of a parser (what `add_subparsers` returns)."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "run",
        help="run a program, and tell of hangs and of what blocks",
        usage="greenlet-hub run [options] (SCRIPT | -m MODULE) [argument ...]",
        description="Run a program as python does, with reports of hangs, a watch for what blocks, and a trace.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,  # see `split`
    )
    parser.add_argument("--trace", metavar="FILE", help="write who ran when to FILE (JSON, Trace Event Format)")
    watch = parser.add_mutually_exclusive_group()
    watch.add_argument(
        "--watch",
        type=_seconds,
        metavar="SECONDS",
        help=f"tell of a hub that is blocked for so long (default HUB_WATCH, else {THRESHOLD})",
    )
    watch.add_argument("--no-watch", action="store_true", help="have no watchdog thread")
    reports = parser.add_mutually_exclusive_group()
    reports.add_argument(
        "--report-signal",
        type=_signal,
        metavar="SIGNAL",
        help=f"print a report when it comes (default HUB_REPORT_SIGNAL, else {SIGNAL})",
    )
    reports.add_argument("--no-report-signal", action="store_true", help="leave all signals alone")
    parser.add_argument("-m", dest="module", metavar="MODULE", help="run a module, as `python -m` does")
    parser.set_defaults(refuse=parser.error)


def split(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Part the arguments of the command: those that are ours, and the program with its own.

    argparse cannot: a `--` among the program's arguments would be gone (test_run.py).
    """
    at = 0
    while at < len(arguments) and arguments[at].startswith("-"):
        if arguments[at] == "--":
            return arguments[:at], arguments[at + 1 :]
        if arguments[at].startswith("-m"):
            end = at + (2 if arguments[at] == "-m" else 1)
            return arguments[:end], arguments[end:]
        at += 2 if arguments[at] in _VALUED else 1
    return arguments[:at], arguments[at:]


def run(options: argparse.Namespace) -> int:
    """Run the program; returns only if it ends by running off its end.  Raises what it raises."""
    words: list[str] = options.words
    if options.module is None and not words:
        options.refuse("name a script, or -m and a module, to run")
    try:
        _prepare(options)
        if options.module is not None:
            _program.run_module(options.module, words)
        else:
            _program.run_script(words[0], words[1:])
    except (_program.NoProgram, _Unusable) as error:
        return _say.fail("run", str(error), _say.UNUSABLE)
    return _say.OK


class _Unusable(Exception):
    """What was asked for cannot be done."""


def _prepare(options: argparse.Namespace) -> None:
    """Set up what is asked for, before the program's first line."""
    try:
        threshold = _threshold(options)
        signum = _signal_number(options)
    except (ValueError, argparse.ArgumentTypeError) as error:
        raise _Unusable(str(error)) from None
    tracer = _start_tracer(options.trace)
    if signum is not None:
        signal.signal(signum, _tell_before_there_is_a_hub)
    hub_core.set_defaults(loop=partial(_make_loop, signum), watch=partial(_greet, tracer, threshold))


def _threshold(options: argparse.Namespace) -> float | None:
    if options.no_watch:
        return None
    if options.watch is not None:
        return float(options.watch)
    return THRESHOLD if _defaults.WATCH not in _defaults.given() else _defaults.choose_threshold()


def _signal_number(options: argparse.Namespace) -> int | None:
    if options.no_report_signal:
        return None
    if options.report_signal is not None:
        return int(options.report_signal)
    return _signal(_defaults.given().get(_defaults.REPORT_SIGNAL, SIGNAL), f"{_defaults.REPORT_SIGNAL} is ")


def _start_tracer(path: str | None) -> Tracer | None:
    if path is None:
        return None
    from greenlet_hub import _trace

    try:
        tracer = _trace.start(path)
    except OSError as error:
        raise _Unusable(f"cannot write the trace to {path!r}: {error.strerror}") from None
    # Functions are called in reverse order.  So the end of hubs, which is told to `atexit` when the first one is made,
    # is in the trace.
    atexit.register(tracer.close)
    tracer.trace_this_thread()
    return tracer


# -- what new hubs are given ----------------------------------------------------------------------------------------


def _greet(tracer: Tracer | None, threshold: float | None) -> float | None:
    """A hub is made, in this thread: trace it from now on; returns for how long it may be blocked."""
    if tracer is not None:
        tracer.trace_this_thread()
    return threshold


def _make_loop(signum: int | None, *, default: bool | None = None) -> ILoopCore:
    """The loop of a new hub; the main thread's prints reports when the signal comes, if that is still ours."""
    loop = _defaults.new_loop(default=default)
    if signum is not None and default and signal.getsignal(signum) is _tell_before_there_is_a_hub:
        try:
            hub_core.report_on_signal(loop, signum)
        except NotImplementedError:
            pass  # a loop of somebody else's, which cannot: the handler stays, and says where the program is
        except BaseException:
            loop.destroy()
            raise
    return loop


def _tell_before_there_is_a_hub(signum: int, frame: FrameType | None) -> None:
    """The signal has come, and there is nobody to report of: say where the program is."""
    import traceback

    stack = traceback.extract_stack(frame)
    ours = next((n for n, each in enumerate(stack) if each.filename == _program.__file__), -1)
    theirs = [each for each in stack[ours:] if each.filename != _program.__file__]
    lines = ["There is no hub yet.  The main thread, most recent call last:\n", *traceback.format_list(theirs), "\n"]
    try:
        sys.stderr.write("".join(lines))
        sys.stderr.flush()
    except (AttributeError, OSError, ValueError, RuntimeError):
        pass  # None, closed, or in the middle of another write: nobody can be told


# -- arguments ------------------------------------------------------------------------------------------------------


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0.01 <= seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds, 0.01 or more; --no-watch is without")
    return seconds


def _signal(text: str, who: str = "") -> int:
    name = text.upper() if text.upper().startswith("SIG") else f"SIG{text.upper()}"
    try:
        signum = int(text) if text.isdigit() else int(signal.Signals[name])
        if signum in (signal.SIGKILL, signal.SIGSTOP):
            raise KeyError
        signal.getsignal(signum)
    except (KeyError, ValueError):
        raise argparse.ArgumentTypeError(
            f"{who}{text!r}, which is no signal that a program can handle; such as {SIGNAL}"
        ) from None
    return signum
