"""Memory: what a parked greenlet (task) costs, and what a connection costs.

"asleep": the process's resident memory with N greenlets in `sleep(3600)`, less that before they were spawned, over N:
greenlet, stack, first frame, timer.  "per connection": the HTTP server's resident memory with N open connections, each
of which has been answered once, less that before, over N: greenlet, socket object, registration, buffers; not what the
kernel holds. Unit: KiB.  "the server": all of its resident memory then, interpreter and modules included.  Unit: MB.
Garbage is collected before the second reading of the first row.  Linux only (`/proc`).
"""

from __future__ import annotations

import gc
import socket
from collections.abc import Callable
from contextlib import ExitStack

from bench_http import SERVERS, served
from harness import Case, Figures, Row, on_asyncio, on_trio, on_uvloop, resident_kib, too_many_files
from servers.hello import REQUEST, RESPONSE


def _per_one(before: float, parked: int) -> float:
    gc.collect()
    return (resident_kib() - before) / parked


def _greenlets_asleep(parked: int, spawn: Callable[..., object], sleep: Callable[[float], object]) -> float:
    """Of all that have greenlets."""
    asleep = 0

    def sleeper() -> None:
        nonlocal asleep
        asleep += 1
        sleep(3600)

    sleep(0.01)
    before = resident_kib()
    greenlets = [spawn(sleeper) for _ in range(parked)]
    while asleep < parked:
        sleep(0.01)
    figure = _per_one(before, parked)
    del greenlets
    return figure


def ours_asleep(parked: int) -> float:
    """`spawn_raw`, `sleep(3600)`."""
    from greenlet_hub import sleep, spawn_raw

    return _greenlets_asleep(parked, spawn_raw, sleep)


def gevent_asleep(parked: int) -> float:
    """`spawn_raw`, `sleep(3600)`."""
    from gevent import sleep, spawn_raw

    return _greenlets_asleep(parked, spawn_raw, sleep)


def eventlet_asleep(parked: int) -> float:
    """`spawn_n`, `sleep(3600)`."""
    from eventlet import sleep, spawn_n

    return _greenlets_asleep(parked, spawn_n, sleep)


async def asyncio_asleep(parked: int) -> float:
    """Tasks in `asyncio.sleep(3600)`."""
    from asyncio import create_task, sleep

    asleep = 0

    async def sleeper() -> None:
        nonlocal asleep
        asleep += 1
        await sleep(3600)

    await sleep(0.01)
    before = resident_kib()
    tasks = [create_task(sleeper()) for _ in range(parked)]
    while asleep < parked:
        await sleep(0.01)
    figure = _per_one(before, parked)
    for task in tasks:
        task.cancel()
    return figure


async def trio_asleep(parked: int) -> float:
    """Tasks in `trio.sleep(3600)`."""
    from trio import open_nursery, sleep

    asleep = 0

    async def sleeper() -> None:
        nonlocal asleep
        asleep += 1
        await sleep(3600)

    await sleep(0.01)
    before = resident_kib()
    async with open_nursery() as nursery:
        for _ in range(parked):
            nursery.start_soon(sleeper)
        while asleep < parked:
            await sleep(0.01)
        figure = _per_one(before, parked)
        nursery.cancel_scope.cancel()
    return figure


def connected(name: str) -> Callable[[int], Figures]:
    """The contender for one server."""

    def measure(connections: int) -> Figures:
        if (why := too_many_files(connections)) is not None:  # raises the limit, for the server too
            return why, why
        with served(name) as (pid, port), ExitStack() as clients:
            _ask_once(port).close()  # what the first connection ever costs is not what one costs
            before = resident_kib(pid)
            for _ in range(connections):
                clients.enter_context(_ask_once(port))
            after = resident_kib(pid)
            return (after - before) / connections, after * 1024 / 1e6

    return measure


def _ask_once(port: int) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port), timeout=10)
    client.sendall(REQUEST)
    answered = client.recv(4096)
    if answered != RESPONSE:
        raise RuntimeError(f"expected {RESPONSE!r}, got {answered!r}")
    return client


CASES = [
    Case(
        (Row("memory per greenlet asleep", "KiB"),),
        {
            "ours": ours_asleep,
            "gevent": gevent_asleep,
            "eventlet": eventlet_asleep,
            "asyncio": on_asyncio(asyncio_asleep),
            "uvloop": on_uvloop(asyncio_asleep),
            "trio": on_trio(trio_asleep),
        },
        {"parked": 10_000},
        {"parked": 2_000},
        rounds=3,
    ),
    Case(
        (
            Row("memory per open HTTP connection", "KiB"),
            Row("memory of an HTTP server with 10,000 connections", "MB", goals={"gevent": 1 / 0.75}),
        ),
        {contender: connected(name) for contender, name in SERVERS.items()},
        {"connections": 10_000},
        {"connections": 200},
        rounds=3,
    ),
]
