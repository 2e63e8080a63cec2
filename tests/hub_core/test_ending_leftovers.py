"""What the end of a hub leaves: nothing of its greenlets in a loop that lives on, and nothing half done."""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING

import pytest

from hub_core import FdWaiter, Hub, Waiter, get_hub, get_hub_if_exists, kill, set_hub, sleep, spawn_raw, wait_read
from hub_loop import Loop

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.hub_core.conftest import Reports

WAITS: dict[str, Callable[[Hub, int], object]] = {
    "sleep": lambda hub, fd: sleep(0.01),
    "a quiet fd": lambda hub, fd: wait_read(fd),
    "a quiet fd for some time": lambda hub, fd: wait_read(fd, 0.01),
    "an FdWaiter": lambda hub, fd: FdWaiter(fd, hub).wait_read(),
    "an FdWaiter for some time": lambda hub, fd: FdWaiter(fd, hub).wait_read(0.01),
    "a Waiter with a timer": lambda hub, fd: wait_with_a_timer(hub),
}


def wait_with_a_timer(hub: Hub) -> None:
    waiter = hub.waiter()
    with hub.loop.timer(0.01) as timer:
        timer.start(waiter.switch, "late")
        waiter.get()


@pytest.mark.parametrize("timeout", [0, 0.001])
@pytest.mark.parametrize("wait", WAITS.values(), ids=list(WAITS))
def test_those_that_are_let_go_leave_nothing_in_a_loop_that_is_kept(
    hub: Hub, reports: Reports, wait: Callable[[Hub, int], object], timeout: float
) -> None:
    loop = hub.loop
    quiet, other = os.pipe()
    fired: list[str] = []

    def stubborn() -> None:
        try:
            Waiter().get()
        finally:
            wait(hub, quiet)

    parked = spawn_raw(stubborn if timeout else lambda: wait(hub, quiet))
    loop.timer(0.02).start(fired.append, "the user's")
    sleep(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        hub.destroy(destroy_loop=False, timeout=timeout)
    heir = get_hub()
    assert heir.loop is loop
    heir.exception_stream = reports
    os.write(other, b"x")
    assert heir.join(timeout=5), "the loop has something left"
    assert fired == ["the user's"]
    assert not parked.dead
    kill(parked)
    kill(parked)
    heir.join()
    heir.destroy(destroy_loop=True)
    os.close(quiet)
    os.close(other)


def test_a_callback_for_one_that_was_let_go_is_not_the_next_hubs(hub: Hub) -> None:
    loop = hub.loop
    waiter = Waiter()
    parked = spawn_raw(waiter.get)
    sleep(0)
    loop.run_callback(waiter.switch, 1)
    hub.destroy(destroy_loop=False, timeout=0)
    assert get_hub().join()
    kill(parked)
    assert get_hub().join()


# -- an interrupt in the middle ----------------------------------------------------------------------------------------


class Interrupted:
    """A part of a hub whose end is cut short."""

    def __init__(self) -> None:
        self.asked = 0

    def close(self) -> None:
        self.asked += 1
        raise KeyboardInterrupt

    kill = close


def test_an_interrupt_in_the_middle_of_the_end_does_not_leave_it_half_done() -> None:
    resolver, pool = Interrupted(), Interrupted()
    hub = Hub(Loop(default=False), resolver=lambda hub: resolver, threadpool=lambda hub: pool)  # type: ignore[arg-type,return-value] # only their ends are of interest
    set_hub(hub)
    assert (hub.resolver, hub.threadpool) == (resolver, pool)
    loop = hub.loop
    sleep(0)
    hub.watch(5.0)
    with pytest.raises(KeyboardInterrupt):
        hub.destroy(destroy_loop=True)
    assert (resolver.asked, pool.asked) == (1, 1)
    assert hub.loop is None
    assert hub.dead
    assert get_hub_if_exists() is None
    assert "destroyed" in repr(loop)
    hub.destroy()
