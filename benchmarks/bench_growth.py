"""Growth: what an event costs beside ten thousand fds on which nothing happens, and beside a million pending timers.

One operation: a byte arrives at a socket, its watcher calls back, the callback reads the byte and sends the next one.
So each turn of the loop has exactly one event.  It is timed alone, then, in the same process, beside the others.
Unit: us of the process's CPU time, the kernel's part included; nothing here ever waits, so that is all there is.
"growth": the second figure over the first, so 1.0 says that those who only wait cost nothing.
The fds are numbers of one silent socket (`dup`), each watched for itself; the timers' delays are spread over 1,000 to
1,060 seconds.  Not included: making and starting them, and the turn after that, in which some loops sort them.
Eventlet and trio have no watchers that call back; they are not in these rows.
"""

from __future__ import annotations

import resource
import socket
from collections.abc import Callable, Mapping
from os import dup
from time import process_time
from typing import Any

from harness import Case, Measure, Row, microseconds, on_asyncio, on_uvloop

READ = 1


def nothing() -> None:
    """The callback of those that wait in vain."""


def idle_fds(count: int) -> list[int]:
    """So many fds on which nothing will happen, for as long as this process lives."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if 0 <= most < count + 100:
        raise OSError(f"the system allows {most:,} open files, too few for {count:,} idle ones")
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    silent, peer = socket.socketpair()
    peer.detach()
    return [dup(silent.fileno()) for _ in range(count)] + [silent.detach()]


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


def _watchers(loop: Any, new_waiter: Callable[[], Any], fds: int, timers: int, events: int) -> tuple[float, float]:
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

    chain(1_000)
    alone = chain(events)
    others = [loop.io(fd, READ) for fd in idle_fds(fds)] if fds else []
    others += [loop.timer(1_000.0 + 60.0 * (i % 997) / 997) for i in range(timers)]
    for watcher in others:
        watcher.start(nothing)
    chain(1_000)
    beside = chain(events)
    return beside, beside / alone


def ours(fds: int, timers: int, events: int) -> tuple[float, float]:
    """`loop.io`, `loop.timer`."""
    from greenlet_hub import Waiter, get_hub

    return _watchers(get_hub().loop, Waiter, fds, timers, events)


def gevent(fds: int, timers: int, events: int) -> tuple[float, float]:
    """`loop.io`, `loop.timer`."""
    from gevent import get_hub
    from gevent.hub import Waiter

    return _watchers(get_hub().loop, Waiter, fds, timers, events)


async def asyncio_growth(fds: int, timers: int, events: int) -> tuple[float, float]:
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
    for fd in idle_fds(fds) if fds else ():
        loop.add_reader(fd, nothing)
    handles = [loop.call_later(1_000.0 + 60.0 * (i % 997) / 997, nothing) for i in range(timers)]
    await chain(1_000)
    beside = await chain(events)
    for handle in handles:
        handle.cancel()
    return beside, beside / alone


CONTENDERS: Mapping[str, Measure] = {
    "ours": ours,
    "gevent": gevent,
    "asyncio": on_asyncio(asyncio_growth),
    "uvloop": on_uvloop(asyncio_growth),
}


def _beside(what: str, fds: int, timers: int, quick: Mapping[str, int] | None) -> Case:
    rows = Row(f"event beside {what}", "us"), Row(f"event beside {what}, growth", "x", at_most=1.10)
    return Case(rows, CONTENDERS, {"fds": fds, "timers": timers, "events": 100_000}, quick)


CASES = [
    _beside("10,000 idle fds", 10_000, 0, {"events": 20_000}),
    _beside("1,000,000 pending timers", 0, 1_000_000, None),
]
