"""The executor where something goes wrong: threads that are refused or end, exceptions between two steps, forks."""

from __future__ import annotations

import ctypes
import os
import threading
import time
import warnings
from typing import TYPE_CHECKING, Any

import pytest
from tests.hub_threadpool.conftest import Gate, Make, wait_until

from hub_api import ForkedError, WorkerLostError
from hub_threadpool import Future, _executor, wait
from hub_threadpool._call import Call

if TYPE_CHECKING:
    from tests.conftest import Kin


# -- threads --------------------------------------------------------------------------------------------------------


def test_a_refused_thread_is_an_error_only_if_there_is_no_other(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    executor = make(2)

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            executor.submit(int)
    gate = Gate()
    first = executor.submit(gate)
    gate.wait_for(1)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        second = executor.submit(int, "2")
    gate.open()
    assert (first.result(), second.result()) == (None, 2)


def test_a_worker_killed_from_outside_strands_nobody(make: Make) -> None:
    executor = make(1)
    ident = executor.submit(threading.get_ident).result()
    while not executor._crew._idle:
        time.sleep(0.0001)
    # It sleeps; the exception is raised in it when it is woken for the next call.
    assert ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(SystemExit)) == 1
    futures = [executor.submit(int, str(number)) for number in range(5)]
    assert [future.result(20) for future in futures] == [0, 1, 2, 3, 4]
    executor.shutdown()


def test_a_job_killed_from_outside_ends_with_what_was_thrown(make: Make) -> None:
    executor, started = make(1), threading.Event()

    def spin() -> None:
        started.set()
        while True:
            time.sleep(0.0001)

    future = executor.submit(spin)
    assert started.wait(20)
    (ident,) = executor._crew.idents
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        future.result(20)
    assert executor.submit(int).result(20) == 0


# -- between two steps ----------------------------------------------------------------------------------------------


def test_a_hook_that_ends_a_thread_as_it_begins_is_an_error_of_submit(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor = make(1)

    def hook(*event: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patched:
        patched.setattr(threading, "excepthook", lambda told: None)
        before = threading.gettrace()
        threading.settrace(hook)
        try:
            with pytest.raises(RuntimeError, match=r"a hook of threading.settrace or threading.setprofile has raised"):
                executor.submit(int)
        finally:
            threading.settrace(before)
    assert executor.submit(int, "3").result(10) == 3


def test_an_interrupt_while_a_thread_starts_loses_neither_the_thread_nor_the_executor(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor, start = make(1), threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        start(thread)
        (worker,) = executor._crew.workers
        wait_until(lambda: not worker._entry)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", interrupted)
        with pytest.raises(KeyboardInterrupt):
            executor.submit(int)
    gate = Gate()
    future = executor.submit(gate)
    gate.wait_for(1)
    assert len(executor._crew.workers) == 1
    shutting = threading.Thread(target=executor.shutdown)
    shutting.start()
    wait_until(lambda: executor._crew.closed)
    assert shutting.is_alive()  # the call runs
    gate.open()
    shutting.join(10)
    assert future.done()


def test_a_thread_that_begins_after_its_starter_has_given_up_makes_no_call(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor, late = make(1), list[threading.Thread]()
    start = threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        late.append(thread)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", interrupted)
        with pytest.raises(KeyboardInterrupt):
            executor.submit(int)
    start(late[0])
    late[0].join(10)
    assert not executor._crew.workers
    assert executor.submit(int, "3").result(10) == 3


def test_an_interrupt_between_waking_a_worker_and_unlisting_it_costs_no_worker(make: Make) -> None:
    executor = make(1)
    executor.submit(int).result()
    crew = executor._crew
    wait_until(lambda: crew._idle)

    class Interrupted(list[Any]):
        def __delitem__(self, index: Any) -> None:
            crew._idle = list(self)
            raise KeyboardInterrupt

    crew._idle = Interrupted(crew._idle)
    with pytest.raises(KeyboardInterrupt):
        executor.submit(int)
    assert [executor.submit(int, text).result(10) for text in "123"] == [1, 2, 3]


@pytest.mark.parametrize("step", ["claim", "run", "_make"])
@pytest.mark.parametrize("after", [False, True])
def test_what_is_thrown_into_a_worker_at_a_step_of_a_call_strands_nobody(
    make: Make, monkeypatch: pytest.MonkeyPatch, step: str, after: bool
) -> None:
    executor, left = make(1), [SystemExit()]
    step_itself = getattr(Call, step)

    def struck(*args: Any) -> Any:
        value = step_itself(*args) if after else None
        if left:
            raise left.pop()
        return value if after else step_itself(*args)

    monkeypatch.setattr(Call, step, struck)
    first, second = executor.submit(int, "1"), executor.submit(int, "2")
    assert isinstance(first.exception(10), SystemExit | None)
    assert second.result(10) == 2
    executor.shutdown()


@pytest.mark.parametrize("step", ["take", "initialize", "leave"])
def test_what_is_thrown_into_a_worker_between_calls_strands_nobody(
    make: Make, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    executor, left = make(1), [SystemExit(), SystemExit()]
    step_itself = getattr(_executor._Crew, step)

    def struck(*args: Any) -> Any:
        value = step_itself(*args)
        if left:
            raise left.pop()
        return value

    monkeypatch.setattr(_executor._Crew, step, struck)
    futures = [executor.submit(int, str(number)) for number in range(5)]
    assert [future.result(10) for future in futures] == [0, 1, 2, 3, 4]
    executor.shutdown()
    assert not executor._crew.workers


def test_a_thread_that_was_ended_before_its_first_line_is_an_error_of_submit(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor = make(1)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "run", lambda thread: None)
        with pytest.raises(RuntimeError, match=r"ended before it began: .* or an exception was thrown into it"):
            executor.submit(int, "1")
    assert not executor._crew.calls
    assert executor.submit(int, "2").result(10) == 2


def test_a_thread_that_was_ended_as_its_start_was_interrupted_twice_is_replaced(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor = make(1)

    def interrupted(worker: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "run", lambda thread: None)
        patched.setattr(_executor._Worker, "await_entry", interrupted)
        patched.setattr(_executor._Worker, "enter", interrupted)
        with pytest.raises(KeyboardInterrupt):
            executor.submit(int, "1")
        (worker,) = executor._crew.workers
        worker.thread.join(10)
    assert executor.submit(int, "2").result(10) == 2


def test_the_last_worker_that_dies_while_the_system_refuses_threads_ends_what_is_queued(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor, gate = make(1), Gate()
    executor.submit(gate)
    second = executor.submit(int)
    gate.wait_for(1)

    def die(crew: object, me: object) -> None:
        raise SystemExit

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(_executor._Crew, "take", die)
        patched.setattr(threading.Thread, "start", refuse)
        gate.open()
        with pytest.raises(WorkerLostError, match="the system gives no other thread"):
            second.result(10)
    assert executor.submit(int, "3").result(10) == 3
    executor.shutdown()


def test_shutdown_that_is_interrupted_can_be_called_again(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    executor = make(1)
    executor.submit(int).result()
    wait_until(lambda: executor._crew._idle)

    def interrupted(worker: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(_executor._Worker, "wake", interrupted)
        with pytest.raises(KeyboardInterrupt):
            executor.shutdown()
    executor.shutdown()
    assert not executor._crew.workers


# -- forks ----------------------------------------------------------------------------------------------------------


def test_in_a_forked_child_the_executor_works_and_what_was_under_way_has_ended(make: Make, kin: Kin) -> None:
    executor, gate = make(2), Gate()
    ended = executor.submit(int, "7")
    ended.result()
    under_way = [executor.submit(gate, number) for number in range(5)]
    gate.wait_for(2)

    def check() -> None:
        assert ended.result() == 7
        for future in under_way:
            with pytest.raises(ForkedError, match="was under way when process"):
                future.result(20)
            with pytest.raises(ForkedError):
                wait([future])
        assert "forked" in repr(executor)
        assert executor.submit(int, "8").result(20) == 8
        executor.shutdown()

    kin.run(check)
    gate.open()
    assert [future.result() for future in under_way] == list(range(5))


def test_a_fork_at_the_worst_moment_leaves_the_child_an_executor_that_works(make: Make, kin: Kin) -> None:
    executor = make(2)
    executor.submit(int).result()
    with executor._crew._lock:
        kin.fork()
    if kin.is_child:
        kin.child_ends(lambda: executor.submit(int).result(20))
    kin.child_ends()


def test_an_executor_that_was_shut_down_is_so_in_the_child(make: Make, kin: Kin) -> None:
    executor = make(1)
    executor.submit(int).result()
    executor.shutdown()

    def check() -> None:
        with pytest.raises(RuntimeError, match="after shutdown"):
            executor.submit(int)
        executor.shutdown()

    kin.run(check)


def test_a_call_that_forks_makes_no_other_call_in_the_child(make: Make) -> None:
    executor, pipe, children = make(1), os.pipe(), list[int]()
    gate = Gate()

    def fork() -> None:
        gate()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child:
            children.append(child)

    futures: list[Future[Any]] = [executor.submit(fork)]
    futures += [executor.submit(lambda: os.write(pipe[1], b"%d " % os.getpid())) for _ in range(3)]
    gate.open()
    for future in futures:
        future.result(10)
    assert os.waitpid(children[0], 0) == (children[0], 0)  # its only thread has ended
    made_in = os.read(pipe[0], 1000).split()
    for end in pipe:
        os.close(end)
    assert made_in == [b"%d" % os.getpid()] * 3
