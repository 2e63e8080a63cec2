"""The hub in its corners: late cancellations, nothing left to join, what is destroyed, carriers that could be seen."""

from __future__ import annotations

from typing import Any, cast

import greenlet as greenlets
import pytest

from hub_core import Hub, Waiter, sleep, spawn_raw


def test_a_cancellation_whose_wait_has_ended_meanwhile_does_not_hit_the_next_wait(hub: Hub) -> None:
    outcomes: list[str] = []
    with hub.loop.timer(0.005) as watcher:

        def wait_twice() -> None:
            hub.wait(watcher)
            outcomes.append("first")
            hub.wait(watcher)
            outcomes.append("second")

        spawn_raw(wait_twice)
        sleep(0)
        waited = cast("Any", watcher.callback)
        hub.cancel_wait(watcher, TimeoutError)  # queued
        waited(waited.__self__)  # but the wait ends before the queue is run
        sleep(0)
        assert outcomes == ["first"]
        assert watcher.callback is not waited
        assert hub.join()
    assert outcomes == ["first", "second"]


def test_cancelling_what_nobody_waits_for_is_fine_also_if_a_function_is_its_callback(hub: Hub) -> None:
    calls: list[str] = []
    with hub.loop.timer(0) as watcher:
        watcher.start(calls.append, "fired")
        hub.cancel_wait(watcher, TimeoutError)
        assert hub.join()
    assert calls == ["fired"]


def test_join_with_nothing_left_is_done_whatever_the_timeout(hub: Hub) -> None:
    assert [hub.join(timeout) for timeout in (0, 0.0001, 1, None)] == [True] * 4


def test_a_waiter_of_a_destroyed_hub_says_so(hub: Hub) -> None:
    waiter = Waiter()
    spawn_raw(waiter.get)
    sleep(0)
    parked = waiter.greenlet
    hub.destroy()
    with pytest.raises(ValueError, match="is destroyed"):
        waiter.switch(1)
    assert parked is not None
    parked.throw()


def test_a_traced_spawn_is_seen_in_a_greenlet_of_its_own(hub: Hub) -> None:
    seen: set[Any] = set()
    greenlets.settrace(lambda event, pair: seen.add(pair[1]))
    try:
        for _ in range(5):
            spawn_raw(int)
        hub.join()
    finally:
        greenlets.settrace(None)
    assert len([one for one in seen if one.dead]) == 5
    seen.clear()


def test_a_slot_that_a_function_changes_does_not_reach_the_next(hub: Hub) -> None:
    found: list[object] = []

    def change() -> None:
        current = cast("Any", greenlets.getcurrent())
        found.append(current.loop)
        current.loop = "mine"

    for _ in range(3):
        spawn_raw(change)
    hub.join()
    assert found == [hub.loop] * 3


def test_a_callback_that_answers_to_every_name_is_left_to_the_hub(hub: Hub) -> None:
    class Strange:
        def __init__(self) -> None:
            self.called = 0

        def __getattr__(self, name: str) -> Any:
            return [] if name == "__func__" else super().__getattribute__(name)

        def __call__(self) -> None:
            self.called += 1

    strange = Strange()
    hub.loop.run_callback(strange)
    sleep(0.001)
    assert strange.called == 1


def test_an_interrupt_between_two_statements_of_the_hub_surfaces_in_main_and_does_not_end_the_hub(hub: Hub) -> None:
    serve, interrupts = Hub._serve, [KeyboardInterrupt("first"), KeyboardInterrupt("second")]

    class Interrupted(Hub):
        def _serve(self) -> None:
            if interrupts:
                raise interrupts.pop(0)
            serve(self)

    loop = hub.loop
    fresh = Interrupted(loop)
    fresh.exception_stream = cast("Any", None)
    for text in ("first", "second"):
        with pytest.raises(KeyboardInterrupt, match=text):
            fresh.join()
    assert not fresh.dead
    assert fresh.join()
    fresh.destroy(destroy_loop=False)
