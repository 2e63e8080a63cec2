"""`map` and its relatives by themselves.  Maps that end early: test_mapping_ends.py.

With greenlets that are killed: tests/journeys/test_executor.py.
"""

from __future__ import annotations

import contextvars
import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from tests.hub_threadpool.conftest import Gate, double, in_thread

from hub_api import InvalidThreadUseError
from hub_threadpool import ThreadPool

if TYPE_CHECKING:
    from tests.hub_threadpool.fakes import FakeHub


# -- apply_async ----------------------------------------------------------------------------------------------------


def test_apply_async_tells_the_callback_what_the_call_has_returned(pool: ThreadPool) -> None:
    told: list[int] = []
    job = pool.apply_async(int, ("ff",), {"base": 16}, told.append)
    assert job.get() == 255
    pool.join()
    assert told == [255]


def test_apply_async_does_not_tell_the_callback_of_an_error(pool: ThreadPool, hub: FakeHub) -> None:
    told: list[object] = []
    job = pool.apply_async(divmod, (1, 0), callback=told.append)
    with pytest.raises(ZeroDivisionError):
        job.get()
    assert (told, hub.errors) == ([], [])


def test_a_callback_that_raises_is_reported_and_the_value_is_there(pool: ThreadPool, hub: FakeHub) -> None:
    error = KeyError("a bad callback")

    def fail(value: object) -> None:
        raise error

    job = pool.apply_async(int, ("7",), callback=fail)
    assert job.get() == 7
    pool.join()
    assert hub.errors == [(job, error)]


def test_apply_async_never_waits_for_a_place(pool: ThreadPool) -> None:
    gate = Gate()
    jobs = [pool.apply_async(gate, (number,)) for number in range(50)]
    gate.wait_for(2)
    assert jobs[49].cancel()
    gate.open()
    assert [job.get() for job in jobs[:49]] == list(range(49))


def test_a_callback_must_be_callable(pool: ThreadPool) -> None:
    wrong: Any = 7
    with pytest.raises(TypeError, match="cannot tell 7: it must be callable"):
        pool.apply_async(int, callback=wrong)
    with pytest.raises(TypeError, match="cannot tell 7: it must be callable"):
        pool.map_async(int, ["1"], callback=wrong)
    assert len(pool) == 0


# -- map ------------------------------------------------------------------------------------------------------------


def test_map_is_the_builtin_one_as_a_list(pool: ThreadPool) -> None:
    assert pool.map(double, range(1000)) == [2 * number for number in range(1000)]
    assert pool.map(pow, [2, 3, 4], (3, 2)) == [8, 9]
    assert pool.map(double, []) == []
    assert pool.map(double, iter([1])) == [2]


def test_map_keeps_as_many_workers_busy_as_there_are_places(make_pool: Callable[[int], ThreadPool]) -> None:
    pool, barrier = make_pool(3), threading.Barrier(3, timeout=20)
    assert sorted(pool.map(lambda _: barrier.wait() >= 0, range(9))) == [True] * 9
    assert pool.size == 3


def test_map_raises_the_first_error_in_the_order_of_the_arguments_and_begins_no_more(pool: ThreadPool) -> None:
    called: list[int] = []
    later_has_failed = threading.Event()

    def call(number: int) -> None:
        called.append(number)
        if number == 0:
            assert later_has_failed.wait(20)
            raise KeyError(number)
        later_has_failed.set()
        raise ValueError(number)

    with pytest.raises(KeyError) as caught:
        pool.map(call, range(1000))
    assert caught.traceback[-1].name == "call"
    assert sorted(called) == [0, 1]
    assert len(pool) == 0


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, StopIteration, GeneratorExit])
def test_map_raises_any_exception_of_a_call(pool: ThreadPool, kind: type[BaseException]) -> None:
    def fail(number: int) -> None:
        raise kind("from the worker")

    with pytest.raises(kind, match="from the worker"):
        pool.map(fail, [1])


def test_an_error_of_the_iterable_comes_before_any_call(pool: ThreadPool) -> None:
    def numbers() -> Iterator[int]:
        yield 1
        raise LookupError("no more")

    called: list[int] = []
    with pytest.raises(LookupError, match="no more"):
        pool.map(called.append, numbers())
    assert called == []


def test_others_get_a_place_while_a_map_has_many_calls_to_make(
    make_pool: Callable[[int], ThreadPool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub_threadpool._mapping.SLICE", 0.0)
    pool, order = make_pool(1), list[object]()
    gate = Gate()

    def call(number: int) -> None:
        if not number:
            gate()
        order.append(number)

    job = pool.map_async(call, range(10))
    gate.wait_for(1)
    other = pool.apply_async(order.append, ("other",))
    gate.open()
    job.get()
    other.get()
    assert order == [0, "other", *range(1, 10)]


def test_map_goes_on_with_more_places_when_there_are_more(
    make_pool: Callable[[int], ThreadPool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub_threadpool._mapping.SLICE", 0.0)
    pool, gate = make_pool(1), Gate()
    job = pool.map_async(gate, range(10))
    gate.wait_for(1)
    pool.maxsize = 4
    pool.apply_async(int)
    gate.open()
    assert job.get() == list(range(10))


def test_a_map_under_way_uses_places_that_are_added(make_pool: Callable[[int], ThreadPool]) -> None:
    pool, gates = make_pool(1), [Gate() for _ in range(6)]
    job = pool.map_async(lambda number: gates[number](number), range(6))
    gates[0].wait_for(1)
    pool.maxsize = 3
    for gate in gates[1:3]:
        gate.wait_for(1)  # none of its calls has ended, and the loop has not run
    assert pool.size == 3
    for gate in gates:
        gate.open()
    assert job.get() == list(range(6))


def test_each_call_of_a_map_has_a_copy_of_the_callers_context(pool: ThreadPool) -> None:
    var: contextvars.ContextVar[str] = contextvars.ContextVar("var")
    var.set("the caller's")

    def call(number: int) -> str:
        seen = var.get()
        var.set("a worker's")
        return seen

    assert pool.map(call, range(20)) == ["the caller's"] * 20
    assert list(pool.imap(call, range(20))) == ["the caller's"] * 20


def test_a_map_frees_arguments_as_its_calls_are_made(make_pool: Callable[[int], ThreadPool]) -> None:
    class Big:
        pass

    pool, gate = make_pool(1), Gate()
    alive: list[int] = []
    refs: list[weakref.ref[Big]] = []

    def call(big: Big) -> None:
        gate()
        alive.append(sum(ref() is not None for ref in refs))

    def bigs() -> Iterator[Big]:
        for _ in range(5):
            big = Big()
            refs.append(weakref.ref(big))
            yield big

    job = pool.map_async(call, bigs())
    gate.open()
    job.get()
    gc.collect()
    assert alive == [5, 4, 3, 2, 1]
    assert all(ref() is None for ref in refs)


def test_map_async_is_a_job(pool: ThreadPool) -> None:
    gate, told = Gate(), list[list[object]]()
    job = pool.map_async(gate, "ab", callback=told.append)
    assert not job.ready()
    with pytest.raises(TimeoutError):
        job.get(timeout=0.001)
    linked: list[object] = []
    job.rawlink(linked.append)
    gate.open()
    assert job.get() == ["a", "b"]
    assert (job.ready(), job.successful(), job.value, job.exception) == (True, True, ["a", "b"], None)
    assert told == [["a", "b"]]
    assert linked == [job]
    assert not job.cancel()
    assert repr(job).endswith("done>")


def test_a_map_without_arguments_has_ended_at_once(pool: ThreadPool) -> None:
    job = pool.map_async(double, [])
    assert job.ready()
    assert job.get() == []


def test_a_job_that_maps_on_its_own_pool_does_so_where_it_is(make_pool: Callable[[int], ThreadPool]) -> None:
    pool = make_pool(1)
    assert pool.apply(pool.map, (double, [1, 2])) == [2, 4]
    assert pool.apply(lambda: pool.map(double, [3], lane="other")) == [6]


def test_another_thread_is_refused(pool: ThreadPool) -> None:
    for call in (
        lambda: pool.map(double, [1]),
        lambda: pool.map_async(double, [1]),
        lambda: pool.apply_async(double, (1,)),
        lambda: pool.imap(double, [1]),
    ):
        assert isinstance(in_thread(call), InvalidThreadUseError)
    results = pool.imap(double, [1])
    assert isinstance(in_thread(lambda: next(results)), InvalidThreadUseError)
    job = pool.map_async(double, [1])
    assert isinstance(in_thread(job.cancel), InvalidThreadUseError)
    assert job.get() == [2]


@pytest.mark.parametrize("how", ["map", "map_async", "imap", "imap_unordered"])
def test_what_is_no_function_or_no_iterable_is_refused_at_the_call(pool: ThreadPool, how: str) -> None:
    call = getattr(pool, how)
    with pytest.raises(TypeError, match="cannot run 7 in a thread"):
        call(7, [1])
    with pytest.raises(TypeError, match="it takes at least one iterable"):
        call(double)
    with pytest.raises(TypeError, match=r"not iterable|support iteration"):
        call(double, 7)
    assert len(pool) == 0


def test_all_of_them_run_in_a_lane(pool: ThreadPool) -> None:
    gate = Gate()
    busy = [pool.spawn(gate) for _ in range(2)]
    assert pool.map(double, [1], lane="other") == [2]
    assert pool.map_async(double, [1], lane="other").get() == [2]
    assert list(pool.imap(double, [1], lane="other")) == [2]
    assert list(pool.imap_unordered(double, [1], lane="other")) == [2]
    assert pool.apply_async(double, (1,), lane="other").get() == 2
    lane = pool.lane("other")
    assert lane.map(double, [1, 2]) == [2, 4]
    assert list(lane.imap(double, [1])) == [2]
    with pytest.raises(TypeError, match="has no lanes of its own, so not 'more' either"):
        lane.map(double, [1], lane="more")
    gate.open()
    for job in busy:
        job.get()
