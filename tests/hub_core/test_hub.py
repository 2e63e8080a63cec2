"""The hub: how it is made, what it says of itself, its parts, and how it is run and joined."""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING, Any, cast

import pytest
from greenlet import getcurrent, greenlet
from tests.hub_core.conftest import Failure

from hub_core import Hub, LoopExit, Waiter, kill, set_defaults, sleep, spawn_raw
from hub_core._local import defaults
from hub_loop import Loop

if TYPE_CHECKING:
    from tests.hub_core.conftest import Elsewhere, MakeLoop

    from hub_loop.testing import ManualClock


# -- construction ------------------------------------------------------------------------------------------------------


def test_a_hub_is_a_greenlet_below_the_one_that_made_it(hub: Hub) -> None:
    assert isinstance(hub, greenlet)
    assert hub.parent is getcurrent()
    assert not hub.dead
    assert hub.thread_ident == threading.get_ident()


def test_a_loop_object_is_used_as_it_is(no_hub: MakeLoop) -> None:
    loop = no_hub()
    hub = Hub(loop)
    assert hub.loop is loop
    hub.destroy(destroy_loop=True)


def test_a_loop_object_and_default_together_are_refused(no_hub: MakeLoop) -> None:
    loop = no_hub()
    with pytest.raises(TypeError, match="unexpected argument default=True"):
        Hub(loop, default=True)


@pytest.mark.parametrize(("given", "made"), [(None, True), (True, True), (False, False)])
def test_a_loop_factory_is_called_with_default(no_hub: MakeLoop, given: bool | None, made: bool) -> None:
    # None becomes whether the thread is the main one.
    hub = Hub(no_hub, default=given)
    assert hub.loop.default is made
    hub.destroy(destroy_loop=True)


def test_a_loop_class_is_a_factory(no_hub: MakeLoop) -> None:
    hub = Hub(Loop)
    assert type(hub.loop) is Loop
    hub.destroy(destroy_loop=True)


def test_off_the_main_thread_a_loop_is_not_the_default_one(no_hub: MakeLoop, elsewhere: Elsewhere) -> None:
    def look() -> bool:
        hub = Hub(no_hub)
        try:
            return hub.loop.default or hub.main_hub
        finally:
            hub.destroy()

    assert elsewhere(look) is False


def test_without_any_loop_the_error_names_what_to_install(no_hub: MakeLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defaults, "loop", None)
    with pytest.raises(LookupError, match=r"install greenlet-hub and import greenlet_hub, or pass one, as in Hub"):
        Hub()


def test_set_defaults_names_the_factories_and_none_leaves_them(
    no_hub: MakeLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    for part in ("loop", "threadpool", "resolver"):
        monkeypatch.setattr(defaults, part, None)
    set_defaults(loop=no_hub, threadpool=cast("Any", lambda hub: "pool"), resolver=cast("Any", lambda hub: "resolver"))
    set_defaults()
    hub = Hub()
    assert (type(hub.loop), hub.threadpool, hub.resolver) == (Loop, "pool", "resolver")
    del hub.threadpool, hub.resolver
    hub.destroy(destroy_loop=True)


# -- what it says of itself --------------------------------------------------------------------------------------------


def test_the_repr_tells_name_loop_parts_and_thread(hub: Hub) -> None:
    hub.name = "worker"
    hub.resolver = "a resolver"
    text = repr(hub)
    assert re.fullmatch(
        rf"<Hub 'worker' at {id(hub):#x} \w+ pending=0 ref=0( fileno=\d+)? resolver='a resolver' "
        rf"thread_ident={threading.get_ident():#x}>",
        text,
    )
    del hub.resolver
    hub.destroy()
    assert repr(hub) == f"<Hub 'worker' at {id(hub):#x} destroyed thread_ident={threading.get_ident():#x}>"


def test_the_repr_survives_a_loop_that_cannot_describe_itself(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(loop: Loop) -> str:
        raise Failure("no words")

    monkeypatch.setattr(Loop, "_format", fail)
    assert "(no words)" in repr(hub)


def test_the_name_is_empty_until_set_and_belongs_to_one_hub(hub: Hub) -> None:
    assert Hub.name == hub.name == ""
    hub.name = "mine"
    assert Hub.name == ""


def test_the_documented_class_attributes_have_the_documented_values() -> None:
    from greenlet import GreenletExit

    assert (GreenletExit, SystemExit) == Hub.NOT_ERROR
    assert (KeyboardInterrupt, SystemExit, SystemError) == Hub.SYSTEM_ERROR
    assert Hub.threadpool_size == 10


def test_main_hub_says_whether_the_thread_is_the_main_one(hub: Hub, elsewhere: Elsewhere) -> None:
    assert hub.main_hub
    assert elsewhere(lambda: hub.main_hub), "it is about the hub and not about who asks"


def test_waiter_makes_a_waiter_of_this_hub(hub: Hub) -> None:
    assert hub.waiter().hub is hub


def test_a_waiter_belongs_to_the_hub_it_was_given_even_if_that_has_never_run(hub: Hub) -> None:
    # A greenlet that has not run yet, or is dead, is false.
    sleep(0)
    other = Hub(loop := Loop(default=False))
    assert Waiter(other).hub is other
    assert other.waiter().hub is other
    other.destroy()
    assert Waiter(other).hub is other
    loop.destroy()


# -- parts -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", ["threadpool", "resolver"])
def test_a_part_is_made_by_its_factory_when_first_read(no_hub: MakeLoop, part: str) -> None:
    made: list[Hub] = []

    def factory(hub: Any) -> Any:
        made.append(hub)
        return f"the {part}"

    hub = Hub(no_hub, **{part: factory})  # type: ignore[arg-type]  # one of two keywords of the same type
    assert made == []
    assert [getattr(hub, part), getattr(hub, part)] == [f"the {part}"] * 2
    assert made == [hub]
    delattr(hub, part)
    hub.destroy(destroy_loop=True)


@pytest.mark.parametrize("part", ["threadpool", "resolver"])
def test_a_part_may_be_assigned_and_deleted(hub: Hub, monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    monkeypatch.setattr(defaults, part, lambda hub: "made by default")
    setattr(hub, part, "mine")
    assert getattr(hub, part) == "mine"
    delattr(hub, part)
    assert getattr(hub, part) == "made by default"
    delattr(hub, part)


@pytest.mark.parametrize("part", ["threadpool", "resolver"])
def test_a_missing_part_is_one_clear_sentence(hub: Hub, monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    monkeypatch.setattr(defaults, part, None)
    with pytest.raises(LookupError, match=f"has no {part} of its own: install greenlet-hub .* or assign hub.{part}"):
        getattr(hub, part)


# -- running, LoopExit, join -------------------------------------------------------------------------------------------


def test_run_is_not_to_be_called(hub: Hub) -> None:
    with pytest.raises(AssertionError, match=r"Do not call Hub\.run\(\) directly.*join\(\)"):
        hub.run()


def test_waiting_for_nothing_raises_loop_exit_with_its_three_arguments(hub: Hub) -> None:
    with pytest.raises(LoopExit) as caught:
        Waiter().get()
    message, of, handles = caught.value.args
    assert (message, of, handles) == ("This operation would block forever", hub, [])
    assert caught.value.hub is hub
    assert repr(caught.value) == f"{message}\n\tHub: {hub}\n\tHandles:\n[]"
    assert str(caught.value) == f"{caught.value!r}\n{caught.value.report}"


def test_loop_exit_made_with_other_arguments_is_an_ordinary_exception() -> None:
    error = LoopExit("why")
    assert (error.hub, str(error), repr(error)) == (None, "why", "LoopExit('why')")


def test_loop_exit_is_raised_in_the_main_greenlet_whoever_blocked(hub: Hub) -> None:
    waiter = Waiter()
    blocked = spawn_raw(waiter.get)
    with pytest.raises(LoopExit):
        hub.switch()
    assert waiter.greenlet is blocked, "the greenlet that blocks is left suspended"
    waiter.switch(None)
    hub.join()
    assert blocked.dead


def test_the_hub_is_usable_after_loop_exit_any_number_of_times(hub: Hub) -> None:
    for _ in range(3):
        with pytest.raises(LoopExit):
            Waiter().get()
        sleep(0.001)
    assert not hub.dead


def test_join_waits_until_nothing_is_left(clocked_hub: Hub, clock: ManualClock) -> None:
    began, order = clock(), []

    def sleeper() -> None:
        sleep(3)
        order.append("slept")

    spawn_raw(sleeper)
    with clocked_hub.loop.timer(5) as timer:
        timer.start(order.append, "timer")
        assert clocked_hub.join() is True
    assert order == ["slept", "timer"]
    assert clock() == began + 5


def test_join_returns_false_when_time_is_up_and_true_when_the_loop_is_done(
    clocked_hub: Hub, clock: ManualClock
) -> None:
    began = clock()
    sleeper = spawn_raw(sleep, 10)
    assert clocked_hub.join(timeout=4) is False
    assert clock() == began + 4
    assert clocked_hub.join(timeout=60) is True
    assert clock() == began + 10, "the timeout does not keep the loop alive"
    assert sleeper.dead


def test_join_with_a_timeout_of_zero_lets_what_is_ready_run(clocked_hub: Hub) -> None:
    ran: list[str] = []
    spawn_raw(ran.append, "once")
    sleeper = spawn_raw(sleep, 10)
    assert clocked_hub.join(timeout=0) is False
    assert ran == ["once"]
    kill(sleeper)
    assert clocked_hub.join() is True


def test_join_ignores_what_is_not_referenced(clocked_hub: Hub, clock: ManualClock) -> None:
    began = clock()
    sleeper = spawn_raw(sleep, 10, ref=False)
    with clocked_hub.loop.timer(7, ref=False) as timer:
        timer.start(lambda: None)
        assert clocked_hub.join() is True
    assert clock() == began
    assert not sleeper.dead
    kill(sleeper)
    clocked_hub.join()


def test_join_may_be_repeated_and_the_hub_never_dies_of_it(hub: Hub) -> None:
    for _ in range(3):
        assert hub.join() is True
        spawned = spawn_raw(sleep, 0)
        assert hub.join() is True
        assert spawned.dead
    assert not hub.dead


def test_join_outside_the_main_greenlet_is_refused_with_both_names(hub: Hub) -> None:
    caught: list[BaseException] = []

    def join() -> None:
        try:
            hub.join()
        except AssertionError as error:
            caught.append(error)

    spawned = spawn_raw(join)
    hub.join()
    assert "only possible from the main greenlet" in str(caught[0])
    assert f"{id(spawned):#x}" in str(caught[0])
    assert f"{id(getcurrent()):#x}" in str(caught[0])


def test_a_dead_hub_is_joined_at_once(hub: Hub) -> None:
    hub.join()
    hub.destroy()
    assert hub.dead
    assert hub.join() is True
