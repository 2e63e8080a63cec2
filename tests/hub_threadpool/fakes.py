"""A hub and a loop of the smallest kind, so that the pool is tested alone: no greenlets, no poller.

Who waits on a `FakeWaiter` runs the loop's callbacks meanwhile, in the same thread.  So one "greenlet" is enough, and
what really needs two stands in tests/journeys/test_threadpool.py.  Programs of their own import this, too.
"""

from __future__ import annotations

import os
import queue
from _thread import get_ident
from collections.abc import Callable
from types import TracebackType
from typing import Any, NoReturn
from weakref import WeakSet

from hub_api import InvalidThreadUseError


class FakeCallback:
    """A queued call."""

    def __init__(self, func: Callable[..., object], args: tuple[Any, ...]) -> None:
        self.func = func
        self.args = args
        self.pending = True


class FakeTimer:
    """A timer whose time is now: the loop calls it after all that is queued."""

    def __init__(self, loop: FakeLoop) -> None:
        self.loop = loop
        self.call: tuple[Callable[..., object], tuple[Any, ...]] | None = None

    def __enter__(self) -> FakeTimer:
        return self

    def __exit__(self, *error: object) -> None:
        self.call = None

    def start(self, func: Callable[..., object], /, *args: object) -> None:
        self.call = func, args
        self.loop.run_callback(self.fire)

    def fire(self) -> None:
        if self.call is not None:
            self.call[0](*self.call[1])


class FakeLoop:
    """Callbacks from any thread, run one by one."""

    def __init__(self) -> None:
        self.refs = 0
        self.destroyed = False
        self.posts = 0
        self.refuse_posts: list[BaseException] = []
        """Raised by the next posts, one each."""
        self.lose_calls = 0
        """So many callbacks are taken and not called, as if Ctrl-C had come in their place."""
        self.callbacks: queue.SimpleQueue[FakeCallback] = queue.SimpleQueue()
        _loops.add(self)

    def run_callback(self, func: Callable[..., object], /, *args: object) -> FakeCallback:
        callback = FakeCallback(func, args)
        self.callbacks.put(callback)
        return callback

    def run_callback_threadsafe(self, func: Callable[..., object], /, *args: object) -> FakeCallback:
        if self.destroyed:
            raise ValueError("operation on destroyed loop")
        if self.refuse_posts:
            raise self.refuse_posts.pop()
        self.posts += 1
        return self.run_callback(func, *args)

    def timer(self, after: float) -> FakeTimer:
        return FakeTimer(self)

    def ref(self) -> None:
        self.refs += 1

    def unref(self) -> None:
        self.refs -= 1

    def run_one(self) -> None:
        callback = self.callbacks.get(timeout=10)
        callback.pending = False
        if self.lose_calls:
            self.lose_calls -= 1
            return
        callback.func(*callback.args)

    def run_pending(self) -> None:
        while not self.callbacks.empty():
            self.run_one()


_loops: WeakSet[FakeLoop] = WeakSet()


def _drop_in_child() -> None:
    """In the child of a fork a loop drops what was posted in the parent, before the pool hears of the fork."""
    for loop in list(_loops):
        loop.callbacks = queue.SimpleQueue()


os.register_at_fork(after_in_child=_drop_in_child)


class FakeWaiter:
    """Holds an outcome; to wait is to run the loop."""

    def __init__(self, hub: FakeHub) -> None:
        self.hub = hub
        self.reason: object = None
        self.switched = False
        self.error: BaseException | None = None

    def switch(self, value: object, /) -> None:
        assert get_ident() == self.hub.thread_ident
        self.switched = True

    def throw(self, error: BaseException) -> None:
        self.switch(None)
        self.error = error

    def get(self) -> None:
        while not self.switched:
            if self.hub.kill_who_waits is not None:
                error, self.hub.kill_who_waits = self.hub.kill_who_waits, None
                raise error
            self.hub.loop.run_one()
        if self.error is not None:
            raise self.error


class FakeHub:
    """What the pool asks of a hub."""

    current = True  # who waits runs the loop; so nobody is spared the wait

    def __init__(self) -> None:
        self.name = "fake"
        self.loop = FakeLoop()
        self.thread_ident = get_ident()
        self.kill_who_waits: BaseException | None = None
        self.errors: list[tuple[object, BaseException]] = []

    def handle_error(
        self, context: object, kind: type[BaseException], error: BaseException, traceback: TracebackType | None, /
    ) -> None:
        self.errors.append((context, error))

    def waiter(self) -> FakeWaiter:
        return FakeWaiter(self)

    def refuse(self, what: str, remedy: str = "") -> NoReturn:
        raise InvalidThreadUseError(f"cannot {what} of {self!r}; use {remedy}")


class PromptLoop:
    """Runs what it is given at once, in the thread that gives it."""

    def run_callback_threadsafe(self, func: Callable[..., object], /, *args: object) -> None:
        func(*args)


class NoHub:
    """A hub of another thread, as far as an executor asks for one."""

    def __init__(self) -> None:
        self.loop = PromptLoop()
        self.errors: list[tuple[object, BaseException]] = []

    def of_this_thread(self) -> None:
        return None

    def handle_error(self, context: object, kind: object, value: BaseException, tb: object) -> None:
        self.errors.append((context, value))
