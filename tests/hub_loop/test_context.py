"""Contexts (contextvars) of callbacks and watchers: each is called in a copy of the one that it was started in."""

from __future__ import annotations

import socket
import threading
import weakref
from contextvars import Context, ContextVar
from typing import TYPE_CHECKING, Any

import pytest
from tests.hub_loop.conftest import on_epoll, turn

from hub_loop import READ

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub_loop import Loop
    from hub_loop.testing import ManualClock

name: ContextVar[str] = ContextVar("name", default="nobody")


def on_io(loop: Loop, callback: Callable[[], object]) -> Any:
    near, far = socket.socketpair()
    far.send(b"x")
    watcher = loop.io(near.fileno(), READ)
    watcher.start(callback)
    return Several(watcher, near, far)


class Several:
    """Things to close together."""

    def __init__(self, *things: Any) -> None:
        self.things = things

    def close(self) -> None:
        for thing in self.things:
            thing.close()


def on_async(loop: Loop, callback: Callable[[], object]) -> Any:
    watcher = loop.async_()
    watcher.start(callback)
    watcher.send()
    return watcher


def started(watcher: Any, callback: Callable[[], object]) -> Any:
    watcher.start(callback)
    return watcher


WAYS: dict[str, Any] = {
    "run_callback": lambda loop, callback: loop.run_callback(callback),
    "run_callback_threadsafe": lambda loop, callback: loop.run_callback_threadsafe(callback),
    "timer": lambda loop, callback: started(loop.timer(0.0), callback),
    "repeating timer": lambda loop, callback: started(loop.timer(0.0, 100.0), callback),
    "prepare": lambda loop, callback: started(loop.prepare(), callback),
    "check": lambda loop, callback: started(loop.check(), callback),
    "idle": lambda loop, callback: started(loop.idle(), callback),
    "async": on_async,
    "io": on_io,
}


@pytest.fixture(params=WAYS)
def start(request: pytest.FixtureRequest, loop: Loop) -> Any:
    """A way to have a callback called."""
    if request.param == "io" and loop.backend == "fake":
        pytest.skip("the fake poller knows no sockets")
    return WAYS[request.param]


def test_a_callback_runs_in_the_context_of_its_start(start: Any, loop: Loop) -> None:
    seen: list[str] = []
    token = name.set("starter")
    closing = start(loop, lambda: seen.append(name.get()))
    name.reset(token)
    token = name.set("whoever runs the loop")
    turn(loop)
    name.reset(token)
    closing.close()
    assert set(seen) == {"starter"}


def test_one_that_was_started_in_an_empty_context_sees_nothing_of_others(start: Any, loop: Loop) -> None:
    seen: list[str] = []

    def leave_a_mark() -> None:
        seen.append(name.get())
        name.set("mine")

    closing = [Context().run(start, loop, leave_a_mark) for _ in range(3)]
    token = name.set("whoever runs the loop")
    turn(loop)
    turn(loop)
    assert name.get() == "whoever runs the loop"
    name.reset(token)
    for one in closing:
        one.close()
    assert len(seen) >= 3
    assert set(seen) == {"nobody"}


def test_what_one_call_sets_the_next_does_not_see(loop: Loop) -> None:
    seen: list[str] = []

    def leave_a_mark() -> None:
        seen.append(name.get())
        name.set("mine")

    token = name.set("starter")
    with loop.prepare() as watcher:
        watcher.start(leave_a_mark)
        turn(loop)
        turn(loop)
        assert name.get() == "starter"
    name.reset(token)
    assert seen == ["starter", "starter"]


def test_what_the_starter_sets_afterwards_is_not_seen(start: Any, loop: Loop) -> None:
    seen: list[str] = []
    token = name.set("then")
    closing = start(loop, lambda: seen.append(name.get()))
    name.set("now")
    turn(loop)
    name.reset(token)
    closing.close()
    assert set(seen) == {"then"}


def test_a_restart_takes_the_context_of_the_restart(loop: Loop, clock: ManualClock) -> None:
    seen: list[str] = []
    timer = loop.timer(1.0, 1.0)
    for starter in ("first", "second"):
        token = name.set(starter)
        timer.start(lambda: seen.append(name.get()))
        name.reset(token)
    token = name.set("third")
    clock.advance(1.0)
    turn(loop)
    timer.again(lambda: seen.append(name.get()))
    name.reset(token)
    clock.advance(1.0)
    turn(loop)
    timer.close()
    assert seen == ["second", "third"]


def test_a_callback_queued_by_a_callback_inherits_from_that(loop: Loop) -> None:
    seen: list[str] = []

    def outer() -> None:
        name.set("outer")
        loop.run_callback(lambda: seen.append(name.get()))

    loop.run_callback(outer)
    turn(loop)
    turn(loop)
    assert seen == ["outer"]


def test_another_threads_post_runs_in_that_threads_context(loop: Loop) -> None:
    seen: list[str] = []

    def post() -> None:
        name.set("the poster")
        loop.run_callback_threadsafe(lambda: seen.append(name.get()))

    thread = threading.Thread(target=post)
    thread.start()
    thread.join()
    turn(loop)
    assert seen == ["the poster"]


def test_an_error_handler_is_called_outside_of_the_callbacks_context(loop: Loop) -> None:
    seen: list[str] = []
    loop.error_handler = lambda *told: seen.append(name.get())  # type: ignore[assignment] # a function will do

    def fail() -> None:
        name.set("failed")
        raise ZeroDivisionError

    token = name.set("starter")
    loop.run_callback(fail)
    name.reset(token)
    turn(loop)
    loop.error_handler = None
    assert seen == ["nobody"]


@on_epoll
def test_a_stopped_watcher_holds_no_context(loop: Loop) -> None:
    class Held:
        pass

    held: ContextVar[Held] = ContextVar("held")
    thing = Held()
    gone = weakref.ref(thing)
    watchers = [loop.timer(10.0), loop.prepare(), loop.check()]
    token = held.set(thing)
    for watcher in watchers:
        watcher.start(print)
    held.reset(token)
    del token, thing
    assert gone() is not None
    for watcher in watchers:
        watcher.stop()
    assert gone() is None
