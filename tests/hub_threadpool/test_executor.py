"""The executor by itself, in threads that have no hub.  With greenlets: tests/journeys/test_executor.py.

What else befalls it, forks and interrupts: test_executor_faults.py.  Futures: test_future.py.
"""

from __future__ import annotations

import concurrent.futures
import contextvars
import gc
import os
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures.thread import BrokenThreadPool
from typing import Any, cast

import pytest
from tests.hub_threadpool.conftest import Gate, Make, fail, wait_until
from tests.hub_threadpool.fakes import NoHub

from hub_api import IHub
from hub_threadpool import Future, ThreadPoolExecutor, as_completed, wait

# -- submit and result ----------------------------------------------------------------------------------------------


def test_a_future_has_what_the_call_returned(executor: ThreadPoolExecutor) -> None:
    assert executor.submit(pow, 2, 8).result() == 256
    assert executor.submit(int, "ff", base=16).result(timeout=20) == 255
    assert executor.submit(pow, 2, 8).exception() is None


def test_keywords_named_as_those_of_submit_go_to_the_function(executor: ThreadPoolExecutor) -> None:
    def call(**kwargs: int) -> dict[str, int]:
        return kwargs

    assert executor.submit(call, fn=1, self=2).result() == {"fn": 1, "self": 2}


def test_a_future_is_one_of_the_standard_librarys(executor: ThreadPoolExecutor) -> None:
    assert isinstance(executor, concurrent.futures.Executor)
    future = executor.submit(int)
    assert isinstance(future, concurrent.futures.Future)
    assert future.result() == 0
    assert repr(future).endswith("state=finished returned int>")


def test_what_cannot_be_called_is_refused_by_submit(executor: ThreadPoolExecutor) -> None:
    with pytest.raises(TypeError, match="cannot run 7 in a thread"):
        executor.submit(7)  # type: ignore[arg-type]  # what is tested


@pytest.mark.parametrize("kind", [ValueError, SystemExit, KeyboardInterrupt, GeneratorExit, StopIteration])
def test_any_exception_is_the_futures_and_the_worker_lives_on(executor: ThreadPoolExecutor, kind: type) -> None:
    error = kind("from the worker")
    future = executor.submit(fail, error)
    with pytest.raises(kind, match="from the worker") as caught:
        future.result()
    assert caught.traceback[-1].name == "fail"
    assert future.exception() is error
    assert executor.submit(int).result() == 0


def test_a_wait_that_takes_too_long_ends_with_timeout_error(executor: ThreadPoolExecutor) -> None:
    gate = Gate()
    future = executor.submit(gate)
    gate.wait_for(1)
    for timeout in (0, -1, 0.001):
        with pytest.raises(TimeoutError, match="has not ended after"):
            future.result(timeout)
        with pytest.raises(TimeoutError):
            future.exception(timeout)
    assert not future._links  # nothing is left of those who have given up
    gate.open()
    assert future.result() is None


def test_many_threads_may_wait_for_one_future(executor: ThreadPoolExecutor) -> None:
    gate, got = Gate(), list[object]()
    future = executor.submit(gate, "all")
    threads = [threading.Thread(target=lambda: got.append(future.result())) for _ in range(5)]
    for thread in threads:
        thread.start()
    gate.open()
    for thread in threads:
        thread.join(20)
    assert got == ["all"] * 5


def test_the_context_of_the_caller_is_seen_by_the_call_and_not_changed_by_it(executor: ThreadPoolExecutor) -> None:
    var: contextvars.ContextVar[str] = contextvars.ContextVar("var")
    var.set("the caller's")

    def call() -> str:
        seen = var.get()
        var.set("the worker's")
        return seen

    assert [executor.submit(call).result() for _ in range(2)] == ["the caller's"] * 2
    assert var.get() == "the caller's"


def test_a_worker_keeps_nothing_of_a_call_that_has_ended(executor: ThreadPoolExecutor) -> None:
    class Big:
        def method(self) -> None:
            raise KeyError

    big = Big()
    gone = weakref.ref(big)
    future = executor.submit(big.method)
    del big
    with pytest.raises(KeyError):
        future.result()
    assert gone() is not None  # the traceback has it
    del future
    executor.submit(int).result()
    gc.collect()
    assert gone() is None


def test_an_ended_future_is_freed_without_the_collector(executor: ThreadPoolExecutor) -> None:
    gc.collect()
    gc.disable()
    try:
        future: Future[list[object]] = executor.submit(list)
        future.result()
        gone: weakref.ref[Future[list[object]]] = weakref.ref(future)
        executor.submit(int).result()
        executor.submit(int).result()
        del future
        deadline = time.monotonic() + 20
        while gone() is not None and time.monotonic() < deadline:  # its worker may be at its last line
            time.sleep(0.001)
        assert gone() is None
    finally:
        gc.enable()


# -- threads --------------------------------------------------------------------------------------------------------


def test_no_thread_is_started_before_the_first_call_and_none_while_one_is_idle(make: Make) -> None:
    before = threading.active_count()
    executor = make(8)
    assert threading.active_count() == before
    for _ in range(20):
        executor.submit(int).result()
        while not executor._crew._idle:  # it has told us, and is about to lie down
            time.sleep(0.0001)
    assert len(executor._crew.workers) == 1


def test_there_are_as_many_threads_as_calls_and_never_more_than_allowed(make: Make) -> None:
    executor, gate = make(4), Gate()
    futures = [executor.submit(gate) for _ in range(20)]
    gate.wait_for(4)
    assert len(executor._crew.workers) == 4
    gate.open()
    assert not wait(futures, 20).not_done


def test_workers_are_daemons_and_carry_the_prefix(make: Make) -> None:
    executor = make(1, thread_name_prefix="disk")
    thread = executor.submit(threading.current_thread).result()
    assert thread.name == "disk_0"
    assert thread.daemon
    other = make(1).submit(threading.current_thread).result()
    assert other.name.startswith("ThreadPoolExecutor-")


def test_the_number_of_workers_is_the_standard_librarys_unless_given(make: Make) -> None:
    assert make()._crew.size == min(32, (os.cpu_count() or 1) + 4)


@pytest.mark.parametrize(("workers", "kind"), [(0, ValueError), (-1, ValueError), ("2", TypeError), (True, TypeError)])
def test_a_number_of_workers_that_is_none_is_refused(make: Make, workers: object, kind: type[Exception]) -> None:
    with pytest.raises(kind, match="max_workers must be"):
        make(workers)


# -- nested ---------------------------------------------------------------------------------------------------------


def test_a_job_may_wait_for_a_job_of_its_own_executor_even_with_one_worker(make: Make) -> None:
    executor = make(1)

    def down(depth: int) -> int:
        return depth if not depth else executor.submit(down, depth - 1).result() + 1

    assert executor.submit(down, 10).result(20) == 10


@pytest.mark.parametrize("how", [wait, as_completed])
def test_a_job_may_wait_for_several_of_its_own_executor(make: Make, how: Callable[..., Any]) -> None:
    executor = make(1)

    def several() -> int:
        futures = [executor.submit(int, "2") for _ in range(3)]
        list(how(futures))
        return sum(future.result() for future in futures)

    assert executor.submit(several).result(20) == 6


def test_a_job_may_map_on_its_own_executor(make: Make) -> None:
    executor = make(1)
    assert executor.submit(lambda: list(executor.map(abs, [-1, -2]))).result(20) == [1, 2]


def test_a_job_cannot_wait_for_the_end_of_its_own_executor(make: Make) -> None:
    executor = make(1)
    with pytest.raises(RuntimeError, match=r"cannot wait for all jobs to end, for it is one of them"):
        executor.submit(executor.shutdown).result(20)
    executor.submit(executor.shutdown, wait=False).result(20)


# -- map ------------------------------------------------------------------------------------------------------------


def test_map_gives_results_in_order_and_begins_without_being_iterated(executor: ThreadPoolExecutor) -> None:
    called: list[int] = []

    def negate(number: int) -> int:
        called.append(number)
        return -number

    results = executor.map(negate, range(10))
    while len(called) < 10:
        time.sleep(0.0001)
    assert list(results) == [-number for number in range(10)]
    assert list(executor.map(pow, [2, 3], [2, 2, 9], chunksize=2)) == [4, 9]


def test_map_raises_where_the_call_did(executor: ThreadPoolExecutor) -> None:
    results = executor.map(divmod, [1, 1, 1], [1, 0, 1])
    assert next(results) == (1, 0)
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_map_has_a_timeout_and_cancels_what_has_not_begun(make: Make) -> None:
    executor, gate = make(1), Gate()
    called: list[int] = []

    def call(number: int) -> int:
        called.append(number)
        gate()
        return number

    results = executor.map(call, [1, 2, 3], timeout=0.01)
    wait_until(lambda: called)  # else the first call, too, may not have begun in time
    with pytest.raises(TimeoutError):
        next(results)
    gate.open()
    executor.shutdown()
    assert called == [1]


# -- initializers ---------------------------------------------------------------------------------------------------


def test_each_thread_is_initialized_once_before_its_first_call(make: Make) -> None:
    local, gate = threading.local(), Gate()
    executor = make(3, initializer=lambda value: setattr(local, "value", value), initargs=("set",))
    futures = [executor.submit(lambda: gate(local.value)) for _ in range(9)]
    gate.open()
    assert [future.result() for future in futures] == ["set"] * 9


def test_an_initializer_that_raises_breaks_the_executor(make: Make, others_hub: NoHub) -> None:
    error, reached = ZeroDivisionError("no"), Gate()

    def initialize() -> None:
        reached()
        raise error

    executor = make(1, initializer=initialize)
    futures = [executor.submit(int) for _ in range(3)]
    reached.open()
    for future in futures:
        with pytest.raises(BrokenThreadPool, match="raised ZeroDivisionError") as caught:
            future.result(20)
        assert caught.value.__cause__ is error
    with pytest.raises(BrokenThreadPool):
        executor.submit(int)
    assert "broken" in repr(executor)
    executor.shutdown()
    assert others_hub.errors == [(initialize, error)]


def test_an_initializer_must_be_callable(make: Make) -> None:
    with pytest.raises(TypeError, match="initializer must be a callable"):
        make(1, initializer=7)


# -- shutdown -------------------------------------------------------------------------------------------------------


def test_after_shutdown_no_call_is_taken(executor: ThreadPoolExecutor) -> None:
    executor.submit(int)
    executor.shutdown()
    executor.shutdown()
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        executor.submit(int)
    assert "shut down" in repr(executor)


def test_shutdown_makes_the_calls_that_were_taken_and_ends_the_threads(make: Make) -> None:
    before = threading.active_count()
    with make(5) as executor:
        futures = [executor.submit(time.sleep, 0.001) for _ in range(50)]
    assert all(future.done() for future in futures)
    assert threading.active_count() == before


def test_shutdown_without_wait_returns_at_once_and_the_calls_are_made(make: Make) -> None:
    executor, gate = make(2), Gate()
    futures = [executor.submit(gate, number) for number in range(6)]
    gate.wait_for(2)
    executor.shutdown(wait=False)
    gate.open()
    assert [future.result() for future in futures] == list(range(6))


@pytest.mark.parametrize("waits", [True, False])
def test_shutdown_can_cancel_what_has_not_begun(make: Make, waits: bool) -> None:
    executor, gate = make(2), Gate()
    futures = [executor.submit(gate) for _ in range(6)]
    gate.wait_for(2)
    if waits:
        opener = threading.Timer(0.01, gate.open)
        opener.start()
        executor.shutdown(cancel_futures=True)
        opener.join()
    else:
        executor.shutdown(wait=False, cancel_futures=True)
        gate.open()
    assert not concurrent.futures.wait(futures, 20).not_done  # told of the cancelled ones too
    assert [future.cancelled() for future in futures] == [False, False, True, True, True, True]
    assert [future.exception() for future in futures[:2]] == [None, None]


def test_an_executor_that_is_forgotten_makes_its_calls_and_lets_the_threads_go(others_hub: NoHub) -> None:
    executor = ThreadPoolExecutor(2, hub=cast(IHub, others_hub))
    gate = Gate()
    futures = [executor.submit(gate, number) for number in range(5)]
    gate.wait_for(2)
    crew = executor._crew
    del executor
    gc.collect()
    gate.open()
    assert [future.result() for future in futures] == list(range(5))
    crew.ended.result(20)
    for thread in crew.left:
        thread.join(20)


def test_an_executor_that_is_collected_while_a_worker_holds_the_lock_lets_the_threads_go(others_hub: NoHub) -> None:
    executor = ThreadPoolExecutor(1, hub=cast(IHub, others_hub))
    executor.submit(int).result()
    crew = executor._crew
    while not crew._idle:
        time.sleep(0.0001)
    with crew._lock:  # the collector runs in this very thread
        del executor
        gc.collect()
        assert not crew.closed
        call = crew._idle.pop()
    call.bell.release()
    crew.ended.result(20)
    for thread in crew.left:
        thread.join(20)


def test_submits_that_race_with_shutdown_are_made_or_refused(make: Make) -> None:
    executor, taken, refused = make(2), list[Future[int]](), list[RuntimeError]()

    def submit() -> None:
        try:
            while True:
                taken.append(executor.submit(int))
        except RuntimeError as error:
            refused.append(error)

    threads = [threading.Thread(target=submit) for _ in range(4)]
    for thread in threads:
        thread.start()
    while len(taken) < 100:
        time.sleep(0.0001)
    executor.shutdown()
    for thread in threads:
        thread.join(20)
    assert len(refused) == 4
    assert {future.result(20) for future in taken} == {0}
