"""File descriptors: io watchers and registrations, on every poller: what the poller is asked for, who is told first.

What becomes of them when files are closed and numbers used again is in test_fd_lifetimes.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.hub_loop.conftest import BOTH, User, on_epoll, turn

from hub_loop import READ, WRITE, Loop
from hub_loop.testing import FakePoller

if TYPE_CHECKING:
    from tests.hub_loop.conftest import Wire

    from hub_loop.pollers import Poller


# -- io watchers ------------------------------------------------------------------------------------------------------


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


def test_of_what_is_always_ready_nothing_is_kept_once_nobody_watches_it(loop: Loop, always_ready_fd: int) -> None:
    with loop.io(always_ready_fd, READ) as reader, loop.io(always_ready_fd, WRITE) as writer:
        reader.start(int)
        writer.start(int)
        turn(loop)
        assert always_ready_fd in loop._registrations
    turn(loop)
    assert loop._registrations == {}
    assert loop._always_ready == {}


@on_epoll
def test_a_registration_of_what_is_always_ready_is_latched_for_good(loop: Loop, always_ready_fd: int) -> None:
    registration = loop.register(always_ready_fd, print)
    assert registration.ready == READ | WRITE
    registration.clear(READ | WRITE)
    assert registration.ready == READ | WRITE
    registration.close()


# -- priorities on one fd ---------------------------------------------------------------------------------------------


def test_watchers_of_one_fd_are_called_by_priority_and_equals_in_order_of_start(loop: Loop, wire: Wire) -> None:
    called: list[str] = []
    watchers = []
    for name, priority in (("low", -2), ("zero", 0), ("high", 2), ("high too", 2), ("zero too", None), ("one", 1)):
        watchers.append(loop.io(wire.fd, READ, priority=priority))
        watchers[-1].start(called.append, name)
    wire.send()
    turn(loop)
    assert called == ["high", "high too", "one", "zero", "zero too", "low"]
    for watcher in watchers:
        watcher.close()


def test_a_watcher_of_higher_priority_that_reads_everything_may_stop_the_lower_ones(loop: Loop, wire: Wire) -> None:
    called: list[str] = []
    low, high = loop.io(wire.fd, READ, priority=-1), loop.io(wire.fd, READ, priority=1)

    def first() -> None:
        called.append(wire.read().decode())
        low.stop()

    low.start(called.append, "never")
    high.start(first)
    wire.send(b"all of it")
    turn(loop)
    turn(loop)
    assert called == ["all of it"]
    high.close()


def test_a_watcher_of_higher_priority_that_closes_the_fd_has_the_lower_ones_told_once(loop: Loop, wire: Wire) -> None:
    told: list[tuple[str, int]] = []
    low, high = loop.io(wire.fd, READ, priority=-1), loop.io(wire.fd, BOTH, priority=1)

    def first(events: int) -> None:
        told.append(("high", events))
        if not high.closed:
            loop.closing_fd(wire.fd)
            wire.close_near()

    high.start(first, pass_events=True)
    low.start(lambda events: told.append(("low", events)), pass_events=True)
    wire.send()
    turn(loop)
    turn(loop)
    assert ("low", READ) in told
    assert [name for name, _ in told].count("low") == 1
    assert told[0][0] == "high"
    assert loop.activecnt == 0


def test_an_owner_is_told_before_any_watcher_of_its_fd_whatever_their_priority(loop: Loop, wire: Wire) -> None:
    # `notify` is called where the event is dispatched; callbacks of watchers wait for the batch.
    called: list[str] = []
    registration = loop.register(wire.fd, lambda events: called.append("owner"))
    turn(loop)
    registration.clear(BOTH)
    with loop.io(wire.fd, READ, priority=2) as watcher:
        watcher.start(called.append, "watcher")
        registration.want(READ)
        wire.send()
        turn(loop)
    assert called == ["owner", "watcher"]
    registration.close()


# -- what a wait costs ------------------------------------------------------------------------------------------------


class Counting:
    """A poller that counts how often it is asked to watch or to forget."""

    def __init__(self, poller: Poller) -> None:
        self._poller = poller
        self.name, self.edge, self.fileno, self.close = poller.name, poller.edge, poller.fileno, poller.close
        self.poll, self.reopen = poller.poll, poller.reopen
        self.asked = 0

    def watch(self, fd: int, interest: int) -> bool:
        self.asked += 1
        return self._poller.watch(fd, interest)

    def forget(self, fd: int) -> None:
        self.asked += 1
        self._poller.forget(fd)


@pytest.fixture
def counting(loop: Loop) -> Iterator[Counting]:
    """This test's loop stands on a poller that counts."""
    poller = loop._poller
    loop._poller = counting = Counting(poller)
    yield counting
    loop._poller = poller


@pytest.mark.parametrize("loop", ["epoll", "fake"], indirect=True)
def test_an_owner_asks_the_kernel_once_for_any_number_of_waits(loop: Loop, wire: Wire, counting: Counting) -> None:
    owner = User(loop, "owner", wire.fd)
    assert counting.asked == 1
    for _ in range(1000):
        wire.send()
        turn(loop)
        assert owner.told == [READ]
        wire.read()
        owner.again()
    assert counting.asked == 1
    owner.close()
    assert counting.asked == 2


def test_a_watcher_stopped_and_started_around_each_wait_asks_the_kernel_once(
    loop: Loop, wire: Wire, counting: Counting
) -> None:
    with loop.io(wire.fd, READ) as watcher:
        for _ in range(1000):
            watcher.start(watcher.stop)
            wire.send()
            turn(loop)
            wire.read()
        assert counting.asked == 1


def test_watchers_of_the_same_direction_ask_the_kernel_for_nothing_more(
    loop: Loop, wire: Wire, counting: Counting
) -> None:
    watchers = [loop.io(wire.fd, READ) for _ in range(10)]
    for watcher in watchers:
        watcher.start(int)
    for watcher in watchers:  # each was new to the loop, and might have been made for a new file under that number
        watcher.stop()
        watcher.start(int)
    assert counting.asked == len(watchers)
    for watcher in watchers:
        watcher.close()
