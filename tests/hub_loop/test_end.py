"""Threads, and the end: what another thread may not do, and what `destroy` leaves."""

from __future__ import annotations

import _thread
import gc
import threading
import weakref
from typing import TYPE_CHECKING

import pytest

from hub_api import InvalidThreadUseError
from hub_loop import READ, Loop, supported
from hub_loop.testing import ManualClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.hub_loop.conftest import Wire


# -- other threads ----------------------------------------------------------------------------------------------------


def in_thread(func: Callable[[], object]) -> BaseException | None:
    """Call a function in another thread; what it raised."""
    raised: list[BaseException | None] = [None]

    def call() -> None:
        try:
            func()
        except BaseException as error:
            raised[0] = error

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    return raised[0]


def test_a_loop_whose_thread_lives_refuses_to_be_destroyed_by_another_be_it_running_or_not(loop: Loop) -> None:
    error = in_thread(loop.destroy)
    assert isinstance(error, InvalidThreadUseError)
    assert f"({threading.get_ident():#x}); use run_callback_threadsafe(loop.destroy)" in str(error)
    ran: list[str] = []
    loop.run_callback(ran.append, "as if nothing had been")
    loop.run()
    assert len(ran) == 1
    in_thread(lambda: loop.run_callback_threadsafe(loop.destroy))
    assert loop.run() is False
    assert loop.fileno() is None


def test_a_loop_is_destroyed_by_another_thread_although_the_number_of_its_own_was_given_again() -> None:
    made: list[Loop] = []
    in_thread(lambda: made.append(Loop()))
    made[0]._thread = threading.get_ident()  # as if ours had begun since
    assert in_thread(made[0].destroy) is None
    assert made[0].fileno() is None


def test_a_loop_that_runs_in_a_thread_unknown_to_threading_is_not_destroyed_by_another() -> None:
    made: list[Loop] = []
    running, ended = threading.Event(), threading.Event()

    def live() -> None:
        loop = Loop()
        made.append(loop)
        loop.ref()
        loop.run_callback(running.set)
        loop.run()
        ended.set()

    _thread.start_new_thread(live, ())
    assert running.wait(30.0)
    with pytest.raises(InvalidThreadUseError, match="cannot destroy it"):
        made[0].destroy()
    made[0].run_callback_threadsafe(made[0].break_)
    assert ended.wait(30.0)
    made[0].destroy()
    assert made[0].fileno() is None


# -- the end ----------------------------------------------------------------------------------------------------------


def test_destroy_stops_what_is_active_and_drops_what_is_queued(loop: Loop, clock: ManualClock, wire: Wire) -> None:
    told: list[int] = []
    watchers = [loop.io(wire.fd, READ), loop.async_(), loop.prepare(), loop.check(), loop.idle(), loop.timer(1.0)]
    registration = loop.register(wire.fd, told.append)
    registration.clear(READ)
    registration.want(READ)
    urgent = loop.timer(0.0, priority=1)
    pending = loop.timer(0.0)
    callback = loop.run_callback(print, "never")
    for watcher in watchers:
        watcher.start(print, "never")

    def destroy() -> None:
        assert pending.pending
        loop.destroy()

    urgent.start(destroy)
    pending.start(print, "never")
    watchers[2].stop()
    watchers[3].stop()
    assert loop.run() is False
    assert [watcher for watcher in (*watchers, urgent, pending) if watcher.active or watcher.pending] == []
    assert told == [0]
    assert registration.fd == -1
    assert callback.pending  # it was never run; it is simply in no queue any more
    assert loop.pendingcnt == 0


def test_a_hundred_loops_made_and_destroyed_leave_nothing() -> None:
    # The fixture that looks for open fds is the other assertion.
    looked_at = []
    for number in range(120):
        loop = Loop(supported()[number % len(supported())])
        loop.timer(1.0).start(print)
        loop.run_callback(int)
        loop.run(nowait=True)
        looked_at.append(weakref.ref(loop.io(0, READ)))
        loop.destroy()
    del loop
    gc.collect()
    assert [ref for ref in looked_at if ref() is not None] == []
