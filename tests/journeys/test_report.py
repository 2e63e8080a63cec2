"""Reports of whole programs: the pool used from inside the pool, and a report that the environment asks for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from greenlet_hub import GreenletExit, Hub, Report, ThreadPool, get_hub, kill, sleep, spawn_raw


@pytest.fixture
def hub(hub: Hub) -> Hub:
    """This thread's hub, with a pool of one."""
    hub.threadpool_size = 1
    return hub


def hints(report: Report) -> list[str]:
    """The kinds of hints."""
    return [hint.key for hint in report.hints]


def test_a_pool_used_from_inside_the_pool_is_named_with_the_line_of_the_job(hub: Hub) -> None:
    # A job needs another job of the same pool, and asks a greenlet for it; the pool has room for one.
    inner_done, running = threading.Event(), threading.Event()

    def inner_job() -> None:
        inner_done.set()

    def ask() -> None:
        try:
            hub.threadpool.apply(inner_job)
        except GreenletExit:
            pass

    def outer_job() -> None:
        hub.loop.run_callback_threadsafe(spawn_raw, ask)
        running.set()
        inner_done.wait(30)

    outer = spawn_raw(hub.threadpool.apply, outer_job)
    while not running.is_set() or "pool-in-pool" not in hints(report := hub.report()):
        sleep(0.001)
    (hint,) = report.hints
    assert f"{__file__}:{outer_job.__code__.co_firstlineno + 3}" in hint.text
    assert {report[number].name for number in hint.greenlets} >= {ask.__qualname__}
    inner_done.set()
    while not outer.dead or hub.report().greenlets:
        sleep(0.001)


def test_a_job_that_waits_for_something_else_gets_no_hint(hub: Hub) -> None:
    begun, done = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        done.wait(30)

    job = hub.threadpool.spawn(work)
    wait = [spawn_raw(job.get), spawn_raw(job.get), spawn_raw(hub.threadpool.join)]
    while not begun.is_set():
        sleep(0.001)
    for _ in range(10):
        assert hints(hub.report()) == []
        sleep(0.001)
    done.set()
    while not all(each.dead for each in wait):
        sleep(0.001)


def test_jobs_of_another_pool_do_not_hide_that_one_waits_for_its_own_place(hub: Hub) -> None:
    running, done = threading.Semaphore(0), threading.Event()

    def work() -> None:
        running.release()
        done.wait(30)

    with ThreadPool(3, hub=hub) as other:
        for _ in range(3):
            other.spawn(work)
        first = hub.threadpool.spawn(work)
        while not running.acquire(blocking=False):
            sleep(0.001)
        second = spawn_raw(hub.threadpool.apply, int)
        while "pool-in-pool" not in hints(hub.report()):
            sleep(0.001)
        done.set()
        first.get()
        while not second.dead:
            sleep(0.001)


def test_a_pool_that_just_has_much_to_do_gets_no_hint(hub: Hub) -> None:
    stop: list[bool] = []

    def work() -> None:
        while not stop:
            pass

    first, second = (spawn_raw(hub.threadpool.apply, work) for _ in range(2))
    sleep(0.005)
    assert hints(hub.report()) == []
    stop.append(True)
    while not (first.dead and second.dead):
        sleep(0.001)


SPINNER = """
import sys
from greenlet_hub import get_hub, sleep, spawn_raw

def parked(): sleep(60)
def spin():
    print("spinning", flush=True)
    while True:
        pass

spawn_raw(parked)
sleep(0)
spawn_raw(spin)
sleep(60)
"""


def test_the_environment_asks_for_a_report_on_a_signal_even_of_a_program_that_spins() -> None:
    environment = {**os.environ, "HUB_REPORT_SIGNAL": "SIGUSR2"}
    with subprocess.Popen(
        [sys.executable, "-c", SPINNER], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout is not None
        assert program.stderr is not None
        try:
            assert program.stdout.readline() == "spinning\n"
            program.send_signal(signal.SIGUSR2)
            lines: list[str] = []
            while not lines or "The loop has" not in lines[-1]:
                lines.append(program.stderr.readline())
                assert lines[-1], lines
        finally:
            program.kill()
    text = "".join(lines)
    assert "'spin', running" in text
    assert "'parked', parked for" in text


def test_a_signal_that_does_not_exist_is_an_error_that_names_the_variable(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.destroy(destroy_loop=True)
    for asked in ("SIGNOTHING", "9", "12345"):
        monkeypatch.setenv("HUB_REPORT_SIGNAL", asked)
        with pytest.raises(ValueError, match=f"HUB_REPORT_SIGNAL is '{asked}'"):
            get_hub()
    monkeypatch.delenv("HUB_REPORT_SIGNAL")
    hub.threadpool = get_hub().threadpool
    get_hub().destroy(destroy_loop=True)


def test_a_killed_wait_leaves_no_trace_in_the_next_report(hub: Hub) -> None:
    it = spawn_raw(sleep, 60)
    sleep(0)
    assert len(hub.report().greenlets) == 1
    kill(it)
    while not it.dead:
        sleep(0)
    assert hub.report().greenlets == ()
    assert hub.report().handles == ()
    hub.threadpool.apply(int)
