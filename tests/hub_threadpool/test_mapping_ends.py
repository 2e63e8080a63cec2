"""Maps that end before all calls are made, or might: killed, cancelled, forked, interrupted between two steps."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from tests.hub_threadpool.conftest import Gate, double
from tests.hub_threadpool.test_pool import Killed

from hub_api import ForkedError, JobCancelledError, PoolKilledError, WorkerLostError
from hub_threadpool import ThreadPool
from hub_threadpool._job import Job
from hub_threadpool._mapping import MapJob

if TYPE_CHECKING:
    from tests.conftest import Kin
    from tests.hub_threadpool.fakes import FakeHub


def test_who_is_killed_in_map_is_free_at_once_and_no_more_calls_are_begun(pool: ThreadPool, hub: FakeHub) -> None:
    gate = Gate()

    def kill() -> None:
        gate.wait_for(2)
        hub.kill_who_waits = Killed()

    hub.loop.run_callback(kill)
    with pytest.raises(Killed):
        pool.map(gate, range(100))
    assert len(pool) == 2
    gate.open()
    pool.join()
    assert sorted(gate.reached, key=str) == [0, 1]


def test_a_map_is_cancelled_as_a_whole_while_calls_run(pool: ThreadPool) -> None:
    gate = Gate()
    job = pool.map_async(gate, range(100))
    gate.wait_for(2)
    assert job.cancel()
    assert not job.cancel()
    with pytest.raises(JobCancelledError, match="before all of its calls had ended"):
        job.get()
    gate.open()
    pool.join()
    assert len(gate.reached) == 2


def test_an_error_in_a_wide_pool_takes_no_deep_stack(make_pool: Callable[[int], ThreadPool]) -> None:
    pool, gate = make_pool(1), Gate()
    blocker = pool.apply_async(gate)
    gate.wait_for(1)
    pool.maxsize = 2
    second = pool.apply_async(gate)
    gate.wait_for(1)
    pool._maxsize = 2000  # as many jobs at the line of the map, and none of them begins
    job = pool.map_async(double, range(2000))
    pool._maxsize = 2
    assert job.cancel()
    assert len(pool) == 2
    gate.open()
    assert [blocker.get(), second.get()] == [None, None]


def test_kill_ends_a_map(make_pool: Callable[[int], ThreadPool]) -> None:
    pool, gate = make_pool(1), Gate()
    job = pool.map_async(gate, range(100))
    gate.wait_for(1)
    pool.kill()
    gate.open()
    with pytest.raises(PoolKilledError):
        job.get()
    assert gate.reached == [0]
    with pytest.raises(PoolKilledError):
        pool.map(double, [1])


def test_a_forked_child_is_told_that_the_map_is_the_parents(pool: ThreadPool, hub: FakeHub, kin: Kin) -> None:
    gate = Gate()
    job = pool.map_async(gate, range(10))
    results = pool.imap(gate, range(10))
    hub.loop.run_callback(int)
    gate.wait_for(2)

    def check() -> None:
        with pytest.raises(ForkedError):
            job.get()
        assert pool.map(double, [1, 2]) == [2, 4]
        pool.kill()

    kin.run(check)
    gate.open()
    assert job.get() == list(range(10))
    results.close()


# -- between two steps ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [RuntimeError("can't start new thread"), KeyboardInterrupt()])
def test_a_map_whose_new_places_cannot_be_used_goes_on_in_its_old_ones_unless_it_was_interrupted(
    make_pool: Callable[[int], ThreadPool], monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    pool, gate = make_pool(1), Gate()
    job = pool.map_async(gate, range(6))
    gate.wait_for(1)

    def refuse(thread: threading.Thread) -> None:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        if isinstance(error, Exception):
            pool.maxsize = 3
        else:
            with pytest.raises(KeyboardInterrupt):
                pool.maxsize = 3
    assert (pool.maxsize, job.ready()) == (3, False)
    gate.open()
    if isinstance(error, Exception):
        assert len(job.get()) == 6
    else:
        with pytest.raises(WorkerLostError, match="was interrupted as it looked for workers") as lost:
            job.get()
        assert lost.value.__cause__ is error
        assert gate.reached == [0]


def test_an_interrupt_as_a_map_looks_for_workers_is_raised_and_the_map_ends(
    make_pool: Callable[[int], ThreadPool], hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupt(BaseException):
        """What a signal handler may raise beside KeyboardInterrupt: SystemExit, or its own."""

    pool, gate = make_pool(1), Gate()
    monkeypatch.setattr("hub_threadpool._mapping.SLICE", 0.0)  # its jobs make room for others after each call
    job = pool.map_async(gate, range(3))
    gate.wait_for(1)
    other = pool.submit(abs, -1)

    def interrupt(*call: object) -> None:
        raise Interrupt

    with monkeypatch.context() as patched:
        patched.setattr(pool, "submit", interrupt)
        gate.open()
        with pytest.raises(Interrupt) as interrupted:
            pool.join()
    assert other.get() == 1
    with pytest.raises(WorkerLostError) as lost:
        job.get()
    assert lost.value.__cause__ is interrupted.value
    assert hub.errors == []


def call_links_twice(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Call each link once more in a later turn of the loop, as after an interrupt."""
    rawlink = Job.rawlink

    def link_twice(job: Job[Any], callback: Callable[[Job[Any]], object]) -> None:
        def link(job: Job[Any]) -> None:
            hub.loop.run_callback(callback, job)
            callback(job)

        rawlink(job, link)

    monkeypatch.setattr(Job, "rawlink", link_twice)


@pytest.mark.parametrize("how", ["map", "imap", "imap_unordered"])
def test_a_link_that_is_called_again_changes_nothing(
    pool: ThreadPool, hub: FakeHub, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    call_links_twice(hub, monkeypatch)
    results = []
    for result in getattr(pool, how)(double, range(30)):
        hub.loop.run_pending()
        results.append(result)
    assert sorted(results) == [2 * number for number in range(30)]


@pytest.mark.parametrize("step", ["_man", "_conclude", "_tell"])
def test_a_map_whose_end_is_interrupted_ends_when_its_link_is_called_again(
    pool: ThreadPool, hub: FakeHub, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    gate, left, step_itself = Gate(), [KeyboardInterrupt()], getattr(MapJob, step)
    call_links_twice(hub, monkeypatch)
    job = pool.map_async(gate, [1])

    def struck(map_job: MapJob[Any]) -> None:
        if left:
            raise left.pop()
        step_itself(map_job)

    monkeypatch.setattr(MapJob, step, struck)
    gate.open()
    if step == "_man":  # it was to find more jobs for the calls: they cannot be promised any more
        with pytest.raises(WorkerLostError) as lost:
            job.get()
        assert isinstance(lost.value.__cause__, KeyboardInterrupt)
    else:
        assert job.get() == [1]
    assert left == []
    assert [type(error) for _, error in hub.errors] == [KeyboardInterrupt]  # nobody has swallowed it


@pytest.mark.parametrize("listed", ["_pullers", "_jobs"])
def test_a_job_that_could_not_be_linked_is_not_waited_for(
    pool: ThreadPool, monkeypatch: pytest.MonkeyPatch, listed: str
) -> None:
    def interrupted(job: Job[Any], callback: object) -> None:
        raise KeyboardInterrupt

    results = pool.imap_unordered(double, [1, 2])
    with monkeypatch.context() as patched:
        patched.setattr(Job, "rawlink", interrupted)
        with pytest.raises(KeyboardInterrupt):
            pool.map_async(double, [1]) if listed == "_pullers" else next(results)
    assert list(results) == ([2, 4] if listed == "_pullers" else [4])
