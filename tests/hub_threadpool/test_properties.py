"""Any program of submits, cancellations, sizes, deaths and failures: each job ends once, and nothing is left.

The machine of hypothesis drives a real pool with real threads on the fake hub, and breaks it at its seams: threads that
do not start, no memory for a job, an outbox or a wake-up that fails, a worker that dies at each step between two jobs,
a call of the loop that Ctrl-C takes the place of, and idle timeouts that race with jobs.  It forks in the midst of it:
in the child each job of the parent has ended, everybody is told, and the pool works; the parent goes on.
"""

from __future__ import annotations

import os
import threading
from collections import Counter, deque
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from tests.conftest import Kin
from tests.hub_threadpool.conftest import join_workers
from tests.hub_threadpool.fakes import FakeHub

from hub_api import ForkedError, IHub, JobCancelledError, PoolKilledError, WorkerLostError
from hub_threadpool import Job, Lane, ThreadPool, _lanes, _worker

ENDS: dict[str, type[BaseException] | None] = {
    "done": None,
    "raised": ValueError,
    "cancelled": JobCancelledError,
    "killed": PoolKilledError,
    "lost": WorkerLostError,
    "forked": ForkedError,
}
EXAMPLES = int(os.environ.get("HUB_TEST_POOL_EXAMPLES", "60"))
"""Programs to try.  The full size is 2,000."""
FAULTS = st.sampled_from(["queue", "run", "news", "post", "lost call", "start", "job"])


class Death(BaseException):
    """What kills a worker, or a call."""


class Faults:
    """What is to fail next, and how often."""

    def __init__(self) -> None:
        self.armed: Counter[str] = Counter()

    def strike(self, seam: str, error: BaseException) -> None:
        if self.armed[seam] > 0:
            self.armed[seam] -= 1
            raise error


class Seam(deque[Any]):
    """A deque that fails in workers when its seam is armed."""

    def __init__(self, faults: Faults, seam: str) -> None:
        super().__init__()
        self.faults, self.seam = faults, seam

    def popleft(self) -> Any:
        found = super().popleft()
        if self.seam == "queue" and "-worker-" in threading.current_thread().name:
            self.faults.strike("queue", Death())
        return found

    def append(self, item: Any) -> None:
        if self.seam == "news" and "-worker-" in threading.current_thread().name:
            self.faults.strike("news", MemoryError())
        super().append(item)


class PoolMachine(RuleBasedStateMachine):
    """One pool, one lane."""

    patch: pytest.MonkeyPatch  # of the test that runs it

    def __init__(self) -> None:
        super().__init__()
        self.hub = FakeHub()
        self.faults = faults = Faults()
        self.jobs: list[Job[int]] = []
        self.ran: Counter[int] = Counter()
        self.told: Counter[int] = Counter()
        self.gates: list[threading.Event] = []
        self.killed = self.forked = False
        run, make, start = PoolMachine.originals

        def run_or_die(job: Job[Any], call: Any) -> None:
            faults.strike("run", Death())
            run(job, call)

        def make_or_fail(*args: Any) -> Job[Any]:
            faults.strike("job", MemoryError())
            return make(*args)

        def start_or_fail(thread: threading.Thread) -> None:
            faults.strike("start", RuntimeError("can't start new thread"))
            start(thread)

        self.patch.setattr(Job, "run", run_or_die)
        self.patch.setattr(_lanes, "Job", make_or_fail)
        self.patch.setattr(threading.Thread, "start", start_or_fail)

    originals = (Job.run, Job, threading.Thread.start)

    @initialize(maxsize=st.integers(1, 3), idle=st.sampled_from([None, 0.0, 0.002, 5.0]))
    def make(self, maxsize: int, idle: float | None) -> None:
        self.pool = ThreadPool(maxsize, hub=cast(IHub, self.hub), idle_task_timeout=idle, name="model")
        self.pool._ledger.outbox.news = Seam(self.faults, "news")
        self.lanes: list[Lane] = [self.pool, self.pool.lane("lane", 1)]
        for lane in self.lanes:
            lane._crew.queue = Seam(self.faults, "queue")

    def call(self, number: int, gate: threading.Event | None) -> int:
        self.ran[number] += 1
        if gate is not None:
            gate.wait(10)
        if number % 5 == 4:
            raise ValueError(number)
        return number

    @precondition(lambda self: not self.killed)
    @rule(lane=st.integers(0, 1), gated=st.booleans(), count=st.integers(1, 4))
    def submit(self, lane: int, gated: bool, count: int) -> None:
        for _ in range(count):
            gate = threading.Event() if gated else None
            number = len(self.jobs)
            try:
                job = self.lanes[lane].submit(self.call, number, gate)
            except (MemoryError, RuntimeError):
                continue
            self.jobs.append(job)
            if gate is not None:
                self.gates.append(gate)
            job.rawlink(lambda job, number=number: self.told.update([number]))  # type: ignore[misc]  # a default

    @rule(seam=FAULTS)
    def arm(self, seam: str) -> None:
        if seam == "post":
            self.hub.loop.refuse_posts.append(MemoryError())
        elif seam == "lost call":
            self.hub.loop.lose_calls += 1
        else:
            self.faults.armed[seam] += 1

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        number = data.draw(st.integers(0, len(self.jobs) - 1))
        if self.jobs[number].cancel():
            assert self.jobs[number].ready()

    @rule(count=st.integers(1, 3))
    def open_gates(self, count: int) -> None:
        for gate in self.gates[:count]:
            gate.set()
        del self.gates[:count]

    @precondition(lambda self: not self.killed)
    @rule(lane=st.integers(0, 1), maxsize=st.integers(1, 4))
    def resize(self, lane: int, maxsize: int) -> None:
        self.lanes[lane].maxsize = maxsize

    @rule()
    def turn(self) -> None:
        self.hub.loop.run_pending()

    @rule()
    def kill(self) -> None:
        self.pool.kill()
        self.killed = True

    @precondition(lambda self: not self.forked)
    @rule()
    def fork(self) -> None:
        self.forked = True  # once in a program: it costs more than all its other steps
        self.hub.loop.refuse_posts.clear()  # a real loop takes what the hooks post
        Kin().run(self.check_child)

    def check_child(self) -> None:
        """In the child, before the loop has run: nothing of the parent's is under way, and everything works."""
        self.faults.armed.clear()
        self.hub.loop.lose_calls = 0
        assert (len(self.pool), self.pool.size) == (0, 0)
        self.hub.loop.run_pending()
        for number, job in enumerate(self.jobs):
            assert job.ready()
            kind = ENDS[str(job._state)]
            assert (job.exception is None) if kind is None else isinstance(job.exception, kind), job
            assert self.told[number] == 1, job
        assert self.hub.loop.refs == 0
        if not self.killed:
            for lane in self.lanes:
                jobs = [lane.submit(abs, -number) for number in range(6)]
                assert [job.get() for job in jobs] == list(range(6))
                assert lane.size <= lane.maxsize
        self.pool.kill()
        join_workers()
        assert (len(self.pool), self.pool.size, self.hub.loop.refs) == (0, 0, 0)

    @invariant()
    def nobody_was_told_twice_and_nothing_ran_twice(self) -> None:
        assert all(count == 1 for count in self.told.values())
        assert all(count == 1 for count in self.ran.values())

    def teardown(self) -> None:
        try:
            for gate in self.gates:
                gate.set()
            self.faults.armed.clear()
            self.hub.loop.refuse_posts.clear()
            self.hub.loop.lose_calls = 0
            self.pool.join()
            self.hub.loop.run_pending()
            for number, job in enumerate(self.jobs):
                state = str(job._state)
                kind = ENDS[state]
                assert (job.exception is None) if kind is None else isinstance(job.exception, kind), job
                if kind is None:
                    assert job.get() == number
                if state in ("done", "raised"):
                    assert self.ran[number] == 1
                elif state != "lost":
                    assert self.ran[number] == 0
                assert self.told[number] == 1, job
            assert (len(self.pool), self.hub.loop.refs, self.pool._ledger.joiners) == (0, 0, [])
        finally:
            self.pool.kill()
            join_workers()
        assert self.pool.size == 0


def test_whatever_fails_each_job_ends_once_and_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_worker, "RECHECK", 0.01)
    monkeypatch.setattr(threading, "excepthook", lambda args: None)
    PoolMachine.patch = monkeypatch
    run_state_machine_as_test(
        PoolMachine,
        settings=settings(
            max_examples=EXAMPLES, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
