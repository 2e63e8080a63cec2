"""A program for test_threadpool: Ctrl-C strikes at random moments, and all that was under way comes to an end.

Call: `python -m tests.stress.interrupted_pool ROUNDS SEED`.  In each round the main greenlet and six others use a
pool, each in its own way, and a timer of the system raises KeyboardInterrupt in whatever runs then: a greenlet, the
pool, the loop, the hub.  After that nothing may be left: no job without an end, no greenlet that waits, no place that
is taken.
"""

from __future__ import annotations

import random
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from greenlet import greenlet

from greenlet_hub import ThreadPool, get_hub, sleep, spawn_raw
from hub_api import WorkerLostError
from hub_threadpool import Job

PATIENCE = 30.0


class Program:
    """One pool, and who uses it."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.pool = ThreadPool(2, hub=get_hub(), idle_task_timeout=0.05)
        self.jobs: list[Job[Any]] = []
        self.armed = False
        self.struck = 0
        self.ways: list[Callable[[], object]] = [
            self.submit,
            self.cancel,
            self.resize,
            lambda: self.pool.apply(abs, (-1,)),
            lambda: self.pool.spawn(abs, -1).get(),
            lambda: self.pool.map(abs, range(4)),
            lambda: list(self.pool.imap(abs, range(4), maxsize=2)),
            lambda: list(self.pool.imap_unordered(abs, range(4), maxsize=2)),
        ]

    def strike(self, signum: int, frame: FrameType | None) -> None:
        """The signal handler."""
        if self.armed:
            self.struck += 1
            raise KeyboardInterrupt

    def submit(self) -> None:
        self.jobs.extend([self.pool.submit(divmod, 1, 0), self.pool.submit(abs, -1)])
        self.jobs[-1].get()

    def cancel(self) -> None:
        made = [self.pool.submit(abs, number) for number in range(3)]
        self.jobs.extend(made)
        for job in reversed(made):
            job.cancel()

    def resize(self) -> None:
        self.pool.maxsize = self.random.randrange(1, 4)
        self.jobs.append(self.pool.map_async(abs, range(5)))
        self.jobs[-1].get()

    def use(self, users: list[greenlet]) -> None:
        """Have greenlets use the pool until they have ended, or Ctrl-C comes."""
        shared = self.pool.imap_unordered(abs, range(6), maxsize=2)
        try:
            self.armed = True
            within = self.random.choice([0.0005, 0.002, 0.01])
            signal.setitimer(signal.ITIMER_REAL, self.random.random() * within + 1e-5)
            for _ in range(3):
                users.append(spawn_raw(list, shared))
                users.append(spawn_raw(self.random.choice(self.ways)))
            self.random.choice(self.ways)()
            while not all(user.dead for user in users):
                sleep(0.0005)
        except (KeyboardInterrupt, WorkerLostError):
            pass  # the latter from a map that was interrupted as it looked for workers
        finally:
            self.armed = False
            signal.setitimer(signal.ITIMER_REAL, 0)

    def check(self, users: list[greenlet]) -> None:
        """Everybody and everything comes to an end."""
        end = time.monotonic() + PATIENCE
        while not all(user.dead for user in users):
            assert time.monotonic() < end, ("stranded", users, self.pool)
            sleep(0.0005)
        assert self.pool.join(PATIENCE), self.pool
        sleep(0)
        assert all(job.ready() for job in self.jobs), self.jobs
        self.jobs.clear()
        assert (len(self.pool), self.pool._ledger.holding, self.pool._withdrawn) == (0, False, {})
        assert self.pool.size <= self.pool.maxsize

    def run(self, rounds: int) -> None:
        signal.signal(signal.SIGALRM, self.strike)
        get_hub().exception_stream = None  # greenlets die of KeyboardInterrupt, as they should
        for _ in range(rounds):
            users: list[greenlet] = []
            self.use(users)
            self.check(users)
        assert self.pool.apply(abs, (-7,)) == 7
        self.pool.kill()
        print(self.struck)


if __name__ == "__main__":
    Program(int(sys.argv[2])).run(int(sys.argv[1]))
