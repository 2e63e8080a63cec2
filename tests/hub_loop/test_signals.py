"""Python signal handlers: what they do to the loop while it sleeps is noticed at once, and what they raise gets out.

PEP 475 has `epoll.poll` go on after a signal handler has returned, so the loop must wake itself.  No timer but the one
of the test is active: a poll that is not woken would last an hour.
"""

from __future__ import annotations

import heapq
import signal
import socket
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, cast

import pytest

from hub_loop import READ, WRITE, Loop
from hub_loop.pollers import LONGEST
from hub_loop.testing import FakePoller, ManualClock

if TYPE_CHECKING:
    from tests.hub_loop.conftest import Wire

Handling = Callable[[Callable[[], object]], AbstractContextManager[None]]

on_real_ones = pytest.mark.parametrize("loop", ["epoll", "poll", "select"], indirect=True)
on_fake = pytest.mark.parametrize("loop", ["fake"], indirect=True)


@on_real_ones
def test_a_callback_queued_by_a_signal_handler_ends_the_poll(loop: Loop, from_signal_handler: Handling) -> None:
    ran: list[str] = []
    loop.ref()
    with from_signal_handler(lambda: loop.run_callback(ran.append, "queued")):
        loop.run(once=True)
    loop.unref()
    assert ran == ["queued"]


@on_real_ones
def test_a_threadsafe_callback_queued_by_a_signal_handler_ends_the_poll(
    loop: Loop, from_signal_handler: Handling
) -> None:
    ran: list[str] = []
    loop.ref()
    with from_signal_handler(lambda: loop.run_callback_threadsafe(ran.append, "queued")):
        loop.run(once=True)
    loop.unref()
    assert ran == ["queued"]


@on_real_ones
def test_a_timer_started_by_a_signal_handler_is_in_time(loop: Loop, from_signal_handler: Handling) -> None:
    fired: list[str] = []
    timer = loop.timer(0.001)
    loop.ref()
    with from_signal_handler(lambda: timer.start(fired.append, "fired")):
        while not fired:
            loop.run(once=True)
    loop.unref()
    assert fired == ["fired"]


@on_real_ones
def test_an_io_watcher_started_by_a_signal_handler_is_called(
    loop: Loop, wire: Wire, from_signal_handler: Handling
) -> None:
    called: list[str] = []
    loop.ref()
    with loop.io(wire.fd, WRITE) as writer, from_signal_handler(lambda: writer.start(called.append, "writable")):
        while not called:
            loop.run(once=True)
    loop.unref()
    assert called == ["writable"]


@on_real_ones
def test_an_idle_watcher_started_by_a_signal_handler_ends_the_poll(loop: Loop, from_signal_handler: Handling) -> None:
    called: list[str] = []
    loop.ref()
    with loop.idle() as idle, from_signal_handler(lambda: idle.start(called.append, "idle")):
        while not called:
            loop.run(once=True)
    loop.unref()


@on_real_ones
def test_an_async_watcher_can_be_sent_to_by_a_signal_handler(loop: Loop, from_signal_handler: Handling) -> None:
    called: list[str] = []
    with loop.async_() as watcher:
        watcher.start(called.append, "sent")
        with from_signal_handler(watcher.send):
            loop.run(once=True)
    assert called == ["sent"]


@on_real_ones
def test_a_signal_handler_that_does_nothing_to_the_loop_does_not_end_the_poll(
    loop: Loop, wire: Wire, from_signal_handler: Handling
) -> None:
    handled: list[str] = []
    sender = threading.Thread(target=wire.send)
    with loop.io(wire.fd, READ) as reader:
        reader.start(wire.read)

        def note() -> None:
            handled.append("handled")
            sender.start()  # only this ends the poll

        with from_signal_handler(note):
            loop.run(once=True)
    sender.join()
    assert handled == ["handled"]


def interrupt() -> None:
    raise KeyboardInterrupt


@on_real_ones
def test_a_keyboard_interrupt_leaves_run_out_of_the_poll(loop: Loop, from_signal_handler: Handling) -> None:
    loop.ref()
    with from_signal_handler(interrupt), pytest.raises(KeyboardInterrupt):
        loop.run()
    assert not loop.sleeping
    loop.unref()
    ran: list[str] = []
    loop.run_callback(ran.append, "usable")
    loop.run()
    assert ran == ["usable"]


@on_real_ones
def test_with_a_handler_a_keyboard_interrupt_out_of_the_poll_is_reported_for_the_loop_itself(
    loop: Loop, from_signal_handler: Handling
) -> None:
    seen: list[tuple[object, type[BaseException]]] = []

    class Handler:
        def handle_error(self, context: object, type: type[BaseException], value: BaseException, tb: object, /) -> None:
            seen.append((context, type))
            loop.break_()

    loop.error_handler = Handler()
    loop.ref()
    with from_signal_handler(interrupt):
        assert loop.run() is True
    loop.unref()
    assert seen == [(None, KeyboardInterrupt)]


@on_fake
def test_ctrl_c_is_noticed_in_a_callback(loop: Loop) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    ran: list[str] = []
    try:
        loop.run_callback(signal.raise_signal, signal.SIGINT)
        loop.run_callback(ran.append, "next")
        with pytest.raises(KeyboardInterrupt):
            loop.run()
        loop.run()
    finally:
        signal.signal(signal.SIGINT, before)
    assert ran == ["next"]


# -- the same inside a fake poll, where nothing is left to chance -----------------------------------------------------


def during_sleep(loop: Loop, func: Callable[[], object]) -> None:
    """Let the next poll that blocks call `func` from a signal handler."""
    assert isinstance(loop._poller, FakePoller)
    before = signal.signal(signal.SIGUSR1, lambda signum, frame: func())

    def visit() -> None:
        assert loop.sleeping
        signal.raise_signal(signal.SIGUSR1)
        signal.signal(signal.SIGUSR1, before)

    loop._poller.when_blocking(visit)


@on_fake
def test_whatever_a_signal_handler_starts_ends_the_poll_before_any_time_passes(
    loop: Loop, clock: ManualClock, wire: Wire
) -> None:
    begin = clock()
    loop.ref()
    watchers = [loop.timer(5.0), loop.prepare(), loop.check(), loop.idle(), loop.async_(), loop.io(wire.fd, READ)]
    for watcher in watchers:
        during_sleep(loop, lambda watcher=watcher: watcher.start(int))  # type: ignore[misc]
        loop.run(once=True)
        assert watcher.active
        assert clock() == begin
        watcher.close()
    owner = loop.register(wire.fd, print)
    during_sleep(loop, lambda: loop.run_callback(int))
    loop.run(once=True)
    assert clock() == begin
    owner.close()
    loop.unref()


@on_fake
@pytest.mark.parametrize("waiting", ["a timer", "nothing"])
def test_a_timer_started_by_a_signal_between_the_choice_of_the_sleep_and_the_poll_is_in_time(
    loop: Loop, clock: ManualClock, waiting: str
) -> None:
    assert isinstance(loop._poller, FakePoller)
    begin = clock()
    fired: list[float] = []
    sooner, later = loop.timer(1.0), loop.timer(LONGEST)
    choose = loop._time_to_sleep

    def choose_and_be_interrupted() -> float:
        timeout = choose()
        if not fired and not sooner.active:
            signal.raise_signal(signal.SIGUSR1)
        return timeout

    loop._time_to_sleep = choose_and_be_interrupted  # type: ignore[method-assign]
    before = signal.signal(signal.SIGUSR1, lambda signum, frame: sooner.start(lambda: fired.append(clock() - begin)))
    loop.ref()
    if waiting == "a timer":
        later.start(print, "never")
    try:
        for _ in range(3):
            loop.run(once=True)
            if fired:
                break
    finally:
        signal.signal(signal.SIGUSR1, before)
    loop.unref()
    later.close()
    assert fired == [1.0]


# -- interrupts, at the very statement ---------------------------------------------------------------------------------


def test_an_interrupt_right_behind_the_taking_of_a_due_timer_loses_none(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = ManualClock()
    loop = Loop(clock=clock)
    fired: list[int] = []
    for number in range(3):
        loop.timer(1.0).start(fired.append, number)
    loop.run(nowait=True)
    clock.advance(2.0)

    def pop_and_be_interrupted(heap: list[Any]) -> Any:
        monkeypatch.undo()
        heapq.heappop(heap)
        raise KeyboardInterrupt

    monkeypatch.setattr("hub_loop._timers.heappop", pop_and_be_interrupted)
    with pytest.raises(KeyboardInterrupt):
        loop.run(nowait=True)
    loop.run()
    assert fired == [0, 1, 2]
    loop.destroy()


def test_an_interrupt_right_behind_the_poll_loses_no_edge(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = Loop()
    near, far = socket.socketpair()
    with near, far:
        told: list[int] = []
        registration = loop.register(near.fileno(), told.append)
        loop.run(nowait=True)
        registration.clear(READ)
        registration.want(READ)
        far.send(b"x")
        poll = loop._poller.poll

        class Interrupted:
            def __getattr__(self, name: str) -> Any:
                return getattr(poller, name)

            def poll(self, timeout: float | None) -> list[tuple[int, int]]:
                loop._poller = poller
                poll(timeout)
                raise KeyboardInterrupt

        poller, loop._poller = loop._poller, cast("Any", Interrupted())
        with pytest.raises(KeyboardInterrupt):
            loop.run(nowait=True)
        loop.run(nowait=True)
        assert told == [READ]
        registration.close()
    loop.destroy()
