"""Pools on the fake hub, executors in threads without one, and waits for what other threads bring about."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
from tests.hub_threadpool.fakes import FakeHub, NoHub

from hub_api import IHub
from hub_threadpool import ThreadPool, ThreadPoolExecutor

Make = Callable[..., ThreadPoolExecutor]


def join_workers() -> None:
    """Wait until the workers of killed pools have ended."""
    for thread in threading.enumerate():
        if "-worker-" in thread.name:
            thread.join(10)
            assert not thread.is_alive(), thread


def in_thread(func: Callable[[], object]) -> BaseException | None:
    """What `func()` raises in another thread."""
    raised: list[BaseException | None] = []

    def body() -> None:
        try:
            func()
        except BaseException as error:
            raised.append(error)
        else:
            raised.append(None)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join(10)
    return raised[0]


def wait_until(condition: Callable[[], object]) -> None:
    """Wait for what other threads bring about."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.0005)


def double(number: int) -> int:
    return 2 * number


def fail(error: BaseException) -> None:
    raise error


class Gate:
    """Holds jobs until it is opened, and counts who has come."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self._lock = threading.Lock()
        self.reached: list[object] = []
        self._one_more = threading.Semaphore(0)

    def __call__(self, value: object = None) -> object:
        with self._lock:
            self.reached.append(value)
        self._one_more.release()
        assert self._open.wait(20)
        return value

    def wait_for(self, jobs: int) -> None:
        """Return when so many jobs have come to the gate."""
        for _ in range(jobs):
            assert self._one_more.acquire(timeout=20)

    def open(self) -> None:
        self._open.set()


# -- pools ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def hub() -> FakeHub:
    return FakeHub()


@pytest.fixture
def make_pool(hub: FakeHub) -> Iterator[Callable[[int], ThreadPool]]:
    """Makes pools.  At the end no place is taken and no thread is left."""
    made: list[ThreadPool] = []

    def make(maxsize: int) -> ThreadPool:
        made.append(ThreadPool(maxsize, hub=cast(IHub, hub)))
        return made[-1]

    yield make
    for pool in made:
        pool.join()
        pool.kill()
    join_workers()
    for pool in made:
        assert (len(pool), pool.size) == (0, 0)
    if not hub.loop.destroyed:
        assert hub.loop.refs == 0


@pytest.fixture
def pool(make_pool: Callable[[int], ThreadPool]) -> ThreadPool:
    """A pool with two places."""
    return make_pool(2)


# -- executors ------------------------------------------------------------------------------------------------------


@pytest.fixture
def others_hub() -> NoHub:
    """The hub that executors report to: another thread's."""
    return NoHub()


@pytest.fixture
def make(others_hub: NoHub) -> Iterator[Make]:
    """Makes executors, and shuts them down at the end."""
    made: list[ThreadPoolExecutor] = []

    def make(*args: Any, **kwargs: Any) -> ThreadPoolExecutor:
        made.append(ThreadPoolExecutor(*args, hub=cast(IHub, others_hub), **kwargs))
        return made[-1]

    yield make
    for executor in made:
        executor.shutdown()


@pytest.fixture
def executor(make: Make) -> ThreadPoolExecutor:
    """An executor with two workers."""
    return make(2)
