"""Threads, and the end: what another thread may not do, and what `destroy` leaves."""

from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING

from hub_loop import READ, Loop, supported
from hub_loop.testing import ManualClock

if TYPE_CHECKING:
    from tests.hub_loop.conftest import Wire


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
