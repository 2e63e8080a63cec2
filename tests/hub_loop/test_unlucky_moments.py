"""Interrupts and signal handlers at the worst statement, numbers closed at the worst time: nothing is lost or spins.

CPython looks for signals at the entry of a function, behind a call, and where a loop jumps back.  `at_entry` has
something happen at the first of these, of a function of the loop's; the others are reached through what the loop calls.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, cast

import pytest

from hub_loop import READ, Loop
from hub_loop._io import Io, Registration
from hub_loop.testing import FakePoller, ManualClock

if TYPE_CHECKING:
    from tests.conftest import Kin
    from tests.hub_loop.conftest import MakeWire, Wire

on_real_ones = pytest.mark.parametrize("loop", ["epoll", "poll", "select"], indirect=True)
on_epoll = pytest.mark.parametrize("loop", ["epoll"], indirect=True)
on_fake = pytest.mark.parametrize("loop", ["fake"], indirect=True)

AtEntry = Callable[[Callable[..., object], Callable[[], object]], None]


@pytest.fixture
def at_entry() -> Iterator[AtEntry]:
    """Have something called once, as a signal handler would be, when a Python function is entered."""
    before = sys.gettrace()

    def arrange(entered: Callable[..., object], happens: Callable[[], object]) -> None:
        code = entered.__code__

        def look(frame: Any, event: str, arg: object) -> None:
            if event == "call" and frame.f_code is code:
                sys.settrace(before)
                happens()

        sys.settrace(look)

    yield arrange
    sys.settrace(before)


def interrupt() -> None:
    raise KeyboardInterrupt


# -- interrupts --------------------------------------------------------------------------------------------------------


def test_an_interrupt_at_the_entry_of_notify_is_raised_and_the_edge_is_told_again(
    loop: Loop, wire: Wire, at_entry: AtEntry
) -> None:
    told: list[int] = []

    def notify(events: int) -> None:
        told.append(events)

    owner = loop.register(wire.fd, notify)
    owner.want(READ)
    wire.send()
    at_entry(notify, interrupt)
    with pytest.raises(KeyboardInterrupt):
        loop.run(nowait=True)
    assert loop.activecnt == 1
    loop.run(nowait=True)
    assert told == [READ]
    assert loop.activecnt == 0
    owner.close()


def test_an_interrupt_in_the_middle_of_closing_leaves_a_call_that_can_be_repeated(
    loop: Loop, wire: Wire, at_entry: AtEntry
) -> None:
    told: list[str] = []
    owner = loop.register(wire.fd, lambda events: told.append(f"notified {events}"))
    owner.want(READ)
    watcher = loop.io(wire.fd, READ)
    watcher.start(told.append, "called back")
    at_entry(Io._fd_left, interrupt)
    with pytest.raises(KeyboardInterrupt):
        loop.closing_fd(wire.fd)
    assert loop.closing_fd(wire.fd)
    assert not loop.closing_fd(wire.fd)
    loop.run(nowait=True)
    assert told == ["notified 0", "called back"]
    assert not watcher.active
    assert loop.activecnt == 0


def test_an_interrupt_at_the_start_of_a_watcher_beside_an_owner_leaves_the_owner_its_place(
    loop: Loop, wire: Wire, at_entry: AtEntry
) -> None:
    told: list[int] = []
    owner = loop.register(wire.fd, told.append)
    with loop.io(wire.fd, READ) as watcher:
        at_entry(Registration._arm, interrupt)
        with pytest.raises(KeyboardInterrupt):
            watcher.start(print)
    owner.want(READ)
    wire.send()
    loop.run(nowait=True)
    assert told == [READ]
    owner.close()


@on_fake
@pytest.mark.parametrize("kind", ["callback", "post", "mark", "timer", "repeating timer", "async", "closed fd"])
def test_an_interrupt_as_a_callback_is_entered_is_reported_and_the_callback_runs_all_the_same(
    loop: Loop, clock: ManualClock, wire: Wire, at_entry: AtEntry, kind: str
) -> None:
    told: list[str] = []

    class Teller:
        def tell(self, word: str) -> None:
            told.append(word)

    tell = Teller().tell
    watchers: dict[str, Any] = {
        "timer": loop.timer(1),
        "repeating timer": loop.timer(1, repeat=10),
        "async": loop.async_(),
        "closed fd": loop.io(wire.fd, READ),
    }
    watcher = watchers.get(kind)
    if watcher is not None:
        watcher.start(tell, kind)
    elif kind == "post":
        loop.run_callback_threadsafe(tell, kind)
    else:
        loop.run_callback(tell, kind)
    if kind == "async":
        watchers[kind].send()
    elif kind == "closed fd":
        loop.closing_fd(wire.fd)
    clock.advance(1)
    at_entry(Teller.tell, interrupt)
    with pytest.raises(KeyboardInterrupt):
        if kind == "mark":
            loop.run_mark([Teller.tell])
        loop.run(nowait=True)
    assert told == []
    assert loop.pendingcnt == 1
    loop.run(nowait=True)
    assert told == [kind]
    assert loop.pendingcnt == 0
    for each in watchers.values():
        each.close()
    assert loop.activecnt == 0


@on_fake
def test_an_interrupt_once_a_callback_has_begun_is_the_callbacks_own(
    loop: Loop, clock: ManualClock, at_entry: AtEntry
) -> None:
    begun: list[str] = []

    def callee() -> None:
        pass

    def callback() -> None:
        begun.append("begun")
        callee()

    for start in (loop.run_callback, loop.timer(0).start):
        start(callback)
        at_entry(callee, interrupt)
        with pytest.raises(KeyboardInterrupt):
            loop.run(nowait=True)
        loop.run(nowait=True)
    assert begun == ["begun"] * 2


@on_epoll
def test_an_interrupt_right_behind_the_system_call_that_arms_leaves_nothing_armed(loop: Loop, wire: Wire) -> None:
    poller = cast("Any", loop._poller)
    kernel = poller._epoll

    class Interrupted:
        def __getattr__(self, name: str) -> Any:
            return getattr(kernel, name)

        def register(self, fd: int, mask: int) -> None:
            kernel.register(fd, mask)
            poller._epoll = kernel
            raise KeyboardInterrupt

    poller._epoll = Interrupted()
    with loop.io(wire.fd, READ) as watcher, pytest.raises(KeyboardInterrupt):
        watcher.start(print)
    wire.send()
    loop.run(nowait=True)
    assert loop._poller.poll(0.0) == []


# -- signal handlers ---------------------------------------------------------------------------------------------------


@on_fake
@pytest.mark.parametrize("what", ["break_", "closing_fd", "unref", "stop", "close of a timer", "ref", "unwant"])
def test_what_a_signal_handler_in_the_poll_takes_away_ends_the_poll(
    loop: Loop, clock: ManualClock, wire: Wire, what: str
) -> None:
    assert isinstance(loop._poller, FakePoller)
    watcher, timer, owner = loop.async_(), loop.timer(3600.0), loop.register(wire.fd, lambda events: None)
    if what == "unref":
        loop.ref()
    elif what == "close of a timer":
        timer.start(print)
    elif what in ("closing_fd", "unwant"):
        owner.want(READ)
    else:
        watcher.start(print)
    does: dict[str, Callable[[], object]] = {
        "break_": loop.break_,
        "closing_fd": lambda: loop.closing_fd(wire.fd),
        "unref": loop.unref,
        "stop": watcher.stop,
        "close of a timer": timer.close,
        "ref": lambda: setattr(watcher, "ref", False),
        "unwant": lambda: owner.unwant(READ),
    }
    before = signal.signal(signal.SIGUSR1, lambda signum, frame: does[what]())
    loop._poller.when_blocking(lambda: signal.raise_signal(signal.SIGUSR1))
    begin = clock()
    try:
        loop.run()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert clock() == begin
    for each in (watcher, timer, owner):
        each.close()


def test_a_host_is_woken_when_an_fd_leaves_while_it_sleeps_for_the_loop() -> None:
    loop = Loop("epoll")
    near, far = socket.socketpair()
    with near, far, loop.io(near.fileno(), READ) as reader:
        told: list[str] = []
        reader.start(told.append, "left")
        loop.run(nowait=True)
        loop.poll_elsewhere()
        loop.closing_fd(near.fileno())
        number = loop.fileno()
        assert number is not None
        assert select.select([number], [], [], 5)[0]
        loop.run(nowait=True)
        assert told == ["left"]
    loop.destroy()


@on_fake
def test_timers_stopped_by_a_signal_handler_while_corpses_are_cleared_away_take_no_others_along(
    loop: Loop, clock: ManualClock
) -> None:
    timers = [loop.timer(1.0 + number) for number in range(1400)]
    for timer in timers:
        timer.start(print)
    loop.run(nowait=True)
    looked_at = 0

    def stop_one_in_the_middle(frame: Any, event: str, arg: object) -> Any:
        nonlocal looked_at
        looked_at += event == "line"
        if looked_at == 1300:
            sys.settrace(before)
            timers[1350].stop()
        return stop_one_in_the_middle

    def look(frame: Any, event: str, arg: object) -> Any:
        # The clearing away is a comprehension: a frame of its own before CPython 3.12, lines of `bury` since.
        return stop_one_in_the_middle if frame.f_code.co_name in ("<listcomp>", "bury") else None

    before = sys.gettrace()
    sys.settrace(look)
    for timer in timers[:701]:
        timer.stop()
    sys.settrace(before)
    left = {timer for timer in timers if timer.active}
    assert left <= set(loop._timers.timers())
    for timer in timers:
        timer.close()


@on_fake
def test_timers_stopped_by_a_signal_handler_while_due_ones_are_queued_take_no_others_along(
    loop: Loop, clock: ManualClock
) -> None:
    fired: list[str] = []
    timers = [loop.timer(60.0 + number) for number in range(1026)]
    due, following = loop.timer(1.0), loop.timer(2.0)
    for timer in timers:
        timer.start(print)
    due.start(fired.append, "due")
    following.start(fired.append, "following")
    loop.run(nowait=True)
    for timer in timers[:512]:
        timer.stop()

    class Fired(deque[Any]):
        def append(self, watcher: Any) -> None:
            super().append(watcher)
            if watcher is due:  # the handler runs behind this call
                for timer in timers[600:1000]:
                    timer.stop()

    loop._fired = Fired()
    clock.advance(1.0)
    loop.run(nowait=True)
    clock.advance(1.0)
    loop.run(nowait=True)
    assert fired == ["due", "following"]
    for timer in (*timers, due, following):
        timer.close()


@on_fake
@pytest.mark.parametrize("strikes", ["an interrupt", "a handler that stops some"])
def test_what_strikes_while_a_good_part_of_all_timers_is_queued_loses_none_and_queues_none_twice(
    loop: Loop, clock: ManualClock, strikes: str
) -> None:
    fired: list[int] = []
    timers = [loop.timer(1.0 + number % 2) for number in range(2000)]
    for number, timer in enumerate(timers):
        timer.start(fired.append, number)
    loop.run(nowait=True)
    stopped: set[int] = set()

    class Fired(deque[Any]):
        def append(self, watcher: Any) -> None:
            super().append(watcher)
            if watcher is timers[600]:
                if strikes == "an interrupt":
                    raise KeyboardInterrupt
                stopped.update(range(500, 1800, 2), range(1, 1001, 2))
                for number in stopped:
                    timers[number].stop()
                assert len(loop._timers.heap) < 2000, "corpses have been cleared away"

    loop._fired = Fired()
    for _ in range(3):
        clock.advance(1.0)
        try:
            loop.run(nowait=True)
        except KeyboardInterrupt:
            assert strikes == "an interrupt"
    assert fired == [number for number in (*range(0, 2000, 2), *range(1, 2000, 2)) if number not in stopped]
    assert len(loop._timers.heap) == loop._timers.corpses == 0


# -- numbers -----------------------------------------------------------------------------------------------------------


@on_real_ones
def test_an_fd_closed_behind_the_loops_back_while_a_forked_child_holds_its_file_does_not_keep_the_loop_busy(
    loop: Loop, kin: Kin
) -> None:
    near, far = socket.socketpair()
    other, another = socket.socketpair()
    go_on, done = os.pipe()
    with far, other, another, loop.io(near.fileno(), READ) as reader, loop.io(other.fileno(), READ) as kept:
        seen: list[str] = []
        reader.start(lambda: seen.append(near.recv(9).decode()))
        kept.start(lambda: seen.append(other.recv(9).decode()))
        far.send(b"first")
        loop.run(once=True)
        reader.stop()  # the kernel is asked on until the next event, as it is around each wait
        if kin.fork():  # the child holds a copy of `near` until the parent is done
            os.close(done)
            os.read(go_on, 1)
            kin.child_ends()
        near.close()
        far.send(b"more")
        for _ in range(6):
            loop.run(nowait=True)
        assert loop._poller.poll(0.0) == [], "the kernel is not asked about the dead number any more"
        another.send(b"second")
        loop.run(once=True)
        assert seen == ["first", "second"]
        os.close(done)
        kin.child_ends()
        os.close(go_on)


@on_epoll
def test_when_a_dead_number_costs_the_poller_its_place_another_closed_number_is_told_to_who_watches_it(
    loop: Loop,
) -> None:
    near, far = socket.socketpair()
    gone, peer = socket.socketpair()
    twin = os.dup(near.fileno())
    told: list[str] = []
    with far, peer, loop.io(near.fileno(), READ) as reader, loop.io(gone.fileno(), READ) as other:
        reader.start(print)
        other.start(told.append, "closed")
        loop.run(nowait=True)
        reader.stop()
        gone.close()  # nobody tells the loop, and the kernel says nothing of it
        near.close()  # nor of this one; but its file lives on under another number
        far.send(b"x")
        for _ in range(6):
            loop.run(nowait=True)
        assert told == ["closed"]
        assert other.closed
    os.close(twin)


def test_the_end_of_an_old_file_is_not_taken_for_that_of_a_new_one_under_its_number(
    loop: Loop, make_wire: MakeWire
) -> None:
    old = make_wire()
    with loop.io(old.fd, READ) as reader:
        reader.start(reader.stop)
        old.hang_up()
        loop.run(nowait=True)
    old.close_near()
    new = make_wire(old.fd)
    told: list[int] = []
    owner = loop.register(new.fd, told.append)
    loop.run(nowait=True)
    new.send()
    loop.run(nowait=True)
    new.read()
    owner.clear(READ)
    assert not owner.ready & READ
    owner.close()


# -- work outside ------------------------------------------------------------------------------------------------------


@on_fake
def test_the_poll_does_not_block_while_somebody_outside_says_that_there_is_work(loop: Loop, clock: ManualClock) -> None:
    work: list[str] = []
    loop.busy = lambda: work
    begin = clock()
    with loop.timer(10.0) as timer, loop.prepare() as prepare:
        timer.start(print)
        prepare.start(work.append, "made by a prepare watcher, right before the poll")
        loop.run(once=True)
        assert clock() == begin
        prepare.stop()
        work.clear()
        loop.run(once=True)
        assert clock() == begin + 10.0
