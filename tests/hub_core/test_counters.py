"""Counters: exact numbers on a clock that is moved by hand, and what holds for a reader in another thread."""

from __future__ import annotations

import gc
import json
import math
import sys
import threading
from typing import TYPE_CHECKING
from weakref import ref

import pytest

from hub_core import Counters, CountersSnapshot, DelayHistogram, Hub, Waiter, get_hub, kill, sleep, spawn_raw
from hub_core._ready import BUCKETS, MOST, SAMPLE_EVERY, WIDEST
from hub_loop import Loop

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from tests.hub_core.conftest import Elsewhere

    from hub_loop.testing import FakePoller, ManualClock


def during(action: Callable[[], object]) -> CountersSnapshot:
    """What the counters of this thread's hub say of `action`."""
    counters = get_hub().counters
    before = counters.snapshot()
    action()
    return counters.snapshot() - before


def bucket(seconds: float) -> int:
    """Which bucket of the histogram takes a delay."""
    return next(n for n in range(BUCKETS) if seconds < 2**n / 1e6)


def wait_and_run(waiter: Waiter, clock: ManualClock, seconds: float) -> None:
    waiter.get()
    clock.advance(seconds)


def wake_and_run(waiter: Waiter, clock: ManualClock, seconds: float) -> None:
    # No mark, as `waiter.switch` were, which a parking greenlet runs by itself.
    waiter.switch(None)
    clock.advance(seconds)


# -- switches and handoffs --------------------------------------------------------------------------------------------


def test_a_fresh_hub_has_counted_nothing(clocked_hub: Hub, elsewhere: Elsewhere) -> None:
    nothing = CountersSnapshot(0.0, 0, 0, 0, 0, 0.0, 0.0, 0, 0, 0, DelayHistogram((0,) * (BUCKETS + 1), 0.0))
    assert clocked_hub.counters.snapshot() == nothing
    assert elsewhere(clocked_hub.counters.snapshot) == nothing


def test_each_yield_in_a_ring_is_one_handoff(clocked_hub: Hub) -> None:
    def member() -> None:
        for _ in range(10):
            sleep(0)

    def ring() -> None:
        for _ in range(3):
            spawn_raw(member)
        clocked_hub.join()

    counted = during(ring)
    # Three starts by the hub.  From the first park of the third on it is handoffs, but when one of them ends: that
    # leads to the hub, which resumes the next of those that are left, twice.
    assert (counted.switches, counted.handoffs) == (3 + 30, 30 - 2)
    assert counted.turns == 1


def test_a_lone_greenlet_that_yields_is_handed_over_to_itself(clocked_hub: Hub) -> None:
    counted: list[CountersSnapshot] = []

    def yields() -> None:
        for _ in range(10):
            sleep(0)

    def alone() -> None:
        sleep(0)
        counted.append(during(yields))

    spawn_raw(alone)
    clocked_hub.join()
    assert (counted[0].switches, counted[0].handoffs, counted[0].turns) == (10, 10, 0)


def test_two_that_wake_each_other_make_one_handoff_per_wake(clocked_hub: Hub) -> None:
    counted: list[CountersSnapshot] = []
    first, second = Waiter(), Waiter()

    def answer() -> None:
        while second.get():
            first.switch(None)

    def ask() -> None:
        def rally() -> None:
            for _ in range(50):
                second.switch(True)
                first.get()

        rally()
        counted.append(during(rally))
        second.switch(False)

    spawn_raw(answer)
    spawn_raw(ask)
    clocked_hub.join()
    assert (counted[0].switches, counted[0].handoffs) == (100, 100)


def test_a_wake_by_an_event_is_a_switch_and_no_handoff(clocked_hub: Hub) -> None:
    counted = during(lambda: sleep(1.0))
    assert (counted.switches, counted.handoffs) == (1, 0)
    assert counted.callbacks == 1  # the timer's


def test_handoffs_do_not_get_lost_where_the_budget_ends_and_the_hub_polls(clocked_hub: Hub) -> None:
    yields = 3 * MOST

    def alone() -> None:
        for _ in range(yields):
            sleep(0)

    spawn_raw(alone)
    counted = during(clocked_hub.join)
    # The clock stands still, so each turn has MOST switches.  The one after that goes through the hub.
    assert counted.switches == yields + 1
    assert counted.handoffs == yields - yields // MOST
    assert counted.turns >= yields // MOST


@pytest.mark.parametrize("held", [True, False], ids=["in greenlets of their own", "carried"])
def test_each_spawned_function_is_one_switch_whoever_runs_it(clocked_hub: Hub, held: bool) -> None:
    kept: list[object] = []

    def spawn() -> None:
        for _ in range(100):
            spawned = spawn_raw(int)
            if held:
                kept.append(spawned)
            del spawned
        clocked_hub.join()

    counted = during(spawn)
    assert (counted.switches, counted.handoffs) == (100, 0)


def test_a_kill_is_one_switch(clocked_hub: Hub) -> None:
    doomed = spawn_raw(Waiter().get)
    clocked_hub.join()

    def end() -> None:
        kill(doomed)
        clocked_hub.join()

    counted = during(end)
    assert (counted.switches, counted.handoffs) == (1, 0)
    assert doomed.dead


def test_a_mixture_adds_up_for_every_number_of_greenlets(clocked_hub: Hub, clock: ManualClock) -> None:
    # What is spawned in the middle of a stride, and samples that cut strides short, must not be counted twice.
    for size in (1, 2, WIDEST - 1, WIDEST, WIDEST + 1, 100):
        went_on = 0

        def member(more: int, burn: float) -> None:
            nonlocal went_on
            went_on += 1
            for _ in range(20):
                clock.advance(burn)
                sleep(0)
                went_on += 1
            if more:
                spawn_raw(member, 0, burn)

        for burn in (0.0, 1e-5, 3e-4):
            went_on = 0
            for _ in range(size):
                spawn_raw(member, 1, burn)
            counted = during(clocked_hub.join)
            assert counted.switches == went_on == 2 * size * 21


# -- turns, calls, times ----------------------------------------------------------------------------------------------


def test_time_asleep_and_time_at_work_are_told_apart(clocked_hub: Hub, clock: ManualClock) -> None:
    def work() -> None:
        sleep(2.0)  # sleeps: nothing else is to be done
        clock.advance(0.25)  # works
        sleep(0.75)

    counted = during(work)
    assert counted.poll_seconds == 2.75
    assert counted.run_seconds == 0.25
    assert counted.seconds == 3.0
    assert counted.busy == pytest.approx(0.25 / 3)
    assert counted.turns == 2


def test_a_poll_that_is_not_to_wait_is_no_sleep(clocked_hub: Hub, clock: ManualClock) -> None:
    def spin() -> None:
        for _ in range(5):
            clock.advance(0.001)
            sleep(0)

    spawn_raw(spin)
    counted = during(clocked_hub.join)
    assert counted.poll_seconds == 0.0
    assert counted.run_seconds == pytest.approx(0.005)


def test_no_time_is_no_share(clocked_hub: Hub) -> None:
    assert clocked_hub.counters.snapshot().busy == 0.0


def test_callbacks_and_watchers_are_counted(clocked_hub: Hub) -> None:
    def call() -> None:
        for _ in range(120):
            clocked_hub.loop.run_callback(int)
        clocked_hub.loop.run_callback(int).stop()
        clocked_hub.join()

    assert during(call).callbacks == 121


def test_the_lanes_and_lines_are_told_as_they_are(clocked_hub: Hub) -> None:
    def look() -> CountersSnapshot:
        return clocked_hub.counters.snapshot()

    seen: list[CountersSnapshot] = []
    for _ in range(3):
        spawn_raw(sleep)
    spawn_raw(lambda: seen.append(look()))
    clocked_hub.loop.run_callback(int)
    before = look()
    assert (before.new, before.ready, before.pending) == (4, 0, 1)
    clocked_hub.join()
    assert (seen[0].new, seen[0].ready, seen[0].pending) == (0, 3, 0)
    assert (seen[0] - before).ready == 3  # a difference keeps what is now


# -- the time in the ready lane ---------------------------------------------------------------------------------------


def test_the_last_of_those_that_are_ready_is_measured(clocked_hub: Hub, clock: ManualClock) -> None:
    waiters = [Waiter() for _ in range(5)]
    for waiter in waiters:
        spawn_raw(wait_and_run, waiter, clock, 0.020)
    clocked_hub.join(timeout=1.0)

    def wake() -> None:
        for waiter in waiters:
            waiter.switch(None)

    clocked_hub.loop.run_callback(wake)
    delay = during(clocked_hub.join).ready_delay
    assert delay.samples == 1
    assert delay.seconds == pytest.approx(0.080)  # four ran before it
    assert delay.counts[bucket(0.080)] == 1


def test_the_time_that_callbacks_take_before_it_counts(clocked_hub: Hub, clock: ManualClock) -> None:
    waiter = Waiter()
    spawn_raw(wait_and_run, waiter, clock, 1.0)
    clocked_hub.join(timeout=1.0)
    clocked_hub.loop.run_callback(wake_and_run, waiter, clock, 0.003)
    delay = during(clocked_hub.join).ready_delay
    assert delay.samples == 1
    assert delay.seconds == pytest.approx(0.003)  # what it does itself does not


def test_what_is_started_before_it_counts(clocked_hub: Hub, clock: ManualClock) -> None:
    waiter = Waiter()
    spawn_raw(wait_and_run, waiter, clock, 1.0)
    clocked_hub.join(timeout=1.0)

    def wake() -> None:
        waiter.switch(None)
        for _ in range(3):
            spawn_raw(clock.advance, 0.010)

    clocked_hub.loop.run_callback(wake)
    delay = during(clocked_hub.join).ready_delay
    assert delay.samples == 1
    assert delay.seconds == pytest.approx(0.030)


def test_one_that_waits_for_many_turns_is_measured_whole(clocked_hub: Hub, clock: ManualClock) -> None:
    waiters = [Waiter() for _ in range(1000)]
    for waiter in waiters:
        spawn_raw(wait_and_run, waiter, clock, 0.0001)
    clocked_hub.join(timeout=1.0)

    def wake() -> None:
        for waiter in waiters:
            waiter.switch(None)

    clocked_hub.loop.run_callback(wake)
    counted = during(clocked_hub.join)
    assert counted.turns > 100
    assert counted.ready_delay.seconds == pytest.approx(0.0999)
    assert counted.ready_delay.samples == 1


def test_one_that_leaves_the_lane_by_another_way_is_forgotten(clocked_hub: Hub, clock: ManualClock) -> None:
    waiters = [Waiter() for _ in range(3)]
    parked = [spawn_raw(waiter.get) for waiter in waiters]
    clocked_hub.join(timeout=1.0)

    def steal() -> None:
        waiters[0].switch(None)
        waiters[1].switch(None)
        waiters[2].switch(None)

    def take_out() -> None:
        for each in parked[1:]:
            clocked_hub.forget_ready(each)

    thief = spawn_raw(take_out)
    clocked_hub.loop.run_callback(steal)
    assert during(lambda: clocked_hub.join(timeout=1.0)).ready_delay.samples <= 1
    assert thief.dead
    for each in parked[1:]:
        kill(each)
    clocked_hub.join()
    assert during(lambda: sleep(1.0)).ready_delay.samples == 1  # and the next is measured as ever


def test_at_most_one_is_measured_in_a_millisecond(clocked_hub: Hub, clock: ManualClock) -> None:
    def ring() -> None:
        for _ in range(2000):
            clock.advance(1e-5)
            sleep(0)

    spawn_raw(ring)
    spawn_raw(ring)
    counted = during(clocked_hub.join)
    assert counted.seconds == pytest.approx(0.040)
    assert 0.040 / SAMPLE_EVERY / 2 <= counted.ready_delay.samples <= 0.040 / SAMPLE_EVERY + 1


def test_percentiles_are_upper_bounds_of_buckets() -> None:
    counts = [0] * (BUCKETS + 1)
    counts[bucket(100e-6)], counts[bucket(0.005)], counts[-1] = 90, 9, 1
    delay = DelayHistogram(tuple(counts), 1.0)
    assert delay.samples == 100
    assert delay.percentile(0) == delay.percentile(50) == delay.percentile(90) == 128e-6
    assert delay.percentile(91) == delay.percentile(99) == 8192e-6
    assert delay.percentile(100) == math.inf
    assert math.isnan((delay - delay).percentile(50))
    for wrong in (-1, 101, math.nan):
        with pytest.raises(ValueError, match="a percentile is one of 0 to 100, got"):
            delay.percentile(wrong)


def test_a_delay_beyond_all_bounds_is_in_the_last_bucket(clocked_hub: Hub, clock: ManualClock) -> None:
    waiter = Waiter()
    spawn_raw(waiter.get)
    clocked_hub.join(timeout=1.0)
    clocked_hub.loop.run_callback(wake_and_run, waiter, clock, 1e6)
    assert during(clocked_hub.join).ready_delay.counts[-1] == 1


# -- readers ----------------------------------------------------------------------------------------------------------


def test_a_snapshot_is_json(clocked_hub: Hub) -> None:
    sleep(0.5)
    taken = clocked_hub.counters.snapshot()
    again = json.loads(json.dumps(taken.as_dict()))
    assert again["turns"] == taken.turns
    assert again["poll_seconds"] == 0.5
    assert len(again["ready_delay"]["bounds"]) + 1 == len(again["ready_delay"]["counts"])
    assert list(again) == list(CountersSnapshot._fields)


def test_another_thread_reads_a_sleeping_hub_and_its_sleep_grows(hub: Hub) -> None:
    counters, read = hub.counters, list[CountersSnapshot]()

    def reader() -> None:
        while not hub.loop.sleeping:
            pass
        read.append(counters.snapshot())
        read.append(counters.snapshot())
        hub.loop.run_callback_threadsafe(waiter.switch, None)

    waiter = Waiter()
    thread = threading.Thread(target=reader)
    with hub.loop.async_():
        hub.loop.ref()
        thread.start()
        waiter.get()
        hub.loop.unref()
    thread.join()
    assert read[1].poll_seconds > read[0].poll_seconds
    # It was asleep between the two, so only sleep has passed.
    assert read[1].run_seconds == pytest.approx(read[0].run_seconds, abs=1e-9)


def test_for_a_reader_in_another_thread_no_counter_goes_back(hub: Hub) -> None:
    counters, read, ended = hub.counters, list[CountersSnapshot](), threading.Event()

    def reader() -> None:
        while not ended.is_set():
            read.append(counters.snapshot())

    def member() -> None:
        for number in range(4000):
            sleep(0)
            if number % 50 == 0:
                spawn_raw(sleep)
                hub.loop.run_callback(int)
            if number % 400 == 0:
                sleep(1e-4)

    thread = threading.Thread(target=reader)
    thread.start()
    for _ in range(3):
        spawn_raw(member)
    hub.join()
    ended.set()
    thread.join()
    assert read
    last = counters.snapshot()
    for before, after in zip(read, [*read[1:], last], strict=True):
        assert min((after - before)[:7]) >= -1e-9
        assert min((after - before).ready_delay.counts) >= 0


def test_counters_hold_no_hub_and_say_when_it_is_gone(reports: object) -> None:
    hub = Hub(Loop(default=False))
    counters, gone = hub.counters, ref(hub)
    assert repr(counters).startswith("<Counters of <Hub")
    hub.destroy()
    with pytest.raises(ValueError, match=r"cannot read <Counters of <Hub .*destroyed.*>: the hub is destroyed"):
        counters.snapshot()
    with pytest.raises(ValueError, match=r"cannot count what it does: <Hub .* is destroyed"):
        _ = hub.counters
    del hub
    gc.collect()
    assert gone() is None
    assert repr(counters) == "<Counters of a hub that is gone>"
    with pytest.raises(ValueError, match="the hub is destroyed"):
        counters.snapshot()


def test_counters_can_be_had_in_any_thread(hub: Hub, elsewhere: Elsewhere) -> None:
    sleep(0.001)
    assert isinstance(elsewhere(lambda: hub.counters), Counters)
    assert elsewhere(lambda: hub.counters.snapshot()).turns >= 1


def test_a_loop_that_does_not_count_is_named(poller: FakePoller, clock: ManualClock) -> None:
    class Bare:
        """The core of a loop, and no more."""

        def __init__(self) -> None:
            self._loop = Loop(default=False, poller=poller, clock=clock)

        def __getattr__(self, name: str) -> object:
            if name in ("calls", "clock", "polled", "progress"):
                raise AttributeError(name)
            return getattr(self._loop, name)

    hub = Hub(Bare())  # type: ignore[arg-type]  # it has all of it by __getattr__
    with pytest.raises(
        TypeError, match=r"has no calls, clock, polled, progress; use a loop that is a hub_api.ICounting"
    ):
        _ = hub.counters
    hub.destroy(destroy_loop=True)


def test_the_interpreter_may_run_what_is_pending_at_any_moment_of_a_snapshot(hub: Hub) -> None:
    deprived: list[str] = []

    def profile(frame: FrameType, event: str, arg: object) -> None:
        if event == "call" and "__import__" not in frame.f_builtins:
            deprived.append(frame.f_code.co_name)

    sys.setprofile(profile)
    try:
        hub.counters.snapshot() - hub.counters.snapshot()
    finally:
        sys.setprofile(None)
    assert deprived == []
