"""Registrations: an owner's fd, in the poller for life, with its readiness latched, on every poller."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

import pytest

from hub_api import InvalidThreadUseError
from hub_loop import READ, WRITE, Loop

if TYPE_CHECKING:
    from tests.hub_loop.conftest import MakeWire, Wire


def turn(loop: Loop) -> None:
    loop.run(nowait=True)


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


def test_a_watcher_that_is_started_again_beside_an_owner_is_called_again(loop: Loop, wire: Wire) -> None:
    # Stopped, an event that nobody wants sends the registration back to edges; the next start asks for states again.
    owner = Owner(loop, wire)
    calls: list[str] = []
    with loop.io(wire.fd, READ) as watcher:
        watcher.start(calls.append, "first")
        wire.send()
        turn(loop)
        assert calls == ["first"]
        watcher.stop()
        turn(loop)
        turn(loop)
        watcher.start(calls.append, "again")
        turn(loop)
        turn(loop)
        assert calls.count("again") >= 1
    owner.registration.close()


def test_a_registration_that_was_closed_is_not_ready_and_cannot_be_wanted(loop: Loop, wire: Wire) -> None:
    owner = Owner(loop, wire)
    wire.send()
    turn(loop)
    owner.registration.close()
    assert owner.registration.ready == 0
    with pytest.raises(ValueError, match="has left the loop"):
        owner.registration.want(READ)


@pytest.mark.parametrize("events", [0, 4, -1])
def test_an_unknown_mask_is_refused_and_keeps_no_reference(loop: Loop, wire: Wire, events: int) -> None:
    owner = Owner(loop, wire)
    before = loop.activecnt
    with pytest.raises(ValueError, match="events must be READ"):
        owner.registration.want(events)
    assert loop.activecnt == before
    owner.registration.close()


@pytest.mark.parametrize("method", ["want", "unwant", "clear"])
def test_another_thread_is_refused_before_anything_changes(loop: Loop, wire: Wire, method: str) -> None:
    owner = Owner(loop, wire)
    wire.send()
    turn(loop)
    before = (owner.registration.ready, loop.activecnt)
    errors: list[BaseException] = []

    def elsewhere() -> None:
        try:
            getattr(owner.registration, method)(READ)
        except InvalidThreadUseError as error:
            errors.append(error)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert len(errors) == 1
    assert (owner.registration.ready, loop.activecnt) == before
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
