"""Who is blamed for an exception that killed a greenlet: the one that died, however it had come to run."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, cast

import pytest
from greenlet import getcurrent, greenlet

from hub_core import FdWaiter, Hub, Waiter, kill, sleep, spawn_raw

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType


class Failure(Exception):
    """Raised by tests."""


@pytest.fixture
def blamed(hub: Hub) -> list[Any]:
    """The contexts of what the hub was told of."""
    contexts: list[Any] = []
    cast("Any", hub).handle_error = lambda context, *error: contexts.append(context)
    return contexts


def fail() -> None:
    raise Failure("on purpose")


def parks_in_a_waiter(hub: Hub) -> None:
    Waiter().get()


def parks_in_the_hub(hub: Hub) -> None:
    hub.switch()


def parks_in_a_sleep(hub: Hub) -> None:
    sleep(60)


def yields(hub: Hub) -> None:
    sleep(0)


PARKS: list[Callable[[Hub], None]] = [parks_in_a_waiter, parks_in_the_hub, parks_in_a_sleep, yields]
each_park = pytest.mark.parametrize("park", PARKS, ids=[park.__name__ for park in PARKS])


@each_park
def test_one_that_a_stranger_has_resumed_is_blamed_and_not_the_stranger(
    hub: Hub, blamed: list[Any], park: Callable[[Hub], None]
) -> None:
    def body() -> None:
        try:
            park(hub)
        except AssertionError:
            pass  # InvalidSwitchError: it was not woken by its waiter
        fail()

    dying = spawn_raw(body)
    sleep(0)
    stranger = spawn_raw(dying.switch)
    hub.join(0)
    assert blamed == [dying]
    assert not stranger.dead, "its switch came back to the hub, for that is the parent of the one that died"
    kill(stranger)
    hub.join(0.001)


@each_park
def test_one_that_a_stranger_has_thrown_into_and_that_goes_on_is_blamed(
    hub: Hub, blamed: list[Any], park: Callable[[Hub], None]
) -> None:
    def body() -> None:
        try:
            park(hub)
        except ValueError:
            fail()

    dying = spawn_raw(body)
    sleep(0)
    stranger = spawn_raw(dying.throw, ValueError)
    sleep(0)
    assert blamed == [dying]
    kill(stranger)
    hub.join(0.001)


@each_park
def test_one_that_is_killed_and_dies_of_something_else_is_blamed(
    hub: Hub, blamed: list[Any], park: Callable[[Hub], None]
) -> None:
    def body() -> None:
        try:
            park(hub)
        finally:
            fail()

    dying = spawn_raw(body)
    sleep(0)
    kill(dying)
    hub.join(0.001)
    assert blamed == [dying]


def test_the_parent_is_blamed_for_its_own_error_after_a_greenlet_below_it_has_ended(
    hub: Hub, blamed: list[Any]
) -> None:
    def body() -> None:
        below = greenlet(lambda: sleep(0.001))
        below.switch()  # parks on the hub, under its own name, and ends in us
        fail()

    dying = spawn_raw(body)
    hub.join()
    assert blamed == [dying]


def test_the_parent_is_blamed_if_it_dies_of_what_killed_a_greenlet_below_it(hub: Hub, blamed: list[Any]) -> None:
    def below() -> None:
        sleep(0.001)
        fail()

    dying = spawn_raw(lambda: greenlet(below).switch())
    hub.join()
    assert blamed == [dying]


def test_a_parent_that_parks_is_woken_by_the_death_of_one_below_it_and_blamed_for_what_it_does_then(
    hub: Hub, blamed: list[Any]
) -> None:
    def body() -> None:
        below = greenlet(fail)
        hub.loop.run_callback(below.switch)
        try:
            Waiter().get()
        except Failure:
            sleep(0.001)
            raise ZeroDivisionError from None

    dying = spawn_raw(body)
    hub.join()
    assert blamed == [dying]


def test_one_that_runs_in_a_carrier_is_blamed_under_the_name_that_it_had(hub: Hub, blamed: list[Any]) -> None:
    names: list[greenlet] = []

    def body() -> None:
        names.append(getcurrent())
        fail()

    for _ in range(3):
        spawn_raw(int)
        spawn_raw(body)
    hub.join()
    assert blamed == names
    assert len(set(names)) == 3


def test_one_that_raised_in_the_main_greenlet_and_went_on_is_blamed_for_what_it_dies_of(
    hub: Hub, blamed: list[Any]
) -> None:
    def body() -> None:
        hub.handle_system_error(Failure, Failure("for the main greenlet"))
        fail()

    dying = spawn_raw(body)
    with pytest.raises(Failure, match="for the main greenlet"):
        sleep(60)
    hub.join()
    assert blamed == [dying]


def test_after_a_chain_of_handoffs_the_last_is_blamed(hub: Hub, blamed: list[Any]) -> None:
    def body(number: int) -> None:
        sleep(0)
        sleep(0)
        if number == 2:
            fail()
        sleep(0)

    ring = [spawn_raw(body, number) for number in range(5)]
    hub.join()
    assert blamed == [ring[2]]


def test_one_woken_by_an_fd_is_blamed(hub: Hub, blamed: list[Any]) -> None:
    import socket

    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        owned = FdWaiter(ours.fileno())

        def body() -> None:
            owned.wait_read()
            fail()

        dying = spawn_raw(body)
        other = spawn_raw(sleep, 0.01)
        sleep(0)
        theirs.send(b"x")
        hub.join()
        owned.close()
    assert blamed == [dying]
    assert other.dead


def test_for_one_that_a_stranger_has_started_the_hub_stands_and_not_the_stranger(hub: Hub, blamed: list[Any]) -> None:
    stranger = spawn_raw(lambda: greenlet(fail, hub).switch())
    hub.join(0)
    assert blamed == [hub]
    kill(stranger)
    hub.join(0.001)


def test_an_interrupt_of_the_hub_is_not_laid_on_the_greenlet_that_it_came_back_from(
    hub: Hub, blamed: list[Any]
) -> None:
    def profile(frame: FrameType, event: str, arg: Any) -> None:
        if event == "c_return" and frame.f_code is Hub._start_next.__code__:  # behind its call of greenlet.switch
            sys.setprofile(None)
            raise KeyboardInterrupt

    peaceful = spawn_raw(lambda: None)
    sys.setprofile(profile)
    hub.join()
    assert sys.getprofile() is None
    assert peaceful.dead
    assert blamed == [hub]


def test_a_function_in_c_is_blamed_like_any_other(hub: Hub, blamed: list[Any]) -> None:
    dying = [spawn_raw(int, "not a number"), spawn_raw(sys.exit, 3)]
    hub.join()
    assert blamed == dying
