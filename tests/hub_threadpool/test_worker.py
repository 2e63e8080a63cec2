"""The thread side: who is woken, who leaves, and what becomes of jobs whose worker dies."""

from __future__ import annotations

import ctypes
import gc
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextvars import copy_context
from typing import Any, cast

import pytest
from tests.hub_threadpool.conftest import join_workers, wait_until
from tests.hub_threadpool.fakes import FakeHub

from hub_api import IHub, WorkerLostError
from hub_threadpool import Job, ThreadPool, _bell, _worker


@pytest.fixture
def last(hub: FakeHub) -> Iterator[Callable[..., ThreadPool]]:
    """Makes the pool of a test, with its own idle timeout."""
    made: list[ThreadPool] = []

    def make(maxsize: int, idle_task_timeout: float | None) -> ThreadPool:
        made.append(ThreadPool(maxsize, hub=cast(IHub, hub), idle_task_timeout=idle_task_timeout))
        return made[0]

    yield make
    made[0].join()
    made[0].kill()
    join_workers()
    assert (len(made[0]), made[0].size, hub.loop.refs) == (0, 0, 0)


def die_in(pool: ThreadPool, thread_ident: int, error: type[BaseException]) -> None:
    """Raise `error` in a thread, as a debugger or a watchdog would."""
    assert ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread_ident), ctypes.py_object(error)) == 1


# -- idle -----------------------------------------------------------------------------------------------------------


def test_an_idle_thread_leaves_after_its_timeout_and_the_next_job_gets_a_new_one(
    last: Callable[..., ThreadPool],
) -> None:
    pool = last(3, 0.02)
    first = pool.apply(threading.current_thread)
    wait_until(lambda: pool.size == 0)
    first.join(10)
    assert not first.is_alive()
    assert pool.apply(threading.current_thread) is not first


def test_a_thread_that_may_stay_for_ever_stays(last: Callable[..., ThreadPool]) -> None:
    pool = last(1, None)
    first = pool.apply(threading.get_ident)
    assert pool.apply(threading.get_ident) == first
    assert pool._crew.idle_timeout is None


@pytest.mark.parametrize("timeout", [1e7, float("inf")])
def test_a_thread_stays_for_a_timeout_that_is_longer_than_any_wait_of_the_system(
    last: Callable[..., ThreadPool], monkeypatch: pytest.MonkeyPatch, timeout: float
) -> None:
    waits = list[float]()

    class Bell:
        def __init__(self) -> None:
            self._bell = _bell.make_bell()
            self.ring, self.heard, self.close = self._bell.ring, self._bell.heard, self._bell.close

        def wait(self, seconds: float) -> bool:
            if seconds == _worker.RECHECK:  # the hub has not taken what the job left
                return False
            waits.append(seconds)
            return len(waits) > 2 and self._bell.wait(seconds)  # two that nobody has ended, and a true one

    monkeypatch.setattr(_worker, "make_bell", Bell)
    pool = last(1, timeout)
    first = pool.apply(threading.get_ident)
    wait_until(lambda: len(waits) >= 3)
    assert pool.apply(threading.get_ident) == first
    assert max(waits) <= 3600


def test_with_a_timeout_of_nothing_each_job_has_a_thread_of_its_own(last: Callable[..., ThreadPool]) -> None:
    pool = last(1, 0)
    for number in range(50):
        assert pool.apply(int, (str(number),)) == number
        assert pool.size <= 1


def test_jobs_that_race_with_idle_timeouts_all_run_and_never_in_too_many_threads(
    last: Callable[..., ThreadPool],
) -> None:
    pool = last(2, 0.001)
    busy, most = list[int](), 0

    def work() -> int:
        busy.append(1)
        count = len(busy)
        busy.pop()
        return count

    for number in range(300):
        jobs = [pool.submit(work) for _ in range(number % 4)]
        time.sleep(0.001 if number % 3 else 0.0)
        most = max([most, pool.size, *(job.get() for job in jobs)])
    assert most <= 2


def test_the_thread_that_became_idle_last_is_used_first(pool: ThreadPool) -> None:
    together = threading.Barrier(2)
    for job in [pool.spawn(together.wait, 10) for _ in range(2)]:
        job.get()
    wait_until(lambda: len(pool._crew.idle) == 2)
    used = {pool.apply(threading.get_ident) for _ in range(20)}
    assert len(used) == 1  # so the other one can time out


@pytest.mark.parametrize("timeout", [-1, float("nan"), "soon"])
def test_a_timeout_that_is_no_time_is_refused(hub: FakeHub, timeout: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        ThreadPool(1, hub=cast(IHub, hub), idle_task_timeout=timeout)


# -- death ----------------------------------------------------------------------------------------------------------


class Treacherous(deque[Any]):
    """A deque whose next call of one method raises, in a worker."""

    def __init__(self, method: str, error: BaseException) -> None:
        super().__init__()
        self.armed = {method: error}

    def _fail(self, method: str) -> None:
        if method in self.armed and "-worker-" in threading.current_thread().name:
            raise self.armed.pop(method)

    def popleft(self) -> Any:
        found = super().popleft()
        self._fail("popleft")
        return found

    def append(self, item: Any) -> None:
        self._fail("append")
        super().append(item)


@pytest.fixture
def deaths(monkeypatch: pytest.MonkeyPatch) -> list[type[BaseException]]:
    """What `threading.excepthook` was told."""
    told: list[type[BaseException]] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: told.append(args.exc_type))
    return told


def test_a_worker_that_dies_with_a_job_in_hand_that_has_not_begun_gives_it_to_another(
    deaths: list[type[BaseException]], pool: ThreadPool
) -> None:
    pool._crew.queue = Treacherous("popleft", SystemExit())
    jobs = [pool.submit(int, str(number)) for number in range(5)]
    assert [job.get() for job in jobs] == list(range(5))
    wait_until(lambda: deaths == [SystemExit])


def test_a_job_whose_worker_dies_before_it_has_an_outcome_is_lost_and_says_why(
    pool: ThreadPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, died = Job.run, SystemExit("killed")

    def die(job: Job[Any], call: Any) -> None:
        if call[1] == ("die",):
            raise died
        run(job, call)

    monkeypatch.setattr(Job, "run", die)
    jobs = [pool.submit(str, "live"), pool.submit(str, "die"), pool.submit(str, "live")]
    with pytest.raises(WorkerLostError, match="whether the call had an effect is not known") as caught:
        jobs[1].get()
    assert caught.value.__cause__ is died
    assert [jobs[0].get(), jobs[2].get()] == ["live", "live"]
    assert repr(jobs[1]).endswith("str lost>")


@pytest.mark.parametrize("error", [SystemExit, MemoryError])
def test_an_outcome_that_a_dying_worker_could_not_report_is_not_lost(
    pool: ThreadPool, error: type[BaseException]
) -> None:
    pool._ledger.outbox.news = Treacherous("append", error())
    jobs = [pool.submit(int, str(number)) for number in range(5)]
    assert [job.get() for job in jobs] == list(range(5))


def test_a_wake_up_that_fails_for_lack_of_memory_is_tried_again(pool: ThreadPool, hub: FakeHub) -> None:
    hub.loop.refuse_posts = [MemoryError(), MemoryError(), MemoryError()]
    assert pool.apply(int, ("7",)) == 7
    assert hub.loop.refuse_posts == []


def test_an_exception_from_outside_is_the_jobs_that_runs(pool: ThreadPool) -> None:
    begun, gate = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        while not gate.wait(0.001):
            pass

    job = pool.spawn(work)
    assert begun.wait(10)
    (worker,) = pool._crew.workers
    assert worker.thread.ident is not None
    die_in(pool, worker.thread.ident, SystemExit)
    with pytest.raises(SystemExit):
        job.get()
    assert pool.apply(threading.get_ident) == worker.thread.ident


def test_an_exception_from_outside_in_an_idle_worker_costs_no_job(
    deaths: list[type[BaseException]], pool: ThreadPool, hub: FakeHub
) -> None:
    for number in range(20):
        ident = pool.apply(threading.get_ident)
        die_in(pool, ident, SystemExit)  # it is raised once the worker is woken
        assert pool.apply(int, (str(number),)) == number
        hub.loop.run_pending()
    assert pool.size <= 2


def test_a_lost_call_is_made_up_for_when_all_workers_have_left(pool: ThreadPool, hub: FakeHub) -> None:
    job = pool.submit(int, "7")
    wait_until(lambda: job._finished_at)
    pool.kill()
    wait_until(lambda: pool.size == 0)
    hub.loop.lose_calls = 1
    assert job.get() == 7


def test_a_worker_that_leaves_gives_up_on_a_loop_that_runs_no_more(
    pool: ThreadPool, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_worker, "LINGER", (0.001, 0.001))
    pool.submit(int, "7")
    pool.kill()
    join_workers()


def test_a_worker_that_dies_as_it_begins_leaves_its_place_and_its_job_to_another(
    deaths: list[type[BaseException]], pool: ThreadPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    enter = _worker.Worker.enter

    def die(worker: _worker.Worker) -> bool:
        monkeypatch.setattr(_worker.Worker, "enter", enter)
        enter(worker)
        raise SystemExit

    monkeypatch.setattr(_worker.Worker, "enter", die)
    pool.maxsize = 1
    assert pool.apply(abs, (-1,)) == 1
    assert deaths == [SystemExit]
    assert pool.size == 1


def test_a_worker_that_dies_twice_has_left_all_the_same(
    deaths: list[type[BaseException]], pool: ThreadPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, leave = Job.run, _worker.Worker._leave

    def die(job: Job[Any], call: Any) -> None:
        monkeypatch.setattr(Job, "run", run)
        raise SystemExit

    def die_again(worker: _worker.Worker) -> None:
        monkeypatch.setattr(_worker.Worker, "_leave", leave)
        raise SystemExit

    monkeypatch.setattr(Job, "run", die)
    monkeypatch.setattr(_worker.Worker, "_leave", die_again)
    pool.maxsize = 1
    with pytest.raises(WorkerLostError):
        pool.apply(abs, (-1,))
    assert pool.apply(abs, (-2,)) == 2


def test_a_worker_that_is_killed_before_its_first_line_is_an_error_of_who_needed_it(
    deaths: list[type[BaseException]], pool: ThreadPool, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(worker: _worker.Worker) -> None:
        raise SystemError

    pool.maxsize = 1
    with monkeypatch.context() as patched:
        patched.setattr(_worker.Worker, "_live", die)
        with pytest.raises(RuntimeError, match=r"ended before it began: .* or an exception was thrown into it"):
            pool.apply(abs, (-1,))
        assert (len(pool), pool.size, hub.loop.refs, deaths) == (0, 0, 0, [SystemError])
    assert pool.apply(abs, (-2,)) == 2


def test_a_worker_whose_thread_has_ended_without_a_word_is_missed(
    pool: ThreadPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool.maxsize = 1
    monkeypatch.setattr(_worker.Worker, "_work", lambda worker: None)  # it ends, and has not left the crew
    pool.submit(abs, -1)
    (worker,) = pool._crew.workers
    worker.thread.join(10)
    monkeypatch.undo()
    assert pool.apply(abs, (-2,)) == 2
    assert worker not in pool._crew.workers


def test_a_worker_that_leaves_just_as_work_comes_has_the_hub_find_another(
    last: Callable[..., ThreadPool], monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = last(1, 0.0)
    crew = pool._crew
    leave, jobs = _worker.Worker._leave, list[Job[int]]()

    def leave_late(worker: _worker.Worker) -> None:
        if not jobs:  # the hub has counted on us
            job = Job(pool, abs, (-5,), {}, copy_context(), None)
            pool._jobs[job] = None
            crew.queue.append(job)
            jobs.append(job)
        leave(worker)

    monkeypatch.setattr(_worker.Worker, "_leave", leave_late)
    assert pool.apply(abs, (-1,)) == 1
    wait_until(lambda: jobs)
    assert jobs[0].get() == 5


def test_a_job_left_to_a_worker_that_is_just_leaving_is_lost_and_says_so_if_there_is_no_other_thread(
    last: Callable[..., ThreadPool], monkeypatch: pytest.MonkeyPatch, hub: FakeHub
) -> None:
    pool = last(2, 0.0)
    leave, leaving, submitted = _worker.Worker._leave, threading.Event(), threading.Event()

    def leave_late(worker: _worker.Worker) -> None:
        leaving.set()
        submitted.wait(30)
        leave(worker)

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(_worker.Worker, "_leave", leave_late)
    assert pool.apply(abs, (-1,)) == 1
    leaving.wait(30)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    job = pool.submit(abs, -5)  # somebody is there, so it is taken
    submitted.set()
    with pytest.raises(WorkerLostError, match="there is no worker for") as lost:
        job.get()
    assert str(lost.value.__cause__) == "can't start new thread"
    assert [str(error) for _, error in hub.errors] == ["can't start new thread"]
    hub.errors.clear()


def test_workers_that_are_too_many_leave_one_at_a_time_and_none_too_many(pool: ThreadPool) -> None:
    for _ in range(20):
        pool.maxsize = 6
        together = threading.Barrier(6)
        for job in [pool.submit(together.wait, 10) for _ in range(6)]:
            job.get()
        assert pool.size == 6
        pool.maxsize = 2
        wait_until(lambda: pool.size <= 2)
        assert pool.size == 2
        assert not pool._crew.door


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="counts fds in /proc")
def test_an_exception_that_is_kept_keeps_no_fds_of_the_worker_that_has_left(last: Callable[..., ThreadPool]) -> None:
    pool = last(2, 0.0)
    pool.apply(abs, (-1,))
    wait_until(lambda: pool.size == 0)
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    kept = []
    for _ in range(30):
        with pytest.raises(ZeroDivisionError) as caught:
            pool.apply(lambda: 1 // 0)  # a frame of Python's, which leads to the worker's
        kept.append(caught.value)
        wait_until(lambda: pool.size == 0)  # so the next one has a worker of its own
    join_workers()
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) < before + 10
    assert len(kept) == 30


def test_a_worker_of_a_destroyed_loop_that_had_a_post_pending_does_not_linger(
    pool: ThreadPool, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_worker, "LINGER", (0.001, 60.0))
    job = pool.submit(abs, -1)
    wait_until(lambda: job._finished_at and hub.loop.posts)
    (worker,) = pool._crew.workers
    hub.loop.destroyed = True
    pool._crew.close()
    worker.thread.join(10)
    assert not worker.thread.is_alive()
    hub.loop.destroyed = False
    hub.loop.run_pending()
