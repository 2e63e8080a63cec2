"""`imap` and `imap_unordered` by themselves.  With several greenlets, and such that park: tests/journeys."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from tests.hub_threadpool.conftest import Gate, double, in_thread
from tests.hub_threadpool.test_pool import Killed

from hub_api import PoolKilledError
from hub_threadpool import ThreadPool

if TYPE_CHECKING:
    from tests.hub_threadpool.fakes import FakeHub


@pytest.mark.parametrize("how", ["imap", "imap_unordered"])
def test_results_come_one_by_one_and_each_once(pool: ThreadPool, how: str) -> None:
    assert sorted(getattr(pool, how)(double, range(100))) == [2 * number for number in range(100)]
    assert list(getattr(pool, how)(double, [])) == []
    assert len(pool) == 0


def test_imap_keeps_the_order_of_the_arguments_and_imap_unordered_that_of_the_ends(pool: ThreadPool) -> None:
    gates = [Gate(), Gate()]
    ordered = pool.imap(lambda number: gates[number](number), [0, 1])
    gates[1].open()
    gates[0].open()
    assert list(ordered) == [0, 1]
    gates = [Gate(), Gate()]
    unordered = pool.imap_unordered(lambda number: gates[number](number), [0, 1])
    gates[1].open()
    assert next(unordered) == 1
    gates[0].open()
    assert list(unordered) == [0]


@pytest.mark.parametrize("how", ["imap", "imap_unordered"])
def test_nothing_is_read_before_the_first_next_and_no_more_than_maxsize_ahead(pool: ThreadPool, how: str) -> None:
    read: list[int] = []

    def numbers() -> Iterator[int]:
        for number in range(1000):
            read.append(number)
            yield number

    results = getattr(pool, how)(double, numbers(), maxsize=3)
    assert read == []
    for taken in range(1, 500):
        next(results)
        assert len(read) - taken <= 2
        pool.join()
    assert len(read) <= 502
    results.close()


def test_an_infinite_iterable_is_no_trouble(pool: ThreadPool) -> None:
    import itertools

    results = pool.imap(double, itertools.count())
    assert [next(results) for _ in range(100)] == [2 * number for number in range(100)]
    results.close()
    assert list(results) == []


def test_who_reads_arguments_slowly_does_not_hold_back_results_that_are_there(pool: ThreadPool, hub: FakeHub) -> None:
    read: list[int] = []

    def numbers() -> Iterator[int]:
        for number in range(10):
            read.append(number)
            yield number
            if number:
                pool.join()  # as if to wait for the next argument took a while

    results = pool.imap(double, numbers(), maxsize=8)
    assert next(results) == 0
    assert read == [0, 1, 2]
    assert list(results) == [2 * number for number in range(1, 10)]


def test_an_error_of_a_call_comes_in_its_place_and_the_others_after_it(pool: ThreadPool) -> None:
    results = pool.imap(divmod, [1, 1, 1], [1, 0, 1])
    assert next(results) == (1, 0)
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert next(results) == (1, 0)
    with pytest.raises(StopIteration):
        next(results)
    with pytest.raises(StopIteration):
        next(results)


@pytest.mark.parametrize("how", ["imap", "imap_unordered"])
def test_an_error_of_the_iterable_comes_after_the_results_of_what_was_read(pool: ThreadPool, how: str) -> None:
    def numbers() -> Iterator[int]:
        yield from range(3)
        raise LookupError("no more")

    got: list[int] = []
    results = getattr(pool, how)(double, numbers(), maxsize=10)
    with pytest.raises(LookupError, match="no more"):
        got.extend(results)
    assert sorted(got) == [0, 2, 4]
    assert list(results) == []


def test_who_is_killed_while_reading_the_iterable_hears_of_it_at_once(pool: ThreadPool) -> None:
    def numbers() -> Iterator[int]:
        yield 1
        raise Killed

    gate = Gate()
    results = pool.imap(gate, numbers())
    with pytest.raises(Killed):
        next(results)
    gate.open()
    assert list(results) == [1]


def test_stop_iteration_of_a_call_does_not_end_the_iteration(pool: ThreadPool) -> None:
    results = pool.imap(next, [iter([1]), iter([]), iter([3])])
    assert next(results) == 1
    with pytest.raises(RuntimeError, match="raised StopIteration, which would end the iteration here"):
        next(results)
    assert list(results) == [3]


@pytest.mark.parametrize("how", ["imap", "imap_unordered"])
@pytest.mark.parametrize("leave", ["close", "drop", "drop in another thread"])
def test_an_iterator_that_is_left_halfway_cancels_what_has_not_begun(
    make_pool: Callable[[int], ThreadPool], how: str, leave: str
) -> None:
    pool, gate = make_pool(1), Gate()
    made: list[object] = []

    def call(number: int) -> int:
        made.append(number)
        if number:
            gate(number)
        return number

    results = [getattr(pool, how)(call, range(100), maxsize=10)]
    pool.apply(int)
    assert next(results[0]) == 0
    while len(pool) < 5:  # take until several wait
        results[0]._read_on()
    gate.wait_for(1)
    if leave == "close":
        results[0].close()
        assert list(results[0]) == []
    elif leave == "drop":
        results.clear()
    else:
        assert in_thread(results.clear) is None
    gate.open()
    pool.join()
    assert made == [0, 1]


@pytest.mark.parametrize("how", ["imap", "imap_unordered"])
def test_who_is_killed_in_next_leaves_the_result_to_whoever_asks_next(pool: ThreadPool, hub: FakeHub, how: str) -> None:
    gate = Gate()
    results = getattr(pool, how)(gate, ["only"])

    def kill() -> None:
        gate.wait_for(1)
        hub.kill_who_waits = Killed()

    hub.loop.run_callback(kill)
    with pytest.raises(Killed):
        next(results)
    gate.open()
    assert list(results) == ["only"]


def test_kill_is_told_in_the_place_of_the_first_call_that_is_not_made(make_pool: Callable[[int], ThreadPool]) -> None:
    pool, gate = make_pool(1), Gate()
    results = pool.imap(gate, range(10), maxsize=3)

    def kill() -> None:
        gate.wait_for(1)
        pool.kill()
        gate.open()

    pool._loop.run_callback(kill)
    assert next(results) == 0
    for _ in range(2):
        with pytest.raises(PoolKilledError):
            next(results)
    with pytest.raises(PoolKilledError):
        next(results)
    assert list(results) == []


@pytest.mark.parametrize(("maxsize", "kind"), [(0, ValueError), (-1, ValueError), ("3", TypeError), (True, TypeError)])
def test_a_maxsize_that_is_none_is_refused(pool: ThreadPool, maxsize: Any, kind: type[Exception]) -> None:
    with pytest.raises(kind, match="maxsize must be"):
        pool.imap(double, [1], maxsize=maxsize)


def test_results_say_how_it_stands(pool: ThreadPool) -> None:
    results = pool.imap(double, [1, 2])
    assert iter(results) is results
    assert repr(results).endswith("of double, 0 not taken>")
    list(results)
    assert repr(results).endswith("of double, closed>")
