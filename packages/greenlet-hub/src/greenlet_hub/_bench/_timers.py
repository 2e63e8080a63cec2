"""Timers: those that never fire, which is most of them, and those that do.

"start + stop": make a timer, start it, stop it, close it, while N others are pending, for growing N; the delays are
spread over a minute, those of the N end last. After every thousand the loop gets a turn (`sleep(0)`), in which asyncio
and eventlet may clear away what was cancelled; that is included.  Not included: making the N.  Unit: us per timer, a
figure per N.  It should be flat in N.
"firing": many timers with delays spread over 10 ms are started; once all are due, the loop runs their callbacks. Unit:
us per timer.  Not included: making and starting them, waiting until they are due. Trio has no timers but deadlines of
tasks: its twin enters and leaves a cancel scope with a deadline, while N tasks sleep.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from time import perf_counter
from time import sleep as block
from typing import Any

from greenlet_hub._bench._model import microseconds, on_asyncio, on_trio, on_uvloop

TURN = 1_000
_random = Random(1)
DELAYS = [_random.uniform(10.0, 70.0) for _ in range(TURN)]
LATER = [1_000.0 + delay for delay in DELAYS]  # of those that are pending: they must outlast the slowest machine
SOON = [_random.uniform(0.0, 0.01) for _ in range(TURN)]


def nothing() -> None:
    """The callback."""


def _watchers_stopped(loop: Any, yield_: Callable[[], object], sizes: Sequence[int], timers: int) -> tuple[float, ...]:
    """Ours and gevent's: the same calls."""
    make = loop.timer
    outstanding: list[Any] = []
    figures = []
    for size in sizes:
        while len(outstanding) < size:
            timer = make(LATER[len(outstanding) % TURN])
            timer.start(nothing)
            outstanding.append(timer)
        yield_()  # a turn: ours sorts new timers only then
        started = perf_counter()
        for _ in range(timers // TURN):
            for delay in DELAYS:
                timer = make(delay)
                timer.start(nothing)
                timer.stop()
                timer.close()
            yield_()
        figures.append(microseconds(perf_counter() - started, timers))
    return tuple(figures)


def ours_stopped(sizes: Sequence[int], timers: int) -> tuple[float, ...]:
    """`loop.timer`, `start`, `stop`, `close`."""
    from greenlet_hub import get_hub, sleep

    return _watchers_stopped(get_hub().loop, lambda: sleep(0), sizes, timers)


def gevent_stopped(sizes: Sequence[int], timers: int) -> tuple[float, ...]:
    """`loop.timer`, `start`, `stop`, `close`."""
    from gevent import get_hub, sleep

    return _watchers_stopped(get_hub().loop, lambda: sleep(0), sizes, timers)


def eventlet_stopped(sizes: Sequence[int], timers: int) -> tuple[float, ...]:
    """`hub.schedule_call_global`, `cancel`."""
    from eventlet import sleep
    from eventlet.hubs import get_hub

    schedule = get_hub().schedule_call_global
    outstanding: list[Any] = []
    figures = []
    for size in sizes:
        while len(outstanding) < size:
            outstanding.append(schedule(LATER[len(outstanding) % TURN], nothing))
        sleep(0)
        started = perf_counter()
        for _ in range(timers // TURN):
            for delay in DELAYS:
                schedule(delay, nothing).cancel()
            sleep(0)
        figures.append(microseconds(perf_counter() - started, timers))
    return tuple(figures)


async def asyncio_stopped(sizes: Sequence[int], timers: int) -> tuple[float, ...]:
    """`loop.call_later`, `cancel`."""
    from asyncio import get_running_loop, sleep

    call_later = get_running_loop().call_later
    outstanding: list[Any] = []
    figures = []
    for size in sizes:
        while len(outstanding) < size:
            outstanding.append(call_later(LATER[len(outstanding) % TURN], nothing))
        await sleep(0)
        started = perf_counter()
        for _ in range(timers // TURN):
            for delay in DELAYS:
                call_later(delay, nothing).cancel()
            await sleep(0)
        figures.append(microseconds(perf_counter() - started, timers))
    for handle in outstanding:
        handle.cancel()
    return tuple(figures)


async def trio_stopped(sizes: Sequence[int], timers: int) -> tuple[float, ...]:
    """`move_on_after`."""
    from trio import move_on_after, open_nursery, sleep

    figures = []
    async with open_nursery() as nursery:
        pending = 0
        for size in sizes:
            for i in range(pending, size):
                nursery.start_soon(sleep, LATER[i % TURN])
            pending = size
            await sleep(0.01)  # a batch in which all of them start
            started = perf_counter()
            for _ in range(timers // TURN):
                for delay in DELAYS:
                    with move_on_after(delay):
                        pass
                await sleep(0)
            figures.append(microseconds(perf_counter() - started, timers))
        nursery.cancel_scope.cancel()
    return tuple(figures)


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
    "trio": on_trio(trio_stopped),
}

FIRED = {
    "ours": ours_fired,
    "gevent": gevent_fired,
    "eventlet": eventlet_fired,
    "asyncio": on_asyncio(asyncio_fired),
    "uvloop": on_uvloop(asyncio_fired),
}
