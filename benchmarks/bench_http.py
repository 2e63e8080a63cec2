"""HTTP hello: a keep-alive server under `wrk`, each in a process of its own and doing the same work (`servers/`).

Timed by wrk (Debian: `apt-get install wrk`), one thread, on another core than the server; the connections are opened
before, and each has one request under way at any time.  Unit: thousand requests a second.  wrk itself tops out near
200k/s on one core.
CPU per request: user and system time of the server process while wrk ran, over the requests it answered; opening the
connections is in it.  Unit: us.  Both are on the loopback, so the kernel's share is large and the same for all.
With one connection either side sleeps while the other works, and on two cores one would time how a virtual machine
wakes an idle core (80 us a request, three times the work itself, +-30 %): in that row wrk shares the server's core.
A single error of any kind, or an answer that is not 200, voids the measurement.
"bare epoll" is not a peer but the limit for pure Python: a callback per readable connection, and no scheduler at all.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from harness import Case, Measure, Row, pin

SERVERS = {
    "ours": "ours",
    "gevent": "gevent",
    "eventlet": "eventlet",
    "asyncio": "asyncio_protocol",
    "asyncio streams": "asyncio_streams",
    "uvloop": "uvloop_protocol",
    "uvloop streams": "uvloop_streams",
    "trio": "trio",
    "bare epoll": "epoll",
}


@contextmanager
def served(name: str, same_core: bool = False) -> Iterator[tuple[int, int]]:
    """Run a server on the measured core, and ourselves on the other one unless told not to; gives its pid and port."""
    server = subprocess.Popen([sys.executable, "-m", f"servers.{name}"], stdout=subprocess.PIPE, text=True)
    try:
        if os.environ.get("BENCH_CORES") and not same_core:
            pin(int(os.environ["BENCH_CORES"].split(",")[1]))  # after the server has inherited the first one
        assert server.stdout is not None
        port = server.stdout.readline()
        if not port:
            raise RuntimeError(f"servers.{name} ended with status {server.wait(10)} before it listened")
        yield server.pid, int(port)
    finally:
        server.kill()
        server.wait(10)


def cpu_seconds(pid: int) -> float:
    """User and system time of a process; the kernel counts in ticks of 10 ms."""
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def load(port: int, connections: int, seconds: int) -> tuple[int, float]:
    """Drive the server with wrk: how many requests were answered, and how many a second.

    Raises RuntimeError on any error.
    """
    wrk = shutil.which("wrk")
    if wrk is None:
        raise RuntimeError("wrk is not installed (Debian: apt-get install wrk)")
    command = [wrk, "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", f"http://127.0.0.1:{port}/"]
    said = subprocess.run(command, check=True, timeout=seconds + 30, stdout=subprocess.PIPE, text=True).stdout
    errors = re.findall(r"Socket errors:.*|Non-2xx.*", said)
    answered, rate = re.search(r"(\d+) requests in", said), re.search(r"Requests/sec:\s*([\d.]+)", said)
    if errors or not answered or not rate or not int(answered[1]):
        raise RuntimeError(f"wrk with {connections} connections: {'; '.join(errors) or said}")
    return int(answered[1]), float(rate[1])


def driving(name: str) -> Callable[[int, int, bool], tuple[float, float]]:
    """The contender for one server."""

    def measure(connections: int, seconds: int, same_core: bool) -> tuple[float, float]:
        with served(name, same_core) as (pid, port):
            before = cpu_seconds(pid)
            answered, rate = load(port, connections, seconds)
            return rate / 1e3, (cpu_seconds(pid) - before) / answered * 1e6

    return measure


CONTENDERS: dict[str, Measure] = {contender: driving(name) for contender, name in SERVERS.items()}
LIMIT = 0.8  # of the bare loop


def _case(connections: int, goals: dict[str, float], cpu_goals: dict[str, float], full: bool = False) -> Case:
    plural = "connection" if connections == 1 else "connections"
    rows = (
        Row(f"HTTP hello, {connections:,} {plural}", "k/s", higher_is_better=True, goals=goals),
        Row(f"HTTP hello, {connections:,} {plural}, CPU per request", "us", goals=cpu_goals),
    )
    # wrk counts in whole seconds, so one size of --quick must do.
    quick = {"seconds": 1} if connections == 100 else None
    args = {"connections": connections, "seconds": 3, "same_core": connections == 1}
    return Case(rows, CONTENDERS, args, quick, full)


CASES = [
    _case(1, {"gevent": 1.0}, {"gevent": 1.25}),  # CPU at most 0.8 of gevent's
    _case(100, {"gevent": 2.0, "uvloop streams": 1.2, "bare epoll": LIMIT}, {}),
    _case(1_000, {"gevent": 2.0, "bare epoll": LIMIT}, {}),
    _case(10_000, {"gevent": 1.7, "bare epoll": LIMIT}, {}, full=True),
]
