"""Waits: for time, for a quiet loop, for watchers, and for fds of strangers.  For those of our own: test_fds.py."""

from __future__ import annotations

import errno
import os
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from tests.hub_core.conftest import Failure, drain, fill

from hub_core import (
    BlockingSwitchOutError,
    ConcurrentObjectUseError,
    Hub,
    InvalidThreadUseError,
    Waiter,
    idle,
    kill,
    sleep,
    spawn_raw,
    wait_on_watcher,
    wait_read,
    wait_readwrite,
    wait_write,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.hub_core.conftest import Elsewhere, Pair

    from hub_loop.testing import FakePoller, ManualClock


# -- sleep and idle ----------------------------------------------------------------------------------------------------


def test_sleep_0_lets_each_that_is_ready_run_once_in_order(hub: Hub) -> None:
    order: list[str] = []

    def run(name: str) -> None:
        for number in range(3):
            order.append(f"{name}{number}")
            sleep(0)

    for name in "abc":
        spawn_raw(run, name)
    hub.join()
    assert order == ["a0", "b0", "c0", "a1", "b1", "c1", "a2", "b2", "c2"]


@pytest.mark.parametrize("seconds", [0, -1, -0.5, float("-inf")])
def test_0_and_negative_seconds_take_no_time_but_let_others_run(
    clocked_hub: Hub, clock: ManualClock, seconds: float
) -> None:
    began = clock()
    order: list[str] = []
    spawn_raw(order.append, "other")
    sleep(seconds)
    assert order == ["other"]
    assert clock() == began


def test_sleep_0_in_a_callback_is_refused(hub: Hub) -> None:
    caught: list[BaseException] = []

    def callback() -> None:
        try:
            sleep(0)
        except BlockingSwitchOutError as error:
            caught.append(error)

    hub.loop.run_callback(callback)
    hub.join()
    assert len(caught) == 1
    assert hub.join()


@pytest.mark.parametrize("seconds", [0.001, 0.1, 1, 1 / 3, 3600.0, 86400 * 365])
def test_sleep_is_never_early_and_on_a_clock_without_noise_not_late(
    clocked_hub: Hub, clock: ManualClock, seconds: float
) -> None:
    began = clock()
    sleep(seconds)
    assert clock() >= began + seconds
    assert clock() == pytest.approx(began + seconds, abs=1e-9)


def test_sleep_counts_from_the_call_however_long_the_turn_took_before_it(clocked_hub: Hub, clock: ManualClock) -> None:
    clock.advance(50)
    sleep(1)
    assert clock() == 1051


def test_equal_sleeps_end_in_the_order_in_which_they_began(clocked_hub: Hub) -> None:
    order: list[int] = []

    def run(number: int) -> None:
        sleep(5)
        order.append(number)

    for number in range(20):
        spawn_raw(run, number)
    clocked_hub.join()
    assert order == list(range(20))


def test_sleep_without_ref_does_not_keep_the_loop_alive_but_ends_if_it_lives(clocked_hub: Hub) -> None:
    order: list[str] = []

    def run() -> None:
        sleep(1, ref=False)
        order.append("woke")

    spawn_raw(run)
    assert clocked_hub.join()
    assert order == []
    sleep(2)
    assert order == ["woke"]


def test_sleep_in_real_time_is_never_early(each_hub: Hub) -> None:
    import time

    for seconds in (0.001, 0.0034, 0.01):
        began = time.monotonic()
        sleep(seconds)
        assert time.monotonic() - began >= seconds


@pytest.mark.parametrize("wrong", ["1", None])
def test_sleep_takes_numbers(hub: Hub, wrong: Any) -> None:
    with pytest.raises(TypeError):
        sleep(wrong)
    sleep(0)


def test_sleep_refuses_what_is_not_a_number_of_seconds(hub: Hub) -> None:
    with pytest.raises(ValueError, match="nan"):
        sleep(float("nan"))


def test_idle_returns_when_there_is_nothing_else_to_do(hub: Hub) -> None:
    order: list[str] = []

    def busy() -> None:
        for number in range(3):
            order.append(f"turn {number}")
            turn = Waiter()
            hub.loop.run_callback(turn.switch, None)
            turn.get()

    spawn_raw(busy)
    idle()
    order.append("idle")
    hub.join()
    assert order[-1] == "idle"
    assert len(order) == 4


def test_idle_greenlets_of_a_higher_priority_go_first(hub: Hub) -> None:
    order: list[int] = []

    def run(priority: int) -> None:
        idle(priority)
        order.append(priority)

    for priority in (0, -1, 1):
        spawn_raw(run, priority)
    hub.join()
    assert order == [1, 0, -1]


def test_what_came_before_a_sleep_0_runs_before_it_returns(hub: Hub) -> None:
    # Whatever the hub was doing when it was left: here it is in the middle of starting greenlets.
    order: list[str] = []
    waiter = Waiter()
    spawn_raw(waiter.get)
    sleep(0)
    spawn_raw(order.append, "spawned")
    sleep(0)
    assert order == ["spawned"]
    waiter.switch(None)
    hub.join()


def test_a_greenlet_made_ready_right_before_the_poll_is_not_slept_over(clocked_hub: Hub, clock: ManualClock) -> None:
    begin = clock()
    with clocked_hub.loop.timer(1.5) as timer, clocked_hub.loop.prepare() as prepare:
        timer.start(lambda: None)
        clocked_hub.wait(prepare)
        assert clock() == begin


# -- strangers' fds ----------------------------------------------------------------------------------------------------


def test_wait_read_returns_when_there_is_something_to_read(each_hub: Hub, pair: Pair) -> None:
    ours, theirs = pair
    order: list[str] = []

    def read() -> None:
        wait_read(ours.fileno())
        order.append(ours.recv(10).decode())

    spawn_raw(read)
    sleep(0.001)
    assert order == []
    theirs.send(b"data")
    each_hub.join()
    assert order == ["data"]


def test_wait_read_on_a_pipe_returns_at_its_end(each_hub: Hub) -> None:
    reading, writing = os.pipe()
    try:
        spawn_raw(os.close, writing)
        wait_read(reading)
        assert os.read(reading, 1) == b""
    finally:
        os.close(reading)


def test_wait_write_returns_when_there_is_room(each_hub: Hub, pair: Pair) -> None:
    ours, theirs = pair
    wait_write(ours.fileno())
    fill(ours)
    spawn_raw(drain, theirs)
    wait_write(ours.fileno())
    assert ours.send(b"x") == 1


def test_wait_readwrite_returns_for_either(each_hub: Hub, pair: Pair) -> None:
    ours, theirs = pair
    wait_readwrite(ours.fileno())
    fill(ours)
    spawn_raw(theirs.send, b"x")
    wait_readwrite(ours.fileno())
    assert ours.recv(1) == b"x"


def test_many_greenlets_may_wait_for_one_strangers_fd(each_hub: Hub, pair: Pair) -> None:
    ours, theirs = pair
    order: list[str] = []

    def wait(name: str, function: Callable[[int], None]) -> None:
        function(ours.fileno())
        order.append(name)

    fill(ours)
    spawn_raw(wait, "read", wait_read)
    spawn_raw(wait, "read too", wait_read)
    spawn_raw(wait, "write", wait_write)
    sleep(0.001)
    assert order == []
    theirs.send(b"x")
    sleep(0.001)
    assert order == ["read", "read too"]
    drain(theirs)
    each_hub.join()
    assert order == ["read", "read too", "write"]


@pytest.mark.parametrize("wait", [wait_read, wait_readwrite])
def test_a_timeout_raises_timeout_error(each_hub: Hub, pair: Pair, wait: Callable[..., None]) -> None:
    fill(pair[0])
    with pytest.raises(TimeoutError, match="timed out"):
        wait(pair[0].fileno(), timeout=0.001)


@pytest.mark.parametrize("error", [Failure, Failure("mine")])
def test_a_timeout_raises_what_it_was_given(each_hub: Hub, pair: Pair, error: Failure | type[Failure]) -> None:
    fill(pair[0])
    with pytest.raises(Failure):
        wait_write(pair[0].fileno(), 0.001, error)


@pytest.mark.parametrize("wait", [wait_read, wait_write, wait_readwrite])
def test_a_timeout_that_cannot_be_raised_is_refused_at_the_call(
    hub: Hub, pair: Pair, wait: Callable[..., None]
) -> None:
    for wrong in ("too late", int, (TimeoutError, "too late", None)):
        with pytest.raises(TypeError, match="timeout_exc must be an exception class or an instance"):
            wait(pair[0].fileno(), 30, wrong)


def test_a_timeout_that_is_not_needed_leaves_no_timer(clocked_hub: Hub, clock: ManualClock, pair: Pair) -> None:
    began = clock()
    poller: Any = clocked_hub.loop
    poller._poller.make_ready(pair[0].fileno(), 1)
    wait_read(pair[0].fileno(), timeout=1000)
    assert clocked_hub.join()
    assert clock() == began


def test_an_event_in_the_same_turn_as_the_timeout_wins(clocked_hub: Hub, poller: FakePoller, pair: Pair) -> None:
    fd = pair[0].fileno()
    poller.make_ready(fd, 1, after=5)
    wait_read(fd, timeout=5)
    with pytest.raises(TimeoutError):
        wait_write(fd, timeout=5)


@pytest.mark.parametrize("wait", [wait_read, wait_write, wait_readwrite])
def test_bad_fds_are_refused_at_the_call(hub: Hub, wait: Callable[[Any], None]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    os.close(writing)
    with pytest.raises(ValueError, match="0 or more"):
        wait(-1)
    with pytest.raises(OSError, match="not open") as caught:
        wait(reading)
    assert caught.value.errno == errno.EBADF
    with pytest.raises(TypeError, match="fileno"):
        wait("3")


def test_a_strangers_fd_that_leaves_the_loop_gives_ebadf(each_hub: Hub, pair: Pair) -> None:
    spawn_raw(each_hub.loop.closing_fd, pair[0].fileno())
    with pytest.raises(OSError, match="closed") as caught:
        wait_read(pair[0].fileno())
    assert caught.value.errno == errno.EBADF


def test_wait_on_watcher_refuses_a_watcher_that_another_waits_for(hub: Hub) -> None:
    with hub.loop.timer(30) as timer:
        waiting = spawn_raw(wait_on_watcher, timer)
        sleep(0)
        with pytest.raises(ConcurrentObjectUseError, match="already used by another greenlet"):
            wait_on_watcher(timer)
        assert timer.active, "the first goes on"
        kill(waiting)
        hub.join()


def test_wait_on_watcher_with_a_timeout(clocked_hub: Hub, clock: ManualClock) -> None:
    began = clock()
    with clocked_hub.loop.timer(30) as timer:
        with pytest.raises(TimeoutError):
            wait_on_watcher(timer, timeout=2)
        assert clock() == began + 2
        wait_on_watcher(timer, timeout=60, hub=clocked_hub)
        assert clock() == began + 32


def test_wait_on_watcher_refuses_a_destroyed_hub_and_another_thread(hub: Hub, elsewhere: Elsewhere) -> None:
    with hub.loop.timer(30) as timer:
        for timeout in (None, 1.0):
            with pytest.raises(InvalidThreadUseError):
                elsewhere(partial(wait_on_watcher, timer, timeout, hub=hub))
        hub.destroy(destroy_loop=False)
        for timeout in (None, 1.0):
            with pytest.raises(ValueError, match="is destroyed; get_hub"):
                wait_on_watcher(timer, timeout, hub=hub)
