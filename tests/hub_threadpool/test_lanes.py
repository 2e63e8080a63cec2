"""Lanes: places of their own, sizes that change, and counters."""

from __future__ import annotations

import threading
from typing import Any, cast

import pytest
from tests.hub_threadpool.conftest import in_thread, join_workers, wait_until
from tests.hub_threadpool.fakes import FakeHub

from hub_api import IHub, InvalidThreadUseError, PoolFullError, PoolKilledError
from hub_threadpool import ThreadPool

# -- lanes ----------------------------------------------------------------------------------------------------------


def test_busy_jobs_of_the_pool_do_not_delay_a_lane(pool: ThreadPool) -> None:
    gate = threading.Event()
    busy = [pool.submit(gate.wait) for _ in range(10)]
    assert pool.apply(int, ("7",), lane="dns") == 7
    assert pool.lane("dns").apply(int, ("8",)) == 8
    assert not any(job.ready() for job in busy)
    gate.set()


def test_a_lane_has_places_and_threads_of_its_own(pool: ThreadPool) -> None:
    gate = threading.Event()
    lane = pool.lane("dns", 1)
    assert pool.lane("dns") is lane
    assert (lane.maxsize, pool.lane("files").maxsize) == (1, pool.maxsize)
    first, second = lane.spawn(gate.wait), lane.submit(int, "2")
    assert pool.apply(int, ("1",)) == 1
    assert (lane.size, pool.size, len(lane), len(pool)) == (1, 2, 2, 2)
    assert pool.apply(lambda: threading.current_thread().name, lane="files") == "fake-files-worker-1"
    pool.lane("dns", 2)
    assert second.get() == 2  # a lane that grows starts what waits
    gate.set()
    assert first.get()
    assert set(pool.lanes) == {"dns", "files"}


def test_a_job_that_a_worker_takes_while_the_system_refuses_another_thread_is_submitted(
    pool: ThreadPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, calls = threading.Event(), list[str]()
    busy = pool.submit(gate.wait)

    def refuse(thread: threading.Thread) -> None:
        gate.set()
        wait_until(lambda: calls)
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    job = pool.submit(calls.append, "once")
    monkeypatch.undo()
    assert job.get() is None
    assert busy.get()
    assert calls == ["once"], "who was told that it cannot be had would submit it again"


def test_a_job_for_which_there_is_no_thread_waits_for_who_is_at_work(
    pool: ThreadPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As at the end of a process, where CPython 3.12.0 starts none, and the worker of the last job is not idle yet.
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    gate = threading.Event()
    busy = pool.submit(gate.wait)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        jobs = [pool.submit(abs, -number) for number in range(3)]
    gate.set()
    assert busy.get()
    assert [job.get() for job in jobs] == [0, 1, 2]


def test_join_of_a_lane_waits_for_its_own_jobs_and_the_pools_for_all(pool: ThreadPool) -> None:
    gate = threading.Event()
    elsewhere = pool.spawn(gate.wait)
    lane = pool.lane("dns")
    here = lane.spawn(int)
    assert lane.join() is True
    assert here.ready()
    assert not elsewhere.ready()
    assert pool.join(0.01) is False
    assert pool.join(0) is False
    gate.set()
    assert pool.join() is True
    assert elsewhere.ready()


def test_kill_ends_every_lane(pool: ThreadPool) -> None:
    gate = threading.Event()
    lane = pool.lane("dns", 1)
    running, waiting = lane.spawn(gate.wait), lane.submit(int)
    pool.kill()
    for use in (lambda: lane.spawn(int), lambda: pool.lane("dns"), lambda: pool.lane("new"), lambda: lane.submit(int)):
        with pytest.raises(PoolKilledError, match="killed and takes no more jobs"):
            use()
    with pytest.raises(PoolKilledError, match="never ran"):
        waiting.get()
    gate.set()
    assert running.get() is True


def test_a_lane_is_refused_to_other_threads(pool: ThreadPool, hub: FakeHub) -> None:
    lane = pool.lane("dns")
    for use in (lambda: pool.lane("dns"), lambda: lane.spawn(int), lane.join, lambda: setattr(lane, "maxsize", 3)):
        error = in_thread(use)
        assert isinstance(error, InvalidThreadUseError)
        assert repr(hub) in str(error)


def test_a_job_of_one_lane_applies_on_another_where_it_is(pool: ThreadPool) -> None:
    lane = pool.lane("dns", 1)
    assert lane.apply(pool.apply, (lane.apply, (int, ("7",)))) == 7


# -- sizes ----------------------------------------------------------------------------------------------------------


def test_a_pool_that_grows_starts_what_waits(pool: ThreadPool) -> None:
    together = threading.Barrier(6)
    jobs = [pool.submit(together.wait, 10) for _ in range(6)]
    pool.maxsize = 6  # else the barrier breaks
    assert sorted(job.get() for job in jobs) == list(range(6))
    assert (pool.maxsize, pool.size) == (6, 6)


def test_a_pool_that_shrinks_lets_threads_leave_and_disturbs_no_job(pool: ThreadPool) -> None:
    pool.maxsize = 6
    gate = threading.Event()
    jobs = [pool.spawn(gate.wait) for _ in range(6)]
    waiting = [pool.submit(int, str(number)) for number in range(20)]
    pool.maxsize = 2
    assert pool.size == 6
    gate.set()
    assert all(job.get() for job in jobs)
    assert [job.get() for job in waiting] == list(range(20))
    wait_until(lambda: pool.size == 2)


def test_idle_threads_that_are_too_many_leave_at_once(pool: ThreadPool) -> None:
    pool.maxsize = 5
    together = threading.Barrier(5)
    for job in [pool.spawn(together.wait, 10) for _ in range(5)]:
        job.get()
    wait_until(lambda: len(pool._crew.idle) == 5)
    pool.maxsize = 1
    wait_until(lambda: pool.size == 1)
    assert pool.apply(int) == 0


def test_growing_and_shrinking_in_turns_comes_to_the_last_size(pool: ThreadPool) -> None:
    jobs = []
    for step in range(60):
        pool.maxsize = 1 + step * 7 % 5
        jobs.append(pool.submit(int, str(step)))
    assert [job.get() for job in jobs] == list(range(60))
    pool.maxsize = 3
    together = threading.Barrier(3)
    for job in [pool.spawn(together.wait, 10) for _ in range(3)]:
        job.get()
    wait_until(lambda: pool.size == 3)


@pytest.mark.parametrize(("maxsize", "error"), [(0, ValueError), (True, TypeError), ("2", TypeError)])
def test_a_new_maxsize_that_is_none_is_refused_and_changes_nothing(
    pool: ThreadPool, maxsize: Any, error: type[Exception]
) -> None:
    with pytest.raises(error, match="maxsize must be"):
        pool.maxsize = maxsize
    with pytest.raises(error, match="maxsize must be"):
        pool.lane("dns", maxsize)
    assert (pool.maxsize, pool.lanes) == (2, {})


# -- full -----------------------------------------------------------------------------------------------------------


def test_spawn_nowait_refuses_where_spawn_would_wait(pool: ThreadPool) -> None:
    gate = threading.Event()
    jobs = [pool.spawn_nowait(gate.wait) for _ in range(2)]
    with pytest.raises(PoolFullError, match="wait with spawn"):
        pool.spawn_nowait(int)
    assert len(pool) == 2
    gate.set()
    assert all(job.get() for job in jobs)
    assert pool.spawn_nowait(int).get() == 0


def test_submit_never_waits(pool: ThreadPool) -> None:
    gate = threading.Event()
    jobs = [pool.submit(gate.wait) for _ in range(1000)]
    assert (len(pool), pool.size) == (1000, 2)
    gate.set()
    assert all(job.get() for job in jobs)


def test_a_system_without_threads_to_give_is_told_and_who_is_at_work_takes_what_waits(
    pool: ThreadPool, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()
    jobs = [pool.submit(gate.wait) for _ in range(2)] + [pool.submit(gate.wait) for _ in range(3)]

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        pool.maxsize = 4
    assert [(context, str(error)) for context, error in hub.errors] == [(pool, "can't start new thread")]
    gate.set()
    assert all(job.get() for job in jobs)


# -- with -----------------------------------------------------------------------------------------------------------


def test_a_with_block_waits_for_the_jobs_and_kills_the_pool(hub: FakeHub) -> None:
    with ThreadPool(2, hub=cast(IHub, hub)) as pool:
        jobs = [pool.submit(int, str(number)) for number in range(20)]
    assert [job.get() for job in jobs] == list(range(20))
    with pytest.raises(PoolKilledError):
        pool.spawn(int)
    join_workers()
    assert hub.loop.refs == 0


def test_an_exception_in_a_with_block_kills_the_pool_at_once(hub: FakeHub) -> None:
    gate = threading.Event()
    with pytest.raises(KeyError, match="out"), ThreadPool(1, hub=cast(IHub, hub)) as pool:
        running, waiting = pool.spawn(gate.wait), pool.submit(int)
        raise KeyError("out")
    assert isinstance(waiting.exception, PoolKilledError)
    gate.set()
    assert running.get() is True
    join_workers()


# -- counters -------------------------------------------------------------------------------------------------------


def test_counters_tell_how_long_jobs_waited_and_ran(pool: ThreadPool) -> None:
    gate = threading.Event()
    lane = pool.lane("dns", 1)
    first, second = lane.spawn(gate.wait), lane.submit(int)
    wait_until(lambda: not first._call)
    gate.wait(0.02)
    gate.set()
    second.get()
    counters = lane.counters
    assert counters.ended == 2
    assert 0.02 <= counters.wait_max <= counters.wait_sum
    assert 0.02 <= counters.run_max <= counters.run_sum
    assert pool.counters.ended == 0
    cancelled = lane.submit(int)
    if cancelled.cancel():
        assert lane.counters.ended == 2  # what never began is no wait and no run
    assert repr(counters).startswith("<LaneCounters ended=2 ")


def test_counters_and_sizes_can_be_read_from_any_thread(pool: ThreadPool) -> None:
    pool.apply(int)
    seen: list[Any] = []
    assert in_thread(lambda: seen.append((pool.counters.ended, len(pool), pool.size, bool(pool), repr(pool)))) is None
    assert seen[0][:4] == (1, 0, 1, True)
