"""What all commands share: how they speak, in which colours, how they end, which numbers they take, and on which hub.

Receives: texts.  Gives: lines on standard output, sentences on standard error, exit statuses; numbers; the hub.
Rule 1: results go to standard output, and what went wrong to standard error, as `greenlet-hub COMMAND: one sentence`.
Rule 2: colours are for terminals.  NO_COLOR takes them away, FORCE_COLOR puts them where there is no terminal, and a
terminal whose TERM is `dumb` has none (no-color.org, force-color.org).
"""

from __future__ import annotations

import errno
import os
import sys

from greenlet_hub import get_hub

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TextIO

    from hub_core import Hub

OK, FAILED, UNUSABLE = 0, 1, 2
INTERRUPTED = 130  # 128 + SIGINT, as shells say it
NOBODY_READS = 141  # 128 + SIGPIPE
CANNOT_BE_WRITTEN = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""What write(2) says, and nothing else that a command does."""

_PAINTS = {"green": "32", "yellow": "33", "red": "1;31", "dim": "2"}


def say(words: str) -> None:
    """Print a line; what the terminal has no letters for, or never were letters, is escaped."""
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(words.encode(encoding, "backslashreplace").decode(encoding) + "\n")


def say_json(told: Any) -> None:
    """Print one JSON object."""
    import json

    say(json.dumps(told, indent=2))


def fail(command: str, words: str, status: int) -> int:
    """Say in one sentence what went wrong; returns the exit status."""
    sys.stderr.write(f"greenlet-hub {command}: {words}\n")
    return status


def take_hub() -> Hub:
    """This thread's hub.  Raises ValueError or ImportError for a wrong variable, each a sentence.

    It is silent about Ctrl-C: the command line says in a word that it came, and the hub would print where.
    """
    hub = get_hub()
    hub.NOT_ERROR = (*hub.NOT_ERROR, KeyboardInterrupt)
    return hub


def has_colours(stream: TextIO) -> bool:
    """Whether colours are wanted there."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return os.environ.get("TERM") != "dumb" and stream.isatty()


def painted(words: str, paint: str) -> str:
    """The words in that paint, if standard output has colours."""
    return f"\x1b[{_PAINTS[paint]}m{words}\x1b[0m" if has_colours(sys.stdout) else words


def stop_writing() -> None:
    """Nobody gets our output any more: have the rest go nowhere, in silence."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())  # for what is still in the buffer: the interpreter flushes it at its end
    os.close(nowhere)


def positive(kind: type[int] | type[float]) -> Callable[[str], float]:
    """For argparse: the number above 0 that an argument says, which must be less than a thousand million."""

    def parse(text: str) -> float:
        try:
            number = kind(text)
        except ValueError:
            number = 0
        if not 0 < number < 1e9:
            import argparse

            raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
        return number

    return parse
