"""Carriers: functions whose greenlets nobody holds share one, and nobody can tell; all others have their own."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

import pytest
from greenlet import getcurrent, greenlet

from hub_core import Hub, sleep, spawn_raw
from hub_core._ready import WIDEST

if TYPE_CHECKING:
    from collections.abc import Callable


def runners(hub: Hub, spawn: Callable[[Callable[[], None]], object], rounds: int = 1) -> list[int]:
    """In which greenlets three functions ran; by number, for to hold a greenlet would change it."""
    seen: list[int] = []

    def run() -> None:
        seen.append(id(getcurrent()))

    for _ in range(rounds):
        kept = [spawn(run) for _ in range(3)]
        sleep(0)
        del kept
    return seen


@pytest.mark.parametrize("rounds", [1, 3])
def test_functions_of_dropped_greenlets_share_a_greenlet_in_one_round_and_in_the_next(hub: Hub, rounds: int) -> None:
    def spawn(run: Callable[[], None]) -> None:
        spawn_raw(run)

    seen = runners(hub, spawn, rounds)
    assert len(seen) == 3 * rounds
    assert len(set(seen)) == 1


def with_an_attribute(run: Callable[[], None]) -> Any:
    made = spawn_raw(run)
    made.colour = "red"  # type: ignore[attr-defined]  # greenlets take what their users give them
    return id(made)


def with_a_weak_reference(run: Callable[[], None]) -> object:
    return weakref.ref(spawn_raw(run))


def with_a_switch_out(run: Callable[[], None]) -> object:
    made: Any = spawn_raw(run)
    made.switch_out = int
    return id(made)


def with_a_holder(run: Callable[[], None]) -> object:
    return spawn_raw(run)


@pytest.mark.parametrize("spawn", [with_an_attribute, with_a_weak_reference, with_a_switch_out, with_a_holder])
def test_a_greenlet_that_somebody_knows_or_has_marked_runs_its_own_function(
    hub: Hub, spawn: Callable[[Callable[[], None]], object]
) -> None:
    hub_runs: list[object] = []

    def own() -> None:
        current: Any = getcurrent()
        hub_runs.append((getattr(current, "colour", None), current.switch_out, weakref.getweakrefcount(current)))

    kept = [spawn(own) for _ in range(3)]
    carried: list[int] = []
    spawn_raw(lambda: carried.append(id(getcurrent())))
    sleep(0)
    colour = "red" if spawn is with_an_attribute else None
    switch_out = int if spawn is with_a_switch_out else None
    references = 1 if spawn is with_a_weak_reference else 0
    assert hub_runs == [(colour, switch_out, references)] * 3
    assert len(carried) == 1
    assert len(kept) == 3


def test_a_function_that_was_put_into_a_greenlet_after_the_spawn_is_the_one_that_runs(hub: Hub) -> None:
    ran: list[str] = []

    def given() -> None:
        ran.append("given at the spawn")

    def put() -> None:
        ran.append("put there later")

    made: Any = spawn_raw(given)
    made.run = put
    del made
    sleep(0)
    assert ran == ["put there later"]


def test_a_greenlet_with_another_parent_ends_there(hub: Hub) -> None:
    ended: list[str] = []

    def end(result: object) -> None:
        ended.append(f"its parent went on with {result}")

    other = greenlet(end, hub)
    made = spawn_raw(int, "7")
    made.parent = other
    del made
    sleep(0)
    assert ended == ["its parent went on with 7"]


def test_a_carrier_that_was_parked_or_kept_by_its_function_is_not_used_again(hub: Hub) -> None:
    seen: list[int] = []
    kept: list[greenlet] = []

    def keep() -> None:
        kept.append(getcurrent())
        seen.append(id(kept[-1]))

    for _ in range(3):
        spawn_raw(keep)
    sleep(0)
    assert len(set(seen)) == 3
    assert all(each.dead for each in kept)


def test_a_carrier_that_a_function_has_marked_is_not_used_again(hub: Hub) -> None:
    seen: list[Any] = []

    def mark(name: str) -> None:
        current: Any = getcurrent()
        seen.append(current.__dict__.get("name"))
        current.name = name

    for name in "abc":
        spawn_raw(mark, name)
    sleep(0)
    assert seen == [None, None, None]


def test_after_an_error_the_next_function_has_a_fresh_greenlet_and_both_are_told_apart(hub: Hub, reports: Any) -> None:
    ran: list[str] = []
    spawn_raw(int, "no number")
    spawn_raw(ran.append, "the next")
    sleep(0)
    assert ran == ["the next"]
    assert "invalid literal" in reports.take()
    assert hub._carrying is None


def test_whichever_function_parks_the_new_ones_start_before_who_was_ready_goes_on(clocked_hub: Hub) -> None:
    # Wherever in a stride of the budget that is: the carrier takes the next function by itself, and counts.
    for parking in range(2 * WIDEST + 2):
        order: list[int | str] = []

        def run(number: int, parking: int, parked: list[greenlet], order: list[int | str]) -> None:
            order.append(number)
            if number == 0:
                clocked_hub.make_ready(parked[0])
            if number == parking:
                sleep(0)

        def go_on(order: list[int | str] = order) -> None:
            clocked_hub.park()
            order.append("ready")

        parked = [spawn_raw(go_on)]
        sleep(0)
        for number in range(2 * WIDEST + 4):
            spawn_raw(run, number, parking, parked, order)
        clocked_hub.join()
        assert order == [*range(2 * WIDEST + 4), "ready"]
