"""Jobs: how they end, who is told, and that they end once."""

from __future__ import annotations

import contextvars
import gc
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, cast

import pytest
from tests.hub_threadpool.conftest import in_thread, wait_until
from tests.hub_threadpool.fakes import FakeHub

from hub_api import InvalidThreadUseError, JobCancelledError
from hub_threadpool import Job, ThreadPool


class Ended(Exception):
    """What a job raises here."""


def fail() -> None:
    raise Ended


# -- ends -----------------------------------------------------------------------------------------------------------


def test_a_job_has_neither_value_nor_exception_before_its_end(pool: ThreadPool) -> None:
    gate = threading.Event()
    job = pool.spawn(gate.wait)
    assert (job.ready(), job.successful(), job.value, job.exception) == (False, False, None, None)
    gate.set()
    job.get()
    assert (job.ready(), job.successful(), job.value, job.exception) == (True, True, True, None)


def test_a_job_that_raises_has_an_exception_and_no_value(pool: ThreadPool) -> None:
    job = pool.spawn(fail)
    with pytest.raises(Ended):
        job.get()
    assert (job.ready(), job.successful(), job.value, type(job.exception)) == (True, False, None, Ended)


def test_a_traceback_does_not_grow_by_being_raised_again(pool: ThreadPool) -> None:
    job = pool.spawn(fail)
    lengths = set()
    for _ in range(3):
        with pytest.raises(Ended) as caught:
            job.get()
        lengths.add(len(caught.traceback))
        assert caught.traceback[-1].name == "fail"
    assert len(lengths) == 1
    assert all(entry.name != "run" for entry in caught.traceback)  # none of the worker's own frames


def test_a_job_that_raised_is_freed_without_the_garbage_collector(pool: ThreadPool) -> None:
    job = pool.spawn(fail)
    with pytest.raises(Ended):
        job.get()
    pool.join()
    seen = weakref.ref(job)
    gc.collect()
    gc.disable()
    try:
        with pytest.raises(Ended):
            pool.apply(fail)
        del job
        pool.apply(int)  # the worker has let go of what it had
        wait_until(lambda: seen() is None)
    finally:
        gc.enable()


# -- timeouts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("timeout", [0, -1, 0.01])
def test_get_gives_up_after_its_timeout_and_the_job_goes_on(pool: ThreadPool, timeout: float) -> None:
    gate = threading.Event()
    job = pool.spawn(gate.wait)
    with pytest.raises(TimeoutError, match="has not ended"):
        job.get(timeout)
    assert job._waiters == []
    gate.set()
    assert job.get() is True
    assert job.get(0) is True


# -- cancellation ---------------------------------------------------------------------------------------------------


def test_a_job_that_waits_can_be_cancelled_and_one_that_runs_cannot(pool: ThreadPool) -> None:
    gate, ran = threading.Event(), list[int]()
    running = [pool.spawn(gate.wait) for _ in range(2)]
    waiting = pool.submit(ran.append, 1)
    assert waiting.cancel() is True
    assert waiting.cancel() is False
    assert len(pool) == 2
    with pytest.raises(JobCancelledError, match="cancelled before it started"):
        waiting.get()
    assert [job.cancel() for job in running if not job._call] == [False] * sum(not job._call for job in running)
    gate.set()
    pool.join()
    assert ran == []
    assert pool.apply(int) == 0


def test_cancelled_jobs_do_not_pile_up_in_the_queue(pool: ThreadPool) -> None:
    gate = threading.Event()
    running = [pool.spawn(gate.wait) for _ in range(2)]
    last = pool.submit(int, "7")
    for number in range(2000):
        assert pool.submit(int, number).cancel()
    assert len(pool._crew.queue) < 200
    gate.set()
    assert last.get() == 7
    assert all(job.get() for job in running)


# -- links ----------------------------------------------------------------------------------------------------------


def test_links_are_called_once_in_the_hubs_thread_before_and_after_the_end(pool: ThreadPool, hub: FakeHub) -> None:
    seen: list[tuple[str, Job[int], int]] = []

    def note(when: str) -> Callable[[Job[int]], object]:
        return lambda job: seen.append((when, job, threading.get_ident()))

    job = pool.spawn(int, "3")
    unlinked = note("never")
    job.rawlink(note("before"))
    job.rawlink(unlinked)
    job.unlink(unlinked)
    job.unlink(unlinked)
    job.get()
    job.rawlink(note("after"))
    job.rawlink(note("after that"))
    hub.loop.run_pending()
    here = threading.get_ident()
    assert seen == [("before", job, here), ("after", job, here), ("after that", job, here)]


def test_what_a_link_raises_is_told_to_the_hub_and_the_others_are_called(pool: ThreadPool, hub: FakeHub) -> None:
    job, seen = pool.spawn(int), list[object]()

    def raise_it(job: Job[int]) -> None:
        raise Ended

    job.rawlink(raise_it)
    job.rawlink(seen.append)
    assert job.get() == 0
    assert seen == [job]
    assert [(context, type(error)) for context, error in hub.errors] == [(job, Ended)]


def test_a_link_finds_the_place_free(pool: ThreadPool) -> None:
    lengths: list[int] = []
    job = pool.spawn(int)
    job.rawlink(lambda job: lengths.append(len(pool)))
    job.get()
    assert lengths == [0]


def test_a_link_that_cannot_be_called_is_refused(pool: ThreadPool) -> None:
    job = pool.spawn(int)
    with pytest.raises(TypeError, match="must be callable"):
        job.rawlink(cast(Any, 7))
    job.get()


def test_another_thread_is_refused_everything_but_to_look(pool: ThreadPool) -> None:
    job = pool.spawn(int)
    job.get()
    for use in (job.get, job.cancel, lambda: job.rawlink(print), lambda: job.unlink(print)):
        assert isinstance(in_thread(use), InvalidThreadUseError)
    assert in_thread(job.ready) is None


# -- what a job sees ------------------------------------------------------------------------------------------------


def test_a_job_sees_the_callers_context_and_changes_it_for_nobody(pool: ThreadPool) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="default")
    variable.set("the caller's")

    def look_and_change() -> str:
        seen = variable.get()
        variable.set("the job's")
        return seen

    assert [pool.apply(look_and_change) for _ in range(3)] == ["the caller's"] * 3
    assert variable.get() == "the caller's"


@pytest.mark.parametrize("kind", ["settrace", "setprofile"])
def test_hooks_of_threading_are_read_at_each_job_and_see_that_alone(pool: ThreadPool, kind: str) -> None:
    calls: list[str] = []

    def hook(frame: FrameType, event: str, arg: object) -> None:
        if event == "call":
            calls.append(frame.f_code.co_name)

    def traced() -> tuple[object, object]:
        return sys.gettrace(), sys.getprofile()

    assert pool.apply(traced) == (None, None)
    getattr(threading, kind)(hook)
    try:
        assert hook in pool.apply(traced)
        assert pool.apply(traced)
    finally:
        getattr(threading, kind)(None)
    assert calls.count("traced") == 2
    assert not {"_work", "_rest", "post"} & set(calls)
    assert pool.apply(traced) == (None, None)


@pytest.fixture(params=["settrace", "setprofile"])
def raising_hook(request: pytest.FixtureRequest) -> Iterator[Callable[[], object]]:
    """A function that sets a hook for threads, which raises Ended in workers."""

    def hook(frame: FrameType, event: str, arg: object) -> None:
        if threading.current_thread().name.startswith("fake-worker"):
            raise Ended

    setter = getattr(threading, request.param)
    yield lambda: setter(hook)
    setter(None)


def test_a_hook_that_raises_gives_its_error_to_the_caller_and_costs_no_worker(
    pool: ThreadPool, raising_hook: Callable[[], object]
) -> None:
    worker = pool.apply(threading.get_ident)
    raising_hook()
    for _ in range(3):
        with pytest.raises(Ended):
            pool.apply(lambda: 7)
    threading.settrace(cast(Any, None))
    threading.setprofile(None)
    assert pool.apply(threading.get_ident) == worker
    assert len(pool) == 0


def test_a_hook_that_raises_before_a_worker_begins_is_told_to_the_caller(
    pool: ThreadPool, hub: FakeHub, raising_hook: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[object] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: told.append(args.exc_type))
    raising_hook()
    for attempt in range(3):
        with pytest.raises(RuntimeError, match="ended before it began: a hook of"):
            pool.apply(lambda: 7)
        assert told == [Ended] * (attempt + 1)
    assert (len(pool), pool.size, hub.loop.refs) == (0, 0, 0)
    threading.settrace(cast(Any, None))
    threading.setprofile(None)
    assert pool.apply(int, ("7",)) == 7
