"""The runner: all contenders of all cases in turns, each time in a fresh process on a core of its own.

Receives: cases.  Gives: their results, filled round by round, so that whenever it ends early what there is is whole.
Order: round by round all cases, in each case A B C A B C ...: a slow minute of the machine hits the contenders of a
case alike, and no case more than its share of rounds.
Rule 1: nothing from outside may change what is measured: no PYTHON*, no HUB_*, no GEVENT_* variable goes in, and no
module of the directory in which the user stands.
Rule 2: a contender that fails once is out of its case, which says so; everybody else goes on.
Rule 3: who is started is ended, with all that it has started, before the next one.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from tempfile import TemporaryFile
from time import monotonic

from greenlet_hub._bench._model import Case, Figure, Result, cores

MODULES = {"ours": "greenlet_hub", "gevent": "gevent", "eventlet": "eventlet", "uvloop": "uvloop", "trio": "trio"}
TIMEOUT = 180.0  # seconds for one measurement
LATE = "not reached: the time for the run was up"


class Failed(Exception):
    """A measurement gave no figure."""


@dataclass
class Entry:
    """A case in a run: who takes part, what it has given so far, and how long it has taken.

    `home`: the directory in which its module is found, if that is not a module that is installed.
    `pythons`: contenders that run "ours" on an interpreter of their own.
    """

    module: str
    index: int
    case: Case
    args: Mapping[str, object]
    home: str | None = None
    pythons: Mapping[str, str] = field(default_factory=dict)
    only: Sequence[str] | None = None
    results: list[Result] = field(init=False)
    able: list[str] = field(init=False)
    seconds: float = 0.0
    rounds: int = 0

    def __post_init__(self) -> None:
        self.results = [Result(self.module.rpartition(".")[2], row) for row in self.case.rows]
        self.able = []
        for contender in (*self.case.contenders, *(self.pythons if "ours" in self.case.contenders else ())):
            if self.only is not None and contender.split()[0] not in ("ours", *self.only):
                continue
            why = None if contender in self.pythons else missing(contender)
            if why is None:
                self.able.append(contender)
            else:
                self.leave_out(contender, why)

    @property
    def name(self) -> str:
        """That of its first row."""
        return self.case.rows[0].name

    def leave_out(self, contender: str, why: str) -> None:
        """This contender takes no further part, and the table says why."""
        if contender in self.able:
            self.able.remove(contender)
        for result in self.results:
            result.notes[contender] = why

    def measure(self, contender: str) -> None:
        """Measure one contender once; what goes wrong is noted."""
        base = "ours" if contender in self.pythons else contender
        python = self.pythons.get(contender, sys.executable)
        try:
            figures = measure(self.module, self.index, base, self.args, python, self.home)
            if len(figures) != len(self.results):
                raise Failed(f"{len(figures)} figures for {len(self.results)} rows")
        except Failed as error:
            self.leave_out(contender, f"failed: {without_paths(str(error))}")
            return
        for result, figure in zip(self.results, figures, strict=True):
            result.take(contender, figure)


Tell = Callable[[int, Entry, str | None], object]
"""Is told before each measurement: round (from 1), case, contender; and with None when a case's round is over."""


def run(entries: Iterable[Entry], rounds: int, until: float, tell: Tell, *, after_round: Callable[[], object]) -> bool:
    """Measure in turns; returns whether all was done before `until` (of `monotonic`), past which nothing is begun."""
    entries = list(entries)
    for number in range(1, rounds + 1):
        for entry in entries:
            if entry.case.rounds is not None and number > entry.case.rounds:
                continue
            if monotonic() >= until:
                _too_late(entries)
                return False
            began = monotonic()
            for contender in tuple(entry.able):
                tell(number, entry, contender)
                entry.measure(contender)
            entry.seconds += monotonic() - began
            entry.rounds = number
            tell(number, entry, None)
        after_round()
    return True


def _too_late(entries: Iterable[Entry]) -> None:
    for entry in entries:
        for result in entry.results:
            for contender in entry.able:
                if contender not in result.samples:
                    result.notes.setdefault(contender, LATE)


def missing(contender: str) -> str | None:
    """Why a contender cannot take part, or None."""
    module = MODULES.get(contender.split()[0])
    if module is not None and importlib.util.find_spec(module) is None:
        return f"not installed: {module}"
    return None


def environment() -> dict[str, str]:
    """What a measured process finds in its environment."""
    return {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH") if name in os.environ}


def measure(
    module: str, index: int, contender: str, args: Mapping[str, object], python: str, home: str | None
) -> list[Figure]:
    """Run one measurement in a process, which is gone when this returns, as is whatever it started."""
    where = cores()
    # -P, unless a directory is named: else every contender would import a `random.py` that lies where the user stands.
    command = [python, *([] if home else ["-P"]), "-m", "greenlet_hub._bench._worker", module, str(index), contender]
    command += [f"{where[0]},{where[1]}" if where else "", json.dumps(args)]
    # Files, not pipes: who the worker leaves behind holds its end of a pipe, and we would wait for that process.
    with TemporaryFile() as out, TemporaryFile() as err:
        worker = subprocess.Popen(command, cwd=home, env=environment(), stdout=out, stderr=err, start_new_session=True)
        wait(worker)
        out.seek(0)
        err.seek(0)
        said, complaints = out.read(), err.read()
    if worker.returncode or not said:
        lines = complaints.decode(errors="replace").strip().splitlines()
        raise Failed(lines[-1] if lines else f"the process ended with status {worker.returncode}")
    figures: list[Figure] = json.loads(said)
    return figures


def wait(worker: subprocess.Popen[bytes]) -> None:
    """Wait for the end of a worker that leads a session, and end what it has left.  Raises Failed after TIMEOUT."""
    try:
        if hasattr(os, "pidfd_open"):  # to wait with a timeout is else to look every 50 ms
            fd = os.pidfd_open(worker.pid)
            try:
                select.select([fd], [], [], TIMEOUT)
            finally:
                os.close(fd)
            worker.wait(0.0 if worker.poll() is None else None)
        else:
            worker.wait(TIMEOUT)
    except subprocess.TimeoutExpired:
        raise Failed(f"no figure after {TIMEOUT:.0f} seconds") from None
    finally:
        end_group(worker)


def end_group(worker: subprocess.Popen[bytes]) -> None:
    """End the worker and the servers it may have left: they are one session, which `Popen` made for it."""
    try:
        os.killpg(worker.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # the usual case: all have ended
    worker.wait()


def without_paths(text: str) -> str:
    """An error's text without the places of files, which would tell where it ran."""
    return re.sub(r"\S*/\S+", "...", text)
