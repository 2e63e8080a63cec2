"""Yield: `sleep(0)` in a ring of greenlets (tasks) that do nothing else.

Timed: one `sleep(0)`, which lets every other member run once, so a turn of the ring costs `ring` times this figure.
When the last member begins, all the others are in their first `sleep(0)`: that turn is not counted.
Unit: us per yield.  Not included: making the members, starting them, their ends.
"""

from __future__ import annotations

from collections.abc import Callable

from greenlet_hub._bench._model import Stopwatch, microseconds, on_asyncio, on_trio, on_uvloop


def _raw(
    ring: int, each: int, spawn_raw: Callable[..., object], sleep: Callable[[float], object], join: Callable[[], object]
) -> float:
    """Ours and gevent's: the same calls."""
    watch = Stopwatch(ring)

    def member() -> None:
        watch.begin()
        for _ in range(each):
            sleep(0)
        watch.end()

    for _ in range(ring):
        spawn_raw(member)
    join()
    return microseconds(watch.seconds, ring * (each - 1))


def ours(ring: int, each: int) -> float:
    """`spawn_raw` and `sleep(0)`."""
    from greenlet_hub import get_hub, sleep, spawn_raw

    return _raw(ring, each, spawn_raw, sleep, get_hub().join)


def gevent_(ring: int, each: int) -> float:
    """`spawn_raw` and `sleep(0)`."""
    from gevent import get_hub, sleep, spawn_raw

    return _raw(ring, each, spawn_raw, sleep, get_hub().join)


def eventlet_(ring: int, each: int) -> float:
    """`spawn` and `sleep(0)`."""
    from eventlet import sleep, spawn

    watch = Stopwatch(ring)

    def member() -> None:
        watch.begin()
        for _ in range(each):
            sleep(0)
        watch.end()

    for member_thread in [spawn(member) for _ in range(ring)]:
        member_thread.wait()
    return microseconds(watch.seconds, ring * (each - 1))


async def asyncio_(ring: int, each: int) -> float:
    """Tasks and `asyncio.sleep(0)`."""
    from asyncio import gather, sleep

    watch = Stopwatch(ring)

    async def member() -> None:
        watch.begin()
        for _ in range(each):
            await sleep(0)
        watch.end()

    await gather(*(member() for _ in range(ring)))
    return microseconds(watch.seconds, ring * (each - 1))


async def trio_(ring: int, each: int) -> float:
    """Tasks and `trio.sleep(0)`."""
    from trio import open_nursery, sleep

    watch = Stopwatch(ring)

    async def member() -> None:
        watch.begin()
        for _ in range(each):
            await sleep(0)
        watch.end()

    async with open_nursery() as nursery:
        for _ in range(ring):
            nursery.start_soon(member)
    return microseconds(watch.seconds, ring * (each - 1))


CONTENDERS = {
    "ours": ours,
    "gevent": gevent_,
    "eventlet": eventlet_,
    "asyncio": on_asyncio(asyncio_),
    "uvloop": on_uvloop(asyncio_),
    "trio": on_trio(trio_),
}
