"""Raw greenlets: how they start, in which order, and how they are killed."""

from __future__ import annotations

import threading
import weakref
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, cast

import pytest
from greenlet import GreenletExit, getcurrent, greenlet

from hub_core import Hub, InvalidThreadUseError, Waiter, get_hub, kill, set_hub, sleep, spawn_raw
from hub_loop import Loop

if TYPE_CHECKING:
    from tests.hub_core.conftest import Elsewhere, Reports


class Failure(Exception):
    """Thrown by tests."""


# -- spawning ----------------------------------------------------------------------------------------------------------


def test_spawn_raw_passes_arguments_and_keywords(hub: Hub) -> None:
    got: list[tuple[object, ...]] = []

    def function(*args: object, **kwargs: object) -> None:
        got.append((args, kwargs))

    spawn_raw(function)
    spawn_raw(function, 1, "two")
    spawn_raw(function, 1, key="word")
    hub.join()
    assert got == [((), {}), ((1, "two"), {}), ((1,), {"key": "word"})]


def test_a_spawn_that_is_all_its_greenlet_runs_has_no_spawner_and_works(hub: Hub) -> None:
    ran: list[int] = []
    held = spawn_raw(spawn_raw, ran.append, 1)
    hub.join()
    assert held.dead
    made = greenlet(spawn_raw).switch(ran.append, 2)
    assert made.spawn_code is None
    assert made.spawn_lasti == -1
    hub.join()
    assert ran == [1, 2]


def test_arguments_named_like_our_own_are_the_functions(hub: Hub) -> None:
    got: list[dict[str, object]] = []

    def keep(**kwargs: object) -> None:
        got.append(kwargs)

    spawn_raw(keep, function=1, args=2, kwargs=3, greenlet=4, self=5)
    hub.join()
    assert got == [{"function": 1, "args": 2, "kwargs": 3, "greenlet": 4, "self": 5}]


@pytest.mark.parametrize("wrong", [None, 5, "text"])
def test_what_cannot_be_called_is_refused_at_the_call(hub: Hub, wrong: Any) -> None:
    with pytest.raises(TypeError, match=f"cannot spawn {wrong!r}: it must be callable"):
        spawn_raw(wrong)
    assert hub.join()


def test_a_spawned_greenlet_has_the_hub_as_parent_and_knows_its_loop(hub: Hub) -> None:
    spawned = spawn_raw(sleep, 0)
    assert isinstance(spawned, greenlet)
    assert spawned.parent is hub
    assert cast("Any", spawned).loop is hub.loop
    hub.join()
    assert spawned.dead


def test_nothing_runs_before_the_spawner_parks_and_then_in_order_of_spawning(hub: Hub) -> None:
    order: list[int] = []
    for number in range(5):
        spawn_raw(order.append, number)
    assert order == []
    sleep(0)
    assert order == [0, 1, 2, 3, 4]


def test_what_a_new_greenlet_spawns_comes_after_those_already_new(hub: Hub) -> None:
    order: list[str] = []

    def parent(name: str) -> None:
        order.append(name)
        spawn_raw(order.append, f"child of {name}")

    spawn_raw(parent, "a")
    spawn_raw(parent, "b")
    hub.join()
    assert order == ["a", "b", "child of a", "child of b"]


def test_spawning_in_a_callback_works(hub: Hub) -> None:
    order: list[str] = []
    hub.loop.run_callback(spawn_raw, order.append, "spawned")
    hub.join()
    assert order == ["spawned"]


def test_a_signal_handler_that_spawns_wakes_a_sleeping_loop(clocked_hub: Hub, poller: Any, clock: Any) -> None:
    began, order = clock(), []
    poller.when_blocking(spawn_raw, lambda: order.append(clock()))
    sleep(10)
    assert order == [began]


def test_the_result_is_dropped_and_the_greenlet_freed(hub: Hub) -> None:
    class Result:
        pass

    kept: list[weakref.ref[Result]] = []

    def make() -> Result:
        result = Result()
        kept.append(weakref.ref(result))
        return result

    gone = weakref.ref(spawn_raw(make))
    hub.join()
    assert kept[0]() is None
    assert gone() is None


@pytest.mark.parametrize("held", [True, False], ids=["held", "dropped"])
def test_each_function_finds_itself_in_a_fresh_greenlet(hub: Hub, held: bool) -> None:
    # Greenlets that nobody holds may be recycled; no function may be able to tell.
    seen: list[Any] = []
    dirty: list[str] = []
    marked: ContextVar[bool] = ContextVar("marked", default=False)

    def look(number: int) -> None:
        current: Any = getcurrent()
        dirty.extend(name for name in ("mark", "switch_out") if getattr(current, name, None) is not None)
        if marked.get():
            dirty.append("context")
        marked.set(True)
        current.mark = number
        if number % 3 == 0:
            seen.append(current)
        if number % 4 == 0:
            sleep(0)
        if number % 5 == 0:
            current.switch_out = lambda: None

    spawned = [spawn_raw(look, number) for number in range(100)]
    if not held:
        spawned.clear()
    hub.join()
    assert dirty == []
    assert len({id(each) for each in seen}) == len(seen) == 34
    assert [each.mark for each in seen if each.dead] == [each.mark for each in seen]
    if held:
        assert all(each in spawned for each in seen)


def test_functions_of_dropped_greenlets_do_not_share_context_variables(hub: Hub) -> None:
    variable: ContextVar[int] = ContextVar("variable", default=0)
    seen: list[int] = []

    def look(number: int) -> None:
        seen.append(variable.get())
        variable.set(number)

    for number in range(1, 20):
        spawn_raw(look, number)
    hub.join()
    assert seen == [0] * 19


# -- killing -----------------------------------------------------------------------------------------------------------


def wait_and_note(notes: list[str], name: str = "it") -> None:
    """Park for ever; note how that ended."""
    notes.append(f"{name} started")
    try:
        Waiter().get()
    except BaseException as error:
        notes.append(f"{name} got {type(error).__name__}")
        raise


def test_kill_raises_greenlet_exit_where_the_greenlet_is_parked(hub: Hub, reports: Reports) -> None:
    notes: list[str] = []
    parked = spawn_raw(wait_and_note, notes)
    sleep(0)
    kill(parked)
    assert notes == ["it started"], "kill only marks"
    sleep(0)
    assert notes == ["it started", "it got GreenletExit"]
    assert parked.dead
    assert reports.take() == ""


def test_kill_before_the_start_ends_the_greenlet_without_running_it(hub: Hub, reports: Reports) -> None:
    notes: list[str] = []
    new = spawn_raw(wait_and_note, notes)
    kill(new)
    assert not new.dead, "kill only marks"
    hub.join()
    assert notes == []
    assert new.dead
    assert reports.take() == ""


def test_kill_before_the_start_with_an_error_is_reported_once_and_the_first_one_counts(
    hub: Hub, reports: Reports
) -> None:
    notes: list[str] = []
    new = spawn_raw(notes.append, "ran")
    kill(new, Failure)
    kill(new, ZeroDivisionError)
    hub.join()
    assert notes == []
    assert reports.take().count(f" {new!r} failed with Failure\n\n") == 1


def test_a_plain_greenlet_that_nobody_has_scheduled_is_killed_too(hub: Hub) -> None:
    notes: list[str] = []
    never = greenlet(notes.append, hub)
    kill(never)
    hub.join()
    assert never.dead
    assert notes == []


def test_kill_of_the_hub_is_refused(hub: Hub) -> None:
    with pytest.raises(ValueError, match=r"use its destroy\(\)"):
        kill(hub)
    assert hub.join()


def test_kill_of_a_ready_greenlet_that_yields(hub: Hub) -> None:
    notes: list[str] = []

    def spin() -> None:
        try:
            while True:
                sleep(0)
        except GreenletExit:
            notes.append("killed")
            raise

    spinner = spawn_raw(spin)
    sleep(0)
    kill(spinner)
    hub.join()
    assert notes == ["killed"]


def test_kill_of_a_sleeping_greenlet_takes_its_timer_away(clocked_hub: Hub, clock: Any) -> None:
    began = clock()
    sleeper = spawn_raw(sleep, 1000)
    sleep(0)
    kill(sleeper)
    assert clocked_hub.join()
    assert clock() == began


def test_killing_a_dead_one_or_the_same_twice_is_fine(hub: Hub) -> None:
    notes: list[str] = []
    parked = spawn_raw(wait_and_note, notes)
    sleep(0)
    kill(parked)
    kill(parked)
    hub.join()
    kill(parked)
    assert hub.join()
    assert notes == ["it started", "it got GreenletExit"]


@pytest.mark.parametrize("exception", [Failure, Failure("an instance")])
def test_kill_with_an_exception_of_ones_own(hub: Hub, reports: Reports, exception: Failure | type[Failure]) -> None:
    notes: list[str] = []
    parked = spawn_raw(wait_and_note, notes)
    sleep(0)
    kill(parked, exception)
    hub.join()
    assert notes == ["it started", "it got Failure"]
    assert "failed with Failure" in reports.take()


def test_a_greenlet_may_survive_its_kill(hub: Hub) -> None:
    notes: list[str] = []

    def stubborn() -> None:
        try:
            Waiter().get()
        except GreenletExit:
            notes.append("survived")
        sleep(0)
        notes.append("went on")

    survivor = spawn_raw(stubborn)
    sleep(0)
    kill(survivor)
    hub.join()
    assert notes == ["survived", "went on"]


def test_a_greenlet_that_kills_itself_ends_when_it_parks(hub: Hub) -> None:
    notes: list[str] = []

    def suicide() -> None:
        kill(getcurrent())
        notes.append("goes on")
        sleep(0)
        notes.append("not reached")

    spawn_raw(suicide)
    hub.join()
    assert notes == ["goes on"]


def test_the_main_greenlet_can_be_killed_by_another(hub: Hub) -> None:
    spawn_raw(kill, getcurrent(), Failure("from below"))
    with pytest.raises(Failure, match="from below"):
        Waiter().get()
    sleep(0.001)


@pytest.mark.parametrize("wrong", [5, "text", int, None])
def test_a_bad_exception_is_refused_at_the_call(hub: Hub, wrong: Any) -> None:
    parked = spawn_raw(sleep, 0)
    with pytest.raises(TypeError, match="kill takes an exception class or instance"):
        kill(parked, wrong)
    assert hub.join()


def test_an_object_with_a_kill_of_its_own_is_asked_without_blocking(hub: Hub) -> None:
    asked: list[tuple[object, ...]] = []

    class Killable(greenlet):
        def kill(self, exception: object, block: bool = True) -> None:
            asked.append((exception, block))

    kill(Killable(), Failure)
    assert asked == [(Failure, False)]


def test_another_threads_greenlet_is_refused_with_both_names(hub: Hub, elsewhere: Elsewhere) -> None:
    parked = spawn_raw(Waiter().get)
    sleep(0)

    def kill_it() -> None:
        other = Hub(Loop(default=False))
        set_hub(other)
        try:
            kill(parked)
        finally:
            other.destroy()

    with pytest.raises(InvalidThreadUseError) as caught:
        elsewhere(kill_it)
    assert f"{id(parked):#x}" in str(caught.value)
    assert "run_callback_threadsafe(kill, greenlet)" in str(caught.value)
    assert not parked.dead
    kill(parked)
    hub.join()


def test_another_thread_may_kill_by_the_way_that_the_error_names(hub: Hub) -> None:
    parked = spawn_raw(sleep, 30)
    thread = threading.Thread(target=lambda: get_loop_of(hub).run_callback_threadsafe(kill, parked))
    hub.loop.run_callback(thread.start)
    hub.join()
    thread.join()
    assert parked.dead


def get_loop_of(hub: Hub) -> Any:
    return hub.loop


def test_a_greenlet_of_another_thread_that_has_no_hub_is_refused_too(hub: Hub, elsewhere: Elsewhere) -> None:
    here = getcurrent()
    below = greenlet(int, here)  # no hub stands above it

    def kill_it() -> None:
        kill(below)

    with pytest.raises(InvalidThreadUseError, match="it runs in another thread; use run_callback_threadsafe"):
        elsewhere(kill_it)
    assert below.switch() == 0, "nothing was done to it"


def test_spawning_in_another_thread_uses_that_threads_hub(hub: Hub, elsewhere: Elsewhere) -> None:
    def use() -> bool:
        other = Hub(Loop(default=False))
        set_hub(other)
        spawned = spawn_raw(sleep, 0)
        try:
            other.join()
            return spawned.parent is other and spawned.dead and get_hub() is other
        finally:
            other.destroy()

    assert elsewhere(use)
    assert get_hub() is hub
