"""What a type checker makes of the pool and the executor: `mypy --strict tests` checks this file, nothing runs it.

Each ignore is a refusal that is checked: one that ignores nothing is an error.
"""

from __future__ import annotations

import concurrent.futures
from collections.abc import Iterator
from typing import assert_type, cast

from hub_api import IHub, ILane, ILanes, IThreadPool
from hub_threadpool import (
    DoneAndNotDone,
    Future,
    Job,
    MapJob,
    Results,
    ThreadPool,
    ThreadPoolExecutor,
    as_completed,
    wait,
)


def join(number: int, text: str, *, weight: float = 1.0) -> str:
    return f"{number}{text}{weight}"


def told(value: str) -> None: ...


def what_a_pool_gives(hub: IHub) -> None:
    with ThreadPool(2, hub=hub) as pool:
        assert_type(pool, ThreadPool)
        assert_type(pool.spawn(join, 1, text="two"), Job[str])
        assert_type(pool.apply(join, (1, "two"), lane="dns"), str)
        assert_type(pool.apply_async(join, (1, "two"), callback=told), Job[str])
        assert_type(pool.map(join, [1], ["two"]), list[str])
        assert_type(pool.map_async(join, [1], ["two"]), MapJob[str])
        assert_type(pool.map_async(join, [1], ["two"]).get(timeout=1.0), list[str])
        assert_type(pool.imap(join, [1], ["two"], maxsize=3), Results[str])
        assert_type(next(pool.imap_unordered(join, [1], ["two"])), str)
        assert_type(pool.lane("dns").map(join, [1], ["two"]), list[str])
        pool.spawn(join, 1)  # type: ignore[call-arg]
        pool.map(join, [1], 2)  # type: ignore[arg-type]
        pool.apply_async(int, callback=told)  # type: ignore[misc]  # int is no str


def what_an_executor_gives(hub: IHub) -> None:
    with ThreadPoolExecutor(2, "disk", hub=hub) as executor:
        assert_type(executor, ThreadPoolExecutor)
        future = executor.submit(join, 1, text="two")
        assert_type(future, Future[str])
        assert_type(future.result(1.0), str)
        assert_type(future.exception(), BaseException | None)
        assert_type(executor.map(join, [1], ["two"]), Iterator[str])
        assert_type(wait([future]), DoneAndNotDone[str])
        assert_type(wait([future]).done, set[concurrent.futures.Future[str]])
        for ended in as_completed([future]):
            assert_type(ended, concurrent.futures.Future[str])
        executor.submit(join, 1)  # type: ignore[call-arg]
    ThreadPoolExecutor(2)  # type: ignore[call-arg]


def what_takes_them(executor: concurrent.futures.Executor) -> None: ...


pool: IThreadPool = ThreadPool(hub=cast(IHub, None))
lanes: ILanes = ThreadPool(hub=cast(IHub, None))
lane: ILane = ThreadPool(hub=cast(IHub, None)).lane("dns")
what_takes_them(ThreadPoolExecutor(hub=cast(IHub, None)))
