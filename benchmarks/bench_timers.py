"""Timers: those that never fire, which is most of them, and those that do.

"start + stop": make a timer, start it, stop it, close it, while N others are pending; all delays are spread over 10 to
70 seconds. After every thousand the loop gets a turn (`sleep(0)`), in which asyncio and eventlet may clear away what
was cancelled; that is included.  Not included: making the N.  Unit: us per timer.  The row should be flat in N.
"firing": many timers with delays spread over 10 ms are started; once all are due, the loop runs their callbacks.
Unit: us per timer.  Not included: making and starting them, waiting until they are due.
Trio has no timers but deadlines of tasks: its twin enters and leaves a cancel scope with a deadline, while N tasks
sleep; a million of them would take 3 GiB, so it is not in that row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from time import perf_counter
from time import sleep as block
from typing import Any

from harness import Case, Measure, Row, microseconds, on_asyncio, on_trio, on_uvloop

TURN = 1_000
_random = Random(1)
DELAYS = [_random.uniform(10.0, 70.0) for _ in range(TURN)]
SOON = [_random.uniform(0.0, 0.01) for _ in range(TURN)]


def nothing() -> None:
    """The callback."""


def _watchers_stopped(loop: Any, yield_: Callable[[], object], pending: int, timers: int) -> float:
    """Ours and gevent's: the same calls."""
    make = loop.timer
    outstanding = [make(DELAYS[i % TURN]) for i in range(pending)]
    for timer in outstanding:
        timer.start(nothing)
    yield_()  # a turn: ours sorts new timers only then
    started = perf_counter()
    for _ in range(timers // TURN):
        for delay in DELAYS:
            timer = make(delay)
            timer.start(nothing)
            timer.stop()
            timer.close()
        yield_()
    return microseconds(perf_counter() - started, timers)


def ours_stopped(pending: int, timers: int) -> float:
    """`loop.timer`, `start`, `stop`, `close`."""
    from greenlet_hub import get_hub, sleep

    return _watchers_stopped(get_hub().loop, lambda: sleep(0), pending, timers)


def gevent_stopped(pending: int, timers: int) -> float:
    """`loop.timer`, `start`, `stop`, `close`."""
    from gevent import get_hub, sleep

    return _watchers_stopped(get_hub().loop, lambda: sleep(0), pending, timers)


def eventlet_stopped(pending: int, timers: int) -> float:
    """`hub.schedule_call_global`, `cancel`."""
    from eventlet import sleep
    from eventlet.hubs import get_hub

    schedule = get_hub().schedule_call_global
    outstanding = [schedule(DELAYS[i % TURN], nothing) for i in range(pending)]
    sleep(0)
    started = perf_counter()
    for _ in range(timers // TURN):
        for delay in DELAYS:
            schedule(delay, nothing).cancel()
        sleep(0)
    seconds = perf_counter() - started
    del outstanding
    return microseconds(seconds, timers)


async def asyncio_stopped(pending: int, timers: int) -> float:
    """`loop.call_later`, `cancel`."""
    from asyncio import get_running_loop, sleep

    call_later = get_running_loop().call_later
    outstanding = [call_later(DELAYS[i % TURN], nothing) for i in range(pending)]
    started = perf_counter()
    for _ in range(timers // TURN):
        for delay in DELAYS:
            call_later(delay, nothing).cancel()
        await sleep(0)
    seconds = perf_counter() - started
    for handle in outstanding:
        handle.cancel()
    return microseconds(seconds, timers)


async def trio_stopped(pending: int, timers: int) -> float:
    """`move_on_after`."""
    from trio import move_on_after, open_nursery, sleep

    async with open_nursery() as nursery:
        for i in range(pending):
            nursery.start_soon(sleep, DELAYS[i % TURN])
        await sleep(0.01)  # a batch in which all of them start
        started = perf_counter()
        for _ in range(timers // TURN):
            for delay in DELAYS:
                with move_on_after(delay):
                    pass
            await sleep(0)
        seconds = perf_counter() - started
        nursery.cancel_scope.cancel()
    return microseconds(seconds, timers)


class Countdown:
    """The callback of the timers that fire: calls `done` at the last one."""

    def __init__(self, timers: int, done: Callable[[], object]) -> None:
        self._left = timers
        self._done = done

    def fired(self) -> None:
        """One more has fired."""
        self._left -= 1
        if not self._left:
            self._done()


def _watchers_fired(loop: Any, waiter: Any, timers: int) -> float:
    """Ours and gevent's: the same calls."""
    fired = Countdown(timers, lambda: waiter.switch(None)).fired
    started_timers = [loop.timer(SOON[i % TURN]) for i in range(timers)]
    for timer in started_timers:
        timer.start(fired)
    block(0.02)
    started = perf_counter()
    waiter.get()
    return microseconds(perf_counter() - started, timers)


def ours_fired(timers: int) -> float:
    """`loop.timer`, `start`."""
    from greenlet_hub import Waiter, get_hub

    return _watchers_fired(get_hub().loop, Waiter(), timers)


def gevent_fired(timers: int) -> float:
    """`loop.timer`, `start`."""
    from gevent import get_hub
    from gevent.hub import Waiter

    return _watchers_fired(get_hub().loop, Waiter(), timers)


def eventlet_fired(timers: int) -> float:
    """`hub.schedule_call_global`."""
    from eventlet.event import Event
    from eventlet.hubs import get_hub

    event = Event()
    schedule, fired = get_hub().schedule_call_global, Countdown(timers, event.send).fired
    for i in range(timers):
        schedule(SOON[i % TURN], fired)
    block(0.02)
    started = perf_counter()
    event.wait()
    return microseconds(perf_counter() - started, timers)


async def asyncio_fired(timers: int) -> float:
    """`loop.call_later`."""
    from asyncio import Event, get_running_loop

    event = Event()
    call_later, fired = get_running_loop().call_later, Countdown(timers, event.set).fired
    for i in range(timers):
        call_later(SOON[i % TURN], fired)
    block(0.02)
    started = perf_counter()
    await event.wait()
    return microseconds(perf_counter() - started, timers)


STOPPED = {
    "ours": ours_stopped,
    "gevent": gevent_stopped,
    "eventlet": eventlet_stopped,
    "asyncio": on_asyncio(asyncio_stopped),
    "uvloop": on_uvloop(asyncio_stopped),
}


TRIO_STOPPED = {"trio": on_trio(trio_stopped)}


def _stopped(pending: int, contenders: Mapping[str, Measure] = STOPPED) -> Case:
    row = Row(f"timer, start + stop, {pending:,} pending", "us", goals={"gevent": 1.0, "asyncio": 1.0})
    quick = {"timers": 20_000} if pending == 1_000 else None  # to make more takes some peers seconds
    return Case((row,), contenders, {"pending": pending, "timers": 200_000}, quick)


CASES = [
    _stopped(1_000, STOPPED | TRIO_STOPPED),
    _stopped(100_000, STOPPED | TRIO_STOPPED),
    _stopped(1_000_000),
    Case(
        (Row("timer, firing", "us"),),
        {
            "ours": ours_fired,
            "gevent": gevent_fired,
            "eventlet": eventlet_fired,
            "asyncio": on_asyncio(asyncio_fired),
            "uvloop": on_uvloop(asyncio_fired),
        },
        {"timers": 100_000},
        {"timers": 20_000},
    ),
]
