"""The run behind `greenlet-hub bench`, and how its results are told.

Receives: how long it may take.  Gives: a table for people, or JSON for programs.
Rule 1: a table is plain text; it does not depend on the width of a terminal, nor on colours.
Rule 2: whenever it is interrupted, what has been measured is told.
"""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from collections.abc import Iterator, Sequence
from time import monotonic
from typing import Any

from greenlet_hub import _say
from greenlet_hub._bench import _cases, _measure
from greenlet_hub._bench._measure import Entry
from greenlet_hub._bench._model import Case, Result, number

ROUNDS = 5
SHOWN = ("greenlet-hub", "greenlet", "gevent", "eventlet", "uvloop", "trio")


def run(seconds: float, *, as_json: bool, module: str = _cases.MODULE, cases: Sequence[Case] = _cases.CASES) -> int:
    """Measure the cases of a module, in as many rounds as there is time for, and print."""
    entries = [Entry(module, index, case, case.args) for index, case in enumerate(cases)]
    rounds = 0

    def count() -> None:
        nonlocal rounds
        rounds += 1

    status = _say.OK
    try:
        _measure.run(entries, ROUNDS, monotonic() + seconds, _tell, after_round=count)
    except KeyboardInterrupt:
        status = _say.INTERRUPTED
    _clear()
    results = [result for entry in entries for result in entry.results]
    around = {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.machine()}",
        "versions": dict(_versions()),
        "rounds": rounds,
        "complete": status == _say.OK,
    }
    if as_json:
        _say.say_json({**around, "results": [result.as_json() for result in results]})
    else:
        _say.say("\n".join(text(around, results)))
    if status == _say.INTERRUPTED:
        return _say.fail("bench", "interrupted; the figures are of what had been measured", status)
    return _say.FAILED if any(result.failed() for result in results) else _say.OK


def text(around: dict[str, Any], results: Sequence[Result]) -> Iterator[str]:
    """The table, line by line, and below it who is not in it and why."""
    contenders = list(dict.fromkeys(contender for result in results for contender in result.samples))
    lines = [["", "", *contenders]]
    lines += [[r.row.name, r.row.unit, *(_cell(r, contender) for contender in contenders)] for r in results]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        name, *cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        yield "  ".join((name, *cells)).rstrip()
    yield ""
    reasons: dict[str, dict[str, None]] = {}
    for result in results:
        for contender, why in result.notes.items():
            reasons.setdefault(why, {})[contender] = None
    for why, who in reasons.items():
        yield f"{', '.join(who)}: {why}"
    versions = ", ".join(f"{name} {version}" for name, version in around["versions"].items())
    samples = [len(taken) for result in results for taken in result.samples.values()]
    least, most = (min(samples), max(samples)) if samples else (0, 0)
    count = f"{least}" if least == most else f"{least} to {most}"
    yield f"{around['python']}, {around['system']}; {versions}"
    yield f"Rough: small work; measurements per figure: {count}.  2.00x: ours takes half the time.  !: ours loses."


def _cell(result: Result, contender: str) -> str:
    ratio = None if contender == "ours" else result.ratio(contender)
    if ratio is None:
        return number(result.figure(contender))
    return f"{number(result.figure(contender))} ({ratio:.2f}x{'' if ratio >= 1.0 else ' !'})"


def _versions() -> Iterator[tuple[str, str]]:
    for name in SHOWN:
        try:
            yield name, importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            pass  # the table's last lines name who is not installed


def _tell(round_number: int, entry: Entry, contender: str | None) -> None:
    """On a terminal, one line that changes."""
    if contender is not None and sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[Kround {round_number}: {entry.name}: {contender}")
        sys.stderr.flush()


def _clear() -> None:
    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[K")
