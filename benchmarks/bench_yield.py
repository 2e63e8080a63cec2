"""Yield: `sleep(0)` in a ring of greenlets (tasks) that do nothing else.

Timed: one `sleep(0)`, which lets every other member run once, so a turn of the ring costs `ring` times this figure.
Unit: us per yield.  Not included: making the members, starting them, their ends.
"""

from __future__ import annotations

from harness import Case, Row, Stopwatch, microseconds, on_asyncio, on_trio, on_uvloop


def ours(ring: int, each: int) -> float:
    """`spawn_raw` and `sleep(0)`."""
    from greenlet_hub import get_hub, sleep, spawn_raw

    watch = Stopwatch(ring)

    def member() -> None:
        watch.begin()
        for _ in range(each):
            sleep(0)
        watch.end()

    for _ in range(ring):
        spawn_raw(member)
    get_hub().join()
    return microseconds(watch.seconds, ring * each)


def gevent_(ring: int, each: int) -> float:
    """The same calls, of gevent."""
    from gevent import get_hub, sleep, spawn_raw

    watch = Stopwatch(ring)

    def member() -> None:
        watch.begin()
        for _ in range(each):
            sleep(0)
        watch.end()

    for _ in range(ring):
        spawn_raw(member)
    get_hub().join()
    return microseconds(watch.seconds, ring * each)


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
    return microseconds(watch.seconds, ring * each)


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
    return microseconds(watch.seconds, ring * each)


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
    return microseconds(watch.seconds, ring * each)


CONTENDERS = {
    "ours": ours,
    "gevent": gevent_,
    "eventlet": eventlet_,
    "asyncio": on_asyncio(asyncio_),
    "uvloop": on_uvloop(asyncio_),
    "trio": on_trio(trio_),
}
GOALS = {"gevent": 2.0, "asyncio": 1.0, "uvloop": 1.0}


def _case(ring: int, yields: int) -> Case:
    row = Row(f"yield, `sleep(0)` in a ring of {ring:,}", "us", goals=GOALS)
    return Case((row,), CONTENDERS, {"ring": ring, "each": yields // ring}, {"each": yields // 16 // ring})


CASES = [_case(2, 240_000), _case(100, 240_000), _case(1_000, 240_000), _case(10_000, 480_000)]
