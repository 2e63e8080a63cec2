"""The lanes and the budget: what is counted, for each way to hand over; and the calls of other libraries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from greenlet import greenlet

from hub_core import Hub, Waiter, kill, sleep, spawn_raw
from hub_core._ready import MOST, SAMPLE_EVERY, SLICE, WIDEST, Budget, Sampler

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.hub_core.conftest import Elsewhere

    from hub_loop.testing import FakePoller, ManualClock


# -- the budget, alone ------------------------------------------------------------------------------------------------


def test_a_fresh_budget_opens_with_the_widest_stride() -> None:
    assert Budget().open(0.0) == WIDEST


def test_while_the_clock_stands_the_budget_gives_strides_until_most_are_spent() -> None:
    budget = Budget()
    given = [budget.open(0.0)]
    while stride := budget.extend(0.0):
        given.append(stride)
    assert given == [WIDEST] * (MOST // WIDEST)
    assert budget.open(0.0) == WIDEST


@pytest.mark.parametrize(
    ("elapsed", "stride"),
    [
        (SLICE / 4, WIDEST),  # as many as fit into a quarter of a slice, and no more than the widest
        (SLICE / 100, WIDEST),
        (SLICE / 2, WIDEST // 2),
        (SLICE * 0.99, WIDEST // 4),
    ],
)
def test_a_stride_is_what_fits_into_a_quarter_of_a_slice(elapsed: float, stride: int) -> None:
    budget = Budget()
    budget.open(0.0)
    assert budget.extend(elapsed) == stride
    assert budget.open(0.0) == stride


def test_when_the_slice_is_over_there_is_nothing_left_and_the_next_turn_has_the_new_stride() -> None:
    budget = Budget()
    budget.open(0.0)
    assert budget.extend(SLICE * WIDEST) == 0
    assert budget.open(0.0) == 1, "the handoffs took a slice each"
    assert budget.extend(SLICE / 8) == 2
    assert budget.extend(SLICE / 4) == 3


def test_exactly_a_slice_is_over() -> None:
    budget = Budget()
    budget.open(0.0)
    assert budget.extend(SLICE) == 0


# -- the sampler, alone -----------------------------------------------------------------------------------------------


def test_the_last_of_those_that_wait_is_watched_until_so_many_were_taken() -> None:
    sampler = Sampler()
    assert sampler.target == -1
    assert sampler.begin(1.0, taken=5, waiting=4) == 3
    assert sampler.target == 8
    assert sampler.begin(1.0, taken=7, waiting=9) == 1, "the same one, though more have come"
    assert sampler.begin(1.0, taken=8, waiting=8) == 0
    sampler.end(1.25)
    assert (sampler.target, sampler.total, sum(sampler.counts)) == (-1, 0.25, 1)


@pytest.mark.parametrize(("taken", "waiting"), [(9, 1), (8, 0), (3, 1), (3, 2), (2, 3)])
def test_one_that_cannot_stand_in_the_lane_any_more_is_forgotten(taken: int, waiting: int) -> None:
    sampler = Sampler()
    sampler.begin(1.0, taken=4, waiting=5)
    assert sampler.target == 8
    assert sampler.begin(1.0 + SAMPLE_EVERY / 2, taken, waiting) == 2 * MOST, "not reached, and no other yet"
    assert sampler.target == -1


def test_the_next_is_watched_from_its_time_on_if_one_waits() -> None:
    sampler = Sampler()
    sampler.begin(1.0, taken=0, waiting=1)
    sampler.end(1.0)
    due = 1.0 + SAMPLE_EVERY
    assert sampler.begin(due, taken=1, waiting=0) == 2 * MOST
    assert sampler.begin(due, taken=1, waiting=2) == 1
    assert sampler.due == due + SAMPLE_EVERY


def test_one_that_is_not_reached_in_its_turn_is_measured_in_the_next_though_that_comes_at_once(
    clocked_hub: Hub, clock: ManualClock
) -> None:
    def run() -> None:
        clocked_hub.park()
        clock.advance(1e-7)

    def wake() -> None:
        for each in parked:
            clocked_hub.make_ready(each)

    parked = [spawn_raw(run) for _ in range(MOST + WIDEST + 5)]
    clocked_hub.join(timeout=1.0)
    before = clocked_hub.counters.snapshot()
    clocked_hub.loop.run_callback(wake)
    clocked_hub.join()
    delay = (clocked_hub.counters.snapshot() - before).ready_delay
    assert delay.samples == 1
    assert delay.seconds == pytest.approx((MOST + WIDEST + 4) * 1e-7)


# -- the count, by each way to hand over ------------------------------------------------------------------------------


def yield_by_sleep(hub: Hub, step: Callable[[], bool]) -> None:
    def spin() -> None:
        while step():
            sleep(0)

    for _ in range(2):
        spawn_raw(spin)


def yield_by_waiter(hub: Hub, step: Callable[[], bool]) -> None:
    first, second = Waiter(), Waiter()

    def ping(mine: Waiter, other: Waiter) -> None:
        while step():
            mine.get()
            other.switch(None)

    spawn_raw(ping, first, second)
    spawn_raw(ping, second, first)
    spawn_raw(first.switch)


def yield_by_spawning(hub: Hub, step: Callable[[], bool]) -> None:
    def breed() -> None:
        if step():
            spawn_raw(breed)

    spawn_raw(breed)


def yield_by_spawning_what_is_held(hub: Hub, step: Callable[[], bool]) -> None:
    held: list[greenlet] = []

    def breed() -> None:
        if step():
            held.append(spawn_raw(breed))

    held.append(spawn_raw(breed))


def yield_by_spawning_many_at_once(hub: Hub, step: Callable[[], bool]) -> None:
    for _ in range(4 * MOST):
        spawn_raw(step)


@pytest.mark.parametrize(
    "way",
    [
        yield_by_sleep,
        yield_by_waiter,
        yield_by_spawning,
        yield_by_spawning_what_is_held,
        yield_by_spawning_many_at_once,
    ],
)
def test_on_a_clock_that_stands_still_as_many_run_between_two_polls_as_the_bound_says(
    clocked_hub: Hub, way: Callable[[Hub, Callable[[], bool]], None]
) -> None:
    steps, at_poll = 0, list[int]()

    def step() -> bool:
        nonlocal steps
        steps += 1
        return steps < 4 * MOST

    way(clocked_hub, step)
    with clocked_hub.loop.prepare(ref=False) as prepare:
        prepare.start(lambda: at_poll.append(steps))
        clocked_hub.join()
    at_poll.append(steps)
    runs = [after - before for before, after in zip([0, *at_poll], at_poll, strict=False)]
    assert sum(runs) >= 4 * MOST
    assert max(runs) <= MOST
    # The whole budget is used: a poll for each few of them would be dear.
    assert max(runs) >= MOST - 3


@pytest.mark.parametrize("held", [False, True], ids=["carried", "held"])
def test_what_the_last_new_one_of_a_round_leaves_of_the_stride_is_spent_before_the_next_look_at_the_clock(
    clocked_hub: Hub, clock: ManualClock, held: bool
) -> None:
    steps, at_poll, known = 0, list[int](), list[greenlet]()

    def spin() -> None:
        nonlocal steps
        while len(at_poll) < 3:
            steps += 1
            clock.advance(SLICE / 2)
            sleep(0)

    for function in (int, spin):
        known.append(spawn_raw(function))
    if not held:
        known.clear()
    with clocked_hub.loop.prepare(ref=False) as prepare:
        prepare.start(lambda: at_poll.append(steps))
        clocked_hub.join()
    assert at_poll[0] == 0
    assert at_poll[1] == WIDEST - 1, "all of the first stride, and no other"


@pytest.mark.parametrize(("stay", "leave"), [(0, 1), (0, 2), (1, 2)])
def test_one_that_was_watched_and_has_left_the_lane_otherwise_is_never_measured(
    clocked_hub: Hub, stay: int, leave: int
) -> None:
    def first() -> None:
        clocked_hub.park()
        for other in others:  # the last of them is watched
            clocked_hub.forget_ready(other)
        clocked_hub.loop.run_callback(spawn_raw, spin)

    def spin() -> None:  # a turn of its own, and beyond its first look at the clock
        for _ in range(2 * WIDEST):
            sleep(0)
        wake(others)

    def wake(sleepers: list[greenlet]) -> None:
        for sleeper in sleepers:
            clocked_hub.make_ready(sleeper)

    parked, others = spawn_raw(first), [spawn_raw(clocked_hub.park) for _ in range(leave)]
    stayers = [spawn_raw(clocked_hub.park) for _ in range(stay)]
    sleep(0.001)
    before = clocked_hub.counters.snapshot()
    with clocked_hub.loop.timer(1.0) as timer:
        timer.start(wake, [*stayers, parked, *others])
        clocked_hub.join()
    assert all(other.dead for other in others)
    counted = clocked_hub.counters.snapshot() - before
    assert counted.ready_delay.samples == 0
    assert counted.switches == stay + 1 + 1 + 2 * WIDEST + leave, (
        "what was kept back for the one that was watched is not used"
    )


def test_another_thread_is_told_of_the_handoffs_of_all_turns_before(clocked_hub: Hub, elsewhere: Elsewhere) -> None:
    def member() -> None:
        for _ in range(10):
            sleep(0)

    for _ in range(3):
        spawn_raw(member)
    clocked_hub.join()
    here = clocked_hub.counters.snapshot()
    assert here.handoffs
    spawn_raw(int)  # another turn
    clocked_hub.join()
    there = elsewhere(clocked_hub.counters.snapshot)
    assert (there.handoffs, there.switches) == (here.handoffs, here.switches + 1)


# -- lanes ------------------------------------------------------------------------------------------------------------


def test_start_soon_starts_a_greenlet_of_ones_own_after_those_that_are_new(hub: Hub) -> None:
    order: list[Any] = []

    def run(*args: int, **kwargs: int) -> None:
        order.append((args, kwargs))

    spawn_raw(order.append, "spawned before")
    with_all, bare = greenlet(run, hub), greenlet(run, hub)
    hub.start_soon(with_all, run, (1, 2), {"three": 3})
    hub.start_soon(bare, run)
    spawn_raw(order.append, "spawned after")
    assert order == []
    hub.join()
    assert order == ["spawned before", ((1, 2), {"three": 3}), ((), {}), "spawned after"]
    assert with_all.dead


def test_a_signal_handler_that_kills_or_starts_wakes_a_sleeping_loop(
    clocked_hub: Hub, poller: FakePoller, clock: ManualClock
) -> None:
    began, ended = clock(), list[float]()

    def doomed() -> None:
        try:
            sleep(100)
        finally:
            ended.append(clock())

    def end() -> None:
        ended.append(clock())

    victim = spawn_raw(doomed)
    poller.when_blocking(kill, victim)
    sleep(10)
    assert ended == [began]
    poller.when_blocking(clocked_hub.start_soon, greenlet(end, clocked_hub), end)
    sleep(10)
    assert ended == [began, began + 10]


def test_a_greenlet_that_spawns_parks_through_the_hub_and_then_the_others_hand_over_directly(clocked_hub: Hub) -> None:
    order: list[str] = []

    def run(name: str) -> None:
        order.append(name)
        sleep(0)
        if name == "a":
            spawn_raw(run, "new")
        order.append(name)
        sleep(0)
        order.append(name)

    for name in "ab":
        spawn_raw(run, name)
    clocked_hub.join()
    assert order == ["a", "b", "a", "new", "b", "a", "new", "b", "new"]
