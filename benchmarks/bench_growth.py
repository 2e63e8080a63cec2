"""Growth: what one operation costs as greenlets, fds and timers go from 10 to 1,000,000.

"greenlets": one `sleep(0)` in a ring of N (see `greenlet_hub._bench._yield`), each figure in a ring of its own.
"fds", "timers": a byte arrives at a socket, its watcher calls back, the callback reads the byte and sends the next one;
beside N fds on which nothing happens, and beside N pending timers.  So each turn of the loop has exactly one event.
Unit: us; of the process's CPU time for events, the kernel's part included; nothing here ever waits, so that is all
there is.  "growth": the figure over that of a loop with nothing else: 1.0 says that those who only wait cost nothing.
The cost of starting and stopping a timer beside N others is a curve of bench_timers. The fds are numbers of one silent
socket (`dup`), each watched for itself; the timers' delays are spread over 1,000 to 1,060 seconds.  Not included:
making and starting them, and the turn after that, in which some loops sort them. A size for which the machine has not
the memory, or allows not the open files, is left out with its reason. Eventlet and trio have no watchers that call
back; they are not in these rows.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from os import dup
from time import process_time
from typing import Any

from greenlet_hub._bench._yield import CONTENDERS as RINGS
from harness import (
    SIZES,
    Case,
    Figures,
    Measure,
    Row,
    growing,
    microseconds,
    on_asyncio,
    on_uvloop,
    too_big,
    too_many_files,
)

READ = 1
YIELDS = 100_000
# About what one of them takes, measured: greenlets and tasks asleep in bench_memory.
RING_KIB = {"ours": 7.0, "gevent": 7.5, "eventlet": 7.5, "asyncio": 2.0, "uvloop": 2.0, "trio": 4.0}


def nothing() -> None:
    """The callback of those that wait in vain."""


# -- greenlets --------------------------------------------------------------------------------------------------------


def _rings(ring: Measure) -> Callable[..., Figures]:
    """One ring after the other, in one process."""

    def measure(sizes: Sequence[int], yields: int) -> Figures:
        figures: list[Any] = [ring(ring=size, each=max(2, yields // size)) for size in sizes]
        return tuple(figures)

    return measure


# -- fds and timers ---------------------------------------------------------------------------------------------------


def idle_fds(count: int) -> list[int]:
    """So many fds on which nothing will happen, for as long as this process lives."""
    silent, peer = socket.socketpair()
    peer.detach()
    return [dup(silent.fileno()) for _ in range(count - 1)] + [silent.detach()]


class Chain:
    """One byte at a time through a pair of sockets: `event` is the callback; calls `done` after so many."""

    def __init__(self, events: int, done: Callable[[], object]) -> None:
        self._near, self._far = socket.socketpair()
        self._near.setblocking(False)
        self._receive, self._send = self._near.recv, self._far.send
        self._left = events
        self._done = done
        self.fd = self._near.fileno()
        self._send(b"x")

    def event(self) -> None:
        """The byte has come: send the next one."""
        self._receive(1)
        self._left -= 1
        if self._left:
            self._send(b"x")
        else:
            self._done()

    def close(self) -> None:
        """Close the pair; nobody watches it any more."""
        self._near.close()
        self._far.close()


def _watchers(
    loop: Any, new_waiter: Callable[[], Any], what: str, sizes: Sequence[int], events: int
) -> tuple[float, ...]:
    """Ours and gevent's: the same calls."""

    def chain(events: int) -> float:
        waiter = new_waiter()
        byte = Chain(events, lambda: waiter.switch(None))
        watcher = loop.io(byte.fd, READ)
        watcher.start(byte.event)
        started = process_time()
        waiter.get()
        seconds = process_time() - started
        watcher.stop()
        watcher.close()
        loop.closing_fd(byte.fd)
        byte.close()
        return microseconds(seconds, events)

    def more(count: int) -> list[Any]:
        if what == "fds":
            made = [loop.io(fd, READ) for fd in idle_fds(count)]
        else:
            made = [loop.timer(_delay(i)) for i in range(count)]
        for watcher in made:
            watcher.start(nothing)
        return made

    chain(1_000)
    alone = chain(events)
    others: list[Any] = []
    figures = []
    for size in sizes:
        others += more(size - len(others))
        chain(1_000)
        figures.append(chain(events))
    return *figures, figures[-1] / alone


def _delay(number: int) -> float:
    return 1_000.0 + 60.0 * (number % 997) / 997


def ours(what: str, sizes: Sequence[int], events: int) -> tuple[float, ...]:
    """`loop.io`, `loop.timer`."""
    from greenlet_hub import Waiter, get_hub

    return _watchers(get_hub().loop, Waiter, what, sizes, events)


def gevent(what: str, sizes: Sequence[int], events: int) -> tuple[float, ...]:
    """`loop.io`, `loop.timer`."""
    from gevent import get_hub
    from gevent.hub import Waiter

    return _watchers(get_hub().loop, Waiter, what, sizes, events)


async def asyncio_growth(what: str, sizes: Sequence[int], events: int) -> tuple[float, ...]:
    """`loop.add_reader`, `loop.call_later`."""
    from asyncio import get_running_loop

    loop = get_running_loop()

    async def chain(events: int) -> float:
        done = loop.create_future()
        byte = Chain(events, lambda: done.set_result(None))
        loop.add_reader(byte.fd, byte.event)
        started = process_time()
        await done
        seconds = process_time() - started
        loop.remove_reader(byte.fd)
        byte.close()
        return microseconds(seconds, events)

    await chain(1_000)
    alone = await chain(events)
    others: list[Any] = []
    figures = []
    for size in sizes:
        if what == "fds":
            fds = idle_fds(size - len(others))
            for fd in fds:
                loop.add_reader(fd, nothing)
            others += fds
        else:
            others += [loop.call_later(_delay(i), nothing) for i in range(size - len(others))]
        await chain(1_000)
        figures.append(await chain(events))
    if what == "timers":
        for handle in others:
            handle.cancel()
    return *figures, figures[-1] / alone


CONTENDERS: Mapping[str, Callable[..., Figures]] = {
    "ours": ours,
    "gevent": gevent,
    "asyncio": on_asyncio(asyncio_growth),
    "uvloop": on_uvloop(asyncio_growth),
}


def _beside(what: str, curve: str, limit: Callable[[int], str | None]) -> Case:
    """A row per size, and the growth at the largest of them that can be had."""
    rows = [
        Row(f"event beside {size:,} {what}", "us", curve=curve, size=size, brief=size in (10_000, 1_000_000))
        for size in SIZES
    ]
    return Case(
        (*rows, Row(f"event beside the most {what}, growth", "x", at_most=1.10)),
        {contender: growing(measure, limit) for contender, measure in CONTENDERS.items()},
        {"what": curve.split()[-1], "events": 40_000, "most": SIZES[-1]},
        {"events": 4_000, "most": 10_000},
        rounds=3,
    )


CASES = [
    Case(
        tuple(
            Row(f"yield among {size:,} greenlets", "us", curve="greenlets", size=size, brief=size == SIZES[-1])
            for size in SIZES
        ),
        {
            contender: growing(_rings(ring), partial(too_big, kib_each=RING_KIB[contender]))
            for contender, ring in RINGS.items()
        },
        {"yields": YIELDS, "most": SIZES[-1]},
        {"yields": 20_000, "most": 1_000},
        rounds=3,
    ),
    _beside("idle fds", "idle fds", too_many_files),
    _beside("pending timers", "pending timers", partial(too_big, kib_each=1.0)),
]
