"""How a hub ends its greenlets: in which order, for how long, and what is said of those that do not end.

What is left after that: test_ending_leftovers.py.
"""

from __future__ import annotations

import gc
import subprocess
import sys
import warnings
from typing import TYPE_CHECKING, Any

import pytest
from greenlet import GreenletExit, getcurrent, greenlet

from hub_core import Hub, Waiter, get_hub, kill, set_hub, sleep, spawn_raw
from hub_core._parked import parked_greenlets
from hub_loop import Loop

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.hub_core.conftest import Reports

    from hub_loop.testing import ManualClock


def leaves_word(notes: list[str], name: str, waits: Callable[[], object], cleans: Callable[[], object] = list) -> None:
    """Wait, and note how that ends and when the cleaning up is done."""
    try:
        waits()
    except BaseException as error:
        notes.append(f"{name} got {type(error).__name__}")
        raise
    finally:
        cleans()
        notes.append(f"{name} is done")


def test_finally_blocks_of_parked_greenlets_run(hub: Hub) -> None:
    notes: list[str] = []
    spawn_raw(leaves_word, notes, "one that waits", Waiter().get)
    spawn_raw(leaves_word, notes, "one that sleeps", lambda: sleep(3600))
    spawn_raw(leaves_word, notes, "one that has switched", hub.switch)
    sleep(0)
    hub.destroy()
    for name in ("one that waits", "one that sleeps", "one that has switched"):
        assert f"{name} got GreenletExit" in notes
        assert f"{name} is done" in notes


def test_the_order_is_thrown_then_new_then_ready_then_parked_and_all_before_the_first_goes_on(hub: Hub) -> None:
    notes: list[str] = []
    waiters = [Waiter(), Waiter()]
    kept = [spawn_raw(leaves_word, notes, "parked", Waiter().get, lambda: sleep(0))]
    kept += [
        spawn_raw(leaves_word, notes, f"ready {n}", waiter.get, lambda: sleep(0)) for n, waiter in enumerate(waiters)
    ]
    kept.append(spawn_raw(leaves_word, notes, "thrown", Waiter().get))
    sleep(0)
    waiters[1].switch("second made ready first")
    waiters[0].switch(None)
    kept.append(spawn_raw(leaves_word, notes, "new", print))
    kill(kept[3], ZeroDivisionError)
    hub.exception_stream = None
    hub.destroy()
    assert notes == [
        "thrown got ZeroDivisionError",
        "thrown is done",
        "ready 1 got GreenletExit",
        "ready 0 got GreenletExit",
        "parked got GreenletExit",
        "ready 1 is done",
        "ready 0 is done",
        "parked is done",
    ]
    assert all(each.dead for each in kept)


def test_greenlets_that_park_again_are_waited_for(clocked_hub: Hub, clock: ManualClock) -> None:
    notes: list[str] = []
    began = clock()
    spawn_raw(leaves_word, notes, "it", Waiter().get, lambda: sleep(0.75))
    sleep(0)
    clocked_hub.destroy()
    assert notes == ["it got GreenletExit", "it is done"]
    assert clock() == began + 0.75


def test_when_the_last_has_ended_nobody_waits_for_the_deadline_though_the_loop_is_busy(
    clocked_hub: Hub, clock: ManualClock
) -> None:
    began = clock()
    with clocked_hub.loop.timer(0.1, repeat=0.1) as busy:
        busy.start(lambda: None)
        spawn_raw(leaves_word, [], "it", Waiter().get, lambda: sleep(0.25))
        sleep(0)
        clocked_hub.destroy(timeout=1000)
    assert clock() <= began + 0.3


def test_those_that_have_not_ended_by_the_deadline_are_named_in_a_warning_and_let_go(
    clocked_hub: Hub, clock: ManualClock
) -> None:
    notes: list[str] = []
    began = clock()
    slow = spawn_raw(leaves_word, notes, "slow", Waiter().get, lambda: sleep(60))
    quick = spawn_raw(leaves_word, notes, "quick", Waiter().get)
    sleep(0)
    with pytest.warns(RuntimeWarning) as caught:
        clocked_hub.destroy(timeout=5)
    assert caught[0].filename == __file__
    text = str(caught[0].message)
    assert f"{slow!r}, waiting for <timer" in text
    assert "after=60" in text
    assert f"{id(quick):#x}" not in text
    assert clock() == began + 5
    assert clocked_hub.dead
    assert not slow.dead
    slow.throw()


def test_one_that_nothing_can_wake_is_not_waited_for(clocked_hub: Hub, clock: ManualClock) -> None:
    began = clock()
    stuck = spawn_raw(leaves_word, [], "stuck", Waiter().get, Waiter().get)
    sleep(0)
    with pytest.warns(RuntimeWarning, match="had not ended by then"):
        clocked_hub.destroy(timeout=None)
    assert clock() == began
    stuck.throw()


def test_of_many_that_are_left_ten_are_described(clocked_hub: Hub) -> None:
    left = [spawn_raw(leaves_word, [], "it", Waiter().get, lambda: sleep(60)) for _ in range(25)]
    sleep(0)
    with pytest.warns(RuntimeWarning, match=r"and 15 more$") as caught:
        clocked_hub.destroy()
    assert str(caught[0].message).count("waiting for") == 10
    for each in left:
        each.throw()


def test_what_they_spawn_on_their_way_out_runs_if_it_gets_a_turn_and_is_ended_as_well(clocked_hub: Hub) -> None:
    notes: list[str] = []

    def spawns() -> None:
        spawn_raw(leaves_word, notes, "child", Waiter().get)
        sleep(0.1)

    spawn_raw(leaves_word, notes, "parent", Waiter().get, spawns)
    sleep(0)
    clocked_hub.destroy()
    assert notes == ["parent got GreenletExit", "parent is done", "child got GreenletExit", "child is done"]


def test_what_they_spawn_is_ended_although_they_wait_for_what_nobody_brings(
    clocked_hub: Hub, clock: ManualClock
) -> None:
    began = clock()
    notes: list[str] = []

    def spawns() -> None:
        spawn_raw(leaves_word, notes, "child", Waiter().get, lambda: sleep(3))
        Waiter().get()

    stuck = spawn_raw(leaves_word, notes, "parent", Waiter().get, spawns)
    sleep(0)
    with pytest.warns(RuntimeWarning, match="had not ended by then") as caught:
        clocked_hub.destroy(timeout=None)
    assert notes == ["parent got GreenletExit", "child got GreenletExit", "child is done"]
    assert clock() == began + 3
    assert str(caught[0].message).count("waiting for") == 1
    stuck.throw()


def test_one_that_spawns_for_ever_is_stopped_by_the_deadline(clocked_hub: Hub) -> None:
    rounds: list[int] = []

    def again() -> None:
        try:
            Waiter().get()
        finally:
            rounds.append(1)
            if clocked_hub.loop is not None:
                kept.append(spawn_raw(again))
                sleep(0.1)

    kept = [spawn_raw(again)]
    sleep(0)
    with pytest.warns(RuntimeWarning):
        clocked_hub.destroy(timeout=1)
    assert 5 <= len(rounds) <= 15
    for each in kept:
        if not each.dead and each:
            each.throw()


def test_without_time_nobody_is_thrown_into(hub: Hub) -> None:
    notes: list[str] = []
    parked = spawn_raw(leaves_word, notes, "it", Waiter().get)
    sleep(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        hub.destroy(timeout=0)
    assert notes == []
    assert not parked.dead
    parked.throw()


@pytest.mark.parametrize("wrong", [-1, -0.001, float("nan")])
def test_a_time_that_is_none_is_refused_and_nothing_is_ended(hub: Hub, wrong: float) -> None:
    with pytest.raises(ValueError, match="timeout must be a number of seconds, 0 or more"):
        hub.destroy(timeout=wrong)
    sleep(0.001)


def test_greenlets_below_others_and_carried_functions_are_ended_too(hub: Hub) -> None:
    notes: list[str] = []

    def parent() -> None:
        leaves_word(notes, "parent", greenlet(lambda: leaves_word(notes, "below", Waiter().get)).switch)

    spawn_raw(int)
    spawn_raw(parent)
    spawn_raw(leaves_word, notes, "carried", Waiter().get)
    sleep(0)
    hub.destroy()
    assert sorted(notes) == sorted(
        f"{who} {what}" for who in ("below", "parent", "carried") for what in ("got GreenletExit", "is done")
    )


def test_greenlets_of_another_hub_of_the_thread_and_of_nobody_are_left_alone(hub: Hub) -> None:
    notes: list[str] = []
    other = Hub(Loop(default=False))
    set_hub(other)
    theirs = spawn_raw(leaves_word, notes, "theirs", Waiter().get)
    sleep(0)
    set_hub(hub)
    here = getcurrent()
    nobodys = greenlet(lambda: leaves_word(notes, "nobody's", here.switch))
    nobodys.switch()
    spawn_raw(leaves_word, notes, "ours", Waiter().get)
    sleep(0)
    hub.destroy()
    assert notes == ["ours got GreenletExit", "ours is done"]
    other.destroy()
    assert theirs.dead
    nobodys.throw()


def test_an_exit_in_a_finally_is_raised_by_destroy_when_the_others_have_ended(clocked_hub: Hub) -> None:
    notes: list[str] = []

    def exits() -> None:
        raise SystemExit(3)

    spawn_raw(leaves_word, notes, "first", Waiter().get, exits)
    spawn_raw(leaves_word, notes, "second", Waiter().get, lambda: sleep(0.5))
    sleep(0)
    with pytest.raises(SystemExit) as caught:
        clocked_hub.destroy()
    assert caught.value.code == 3
    assert "second is done" in notes
    assert clocked_hub.dead
    assert clocked_hub.loop is None


def test_an_error_in_a_finally_is_reported_and_the_others_end(hub: Hub, reports: Reports) -> None:
    notes: list[str] = []
    spawn_raw(leaves_word, notes, "first", Waiter().get, lambda: int("not a number"))
    spawn_raw(leaves_word, notes, "second", Waiter().get)
    sleep(0)
    hub.destroy()
    assert "second is done" in notes
    assert "ValueError" in reports.take()


def test_an_interrupt_while_they_are_waited_for_ends_the_hub_at_once(
    clocked_hub: Hub, poller: Any, reports: Reports, clock: ManualClock
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    began = clock()
    slow = spawn_raw(leaves_word, [], "slow", Waiter().get, lambda: sleep(0.5))
    sleep(0)
    poller.when_blocking(interrupt)
    with pytest.raises(KeyboardInterrupt), pytest.warns(RuntimeWarning, match="had not ended by then"):
        clocked_hub.destroy()
    assert clock() == began
    assert clocked_hub.dead
    assert clocked_hub.loop is None
    reports.take()
    slow.throw()


def test_pool_and_resolver_serve_until_the_greenlets_have_ended(hub: Hub) -> None:
    order: list[str] = []

    class Part:
        def close(self) -> None:
            order.append("closed")

        kill = close

    hub.resolver, hub.threadpool = Part(), Part()
    spawn_raw(leaves_word, order, "it", Waiter().get, lambda: sleep(0.001))
    sleep(0)
    hub.destroy()
    assert order == ["it got GreenletExit", "it is done", "closed", "closed"]


def test_destroy_from_a_greenlet_that_is_not_below_the_hub_waits_for_finally_blocks_there(hub: Hub) -> None:
    notes: list[str] = []
    spawn_raw(leaves_word, notes, "it", Waiter().get, lambda: sleep(0.001))
    sleep(0)

    def destroy() -> None:
        hub.destroy()
        notes.append("destroyed")

    greenlet(destroy).switch()
    assert notes == ["it got GreenletExit", "it is done", "destroyed"]


def test_a_hub_whose_loop_is_destroyed_already_ends_without_its_greenlets(hub: Hub) -> None:
    parked = spawn_raw(leaves_word, [], "it", Waiter().get)
    sleep(0)
    hub.loop.destroy()
    hub.destroy()
    assert hub.dead
    parked.throw()


def test_a_cleaning_greenlet_that_destroys_the_hub_is_refused(hub: Hub, reports: Reports) -> None:
    spawn_raw(leaves_word, [], "it", Waiter().get, lambda: get_hub().destroy())
    sleep(0)
    hub.destroy()
    assert "RuntimeError" in reports.take()
    assert hub.dead


def test_a_thousand_end_in_one_go(hub: Hub) -> None:
    ended: list[int] = []

    def body(number: int) -> None:
        try:
            sleep(3600)
        finally:
            sleep(0)
            ended.append(number)

    for number in range(1000):
        spawn_raw(body, number)
    sleep(0)
    hub.destroy(timeout=30)
    assert sorted(ended) == list(range(1000))


FROZEN = """
import gc, socket
from hub_core import FdWaiter, Hub, Waiter, set_hub, sleep, spawn_raw
from hub_loop import Loop

def leave(name, wait, *args):
    try:
        wait(*args)
    finally:
        print(name)

hub = Hub(Loop())
set_hub(hub)
ours, theirs = socket.socketpair()
ours.setblocking(False)
waiter, owned = Waiter(), FdWaiter(ours.fileno())
for each in (("ready", waiter.get), ("asleep", sleep, 60), ("reading", owned.wait_read), ("lost", Waiter().get)):
    spawn_raw(leave, *each)
sleep(0.001)
waiter.switch()
gc.collect()
gc.freeze()
hub.destroy(timeout=30)
"""


def test_greenlets_that_were_set_aside_end_too_where_the_lanes_or_the_loop_lead_to_them() -> None:
    done = subprocess.run([sys.executable, "-c", FROZEN], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split()[0] == "ready"
    assert sorted(done.stdout.split()) == ["asleep", "reading", "ready"]
    assert done.stderr == ""


# -- who is parked -----------------------------------------------------------------------------------------------------


def test_the_parked_are_those_that_have_started_and_not_ended_the_ready_ones_first(hub: Hub) -> None:
    waiter = Waiter()
    asleep, woken, ended = spawn_raw(sleep, 60), spawn_raw(waiter.get), spawn_raw(int)
    sleep(0)
    waiter.switch(None)
    new = spawn_raw(int)
    assert parked_greenlets(hub) == [woken, asleep]
    assert new not in parked_greenlets(hub)
    assert ended.dead
    kill(asleep, GreenletExit)
    hub.join()
    assert parked_greenlets(hub) == []


def test_the_current_greenlet_is_not_parked(hub: Hub) -> None:
    seen: list[list[greenlet]] = []
    held = spawn_raw(lambda: seen.append(parked_greenlets(hub)))
    hub.join()
    assert seen == [[]]
    assert held.dead


def test_the_search_keeps_nothing_alive(hub: Hub) -> None:
    parked = spawn_raw(Waiter().get)
    sleep(0)
    before = len(gc.get_referrers(parked))
    parked_greenlets(hub)
    assert len(gc.get_referrers(parked)) == before
    kill(parked)
    hub.join()
