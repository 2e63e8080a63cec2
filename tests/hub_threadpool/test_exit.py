"""The end of the process: what is waited for, how long, and what is said of the rest."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from weakref import WeakSet

import pytest

import hub_api
import hub_threadpool
from hub_threadpool import ThreadPool, _exit

ROOT = Path(__file__).parents[2]
SOURCES = [str(ROOT), *(str(Path(package.__path__[0]).parent) for package in (hub_api, hub_threadpool))]

PRELUDE = """
import sys, threading, time
sys.path[:0] = {sources!r}
from _thread import get_ident
from hub_threadpool import ThreadPool, ThreadPoolExecutor, set_exit_deadline

class Callback:
    pending = True

class Loop:
    def run_callback_threadsafe(self, func, *args): return Callback()
    def ref(self): pass
    def unref(self): pass

class Hub:
    name, loop, thread_ident = "end", Loop(), get_ident()

def slow(seconds, name):
    time.sleep(seconds)
    print("ended", name, flush=True)

pool = ThreadPool(2, hub=Hub())
"""


def run(program: str) -> tuple[str, str, float]:
    """Run a program that makes jobs and ends: what it wrote, and how many seconds it took."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE.format(sources=SOURCES) + program],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr, time.monotonic() - began


@pytest.mark.parametrize("deadline", ["", "set_exit_deadline(1e300)\n", "set_exit_deadline(float('inf'))\n"])
def test_a_job_that_runs_when_the_program_ends_gets_time_to_end(deadline: str) -> None:
    out, err, _ = run(deadline + "pool.submit(slow, 0.2, 'in time')\n")
    assert (out, err) == ("ended in time\n", "")


def test_who_needs_longer_than_the_deadline_is_named_and_given_up() -> None:
    out, err, seconds = run(
        "set_exit_deadline(0.1)\n"
        "jobs = [pool.submit(slow, 25, 'late'), pool.submit(time.sleep, 25)]\n"
        "while any(job._call for job in jobs): time.sleep(0.001)\n"
        "pool.submit(slow, 0, 'never begun')\n"
    )
    assert out == ""
    assert err.startswith("hub_threadpool: 2 calls still run 0.1 s after the end of the program and are given up: ")
    assert "slow in end-worker-" in err
    assert "sleep in end-worker-" in err
    assert seconds < 20


@pytest.mark.parametrize("seconds", [-1, float("nan")])
def test_a_deadline_that_is_no_time_is_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match="the deadline must be seconds"):
        hub_threadpool.set_exit_deadline(seconds)


def test_idle_threads_keep_nothing_waiting_and_nothing_is_said() -> None:
    out, err, _ = run("pool.submit(slow, 0, 'in time')\ntime.sleep(0.1)\n")
    assert (out, err) == ("ended in time\n", "")


def test_a_forked_child_does_not_wait_for_its_parents_jobs() -> None:
    out, err, _ = run(
        "import os, warnings\n"
        "warnings.simplefilter('ignore')\n"
        "pool.submit(slow, 0.3, 'in the parent')\n"
        "child = os.fork()\n"
        "if child: assert os.waitpid(child, 0)[1] == 0\n"
        "else: print('the child ends', flush=True)\n"
    )
    assert sorted(out.splitlines()) == ["ended in the parent", "the child ends"]
    assert err == ""


HOOK = """
import atexit
from tests.hub_threadpool.fakes import FakeHub

def late():
    try:
        threading.Thread(target=int).start()
    except RuntimeError:
        print("no threads")
    else:
        print("threads")
    for number in range(3):
        try:
            print(pool.apply(abs, (-number,)))
        except RuntimeError as error:
            print(error.__notes__)
    print(len(pool), executor_refuses())

def executor_refuses():
    try:
        executor.submit(abs, -1)
    except RuntimeError as error:
        return error

atexit.register(late)  # before ours, and so called after it
pool = ThreadPool(2, hub=FakeHub())
executor = ThreadPoolExecutor(2, hub=FakeHub())
executor.submit(abs, -1)
assert pool.apply(abs, (-1,)) == 1
"""


def test_a_hook_of_atexit_that_comes_after_ours_can_use_the_pool_if_cpython_starts_threads_then() -> None:
    out, err, _ = run(HOOK)
    threads, *results, end = out.splitlines()
    assert (end, err) == ("0 cannot schedule new futures after shutdown; the process ends", "")
    if threads == "threads":
        assert results == ["0", "1", "2"]
    else:
        assert len(results) == 3
        assert all("The process ends, and CPython 3.12.0 to 3.12.2 start no thread then" in notes for notes in results)


@pytest.mark.parametrize("ends", [True, False])
def test_a_thread_that_is_refused_as_the_process_ends_is_explained(
    pool: ThreadPool, monkeypatch: pytest.MonkeyPatch, ends: bool
) -> None:
    past = threading.Thread(target=int)  # it is not alive

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        if ends:
            patched.setattr(threading, "main_thread", lambda: past)
        with pytest.raises(RuntimeError, match="at interpreter shutdown") as refused:
            pool.apply(abs, (-1,))
    notes = getattr(refused.value, "__notes__", [])
    assert len(notes) == ends
    assert all("Use the pool before the end of the program" in note for note in notes)
    assert (len(pool), pool.size) == (0, 0)
    assert pool.apply(abs, (-2,)) == 2


def test_a_worker_that_has_not_begun_is_neither_joined_nor_named_with_a_time_since_the_start_of_the_system() -> None:
    thread = threading.Thread(target=int)

    class Worker:
        def __init__(self) -> None:
            self.thread = thread

        def doing(self) -> tuple[str, float]:
            return "work", 0.0

    class Crew:
        pid = os.getpid()
        workers = (Worker(),)

        def retire(self) -> None:
            pass

    crew = Crew()
    before = _exit._crews
    _exit._crews = WeakSet([crew])
    try:
        _exit._at_exit()  # to join it would raise RuntimeError
        gate = threading.Event()
        thread = crew.workers[0].thread = threading.Thread(target=gate.wait, args=(10,))
        thread.start()
        assert _exit._describe(crew.workers[0]).endswith("for 0.0 s")
        gate.set()
        thread.join(10)
    finally:
        _exit._crews = before


def test_two_threads_that_start_a_crew_for_the_first_time_have_both_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    class Crew:
        pid = os.getpid()
        workers = ()

        def retire(self) -> None:
            retired.append(self)

    def start(crew: Crew) -> None:
        thread = threading.Thread(target=int)
        _exit.start(crew, thread)
        thread.join(10)

    def make_late() -> WeakSet[Any]:
        """The other thread has its turn, and is faster."""
        monkeypatch.setattr(_exit, "WeakSet", WeakSet)
        start(others)
        return WeakSet()

    retired: list[Crew] = []
    mine, others = Crew(), Crew()
    hooks: list[Callable[[], None]] = []
    monkeypatch.setattr(_exit, "_crews", None)
    monkeypatch.setattr(_exit, "WeakSet", make_late)
    monkeypatch.setattr("atexit.register", hooks.append)
    start(mine)
    (at_exit,) = hooks
    at_exit()
    assert set(retired) == {mine, others}


def test_a_crew_that_another_thread_starts_while_the_process_ends_does_not_end_the_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Crew:
        pid = os.getpid()
        workers = ()

        def retire(self) -> None:
            retired.append(self)

    class Growing(WeakSet[Any]):
        """Another thread adds to it while it is read for the first time."""

        def __iter__(self) -> Iterator[Any]:
            for each in super().__iter__():
                yield each
                if late not in self:
                    self.add(late)

    retired: list[Crew] = []
    crew, late = Crew(), Crew()
    monkeypatch.setattr(_exit, "_crews", Growing([crew]))
    _exit._at_exit()
    assert set(retired) == {crew, late}
