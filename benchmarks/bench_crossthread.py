"""Cross-thread callbacks: other threads have functions run in the loop's thread.

"throughput": 4 threads post as fast as they can; timed from before the first post until the last function has run, the
starting of the 4 threads included.  Unit: us per callback.
"latency": one thread posts to a loop that sleeps in its poll; timed from just before the post until the first line of
the function; the median of all posts.  Between two posts the thread waits 0.2 ms, so that the loop has gone to sleep
again.  Unit: us. All threads of the process share one core, so the latency contains a switch of threads and the passing
of the GIL. eventlet has no call of this kind.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from statistics import median
from time import perf_counter
from time import sleep as block
from typing import Any

from harness import Case, Measure, Row, microseconds, on_asyncio, on_trio, on_uvloop

Post = Callable[[Callable[[], object]], object]


class Throughput:
    """Threads that post, and a countdown in the loop's thread."""

    def __init__(self, threads: int, each: int) -> None:
        self._threads, self._each = threads, each
        self._left = threads * each
        self._started = 0.0
        self.figure = 0.0

    def start(self, post: Post, done: Callable[[], object]) -> None:
        """Have the threads post; `done` is called in the loop's thread after the last."""
        total = self._left

        def callback() -> None:
            self._left -= 1
            if not self._left:
                self.figure = microseconds(perf_counter() - self._started, total)
                done()

        def thread() -> None:
            for _ in range(self._each):
                post(callback)

        self._started = perf_counter()
        for _ in range(self._threads):
            threading.Thread(target=thread, daemon=True).start()


class Latency:
    """One thread that posts now and then."""

    def __init__(self, posts: int) -> None:
        self._posts = posts
        self.figure = 0.0

    def start(self, post: Post, done: Callable[[], object]) -> None:
        """Have the thread post; `done` is called in the loop's thread after the last."""
        latencies: list[float] = []
        posted = 0.0
        ran = threading.Semaphore(0)

        def callback() -> None:
            latencies.append(perf_counter() - posted)
            ran.release()

        def thread() -> None:
            nonlocal posted
            for _ in range(self._posts):
                block(0.0002)
                posted = perf_counter()
                post(callback)
                ran.acquire()
            self.figure = median(latencies) * 1e6
            post(done)

        threading.Thread(target=thread, daemon=True).start()


Posters = Callable[..., Throughput | Latency]


def ours(posters: Posters) -> Measure:
    """`loop.run_callback_threadsafe`."""

    def run(**args: Any) -> float:
        from greenlet_hub import Waiter, get_hub

        loop, waiter, started = get_hub().loop, Waiter(), posters(**args)
        loop.ref()  # else the hub sees nothing that could ever wake us
        started.start(loop.run_callback_threadsafe, lambda: waiter.switch(None))
        waiter.get()
        return started.figure

    return run


def gevent_(posters: Posters) -> Measure:
    """`loop.run_callback_threadsafe`."""

    def run(**args: Any) -> float:
        from gevent import get_hub
        from gevent.hub import Waiter

        loop, waiter, started = get_hub().loop, Waiter(), posters(**args)
        loop.ref()
        started.start(loop.run_callback_threadsafe, lambda: waiter.switch(None))
        waiter.get()
        return started.figure

    return run


def _asyncio(posters: Posters) -> Callable[..., Any]:
    """`loop.call_soon_threadsafe`."""

    async def run(**args: Any) -> float:
        from asyncio import get_running_loop

        loop, started = get_running_loop(), posters(**args)
        future = loop.create_future()
        started.start(loop.call_soon_threadsafe, lambda: future.set_result(None))
        await future
        return started.figure

    return run


def _trio(posters: Posters) -> Callable[..., Any]:
    """`TrioToken.run_sync_soon`."""

    async def run(**args: Any) -> float:
        from trio import Event
        from trio.lowlevel import current_trio_token

        event, started = Event(), posters(**args)
        started.start(current_trio_token().run_sync_soon, event.set)
        await event.wait()
        return started.figure

    return run


def _contenders(posters: Posters) -> dict[str, Measure]:
    return {
        "ours": ours(posters),
        "gevent": gevent_(posters),
        "asyncio": on_asyncio(_asyncio(posters)),
        "uvloop": on_uvloop(_asyncio(posters)),
        "trio": on_trio(_trio(posters)),
    }


CASES = [
    Case(
        (Row("cross-thread callback, 4 threads, throughput", "us", goals={"gevent": 1.5}),),
        _contenders(Throughput),
        {"threads": 4, "each": 40_000},
        {"each": 8_000},
    ),
    Case(
        (Row("cross-thread callback, latency", "us", goals={"gevent": 1.0}),),
        _contenders(Latency),
        {"posts": 1_500},
        {"posts": 300},
    ),
]
