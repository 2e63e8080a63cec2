"""Spawn: a greenlet (task) for a function that does almost nothing, and its end.

Two rows.  "in batches": spawn 20,000, then let all of them run and die; the peers' cheapest way to do so.  "and join":
spawn one, wait until it has ended, and so on; the peers' usual way to do so.  We have no public greenlet with a result
yet, so ours joins by a Waiter that the function switches; "gevent raw" is gevent doing just that.
Unit: us per function, all of it: making, switching to it, its end, freeing it.  Not included: nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any

from greenlet_hub._bench._model import microseconds, on_asyncio, on_trio, on_uvloop

BATCH = 20_000


class Counter:
    """Counts the functions that ran, so that no batch is believed on trust."""

    def __init__(self) -> None:
        self.ended = 0

    def function(self) -> None:
        """What is spawned."""
        self.ended += 1

    async def coroutine(self) -> None:
        """What is spawned as a task."""
        self.ended += 1

    def check(self, expected: int) -> None:
        """Raise unless all have run."""
        if self.ended != expected:
            raise AssertionError(f"{self.ended} of {expected} functions ran")


def _batches(batches: int, spawn: Callable[..., object], await_all: Callable[[], object]) -> float:
    """Of all that have greenlets: a call to spawn each, a call that comes back when all have run."""
    counter, function = Counter(), Counter.function
    started = perf_counter()
    for _ in range(batches):
        for _ in range(BATCH):
            spawn(function, counter)
        await_all()
    seconds = perf_counter() - started
    counter.check(batches * BATCH)
    return microseconds(seconds, batches * BATCH)


def ours_batches(batches: int) -> float:
    """`spawn_raw`, then `hub.join()`."""
    from greenlet_hub import get_hub, spawn_raw

    return _batches(batches, spawn_raw, get_hub().join)


def gevent_batches(batches: int) -> float:
    """`spawn_raw`, then `hub.join()`."""
    from gevent import get_hub, spawn_raw

    return _batches(batches, spawn_raw, get_hub().join)


def eventlet_batches(batches: int) -> float:
    """`spawn_n`, then `sleep()`, which comes back after all that was spawned before."""
    from eventlet import sleep, spawn_n

    return _batches(batches, spawn_n, sleep)


async def asyncio_batches(batches: int) -> float:
    """`loop.create_task`, then `sleep(0)`, which comes back after all tasks have run."""
    from asyncio import get_running_loop, sleep

    counter, coroutine, create_task = Counter(), Counter.coroutine, get_running_loop().create_task
    started = perf_counter()
    for _ in range(batches):
        tasks = [create_task(coroutine(counter)) for _ in range(BATCH)]
        await sleep(0)
        del tasks
    seconds = perf_counter() - started
    counter.check(batches * BATCH)
    return microseconds(seconds, batches * BATCH)


async def trio_batches(batches: int) -> float:
    """`nursery.start_soon`, then the end of the nursery."""
    from trio import open_nursery

    counter, coroutine = Counter(), Counter.coroutine
    started = perf_counter()
    for _ in range(batches):
        async with open_nursery() as nursery:
            for _ in range(BATCH):
                nursery.start_soon(coroutine, counter)
    seconds = perf_counter() - started
    counter.check(batches * BATCH)
    return microseconds(seconds, batches * BATCH)


def ours_join(spawns: int) -> float:
    """`spawn_raw` of `waiter.switch`, and `waiter.get()`."""
    from greenlet_hub import Waiter, spawn_raw

    started = perf_counter()
    for _ in range(spawns):
        waiter = Waiter()
        spawn_raw(waiter.switch)
        waiter.get()
    return microseconds(perf_counter() - started, spawns)


def gevent_raw_join(spawns: int) -> float:
    """The same; its Waiter may be switched by the hub only, so the function asks the loop to do it."""
    from gevent import get_hub, spawn_raw
    from gevent.hub import Waiter

    run_callback = get_hub().loop.run_callback

    # A Python function, as `switch` of ours is: the first frame's memory is most of what a greenlet costs.
    def function(waiter: Any) -> None:
        run_callback(waiter.switch, None)

    started = perf_counter()
    for _ in range(spawns):
        waiter = Waiter()
        spawn_raw(function, waiter)
        waiter.get()
    return microseconds(perf_counter() - started, spawns)


def gevent_join(spawns: int) -> float:
    """`spawn(...).join()`."""
    from gevent import spawn

    counter, function = Counter(), Counter.function
    started = perf_counter()
    for _ in range(spawns):
        spawn(function, counter).join()
    seconds = perf_counter() - started
    counter.check(spawns)
    return microseconds(seconds, spawns)


def eventlet_join(spawns: int) -> float:
    """`spawn(...).wait()`."""
    from eventlet import spawn

    counter, function = Counter(), Counter.function
    started = perf_counter()
    for _ in range(spawns):
        spawn(function, counter).wait()
    seconds = perf_counter() - started
    counter.check(spawns)
    return microseconds(seconds, spawns)


async def asyncio_join(spawns: int) -> float:
    """`await loop.create_task(...)`."""
    from asyncio import get_running_loop

    counter, coroutine, create_task = Counter(), Counter.coroutine, get_running_loop().create_task
    started = perf_counter()
    for _ in range(spawns):
        await create_task(coroutine(counter))
    seconds = perf_counter() - started
    counter.check(spawns)
    return microseconds(seconds, spawns)


async def trio_join(spawns: int) -> float:
    """A nursery with one task."""
    from trio import open_nursery

    counter, coroutine = Counter(), Counter.coroutine
    started = perf_counter()
    for _ in range(spawns):
        async with open_nursery() as nursery:
            nursery.start_soon(coroutine, counter)
    seconds = perf_counter() - started
    counter.check(spawns)
    return microseconds(seconds, spawns)


BATCHES = {
    "ours": ours_batches,
    "gevent": gevent_batches,
    "eventlet": eventlet_batches,
    "asyncio": on_asyncio(asyncio_batches),
    "uvloop": on_uvloop(asyncio_batches),
    "trio": on_trio(trio_batches),
}

JOIN = {
    "ours": ours_join,
    "gevent": gevent_join,
    "gevent raw": gevent_raw_join,
    "eventlet": eventlet_join,
    "asyncio": on_asyncio(asyncio_join),
    "uvloop": on_uvloop(asyncio_join),
    "trio": on_trio(trio_join),
}
