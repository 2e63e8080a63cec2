"""Insight: what it costs to ask a hub what goes on in it, and what it costs that one can.

Ours only: no peer has these.  Each row with a limit has it as `at_most`, and the table says whether it was met.

- A report, with its text, of 10,000 greenlets that wait for Waiters, and of as many that sleep: processor time.
- The first use of a hub in a forked child, with 10,000 parked greenlets of the parent: from the return of `fork` to the
  end of a `sleep(0)` by the greenlet that forked, wall-clock time in the child.
- A yield in a ring of 100 under `hub.watch()`, as a multiple of one without: the two in turns, in one process, and the
  processor time of all its threads, so that of the watchdog too.
- One `hub.counters.snapshot()`.

There is no row for counting: the counters are always on, and no build is without them (docs/decisions/0021).
"""

from __future__ import annotations

import os
from time import monotonic, process_time
from typing import Any

from harness import Case, Row, microseconds

WAITERS = "waiters"


def report(parked: int, kind: str) -> float:
    """`str(hub.report())`."""
    from greenlet_hub import Waiter, get_hub, sleep, spawn_raw

    hub = get_hub()
    held = [Waiter() for _ in range(parked)] if kind == WAITERS else []
    for waiter in held:
        spawn_raw(_get, waiter)
    for _ in range(parked - len(held)):
        spawn_raw(sleep, 1_000.0)
    while hub.counters.snapshot().new:
        sleep(0)
    started = process_time()
    made = hub.report()
    str(made)
    seconds = process_time() - started
    if len(made.greenlets) < parked:
        raise RuntimeError(f"{parked} greenlets are parked, and the report has {len(made.greenlets)}")
    return seconds * 1e3


def _get(waiter: Any) -> None:
    waiter.get()


def first_use_in_child(parked: int) -> float:
    """`os.fork()`, then `sleep(0)` in the child."""
    from greenlet_hub import Waiter, get_hub, sleep, spawn_raw

    hub = get_hub()
    held = [Waiter() for _ in range(parked)]
    for waiter in held:
        spawn_raw(_get, waiter)
    while hub.counters.snapshot().new:
        sleep(0)
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        status = 1
        try:
            started = monotonic()
            sleep(0)
            os.write(writer, repr(monotonic() - started).encode())
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    with open(reader) as told:
        seconds = told.read()
    if os.waitpid(child, 0)[1] or not seconds:
        raise RuntimeError("the forked child has failed")
    return float(seconds) * 1e3


def _ring(ring: int, each: int) -> float:
    from greenlet_hub import get_hub, sleep, spawn_raw

    def member() -> None:
        for _ in range(each):
            sleep(0)

    started = process_time()
    for _ in range(ring):
        spawn_raw(member)
    get_hub().join()
    return process_time() - started


def yield_watched(ring: int, each: int, turns: int) -> float:
    """The ring of `bench_yield` with `hub.watch()` and without, in turns."""
    from greenlet_hub import get_hub

    hub = get_hub()
    _ring(ring, each)
    plain = watched = 0.0
    for _ in range(turns):
        plain += _ring(ring, each)
        watch = hub.watch()
        try:
            watched += _ring(ring, each)
        finally:
            watch.stop()
    return watched / plain


def counters(reads: int) -> float:
    """`hub.counters.snapshot()`."""
    from greenlet_hub import get_hub

    found = get_hub().counters
    started = process_time()
    for _ in range(reads):
        found.snapshot()
    return microseconds(process_time() - started, reads)


def _report_of(kind: str, parked: int = 10_000) -> Case:
    row = Row(f"report of {parked:,} parked {kind}, processor time", "ms", at_most=1_000.0)
    return Case((row,), {"ours": report}, {"parked": parked, "kind": kind})


CASES = [
    _report_of(WAITERS),
    _report_of("sleepers"),
    Case(
        (Row("first use in a forked child, 10,000 parked", "ms", at_most=50.0),),
        {"ours": first_use_in_child},
        {"parked": 10_000},
    ),
    Case(
        (Row("yield under `hub.watch()`, ring of 100, by one without", "x", at_most=1.02),),
        {"ours": yield_watched},
        {"ring": 100, "each": 400, "turns": 11},
        {"turns": 3},
    ),
    Case((Row("read all counters", "us"),), {"ours": counters}, {"reads": 20_000}, {"reads": 2_000}),
]
