"""`hub_core.testing`: the wait until all others are parked, and the lookout that finds them between two tests."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import weakref
from typing import TYPE_CHECKING

import pytest
from greenlet import getcurrent, greenlet

from hub_core import BlockingSwitchOutError, Hub, Waiter, kill, sleep, spawn_raw, wait_reason
from hub_core.testing import parked_greenlets, wait_all_parked
from hub_core.testing._parked import GENERATIONS, Lookout, other_firsts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.hub_core.conftest import Elsewhere, Reports

    from hub_loop.testing import ManualClock


# -- all parked -------------------------------------------------------------------------------------------------------


def test_all_are_parked_when_it_returns_however_often_they_ran_before(hub: Hub) -> None:
    done: list[str] = []
    waiter = Waiter()

    def yields() -> None:
        for _ in range(50):
            sleep(0)
        spawn_raw(done.append, "child")
        hub.loop.run_callback(hub.loop.run_callback, done.append, "callback of a callback")
        done.append("yielded")
        waiter.get()

    parked = spawn_raw(yields)
    wait_all_parked()
    assert sorted(done) == ["callback of a callback", "child", "yielded"]
    assert wait_reason(parked) is waiter
    waiter.switch(None)
    wait_all_parked()
    assert parked.dead


def test_an_event_that_is_there_is_not_slept_over_and_a_timer_that_is_due_is_not_either(
    clocked_hub: Hub, clock: ManualClock
) -> None:
    done: list[str] = []

    def waits(seconds: float) -> None:
        sleep(seconds)
        done.append(f"{seconds}")

    spawn_raw(waits, 0.5)
    spawn_raw(waits, 2.0)
    wait_all_parked()
    assert done == []
    clock.advance(0.5)
    wait_all_parked()
    assert done == ["0.5"]
    clocked_hub.join()
    assert done == ["0.5", "2.0"]


def test_with_a_cushion_nobody_has_run_for_so_long(clocked_hub: Hub, clock: ManualClock) -> None:
    done: list[float] = []
    start = clock()

    def ticks() -> None:
        for _ in range(5):
            sleep(0.3)
            done.append(clock() - start)
        sleep(10.0)

    ticking = spawn_raw(ticks)
    wait_all_parked(cushion=0.5)
    assert len(done) == 5
    assert clock() - start >= 1.5 + 0.5
    assert clock() - start < 1.5 + 2 * 0.5  # the last half second begins at most as much after the last tick
    kill(ticking)
    clocked_hub.join()


def test_one_who_runs_in_the_very_turn_in_which_the_cushion_ends_is_seen(clocked_hub: Hub, clock: ManualClock) -> None:
    start, done = clock(), list[float]()

    def late() -> None:
        sleep(1.0)
        sleep(0)
        done.append(clock() - start)

    spawn_raw(late)
    wait_all_parked(cushion=1.0)
    assert done == [1.0]
    assert clock() - start == 2.0


def test_callbacks_that_wake_nobody_do_not_end_a_cushion(clocked_hub: Hub, clock: ManualClock) -> None:
    start, beats = clock(), list[float]()
    with clocked_hub.loop.timer(0.1, repeat=0.1) as heart:
        heart.start(lambda: beats.append(clock()))
        wait_all_parked(cushion=1.0)
    assert 1.0 <= clock() - start < 1.2
    assert len(beats) >= 9


def test_several_may_wait_at_once_and_each_comes_back(hub: Hub) -> None:
    done: list[int] = []

    def wait(number: int) -> None:
        wait_all_parked()
        done.append(number)

    for number in range(3):
        spawn_raw(wait, number)
    wait_all_parked()
    hub.join()
    assert sorted(done) == [0, 1, 2]


@pytest.mark.parametrize("wrong", [-0.1, float("nan")])
def test_a_cushion_is_a_number_of_seconds(hub: Hub, wrong: float) -> None:
    with pytest.raises(ValueError, match="a cushion is 0 or more seconds"):
        wait_all_parked(wrong)


def test_in_a_callback_nobody_waits_for_all(hub: Hub, reports: Reports) -> None:
    hub.loop.run_callback(wait_all_parked)
    hub.join()
    assert BlockingSwitchOutError.__name__ in reports.take()


def test_parked_greenlets_are_those_that_began_and_did_not_end(hub: Hub) -> None:
    waiter = Waiter()
    new = greenlet(waiter.get)
    parked = spawn_raw(waiter.get)
    assert not {new, parked} & set(parked_greenlets())
    sleep(0)
    found = parked_greenlets()
    assert parked in found
    assert new not in found
    assert hub in found
    assert getcurrent() not in found
    waiter.switch(None)
    sleep(0)
    assert parked not in parked_greenlets()
    del found


# -- the lookout ------------------------------------------------------------------------------------------------------


@pytest.fixture
def lookout() -> Iterator[Lookout]:
    """One that has looked, and whose objects the collector puts nowhere by itself."""
    gc.disable()
    try:
        made = Lookout()
        made.trust(threading.enumerate())  # those of libraries
        made.parked_greenlets()
        yield made
    finally:
        gc.enable()


def switch_back() -> None:
    """Park, until switched to or killed."""
    parent = getcurrent().parent
    assert parent is not None
    parent.switch()


def looks_at_all(lookout: Lookout) -> bool:
    """Whether the next look is one at all objects; takes it."""
    before = lookout.thorough
    lookout.parked_greenlets()
    return lookout.thorough > before


def test_a_lookout_finds_who_is_new_without_a_look_at_all_objects(hub: Hub, lookout: Lookout) -> None:
    looks = lookout.thorough
    parked = [spawn_raw(Waiter().get), greenlet(switch_back)]
    parked[1].switch()
    sleep(0)
    found = lookout.parked_greenlets()
    assert set(parked) <= set(found)
    assert set(found) == set(parked_greenlets())
    assert set(lookout.parked_greenlets()) == set(found), "who is old by now is still known"
    if GENERATIONS:
        assert lookout.thorough == looks
    kill(parked[0])
    parked[1].throw()
    sleep(0)
    assert not set(parked) & set(lookout.parked_greenlets())


@pytest.mark.parametrize("generation", [1, 2])
def test_a_lookout_finds_who_has_become_old_before_it_looked(hub: Hub, lookout: Lookout, generation: int) -> None:
    parked = spawn_raw(Waiter().get)
    sleep(0)
    gc.collect(generation)
    assert parked in lookout.parked_greenlets()
    assert not looks_at_all(lookout) or not GENERATIONS, "it has paid once"


def test_a_lookout_finds_who_was_made_long_ago_and_begins_late(lookout: Lookout) -> None:
    late = greenlet(switch_back)
    assert late not in lookout.parked_greenlets()
    gc.collect()
    lookout.parked_greenlets()
    late.switch()
    assert late in lookout.parked_greenlets()
    late.throw()


def test_a_lookout_trusts_no_look_during_which_others_may_have_made_greenlets(lookout: Lookout) -> None:
    go = threading.Event()
    thread = threading.Thread(target=go.wait)
    thread.start()
    try:
        lookout.parked_greenlets()
        assert looks_at_all(lookout)
    finally:
        go.set()
        thread.join()
    assert looks_at_all(lookout), "it was there the last time"
    assert not looks_at_all(lookout) or not GENERATIONS


def test_a_lookout_does_not_mind_a_thread_that_is_trusted(lookout: Lookout) -> None:
    begun, end = threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        end.wait(30)

    thread = threading.Thread(target=wait)
    thread.start()
    begun.wait(30)
    try:
        lookout.parked_greenlets()
        assert looks_at_all(lookout)
        lookout.trust(threading.enumerate())
        lookout.parked_greenlets()
        assert not looks_at_all(lookout) or not GENERATIONS
    finally:
        end.set()
        thread.join()


def test_threads_that_have_greenlets_are_known_by_their_first_one() -> None:
    before = set(map(id, other_firsts()))
    begun, end = threading.Event(), threading.Event()

    def wait() -> None:
        getcurrent()
        begun.set()
        end.wait(30)

    thread = threading.Thread(target=wait)
    thread.start()
    begun.wait(30)
    try:
        assert len(set(map(id, other_firsts())) - before) == 1
        in_a_greenlet: set[int] = greenlet(lambda: set(map(id, other_firsts()))).switch()
        assert len(in_a_greenlet - before) == 1, "its own thread's is none of them"
    finally:
        end.set()
        thread.join()


def test_a_lookout_keeps_nobody_alive_and_no_first_greenlet_of_a_thread(lookout: Lookout, elsewhere: Elsewhere) -> None:
    made = greenlet(int)
    gone = weakref.ref(made)
    lookout.parked_greenlets()
    del made
    assert gone() is None
    first = elsewhere(getcurrent)
    lookout.parked_greenlets()
    assert id(first) not in lookout._known


SET_ASIDE_AND_BACK = """
import gc
from greenlet import getcurrent, greenlet
from hub_core.testing._parked import Lookout

gc.disable()
lookout = Lookout()
lookout.parked_greenlets()
parked = greenlet(lambda: getcurrent().parent.switch())
parked.switch()
gc.freeze()
gc.unfreeze()
assert lookout.parked_greenlets() == [parked]
"""


def test_a_lookout_finds_who_was_set_aside_and_brought_back() -> None:
    # In a process of its own: here it would bring back all that the tools have.
    subprocess.run([sys.executable, "-c", SET_ASIDE_AND_BACK], check=True, timeout=50)
