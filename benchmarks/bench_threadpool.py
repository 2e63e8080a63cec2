"""The thread pool: what it costs to have a function called in another thread, when the function itself costs nothing.

"round trip": one greenlet has one call made after the other, and waits for each.  Unit: us per call.
"map": one greenlet has a function called with many arguments, and waits for the list.  asyncio and trio have no such
call; they start a call per argument and gather the results.  Unit: us per call.
"100 at once": 100 greenlets do round trips at the same time; timed from before the first of them is started until the
last one is done.  Unit: us per call, of all together.
Everybody has 8 threads, which are started before the clock is. All threads of a process share one core, so a round trip
contains two switches of threads, and the passing of the GIL. eventlet's pool is left out: `tpool` has one size for the
process, and hands calls over through a socket.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any

from harness import Case, Measure, Row, microseconds, on_asyncio, on_trio, on_uvloop

THREADS = 8


def nothing(number: int) -> int:
    """The job."""
    return number


# -- ours and gevent ------------------------------------------------------------------------------------------------


def our_pool() -> Any:
    """A pool of ours."""
    from greenlet_hub import ThreadPool, get_hub

    return ThreadPool(THREADS, hub=get_hub())


def gevent_pool() -> Any:
    """A pool of gevent's."""
    from gevent import get_hub
    from gevent.threadpool import ThreadPool

    return ThreadPool(THREADS, hub=get_hub())


def warm_up(pool: Any) -> Any:
    """Have all threads started."""
    from time import sleep

    for job in [pool.spawn(sleep, 0.01) for _ in range(THREADS)]:
        job.get()
    return pool


def round_trip(make: Callable[[], Any]) -> Measure:
    """`pool.apply`."""

    def run(calls: int) -> float:
        pool = warm_up(make())
        started = perf_counter()
        for number in range(calls):
            pool.apply(nothing, (number,))
        return microseconds(perf_counter() - started, calls)

    return run


def mapping(make: Callable[[], Any]) -> Measure:
    """`pool.map`."""

    def run(calls: int) -> float:
        pool = warm_up(make())
        started = perf_counter()
        results = pool.map(nothing, range(calls))
        figure = microseconds(perf_counter() - started, calls)
        assert results == list(range(calls))
        return figure

    return run


def our_crowd(greenlets: int, each: int) -> float:
    """Greenlets that `apply`."""
    from greenlet_hub import Waiter, spawn_raw

    pool, done, left = warm_up(our_pool()), Waiter(), greenlets

    def body() -> None:
        nonlocal left
        for number in range(each):
            pool.apply(nothing, (number,))
        left -= 1
        if not left:
            done.switch(None)

    started = perf_counter()
    for _ in range(greenlets):
        spawn_raw(body)
    done.get()
    return microseconds(perf_counter() - started, greenlets * each)


def gevent_crowd(greenlets: int, each: int) -> float:
    """Greenlets that `apply`."""
    import gevent

    pool = warm_up(gevent_pool())

    def body() -> None:
        for number in range(each):
            pool.apply(nothing, (number,))

    started = perf_counter()
    gevent.joinall([gevent.spawn(body) for _ in range(greenlets)])
    return microseconds(perf_counter() - started, greenlets * each)


# -- asyncio --------------------------------------------------------------------------------------------------------


async def _asyncio_start() -> Callable[[int], Any]:
    import asyncio
    from concurrent.futures import ThreadPoolExecutor
    from time import sleep

    loop, pool = asyncio.get_running_loop(), ThreadPoolExecutor(THREADS)
    await asyncio.gather(*(loop.run_in_executor(pool, sleep, 0.01) for _ in range(THREADS)))
    return lambda number: loop.run_in_executor(pool, nothing, number)


async def _asyncio_round_trip(calls: int) -> float:
    call = await _asyncio_start()
    started = perf_counter()
    for number in range(calls):
        await call(number)
    return microseconds(perf_counter() - started, calls)


async def _asyncio_map(calls: int) -> float:
    import asyncio

    call = await _asyncio_start()
    started = perf_counter()
    results = await asyncio.gather(*map(call, range(calls)))
    figure = microseconds(perf_counter() - started, calls)
    assert list(results) == list(range(calls))
    return figure


async def _asyncio_crowd(greenlets: int, each: int) -> float:
    import asyncio

    call = await _asyncio_start()

    async def body() -> None:
        for number in range(each):
            await call(number)

    started = perf_counter()
    await asyncio.gather(*(body() for _ in range(greenlets)))
    return microseconds(perf_counter() - started, greenlets * each)


# -- trio -----------------------------------------------------------------------------------------------------------


async def _trio_start() -> Callable[[int], Any]:
    from time import sleep

    import trio

    limiter = trio.CapacityLimiter(THREADS)
    async with trio.open_nursery() as nursery:
        for _ in range(THREADS):
            nursery.start_soon(lambda: trio.to_thread.run_sync(sleep, 0.01, limiter=limiter))
    return lambda number: trio.to_thread.run_sync(nothing, number, limiter=limiter)


async def _trio_round_trip(calls: int) -> float:
    call = await _trio_start()
    started = perf_counter()
    for number in range(calls):
        await call(number)
    return microseconds(perf_counter() - started, calls)


async def _trio_map(calls: int) -> float:
    import trio

    call = await _trio_start()
    results: list[int] = [-1] * calls

    async def store(number: int) -> None:
        results[number] = await call(number)

    started = perf_counter()
    async with trio.open_nursery() as nursery:
        for number in range(calls):
            nursery.start_soon(store, number)
    figure = microseconds(perf_counter() - started, calls)
    assert results == list(range(calls))
    return figure


async def _trio_crowd(greenlets: int, each: int) -> float:
    import trio

    call = await _trio_start()

    async def body() -> None:
        for number in range(each):
            await call(number)

    started = perf_counter()
    async with trio.open_nursery() as nursery:
        for _ in range(greenlets):
            nursery.start_soon(body)
    return microseconds(perf_counter() - started, greenlets * each)


CASES = [
    Case(
        (Row("thread pool, round trip", "us", goals={"gevent": 1.5}),),
        {
            "ours": round_trip(our_pool),
            "gevent": round_trip(gevent_pool),
            "asyncio": on_asyncio(_asyncio_round_trip),
            "uvloop": on_uvloop(_asyncio_round_trip),
            "trio": on_trio(_trio_round_trip),
        },
        {"calls": 5_000},
        {"calls": 1_000},
    ),
    Case(
        (Row("thread pool, map of trivial jobs", "us", goals={"gevent": 3.0}),),
        {
            "ours": mapping(our_pool),
            "gevent": mapping(gevent_pool),
            "asyncio": on_asyncio(_asyncio_map),
            "uvloop": on_uvloop(_asyncio_map),
            "trio": on_trio(_trio_map),
        },
        {"calls": 10_000},
        {"calls": 2_000},
    ),
    Case(
        (Row("thread pool, 100 greenlets at once", "us"),),
        {
            "ours": our_crowd,
            "gevent": gevent_crowd,
            "asyncio": on_asyncio(_asyncio_crowd),
            "uvloop": on_uvloop(_asyncio_crowd),
            "trio": on_trio(_trio_crowd),
        },
        {"greenlets": 100, "each": 100},
        {"each": 20},
    ),
]
