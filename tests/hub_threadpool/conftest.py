"""A hub and a loop of the smallest kind, so that the pool is tested alone: no greenlets, no poller.

Who waits on a `FakeWaiter` runs the loop's callbacks meanwhile, in the same thread.  So one "greenlet" is enough, and
what really needs two stands in tests/journeys/test_threadpool.py.
"""

from __future__ import annotations

import queue
from _thread import get_ident
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from hub_api import IHub
from hub_threadpool import ThreadPool


class FakeLoop:
    """Callbacks from any thread, run one by one."""

    def __init__(self) -> None:
        self.refs = 0
        self.destroyed = False
        self.callbacks: queue.SimpleQueue[tuple[Callable[..., object], tuple[Any, ...]]] = queue.SimpleQueue()

    def run_callback_threadsafe(self, func: Callable[..., object], /, *args: object) -> None:
        if self.destroyed:
            raise ValueError("operation on destroyed loop")
        self.callbacks.put((func, args))

    def ref(self) -> None:
        self.refs += 1

    def unref(self) -> None:
        self.refs -= 1

    def run_one(self) -> None:
        func, args = self.callbacks.get(timeout=10)
        func(*args)


class FakeWaiter:
    """Holds an outcome; to wait is to run the loop."""

    def __init__(self, hub: FakeHub) -> None:
        self.hub = hub
        self.switched = False

    def switch(self, value: object, /) -> None:
        assert get_ident() == self.hub.thread_ident
        self.switched = True

    def get(self) -> None:
        while not self.switched:
            if self.hub.kill_who_waits is not None:
                error, self.hub.kill_who_waits = self.hub.kill_who_waits, None
                raise error
            self.hub.loop.run_one()


class FakeHub:
    """What the pool asks of a hub."""

    def __init__(self) -> None:
        self.name = "fake"
        self.loop = FakeLoop()
        self.thread_ident = get_ident()
        self.kill_who_waits: BaseException | None = None

    def waiter(self) -> FakeWaiter:
        return FakeWaiter(self)


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
        for thread in pool._threads:
            thread.join(10)
        assert (len(pool), pool.size) == (0, 0)
    assert hub.loop.refs == 0


@pytest.fixture
def pool(make_pool: Callable[[int], ThreadPool]) -> ThreadPool:
    """A pool with two places."""
    return make_pool(2)
