"""File descriptors: io watchers and registrations, on every poller, up to the moment the fd is closed and after it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.hub_loop.conftest import on_epoll, turn

from hub_loop import READ, WRITE, Loop
from hub_loop.testing import FakePoller

if TYPE_CHECKING:
    from tests.hub_loop.conftest import Wire


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
