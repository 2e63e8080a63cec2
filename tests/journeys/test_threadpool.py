"""The thread pool and the thread resolver under a real hub: greenlets park, go on, and are killed."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from greenlet import greenlet

from greenlet_hub import (
    BlockingSwitchOutError,
    GreenletExit,
    Hub,
    ThreadPool,
    get_hub,
    kill,
    set_hub,
    set_loop,
    sleep,
    spawn_raw,
)


@pytest.fixture
def hub() -> Iterator[Hub]:
    """This thread's hub, made for the test; its pool's threads are waited for."""
    set_hub(None)
    set_loop(None)
    made = get_hub()
    made.threadpool_size = 2
    yield made
    pool = made.threadpool
    made.destroy(destroy_loop=True)
    assert isinstance(pool, ThreadPool)
    for thread in pool._threads:
        thread.join(10)


def end(*greenlets: greenlet) -> None:
    """Kill them, and come back when they are dead."""
    for each in greenlets:
        kill(each)
    while not all(each.dead for each in greenlets):
        sleep(0)


def test_others_run_while_a_greenlet_waits_for_its_job(hub: Hub) -> None:
    ticks: list[float] = []

    def tick() -> None:
        while True:
            sleep(0.001)
            ticks.append(time.monotonic())

    ticker = spawn_raw(tick)
    hub.threadpool.apply(time.sleep, (0.05,))
    end(ticker)
    assert len(ticks) >= 5


def test_greenlets_get_places_first_come_first_served(hub: Hub) -> None:
    order: list[int] = []
    gate = threading.Event()
    for _ in range(2):
        hub.threadpool.spawn(gate.wait)

    def use(number: int) -> None:
        hub.threadpool.spawn(int)
        order.append(number)

    for number in range(20):
        spawn_raw(use, number)
    sleep(0)
    assert order == []
    gate.set()
    while len(order) < 20:
        sleep(0.001)
    assert order == list(range(20))
    hub.threadpool.join()


def test_a_greenlet_that_is_killed_is_free_at_once_and_its_result_is_dropped(hub: Hub) -> None:
    gate, seen = threading.Event(), list[object]()

    def use() -> None:
        try:
            seen.append(hub.threadpool.apply(gate.wait))
        except GreenletExit:
            seen.append("killed")

    user = spawn_raw(use)
    sleep(0)
    end(user)
    assert seen == ["killed"]
    gate.set()
    hub.threadpool.join()
    assert seen == ["killed"]


@pytest.mark.parametrize("moment", ["parked", "just handed a place"])
def test_a_greenlet_that_is_killed_while_it_waits_for_a_place_costs_none(hub: Hub, moment: str) -> None:
    gate = threading.Event()
    jobs = [hub.threadpool.spawn(gate.wait) for _ in range(2)]
    users = [spawn_raw(hub.threadpool.apply, int) for _ in range(3)]
    sleep(0)
    if moment == "just handed a place":
        hub.loop.run_callback(gate.set)
        while not any(job.ready() for job in jobs):
            hub.loop.run_callback(lambda: None)
            sleep(0)
    end(*users)
    gate.set()
    hub.threadpool.join()
    assert len(hub.threadpool) == 0
    assert hub.threadpool.apply(int) == 0


def test_a_job_that_raises_systemexit_ends_neither_its_worker_nor_the_program(hub: Hub) -> None:
    def leave() -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit, match="3"):
        hub.threadpool.apply(leave)
    assert hub.threadpool.apply(int) == 0


def test_in_a_callback_waiting_for_a_job_is_refused_and_starting_one_is_not(hub: Hub) -> None:
    seen: list[object] = []

    def callback() -> None:
        job = hub.threadpool.spawn(time.sleep, 0.01)
        try:
            job.get()
        except BlockingSwitchOutError:
            seen.append(job)

    hub.loop.run_callback(callback)
    sleep(0.001)
    (job,) = seen
    hub.threadpool.join()
    assert job.ready()  # type: ignore[attr-defined]  # it is the Job


def test_the_loop_stays_alive_for_a_job_alone(hub: Hub) -> None:
    assert hub.threadpool.apply(time.sleep, (0.02,)) is None  # without the pool's `ref` this were LoopExit
    hub.threadpool.spawn(time.sleep, 0.02)
    assert hub.join() is True  # returns when the job has ended, not before
    assert len(hub.threadpool) == 0


def test_a_hub_that_is_destroyed_while_a_job_runs_leaves_nobody_behind(hub: Hub) -> None:
    gate = threading.Event()
    pool = hub.threadpool
    pool.spawn(gate.wait)
    hub.destroy(destroy_loop=True)
    gate.set()
    for thread in pool._threads:
        thread.join(10)
    set_hub(Hub())
    get_hub().threadpool = pool  # for the fixture
    hub = get_hub()
    hub.destroy(destroy_loop=True)


def test_a_destroyed_hubs_loop_goes_on_under_the_next_hub_and_the_job_ends_in_silence(
    hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    gate = threading.Event()
    pool = hub.threadpool
    assert isinstance(pool, ThreadPool)
    job = pool.spawn(gate.wait)
    waiting = spawn_raw(job.get)
    sleep(0)
    end(waiting)
    hub.destroy(destroy_loop=False)
    following = get_hub()
    assert following is not hub
    gate.set()
    while not job.ready():
        sleep(0.001)
    assert capsys.readouterr().err == ""
    for thread in pool._threads:
        thread.join(10)
    following.destroy(destroy_loop=True)


def test_lookups_let_others_run_and_answer_as_libc_does(hub: Hub) -> None:
    import socket

    assert hub.resolver.gethostbyname("localhost") == socket.gethostbyname("localhost")
    with pytest.raises(socket.gaierror) as caught:
        hub.resolver.getaddrinfo("not-a-number", 80, 0, 0, 0, socket.AI_NUMERICHOST)
    assert caught.value.errno == socket.EAI_NONAME


def test_a_thousand_jobs_from_a_hundred_greenlets_all_end_once(hub: Hub) -> None:
    results: list[int] = []

    def use(number: int) -> None:
        for step in range(10):
            _, result = hub.threadpool.apply(divmod, (number * 10 + step, 1000))
            results.append(result)

    for number in range(100):
        spawn_raw(use, number)
    while len(results) < 1000:
        sleep(0.001)
    assert sorted(results) == list(range(1000))
    hub.threadpool.join()
    assert len(hub.threadpool) == 0
