"""Futures: cancelled, called back, waited for; and between two steps: interrupted, forked, seen by another thread."""

from __future__ import annotations

import concurrent.futures
import gc
import logging
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION, CancelledError
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import pytest
from tests.hub_threadpool.conftest import Gate, Make, fail, in_thread, wait_until
from tests.hub_threadpool.fakes import NoHub

from hub_api import ForkedError, IHub
from hub_threadpool import Future, ThreadPoolExecutor, _future, as_completed, wait

if TYPE_CHECKING:
    from tests.conftest import Kin


# -- cancel and callbacks -------------------------------------------------------------------------------------------


def test_a_call_is_cancelled_before_it_begins_and_not_after(make: Make) -> None:
    executor, gate = make(1), Gate()
    running = executor.submit(gate, "ran")
    queued = executor.submit(fail, AssertionError("it was made all the same"))
    gate.wait_for(1)
    assert not running.cancel()
    assert running.running()
    assert queued.cancel()
    assert queued.cancel()
    assert queued.cancelled()
    assert queued.done()
    for ask in (queued.result, queued.exception):
        with pytest.raises(CancelledError):
            ask()
    gate.open()
    assert running.result() == "ran"
    assert not running.cancel()
    assert executor.submit(int).result() == 0


def test_cancel_wakes_who_waits(make: Make) -> None:
    executor, gate = make(1), Gate()
    executor.submit(gate)
    queued = executor.submit(int)
    got: list[object] = []

    def ask() -> None:
        try:
            got.append(queued.result(20))
        except CancelledError as error:
            got.append(type(error))

    thread = threading.Thread(target=ask)
    thread.start()
    while not queued._links:
        time.sleep(0.0001)
    queued.cancel()
    thread.join(20)
    assert got == [CancelledError]
    gate.open()


def test_done_callbacks_are_called_once_in_order_by_who_ends_the_future(executor: ThreadPoolExecutor) -> None:
    gate, called = Gate(), list[tuple[int, int, bool]]()
    ended = threading.Event()
    future = executor.submit(gate)

    def note(number: int, it: concurrent.futures.Future[object]) -> None:
        called.append((number, threading.get_ident(), it.done()))

    for number in range(3):
        future.add_done_callback(partial(note, number))
    future.add_done_callback(lambda it: ended.set())
    gate.open()
    assert ended.wait(20)
    worker = called[0][1]
    assert worker != threading.get_ident()
    assert called == [(0, worker, True), (1, worker, True), (2, worker, True)]
    future.add_done_callback(partial(note, 3))
    assert called[3] == (3, threading.get_ident(), True)


def test_a_done_callback_that_raises_is_logged_and_the_others_are_called(
    executor: ThreadPoolExecutor, caplog: pytest.LogCaptureFixture
) -> None:
    gate, ended = Gate(), threading.Event()
    future = executor.submit(gate, "value")
    future.add_done_callback(lambda it: fail(ValueError("a bad callback")))
    future.add_done_callback(lambda it: ended.set())
    with caplog.at_level(logging.ERROR, logger="concurrent.futures"):
        gate.open()
        assert ended.wait(20)
    assert future.result() == "value"
    assert "a bad callback" in caplog.text


def test_a_done_callback_that_exits_reaches_the_hub_and_neither_the_waiters_nor_the_worker(
    make: Make, others_hub: NoHub
) -> None:
    executor, gate = make(1), Gate()
    future = executor.submit(gate, "value")
    error = SystemExit("a callback wants out")
    future.add_done_callback(lambda it: fail(error))
    gate.open()
    assert future.result(20) == "value"
    assert executor.submit(int).result(20) == 0
    assert [value for _, value in others_hub.errors] == [error]


# -- wait and as_completed ------------------------------------------------------------------------------------------

Waits = pytest.mark.parametrize("waits", [wait, concurrent.futures.wait])
Completions = pytest.mark.parametrize("completions", [as_completed, concurrent.futures.as_completed])


@Waits
def test_wait_for_all(executor: ThreadPoolExecutor, waits: Any) -> None:
    futures = [executor.submit(int), executor.submit(fail, ValueError())]
    assert waits(futures, return_when=ALL_COMPLETED) == (set(futures), set())
    assert waits(futures) == (set(futures), set())
    assert waits([]) == (set(), set())


@Waits
def test_wait_for_the_first(executor: ThreadPoolExecutor, waits: Any) -> None:
    gate = Gate()
    slow, fast = executor.submit(gate), executor.submit(int)
    assert waits([slow, fast], return_when=FIRST_COMPLETED) == ({fast}, {slow})
    assert waits([slow, fast, fast], return_when=FIRST_COMPLETED) == ({fast}, {slow})  # it has ended before
    gate.open()


@Waits
def test_wait_for_the_first_exception(executor: ThreadPoolExecutor, waits: Any) -> None:
    gate = Gate()
    slow, fast, bad = executor.submit(gate), executor.submit(int), executor.submit(fail, ValueError())
    assert waits([slow, fast, bad], return_when=FIRST_EXCEPTION) == ({fast, bad}, {slow})
    gate.open()
    assert waits([slow, fast], return_when=FIRST_EXCEPTION) == ({slow, fast}, set())


@Waits
def test_wait_for_a_time(executor: ThreadPoolExecutor, waits: Any) -> None:
    gate = Gate()
    slow, fast = executor.submit(gate), executor.submit(int)
    fast.result()
    assert waits([slow, fast], timeout=0.005) == ({fast}, {slow})
    assert waits([slow, fast], timeout=0) == ({fast}, {slow})
    assert not slow._links
    gate.open()


@Waits
def test_wait_counts_a_cancelled_call_as_ended(make: Make, waits: Any) -> None:
    executor, gate = make(1), Gate()
    slow, queued = executor.submit(gate), executor.submit(int)
    queued.cancel()
    gate.open()
    assert waits([slow, queued], return_when=ALL_COMPLETED) == ({slow, queued}, set())


def test_wait_refuses_conditions_that_it_does_not_know(executor: ThreadPoolExecutor) -> None:
    with pytest.raises(ValueError, match="return_when must be FIRST_COMPLETED"):
        wait([executor.submit(int)], return_when="SOON")


@Completions
def test_futures_come_as_they_end_and_each_once(executor: ThreadPoolExecutor, completions: Any) -> None:
    gate = Gate()
    slow, fast = executor.submit(gate), executor.submit(int)
    iterator = completions([slow, fast, fast, slow])
    assert next(iterator) is fast
    gate.open()
    assert list(iterator) == [slow]
    assert list(completions([])) == []
    assert set(completions([slow, fast])) == {slow, fast}


@Completions
def test_an_iteration_that_takes_too_long_says_how_many_are_left(
    executor: ThreadPoolExecutor, completions: Any
) -> None:
    gate = Gate()
    futures = [executor.submit(gate), executor.submit(gate), _ended(), _ended()]
    with pytest.raises(TimeoutError, match=r"2 \(of 4\) futures unfinished"):
        list(completions(futures, timeout=0.005))
    gate.open()


def _ended() -> concurrent.futures.Future[None]:
    future: concurrent.futures.Future[None] = concurrent.futures.Future()
    future.set_result(None)
    return future


def test_as_completed_keeps_no_future_that_it_has_yielded(executor: ThreadPoolExecutor) -> None:
    futures = [executor.submit(int) for _ in range(3)]
    iterator = as_completed(futures)
    del futures
    gone = weakref.ref(next(iterator))
    executor.submit(int).result()
    gc.collect()
    assert gone() is None
    assert len(list(iterator)) == 2


def test_as_completed_that_is_left_halfway_leaves_no_link(executor: ThreadPoolExecutor) -> None:
    gate = Gate()
    slow = executor.submit(gate)
    futures: list[Any] = [slow, executor.submit(int)]
    iterator = as_completed(futures)
    next(iterator)
    assert slow._links
    cast(Any, iterator).close()
    assert not slow._links
    gate.open()


def test_futures_of_others_may_stand_among_ours(executor: ThreadPoolExecutor) -> None:
    with concurrent.futures.ThreadPoolExecutor(1) as other:
        gate = Gate()
        theirs, ours = other.submit(gate), executor.submit(int)
        futures: list[Any] = [theirs, ours]
        assert wait(futures, return_when=FIRST_COMPLETED).done == {ours}
        iterator = as_completed(futures)
        next(iterator)
        gate.open()
        assert next(iterator) is theirs


@pytest.mark.parametrize("how", [wait, lambda futures: list(as_completed(futures))])
def test_futures_of_others_alone_are_referred_to_the_standard_library(how: Callable[..., Any]) -> None:
    pending: concurrent.futures.Future[None] = concurrent.futures.Future()
    with pytest.raises(TypeError, match=r"use concurrent.futures.wait or as_completed, which block the thread"):
        how([pending])
    how([_ended()])


# -- between two steps ----------------------------------------------------------------------------------------------


def make_future(call: _future.ICall | None = None) -> Future[int]:
    return Future(cast(IHub, NoHub()), call)


def end_without_telling(future: Future[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the result, and be interrupted before our own part of the future learns of it."""

    def interrupted(future: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(concurrent.futures.Future, "_invoke_callbacks", interrupted)
        with pytest.raises(KeyboardInterrupt):
            future.set_result(7)


@pytest.mark.parametrize(
    "look",
    [
        lambda future: future.result(timeout=0),
        lambda future: future.result(),
        lambda future: {None: 7}[future.exception(timeout=0)],
        lambda future: wait([future], timeout=0).done.pop().result(timeout=0),
        lambda future: next(as_completed([future], timeout=0)).result(timeout=0),
    ],
)
def test_a_future_that_says_done_has_its_outcome(
    look: Callable[[Future[int]], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    future = make_future()
    end_without_telling(future, monkeypatch)
    assert future.done()
    assert look(future) == 7


def test_cancel_that_is_interrupted_tells_who_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    future = make_future()
    ended: list[BaseException | None] = []
    waiting = threading.Thread(target=lambda: ended.append(in_thread(lambda: future.result(timeout=10))))
    waiting.start()
    wait_until(lambda: future._links)

    def interrupted(future: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(concurrent.futures.Future, "_invoke_callbacks", interrupted)
        with pytest.raises(KeyboardInterrupt):
            future.cancel()
    waiting.join(10)
    assert isinstance(ended[0], concurrent.futures.CancelledError)


@pytest.mark.parametrize("step", ["_tell", "_unlink"])
def test_who_waits_is_told_although_the_worker_is_interrupted_as_it_tells(
    step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    future, left = make_future(), [SystemExit()]
    sleeper = _future._sleeper(cast(IHub, NoHub()), future, 10)
    future._link(sleeper)
    step_itself: Callable[..., None] = getattr(Future, step)

    def interrupted(future: Future[int], *args: Any) -> None:
        if left:
            raise left.pop()
        step_itself(future, *args)

    monkeypatch.setattr(Future, step, interrupted)
    with pytest.raises(SystemExit):
        future.set_result(7)
    _future.make_up(future)
    assert sleeper.sleep()
    assert sleeper.take() == {future}
    assert not future._links


def test_as_completed_yields_a_future_once_that_is_told_twice() -> None:
    futures = [make_future(), make_future()]
    completed = as_completed(futures, timeout=10)
    threading.Timer(0.01, futures[0].set_result, [1]).start()
    first = next(completed)
    (sleeper,) = futures[1]._links
    sleeper.tell(first)
    futures[1].set_result(2)
    assert [first, *completed] == futures


class Parent:
    """A call of the parent's."""

    forked = True

    def check(self) -> None:
        raise ForkedError("it was under way")

    def help(self) -> None:
        raise AssertionError("nobody helps the parent")


def test_in_a_forked_child_no_question_takes_a_lock_that_may_be_held_for_ever() -> None:
    future = make_future(Parent())
    with future._condition:  # as a thread of the parent's may have done at the fork
        answers: list[object] = []

        def ask() -> None:
            answers.extend([future.done(), future.running(), future.cancelled(), future.cancel(), repr(future)])
            for how in (
                future.result,
                future.exception,
                lambda: wait([future]),
                lambda: list(as_completed([future])),
                lambda: future.add_done_callback(print),
            ):
                with pytest.raises(ForkedError):
                    how()

        asking = threading.Thread(target=ask, daemon=True)
        asking.start()
        asking.join(10)
        assert not asking.is_alive()
    assert answers[:4] == [False] * 4
    assert "of the parent" in str(answers[4])


def test_a_future_that_was_under_way_at_a_fork_can_be_asked_in_the_child(kin: Kin) -> None:
    executor, gate = ThreadPoolExecutor(1, hub=cast(IHub, NoHub())), threading.Event()
    future = executor.submit(gate.wait, 20)
    wait_until(future.running)
    with future._condition:
        kin.fork()
    if kin.is_child:

        def check() -> None:
            assert (future.done(), future.cancel()) == (False, False)
            with pytest.raises(ForkedError):
                wait([future])

        kin.child_ends(check)
    gate.set()
    kin.child_ends()
    assert future.result(10)
    executor.shutdown()


@pytest.mark.parametrize(
    "how",
    [
        lambda futures: wait(futures, return_when=FIRST_COMPLETED).done,
        lambda futures: [next(as_completed(futures))],
    ],
)
def test_a_job_makes_no_more_calls_than_it_waits_for(how: Callable[[list[Any]], Any]) -> None:
    executor, made = ThreadPoolExecutor(1, hub=cast(IHub, NoHub())), list[int]()

    def job() -> tuple[int, int]:
        futures = [executor.submit(made.append, number) for number in range(5)]
        return len(how(futures)), len(made)

    assert executor.submit(job).result(10) == (1, 1)
    executor.shutdown()
    assert len(made) == 5
