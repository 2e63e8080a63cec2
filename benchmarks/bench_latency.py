"""HTTP latency: how long an answer takes at a fixed rate, which every server here can bear: percentiles.

The servers are those of bench_http.  The client (`client.py`) spins on the other core and asks RATE times a second over
100 connections; a latency counts from the moment at which a request was due.  Unit: us.  On the loopback, so that most
of a median is the kernel's; the tail is the server's.  On a machine with one core it would time the scheduler, and says
so instead.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from bench_http import SERVERS, served
from client import latencies, percentile
from harness import Case, Figures, Row, too_many_files

RATE = 5_000
CONNECTIONS = 100
PERCENTILES = (50.0, 90.0, 99.0, 99.9)


def asking(name: str) -> Callable[[float], Figures]:
    """The contender for one server."""

    def measure(seconds: float) -> Figures:
        core, _, load_core = os.environ.get("BENCH_CORES", "").partition(",")
        if core and core == load_core:
            why = "left out: needs a core for the server and one for the client"
        else:
            why = too_many_files(CONNECTIONS) or ""
        if why:
            return (why,) * len(PERCENTILES)
        with served(name) as (_, port):
            latencies(port, CONNECTIONS, RATE, seconds / 10)  # what the first requests ever cost is not what one costs
            ordered = latencies(port, CONNECTIONS, RATE, seconds)
            return tuple(percentile(ordered, share / 100) * 1e6 for share in PERCENTILES)

    return measure


CASES = [
    Case(
        tuple(
            Row(
                f"HTTP latency at {RATE:,} requests a second, {share:g} %",
                "us",
                curve="latency",
                size=share,
                brief=share in (50.0, 99.0),
            )
            for share in PERCENTILES
        ),
        {contender: asking(name) for contender, name in SERVERS.items()},
        {"seconds": 2.0},
        {"seconds": 0.3},
        rounds=3,
    ),
]
