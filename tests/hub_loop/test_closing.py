"""Closing: an fd leaves the loop before it is closed, and whoever gets its number gets no event of the old file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from tests.hub_loop.conftest import on_epoll

from hub_loop import READ, Loop
from hub_loop.testing import FakePoller

if TYPE_CHECKING:
    from tests.hub_loop.conftest import MakeWire, Wire


# -- closing ----------------------------------------------------------------------------------------------------------


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
