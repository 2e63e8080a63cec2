"""Threads, and the end: what another thread may not do, and what `destroy` leaves."""

from __future__ import annotations

import gc
import signal
import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from hub_api import InvalidThreadUseError
from hub_loop import READ, WRITE, Loop, supported
from hub_loop.testing import ManualClock

if TYPE_CHECKING:
    from tests.hub_loop.conftest import Wire


# -- threads ----------------------------------------------------------------------------------------------------------


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


def test_whatever_is_not_made_for_other_threads_raises_there_and_names_both(
    loop: Loop, wire: Wire, make_child: Callable[[], int]
) -> None:
    timer, idle = loop.timer(1.0), loop.timer(1.0)
    watchers = [loop.io(wire.fd, READ), loop.async_(), loop.prepare(), loop.check(), loop.idle(), timer]
    watchers += [loop.signal(signal.SIGUSR2), loop.child(make_child())]
    for watcher in watchers:
        watcher.start(print)
    calls: list[Callable[[], object]] = [
        loop.run,
        loop.break_,
        loop.update_now,
        lambda: loop.run_callback(print),
        loop.ref,
        loop.unref,
        lambda: loop.register(wire.fd, print),
        lambda: loop.closing_fd(wire.fd),
        lambda: idle.start(print),
        lambda: timer.again(print),
    ]
    for watcher in watchers:
        calls += [lambda watcher=watcher: setattr(watcher, "ref", False)]  # type: ignore[misc]
        calls += [watcher.stop, watcher.close, lambda watcher=watcher: watcher.start(print)]  # type: ignore[misc]
    for call in calls:
        error = in_thread(call)
        assert isinstance(error, InvalidThreadUseError), call
        assert f"it belongs to thread {threading.get_ident():#x}" in str(error)
        assert "from thread 0x" in str(error)
    assert all(watcher.active for watcher in watchers)
    assert loop.activecnt == len(watchers)
    for watcher in watchers:
        watcher.close()


def test_a_running_loop_cannot_be_destroyed_from_another_thread(loop: Loop) -> None:
    errors: list[BaseException | None] = []
    loop.run_callback(lambda: errors.append(in_thread(loop.destroy)))
    loop.run()
    assert isinstance(errors[0], InvalidThreadUseError)


def test_a_loop_whose_thread_has_ended_can_be_destroyed_from_another() -> None:
    made: list[Loop] = []

    def make() -> None:
        made.append(Loop())
        made[0].timer(5.0).start(print)
        made[0].run_callback(print)

    assert in_thread(make) is None
    made[0].destroy()
    assert "destroyed" in repr(made[0])


# -- the end ----------------------------------------------------------------------------------------------------------


def test_a_destroyed_loop_refuses_everything_and_says_so(loop: Loop, wire: Wire) -> None:
    timer = loop.timer(1.0)
    loop.destroy()
    loop.destroy()
    calls: list[Callable[[], object]] = [
        loop.run,
        loop.now,
        loop.update_now,
        loop.ref,
        loop.unref,
        lambda: loop.run_callback(print),
        lambda: loop.run_callback_threadsafe(print),
        lambda: loop.register(wire.fd, print),
        lambda: loop.closing_fd(wire.fd),
        lambda: timer.start(print),
        lambda: timer.again(print),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=r"operation on destroyed loop <Loop at 0x.* destroyed>"):
            call()
    loop.wakeup()
    assert loop.fileno() is None
    assert loop.pendingcnt == loop.activecnt == 0


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


@pytest.mark.parametrize(
    "kind", ["callback", "threadsafe", "timer", "io", "async", "prepare", "check", "idle", "owner"]
)
def test_destroy_from_inside_any_callback_ends_run(loop: Loop, clock: ManualClock, wire: Wire, kind: str) -> None:
    with_destroy: Callable[[], None] = loop.destroy
    if kind == "callback":
        loop.run_callback(with_destroy)
    elif kind == "threadsafe":
        loop.run_callback_threadsafe(with_destroy)
    elif kind == "timer":
        loop.timer(0.0).start(with_destroy)
    elif kind == "io":
        loop.io(wire.fd, WRITE).start(with_destroy)
    elif kind == "async":
        watcher = loop.async_()
        watcher.start(with_destroy)
        watcher.send()
    elif kind == "owner":
        owner = loop.register(wire.fd, lambda events: loop.destroy())
        loop.run(nowait=True)
        owner.clear(READ)
        owner.want(READ)
        wire.send()
    else:
        getattr(loop, kind)().start(with_destroy)
    other = loop.timer(0.0, 1.0)
    other.start(lambda: None)
    assert loop.run() is False
    assert not other.active
    assert "destroyed" in repr(loop)


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


def test_a_destroyed_loop_makes_no_watcher(wire: Wire) -> None:
    loop = Loop()
    loop.destroy()
    makers: list[Callable[[], object]] = [
        lambda: loop.io(wire.fd, READ),
        lambda: loop.timer(1.0),
        loop.async_,
        loop.idle,
        loop.prepare,
        loop.check,
        lambda: loop.signal(10),
        lambda: loop.child(1),
        loop.break_,
        loop.update_now,
    ]
    for make in makers:
        with pytest.raises(ValueError, match="destroyed loop"):
            make()
