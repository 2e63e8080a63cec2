"""What the benchmarks of this directory share: the rows and cases of the installed command, and what only we need.

`greenlet-hub bench` measures a small part of the table wherever it is installed, so rows, cases, the runner and the
small workloads live in `greenlet_hub._bench`, and are used from there.  Here is what big workloads ask of a machine.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Mapping
from typing import Any

from greenlet_hub._bench._model import (
    Case,
    Figure,
    Figures,
    Measure,
    Result,
    Row,
    Stopwatch,
    cores,
    microseconds,
    number,
    on_asyncio,
    on_trio,
    on_uvloop,
    pin,
)

__all__ = [
    "Case", "Figure", "Figures", "Measure", "Result", "Row", "Stopwatch", "cores", "microseconds", "number",
    "on_asyncio", "on_trio", "on_uvloop", "pin",
    "SIZES", "allow_files", "available_kib", "growing", "resident_kib", "too_big", "too_many_files",
]  # fmt: skip

SIZES = (10, 100, 1_000, 10_000, 100_000, 1_000_000)
"""How many of a thing there are, in the curves of growth."""
SPARE_FILES = 100
SHARE = 0.7  # of the memory that is available: what one measurement may take


def allow_files() -> int:
    """Raise the limit on open files as far as the system lets us, for what we start too; returns how many it is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        hard = 1 << 20
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def too_many_files(wanted: int) -> str | None:
    """Why so many open files cannot be had in one process, or None."""
    most = allow_files()
    if wanted + SPARE_FILES <= most:
        return None
    return f"left out: a process may open {most:,} files here (`ulimit -Hn`)"


def too_big(count: int, kib_each: float) -> str | None:
    """Why the memory of this machine is too small for so many things of that size, or None."""
    needed, available = count * kib_each, available_kib()
    if available is None or needed <= SHARE * available:
        return None
    return f"left out: takes about {needed / 2**20:.1f} GiB, and {available / 2**20:.1f} are available"


def available_kib() -> float | None:
    """Memory that can be had without swapping (Linux: `MemAvailable`), or None where the system does not say."""
    try:
        with open("/proc/meminfo") as meminfo:
            return next(float(line.split()[1]) for line in meminfo if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return None


def resident_kib(pid: int | None = None) -> float:
    """Memory of a process that is in RAM, in KiB (Linux: `VmRSS`)."""
    with open(f"/proc/{pid or 'self'}/status") as status:
        for line in status:
            if line.startswith("VmRSS:"):
                return float(line.split()[1])
    raise LookupError(f"process {pid or os.getpid()} has no VmRSS: it is ending")


def growing(measure: Callable[..., Figures], limit: Callable[[int], str | None]) -> Measure:
    """A contender that gives a figure per size of SIZES; a size for which `limit` has a reason gives that reason.

    `measure` gets the sizes that are left.  What it gives beyond them stands behind all of them.
    """

    def run(most: int, **args: Any) -> Figures:
        why: Mapping[int, str] = {
            size: reason
            for size in SIZES
            if (reason := "left out: too large for --quick" if size > most else limit(size)) is not None
        }
        sizes = [size for size in SIZES if size not in why]
        measured = measure(sizes=sizes, **args)
        figures = list(measured) if isinstance(measured, tuple) else [measured]
        got = dict(zip(sizes, figures, strict=False))
        return (*(why[size] if size in why else got[size] for size in SIZES), *figures[len(sizes) :])

    return run
