"""The outbox: one wake-up for many, nothing lost if that is interrupted, and jobs that end before anybody parks."""

from __future__ import annotations

import time
from typing import Any, cast

import pytest
from tests.hub_threadpool.conftest import wait_until
from tests.hub_threadpool.fakes import FakeHub

from hub_threadpool import Job, ThreadPool, _outbox, _worker

# -- one wake-up for many --------------------------------------------------------------------------------------------


def test_jobs_that_end_together_cost_one_wake_up(pool: ThreadPool, hub: FakeHub) -> None:
    jobs = [pool.submit(int, str(number)) for number in range(500)]
    wait_until(lambda: all(job._finished_at for job in jobs))
    wait_until(lambda: len(pool._crew.idle) == pool.size)
    assert hub.loop.posts == 1
    assert [job.get() for job in jobs] == list(range(500))


def test_what_a_lost_call_should_have_told_is_told_a_moment_later(
    pool: ThreadPool, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_worker, "RECHECK", 0.01)
    hub.loop.lose_calls = 2  # Ctrl-C comes as the loop calls, and the call is lost
    assert pool.apply(int, ("7",)) == 7
    assert hub.loop.posts >= 3


def test_an_interrupt_while_many_are_told_leaves_the_rest_to_the_next_batch(pool: ThreadPool, hub: FakeHub) -> None:
    jobs = [pool.submit(int, str(number)) for number in range(10)]
    seen: list[int] = []

    def note(job: Job[int]) -> None:
        seen.append(job.get())

    def interrupt(context: object, kind: type[BaseException], error: BaseException, traceback: object, /) -> None:
        raise KeyboardInterrupt

    for job in jobs:
        job.rawlink(note)
    jobs[4].rawlink(cast(Any, int))  # raises TypeError, which is told to the hub
    hub.handle_error = interrupt  # type: ignore[method-assign]  # as if Ctrl-C had come just then
    wait_until(lambda: all(job._finished_at for job in jobs))
    with pytest.raises(KeyboardInterrupt):
        hub.loop.run_pending()
    hub.loop.run_pending()
    assert sorted(seen) == list(range(10))
    assert (len(pool), hub.loop.refs) == (0, 0)


# -- a job that has ended before its greenlet parks -----------------------------------------------------------------


def ended(pool: ThreadPool, count: int = 1) -> list[Any]:
    """Jobs that have ended in their workers, and of which the hub has not heard."""
    jobs = [pool.submit(int, "7") for _ in range(count)]
    while len(pool._ledger.outbox.news) < count:
        time.sleep(0.0001)
    return jobs


def test_its_outcome_is_taken_without_a_turn_of_the_loop_and_told_once(
    pool: ThreadPool, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_outbox, "FOR_SECONDS", 3600.0)
    hub.current = False
    (job,) = ended(pool)
    outbox = pool._ledger.outbox
    assert outbox.take(job)
    assert (job.ready(), job.get(), len(pool), pool.counters.ended, hub.loop.refs) == (True, 7, 0, 1, 0)
    hub.loop.run_one()  # the delivery that was posted all the same
    assert (pool.counters.ended, hub.errors) == (1, [])


def test_it_waits_for_its_turn_behind_other_news_in_a_callback_and_when_enough_were_taken(
    pool: ThreadPool, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_outbox, "FOR_SECONDS", 3600.0)
    outbox = pool._ledger.outbox
    (job,) = ended(pool)
    assert not outbox.take(job)  # a callback cannot park, and must hear of it each time
    hub.current = False
    first, second = [job, *[pool.submit(int, "8")]]
    while len(outbox.news) < 2:
        time.sleep(0.0001)
    assert not outbox.take(first)
    assert not outbox.take(second)
    pool.join()
    monkeypatch.setattr(_outbox, "AT_MOST", 2)
    for number in range(6):
        (job,) = ended(pool)
        assert outbox.take(job) == (number % 3 < 2), number
        if number % 3 == 2:
            assert job.get() == 7  # parks
    monkeypatch.setattr(_outbox, "FOR_SECONDS", 0.0)
    (job,) = ended(pool)
    assert not outbox.take(job)
