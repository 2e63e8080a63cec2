"""The executor and the map family under a real hub: greenlets park, are killed, and meet other hubs and asyncio."""

from __future__ import annotations

import asyncio
import concurrent.futures
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from greenlet import greenlet

from greenlet_hub import (
    BlockingSwitchOutError,
    GreenletExit,
    Hub,
    LoopExit,
    ThreadPool,
    ThreadPoolExecutor,
    kill,
    set_hub,
    sleep,
    spawn_raw,
    wait_reason,
)
from hub_threadpool import as_completed, wait
from hub_threadpool._outbox import AT_MOST


@pytest.fixture
def executor(hub: Hub) -> Iterator[ThreadPoolExecutor]:
    """An executor with two workers."""
    with ThreadPoolExecutor(2, hub=hub) as made:
        yield made


@pytest.fixture
def pool(hub: Hub) -> Iterator[ThreadPool]:
    """A pool with two places."""
    with ThreadPool(2, hub=hub) as made:
        yield made
    for thread in [thread for thread in threading.enumerate() if "-worker-" in thread.name]:
        thread.join(20)


def end(*greenlets: greenlet) -> None:
    """Kill them, and come back when they are dead."""
    for each in greenlets:
        kill(each)
    while not all(each.dead for each in greenlets):
        sleep(0)


class Beats:
    """A greenlet that counts: it can only while nobody blocks the thread."""

    def __init__(self) -> None:
        self.count = 0
        self._greenlet = spawn_raw(self._beat)

    def _beat(self) -> None:
        while True:
            sleep(0.001)
            self.count += 1

    def end(self) -> int:
        """How many beats there were."""
        end(self._greenlet)
        return self.count


# -- the executor ---------------------------------------------------------------------------------------------------


def test_every_wait_of_the_executor_lets_other_greenlets_run(hub: Hub) -> None:
    def hold(beats: Beats) -> bool:
        before = beats.count
        deadline = time.monotonic() + 20
        while beats.count < before + 3 and time.monotonic() < deadline:
            time.sleep(0.001)
        return beats.count >= before + 3

    beats = Beats()
    executor = ThreadPoolExecutor(2, hub=hub)
    assert executor.submit(hold, beats).result()
    assert executor.submit(hold, beats).result(20)
    assert executor.submit(hold, beats).exception() is None
    assert list(executor.map(hold, [beats] * 2)) == [True] * 2
    assert all(future.result() for future in wait([executor.submit(hold, beats) for _ in range(2)]).done)
    assert all(future.result() for future in as_completed([executor.submit(hold, beats) for _ in range(2)]))
    last = executor.submit(hold, beats)
    executor.shutdown()
    assert last.result()
    beats.end()


def test_a_wait_with_a_timeout_ends_in_time_and_leaves_nothing(hub: Hub, executor: ThreadPoolExecutor) -> None:
    gate = threading.Event()
    future = executor.submit(gate.wait)
    with pytest.raises(TimeoutError):
        future.result(0.005)
    with pytest.raises(TimeoutError):
        future.result(0)
    assert wait([future], 0.005).not_done == {future}
    with pytest.raises(TimeoutError, match=r"1 \(of 1\) futures unfinished"):
        list(as_completed([future], 0.005))
    assert not future._links
    gate.set()
    assert future.result() is True


def test_a_greenlet_that_is_killed_while_it_waits_is_free_at_once(hub: Hub, executor: ThreadPoolExecutor) -> None:
    gate, ended = threading.Event(), list[type[BaseException]]()
    future = executor.submit(gate.wait)

    def ask() -> None:
        try:
            future.result()
        except GreenletExit as error:
            ended.append(type(error))

    asking = spawn_raw(ask)
    sleep(0)
    end(asking)
    assert ended == [GreenletExit]
    assert not future._links
    gate.set()
    assert future.result() is True


def test_many_greenlets_may_wait_for_one_future_and_each_says_for_what(hub: Hub, executor: ThreadPoolExecutor) -> None:
    gate, got = threading.Event(), list[bool]()
    future = executor.submit(gate.wait)
    asking = [spawn_raw(lambda: got.append(future.result())) for _ in range(10)]
    sleep(0)
    assert wait_reason(asking[0]) is future
    gate.set()
    while not all(each.dead for each in asking):
        sleep(0.001)
    assert got == [True] * 10


def test_a_callback_of_the_loop_may_read_what_has_ended_and_not_wait(hub: Hub, executor: ThreadPoolExecutor) -> None:
    gate, raised = threading.Event(), list[BaseException]()
    ended, pending = executor.submit(int, "7"), executor.submit(gate.wait)
    ended.result()

    def ask() -> None:
        try:
            assert ended.result() == 7
            executor.submit(int)
            pending.result()
        except BaseException as error:
            raised.append(error)

    hub.loop.run_callback(ask)
    sleep(0.001)
    assert [type(error) for error in raised] == [BlockingSwitchOutError]
    gate.set()
    assert pending.result()


def test_a_wait_for_a_future_is_not_a_wait_for_ever(hub: Hub, executor: ThreadPoolExecutor) -> None:
    # Nothing else keeps the loop running: without a ref this would be LoopExit.
    assert executor.submit(time.sleep, 0.01).result() is None
    with pytest.raises(LoopExit):
        hub.switch()


def test_a_greenlet_of_another_hub_parks_there(hub: Hub, executor: ThreadPoolExecutor) -> None:
    seen: list[Any] = []

    def other() -> None:
        beats = Beats()
        gate = threading.Event()
        future = executor.submit(gate.wait)

        def open_later() -> None:
            sleep(0.005)
            gate.set()

        spawn_raw(open_later)
        seen.append(future.result())
        seen.append([done.result() for done in as_completed([executor.submit(int, "8")])])
        seen.append(beats.end() > 0)

    thread = threading.Thread(target=other)
    thread.start()
    while thread.is_alive():
        sleep(0.001)
    thread.join()
    assert seen == [True, [8], True]


def test_a_native_thread_blocks_by_itself(hub: Hub, executor: ThreadPoolExecutor) -> None:
    gate, seen = threading.Event(), list[bool]()
    thread = threading.Thread(target=lambda: seen.append(executor.submit(gate.wait).result()))
    thread.start()
    sleep(0.005)
    gate.set()
    while thread.is_alive():
        sleep(0.001)
    assert seen == [True]


def test_the_standard_librarys_waits_block_the_hubs_thread_and_end_all_the_same(
    hub: Hub, executor: ThreadPoolExecutor
) -> None:
    beats = Beats()
    futures = [executor.submit(time.sleep, 0.01) for _ in range(6)]  # more than workers: they need no hub to go on
    before = beats.count
    assert concurrent.futures.wait(futures, 20).done == set(futures)
    assert set(concurrent.futures.as_completed(futures)) == set(futures)
    assert beats.count == before
    beats.end()


def test_a_hub_that_is_destroyed_leaves_the_executor_to_the_threads(hub: Hub) -> None:
    executor = ThreadPoolExecutor(1, hub=hub)
    gate = threading.Event()
    future = executor.submit(gate.wait)
    waiting = spawn_raw(future.result)
    sleep(0)
    end(waiting)
    hub.destroy(destroy_loop=True)
    gate.set()
    assert future.result(20) is True
    assert executor.submit(int).result(20) == 0
    executor.shutdown()
    set_hub(None)


def test_asyncio_in_another_thread_runs_its_blocking_calls_in_ours(
    hub: Hub, executor: ThreadPoolExecutor, pool: ThreadPool
) -> None:
    async def main() -> list[int]:
        loop = asyncio.get_running_loop()
        first = await asyncio.gather(*(loop.run_in_executor(executor, pow, 2, number) for number in range(10)))
        wrapped = await asyncio.wrap_future(executor.submit(pow, 3, 3))
        with pytest.raises(ZeroDivisionError):
            await loop.run_in_executor(executor, divmod, 1, 0)
        return [*first, wrapped]

    assert pool.apply(asyncio.run, (main(),)) == [*(2**number for number in range(10)), 27]


def test_asyncio_cancels_what_has_not_begun(hub: Hub, pool: ThreadPool) -> None:
    gate, made = threading.Event(), list[str]()

    async def main(executor: ThreadPoolExecutor) -> None:
        loop = asyncio.get_running_loop()
        first = loop.run_in_executor(executor, gate.wait)
        second = loop.run_in_executor(executor, made.append, "second")
        second.cancel()
        await asyncio.sleep(0)  # asyncio passes it on to our future in its next turn
        with pytest.raises(asyncio.CancelledError):
            await second
        gate.set()
        await first

    with ThreadPoolExecutor(1, hub=hub) as executor:
        pool.apply(asyncio.run, (main(executor),))
    assert made == []


PROGRAM = """
import sys, time, threading
from hub_threadpool import set_exit_deadline
from greenlet_hub import ThreadPoolExecutor, get_hub
set_exit_deadline(float(sys.argv[1]))
executor = ThreadPoolExecutor(1, hub=get_hub())
for number in range(3):
    executor.submit(lambda number: (time.sleep(0.01), print(number, flush=True)), number)
if sys.argv[2] == "stuck":
    executor.submit(threading.Event().wait)
print("end of the program", flush=True)
"""


def test_calls_that_are_queued_at_exit_are_made() -> None:
    ran = subprocess.run([sys.executable, "-c", PROGRAM, "30", ""], capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert sorted(ran.stdout.splitlines()) == ["0", "1", "2", "end of the program"]


def test_a_call_that_does_not_end_holds_up_the_exit_for_the_deadline_and_is_named() -> None:
    ran = subprocess.run([sys.executable, "-c", PROGRAM, "0.3", "stuck"], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0
    assert "1 calls still run 0.3 s after the end of the program" in ran.stderr
    assert "Event.wait in ThreadPoolExecutor-0_0" in ran.stderr


# -- the map family -------------------------------------------------------------------------------------------------


def test_maps_let_other_greenlets_run(hub: Hub, pool: ThreadPool) -> None:
    beats = Beats()
    pool.map(time.sleep, [0.005] * 4)
    list(pool.imap(time.sleep, [0.005] * 4))
    list(pool.imap_unordered(time.sleep, [0.005] * 4))
    assert beats.end() >= 3


def test_an_iterable_may_park(hub: Hub, pool: ThreadPool) -> None:
    def slow() -> Iterator[int]:
        for number in range(5):
            sleep(0.001)
            yield number

    assert pool.map(abs, slow()) == [0, 1, 2, 3, 4]
    assert list(pool.imap(abs, slow())) == [0, 1, 2, 3, 4]


def test_a_greenlet_whose_jobs_end_at_once_does_not_starve_the_others(hub: Hub, pool: ThreadPool) -> None:
    turns = 0

    def take_turns() -> None:
        nonlocal turns
        while True:
            sleep(0)
            time.sleep(0.0001)  # lets go of the interpreter's lock, which workers might else not get for seconds
            turns += 1

    other = spawn_raw(take_turns)
    for number in range(1000):
        assert pool.apply(abs, (-number,)) == number
    end(other)
    assert turns >= 1000 // (AT_MOST + 1)


def test_two_greenlets_may_share_an_iterator_and_each_result_goes_to_one(hub: Hub, pool: ThreadPool) -> None:
    for results in (pool.imap(abs, range(100)), pool.imap_unordered(abs, range(100))):
        got: list[list[int]] = [[], []]
        takers = [spawn_raw(mine.extend, results) for mine in got]
        while not all(taker.dead for taker in takers):
            sleep(0.001)
        assert sorted(got[0] + got[1]) == list(range(100))


@pytest.mark.parametrize("maxsize", [1, 3])
@pytest.mark.parametrize("how", ["imap", "imap_unordered"])
def test_more_takers_than_results_under_way_all_come_to_an_end(
    hub: Hub, pool: ThreadPool, how: str, maxsize: int
) -> None:
    gate, got = threading.Event(), list[int]()
    results = getattr(pool, how)(lambda number: gate.wait(20) and number, range(1, 8), maxsize=maxsize)
    takers = [spawn_raw(got.extend, results) for _ in range(5)]
    sleep(0.001)
    gate.set()
    while not all(taker.dead for taker in takers):
        sleep(0.001)
    assert sorted(got) == list(range(1, 8))


@pytest.mark.parametrize("how", ["imap", "imap_unordered", "map"])
def test_the_calls_of_a_killed_consumer_that_have_not_begun_are_not_made(hub: Hub, pool: ThreadPool, how: str) -> None:
    gate, made = threading.Event(), list[int]()

    def call(number: int) -> None:
        made.append(number)
        gate.wait(20)

    def consume() -> None:
        list(getattr(pool, how)(call, range(50)))

    consumer = spawn_raw(consume)
    while len(made) < 2:
        sleep(0.001)
    assert wait_reason(consumer) is not None
    end(consumer)
    del consumer
    gate.set()
    pool.join()
    assert sorted(made) == [0, 1]


def test_a_result_that_a_killed_greenlet_was_woken_for_goes_to_the_next_one(hub: Hub, pool: ThreadPool) -> None:
    gate, got = threading.Event(), list[bool]()
    results = pool.imap_unordered(gate.wait, [20])

    def take() -> None:
        got.extend(results)

    first, second = spawn_raw(take), spawn_raw(take)
    sleep(0.001)
    (job,) = results._jobs
    job.rawlink(lambda job: kill(first))  # linked after the iterator's own link: first has just been woken
    gate.set()
    while not second.dead:
        sleep(0.001)
    assert first.dead
    assert got == [True]
