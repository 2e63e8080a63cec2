"""Law 5: a bounded distance between polls, in count and in time, so that spinners starve neither timers nor sockets."""

from __future__ import annotations

import itertools
import socket
from typing import TYPE_CHECKING

import pytest

from hub_core import FdWaiter, Hub, get_hub, kill, sleep, spawn_raw
from hub_core._ready import MOST, SLICE, WIDEST

if TYPE_CHECKING:
    from collections.abc import Callable

    from greenlet import greenlet

    from hub_loop.testing import FakePoller, ManualClock


def spinners(count: int, step: Callable[[], object]) -> list[greenlet]:
    """Greenlets that do `step` and let the others run, for ever."""

    def spin() -> None:
        while True:
            step()
            sleep(0)

    return [spawn_raw(spin) for _ in range(count)]


def stop(greenlets: list[greenlet]) -> None:
    """End them."""
    for each in greenlets:
        kill(each)
    get_hub().join()


def test_a_10_ms_heartbeat_beside_two_spinners_of_half_a_millisecond_keeps_12_ms(
    clocked_hub: Hub, clock: ManualClock
) -> None:
    beats: list[float] = []
    pair = spinners(2, lambda: clock.advance(0.0005))
    for _ in range(200):
        sleep(0.010)
        beats.append(clock())
    stop(pair)
    intervals = [after - before for before, after in itertools.pairwise(beats)]
    assert min(intervals) >= 0.010 - 1e-9
    assert sum(intervals) / len(intervals) <= 0.012
    assert max(intervals) <= 0.012


@pytest.mark.parametrize("burn", [0.0, 1e-6, 1e-5, 1e-4, 5e-4, 0.002, 0.02])
def test_the_poll_comes_after_a_slice_and_at_most_one_more_run_or_quarter_of_a_slice(
    clocked_hub: Hub, clock: ManualClock, poller: FakePoller, burn: float
) -> None:
    polls: list[float] = []
    steps = 0

    def step() -> None:
        nonlocal steps
        steps += 1
        clock.advance(burn)

    pair = spinners(2, step)
    with clocked_hub.loop.prepare(ref=False) as prepare:
        prepare.start(lambda: polls.append(clock()))
        while steps < 5000:
            sleep(0)
    stop(pair)
    gaps = [after - before for before, after in itertools.pairwise(polls)]
    assert len(gaps) > 3
    assert max(gaps[1:]) <= SLICE + max(burn, SLICE / 4) + 1e-9


def test_on_a_clock_that_stands_still_the_bound_is_in_count(clocked_hub: Hub, poller: FakePoller) -> None:
    # All switches count, those of this test's own greenlet too.
    steps = 0
    at_poll: list[int] = []

    def step() -> None:
        nonlocal steps
        steps += 1

    pair = spinners(3, step)
    with clocked_hub.loop.prepare(ref=False) as prepare:
        prepare.start(lambda: at_poll.append(steps))
        while steps < 10 * MOST:
            sleep(0)
    stop(pair)
    distances = [after - before for before, after in itertools.pairwise(at_poll)]
    assert len(distances) >= 7
    assert max(distances) <= MOST


def test_after_a_change_to_long_runs_few_polls_are_late_and_none_by_more_than_a_stride(
    clocked_hub: Hub, clock: ManualClock
) -> None:
    polls: list[float] = []
    steps, burn = 0, 0.0

    def step() -> None:
        nonlocal steps
        steps += 1
        clock.advance(burn)

    pair = spinners(2, step)
    with clocked_hub.loop.prepare(ref=False) as prepare:
        prepare.start(lambda: polls.append(clock()))
        while steps < 3000:
            sleep(0)
        burn = 0.001
        while steps < 3500:
            sleep(0)
    stop(pair)
    gaps = [after - before for before, after in itertools.pairwise(polls)]
    assert max(gaps) <= WIDEST * 0.001 + SLICE
    assert sum(gap > SLICE + 0.001 + 1e-9 for gap in gaps) <= 3, "the stride finds its width within a few turns"


def test_one_spinner_alone_starves_nobody_either(clocked_hub: Hub, clock: ManualClock) -> None:
    alone = spinners(1, lambda: clock.advance(0.0005))
    sleep(0.010)  # meanwhile the stride finds its width
    began = clock()
    sleep(0.010)
    assert clock() - began <= 0.012
    stop(alone)


def test_greenlets_that_spawn_for_ever_starve_nobody(clocked_hub: Hub, clock: ManualClock) -> None:
    ended = False

    def breed() -> None:
        clock.advance(0.0001)
        if not ended:
            spawn_raw(breed)

    spawn_raw(breed)
    began = clock()
    sleep(0.010)
    assert clock() - began <= 0.012
    ready = spinners(1, lambda: None)
    sleep(0.010)
    assert clock() - began <= 0.024
    ended = True
    stop(ready)


def test_sockets_are_served_beside_two_spinners(hub: Hub) -> None:
    # In real time, but nothing is measured: were the sockets not polled, this would run into the test's timeout.
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    with ours, theirs:
        server, client = FdWaiter(ours.fileno()), FdWaiter(theirs.fileno())

        def serve() -> None:
            while True:
                server.wait_read()
                data = ours.recv(10)
                server.clear_read()
                if not data:
                    return
                ours.send(data)

        spawn_raw(serve)
        steps = 0

        def step() -> None:
            nonlocal steps
            steps += 1

        pair = spinners(2, step)
        for number in range(100):
            theirs.send(b"%d" % number)
            client.wait_read()
            assert theirs.recv(10) == b"%d" % number
            client.clear_read()
        client.close()
        theirs.shutdown(socket.SHUT_WR)
        stop(pair)
        server.close()
    assert steps > 100


def test_a_callback_that_queues_itself_for_ever_does_not_starve_greenlets(hub: Hub) -> None:
    ended = False

    def again() -> None:
        if not ended:
            hub.loop.run_callback(again)

    again()
    for _ in range(3):
        sleep(0.001)
    ended = True
