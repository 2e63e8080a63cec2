"""Waiter: two greenlets that wake each other in turns, forever parked but one.

Timed: one wake, from a greenlet that says "go on" and parks, to the other one running.  Unit: us per wake.
Each side uses the lowest-level primitive of its library that any greenlet (task) may use: ours `waiter.switch`;
gevent's Waiter may be switched by the hub only, so `loop.run_callback(waiter.switch)`; eventlet an Event; asyncio a
Future; trio `reschedule`.  Not included: making and starting the two.
"""

from __future__ import annotations

from typing import Any

from greenlet_hub._bench._model import Stopwatch, microseconds, on_asyncio, on_trio, on_uvloop


def ours(wakes: int) -> float:
    """`other_waiter.switch()`, `mine.get()`."""
    from greenlet_hub import Waiter, get_hub, spawn_raw

    watch = Stopwatch(2)

    def player(mine: Waiter, other_waiter: Waiter, first: bool) -> None:
        watch.begin()
        if first:
            mine.get()
        for _ in range(wakes // 2):
            other_waiter.switch(None)
            mine.get()
        watch.end()
        if not first:
            other_waiter.switch(None)

    one, two = Waiter(), Waiter()
    spawn_raw(player, one, two, True)
    spawn_raw(player, two, one, False)
    get_hub().join()
    return microseconds(watch.seconds, wakes)


def gevent_(wakes: int) -> float:
    """`run_callback(other_waiter.switch)`, `mine.get()`."""
    from gevent import get_hub, spawn_raw
    from gevent.hub import Waiter

    watch = Stopwatch(2)
    run_callback = get_hub().loop.run_callback

    def player(mine: Any, other_waiter: Any, first: bool) -> None:
        watch.begin()
        if first:
            mine.get()
        for _ in range(wakes // 2):
            run_callback(other_waiter.switch, None)
            mine.get()
        watch.end()
        if not first:
            run_callback(other_waiter.switch, None)

    one, two = Waiter(), Waiter()
    spawn_raw(player, one, two, True)
    spawn_raw(player, two, one, False)
    get_hub().join()
    return microseconds(watch.seconds, wakes)


def eventlet_(wakes: int) -> float:
    """`event.send()`, `event.wait()`, `event.reset()`."""
    from eventlet import spawn
    from eventlet.event import Event

    watch = Stopwatch(2)

    def player(mine: Any, other: Any, first: bool) -> None:
        watch.begin()
        if first:
            mine.wait()
            mine.reset()
        for _ in range(wakes // 2):
            other.send()
            mine.wait()
            mine.reset()
        watch.end()
        if not first:
            other.send()

    one, two = Event(), Event()
    players = [spawn(player, one, two, True), spawn(player, two, one, False)]
    for player_thread in players:
        player_thread.wait()
    return microseconds(watch.seconds, wakes)


async def asyncio_(wakes: int) -> float:
    """`future.set_result()`, `await future`; a future serves once, so each wake has a new one."""
    from asyncio import Future, gather, get_running_loop

    watch = Stopwatch(2)
    create_future = get_running_loop().create_future
    waiting: list[Future[None]] = [create_future(), create_future()]

    async def player(mine: int, other: int, first: bool) -> None:
        watch.begin()
        if first:
            await waiting[mine]
            waiting[mine] = create_future()
        for _ in range(wakes // 2):
            waiting[other].set_result(None)
            await waiting[mine]
            waiting[mine] = create_future()
        watch.end()
        if not first:
            waiting[other].set_result(None)

    await gather(player(0, 1, True), player(1, 0, False))
    return microseconds(watch.seconds, wakes)


async def trio_(wakes: int) -> float:
    """`lowlevel.reschedule(task)`, `lowlevel.wait_task_rescheduled()`."""
    from trio import Event, open_nursery
    from trio.lowlevel import Abort, current_task, reschedule, wait_task_rescheduled

    watch = Stopwatch(2)
    tasks: list[Any] = [None, None]
    both = Event()

    def never_aborted(_: object) -> Any:
        return Abort.FAILED

    async def player(mine: int, other: int, first: bool) -> None:
        tasks[mine] = current_task()
        if all(tasks):
            both.set()
        if not first:
            await both.wait()
        watch.begin()
        if first:
            await wait_task_rescheduled(never_aborted)
        for _ in range(wakes // 2):
            reschedule(tasks[other])
            await wait_task_rescheduled(never_aborted)
        watch.end()
        if not first:
            reschedule(tasks[other])

    async with open_nursery() as nursery:
        nursery.start_soon(player, 0, 1, True)
        nursery.start_soon(player, 1, 0, False)
    return microseconds(watch.seconds, wakes)


CONTENDERS = {
    "ours": ours,
    "gevent": gevent_,
    "eventlet": eventlet_,
    "asyncio": on_asyncio(asyncio_),
    "uvloop": on_uvloop(asyncio_),
    "trio": on_trio(trio_),
}
