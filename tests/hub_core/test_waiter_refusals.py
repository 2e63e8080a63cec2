"""What a Waiter refuses: a second one who waits, callbacks, other threads, hubs that are gone, and strange switches."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from greenlet import getcurrent
from tests.hub_core.conftest import Failure

from hub_core import (
    BlockingSwitchOutError,
    ConcurrentObjectUseError,
    Hub,
    InvalidSwitchError,
    InvalidThreadUseError,
    Waiter,
    sleep,
    spawn_raw,
)

if TYPE_CHECKING:
    from tests.hub_core.conftest import Elsewhere


def test_a_second_waiter_is_refused_by_name_and_the_first_goes_on(hub: Hub) -> None:
    waiter = Waiter()
    got: list[object] = []
    first = spawn_raw(lambda: got.append(waiter.get()))
    sleep(0)
    with pytest.raises(ConcurrentObjectUseError) as caught:
        waiter.get()
    assert repr(getcurrent()) in str(caught.value)
    assert repr(first) in str(caught.value)
    assert "one Waiter per wait" in str(caught.value)
    waiter.switch("still delivered")
    hub.join()
    assert got == ["still delivered"]


def test_get_in_a_callback_is_refused_and_leaves_the_waiter_usable(hub: Hub) -> None:
    waiter = Waiter()
    caught: list[BaseException] = []

    def callback() -> None:
        with pytest.raises(
            BlockingSwitchOutError, match=r"Impossible to call blocking function.*spawn a greenlet"
        ) as info:
            waiter.get()
        caught.append(info.value)

    hub.loop.run_callback(callback)
    sleep(0.001)
    assert isinstance(caught[0], AssertionError)
    hub.loop.run_callback(waiter.switch, "usable")
    assert waiter.get() == "usable"


@pytest.mark.parametrize("method", ["switch", "throw", "get"])
def test_use_in_another_thread_is_refused_with_both_threads_and_the_remedy(
    hub: Hub, elsewhere: Elsewhere, method: str
) -> None:
    waiter = Waiter()
    arguments = () if method == "get" else (Failure,)
    with pytest.raises(InvalidThreadUseError) as caught:
        elsewhere(lambda: getattr(waiter, method)(*arguments))
    text = str(caught.value)
    assert f"thread_ident={threading.get_ident():#x}" in text
    assert "from thread 'Thread-" in text
    assert f"({elsewhere.ident:#x})" in text
    assert "a hub belongs to one thread; use " in text
    assert (waiter.ready(), waiter.greenlet) == (False, None)


def test_get_in_another_thread_takes_nobody_out_of_the_ready_lane(hub: Hub, elsewhere: Elsewhere) -> None:
    waiter, got = Waiter(), []
    spawn_raw(lambda: got.append(waiter.get()))
    sleep(0)
    waiter.switch("still here")
    with pytest.raises(InvalidThreadUseError):
        elsewhere(Waiter(hub).get)
    hub.join()
    assert got == ["still here"]


def test_get_on_a_destroyed_hub_is_refused(hub: Hub) -> None:
    waiter = Waiter(hub)
    hub.destroy()
    with pytest.raises(ValueError, match=r"destroyed.*get_hub\(\) makes a new one"):
        waiter.get()
    assert waiter.greenlet is None


def test_a_stranger_who_resumes_a_waiting_greenlet_is_named_as_the_mistake(hub: Hub) -> None:
    waiter = Waiter()
    caught: list[InvalidSwitchError] = []

    def wait() -> None:
        with pytest.raises(InvalidSwitchError) as info:
            waiter.get()
        caught.append(info.value)

    waiting = spawn_raw(wait)
    sleep(0)
    hub.loop.run_callback(waiting.switch, "a value that nobody asked for")
    hub.join()
    text = str(caught[0])
    assert repr(waiter).split(" greenlet")[0] in text
    assert repr(hub).split(" pending")[0] in text
    assert "not by greenlet.switch()" in text
    assert waiter.greenlet is None


def test_a_stranger_who_comes_when_the_delivery_is_pending_does_no_harm(hub: Hub) -> None:
    waiter = Waiter()
    got: list[object] = []

    def wait() -> None:
        got.append(waiter.get())
        sleep(0.001)
        got.append("once")

    waiting = spawn_raw(wait)
    sleep(0)

    def deliver_and_meddle() -> None:
        waiter.switch("delivered")
        waiting.switch()

    hub.loop.run_callback(deliver_and_meddle)
    hub.join()
    assert got == ["delivered", "once"]
