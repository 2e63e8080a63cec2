"""Fds: when an io watcher is called, for which direction, and beside whom."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hub_api import READ, WRITE, ILoopCore
from hub_loop.testing.conformance._kit import LoopKit, MakeWire, Wire, turn


class Io(LoopKit):
    """`io`, on sockets, pipes, and what cannot be polled."""

    def test_a_reader_is_called_when_there_is_something_to_read(self, loop: ILoopCore, wire: Wire) -> None:
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

    def test_a_reader_is_called_in_every_turn_until_everything_is_read(self, loop: ILoopCore, wire: Wire) -> None:
        seen: list[bytes] = []
        with loop.io(wire.fd, READ) as reader:
            reader.start(lambda: seen.append(wire.read(1)))
            wire.send(b"abc")
            for _ in range(3):
                turn(loop)
        assert seen == [b"a", b"b", b"c"]

    def test_a_blocking_run_ends_when_the_data_is_there(self, loop: ILoopCore, wire: Wire) -> None:
        reader = loop.io(wire.fd, READ)

        def done() -> None:
            wire.read()
            reader.close()

        reader.start(done)
        wire.send()
        assert loop.run() is False

    def test_data_that_was_there_before_start_is_seen(self, loop: ILoopCore, wire: Wire) -> None:
        seen: list[bytes] = []
        wire.send(b"early")
        with loop.io(wire.fd, READ) as reader:
            reader.start(lambda: seen.append(wire.read()))
            turn(loop)
        assert seen == [b"early"]

    def test_a_writer_is_called_while_there_is_room(self, loop: ILoopCore, wire: Wire) -> None:
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

    def test_a_watcher_of_both_is_called_for_either_and_told_which(self, loop: ILoopCore, wire: Wire) -> None:
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

    def test_a_watcher_is_told_only_of_what_it_asked_for(self, loop: ILoopCore, wire: Wire) -> None:
        seen: list[int] = []
        wire.send()  # readable and writable
        with loop.io(wire.fd, READ) as reader, loop.io(wire.fd, WRITE) as writer:
            reader.start(seen.append, pass_events=True)
            writer.start(seen.append, pass_events=True)
            turn(loop)
        assert sorted(seen) == [READ, WRITE]

    def test_pass_events_is_chosen_anew_by_each_start(self, loop: ILoopCore, wire: Wire) -> None:
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

    def test_an_event_dropped_by_stop_is_not_told_after_the_next_start(self, loop: ILoopCore, wire: Wire) -> None:
        seen: list[int] = []
        stopper, watcher = loop.io(wire.fd, WRITE), loop.io(wire.fd, READ | WRITE)
        stopper.start(watcher.stop)
        watcher.start(seen.append, pass_events=True)
        turn(loop)  # WRITE was seen for both; the stopper started first, and is called first
        stopper.close()
        assert seen == []
        wire.fill()
        wire.send()
        watcher.start(seen.append, pass_events=True)
        turn(loop)
        watcher.close()
        assert seen == [READ]

    def test_several_watchers_of_one_fd_are_called_each_for_its_own_direction(
        self, loop: ILoopCore, wire: Wire
    ) -> None:
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

    def test_many_fds_that_are_ready_are_all_told_in_one_turn(self, loop: ILoopCore, make_wire: MakeWire) -> None:
        called: list[int] = []
        readers = []
        for number in range(40):
            wire = make_wire()
            readers.append(loop.io(wire.fd, READ))
            readers[-1].start(called.append, number)
            wire.send()
        turn(loop)
        assert sorted(called) == list(range(40))
        for reader in readers:
            reader.close()

    def test_of_two_fds_only_the_ready_one_is_told(self, loop: ILoopCore, make_wire: MakeWire) -> None:
        called: list[str] = []
        quiet, ready = make_wire(), make_wire()
        with loop.io(quiet.fd, READ) as one, loop.io(ready.fd, READ) as two:
            one.start(called.append, "quiet")
            two.start(called.append, "ready")
            ready.send()
            turn(loop)
        assert called == ["ready"]

    def test_data_that_came_while_a_watcher_was_stopped_is_seen_after_start(self, loop: ILoopCore, wire: Wire) -> None:
        seen: list[bytes] = []
        with loop.io(wire.fd, READ) as reader:
            reader.start(print, "never")
            reader.stop()
            wire.send(b"meanwhile")
            turn(loop)
            reader.start(lambda: seen.append(wire.read()))
            turn(loop)
        assert seen == [b"meanwhile"]

    def test_a_stopped_reader_leaves_a_writer_of_the_same_fd_working(self, loop: ILoopCore, wire: Wire) -> None:
        called: list[str] = []
        with loop.io(wire.fd, READ) as reader, loop.io(wire.fd, WRITE) as writer:
            reader.start(called.append, "never")
            writer.start(called.append, "writer")
            reader.stop()
            wire.send()
            turn(loop)
            turn(loop)
        assert called == ["writer", "writer"]

    def test_a_fd_that_nobody_watches_any_more_costs_no_turn(self, loop: ILoopCore, wire: Wire) -> None:
        fired: list[str] = []
        with loop.io(wire.fd, WRITE) as writer, loop.timer(0.001) as timer:
            writer.start(print, "never")
            writer.stop()
            timer.start(fired.append, "due")
            turns = 0
            while not fired:
                loop.run(once=True)
                turns += 1
        assert turns <= 3  # one may find out that the event is not wanted, one may be for the timer's rounding

    def test_a_hang_up_counts_as_ready_for_every_direction(self, loop: ILoopCore, wire: Wire) -> None:
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

    def test_a_hang_up_is_told_in_every_turn_as_long_as_it_is_watched(self, loop: ILoopCore, wire: Wire) -> None:
        seen: list[str] = []
        with loop.io(wire.fd, READ) as reader:
            reader.start(seen.append, "hang-up")
            wire.hang_up()
            turn(loop)
            turn(loop)
        assert seen == ["hang-up"] * 2

    def test_the_end_of_the_stream_is_readable_and_no_more(self, loop: ILoopCore, wire: Wire) -> None:
        seen: list[int] = []
        wire.fill()
        with loop.io(wire.fd, READ | WRITE) as watcher:
            watcher.start(seen.append, pass_events=True)
            wire.shut()
            turn(loop)
            assert seen == [READ]
            assert wire.read() == b""

    def test_last_words_before_a_hang_up_can_be_read(self, loop: ILoopCore, wire: Wire) -> None:
        seen: list[bytes] = []
        with loop.io(wire.fd, READ) as reader:
            reader.start(lambda: seen.append(wire.read(5)))
            wire.send(b"last words")
            wire.hang_up()
            while b"" not in seen:
                loop.run(once=True)
        assert seen == [b"last ", b"words", b""]

    @pytest.mark.parametrize("events", [0, 4, 7, -1, "READ", None])
    def test_an_event_mask_must_be_read_or_write_or_both(self, loop: ILoopCore, wire: Wire, events: Any) -> None:
        with pytest.raises(ValueError):
            loop.io(wire.fd, events)

    def test_a_negative_fd_is_refused(self, loop: ILoopCore) -> None:
        with pytest.raises(ValueError):
            loop.io(-1, READ)

    def test_an_fd_must_be_a_number(self, loop: ILoopCore) -> None:
        wrong: Any = socket.socket
        with pytest.raises(TypeError):
            loop.io(wrong, READ)

    def test_a_closed_fd_is_refused(self, loop: ILoopCore, wire: Wire) -> None:
        wire.close()
        with pytest.raises(OSError) as caught:
            loop.io(wire.fd, READ)
        assert caught.value.errno == errno.EBADF

    def test_a_watcher_names_its_fd_and_its_events(self, loop: ILoopCore, wire: Wire) -> None:
        for events in (READ, WRITE, READ | WRITE):
            with loop.io(wire.fd, events) as watcher:
                assert (watcher.fd, watcher.events) == (wire.fd, events)

    # -- pipes ------------------------------------------------------------------------------------------------------

    def test_the_reader_of_a_pipe_is_told_when_its_writer_goes(self, loop: ILoopCore) -> None:
        reader, writer = os.pipe()
        called: list[bytes] = []
        with loop.io(reader, READ) as watcher:
            watcher.start(lambda: called.append(os.read(reader, 10)))
            turn(loop)
            assert called == []
            os.close(writer)
            turn(loop)
            assert called == [b""]
            loop.closing_fd(reader)
        os.close(reader)

    def test_the_writer_of_a_full_pipe_is_told_when_its_reader_goes(self, loop: ILoopCore) -> None:
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        try:
            while True:
                os.write(writer, bytes(1 << 16))
        except BlockingIOError:
            pass
        called: list[str] = []
        with loop.io(writer, WRITE) as watcher:
            watcher.start(called.append, "told")
            turn(loop)
            assert called == []
            os.close(reader)
            turn(loop)
            assert called == ["told"]
            loop.closing_fd(writer)
        os.close(writer)

    # -- what cannot be polled --------------------------------------------------------------------------------------

    @pytest.fixture(params=["a regular file", "the null device"])
    def always_ready_fd(self, request: pytest.FixtureRequest, loop: ILoopCore, tmp_path: Path) -> Iterator[int]:
        """An fd on which every read and write returns at once."""
        path = "/dev/null" if request.param == "the null device" else str(tmp_path / "file")
        fd = os.open(path, os.O_RDWR | os.O_CREAT)
        if self.fake is not None:
            self.fake.make_unpollable(fd)
        yield fd
        os.close(fd)

    def test_a_regular_file_and_the_null_device_are_always_ready(self, loop: ILoopCore, always_ready_fd: int) -> None:
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

    def test_what_is_always_ready_can_be_watched_again_after_a_stop(
        self, loop: ILoopCore, always_ready_fd: int
    ) -> None:
        called: list[str] = []
        with loop.io(always_ready_fd, READ) as reader:
            for _ in range(3):
                reader.start(called.append, "ready")
                loop.run(once=True)
                reader.stop()
                turn(loop)
        assert called == ["ready"] * 3

    def test_closing_what_is_always_ready_ends_it(self, loop: ILoopCore, always_ready_fd: int) -> None:
        called: list[str] = []
        reader = loop.io(always_ready_fd, READ)
        reader.start(called.append, "told")
        assert loop.closing_fd(always_ready_fd) is True
        assert loop.run() is False
        assert called == ["told"]

    def test_a_watcher_beside_a_registration_of_what_is_always_ready_is_called(
        self, loop: ILoopCore, always_ready_fd: int
    ) -> None:
        called: list[str] = []
        registration = loop.register(always_ready_fd, print)
        turn(loop)
        with loop.io(always_ready_fd, READ) as reader:
            reader.start(called.append, "ready")
            loop.run(once=True)
            loop.run(once=True)
        assert called == ["ready", "ready"]
        registration.close()
