"""Sentences of the documented surface that no other file had a test for; docs/reference/surface.md maps all of them."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

import hub_core
from hub_core import BlockingSwitchOutError, Hub, Waiter, kill, sleep, spawn_raw
from hub_core.testing import assert_no_switch, assert_switches, parked_greenlets

if TYPE_CHECKING:
    from collections.abc import Callable


class Failure(Exception):
    pass


def test_dir_shows_the_names_that_are_imported_later() -> None:
    code = "import hub_core; print(sorted(set(hub_core.__all__) - set(dir(hub_core))), 'Report' in vars(hub_core))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert ran.stdout.strip() == "[] False"


def test_while_the_loop_runs_its_errors_go_to_the_hub(hub: Hub) -> None:
    seen: list[object] = []
    hub.loop.run_callback(lambda: seen.append(hub.loop.error_handler))
    hub.join()
    assert seen == [hub]
    assert hub.loop.error_handler is None, "the hub was left, and a loop may outlive it"


def test_cancel_wait_throws_nothing_before_the_next_batch(hub: Hub) -> None:
    raised: list[str] = []

    def wait() -> None:
        with pytest.raises(Failure):
            hub.wait(timer)
        raised.append("in the waiting greenlet")

    with hub.loop.timer(60) as timer:
        spawn_raw(wait)
        sleep(0)
        with assert_no_switch():
            hub.cancel_wait(timer, Failure, close_watcher=True)
            assert timer.active
            assert not timer.closed
            assert raised == []
        sleep(0.001)
        assert timer.closed
        assert raised == ["in the waiting greenlet"]


def test_after_cancel_waits_the_then_comes_with_its_arguments_after_the_errors_are_under_way(hub: Hub) -> None:
    order: list[Any] = []

    def wait() -> None:
        with pytest.raises(Failure):
            hub.wait(busy)

    busy, idle = hub.loop.timer(60), hub.loop.timer(60)
    waiting = spawn_raw(wait)
    sleep(0)

    def then(*args: int) -> None:
        order.append((args, busy.closed, waiting.dead))

    hub.cancel_waits_close_and_then([None, busy, idle], Failure, then, 1, 2)
    assert idle.closed, "nobody waits for it, so at once"
    assert not busy.closed
    assert order == []
    hub.join()
    assert order == [((1, 2), True, False)]
    assert waiting.dead


def test_the_greenlet_that_waits_is_unscheduled_and_others_run(hub: Hub) -> None:
    ran: list[str] = []
    spawn_raw(ran.append, "another")
    with hub.loop.timer(0.001) as timer, assert_switches():
        hub.wait(timer)
    assert ran == ["another"]


def test_join_leaves_no_greenlet_however_often_it_is_called(hub: Hub) -> None:
    hub.join()
    before = len(parked_greenlets())
    for timeout in [None, 0, 0.0001] * 5:
        spawn_raw(int)
        hub.join(timeout)
    assert len(parked_greenlets()) <= before + 1, "one carrier may be kept for the next function"
    assert not hub.dead


def test_join_returns_only_when_callbacks_timers_and_greenlets_are_done(hub: Hub) -> None:
    done: list[str] = []

    def work() -> None:
        sleep(0.001)
        done.append("greenlet")

    spawn_raw(work)
    hub.loop.run_callback(done.append, "callback")
    with hub.loop.timer(0.002) as timer:
        timer.start(done.append, "timer")
        assert hub.join()
    assert sorted(done) == ["callback", "greenlet", "timer"]


def test_a_destroyed_hub_has_no_loop_and_is_not_its_threads(hub: Hub) -> None:
    hub.destroy()
    assert hub.loop is None
    assert hub.dead or not hub
    assert hub_core.get_hub_if_exists() is None


def test_value_and_exc_info_of_a_waiter_are_read_only_and_it_knows_its_hub(hub: Hub) -> None:
    waiter: Any = Waiter()
    assert waiter.hub is hub
    assert waiter.greenlet is None
    for name in ("value", "exc_info"):
        assert getattr(waiter, name) is None
        with pytest.raises(AttributeError):
            setattr(waiter, name, 1)


def test_get_in_a_callback_is_refused_even_if_the_outcome_comes_in_the_same_batch(hub: Hub) -> None:
    waiter, refused = Waiter(), list[str]()

    def get() -> None:
        with pytest.raises(BlockingSwitchOutError, match="Impossible to call blocking function in the event loop"):
            waiter.get()
        refused.append("get")

    hub.loop.run_callback(get)
    hub.loop.run_callback(waiter.switch, "later")
    hub.join()
    assert refused == ["get"]
    assert waiter.get() == "later"


def test_idle_takes_the_priority_of_its_watcher_only_if_it_is_not_0(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    make: Callable[[], Any] = hub.loop.idle

    def idle() -> Any:
        made.append(make())
        return made[-1]

    monkeypatch.setattr(hub.loop, "idle", idle)
    for priority in (0, 1, -2):
        hub_core.idle(priority)
    assert [watcher.priority for watcher in made] == [0, 1, -2]
    assert all(watcher.closed for watcher in made)


def test_kill_asks_the_loop_and_not_the_greenlet_so_the_killer_goes_on_first(hub: Hub) -> None:
    order: list[str] = []

    def wait() -> None:
        try:
            Waiter().get()
        finally:
            order.append("killed")

    doomed = spawn_raw(wait)
    sleep(0)
    with assert_no_switch():
        kill(doomed)
        order.append("kill has returned")
    hub.join()
    assert order == ["kill has returned", "killed"]
