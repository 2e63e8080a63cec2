"""Finding greenlets among all objects: what is found, and that no other thread is disturbed by it."""

from __future__ import annotations

import gc
import sys
from typing import TYPE_CHECKING, Any

import pytest
from greenlet import greenlet

from hub_core import Hub, Waiter, kill, sleep, spawn_raw, testing
from hub_core._find import known_greenlets, sift
from hub_core._parked import parked_greenlets

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Unfinished


class Below(greenlet):
    """A subclass of users."""


def test_all_greenlets_are_found_whatever_their_class_and_state(hub: Hub) -> None:
    new, below = greenlet(), Below(hub.switch)
    found = set(map(id, known_greenlets()))
    assert {id(new), id(below), id(hub)} <= found
    assert all(issubclass(type(each), greenlet) for each in known_greenlets())


def test_no_object_is_asked_for_its_class_nor_a_class_for_its_hash(hub: Hub) -> None:
    asked: list[str] = []

    class Meta(type):
        def __hash__(cls) -> int:
            asked.append("hash")
            return 1

        def __eq__(cls, other: object) -> bool:
            asked.append("eq")
            return cls is other

        def __subclasscheck__(cls, other: type) -> bool:
            asked.append("subclass")
            return False

    def unbound(self: object) -> type:
        asked.append("class")
        raise RuntimeError("working outside of a context")

    held = Meta("Proxy", (), {"__class__": property(unbound)})()
    asked.clear()
    assert type(held) not in map(type, known_greenlets())
    assert hub in known_greenlets()
    asked_meanwhile = [each for each in asked if each != "eq"]  # `in`, above
    assert not asked_meanwhile


def test_what_was_sifted_is_held_by_nobody_afterwards() -> None:
    class Thing:
        pass

    thing = Thing()
    before = sys.getrefcount(thing)
    sifted = sift(Thing)
    found = list(sifted)
    assert found == [thing]
    found.clear()
    after = sys.getrefcount(thing)
    assert after == before
    assert next(sifted, None) is None


def test_the_watch_over_an_unfinished_tuple_sees_a_list_that_holds_it(
    unfinished: Callable[[object], Unfinished],
) -> None:
    def hold() -> int:
        everything = gc.get_objects()
        return len(everything)

    another = unfinished(object())
    assert another.most_held_during(hold) > 1
    assert another.most_held_during(lambda: list(sift(greenlet))) == 1
    another.finish()
    assert len(another.made) == 2


def test_no_garbage_is_collected_while_everything_is_listed(unfinished: Callable[[object], Unfinished]) -> None:
    # Up to CPython 3.11 any new container may start a collection, and so finalizers, between which threads take turns.
    another = unfinished(object())
    held: list[int] = []

    def look(phase: str, info: dict[str, int]) -> None:
        held.append(another.held())

    gc.callbacks.append(look)
    try:
        for spare in range(24):  # so that a collection is due at each of the steps
            gc.collect(0)
            kept: list[list[int]] = []
            while gc.get_count()[0] < gc.get_threshold()[0] - spare:
                kept.append([])
            known_greenlets()
            assert kept
    finally:
        gc.callbacks.remove(look)
    assert set(held) == {1}
    another.finish()


def report_of(hub: Hub) -> object:
    return str(hub.report())


def end_of(hub: Hub) -> object:
    hub.destroy(timeout=30)
    return hub.loop


def all_parked(hub: Hub) -> object:
    return testing.parked_greenlets()


@pytest.mark.parametrize("call", [report_of, parked_greenlets, all_parked, end_of])
@pytest.mark.parametrize("kind", ["anything", "hub", "reason"])
def test_a_thread_that_makes_a_tuple_meanwhile_is_not_disturbed(
    hub: Hub, unfinished: Callable[[object], Unfinished], call: Callable[[Hub], object], kind: str
) -> None:
    # It would get a SystemError if its tuple were held, be it in a list of everything, when it is resized.
    class Thing:
        pass

    def wait(thing: object) -> None:
        waiter = Waiter()
        waiter.reason = thing
        waiter.get()

    things: list[Any] = [Thing()]
    parked = spawn_raw(wait, things[0])
    sleep(0)
    another = unfinished({"anything": object(), "hub": hub, "reason": things.pop()}[kind])
    assert another.most_held_during(lambda: call(hub)) == 1
    another.finish()
    assert len(another.made) == 2
    if hub.loop is not None:
        kill(parked)
        hub.join()
