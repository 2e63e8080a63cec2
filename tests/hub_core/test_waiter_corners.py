"""The Waiter where it is easily broken: outcomes that equal everything, both directions between threads, clear."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from hub_core import Hub, InvalidThreadUseError, Waiter, kill, sleep, spawn_raw
from hub_core._waiter import NOTHING
from hub_loop import Loop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.hub_core.conftest import Elsewhere


class Agreeable(type):
    """The class of a class that equals everything."""

    def __eq__(cls, other: object) -> bool:
        return True

    __hash__ = type.__hash__


class Yes(metaclass=Agreeable):
    """Equals everything, as do arrays of some libraries; and so does its class."""

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = object.__hash__


def test_an_outcome_that_equals_everything_is_an_outcome_like_others(hub: Hub) -> None:
    yes, waiter = Yes(), Waiter()
    waiter.switch(yes)
    assert waiter.ready()
    assert waiter.successful()
    assert waiter.exc_info is None
    assert waiter.value is yes
    assert waiter.get() is yes
    waiter.clear()
    assert not waiter.ready()
    hub.loop.run_callback(waiter.switch, yes)
    assert waiter.get() is yes


def test_two_outcomes_that_equal_everything_are_delivered_one_after_the_other(hub: Hub) -> None:
    first, second, waiter, got = Yes(), Yes(), Waiter(), list[Any]()

    def receive() -> None:
        got.append(waiter.get())

    spawn_raw(receive)
    sleep(0)
    waiter.switch(first)
    waiter.switch(second)
    assert waiter.value is second
    assert waiter.get() is second
    sleep(0)
    assert got[0] is first
    assert waiter.get() is second


def test_an_outcome_that_equals_everything_outlives_the_greenlet_it_was_for(hub: Hub) -> None:
    yes, waiter = Yes(), Waiter()
    doomed = spawn_raw(waiter.get)
    sleep(0)
    kill(doomed)
    waiter.switch(yes)
    waiter.clear()  # of what is stored, and that is nothing: this one is under way
    sleep(0)
    assert doomed.dead
    assert waiter.get() is yes


@pytest.fixture
def distant_hub() -> Iterator[Hub]:
    """The hub of a thread that lives as long as the test."""
    made, done = threading.Event(), threading.Event()
    hubs: list[Hub] = []

    def run() -> None:
        hub = Hub(Loop(default=False))
        hubs.append(hub)
        made.set()
        done.wait()
        hubs.clear()
        hub.destroy(destroy_loop=True)

    thread = threading.Thread(target=run)
    thread.start()
    made.wait()
    yield hubs[0]
    done.set()
    thread.join()


USES: list[Callable[[Waiter], object]] = [
    lambda waiter: waiter.switch(1),
    lambda waiter: waiter.switch_args(1),
    lambda waiter: waiter.throw(ValueError),
    lambda waiter: waiter.get(),
    lambda waiter: waiter.clear(),
]


@pytest.mark.parametrize("use", USES, ids=["switch", "switch_args", "throw", "get", "clear"])
def test_each_of_two_threads_is_refused_by_the_waiters_of_the_other(
    hub: Hub, distant_hub: Hub, elsewhere: Elsewhere, use: Callable[[Waiter], object]
) -> None:
    # Whichever of the two threads has the higher number.
    here, there = Waiter(hub), Waiter(distant_hub)
    with pytest.raises(InvalidThreadUseError, match="a hub belongs to one thread"):
        elsewhere(lambda: use(here))
    with pytest.raises(InvalidThreadUseError, match="a hub belongs to one thread"):
        use(there)
    assert not here.ready()
    assert not there.ready()
    assert here.greenlet is None


def test_clear_keeps_an_outcome_that_is_under_way_and_forgets_the_one_behind_it(hub: Hub) -> None:
    waiter, got = Waiter(), list[int]()

    def receive() -> None:
        got.append(waiter.get())

    spawn_raw(receive)
    sleep(0)
    waiter.switch(1)
    waiter.switch(2)
    waiter.clear()
    assert not waiter.ready()
    sleep(0)
    assert got == [1]
    assert not waiter.ready()


def test_a_third_outcome_replaces_the_one_behind_the_delivery(hub: Hub) -> None:
    waiter, got = Waiter(), list[int]()

    def receive() -> None:
        got.extend((waiter.get(), waiter.get()))

    spawn_raw(receive)
    sleep(0)
    for value in (1, 2, 3):
        waiter.switch(value)
    sleep(0)
    assert got == [1, 3]


def test_what_stands_for_a_missing_outcome_says_so() -> None:
    assert repr(NOTHING) == "nothing"


@pytest.mark.parametrize("arguments", [(ValueError, "text", None), (ValueError, ("text",), None), (ValueError, "text")])
def test_throw_takes_a_triple_of_three_and_not_of_four(hub: Hub, arguments: tuple[Any, ...]) -> None:
    waiter = Waiter()
    waiter.throw(*arguments)
    with pytest.raises(ValueError, match=r"^text$"):
        waiter.get()
    with pytest.raises(TypeError, match=r"or a \(type, value, traceback\) triple"):
        waiter.throw(ValueError, "text", None, None)


def test_a_stored_outcome_wakes_no_loop_and_a_delivery_does(clocked_hub: Hub, poller: Any, clock: Any) -> None:
    began, woke = clock(), list[float]()
    waiter, stored = Waiter(), Waiter()

    def receive() -> None:
        waiter.get()
        woke.append(clock())

    def handler() -> None:  # a signal's, in the poll
        stored.switch(1)
        waiter.switch(None)

    spawn_raw(receive)
    poller.when_blocking(handler)
    sleep(10)
    assert woke == [began]
    assert stored.value == 1
