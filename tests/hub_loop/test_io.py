"""File descriptors: io watchers and registrations, on every poller, up to the moment the fd is closed and after it."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hub_loop import READ, WRITE, Loop
from hub_loop.testing import FakePoller

if TYPE_CHECKING:
    from tests.hub_loop.conftest import MakeWire, Wire

on_real_ones = pytest.mark.parametrize("loop", ["epoll", "poll", "select"], indirect=True)
on_epoll = pytest.mark.parametrize("loop", ["epoll"], indirect=True)


def turn(loop: Loop) -> None:
    loop.run(nowait=True)


# -- io watchers ------------------------------------------------------------------------------------------------------


def test_a_reader_is_called_when_there_is_something_to_read(loop: Loop, wire: Wire) -> None:
    seen: list[bytes] = []
    with loop.io(wire.fd, READ) as reader:
        reader.start(lambda: seen.append(wire.read()))
        turn(loop)
        assert seen == []
        wire.send(b"hello")
        turn(loop)
        assert seen == [b"hello"]
        turn(loop)
        assert seen == [b"hello"]


def test_a_reader_is_called_in_every_turn_until_everything_is_read(loop: Loop, wire: Wire) -> None:
    seen: list[bytes] = []
    with loop.io(wire.fd, READ) as reader:
        reader.start(lambda: seen.append(wire.read(1)))
        wire.send(b"abc")
        for _ in range(3):
            turn(loop)
        assert seen == [b"a", b"b", b"c"]


def test_a_blocking_run_ends_when_the_data_comes(loop: Loop, wire: Wire) -> None:
    reader = loop.io(wire.fd, READ)

    def done() -> None:
        wire.read()
        reader.close()

    reader.start(done)
    wire.send()
    assert loop.run() is False


def test_a_writer_is_called_while_there_is_room(loop: Loop, wire: Wire) -> None:
    called: list[str] = []
    wire.fill()
    with loop.io(wire.fd, WRITE) as writer:
        writer.start(called.append, "room")
        turn(loop)
        assert called == []
        wire.make_room()
        turn(loop)
        turn(loop)
        assert called == ["room", "room"]


def test_a_watcher_of_both_is_called_for_either_and_told_which(loop: Loop, wire: Wire) -> None:
    seen: list[tuple[int, str]] = []

    def note(events: int, text: str) -> None:
        seen.append((events, text))

    wire.fill()
    with loop.io(wire.fd, READ | WRITE) as watcher:
        watcher.start(note, "told", pass_events=True)
        wire.send()
        turn(loop)
        wire.read()
        wire.make_room()
        turn(loop)
        wire.send()
        turn(loop)
    assert seen == [(READ, "told"), (WRITE, "told"), (READ | WRITE, "told")]


def test_pass_events_is_chosen_anew_by_each_start(loop: Loop, wire: Wire) -> None:
    seen: list[tuple[object, ...]] = []

    def note(*args: object) -> None:
        seen.append(args)

    wire.send()
    with loop.io(wire.fd, READ) as watcher:
        watcher.start(note, pass_events=True)
        turn(loop)
        watcher.start(note)  # while active
        turn(loop)
        watcher.stop()
        watcher.start(note, pass_events=True)
        turn(loop)
    assert seen == [(READ,), (), (READ,)]


def test_an_event_dropped_by_stop_is_not_told_after_the_next_start(loop: Loop, wire: Wire) -> None:
    seen: list[int] = []
    stopper = loop.io(wire.fd, WRITE, priority=1)
    watcher = loop.io(wire.fd, READ | WRITE)
    stopper.start(watcher.stop)
    watcher.start(seen.append, pass_events=True)
    turn(loop)  # WRITE was seen for both; the stopper went first
    stopper.close()
    assert seen == []
    wire.fill()
    wire.send()
    watcher.start(seen.append, pass_events=True)
    turn(loop)
    watcher.close()
    assert seen == [READ]


def test_several_watchers_of_one_fd_are_called_each_for_its_own_direction(loop: Loop, wire: Wire) -> None:
    called: list[str] = []
    one, two, writer = loop.io(wire.fd, READ), loop.io(wire.fd, READ), loop.io(wire.fd, WRITE)
    wire.fill()
    one.start(called.append, "one")
    two.start(called.append, "two")
    writer.start(called.append, "writer")
    wire.send()
    turn(loop)
    assert called == ["one", "two"]
    one.stop()
    turn(loop)
    assert called == ["one", "two", "two"]
    wire.make_room()
    wire.read()
    turn(loop)
    assert called[3:] == ["writer"]
    for watcher in (one, two, writer):
        watcher.close()


def test_when_nobody_wants_an_event_any_more_the_poller_is_told_so(loop: Loop, wire: Wire) -> None:
    with loop.io(wire.fd, READ) as reader:
        reader.start(print)
        reader.stop()
        wire.send()
        turn(loop)
        assert wire.fd not in loop._registrations
        reader.start(wire.read)
        turn(loop)
    assert loop.activecnt == 0


def test_a_watcher_less_narrows_what_the_poller_is_asked_for(loop: Loop, wire: Wire) -> None:
    called: list[str] = []
    with loop.io(wire.fd, READ) as reader, loop.io(wire.fd, WRITE) as writer:
        reader.start(called.append, "reader")
        writer.start(called.append, "writer")
        writer.stop()
        for _ in range(3):
            turn(loop)  # writable, which nobody wants
        assert called == []
        registration = loop._registrations[wire.fd]
        assert registration._armed == READ
        wire.send()
        turn(loop)
        assert called == ["reader"]


def test_stop_and_start_around_each_wait_ask_the_poller_for_nothing(loop: Loop, wire: Wire) -> None:
    with loop.io(wire.fd, READ) as reader:
        reader.start(print)
        registration = loop._registrations[wire.fd]
        asked: list[int] = []
        poller = loop._poller

        class Watched:
            edge = poller.edge

            def watch(self, fd: int, interest: int) -> bool:
                asked.append(interest)
                return poller.watch(fd, interest)

            def forget(self, fd: int) -> None:
                poller.forget(fd)

        spy: Any = Watched()
        registration._poller = spy
        for _ in range(10):
            reader.stop()
            reader.start(print)
        assert asked == []
        registration._poller = poller


def test_data_that_came_while_a_watcher_was_stopped_is_seen_after_start(loop: Loop, wire: Wire) -> None:
    seen: list[bytes] = []
    with loop.io(wire.fd, READ) as reader:
        reader.start(print)
        reader.stop()
        wire.send(b"meanwhile")
        reader.start(lambda: seen.append(wire.read()))
        turn(loop)
    assert seen == [b"meanwhile"]


def test_a_hang_up_counts_as_ready_for_every_direction(loop: Loop, wire: Wire) -> None:
    seen: list[int] = []
    wire.fill()
    with loop.io(wire.fd, READ) as reader, loop.io(wire.fd, WRITE) as writer:
        reader.start(seen.append, READ)
        writer.start(seen.append, WRITE)
        turn(loop)
        assert seen == []
        wire.hang_up()
        turn(loop)
    assert sorted(seen) == [READ, WRITE]


def test_the_end_of_the_stream_is_readable_and_no_more(loop: Loop, wire: Wire) -> None:
    seen: list[int] = []
    wire.fill()
    with loop.io(wire.fd, READ | WRITE) as watcher:
        watcher.start(seen.append, pass_events=True)
        wire.shut()
        turn(loop)
        assert seen == [READ]
        assert wire.read() == b""


@pytest.mark.parametrize("events", [0, 4, 7, -1, "READ", None])
def test_an_event_mask_must_be_read_or_write_or_both(loop: Loop, wire: Wire, events: Any) -> None:
    with pytest.raises(ValueError, match=r"events must be READ \(1\), WRITE \(2\) or READ\|WRITE \(3\), got"):
        loop.io(wire.fd, events)


def test_an_fd_must_be_a_number_and_open(loop: Loop, wire: Wire) -> None:
    with pytest.raises(ValueError, match="fd must be 0 or more, got -1: was the file closed"):
        loop.io(-1, READ)
    wrong: Any = socket.socket
    with pytest.raises(TypeError, match=r"pass its fileno\(\)"):
        loop.io(wrong, READ)
    number = wire.fd
    wire.close()
    with pytest.raises(OSError, match=f"fd {number} is not open") as caught:
        loop.io(number, READ)
    assert caught.value.errno == errno.EBADF
    with pytest.raises(OSError, match=f"fd {number} is not open"):
        loop.register(number, print)


def test_the_repr_names_fd_and_events(loop: Loop, wire: Wire) -> None:
    with loop.io(wire.fd, READ | WRITE) as watcher:
        assert f" fd={wire.fd} events=READ|WRITE" in repr(watcher)
    registration = loop.register(wire.fd, print)
    assert repr(registration) == f"<registration fd={wire.fd} ready=none wanted=none>"
    registration.want(READ)
    assert "wanted=READ" in repr(registration)
    registration.close()
    assert "closed" in repr(registration)


def test_a_refusal_by_the_poller_is_an_error_at_start_and_leaves_the_watcher_idle(loop: Loop, wire: Wire) -> None:
    poller = loop._poller

    class Refusing:
        edge = poller.edge

        def watch(self, fd: int, interest: int) -> bool:
            raise OSError(errno.ENOSPC, "no more watches")

    refusing: Any = Refusing()
    loop._poller = refusing
    watcher = loop.io(wire.fd, READ)
    with pytest.raises(OSError, match="no more watches"):
        watcher.start(print)
    with pytest.raises(OSError, match="no more watches"):
        loop.register(wire.fd, print)
    loop._poller = poller
    assert not watcher.active
    assert loop.activecnt == 0
    assert loop._registrations == {}
    with watcher:
        watcher.start(wire.read)
        wire.send()
        turn(loop)


def test_a_refusal_to_a_second_watcher_leaves_the_first_one_working(loop: Loop, wire: Wire) -> None:
    called: list[str] = []
    with loop.io(wire.fd, READ) as reader, loop.io(wire.fd, WRITE) as writer:
        reader.start(called.append, "reader")
        registration = loop._registrations[wire.fd]
        poller = registration._poller

        class Refusing:
            edge = poller.edge

            def watch(self, fd: int, interest: int) -> bool:
                raise OSError(errno.ENOMEM, "no memory")

        refusing: Any = Refusing()
        registration._poller = refusing
        with pytest.raises(OSError, match="no memory"):
            writer.start(called.append, "writer")
        registration._poller = poller
        assert not writer.active
        wire.send()
        turn(loop)
        assert called == ["reader"]


# -- what cannot be polled --------------------------------------------------------------------------------------------


@pytest.fixture(params=["a regular file", "the null device"])
def always_ready_fd(request: pytest.FixtureRequest, loop: Loop, tmp_path: Path) -> Iterator[int]:
    """An fd that every read and write on returns at once."""
    path = "/dev/null" if request.param == "the null device" else str(tmp_path / "file")
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    if isinstance(loop._poller, FakePoller):
        loop._poller.make_unpollable(fd)
    yield fd
    os.close(fd)


def test_a_regular_file_and_the_null_device_are_always_ready(loop: Loop, always_ready_fd: int) -> None:
    seen: list[int] = []
    with loop.io(always_ready_fd, READ) as reader, loop.io(always_ready_fd, WRITE) as writer:
        reader.start(seen.append, pass_events=True)
        writer.start(seen.append, pass_events=True)
        loop.run(once=True)  # must not block
        loop.run(once=True)
        assert sorted(seen) == [READ, READ, WRITE, WRITE]
        writer.stop()
        turn(loop)
        assert sorted(seen) == [READ, READ, READ, WRITE, WRITE]
    turn(loop)
    assert loop._registrations == {}
    assert loop._always_ready == {}


def test_what_is_always_ready_can_be_watched_again_after_a_stop(loop: Loop, always_ready_fd: int) -> None:
    called: list[str] = []
    with loop.io(always_ready_fd, READ) as reader:
        for _ in range(3):
            reader.start(called.append, "ready")
            loop.run(once=True)
            reader.stop()
            turn(loop)
    assert called == ["ready"] * 3


def test_closing_what_is_always_ready_ends_it(loop: Loop, always_ready_fd: int) -> None:
    called: list[str] = []
    reader = loop.io(always_ready_fd, READ)
    reader.start(called.append, "told")
    assert loop.closing_fd(always_ready_fd) is True
    assert loop.run() is False
    assert called == ["told"]


@on_epoll
def test_a_registration_of_what_is_always_ready_is_latched_for_good(loop: Loop, always_ready_fd: int) -> None:
    registration = loop.register(always_ready_fd, print)
    assert registration.ready == READ | WRITE
    registration.clear(READ | WRITE)
    assert registration.ready == READ | WRITE
    registration.close()


def test_a_watcher_beside_a_registration_of_what_is_always_ready_is_called(loop: Loop, always_ready_fd: int) -> None:
    called: list[str] = []
    registration = loop.register(always_ready_fd, print)
    turn(loop)
    with loop.io(always_ready_fd, READ) as reader:
        reader.start(called.append, "ready")
        loop.run(once=True)
        loop.run(once=True)
    assert called == ["ready", "ready"]
    registration.close()


# -- closing ----------------------------------------------------------------------------------------------------------


def test_closing_fd_calls_back_whoever_watches_and_closes_the_watchers(loop: Loop, wire: Wire) -> None:
    seen: list[int] = []
    reader, writer, stopped = loop.io(wire.fd, READ), loop.io(wire.fd, WRITE), loop.io(wire.fd, READ)
    reader.start(seen.append, pass_events=True)
    wire.fill()
    writer.start(seen.append, pass_events=True)
    assert loop.closing_fd(wire.fd) is True
    wire.close_near()
    assert reader.closed
    assert reader.fd == -1
    assert reader.pending
    assert loop.run() is False
    assert seen == [READ, WRITE]
    assert not reader.active
    assert not writer.active
    assert not stopped.closed
    with pytest.raises(ValueError, match="was closed"):
        reader.start(print)


def test_closing_fd_of_an_fd_that_nobody_watches_is_false(loop: Loop, wire: Wire) -> None:
    assert loop.closing_fd(wire.fd) is False
    with loop.io(wire.fd, READ) as reader:
        reader.start(print)
        reader.stop()
        assert loop.closing_fd(wire.fd) is False
        assert loop.closing_fd(wire.fd) is False


def test_a_watcher_stopped_after_closing_fd_is_not_called(loop: Loop, wire: Wire) -> None:
    reader = loop.io(wire.fd, READ)
    reader.start(print, "never")
    assert loop.closing_fd(wire.fd) is True
    reader.stop()
    assert loop.run() is False


def test_a_reused_number_gets_no_stale_event(loop: Loop, wire: Wire, make_wire: MakeWire) -> None:
    number = wire.fd
    old: list[str] = []
    reader = loop.io(number, READ)
    reader.start(old.append, "told")
    wire.send(b"for the old one")
    loop.closing_fd(number)
    wire.close_near()
    new_wire = make_wire(number)
    assert new_wire.fd == number
    new: list[bytes] = []
    with loop.io(number, READ) as new_reader:
        new_reader.start(lambda: new.append(new_wire.read()))
        turn(loop)
        turn(loop)
        assert old == ["told"]
        assert new == []
        new_wire.send(b"for the new one")
        turn(loop)
        assert new == [b"for the new one"]


def test_an_fd_closed_and_reused_by_a_callback_gets_no_event_that_was_polled_before(
    loop: Loop, make_wire: MakeWire
) -> None:
    first, second = make_wire(), make_wire()
    called: list[str] = []
    new_ones: list[Any] = []

    def close_the_other(other: Wire) -> None:
        if new_ones:
            return
        called.append("first come")
        number = other.fd
        loop.closing_fd(number)
        other.close_near()
        make_wire(number)
        new_ones.append(loop.io(number, READ))
        new_ones[0].start(called.append, "stale")

    one, two = loop.io(first.fd, READ), loop.io(second.fd, READ)
    one.start(close_the_other, second)
    two.start(close_the_other, first)
    first.send()
    second.send()
    turn(loop)
    turn(loop)
    assert "stale" not in called
    for watcher in (one, two, *new_ones):
        watcher.close()


def test_a_notified_owner_that_closes_and_reuses_another_fd_gives_the_new_one_no_stale_event(
    loop: Loop, make_wire: MakeWire
) -> None:
    # notify() runs while the turn still holds what the poll returned, the other fd's event among it.
    wires = [make_wire(), make_wire()]
    stale: list[str] = []
    owners: list[Any] = []
    new_ones: list[Any] = []

    def notify(which: int, events: int) -> None:
        other = wires[1 - which]
        if events == 0 or new_ones:
            return
        number = other.fd
        owners[1 - which].close()
        other.close_near()
        make_wire(number)
        new_ones.append(loop.io(number, READ))
        new_ones[0].start(stale.append, "stale")

    owners += [loop.register(wires[which].fd, partial(notify, which)) for which in (0, 1)]
    turn(loop)
    for owner in owners:
        owner.clear(READ | WRITE)
        owner.want(READ)
    for one in wires:
        one.send()
    turn(loop)
    turn(loop)
    assert len(new_ones) == 1
    assert stale == []
    for left in (*owners, *new_ones):
        left.close()


def test_a_new_watcher_on_a_number_reused_behind_the_loops_back_is_registered_afresh(
    loop: Loop, wire: Wire, make_wire: MakeWire
) -> None:
    number = wire.fd
    old = loop.io(number, READ)
    old.start(print)
    old.close()
    wire.close_near()  # without closing_fd
    new_wire = make_wire(number)
    seen: list[bytes] = []
    with loop.io(number, READ) as reader:
        reader.start(lambda: seen.append(new_wire.read()))
        new_wire.send(b"new")
        turn(loop)
        assert seen == [b"new"]


def test_a_number_reused_behind_the_loops_back_by_a_regular_file_is_always_ready(
    loop: Loop, wire: Wire, tmp_path: Path
) -> None:
    number = wire.fd
    old = loop.io(number, READ)
    old.start(print)
    old.close()
    wire.close_near()
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    if fd != number:
        os.dup2(fd, number)
        os.close(fd)
    if isinstance(loop._poller, FakePoller):
        loop._poller.make_unpollable(number)
    called: list[str] = []
    with loop.io(number, READ) as reader:
        reader.start(called.append, "ready")
        loop.run(once=True)
    os.close(number)
    assert called == ["ready"]


def test_a_number_reused_behind_the_loops_back_after_a_regular_file_is_not_always_ready(
    loop: Loop, tmp_path: Path, make_wire: MakeWire
) -> None:
    number = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    if isinstance(loop._poller, FakePoller):
        loop._poller.make_unpollable(number)
    old = loop.io(number, READ)
    old.start(print)
    old.close()
    os.close(number)
    make_wire(number)
    called: list[str] = []
    with loop.io(number, READ) as reader:
        reader.start(called.append, "stale")
        turn(loop)
        turn(loop)
    assert called == []


@pytest.mark.parametrize("loop", ["poll", "select"], indirect=True)
def test_an_fd_closed_while_watched_is_found_out_by_poll_and_select(loop: Loop, make_wire: MakeWire) -> None:
    seen: list[int] = []
    closed, other = make_wire(), make_wire()
    reader, other_reader = loop.io(closed.fd, READ), loop.io(other.fd, READ)
    reader.start(seen.append, pass_events=True)
    other_reader.start(seen.append, 99)
    closed.close_near()
    loop.run(once=True)
    assert seen == [READ]
    assert reader.closed
    assert not reader.active
    other.send()
    loop.run(once=True)
    assert seen == [READ, 99]
    other_reader.close()


@pytest.mark.parametrize("loop", ["fake"], indirect=True)
def test_an_invalid_fd_closes_its_watchers_whatever_the_poller(loop: Loop, wire: Wire) -> None:
    assert isinstance(loop._poller, FakePoller)
    seen: list[int] = []
    reader = loop.io(wire.fd, READ)
    reader.start(seen.append, pass_events=True)
    loop._poller.invalidate(wire.fd, after=5.0)
    assert loop.run() is False
    assert seen == [READ]
    assert reader.closed


# -- registrations ----------------------------------------------------------------------------------------------------


class Owner:
    """Keeps what its registration tells."""

    def __init__(self, loop: Loop, wire: Wire) -> None:
        self.told: list[int] = []
        self.wire = wire
        self.registration = loop.register(wire.fd, self.told.append)
        turn(loop)  # the first edges: writable, and what is there already


def test_an_owner_is_told_once_for_each_want(loop: Loop, wire: Wire) -> None:
    owner = Owner(loop, wire)
    owner.registration.clear(READ)
    owner.registration.want(READ)
    turn(loop)
    assert owner.told == []
    wire.send(b"one")
    turn(loop)
    turn(loop)
    assert owner.told == [READ]
    assert owner.registration.ready & READ
    wire.read()
    owner.registration.clear(READ)
    wire.send(b"two")
    turn(loop)
    assert owner.told == [READ]
    owner.registration.close()


def test_an_owner_that_wants_both_is_told_of_each_once(loop: Loop, wire: Wire) -> None:
    wire.fill()
    owner = Owner(loop, wire)
    owner.registration.clear(READ | WRITE)
    owner.registration.want(READ | WRITE)
    wire.send()
    turn(loop)
    assert owner.told == [READ]
    wire.make_room()
    turn(loop)
    assert owner.told == [READ, WRITE]
    owner.registration.close()


def test_what_an_owner_does_not_want_any_more_is_not_told(loop: Loop, wire: Wire) -> None:
    owner = Owner(loop, wire)
    owner.registration.clear(READ)
    owner.registration.want(READ)
    owner.registration.unwant(READ)
    wire.send()
    turn(loop)
    assert owner.told == []
    owner.registration.close()


@pytest.mark.parametrize("loop", ["epoll", "fake"], indirect=True)
def test_readiness_is_latched_without_a_want_where_the_poller_knows_edges(loop: Loop, wire: Wire) -> None:
    owner = Owner(loop, wire)
    assert owner.registration.ready == WRITE
    wire.send()
    turn(loop)
    assert owner.registration.ready == READ | WRITE
    owner.registration.clear(READ)
    turn(loop)
    assert owner.registration.ready == WRITE  # not drained, so the kernel is silent
    wire.send()
    turn(loop)
    assert owner.registration.ready == READ | WRITE
    assert owner.told == []
    owner.registration.close()


@pytest.mark.parametrize("loop", ["poll", "select"], indirect=True)
def test_where_there_are_no_edges_a_want_arms_and_the_event_disarms(loop: Loop, wire: Wire) -> None:
    owner = Owner(loop, wire)
    assert owner.registration.ready == 0
    for number in range(3):
        owner.registration.clear(READ)
        owner.registration.want(READ)
        wire.send()
        loop.run(nowait=True)
        assert len(owner.told) == number + 1
        assert owner.registration._armed == 0
        wire.read()
    owner.registration.close()


def test_after_a_hang_up_the_read_latch_stays_so_that_a_short_read_is_not_the_last(loop: Loop, wire: Wire) -> None:
    owner = Owner(loop, wire)
    owner.registration.clear(READ)
    owner.registration.want(READ)
    wire.send(b"last words")
    wire.hang_up()
    turn(loop)
    assert READ in owner.told
    assert wire.read() == b"last words"  # short: the owner clears, as it always does
    owner.registration.clear(READ)
    if loop.backend != "select":  # select does not tell a hang-up from data
        assert owner.registration.ready & READ
        turn(loop)
    else:
        owner.registration.want(READ)
        turn(loop)
        assert owner.registration.ready & READ
    assert wire.read() == b""
    owner.registration.close()


def test_after_the_end_of_the_stream_the_read_latch_stays_but_not_the_write_latch(loop: Loop, wire: Wire) -> None:
    owner = Owner(loop, wire)
    owner.registration.clear(READ | WRITE)
    owner.registration.want(READ)
    wire.fill()
    wire.send(b"last words")
    wire.shut()
    turn(loop)
    assert READ in owner.told
    wire.read()
    owner.registration.clear(READ | WRITE)
    assert owner.registration.ready == (READ if loop.backend != "select" else 0)
    owner.registration.close()


def test_a_hang_up_without_a_want_does_not_keep_the_loop_busy(loop: Loop, wire: Wire) -> None:
    owner = Owner(loop, wire)
    wire.hang_up()
    turn(loop)
    polled = loop._poller.poll(0.0)
    assert [fd for fd, _ in polled if fd == wire.fd] == []
    owner.registration.close()


def test_closing_a_registration_tells_who_still_wants_something(loop: Loop, wire: Wire) -> None:
    owner = Owner(loop, wire)
    owner.registration.clear(READ)
    owner.registration.want(READ)
    owner.registration.close()
    assert owner.told == [0]
    assert owner.registration.fd == -1
    owner.registration.close()
    assert owner.told == [0]
    with pytest.raises(ValueError, match="its fd has left the loop; register the new fd"):
        owner.registration.want(READ)
    owner.registration.unwant(READ)


def test_closing_a_registration_that_nobody_waits_for_tells_nobody(loop: Loop, wire: Wire) -> None:
    owner = Owner(loop, wire)
    assert loop.closing_fd(wire.fd) is False
    assert owner.registration.fd == -1
    assert owner.told == []


def test_a_registration_of_a_reused_number_gets_no_stale_event(loop: Loop, wire: Wire, make_wire: MakeWire) -> None:
    number = wire.fd
    owner = Owner(loop, wire)
    owner.registration.clear(READ)
    owner.registration.want(READ)
    wire.send()
    owner.registration.close()
    wire.close_near()
    new = Owner(loop, make_wire(number))
    new.registration.clear(READ)
    new.registration.want(READ)
    turn(loop)
    assert new.told == []
    new.wire.send()
    turn(loop)
    assert new.told == [READ]
    assert owner.told == [0]
    new.registration.close()


def test_a_second_registration_of_an_fd_is_refused(loop: Loop, wire: Wire) -> None:
    owner = Owner(loop, wire)
    with pytest.raises(ValueError, match=f"fd {wire.fd} is registered already: <registration"):
        loop.register(wire.fd, print)
    owner.registration.close()
    loop.register(wire.fd, print).close()


def test_notify_must_be_callable(loop: Loop, wire: Wire) -> None:
    wrong: Any = None
    with pytest.raises(TypeError, match="notify must be callable, got None"):
        loop.register(wire.fd, wrong)
    assert loop._registrations == {}


def test_an_owner_that_raises_is_reported_and_the_loop_goes_on(loop: Loop, wire: Wire) -> None:
    errors: list[tuple[object, str]] = []

    class Handler:
        def handle_error(self, context: object, type: type[BaseException], value: BaseException, tb: object, /) -> None:
            errors.append((context, str(value)))

    def fail(events: int) -> None:
        raise ZeroDivisionError(f"told {events}")

    loop.error_handler = Handler()
    registration = loop.register(wire.fd, fail)
    turn(loop)
    registration.clear(READ)
    registration.want(READ)
    wire.send()
    turn(loop)
    assert errors == [(registration, f"told {READ}")]
    registration.clear(READ)
    registration.want(READ)
    registration.close()
    assert errors[1:] == [(registration, "told 0")]


def test_io_watchers_and_an_owner_share_an_fd(loop: Loop, wire: Wire) -> None:
    called: list[str] = []
    owner = Owner(loop, wire)
    owner.registration.clear(READ | WRITE)
    with loop.io(wire.fd, READ) as reader:
        reader.start(called.append, "reader")
        owner.registration.want(READ)
        wire.send()
        turn(loop)
        assert called == ["reader"]
        assert owner.told == [READ]
        turn(loop)
        assert called == ["reader", "reader"]  # not drained: the watcher is told in every turn
        wire.read()
        owner.registration.clear(READ)
        owner.registration.want(WRITE)  # more than the watcher asks for
        turn(loop)
        assert owner.told == [READ, WRITE]
    # Without the watcher the owner is as it was before.
    turn(loop)
    owner.registration.clear(READ)
    owner.registration.want(READ)
    wire.send()
    turn(loop)
    assert owner.told == [READ, WRITE, READ]
    assert called == ["reader", "reader"]
    owner.registration.close()


def test_an_fd_that_is_watched_can_be_registered_as_well(loop: Loop, wire: Wire) -> None:
    called: list[str] = []
    with loop.io(wire.fd, READ) as reader:
        reader.start(called.append, "reader")
        owner = Owner(loop, wire)
        owner.registration.want(READ)
        wire.send()
        turn(loop)
        assert called == ["reader"]
        assert owner.told == [READ]
        owner.registration.clear(READ)
        owner.registration.want(READ)
        owner.registration.close()
        turn(loop)
        assert owner.told == [READ, 0]
        assert called == ["reader", "reader"]
        assert reader.closed


def test_only_a_registration_from_which_something_is_wanted_keeps_the_loop_running(loop: Loop, wire: Wire) -> None:
    owner = Owner(loop, wire)
    owner.registration.clear(READ | WRITE)
    assert loop.activecnt == 0
    assert loop.run() is False
    owner.registration.want(READ)
    owner.registration.want(WRITE)
    assert loop.activecnt == 1
    owner.registration.unwant(READ)
    assert loop.activecnt == 1
    owner.registration.unwant(WRITE)
    owner.registration.unwant(WRITE)
    assert loop.activecnt == 0
    wire.send()
    owner.registration.clear(READ)
    owner.registration.want(READ)
    assert loop.run() is False  # blocks until the event, and then nothing is wanted
    assert owner.told == [READ]
    owner.registration.clear(READ)
    owner.registration.want(READ)
    owner.registration.close()
    assert loop.activecnt == 0


# -- facts about epoll (man 7 epoll), as `pollers.epoll` relies on them -------------------------------------


@on_epoll
def test_dup_outlives_close(loop: Loop, make_wire: MakeWire) -> None:
    """A dup keeps the kernel's entry alive under the closed number: so an fd leaves by `forget`, before `os.close`."""
    wire = make_wire()
    number, copy = wire.fd, os.dup(wire.fd)
    loop._poller.watch(number, READ)
    wire.close_near()
    wire.send()
    try:
        assert loop._poller.poll(0.0) == [(number, READ)]
        loop._poller.forget(number)
        assert loop._poller.poll(0.0) == [(number, READ)]  # nobody can take it out through that number any more
    finally:
        os.close(copy)
    assert loop._poller.poll(0.0) == []


def test_a_dup_of_an_fd_that_left_the_loop_is_silent(loop: Loop, make_wire: MakeWire) -> None:
    wire = make_wire()
    copy = os.dup(wire.fd)
    called: list[str] = []
    reader = loop.io(wire.fd, READ)
    reader.start(called.append, "told")
    loop.closing_fd(wire.fd)
    wire.close_near()
    wire.send()
    turn(loop)
    turn(loop)
    os.close(copy)
    assert called == ["told"]
    assert loop._poller.poll(0.0) == []
