"""Closing: an fd leaves the loop before it is closed, and whoever gets its number gets no event of the old file."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hub_loop import READ, WRITE, Loop
from hub_loop.testing import FakePoller

if TYPE_CHECKING:
    from tests.hub_loop.conftest import MakeWire, Wire

on_epoll = pytest.mark.parametrize("loop", ["epoll"], indirect=True)


def turn(loop: Loop) -> None:
    loop.run(nowait=True)


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
