"""The thread pool under a crowd: every job ends once, whatever becomes of who asked for it, and nothing is left."""

from __future__ import annotations

import gc
import os
import random
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from greenlet import greenlet

from greenlet_hub import Hub, ThreadPool, get_hub, kill, set_hub, set_loop, sleep, spawn_raw
from hub_api import JobCancelledError
from hub_loop.testing import Leftovers
from hub_threadpool import Job

JOBS = int(os.environ.get("HUB_STRESS_JOBS", "10000"))
"""The full size is HUB_STRESS_JOBS=1000000, some minutes on one core."""
INTERRUPTED_ROUNDS = int(os.environ.get("HUB_STRESS_INTERRUPTS", "60"))
"""The full size is HUB_STRESS_INTERRUPTS=10000, some minutes on one core."""
GREENLETS = 100
WORKERS = 8
ROOT = Path(__file__).parents[2]


class Refused(Exception):
    """What jobs raise on purpose."""


@pytest.fixture
def hub() -> Iterator[Hub]:
    """This thread's hub, made for the test."""
    set_hub(None)
    set_loop(None)
    made = get_hub()
    yield made
    made.destroy(destroy_loop=True)


class Crowd:
    """Greenlets that use one pool in every way, and count what becomes of their jobs."""

    def __init__(self, pool: ThreadPool, jobs: int, seed: int) -> None:
        self.pool = pool
        self.random = random.Random(seed)
        self.left = jobs
        self.made: Counter[str] = Counter()
        self.came: Counter[str] = Counter()
        self.linked = 0
        self.running = 0
        self._lock = threading.Lock()

    def job(self, number: int) -> int:
        """Call from: a worker."""
        if number % 7 == 0:
            with self._lock:
                self.made["raised"] += 1
            raise Refused(number)
        with self._lock:
            self.made["returned"] += 1
        return number

    def use(self) -> None:
        """The body of a greenlet: one job after the other, until none is left to be made."""
        self.running += 1
        ways = [self.apply, self.spawn, self.cancel, self.leave, self.map]
        try:
            while self.left > 0:
                self.random.choice(ways)(self.random.randrange(1 << 20))
        finally:
            self.running -= 1

    def expect(self, number: int, job: Job[int] | None = None) -> None:
        try:
            value = self.pool.apply(self.job, (number,)) if job is None else job.get()
        except Refused as error:
            kind, value = "raised", error.args[0]
        else:
            kind = "returned"
        assert value == number
        self.came[kind] += 1

    def apply(self, number: int) -> None:
        self.left -= 1
        self.expect(number)

    def spawn(self, number: int) -> None:
        self.left -= 1
        self.expect(number, self.pool.spawn(self.job, number))

    def cancel(self, number: int) -> None:
        jobs = [(number + step, self.pool.submit(self.job, number + step)) for step in range(10)]
        self.left -= len(jobs)
        if self.random.random() < 0.5:
            sleep(0)
        for number, job in reversed(jobs):
            if job.cancel():
                with pytest.raises(JobCancelledError):
                    job.get()
                self.came["cancelled"] += 1
            else:
                self.expect(number, job)

    def leave(self, number: int) -> None:
        """Nobody waits for this one; it tells by its link."""
        self.left -= 1

        def told(job: Job[int]) -> None:
            self.linked -= 1
            self.came["returned" if job.successful() else "raised"] += 1

        self.linked += 1
        self.pool.apply_async(self.job, (number,)).rawlink(told)
        sleep(0)

    def map(self, number: int) -> None:
        numbers = [number + step for step in range(10) if (number + step) % 7]
        self.left -= len(numbers)
        assert self.pool.map(self.job, numbers) == numbers
        self.came["returned"] += len(numbers)

    def change_size(self) -> None:
        """The body of one more greenlet."""
        while self.running:
            self.pool.maxsize = self.random.randrange(1, WORKERS + 1)
            sleep(0.002)


def test_a_million_jobs_with_failures_cancellations_and_changes_of_size_all_end_once(hub: Hub) -> None:
    sleep(0.001)  # the loop has the fds that it keeps
    before = Leftovers()
    with ThreadPool(WORKERS, hub=hub) as pool:
        crowd = Crowd(pool, JOBS, seed=JOBS)
        for _ in range(GREENLETS):
            spawn_raw(crowd.use)
        sleep(0)
        spawn_raw(crowd.change_size)
        while crowd.running or crowd.linked:
            sleep(0.005)
            assert pool.size <= WORKERS
        assert len(pool) == 0
        cancelled = crowd.came.pop("cancelled")
        assert crowd.came == crowd.made
        assert JOBS <= sum(crowd.made.values()) + cancelled <= JOBS + 10 * GREENLETS
        assert cancelled
        workers = [thread for thread in threading.enumerate() if "-worker-" in thread.name]
    for worker in workers:
        worker.join(20)
    sleep(0.005)
    assert before.found() == []
    del pool, crowd.pool
    gc.collect()
    assert not [thing for thing in gc.get_objects() if isinstance(thing, Job)]


def test_greenlets_that_are_killed_at_any_moment_take_no_place_along(hub: Hub) -> None:
    rounds, ended = 300, Counter[str]()
    dice = random.Random(300)
    with ThreadPool(2, hub=hub) as pool:

        def use(number: int) -> None:
            try:
                if number % 3:
                    pool.apply(pow, (number, 2))
                else:
                    pool.spawn(pow, number, 2).get()
                ended["value"] += 1
            finally:
                ended["all"] += 1

        for number in range(rounds):
            users: list[greenlet] = [spawn_raw(use, number + step) for step in range(5)]
            for _ in range(dice.randrange(4)):
                sleep(0)
            for user in dice.sample(users, 3):
                kill(user)
            while not all(user.dead for user in users):
                sleep(0.001)  # whoever spins by sleep(0) may keep the workers from the interpreter's lock for seconds
        assert pool.join(20)
        assert pool.map(abs, range(-10, 0)) == list(range(10, 0, -1))
        assert ended["value"] >= 2 * rounds
        workers = [thread for thread in threading.enumerate() if "-worker-" in thread.name]
    for worker in workers:
        worker.join(20)


def test_ctrl_c_at_random_moments_strands_nobody() -> None:
    program = [sys.executable, "-m", "tests.stress.interrupted_pool", str(INTERRUPTED_ROUNDS), "1"]
    patience = 60 + INTERRUPTED_ROUNDS
    ran = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, timeout=patience, check=False)
    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout) > 0
