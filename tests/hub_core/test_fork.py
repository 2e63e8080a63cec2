"""A hub in a forked child: its loop is the child's own, and greenlets go on there."""

from __future__ import annotations

import gc
import os
import socket
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from hub_core import FdWaiter, Hub, get_hub, get_hub_if_exists, set_hub, sleep, spawn_raw, wait_read, wait_write
from hub_core._local import defaults
from hub_loop import Loop

if TYPE_CHECKING:
    from tests.conftest import Kin


@pytest.fixture
def implicit(monkeypatch: pytest.MonkeyPatch) -> None:
    """`get_hub()` makes hubs with hub-loop's loop."""
    monkeypatch.setattr(defaults, "loop", Loop)


def assert_it_works() -> None:
    """This thread's hub sleeps, starts greenlets, and waits for fds, its own and strangers'."""
    seen: list[str] = []
    near, far = socket.socketpair()
    near.setblocking(False)
    waiter = FdWaiter(near.fileno())

    def talk() -> None:
        sleep(0.001)
        wait_write(far.fileno())
        far.send(b"x")
        seen.append("sent")

    spawn_raw(talk)
    waiter.clear_read()
    waiter.wait_read(timeout=10)
    assert near.recv(1) == b"x"
    waiter.close()
    spawn_raw(far.send, b"y")
    wait_read(near.fileno(), timeout=10)
    sleep(0.001)
    assert seen == ["sent"]
    near.close()
    far.close()


def test_a_hub_works_in_the_child(hub: Hub, kin: Kin) -> None:
    assert_it_works()

    def check() -> None:
        assert get_hub() is hub
        assert_it_works()

    kin.run(check)
    assert_it_works()


def test_a_hub_works_in_a_child_forked_by_a_greenlet(hub: Hub, kin: Kin) -> None:
    def fork() -> None:
        kin.run(assert_it_works)
        done.append("parent")

    done: list[str] = []
    spawn_raw(fork)
    while not done:
        sleep(0.001)
    assert_it_works()


def test_greenlets_that_were_parked_go_on_in_both(hub: Hub, kin: Kin) -> None:
    woken: list[int] = []

    def doze() -> None:
        sleep(0.001)
        woken.append(os.getpid())

    spawn_raw(doze)
    sleep(0)
    kin.fork()
    while not woken:
        sleep(0.001)
    pids = woken[:]
    kin.child_ends(lambda: check(pids))
    assert pids == [os.getpid()]


def check(pids: list[int]) -> None:
    """In the child."""
    assert pids == [os.getpid()]


def test_what_another_thread_has_told_a_waiter_is_told_in_the_parent_alone(hub: Hub, kin: Kin) -> None:
    waiter = hub.waiter()
    hub.loop.run_callback_threadsafe(waiter.switch, "from elsewhere")

    def check() -> None:
        sleep(0)
        sleep(0.001)
        assert not waiter.ready()

    kin.run(check)
    assert waiter.get() == "from elsewhere"


@pytest.mark.parametrize("state", ["new", "parked", "running", "used"])
def test_the_hub_of_another_thread_stays_behind_in_silence(state: str, kin: Kin, implicit: None) -> None:
    at_it, let_go = threading.Event(), threading.Event()

    def live() -> None:
        own = get_hub() if state != "new" else None
        if own is None:
            own = Hub(Loop(default=False))
            set_hub(own)
        if state == "parked":
            spawn_raw(let_go.wait)
            own.loop.run_callback(at_it.set)
            sleep(0.05)  # the hub runs, and blocks in a greenlet of its own
        elif state == "running":
            own.loop.run_callback(at_it.set)
            own.loop.run_callback(let_go.wait)
            sleep(0.001)
        else:
            if state == "used":
                sleep(0.001)
            at_it.set()
            let_go.wait()
        own.destroy()

    thread = threading.Thread(target=live)
    thread.start()
    assert at_it.wait(30)
    unraisable: list[Any] = []
    hook, sys.unraisablehook = sys.unraisablehook, unraisable.append

    def check() -> None:
        for _ in range(3):
            gc.collect()
        assert unraisable == []
        assert get_hub_if_exists() is None
        assert_it_works()
        get_hub().destroy(destroy_loop=True)

    try:
        kin.run(check)
    finally:
        sys.unraisablehook = hook
        let_go.set()
        thread.join()


def test_a_thread_that_forks_has_its_hub_in_the_child(hub: Hub, kin: Kin, implicit: None) -> None:
    def live() -> None:
        own = get_hub()
        sleep(0.001)
        kin.run(lambda: check_other(own))
        own.destroy(destroy_loop=True)

    def check_other(own: Hub) -> None:
        assert get_hub() is own
        assert_it_works()
        with pytest.raises(ValueError, match="left behind"):
            hub.loop.run_callback_threadsafe(print)
        assert "left behind" in repr(hub)
        hub.destroy(destroy_loop=True)

    thread = threading.Thread(target=live)
    thread.start()
    thread.join()
    assert_it_works()


def test_a_waiter_parked_in_the_child_wakes_by_the_childs_own_threads(hub: Hub, kin: Kin) -> None:
    def check() -> None:
        waiter = hub.waiter()
        thread = threading.Thread(target=hub.loop.run_callback_threadsafe, args=(waiter.switch, "here"))
        spawn_raw(thread.start)
        assert waiter.get() == "here"
        thread.join()

    kin.run(check)
