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
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic, sleep

from harness import Case, Figures, Measure, Row, pin, too_many_files

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
    sampled = ["sampler.py"] if os.environ.get("BENCH_PROFILE") else []
    server = subprocess.Popen([sys.executable, *sampled, "-m", f"servers.{name}"], stdout=subprocess.PIPE, text=True)
    try:
        if os.environ.get("BENCH_CORES") and not same_core:
            pin(int(os.environ["BENCH_CORES"].split(",")[1]))  # after the server has inherited the first one
        assert server.stdout is not None
        port = server.stdout.readline()
        if not port:
            raise RuntimeError(f"servers.{name} ended with status {server.wait(10)} before it listened")
        yield server.pid, int(port)
    finally:
        if sampled:
            server.terminate()  # it leaves what it has seen
            server.wait(10)
        server.kill()
        server.wait(10)
        if server.stdout is not None:
            server.stdout.close()


def cpu_seconds(pid: int) -> float:
    """User and system time of a process; the kernel counts in ticks of 10 ms."""
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def load(port: int, connections: int, seconds: float) -> tuple[int, float]:
    """Drive the server with wrk: how many requests were answered, and how many a second.

    Raises RuntimeError on any error.
    """
    found = shutil.which("wrk")
    if found is None:
        raise RuntimeError("wrk is not installed (Debian: apt-get install wrk)")
    # It counts in whole seconds, and ends within a tenth of one after SIGINT, with figures for the time that it had.
    command = [found, "-t1", f"-c{connections}", "-d60s", "--timeout", "10s", f"http://127.0.0.1:{port}/"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as wrk:
        await_handler(wrk.pid, signal.SIGINT)
        sleep(seconds)
        wrk.send_signal(signal.SIGINT)
        said, _ = wrk.communicate(timeout=30)
    errors = re.findall(r"Socket errors:.*|Non-2xx.*", said)
    answered, rate = re.search(r"(\d+) requests in", said), re.search(r"Requests/sec:\s*([\d.]+)", said)
    if wrk.returncode or errors or not answered or not rate or not int(answered[1]):
        raise RuntimeError(f"wrk with {connections} connections: {'; '.join(errors) or said}")
    return int(answered[1]), float(rate[1])


def await_handler(pid: int, signum: int) -> None:
    """Wait until a process has a handler for a signal, which else would end it.  Raises TimeoutError after 10 s."""
    until = monotonic() + 10.0
    while monotonic() < until:
        with open(f"/proc/{pid}/status") as status:
            caught = next((int(line.split()[1], 16) for line in status if line.startswith("SigCgt:")), 0)
        if caught >> (signum - 1) & 1:
            return
        sleep(0.005)
    raise TimeoutError(f"process {pid} has no handler for signal {signum} after 10 s")


def driving(name: str) -> Callable[[int, float, bool], Figures]:
    """The contender for one server."""

    def measure(connections: int, seconds: float, same_core: bool) -> Figures:
        if (why := too_many_files(connections)) is not None:  # raises the limit, for the server and wrk too
            return why, why
        with served(name, same_core) as (pid, port):
            before = cpu_seconds(pid)
            answered, rate = load(port, connections, seconds)
            return rate / 1e3, (cpu_seconds(pid) - before) / answered * 1e6

    return measure


CONTENDERS: dict[str, Measure] = {contender: driving(name) for contender, name in SERVERS.items()}
LIMIT = 0.8  # of the bare loop


def _case(connections: int, goals: dict[str, float], cpu_goals: dict[str, float], rounds: int | None = None) -> Case:
    plural = "connection" if connections == 1 else "connections"
    name = f"HTTP hello, {connections:,} {plural}"
    rows = (
        Row(name, "k/s", higher_is_better=True, goals=goals, curve="HTTP", size=connections),
        Row(f"{name}, CPU per request", "us", goals=cpu_goals, curve="HTTP CPU", size=connections),
    )
    seconds = 3.0 if connections == 10_000 else 2.0  # to open so many takes a good part of one
    args = {"connections": connections, "seconds": seconds, "same_core": connections == 1}
    return Case(rows, CONTENDERS, args, {"seconds": 0.4} if connections < 10_000 else None, rounds)


CASES = [
    _case(1, {"gevent": 1.0}, {"gevent": 1.25}, rounds=5),  # CPU at most 0.8 of gevent's
    _case(100, {"gevent": 2.0, "uvloop streams": 1.2, "bare epoll": LIMIT}, {}),
    _case(1_000, {"gevent": 2.0, "bare epoll": LIMIT}, {}, rounds=5),
    _case(10_000, {"gevent": 1.7, "bare epoll": LIMIT}, {}, rounds=3),
]
