"""A KeyboardInterrupt at each single moment of the pool's code, in the hub's thread: nobody is lost, and no place.

CPython looks for signals as a Python function is entered and behind a call of one in C.  Both are provoked one by one.
What lies between: an interrupt that comes by other seams (a deque, a lock) is in test_properties.
"""

from __future__ import annotations

import select
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
from tests import interrupts
from tests.hub_threadpool.conftest import join_workers, wait_until
from tests.hub_threadpool.fakes import FakeHub

import hub_threadpool
from hub_api import IHub, JobCancelledError, PoolKilledError, WorkerLostError
from hub_threadpool import (
    Job,
    ThreadPool,
    _entry,
    _exit,
    _job,
    _lanes,
    _ledger,
    _mapping,
    _outbox,
    _pool,
    _results,
    _worker,
)

if TYPE_CHECKING:
    from types import FrameType

_SOURCES = tuple(
    str(Path(hub_threadpool.__file__ or "").parent / module.__name__.rpartition(".")[2]) + ".py"
    for module in (_entry, _exit, _job, _lanes, _ledger, _mapping, _outbox, _pool, _results, _worker)
)


def interrupt_at(moment: int, func: Callable[[], object]) -> bool:
    """Call `func`, and have a KeyboardInterrupt arise at a moment of the pool's code; False if it has fewer."""
    return interrupts.interrupt_at(moment, func, _is_moment)


def _is_moment(frame: FrameType, event: str, arg: Any) -> bool:
    return (
        event in ("call", "c_return")
        and arg is not select.epoll
        and frame.f_code.co_filename.startswith(_SOURCES)
        and not interrupts.is_a_finalizers(frame)
    )


def applies(pool: ThreadPool) -> None:
    pool.apply(abs, (-1,))


def submits(pool: ThreadPool) -> None:
    for job in [pool.submit(abs, -1), pool.submit(abs, -2)]:
        job.get()


def cancels(pool: ThreadPool) -> None:
    gate = threading.Event()
    try:
        pool.submit(gate.wait, 10)
        for job in [pool.submit(abs, number) for number in range(3)]:
            job.cancel()
    finally:
        gate.set()


def clears_corpses(pool: ThreadPool) -> None:
    gate = threading.Event()
    pool._corpses = 64
    try:
        pool.submit(gate.wait, 10)
        jobs = [pool.submit(abs, number) for number in range(3)]
        jobs[1].cancel()
        gate.set()
        jobs[0].get()
    finally:
        gate.set()


def resizes(pool: ThreadPool) -> None:
    gate = threading.Event()
    try:
        for _ in range(2):
            pool.submit(gate.wait, 10)
        pool.maxsize = 2
        gate.set()
        pool.join()
        pool.maxsize = 1
    finally:
        gate.set()


def links(pool: ThreadPool) -> None:
    job = pool.submit(abs, -1)
    job.get()
    job.rawlink(lambda job: None)
    pool.join()


def maps(pool: ThreadPool) -> None:
    pool.map(abs, range(2))


def takes_in_order(pool: ThreadPool) -> None:
    list(pool.imap(abs, range(2), maxsize=2))


def takes(pool: ThreadPool) -> None:
    list(pool.imap_unordered(abs, range(2), maxsize=2))


WAYS = [applies, submits, cancels, clears_corpses, resizes, links, maps, takes_in_order, takes]


@pytest.mark.parametrize("way", WAYS)
def test_an_interrupt_at_any_moment_loses_no_job_and_no_place(way: Callable[[ThreadPool], None]) -> None:
    moment, interrupted = 0, True
    while interrupted:
        moment += 1
        hub = FakeHub()
        pool = ThreadPool(1, hub=cast(IHub, hub), idle_task_timeout=0.5)
        interrupted = interrupt_at(moment, lambda: way(pool))  # noqa: B023  # it is called at once
        pool.maxsize = 1
        hub.loop.run_pending()
        finish(pool, hub, moment)
        assert pool.submit(abs, -7).get() == 7, moment
        wait_until(lambda: pool.size == 1)  # noqa: B023  # as above
        assert not pool._withdrawn, moment
        pool.kill()
        assert (len(pool), hub.loop.refs) == (0, 0), moment
        assert hub.errors == [], moment
    assert moment > 20
    join_workers()


def finish(pool: ThreadPool, hub: FakeHub, moment: int) -> None:
    """Let the jobs end; fail if one never does."""
    deadline = time.monotonic() + 10
    while len(pool):
        assert time.monotonic() < deadline, (moment, list(pool._jobs))
        time.sleep(0.0002)
        hub.loop.run_pending()


def test_an_interrupt_at_any_moment_of_a_wait_for_a_map_leaves_nobody_waiting_for_it(
    pool: ThreadPool, hub: FakeHub
) -> None:
    moment, interrupted = 0, True
    while interrupted:
        moment += 1
        told: list[object] = []
        job = pool.map_async(abs, range(2))
        job.rawlink(told.append)
        interrupted = interrupt_at(moment, job.get)
        while not job.ready():
            hub.loop.run_one()
        if job.successful():
            assert job.get() == [0, 1], moment
        else:  # it came as the map looked for workers
            with pytest.raises(WorkerLostError) as lost:
                job.get()
            assert isinstance(lost.value.__cause__, KeyboardInterrupt), moment
        pool.join()
        hub.loop.run_pending()
        assert told == [job], moment
    assert moment > 20


@pytest.mark.parametrize("how", ["imap", "imap_unordered"])
def test_an_interrupt_at_any_moment_of_next_loses_no_result_but_the_one_that_it_takes(
    pool: ThreadPool, how: str
) -> None:
    moment, interrupted = 0, True
    while interrupted:
        moment += 1
        results = getattr(pool, how)(abs, range(4), maxsize=2)
        found: list[int] = []
        interrupted = interrupt_at(moment, lambda: found.append(next(results)))  # noqa: B023  # it is called at once
        found += results
        assert set(found) <= set(range(4)), moment
        assert len(found) >= 3, (moment, found)  # as it was handed over, or its argument as it was read
        assert len(set(found)) == len(found), (moment, found)
    assert moment > 20


def test_an_interrupt_at_any_moment_of_telling_of_a_result_leaves_no_taker_asleep(
    pool: ThreadPool, hub: FakeHub
) -> None:
    first, second = pool.submit(abs, -1), pool.submit(abs, -2)
    moment, interrupted = 0, True
    while interrupted:
        moment += 1
        shelf = _results._Shelf(wanted := {first: None, second: None})
        takers = [hub.waiter(), hub.waiter()]
        shelf.waiters.extend(cast(Any, takers))
        interrupted = interrupt_at(moment, lambda: shelf.put(first))  # noqa: B023  # it is called at once
        if interrupted:  # as the job does, which calls such a link again
            shelf.put(first)
        assert takers[0].switched, moment
        shelf.put(second)
        assert (takers[1].switched, list(shelf.jobs), list(wanted)) == (True, [first, second], [first, second]), moment
        assert not shelf.waiters, moment
    assert moment > 2
    pool.join()


def test_an_interrupt_at_any_moment_of_taking_the_last_result_leaves_no_other_taker_asleep(
    pool: ThreadPool, hub: FakeHub
) -> None:
    moment, interrupted = 0, True
    while interrupted:
        moment += 1
        results = pool.imap_unordered(abs, [-1], maxsize=1)
        results._read_on()
        pool.join()
        hub.loop.run_pending()
        other = hub.waiter()
        results._shelf.waiters.append(cast(Any, other))
        interrupted = interrupt_at(moment, lambda: next(results))  # noqa: B023  # it is called at once
        assert other.switched or results._shelf.jobs, moment
    assert moment > 10


def test_a_job_whose_cancelling_is_interrupted_is_cancelled_or_runs(pool: ThreadPool, hub: FakeHub) -> None:
    moment, interrupted = 0, True
    ends: set[str] = set()
    pool.maxsize = 1
    while interrupted:
        moment += 1
        gate = threading.Event()
        pool.submit(gate.wait, 10)
        job = pool.submit(abs, -3)
        interrupted = interrupt_at(moment, job.cancel)
        gate.set()
        try:
            assert job.get() == 3
            ends.add("ran")
        except JobCancelledError:
            ends.add("cancelled")
    assert ends == {"ran", "cancelled"}


def test_a_kill_that_is_interrupted_and_repeated_leaves_no_job_without_an_end() -> None:
    moment, interrupted = 0, True
    while interrupted:
        moment += 1
        hub = FakeHub()
        pool = ThreadPool(1, hub=cast(IHub, hub))
        gate = threading.Event()
        pool.submit(gate.wait, 10)
        jobs = [pool.submit(abs, number) for number in range(2)]
        interrupted = interrupt_at(moment, pool.kill)
        pool.kill()
        gate.set()
        finish(pool, hub, moment)
        for job in jobs:
            assert isinstance(job.exception, PoolKilledError) or job.successful(), (moment, job)
        assert hub.loop.refs == 0, moment
    assert moment > 5
    join_workers()


def test_the_end_of_the_process_that_is_interrupted_leaves_no_job_without_an_end() -> None:
    moment, interrupted = 0, True
    while interrupted:
        moment += 1
        hub = FakeHub()
        pool = ThreadPool(1, hub=cast(IHub, hub))
        gate = threading.Event()
        running, *waiting = [pool.submit(gate.wait, 10), *(pool.submit(abs, number) for number in range(2))]
        interrupted = interrupt_at(moment, pool._crew.retire)
        gate.set()
        finish(pool, hub, moment)
        assert running.successful()
        for job in waiting:
            ends = (PoolKilledError, WorkerLostError) if interrupted else PoolKilledError
            assert isinstance(job.exception, ends) or (interrupted and job.successful()), (moment, job)
        pool.kill()
        assert hub.loop.refs == 0, moment
    assert moment > 5
    join_workers()


def test_a_link_that_is_interrupted_as_it_is_entered_is_called_again(pool: ThreadPool, hub: FakeHub) -> None:
    told: list[str] = []

    def first(job: Job[int]) -> None:
        told.append("first")

    job = pool.submit(abs, -1)
    job.rawlink(first)
    job.rawlink(lambda job: told.append("second"))
    wait_until(lambda: job._finished_at)

    def profile(frame: FrameType, event: str, arg: Any) -> None:
        if event == "call" and frame.f_code is first.__code__:
            sys.setprofile(None)
            raise KeyboardInterrupt

    sys.setprofile(profile)
    try:
        with pytest.raises(KeyboardInterrupt):
            hub.loop.run_pending()
    finally:
        sys.setprofile(None)
    hub.loop.run_pending()
    assert told == ["first", "second"]
    assert hub.errors == []


def test_a_link_that_raises_keyboardinterrupt_itself_is_called_once(pool: ThreadPool, hub: FakeHub) -> None:
    told: list[object] = []

    def link(job: Job[int]) -> None:
        told.append(job)
        raise KeyboardInterrupt

    job = pool.submit(abs, -1)
    job.rawlink(link)
    job.get()
    hub.loop.run_pending()
    assert told == [job]
    assert [type(error) for _, error in hub.errors] == [KeyboardInterrupt]


def test_a_job_that_a_signal_handler_starts_as_the_loop_is_let_go_of_holds_it(pool: ThreadPool, hub: FakeHub) -> None:
    gate = threading.Event()
    started: list[Job[bool]] = []
    unref = hub.loop.unref

    def interfere() -> None:
        if not started:
            pool._ledger.holding = True  # as the handler finds it if it comes one step earlier
            started.append(pool.submit(gate.wait, 10))
            pool._ledger.holding = False
        unref()

    hub.loop.unref = interfere  # type: ignore[method-assign]  # a signal comes just then
    pool.apply(abs, (-1,))
    assert started
    assert hub.loop.refs == 1
    gate.set()
    assert started[0].get()


def test_a_signal_handler_that_parks_while_a_job_is_taken_swallows_no_news(
    pool: ThreadPool, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_outbox, "FOR_SECONDS", 60.0)
    outbox = pool._ledger.outbox
    hub.current = False  # we are a greenlet, and not the loop
    job = pool.submit(abs, -1)
    wait_until(lambda: job._finished_at and outbox.news)
    others: list[Job[int]] = []

    def park(_: Job[int]) -> None:
        outbox.news.popleft()  # the loop has delivered it
        others.append(pool.submit(abs, -2))
        wait_until(lambda: others[0]._finished_at and outbox.news)

    job.rawlink(park)
    assert job.take()
    hub.current = True
    assert others[0].get() == 2
