"""The thread pool under a real hub in forked children, and when the process ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from greenlet_hub import Hub, sleep, spawn_raw
from hub_api import ForkedError

if TYPE_CHECKING:
    from tests.conftest import Kin


FORKS = int(os.environ.get("HUB_TEST_POOL_FORKS", "40"))
"""Forks with a busy pool.  The full size is 1,000."""


@pytest.fixture
def hub(hub: Hub) -> Hub:
    """This thread's hub, with a pool of two."""
    hub.threadpool_size = 2
    return hub


# -- forks -----------------------------------------------------------------------------------------------------------


def test_in_the_child_jobs_of_the_parent_end_and_the_pool_works(hub: Hub, kin: Kin) -> None:
    gate, seen = threading.Event(), list[str]()
    pool = hub.threadpool
    jobs = [pool.spawn(gate.wait) for _ in range(2)] + [pool.submit(int)]

    def use(how: Callable[[], object]) -> None:
        try:
            how()
        except ForkedError:
            seen.append("told")

    for how in (jobs[0].get, jobs[2].get, lambda: pool.spawn(int), lambda: pool.apply(int)):
        spawn_raw(use, how)
    sleep(0)

    def check() -> None:
        assert (len(pool), pool.size) == (0, 0)
        for job in jobs:
            with pytest.raises(ForkedError, match="under way in the parent"):
                job.get()
        assert [pool.apply(int, (str(number),)) for number in range(20)] == list(range(20))
        assert pool.apply(int, ("7",), lane="dns") == 7
        assert pool.join(10)
        assert hub.join(10)  # nothing of the parent's keeps the loop running
        assert seen == []  # who asked in the parent waits there, and nowhere else

    kin.run(check)
    gate.set()
    pool.join()
    assert all(job.ready() for job in jobs)
    while hub.loop.activecnt:
        sleep(0.001)
    assert seen == []


def test_a_loop_that_only_a_job_of_the_parent_kept_running_ends_in_the_child(hub: Hub, kin: Kin) -> None:
    gate = threading.Event()
    hub.threadpool.spawn(gate.wait)
    kin.run(lambda: hub.join(10) or pytest.fail("the loop goes on"))
    gate.set()
    hub.threadpool.join()


def test_a_job_that_forks_takes_no_other_job_in_the_child(hub: Hub) -> None:
    reader, writer = os.pipe()
    hub.threadpool.maxsize = 1

    def fork() -> int:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child:
            return os.waitpid(child, 0)[1]
        os.write(writer, b"child")
        try:
            hub.threadpool.apply(int)
        except BaseException as error:
            os.write(writer, b" " + type(error).__name__.encode())
        os._exit(0)

    job = hub.threadpool.submit(fork)
    other = hub.threadpool.submit(os.write, writer, b" parent")
    assert job.get() == 0
    assert other.get() == 7
    os.close(writer)
    assert os.read(reader, 100) == b"child InvalidThreadUseError parent"
    os.close(reader)


_hooks: list[Callable[[], object]] = []
_registered: list[bool] = []


def test_a_hook_of_a_fork_may_use_the_pool(hub: Hub, kin: Kin) -> None:
    # gevent#2023: there the child hangs.
    hub.threadpool.apply(int)
    results: list[int] = []
    if not _registered:  # there is no way to take one back
        os.register_at_fork(after_in_child=lambda: [hook() for hook in _hooks])
        _registered.append(True)
    _hooks.append(lambda: results.append(hub.threadpool.apply(int, ("7",))))
    try:
        kin.fork()
    finally:
        _hooks.clear()
    kin.child_ends(lambda: results == [7] or pytest.fail(f"{results}"))
    assert hub.threadpool.apply(int, ("8",)) == 8


def test_forks_of_a_busy_process_never_hang(hub: Hub) -> None:
    pool = hub.threadpool
    pool.maxsize = 4
    ended = [0]
    stop: list[bool] = []

    def use() -> None:
        while not stop:
            pool.apply(time.sleep, (0.0005,))
            ended[0] += 1

    users = [spawn_raw(use) for _ in range(6)]
    for number in range(FORKS):
        sleep(0.0002 * (number % 7))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if not child:
            try:
                signal.alarm(20)
                stop.append(True)
                good = pool.apply(int, ("7",)) == 7 and pool.join(10) and all(user is not None for user in users)
                os._exit(0 if good else 3)
            finally:
                os._exit(4)
        status = hub.threadpool.apply(os.waitpid, (child, 0))[1]
        assert status == 0, number
    stop.append(True)
    while not all(user.dead for user in users):
        sleep(0.001)
    assert ended[0] > 0


# -- the end of the process ------------------------------------------------------------------------------------------

AT_THE_END = """
import atexit, threading
from greenlet_hub import get_hub, spawn_raw, sleep
from hub_threadpool import set_exit_deadline
pool = get_hub().threadpool
pool.maxsize = 1
gate = threading.Event()
set_exit_deadline(0.0)

def late():
    gate.set()
    print(pool.join(20), job.get(), flush=True)
    for each in (waits, mapped):
        print(type(each.exception).__name__, each.exception, flush=True)

atexit.register(late)  # before the first job: so it is called when the pool has been told that the process ends
job = pool.submit(gate.wait)
waits = pool.submit(print, "never")
mapped = pool.map_async(print, range(3))

def ask():
    try: pool.spawn(print, "never")
    except BaseException as error: print("asked", type(error).__name__, flush=True)

spawn_raw(ask)
sleep(0)
"""


def test_jobs_that_wait_for_a_place_when_the_process_ends_are_told_so() -> None:
    ran = subprocess.run([sys.executable, "-c", AT_THE_END], capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0
    assert ran.stderr.startswith("hub_threadpool: 1 calls still run 0 s after the end of the program")
    assert len(ran.stderr.splitlines()) == 1
    asked, first, waits, mapped = ran.stdout.splitlines()
    assert (asked, first) == ("asked PoolKilledError", "True True")
    for line in (waits, mapped):
        assert line.startswith("PoolKilledError <")
        assert line.endswith("never ran: the process ends")
