"""The command `greenlet-hub doctor`: what is here, and whether it works.

Receives: parsed arguments.  Gives: a line for each finding on standard output, or one JSON object, and an exit status:
0 nothing fails, 1 something does.

| file | does |
|---|---|
| `_doctor` (this one) | the command: collects findings and prints them |
| `_doctor_looks` | looks: versions, limits, signals, the environment |
| `_doctor_trials` | tries: each poller, the hub, the pool, each resolver |

A finding is `ok`, `note` (nothing is wrong, and it may surprise), `warn` (this is known to hurt) or `fail` (this does
not work).
Rule 1: a check that raises is a finding that fails, in the words of the error; the next one is made all the same.
Rule 2: a line is printed as soon as it is found, so whoever waits sees for what.
"""

from __future__ import annotations

import argparse
import sys
from itertools import chain

from greenlet_hub import _say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    Found = Iterator[tuple[str, str]]
    """Marks and texts."""
    Check = tuple[str, Callable[[], Found]]
    """A subject, and what looks into it."""

VERSION = 1
"""Of the JSON form; keys may be added under that number."""
MARKS = {"ok": "green", "note": "dim", "warn": "yellow", "fail": "red"}
"""Each with its colour, the best first."""
_EPILOG = """\
Marks:
  ok    as it should be
  note  nothing is wrong with it, but it may not be what you expect
  warn  it works, and is known to hurt
  fail  it does not work

Exit status:
  0  nothing fails
  1  something does
  2  wrong arguments
  130  after Ctrl-C
  141  nobody reads the output any more
"""


def add_to(commands: Any) -> None:
    """Add the command to those of a parser (what `add_subparsers` returns)."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "doctor",
        help="tell what is installed and chosen, and try whether it works",
        description="Tell which versions, poller, pool, resolver and limits a program has here, and try each part:\n"
        "every poller takes turns and is woken by a thread, a job runs in the pool, every resolver\n"
        "looks localhost up.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: argparse.Namespace) -> int:
    """Look, try and print; returns the exit status."""
    findings: list[dict[str, str]] = []
    for subject, mark, text in _findings():
        findings.append({"subject": subject, "mark": mark, "text": text})
        if not options.json:
            _say.say(f"{_say.painted(f'{mark:<4}', MARKS[mark])}  {subject:<12}  {text}")
            sys.stdout.flush()
    counts = {mark: sum(each["mark"] == mark for each in findings) for mark in MARKS}
    worst = next(mark for mark in reversed(MARKS) if counts[mark] or mark == "ok")
    if options.json:
        _say.say_json({"version": VERSION, "status": worst, "findings": findings})
    else:
        _say.say(_summary(counts))
    return _say.FAILED if counts["fail"] else _say.OK


def _summary(counts: dict[str, int]) -> str:
    if counts["fail"]:
        return f"{_count(counts['fail'], 'thing')} does not work, {_count(counts['warn'], 'warning')}."
    return f"Everything works, {_count(counts['warn'], 'warning')}."


def _count(number: int, what: str) -> str:
    return f"{number or 'no'} {what}{'' if number == 1 else 's'}"


def _findings() -> Iterator[tuple[str, str, str]]:
    """All findings: subject, mark and text."""
    from greenlet_hub import _doctor_looks, _doctor_trials

    trials = _doctor_trials.Trials()
    try:
        for subject, check in chain(_doctor_looks.CHECKS, trials.checks()):
            for mark, text in _checked(check):
                yield subject, mark, text
    finally:
        trials.close()


def _checked(check: Callable[[], Found]) -> Found:
    try:
        yield from check()
    except Exception as error:
        told = str(error) or "no words"
        expected = isinstance(error, (ValueError, ImportError, OSError))  # these say it in a sentence
        yield "fail", told if expected else f"{type(error).__name__}: {told}"
