"""kqueue: what only this back-end does, on the model of it where the system has none (conftest.py)."""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING, Any

import pytest

from hub_api import READ, WRITE
from hub_loop.pollers import BOTH, EDGE, HANGUP, kqueue

if TYPE_CHECKING:
    from hub_loop.pollers import Poller

Pair = tuple[socket.socket, socket.socket]
on_kqueue = pytest.mark.parametrize("poller", ["kqueue"], indirect=True)


class Watched:
    """Keeps what a kqueue is asked, and may refuse it."""

    def __init__(self, poller: kqueue.KqueuePoller) -> None:
        self.asked: list[tuple[int, int, int]] = []
        self.refuse = {"add": 0, "delete": 0}
        self.closed = False
        self._inner, poller._kqueue = poller._kqueue, self

    def control(self, changes: list[Any] | None, most: int, timeout: float | None = None) -> list[Any]:
        for change in changes or ():
            self.asked.append((change.ident, change.filter, change.flags))
            number = self.refuse["delete" if change.flags & kqueue._kernel.KQ_EV_DELETE else "add"]
            if number:
                raise OSError(number, os.strerror(number))
            self._inner.control([change], 0)
        found: list[Any] = self._inner.control(None, most, timeout) if most else []
        return found

    def close(self) -> None:
        self._inner.close()


@pytest.fixture
def watched(poller: Poller) -> Watched:
    """What the poller of the test asks of its kqueue."""
    assert isinstance(poller, kqueue.KqueuePoller)
    return Watched(poller)


@on_kqueue
def test_kqueue_asks_for_one_filter_per_direction(poller: Poller, watched: Watched, pair: Pair) -> None:
    fd = pair[0].fileno()
    read, write = kqueue._kernel.KQ_FILTER_READ, kqueue._kernel.KQ_FILTER_WRITE
    add, clear, delete = kqueue._kernel.KQ_EV_ADD, kqueue._kernel.KQ_EV_CLEAR, kqueue._kernel.KQ_EV_DELETE
    poller.watch(fd, READ | WRITE | EDGE)
    assert watched.asked == [(fd, read, add | clear), (fd, write, add | clear)]
    watched.asked.clear()
    poller.watch(fd, WRITE)
    assert watched.asked == [(fd, read, delete), (fd, write, delete), (fd, write, add)]
    watched.asked.clear()
    poller.forget(fd)
    poller.forget(fd)
    assert watched.asked == [(fd, write, delete)]


@on_kqueue
def test_kqueue_tells_the_end_of_reading_and_not_of_writing(poller: Poller, pair: Pair) -> None:
    near, far = pair
    poller.watch(near.fileno(), BOTH | EDGE)
    poller.poll(0.0)
    far.shutdown(socket.SHUT_WR)
    [(_, events)] = poller.poll(0.0)
    assert events & (READ | HANGUP) == READ | HANGUP
    reader, writer = os.pipe()
    poller.watch(writer, WRITE | EDGE)
    poller.poll(0.0)
    os.close(reader)
    assert poller.poll(0.0) == [(writer, WRITE)]
    poller.forget(writer)
    os.close(writer)


@on_kqueue
@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENODEV, errno.EPERM])
def test_what_kqueue_cannot_poll_leaves_no_filter_behind(
    poller: Poller, watched: Watched, pair: Pair, number: int
) -> None:
    fd = pair[0].fileno()
    watched.refuse["add"] = number
    assert poller.watch(fd, BOTH) is False
    watched.refuse["add"] = 0
    assert poller.poll(0.0) == []
    assert poller.watch(fd, WRITE) is True
    assert poller.poll(0.0) == [(fd, WRITE)]


@on_kqueue
def test_kqueue_lets_other_errors_out(poller: Poller, watched: Watched, pair: Pair) -> None:
    fd = pair[0].fileno()
    watched.refuse["add"] = errno.ENOMEM
    with pytest.raises(OSError, match=os.strerror(errno.ENOMEM)):
        poller.watch(fd, READ)
    watched.refuse["add"] = 0
    poller.watch(fd, READ)
    watched.refuse["delete"] = errno.EIO
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        poller.forget(fd)


@on_kqueue
def test_kqueue_lets_errors_out_that_do_not_come_of_its_being_closed(
    poller: Poller, watched: Watched, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise ValueError("no such filter")

    with monkeypatch.context() as patch:
        patch.setattr(watched, "control", fail)
        with pytest.raises(ValueError, match="no such filter"):
            poller.watch(pair[0].fileno(), READ)
        with pytest.raises(ValueError, match="no such filter"):
            poller.poll(0.0)
    assert poller.poll(0.0) == []


@on_kqueue
def test_a_closed_number_cannot_be_watched_by_kqueue(poller: Poller, pair: Pair) -> None:
    number = pair[0].fileno()
    pair[0].close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        poller.watch(number, READ)


@on_kqueue
def test_kqueue_tells_its_fd(poller: Poller) -> None:
    number = poller.fileno()
    assert number is not None
    os.fstat(number)
