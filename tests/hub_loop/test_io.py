"""File descriptors: io watchers and registrations, on every poller, up to the moment the fd is closed and after it."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hub_loop import READ, WRITE, Loop
from hub_loop.testing import FakePoller

if TYPE_CHECKING:
    from tests.hub_loop.conftest import Wire

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
