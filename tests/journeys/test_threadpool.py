"""The thread pool and the thread resolver under a real hub: greenlets park, go on, and are killed.

Forks, and the end of the process: test_threadpool_forks.py.
"""

from __future__ import annotations

import contextvars
import signal
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from greenlet import greenlet
from tests.journeys.conftest import assert_refused_in_another_thread

from greenlet_hub import (
    BlockingSwitchOutError,
    GreenletExit,
    Hub,
    ThreadPool,
    get_hub,
    kill,
    set_hub,
    sleep,
    spawn_raw,
)
from hub_api import PoolKilledError
from hub_threadpool import _outbox


def join_workers() -> None:
    """Wait until the workers of killed pools have ended."""
    for thread in threading.enumerate():
        if "-worker-" in thread.name:
            thread.join(10)
            assert not thread.is_alive(), thread


@pytest.fixture
def hub(hub: Hub) -> Hub:
    """This thread's hub, with a pool of two."""
    hub.threadpool_size = 2
    return hub


def end(*greenlets: greenlet) -> None:
    """Kill them, and come back when they are dead."""
    for each in greenlets:
        kill(each)
    while not all(each.dead for each in greenlets):
        sleep(0)


def test_others_run_while_a_greenlet_waits_for_its_job(hub: Hub) -> None:
    gate, ticks = threading.Event(), list[int]()

    def tick() -> None:
        for number in range(5):
            sleep(0.001)
            ticks.append(number)
        gate.set()

    spawn_raw(tick)
    assert hub.threadpool.apply(gate.wait, (10,)) is True
    assert len(ticks) == 5


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
            time.sleep(0.0001)  # lets go of the interpreter's lock, which workers might else not get for seconds
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
    join_workers()
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
    join_workers()
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


def test_another_thread_is_refused_by_pool_job_and_lane_with_both_threads_and_both_hubs(hub: Hub) -> None:
    pool = hub.threadpool
    job = pool.spawn(int)
    assert_refused_in_another_thread(
        hub, lambda: pool.spawn(int), lambda: pool.apply(int), pool.kill, job.get, job.cancel
    )
    assert job.get() == 0


# -- killed, timed out, interrupted ----------------------------------------------------------------------------------


def test_a_greenlet_that_is_killed_in_apply_before_its_job_began_takes_it_along(hub: Hub) -> None:
    gate, ran = threading.Event(), list[int]()
    for _ in range(2):
        hub.threadpool.spawn(gate.wait)
    users = [spawn_raw(hub.threadpool.apply, ran.append, (number,)) for number in range(20)]
    sleep(0)
    assert len(hub.threadpool) == 22
    end(*users)
    assert len(hub.threadpool) == 2
    gate.set()
    hub.threadpool.join()
    assert ran == []


def test_kill_wakes_those_in_spawn_and_those_whose_jobs_wait(hub: Hub) -> None:
    gate, seen = threading.Event(), list[str]()
    pool = hub.threadpool
    running = [pool.spawn(gate.wait) for _ in range(2)]

    def use(how: Callable[..., object]) -> None:
        try:
            how(int)
        except PoolKilledError:
            seen.append(how.__name__)

    for how in (pool.spawn, pool.apply):
        spawn_raw(use, how)
    sleep(0)
    pool.kill()
    while len(seen) < 2:
        sleep(0)
    assert sorted(seen) == ["apply", "spawn"]
    gate.set()
    assert all(job.get() for job in running)


def test_a_timeout_of_get_frees_the_greenlet_and_of_join_the_joiner(hub: Hub) -> None:
    gate = threading.Event()
    job = hub.threadpool.spawn(gate.wait)
    with pytest.raises(TimeoutError, match="has not ended within"):
        job.get(0.01)
    assert hub.threadpool.join(0.01) is False
    gate.set()
    assert job.get(10) is True
    assert hub.threadpool.join(10) is True


def test_ctrl_c_while_main_waits_strands_nobody(hub: Hub) -> None:
    gate, seen = threading.Event(), list[object]()
    other = spawn_raw(lambda: seen.append(hub.threadpool.apply(gate.wait)))
    job = hub.threadpool.spawn(gate.wait)

    sleep(0)
    hub.loop.run_callback(signal.raise_signal, signal.SIGINT)
    try:
        with pytest.raises(KeyboardInterrupt):
            job.get()
    finally:
        gate.set()
    assert job.get() is True
    while not other.dead:
        sleep(0.001)
    assert seen == [True]
    hub.threadpool.join()


def test_a_job_whose_call_has_been_made_can_be_ended_without_a_turn_of_the_loop(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_outbox, "FOR_SECONDS", 60.0)  # else a slow machine has its turn of the loop first
    gate, linked = threading.Event(), list[object]()
    pool = hub.threadpool
    assert isinstance(pool, ThreadPool)
    job = pool.submit(gate.wait, 10)
    job.rawlink(linked.append)
    assert job.take() is False
    gate.set()
    while not job._finished_at:
        time.sleep(0.001)
    while not pool._ledger.outbox.news:
        time.sleep(0.001)
    assert (job.take(), job.ready(), linked) == (True, True, [job])
    assert job.take() is False
    sleep(0)
    assert linked == [job]


# -- nested ----------------------------------------------------------------------------------------------------------


def test_a_job_has_a_hub_of_its_own_which_ends_with_its_thread(hub: Hub) -> None:
    hubs: list[Hub] = []
    workers: list[threading.Thread] = []  # one that ends is not listed any more when its hub is ended

    def work() -> tuple[bool, int]:
        hubs.append(get_hub())
        workers.append(threading.current_thread())
        sleep(0.001)
        return get_hub() is not hub, get_hub().threadpool.apply(int, ("7",))

    assert hub.threadpool.apply(work) == (True, 7)
    assert hub.threadpool.apply(work) == (True, 7)
    hub.threadpool.kill()
    for worker in workers:
        worker.join(10)
        assert not worker.is_alive(), worker
    assert [made.loop for made in hubs] == [None] * len(hubs)
    hubs.clear()


def test_a_job_may_look_up_names_on_its_callers_resolver(hub: Hub) -> None:
    hub.threadpool.maxsize = 1
    assert hub.threadpool.apply(hub.resolver.gethostbyname, ("localhost",)) == "127.0.0.1"


def test_a_job_sees_the_context_of_its_greenlet(hub: Hub) -> None:
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable")
    seen: list[tuple[int, int]] = []

    def use(number: int) -> None:
        variable.set(number)
        sleep(0)
        seen.append((number, hub.threadpool.apply(variable.get)))

    users = [contextvars.copy_context().run(spawn_raw, use, number) for number in range(10)]
    while not all(user.dead for user in users):
        sleep(0.001)
    assert seen
    assert all(mine == jobs for mine, jobs in seen)


# -- iterators that are shared ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["imap", "imap_unordered"])
@pytest.mark.parametrize("maxsize", [1, 3, None])
def test_greenlets_that_share_an_iterator_over_an_iterable_that_parks_take_all_results(
    hub: Hub, how: str, maxsize: int | None
) -> None:
    taken: list[int] = []
    takers = 4

    def numbers() -> Iterator[int]:
        for number in range(20):
            sleep(0.0005)
            yield number

    def take() -> None:
        while (result := next(results, -1)) >= 0:
            taken.append(result)
        taken.append(-1)

    results = getattr(hub.threadpool, how)(abs, numbers(), maxsize=maxsize)
    taking = [spawn_raw(take) for _ in range(takers)]
    deadline = time.monotonic() + 10
    while not all(taker.dead for taker in taking) and time.monotonic() < deadline:
        sleep(0.001)
    assert sorted(taken) == [-1] * takers + list(range(20))


def test_an_iterator_that_is_closed_while_a_greenlet_reads_for_it_makes_no_call_more(hub: Hub) -> None:
    made: list[int] = []
    ended: list[BaseException | None] = []

    def numbers() -> Iterator[int]:
        sleep(0.01)
        yield 1

    def take() -> None:
        ended.append(next(results, None))

    results = hub.threadpool.imap(made.append, numbers())
    reading = spawn_raw(take)
    sleep(0)
    results.close()
    deadline = time.monotonic() + 10
    while not reading.dead and time.monotonic() < deadline:
        sleep(0.001)
    assert (made, ended) == ([], [None])
