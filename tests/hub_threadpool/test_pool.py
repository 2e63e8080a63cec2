"""The pool by itself: places, threads, and the end of a job.  With greenlets: tests/journeys/test_threadpool.py."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from typing import Any, cast

import pytest
from tests.hub_threadpool.conftest import in_thread, join_workers, wait_until
from tests.hub_threadpool.fakes import FakeHub

from hub_api import IHub, InvalidThreadUseError
from hub_threadpool import ThreadPool


class Killed(BaseException):
    """Stands for greenlet.GreenletExit."""


# -- results --------------------------------------------------------------------------------------------------------


def test_apply_returns_what_the_function_returned(pool: ThreadPool) -> None:
    assert pool.apply(divmod, (17, 5)) == (3, 2)
    assert pool.apply(int, ("ff",), {"base": 16}) == 255
    assert pool.apply(list) == []


def test_the_function_runs_in_a_named_daemon_thread(pool: ThreadPool) -> None:
    thread = pool.apply(threading.current_thread)
    assert thread is not threading.current_thread()
    assert thread.daemon
    assert thread.name == "fake-worker-1"


@pytest.mark.parametrize("kind", [ValueError, SystemExit, KeyboardInterrupt, GeneratorExit, StopIteration])
def test_any_exception_of_the_function_is_raised_by_get_and_the_worker_lives_on(
    pool: ThreadPool, kind: type[BaseException]
) -> None:
    def fail() -> None:
        raise kind("from the worker")

    job = pool.spawn(fail)
    with pytest.raises(kind, match="from the worker") as caught:
        job.get()
    assert caught.traceback[-1].name == "fail"  # the traceback leads to the line that raised
    assert repr(job).endswith(f"raised {kind('from the worker')!r}>")
    assert pool.apply(int) == 0
    assert pool.size <= 2


def test_a_result_can_be_had_again_and_again(pool: ThreadPool) -> None:
    job = pool.spawn(int, "7")
    assert [job.get(), job.get()] == [7, 7]
    assert job.ready()


def test_a_job_tells_its_state(pool: ThreadPool) -> None:
    gate = threading.Event()
    job = pool.spawn(gate.wait)
    assert not job.ready()
    assert repr(job).endswith("in a worker>")
    gate.set()
    job.get()
    assert repr(job).endswith("done>")


def test_several_may_wait_for_one_job(pool: ThreadPool, hub: FakeHub) -> None:
    gate = threading.Event()
    job = pool.spawn(gate.wait)
    seen: list[bool] = []

    def wait_too() -> None:
        gate.set()
        seen.append(job.get())

    hub.loop.run_callback_threadsafe(wait_too)
    assert job.get() is True
    assert seen == [True]


def test_a_worker_keeps_nothing_of_a_job_that_has_ended(pool: ThreadPool) -> None:
    class Big:
        pass

    argument, made = Big(), [Big()]
    seen = weakref.ref(argument), weakref.ref(made[0])

    def work(given: Big) -> Big:
        return made.pop()

    pool.spawn(work, argument).get()
    del argument
    deadline = time.monotonic() + 10
    while any(ref() is not None for ref in seen) and time.monotonic() < deadline:
        gc.collect()
    assert [ref() for ref in seen] == [None, None]


# -- threads and places ---------------------------------------------------------------------------------------------


def test_no_thread_exists_before_the_first_job(pool: ThreadPool) -> None:
    assert pool.size == 0
    pool.apply(int)
    assert pool.size == 1


def test_there_is_a_thread_for_each_job_under_way_and_no_more(pool: ThreadPool) -> None:
    for _ in range(5):
        pool.apply(int)
    assert pool.size == 1
    together = threading.Barrier(2)
    for job in [pool.spawn(together.wait, 10) for _ in range(2)]:
        job.get()
    assert pool.size == 2


def test_len_counts_the_jobs_that_have_not_ended_and_an_idle_pool_is_true(pool: ThreadPool) -> None:
    gate = threading.Event()
    assert (len(pool), bool(pool)) == (0, True)
    jobs = [pool.spawn(gate.wait) for _ in range(2)]
    assert len(pool) == 2
    gate.set()
    for job in jobs:
        job.get()
    assert len(pool) == 0


def test_spawn_waits_for_a_place_when_all_are_taken(pool: ThreadPool, hub: FakeHub) -> None:
    gate = threading.Event()
    first = [pool.spawn(gate.wait) for _ in range(2)]
    hub.loop.run_callback_threadsafe(gate.set)  # runs only if spawn waits
    third = pool.spawn(int, "3")
    assert any(job.ready() for job in first)
    assert third.get() == 3
    assert pool.size == 2


def test_who_is_killed_while_it_waits_for_a_place_takes_none(pool: ThreadPool, hub: FakeHub) -> None:
    gate = threading.Event()
    for _ in range(2):
        pool.spawn(gate.wait)
    hub.kill_who_waits = Killed()
    with pytest.raises(Killed):
        pool.spawn(int)
    gate.set()
    pool.join()
    assert pool.apply(int) == 0


def test_a_job_that_has_started_when_who_spawns_it_is_killed_runs_and_gives_its_place_back(
    pool: ThreadPool, hub: FakeHub
) -> None:
    gate, ran = threading.Event(), list[int]()
    jobs = [pool.spawn(gate.wait) for _ in range(2)]

    def kill_when_it_runs() -> None:
        gate.set()
        wait_until(lambda: ran == [1])
        hub.kill_who_waits = Killed()

    hub.loop.run_callback(kill_when_it_runs)
    with pytest.raises(Killed):
        pool.spawn(ran.append, 1)
    pool.join()
    assert all(job.ready() for job in jobs)
    assert len(pool) == 0


def test_a_killed_waiter_is_free_at_once_and_the_outcome_is_dropped(pool: ThreadPool, hub: FakeHub) -> None:
    gate = threading.Event()
    job = pool.spawn(gate.wait)
    hub.kill_who_waits = Killed()
    with pytest.raises(Killed):
        job.get()
    assert len(pool) == 1  # the place stays taken: the thread is busy
    gate.set()
    pool.join()
    assert job.ready()


def test_the_loop_is_kept_running_while_a_job_is_under_way(pool: ThreadPool, hub: FakeHub) -> None:
    gate = threading.Event()
    job = pool.spawn(gate.wait)
    assert hub.loop.refs == 1
    gate.set()
    job.get()
    assert hub.loop.refs == 0


def test_a_refused_thread_leaves_the_place_free(
    pool: ThreadPool, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="new thread"):
            pool.spawn(int)
    assert (len(pool), hub.loop.refs) == (0, 0)
    assert pool.apply(int) == 0


# -- the end --------------------------------------------------------------------------------------------------------


def test_join_waits_for_every_job(pool: ThreadPool) -> None:
    done: list[int] = []
    for number in range(6):
        pool.spawn(done.append, number)
    pool.join()
    assert sorted(done) == list(range(6))
    pool.join()  # nothing left: returns at once


def test_a_killed_pool_lets_running_jobs_end_and_takes_no_more(pool: ThreadPool) -> None:
    gate = threading.Event()
    job = pool.spawn(gate.wait)
    pool.kill()
    pool.kill()
    with pytest.raises(RuntimeError, match="killed and takes no more jobs"):
        pool.spawn(int)
    assert " killed " in repr(pool)
    gate.set()
    assert job.get() is True


def test_kill_frees_who_waits_for_a_place(pool: ThreadPool, hub: FakeHub) -> None:
    gate = threading.Event()
    for _ in range(2):
        pool.spawn(gate.wait)
    hub.loop.run_callback_threadsafe(pool.kill)
    with pytest.raises(RuntimeError, match="killed and takes no more jobs"):
        pool.spawn(int)
    gate.set()
    pool.join()


def test_a_pool_that_is_dropped_ends_its_threads(hub: FakeHub) -> None:
    pool = ThreadPool(1, hub=cast(IHub, hub))
    thread = pool.apply(threading.current_thread)
    del pool
    gc.collect()
    thread.join(10)
    assert not thread.is_alive()


def test_a_job_that_ends_after_its_loop_is_destroyed_disturbs_nobody(hub: FakeHub) -> None:
    gate = threading.Event()
    pool = ThreadPool(1, hub=cast(IHub, hub))
    pool.spawn(gate.wait)
    pool.kill()
    hub.loop.destroyed = True
    gate.set()
    join_workers()  # an exception in the worker would be a warning, and here warnings are errors


# -- wrong use ------------------------------------------------------------------------------------------------------


def test_another_thread_is_refused_and_told_whose_the_pool_is(pool: ThreadPool, hub: FakeHub) -> None:
    job = pool.spawn(int)
    for use in (lambda: pool.spawn(int), lambda: pool.apply(int), pool.join, pool.kill, job.get):
        error = in_thread(use)
        assert isinstance(error, InvalidThreadUseError)
        assert repr(hub) in str(error)


def test_a_job_applies_on_its_own_pool_where_it_is_and_spawns_nothing(pool: ThreadPool) -> None:
    pool.maxsize = 1  # so whoever waited for a place here would wait for ever
    here, there = pool.apply(lambda: (threading.get_ident(), pool.apply(threading.get_ident)))
    assert here == there
    assert pool.apply(pool.apply, (int, ("ff",), {"base": 16})) == 255
    with pytest.raises(InvalidThreadUseError, match="not from a job"):
        pool.apply(pool.spawn, (int,))


@pytest.mark.parametrize(
    ("maxsize", "error"), [(0, ValueError), (-1, ValueError), (True, TypeError), (2.0, TypeError), ("2", TypeError)]
)
def test_a_maxsize_that_is_no_number_of_threads_is_refused(hub: FakeHub, maxsize: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="maxsize must be"):
        ThreadPool(maxsize, hub=cast(IHub, hub))


def test_what_cannot_be_called_is_refused_at_the_call(pool: ThreadPool) -> None:
    with pytest.raises(TypeError, match="must be callable"):
        pool.spawn(cast(Any, 7))
    assert len(pool) == 0


def test_a_job_may_name_a_lane_that_is_not_yet_made(pool: ThreadPool) -> None:
    ident, here = pool.apply(lambda: (pool.apply(threading.get_ident, lane="new"), threading.get_ident()))
    assert ident == here
    assert pool.lanes == {}
