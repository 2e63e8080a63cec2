"""Registrations: an owner's fd, in the poller for life, with its readiness latched.

Where a poller tells states and not changes, a loop may latch only what is wanted; so a test that waits says what it
wants, and none relies on a bit that nobody asked for.
"""

from __future__ import annotations

import errno
from functools import partial
from typing import Any

import pytest

from hub_api import READ, WRITE, ILoopCore
from hub_loop.testing.conformance._kit import ErrorLog, LoopKit, MakeWire, Wire, turn


class Owner:
    """Keeps what its registration tells."""

    def __init__(self, loop: ILoopCore, wire: Wire) -> None:
        self.told: list[int] = []
        self.wire = wire
        self.registration = loop.register(wire.fd, self.told.append)
        turn(loop)  # the first edges: writable, and what is there already
        self.registration.clear(READ | WRITE)


class Registrations(LoopKit):
    """`register`, and the `want`, `unwant`, `clear` and `close` of what it makes."""

    def test_an_owner_is_told_once_for_each_want(self, loop: ILoopCore, wire: Wire) -> None:
        owner = Owner(loop, wire)
        owner.registration.want(READ)
        turn(loop)
        assert owner.told == []
        wire.send(b"one")
        turn(loop)
        turn(loop)
        assert owner.told == [READ]
        wire.read()
        owner.registration.clear(READ)
        wire.send(b"two")
        turn(loop)
        assert owner.told == [READ]
        owner.registration.close()

    def test_what_an_owner_was_told_of_is_latched_until_it_clears_it(self, loop: ILoopCore, wire: Wire) -> None:
        owner = Owner(loop, wire)
        assert not owner.registration.ready & READ
        owner.registration.want(READ)
        wire.send()
        turn(loop)
        assert owner.registration.ready & READ
        turn(loop)
        assert owner.registration.ready & READ
        wire.read()
        owner.registration.clear(READ)
        assert not owner.registration.ready & READ
        owner.registration.close()

    def test_clear_touches_only_what_it_names(self, loop: ILoopCore, wire: Wire) -> None:
        owner = Owner(loop, wire)
        owner.registration.want(READ | WRITE)
        wire.fill()
        wire.make_room()
        wire.send()
        turn(loop)
        turn(loop)
        owner.registration.clear(READ)
        assert owner.registration.ready == WRITE
        owner.registration.close()

    def test_data_that_came_before_the_want_is_latched_or_told(self, loop: ILoopCore, wire: Wire) -> None:
        owner = Owner(loop, wire)
        wire.send()
        turn(loop)
        if not owner.registration.ready & READ:
            owner.registration.want(READ)
            turn(loop)
            assert owner.told == [READ]
        assert owner.registration.ready & READ
        owner.registration.close()

    def test_data_that_came_before_the_registration_is_latched_or_told(self, loop: ILoopCore, wire: Wire) -> None:
        told: list[int] = []
        wire.send()
        registration = loop.register(wire.fd, told.append)
        registration.want(READ)
        turn(loop)
        assert told == [READ]
        assert registration.ready & READ
        registration.close()

    def test_an_owner_that_wants_both_is_told_of_each_once(self, loop: ILoopCore, wire: Wire) -> None:
        wire.fill()
        owner = Owner(loop, wire)
        owner.registration.want(READ | WRITE)
        wire.send()
        turn(loop)
        assert owner.told == [READ]
        wire.make_room()
        turn(loop)
        assert owner.told == [READ, WRITE]
        owner.registration.close()

    def test_what_an_owner_does_not_want_any_more_is_not_told(self, loop: ILoopCore, wire: Wire) -> None:
        owner = Owner(loop, wire)
        owner.registration.want(READ)
        owner.registration.unwant(READ)
        wire.send()
        turn(loop)
        assert owner.told == []
        owner.registration.close()

    def test_of_two_wants_one_can_be_taken_back(self, loop: ILoopCore, wire: Wire) -> None:
        wire.fill()
        owner = Owner(loop, wire)
        owner.registration.want(READ | WRITE)
        owner.registration.unwant(READ)
        wire.send()
        wire.make_room()
        turn(loop)
        assert owner.told == [WRITE]
        owner.registration.close()

    def test_wait_after_wait_misses_nothing(self, loop: ILoopCore, wire: Wire) -> None:
        owner = Owner(loop, wire)
        for number in range(5):
            owner.registration.want(READ)
            wire.send()
            loop.run(once=True)
            assert owner.told == [READ] * (number + 1)
            assert wire.read() == b"x"
            owner.registration.clear(READ)
        owner.registration.close()

    def test_an_owner_may_want_again_while_it_is_told(self, loop: ILoopCore, wire: Wire) -> None:
        told: list[int] = []

        def again(events: int) -> None:
            told.append(events)
            if events:
                wire.read()
                registration.clear(READ)
                registration.want(READ)

        registration = loop.register(wire.fd, again)
        turn(loop)
        registration.clear(READ)
        registration.want(READ)
        for _ in range(3):
            wire.send()
            turn(loop)
        assert told == [READ] * 3
        registration.close()
        assert told == [READ] * 3 + [0]

    def test_after_a_hang_up_the_end_of_the_stream_is_not_missed(self, loop: ILoopCore, wire: Wire) -> None:
        owner = Owner(loop, wire)
        owner.registration.want(READ)
        wire.send(b"last words")
        wire.hang_up()
        turn(loop)
        assert READ in owner.told
        assert wire.read() == b"last words"  # short: the owner clears, as it always does
        owner.registration.clear(READ)
        if not owner.registration.ready & READ:
            owner.registration.want(READ)
            turn(loop)
        assert owner.registration.ready & READ
        assert wire.read() == b""
        owner.registration.close()

    def test_the_end_of_the_stream_is_told_to_who_wants_to_read(self, loop: ILoopCore, wire: Wire) -> None:
        owner = Owner(loop, wire)
        owner.registration.want(READ)
        wire.shut()
        turn(loop)
        assert owner.told == [READ]
        assert wire.read() == b""
        owner.registration.close()

    def test_a_hang_up_ends_a_wait_in_either_direction(self, loop: ILoopCore, make_wire: MakeWire) -> None:
        for wanted in (READ, WRITE):
            wire = make_wire()
            wire.fill()
            owner = Owner(loop, wire)
            owner.registration.want(wanted)
            wire.hang_up()
            turn(loop)
            assert owner.told == [wanted]
            owner.registration.close()

    def test_closing_a_registration_tells_who_still_wants_something(self, loop: ILoopCore, wire: Wire) -> None:
        owner = Owner(loop, wire)
        owner.registration.want(READ)
        owner.registration.close()
        assert owner.told == [0]
        assert owner.registration.fd == -1
        assert loop.activecnt == 0
        owner.registration.close()
        assert owner.told == [0]

    def test_closing_fd_closes_a_registration_too(self, loop: ILoopCore, wire: Wire) -> None:
        owner = Owner(loop, wire)
        owner.registration.want(WRITE)
        owner.registration.unwant(WRITE)
        owner.registration.want(READ)
        assert loop.closing_fd(wire.fd) is True
        assert owner.told == [0]
        assert owner.registration.fd == -1

    def test_closing_a_registration_that_nobody_waits_for_tells_nobody(self, loop: ILoopCore, wire: Wire) -> None:
        owner = Owner(loop, wire)
        assert loop.closing_fd(wire.fd) is False
        assert owner.registration.fd == -1
        assert owner.told == []

    def test_a_registration_that_was_closed_is_not_ready_and_cannot_be_wanted(
        self, loop: ILoopCore, wire: Wire
    ) -> None:
        owner = Owner(loop, wire)
        wire.send()
        turn(loop)
        owner.registration.close()
        assert owner.registration.ready == 0
        with pytest.raises(ValueError):
            owner.registration.want(READ)
        owner.registration.unwant(READ)
        assert loop.activecnt == 0

    def test_a_registration_of_a_reused_number_gets_no_stale_event(
        self, loop: ILoopCore, wire: Wire, make_wire: MakeWire
    ) -> None:
        number = wire.fd
        owner = Owner(loop, wire)
        owner.registration.want(READ)
        wire.send()
        owner.registration.close()
        wire.close_near()
        new = Owner(loop, make_wire(number))
        new.registration.want(READ)
        turn(loop)
        assert new.told == []
        new.wire.send()
        turn(loop)
        assert new.told == [READ]
        assert owner.told == [0]
        new.registration.close()

    def test_a_second_registration_of_an_fd_is_refused(self, loop: ILoopCore, wire: Wire) -> None:
        owner = Owner(loop, wire)
        with pytest.raises(ValueError):
            loop.register(wire.fd, print)
        owner.registration.close()
        loop.register(wire.fd, print).close()

    def test_a_closed_fd_cannot_be_registered(self, loop: ILoopCore, wire: Wire) -> None:
        wire.close()
        with pytest.raises(OSError) as caught:
            loop.register(wire.fd, print)
        assert caught.value.errno == errno.EBADF

    def test_what_is_told_must_be_callable(self, loop: ILoopCore, wire: Wire) -> None:
        wrong: Any = None
        with pytest.raises(TypeError):
            loop.register(wire.fd, wrong)
        loop.register(wire.fd, print).close()

    def test_an_owner_that_raises_is_reported_and_the_loop_goes_on(self, loop: ILoopCore, wire: Wire) -> None:
        errors = ErrorLog()

        def fail(events: int) -> None:
            raise ZeroDivisionError(f"told {events}")

        loop.error_handler = errors
        registration = loop.register(wire.fd, fail)
        turn(loop)
        registration.clear(READ)
        registration.want(READ)
        wire.send()
        turn(loop)
        registration.clear(READ)
        registration.want(READ)
        registration.close()
        assert [(context, str(error)) for context, error in errors.seen] == [
            (registration, f"told {READ}"),
            (registration, "told 0"),
        ]

    def test_readiness_behind_an_owner_that_ended_run_is_delivered_by_the_next_run(
        self, loop: ILoopCore, make_wire: MakeWire
    ) -> None:
        wires = [make_wire(), make_wire()]
        told: list[int] = []

        def notify(number: int, events: int) -> None:
            told.append(number)
            if len(told) == 1:
                raise KeyboardInterrupt

        owners = [loop.register(wire.fd, partial(notify, number)) for number, wire in enumerate(wires)]
        turn(loop)
        for owner, wire in zip(owners, wires, strict=True):
            owner.clear(READ)
            owner.want(READ)
            wire.send()
        with pytest.raises(KeyboardInterrupt):
            loop.run(once=True)
        (interrupted,) = told
        loop.run(once=True)  # a system that tells changes tells each once: this would block if the loop had lost it
        assert told.count(1 - interrupted) == 1
        assert told.count(interrupted) <= 2  # it is told again, for the interrupt may have come before it did anything
        for owner in owners:
            owner.close()

    def test_io_watchers_and_an_owner_share_an_fd(self, loop: ILoopCore, wire: Wire) -> None:
        called: list[str] = []
        owner = Owner(loop, wire)
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

    def test_an_fd_that_is_watched_can_be_registered_as_well(self, loop: ILoopCore, wire: Wire) -> None:
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

    def test_a_watcher_that_is_started_again_beside_an_owner_is_called_again(self, loop: ILoopCore, wire: Wire) -> None:
        owner = Owner(loop, wire)
        called: list[str] = []
        with loop.io(wire.fd, READ) as watcher:
            watcher.start(called.append, "first")
            wire.send()
            turn(loop)
            assert called == ["first"]
            watcher.stop()
            turn(loop)
            turn(loop)
            watcher.start(called.append, "again")
            turn(loop)
            turn(loop)
            assert called.count("again") >= 1
        owner.registration.close()

    def test_only_a_registration_from_which_something_is_wanted_keeps_the_loop_running(
        self, loop: ILoopCore, wire: Wire
    ) -> None:
        owner = Owner(loop, wire)
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
        owner.registration.close()

    @pytest.mark.parametrize("events", [0, 4, -1])
    def test_an_unknown_mask_is_refused_and_keeps_no_reference(self, loop: ILoopCore, wire: Wire, events: int) -> None:
        owner = Owner(loop, wire)
        with pytest.raises(ValueError):
            owner.registration.want(events)
        assert loop.activecnt == 0
        owner.registration.close()
