"""Closing: an fd leaves the loop before it is closed, and whoever gets its number gets no event of the old file."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from hub_api import READ, WRITE, ILoopCore
from hub_loop.testing.conformance._kit import LoopKit, MakeWire, Wire, turn


class Closing(LoopKit):
    """`closing_fd`, and numbers that are used again."""

    def test_closing_fd_calls_back_whoever_watches_in_any_direction(self, loop: ILoopCore, wire: Wire) -> None:
        seen: list[int] = []
        reader, writer = loop.io(wire.fd, READ), loop.io(wire.fd, WRITE)
        reader.start(seen.append, pass_events=True)
        wire.fill()
        writer.start(seen.append, pass_events=True)
        assert loop.closing_fd(wire.fd) is True
        wire.close_near()
        assert reader.pending
        assert loop.run() is False
        assert seen == [READ, WRITE]

    def test_closing_fd_closes_the_watchers_that_are_active_and_no_others(self, loop: ILoopCore, wire: Wire) -> None:
        reader, stopped = loop.io(wire.fd, READ), loop.io(wire.fd, READ)
        reader.start(int)
        loop.closing_fd(wire.fd)
        assert reader.closed
        assert reader.fd == -1
        assert not stopped.closed
        loop.run()
        assert not reader.active
        assert loop.activecnt == 0
        with pytest.raises(ValueError):
            reader.start(print)

    def test_closing_fd_of_an_fd_that_nobody_watches_is_false(self, loop: ILoopCore, wire: Wire) -> None:
        assert loop.closing_fd(wire.fd) is False
        with loop.io(wire.fd, READ) as reader:
            reader.start(print)
            reader.stop()
            assert loop.closing_fd(wire.fd) is False
            assert loop.closing_fd(wire.fd) is False

    def test_a_watcher_stopped_after_closing_fd_is_not_called(self, loop: ILoopCore, wire: Wire) -> None:
        called: list[str] = []
        reader = loop.io(wire.fd, READ)
        reader.start(called.append, "never")
        assert loop.closing_fd(wire.fd) is True
        reader.stop()
        assert loop.run() is False
        assert called == []

    def test_an_fd_can_be_taken_out_inside_its_own_callback(self, loop: ILoopCore, wire: Wire) -> None:
        called: list[int] = []
        reader = loop.io(wire.fd, READ)

        def leave(events: int) -> None:
            called.append(events)
            if wire.fd == reader.fd:
                loop.closing_fd(wire.fd)
                wire.close_near()

        reader.start(leave, pass_events=True)
        wire.send()
        assert loop.run() is False
        assert called == [READ, READ]  # once for the data, once for the leaving
        assert reader.closed

    def test_other_fds_do_not_mind(self, loop: ILoopCore, make_wire: MakeWire) -> None:
        leaving, staying = make_wire(), make_wire()
        called: list[str] = []
        with loop.io(leaving.fd, READ) as one, loop.io(staying.fd, READ) as two:
            one.start(called.append, "leaving")
            two.start(called.append, "staying")
            loop.closing_fd(leaving.fd)
            leaving.close_near()
            staying.send()
            turn(loop)
        assert called == ["leaving", "staying"]

    def test_a_reused_number_gets_no_stale_event(self, loop: ILoopCore, wire: Wire, make_wire: MakeWire) -> None:
        number = wire.fd
        old: list[str] = []
        reader = loop.io(number, READ)
        reader.start(old.append, "told")
        wire.send(b"for the old one")
        loop.closing_fd(number)
        wire.close_near()
        new_wire = make_wire(number)
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
        self, loop: ILoopCore, make_wire: MakeWire
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
        assert called == ["first come"]
        for watcher in (one, two, *new_ones):
            watcher.close()

    def test_a_notified_owner_that_closes_and_reuses_another_fd_gives_the_new_one_no_stale_event(
        self, loop: ILoopCore, make_wire: MakeWire
    ) -> None:
        # notify() may run while the turn still holds what the poll returned, the other fd's event among it.
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
        self, loop: ILoopCore, wire: Wire, make_wire: MakeWire
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
        self, loop: ILoopCore, wire: Wire, tmp_path: Path
    ) -> None:
        number = wire.fd
        old = loop.io(number, READ)
        old.start(print)
        old.close()
        fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
        wire.close_near()
        os.dup2(fd, number)
        os.close(fd)
        if self.fake is not None:
            self.fake.make_unpollable(number)
        called: list[str] = []
        with loop.io(number, READ) as reader:
            reader.start(called.append, "ready")
            loop.run(once=True)
        os.close(number)
        assert called == ["ready"]

    def test_a_number_reused_behind_the_loops_back_after_a_regular_file_is_not_always_ready(
        self, loop: ILoopCore, tmp_path: Path, make_wire: MakeWire
    ) -> None:
        number = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
        if self.fake is not None:
            self.fake.make_unpollable(number)
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

    def test_a_dup_of_an_fd_that_left_the_loop_is_silent(self, loop: ILoopCore, wire: Wire) -> None:
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

    def test_a_dup_can_be_watched_after_the_first_number_has_left(self, loop: ILoopCore, wire: Wire) -> None:
        copy = os.dup(wire.fd)
        called: list[str] = []
        with loop.io(wire.fd, WRITE) as old, loop.io(copy, WRITE) as new:
            old.start(called.append, "old")
            loop.closing_fd(wire.fd)
            wire.close_near()
            if self.fake is not None:
                self.fake.make_ready(copy, WRITE)
            new.start(called.append, "new")
            turn(loop)
            turn(loop)
            loop.closing_fd(copy)
        os.close(copy)
        assert called == ["old", "new", "new"]

    def test_a_number_and_its_dup_are_watched_each_by_itself(self, loop: ILoopCore, wire: Wire) -> None:
        copy = os.dup(wire.fd)
        if self.fake is not None:
            self.fake.make_ready(copy, WRITE)
        called: list[str] = []
        with loop.io(wire.fd, WRITE) as one, loop.io(copy, WRITE) as two:
            one.start(called.append, "one")
            two.start(called.append, "two")
            turn(loop)
            assert sorted(called) == ["one", "two"]
            one.stop()
            turn(loop)
            assert sorted(called) == ["one", "two", "two"]
            loop.closing_fd(copy)
        os.close(copy)
