"""Registrations: an owner's fd, in the poller for life, with its readiness latched, on every poller."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from tests.hub_loop.conftest import turn

from hub_loop import READ, WRITE, Loop
from hub_loop.testing.conformance._registrations import Owner

if TYPE_CHECKING:
    from tests.hub_loop.conftest import Wire


# -- registrations ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loop", ["epoll", "fake"], indirect=True)
def test_readiness_is_latched_without_a_want_where_the_poller_knows_edges(loop: Loop, wire: Wire) -> None:
    told: list[int] = []
    registration = loop.register(wire.fd, told.append)
    assert registration.ready == 0
    turn(loop)
    assert registration.ready == WRITE
    wire.send()
    turn(loop)
    assert registration.ready == READ | WRITE
    registration.clear(READ)
    turn(loop)
    assert registration.ready == WRITE  # not drained, so the kernel is silent
    wire.send()
    turn(loop)
    assert registration.ready == READ | WRITE
    assert told == []
    registration.close()


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
        assert loop._registrations[wire.fd]._armed == 0
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
    if loop.backend not in ("poll", "select"):  # these tell states, and tell them again when they are wanted again
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
    assert owner.registration.ready == (0 if loop.backend in ("poll", "select") else READ)
    owner.registration.close()


def test_a_hang_up_without_a_want_does_not_keep_the_loop_busy(loop: Loop, wire: Wire) -> None:
    owner = Owner(loop, wire)
    wire.hang_up()
    turn(loop)
    polled = loop._poller.poll(0.0)
    assert [fd for fd, _ in polled if fd == wire.fd] == []
    owner.registration.close()


@pytest.mark.parametrize("loop", ["epoll"], indirect=True)
def test_a_loop_destroyed_in_a_forked_child_takes_nothing_from_its_parents(loop: Loop, wire: Wire) -> None:
    owner = Owner(loop, wire)
    child = os.fork()
    if child == 0:
        try:
            loop.destroy()
        finally:
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    owner.registration.clear(READ)
    owner.registration.want(READ)
    wire.send()
    turn(loop)
    assert owner.told == [READ]
    owner.registration.close()
