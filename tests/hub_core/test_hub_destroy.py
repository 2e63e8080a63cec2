"""The end of a hub: who may destroy it, in whatever state; what becomes of its loop and parts, and of later use."""

from __future__ import annotations

import _thread
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any, cast

import pytest
from greenlet import getcurrent, greenlet
from tests.hub_core.conftest import Failure

from hub_core import (
    FdWaiter,
    Hub,
    HubDestroyed,
    InvalidThreadUseError,
    LoopExit,
    Waiter,
    get_hub,
    get_loop,
    set_hub,
    sleep,
    spawn_raw,
)
from hub_core._local import defaults
from hub_loop import Loop

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.hub_core.conftest import Elsewhere, MakeLoop, Reports


def test_destroy_keeps_the_default_loop_for_the_next_hub(no_hub: MakeLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defaults, "loop", no_hub)
    hub = get_hub()
    loop = hub.loop
    assert loop.default
    hub.destroy()
    assert get_loop() is loop
    again = get_hub()
    assert again is not hub
    assert again.loop is loop
    sleep(0.001)


def test_destroy_true_destroys_the_default_loop_and_the_next_hub_has_another(
    no_hub: MakeLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(defaults, "loop", no_hub)
    hub = get_hub()
    loop = hub.loop
    hub.destroy(destroy_loop=True)
    assert get_loop() is None
    with pytest.raises(ValueError, match="destroyed"):
        loop.now()
    assert get_hub().loop is not loop


def test_a_loop_that_was_kept_and_is_destroyed_with_its_next_hub_is_forgotten(
    no_hub: MakeLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(defaults, "loop", no_hub)
    get_hub().destroy()
    assert get_loop() is not None
    get_hub().destroy(destroy_loop=True)
    assert get_loop() is None


def test_a_loop_that_was_kept_has_one_hub_and_the_next_gets_another_one(
    no_hub: MakeLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(defaults, "loop", no_hub)
    get_hub().destroy()
    kept = get_loop()
    hub = get_hub()
    assert hub.loop is kept
    assert get_loop() is None
    with Hub() as inner:
        assert inner.loop is not kept
        sleep(0)
    assert get_hub() is hub
    sleep(0.001)


def test_a_loop_that_was_kept_and_is_given_to_a_hub_is_not_the_next_ones(
    no_hub: MakeLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(defaults, "loop", no_hub)
    get_hub().destroy()
    kept = get_loop()
    hub = Hub(kept)
    assert hub.loop is kept
    assert get_loop() is None
    hub.destroy(destroy_loop=True)


def test_a_loop_that_a_living_hub_runs_is_refused_and_taken_once_that_has_left_it(hub: Hub) -> None:
    loop = hub.loop
    with pytest.raises(ValueError, match=r"cannot make a hub on .*runs it; destroy that one first"):
        Hub(loop)
    sleep(0.001)
    hub.destroy(destroy_loop=False)
    heir = Hub(loop)
    assert heir.loop is loop
    heir.destroy(destroy_loop=True)


def test_destroy_destroys_a_loop_that_is_not_the_default_one(hub: Hub) -> None:
    loop = hub.loop
    hub.destroy()
    with pytest.raises(ValueError, match="operation on destroyed loop"):
        loop.run()


def test_destroy_false_keeps_any_loop(hub: Hub) -> None:
    loop = hub.loop
    hub.destroy(destroy_loop=False)
    assert get_loop() is loop
    assert get_hub().loop is loop


def test_destroying_twice_is_fine(hub: Hub) -> None:
    sleep(0)
    hub.destroy()
    hub.destroy()
    assert hub.dead
    assert cast("Any", hub).loop is None


def test_destroy_in_a_greenlet_of_the_hub_is_refused_and_nothing_breaks(hub: Hub) -> None:
    caught: list[BaseException] = []

    def destroy() -> None:
        try:
            hub.destroy()
        except RuntimeError as error:
            caught.append(error)

    hub.loop.run_callback(destroy)
    spawn_raw(destroy)
    hub.join()
    assert len(caught) == 2
    assert all("do so from the main greenlet" in str(error) for error in caught)
    sleep(0.001)


def test_destroy_in_another_thread_while_the_owner_lives_breaks_nothing(hub: Hub, elsewhere: Elsewhere) -> None:
    sleep(0)
    with pytest.raises((InvalidThreadUseError, RuntimeError)):
        elsewhere(hub.destroy)
    sleep(0.001)


def test_destroy_in_another_thread_breaks_nothing_though_threading_does_not_know_the_owner() -> None:
    parked, ended = threading.Event(), threading.Event()
    waiters: list[Waiter] = []
    got: list[object] = []

    def live() -> None:
        with Hub(Loop(default=False)) as hub:
            waiters.append(Waiter())
            hub.loop.timer(60).start(list)  # so that the loop runs on
            hub.loop.run_callback(parked.set)
            got.append(waiters[0].get())
        ended.set()

    _thread.start_new_thread(live, ())
    assert parked.wait(10)
    hub = waiters[0].hub
    with pytest.raises(InvalidThreadUseError, match="destroy the loop"):
        hub.destroy()
    hub.loop.run_callback_threadsafe(waiters[0].switch, "it goes on")
    assert ended.wait(10)
    assert got == ["it goes on"]
    hub.destroy()


def test_destroy_in_another_thread_after_the_owner_ended() -> None:
    # In a process of its own: a greenlet that a thread leaves suspended at its end can be ended by nobody, and stays.
    program = """
import os, threading
from hub_core import Hub, set_hub, sleep
from hub_loop import Loop

def in_thread(function):
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()

def use():
    global hub, loop
    hub = Hub(Loop(default=False))
    loop = hub.loop
    set_hub(hub)
    sleep(0.001)

before = len(os.listdir("/proc/self/fd"))
for destroy_in in (lambda call: call(), in_thread, in_thread):  # threads may share a number
    in_thread(use)
    destroy_in(hub.destroy)
    assert hub.loop is None
    assert len(os.listdir("/proc/self/fd")) == before
    try:
        loop.now()
    except ValueError as error:
        assert "destroyed" in str(error)
    else:
        raise AssertionError("the loop lives on")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_hub_that_never_ran_is_destroyed_in_another_thread_without_a_trace(elsewhere: Elsewhere) -> None:
    hub = elsewhere(lambda: Hub(Loop(default=False)))
    elsewhere(hub.destroy)
    assert cast("Any", hub).loop is None


def test_destroy_from_a_greenlet_that_is_not_below_the_hub(hub: Hub) -> None:
    sleep(0)
    order: list[str] = []

    def destroy() -> None:
        hub.destroy()
        order.append("destroyed")

    greenlet(destroy).switch()
    assert order == ["destroyed"]
    assert hub.dead


@pytest.mark.parametrize(
    "suspended",
    ["never run", "in a handoff", "in a callback", "after LoopExit", "in an error", "in a KeyboardInterrupt"],
)
def test_destroy_ends_the_hub_wherever_it_is_suspended(
    hub: Hub, reports: Reports, monkeypatch: pytest.MonkeyPatch, suspended: str
) -> None:
    if suspended == "in a handoff":
        sleep(0.001)
    elif suspended == "in a callback":
        hub.loop.run_callback(getcurrent().switch)
        hub.loop.run_callback(reports.write, "this callback must not run")
        hub.switch()
    elif suspended == "after LoopExit":
        with pytest.raises(LoopExit):
            hub.switch()
    elif suspended == "in an error":
        spawn_raw(exit_with, 3)
        with pytest.raises(SystemExit):
            sleep(0.001)
    elif suspended == "in a KeyboardInterrupt":
        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(hub.loop, "run", interrupt)
            hub.switch()
        assert "KeyboardInterrupt" in reports.take()
    hub.destroy()
    assert hub.dead
    assert reports.take() == ""


def exit_with(status: int) -> None:
    raise SystemExit(status)


def interrupt(nowait: bool = False, once: bool = False) -> bool:
    raise KeyboardInterrupt


def test_destroy_drops_what_is_ready_or_new(hub: Hub) -> None:
    ran: list[str] = []
    waiter = Waiter()
    waiting = spawn_raw(lambda: ran.append(waiter.get()))
    sleep(0)
    waiter.switch("made ready")
    spawn_raw(ran.append, "new")
    hub.destroy()
    assert ran == []
    assert waiting.dead


def test_destroy_without_time_says_nothing_of_greenlets_that_still_wait(
    hub: Hub, reports: Reports, capfd: pytest.CaptureFixture[str]
) -> None:
    import socket

    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        owned = FdWaiter(ours.fileno())
        waiting = [
            spawn_raw(owned.wait_read),
            spawn_raw(sleep, 30),
            spawn_raw(hub.wait, hub.loop.io(theirs.fileno(), 1)),
        ]
        sleep(0)
        hub.destroy(timeout=0)
    for parked in waiting:
        parked.throw()  # nobody else would ever end them
    assert capfd.readouterr().err == ""
    assert owned.fileno() == -1


def test_destroy_closes_the_resolver_and_kills_the_pool(hub: Hub) -> None:
    order: list[str] = []

    class Part:
        def close(self) -> None:
            order.append("closed")

        def kill(self) -> None:
            order.append("killed")

    hub.resolver, hub.threadpool = Part(), Part()
    hub.destroy()
    assert order == ["closed", "killed"]


def test_a_part_that_fails_to_close_is_reported_and_the_hub_ends(hub: Hub, capfd: pytest.CaptureFixture[str]) -> None:
    class Part:
        def kill(self) -> None:
            raise Failure("stuck")

    hub.threadpool = Part()
    hub.destroy()
    assert hub.dead
    assert "Failure: stuck" in capfd.readouterr().err


def test_destroy_does_not_make_parts_that_nobody_asked_for(no_hub: MakeLoop) -> None:
    def never(hub: object) -> Any:
        raise AssertionError("made")

    Hub(no_hub, threadpool=never, resolver=never).destroy(destroy_loop=True)


@pytest.mark.parametrize(
    "use",
    [
        lambda hub: hub.switch(),
        lambda hub: hub.wait(None),
        lambda hub: hub.make_ready(getcurrent()),
        lambda hub: hub.throw_soon(getcurrent(), Failure),
        lambda hub: hub.cancel_wait(object(), Failure),
        lambda hub: set_hub(hub),
        lambda hub: Waiter(hub).get(),
    ],
    ids=["switch", "wait", "make_ready", "throw_soon", "cancel_wait", "set_hub", "get"],
)
def test_use_after_destroy_is_a_value_error_that_says_what_to_do(hub: Hub, use: Callable[[Hub], object]) -> None:
    hub.destroy()
    with pytest.raises(ValueError, match=r"destroyed; get_hub\(\) makes a new one"):
        use(hub)


def test_hub_destroyed_is_not_for_users_to_catch_by_accident() -> None:
    assert issubclass(HubDestroyed, BaseException)
    assert not issubclass(HubDestroyed, Exception)
