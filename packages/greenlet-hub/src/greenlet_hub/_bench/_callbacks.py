"""Callbacks: functions queued on the loop from its own thread.

"queue + run": a thousand are queued, then the loop runs them; a last one wakes the greenlet that waits for the end.
"then get": one wait of one greenlet per callback: queue `waiter.switch`, then park in `waiter.get()` until it has run.
asyncio's twin is a Future whose `set_result` is queued.
Unit: us per callback.  Not included: making the hub and the loop.  Trio has no queue of plain functions for its own
thread.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any

from greenlet_hub._bench._model import microseconds, on_asyncio, on_uvloop

BATCH = 1_000


def nothing() -> None:
    """The callback."""


def _queue(batches: int, run_callback: Callable[..., object], new_waiter: Callable[[], Any]) -> float:
    """Ours and gevent's: the same calls."""
    started = perf_counter()
    for _ in range(batches):
        for _ in range(BATCH):
            run_callback(nothing)
        waiter = new_waiter()
        run_callback(waiter.switch, None)
        waiter.get()
    return microseconds(perf_counter() - started, batches * BATCH)


def ours_queue(batches: int) -> float:
    """`loop.run_callback`."""
    from greenlet_hub import Waiter, get_hub

    return _queue(batches, get_hub().loop.run_callback, Waiter)


def gevent_queue(batches: int) -> float:
    """`loop.run_callback`."""
    from gevent import get_hub
    from gevent.hub import Waiter

    return _queue(batches, get_hub().loop.run_callback, Waiter)


def eventlet_queue(batches: int) -> float:
    """`hub.schedule_call_global(0, ...)`: a timer, its only queue."""
    from eventlet.event import Event
    from eventlet.hubs import get_hub

    schedule = get_hub().schedule_call_global
    started = perf_counter()
    for _ in range(batches):
        for _ in range(BATCH):
            schedule(0, nothing)
        event = Event()
        schedule(0, event.send)
        event.wait()
    return microseconds(perf_counter() - started, batches * BATCH)


async def asyncio_queue(batches: int) -> float:
    """`loop.call_soon`."""
    from asyncio import get_running_loop

    loop = get_running_loop()
    call_soon = loop.call_soon
    started = perf_counter()
    for _ in range(batches):
        for _ in range(BATCH):
            call_soon(nothing)
        future = loop.create_future()
        call_soon(future.set_result, None)
        await future
    return microseconds(perf_counter() - started, batches * BATCH)


def _get(waits: int, run_callback: Callable[..., object], new_waiter: Callable[[], Any]) -> float:
    """Ours and gevent's: the same calls."""
    started = perf_counter()
    for _ in range(waits):
        waiter = new_waiter()
        run_callback(waiter.switch, None)
        waiter.get()
    return microseconds(perf_counter() - started, waits)


def ours_get(waits: int) -> float:
    """`run_callback(waiter.switch)`, `waiter.get()`."""
    from greenlet_hub import Waiter, get_hub

    return _get(waits, get_hub().loop.run_callback, Waiter)


def gevent_get(waits: int) -> float:
    """`run_callback(waiter.switch)`, `waiter.get()`."""
    from gevent import get_hub
    from gevent.hub import Waiter

    return _get(waits, get_hub().loop.run_callback, Waiter)


def eventlet_get(waits: int) -> float:
    """`schedule_call_global(0, event.send)`, `event.wait()`."""
    from eventlet.event import Event
    from eventlet.hubs import get_hub

    schedule = get_hub().schedule_call_global
    started = perf_counter()
    for _ in range(waits):
        event = Event()
        schedule(0, event.send)
        event.wait()
    return microseconds(perf_counter() - started, waits)


async def asyncio_get(waits: int) -> float:
    """`call_soon(future.set_result)`, `await future`."""
    from asyncio import get_running_loop

    loop = get_running_loop()
    call_soon, create_future = loop.call_soon, loop.create_future
    started = perf_counter()
    for _ in range(waits):
        future = create_future()
        call_soon(future.set_result, None)
        await future
    return microseconds(perf_counter() - started, waits)


QUEUE = {
    "ours": ours_queue,
    "gevent": gevent_queue,
    "eventlet": eventlet_queue,
    "asyncio": on_asyncio(asyncio_queue),
    "uvloop": on_uvloop(asyncio_queue),
}

GET = {
    "ours": ours_get,
    "gevent": gevent_get,
    "eventlet": eventlet_get,
    "asyncio": on_asyncio(asyncio_get),
    "uvloop": on_uvloop(asyncio_get),
}
