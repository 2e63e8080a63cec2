"""Pollers: every back-end keeps the same promises, and the facts of the kernel that they rest on are facts."""

from __future__ import annotations

import errno
import os
import resource
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hub_api import READ, WRITE
from hub_loop import Loop, supported
from hub_loop.pollers import BOTH, EDGE, HANGUP, INVALID, LONGEST, choose

if TYPE_CHECKING:
    from hub_loop.pollers import Poller

EDGES = ("epoll", "kqueue")


only = pytest.mark.parametrize


Pair = tuple[socket.socket, socket.socket]


# -- duties of all ----------------------------------------------------------------------------------------------------


def test_every_backend_has_its_name_and_says_whether_it_knows_edges(poller: Poller) -> None:
    assert poller.name in (*supported(), "kqueue")
    assert poller.edge is (poller.name in EDGES)
    assert (poller.fileno() is None) is (poller.name not in EDGES)


def test_readiness_is_reported_as_long_as_it_lasts(poller: Poller, pair: Pair) -> None:
    near, far = pair
    assert poller.watch(near.fileno(), READ) is True
    assert poller.poll(0.0) == []
    far.send(b"x")
    assert poller.poll(None) == [(near.fileno(), READ)]
    assert poller.poll(0.0) == [(near.fileno(), READ)]
    near.recv(1)
    assert poller.poll(0.0) == []


def test_both_directions_are_reported_as_one_event(poller: Poller, pair: Pair) -> None:
    near, far = pair
    poller.watch(near.fileno(), READ | WRITE)
    assert poller.poll(0.0) == [(near.fileno(), WRITE)]
    far.send(b"x")
    assert poller.poll(0.0) == [(near.fileno(), READ | WRITE)]


def test_watching_again_replaces_the_interest(poller: Poller, pair: Pair) -> None:
    near, far = pair
    far.send(b"x")
    poller.watch(near.fileno(), READ)
    poller.watch(near.fileno(), WRITE)
    assert poller.poll(0.0) == [(near.fileno(), WRITE)]
    poller.watch(near.fileno(), READ)
    assert poller.poll(0.0) == [(near.fileno(), READ)]


def test_what_is_forgotten_is_silent_and_can_be_forgotten_again(poller: Poller, pair: Pair) -> None:
    near, far = pair
    poller.forget(near.fileno())
    poller.watch(near.fileno(), READ)
    far.send(b"x")
    poller.forget(near.fileno())
    poller.forget(near.fileno())
    assert poller.poll(0.0) == []
    poller.watch(near.fileno(), READ)
    assert poller.poll(0.0) == [(near.fileno(), READ)]


def test_a_closed_fd_can_be_forgotten(poller: Poller, pair: Pair) -> None:
    near, _ = pair
    number = near.fileno()
    poller.watch(number, READ)
    near.close()
    poller.forget(number)
    assert poller.poll(0.0) == []


def test_a_hang_up_is_widened_to_every_direction_that_was_asked_for(poller: Poller, pair: Pair) -> None:
    near, far = pair
    poller.watch(near.fileno(), READ | WRITE)
    far.close()
    [(fd, events)] = poller.poll(0.0)
    assert fd == near.fileno()
    assert events & BOTH == BOTH


def test_an_error_wakes_who_waits_for_reading(poller: Poller) -> None:
    read_end, write_end = os.pipe()
    poller.watch(write_end, WRITE)
    os.close(read_end)
    [(fd, events)] = poller.poll(0.0)
    assert fd == write_end
    assert events & WRITE
    os.close(write_end)


def test_the_end_of_the_stream_is_readable(poller: Poller, pair: Pair) -> None:
    near, far = pair
    poller.watch(near.fileno(), READ)
    far.shutdown(socket.SHUT_WR)
    [(_, events)] = poller.poll(0.0)
    assert events & BOTH == READ


def test_a_poll_never_ends_early_because_of_rounding(poller: Poller) -> None:
    for timeout in (0.0001, 0.0011, 0.0029):
        started = time.monotonic()
        assert poller.poll(timeout) == []
        assert time.monotonic() - started >= timeout


def test_the_longest_timeout_is_one_that_every_backend_takes(poller: Poller, pair: Pair) -> None:
    near, _ = pair
    poller.watch(near.fileno(), WRITE)
    assert poller.poll(LONGEST) == [(near.fileno(), WRITE)]


def test_many_fds_are_reported_in_one_poll(poller: Poller) -> None:
    pairs = [socket.socketpair() for _ in range(100)]
    for near, _ in pairs:
        poller.watch(near.fileno(), WRITE)
    assert sorted(poller.poll(0.0)) == sorted((near.fileno(), WRITE) for near, _ in pairs)
    for near, far in pairs:
        poller.forget(near.fileno())
        near.close()
        far.close()


def test_a_closed_poller_can_be_closed_again(poller: Poller) -> None:
    poller.close()
    poller.close()


def test_a_closed_poller_watches_nothing_and_is_never_waited_for(poller: Poller, pair: Pair) -> None:
    near, far = pair
    poller.watch(near.fileno(), READ)
    far.send(b"x")
    poller.close()
    assert poller.watch(near.fileno(), READ)
    assert poller.poll(None) == []
    poller.forget(near.fileno())


def test_a_closed_poller_that_is_opened_again_is_as_new(poller: Poller, pair: Pair) -> None:
    near, far = pair
    poller.watch(near.fileno(), READ)
    poller.close()
    far.send(b"x")
    poller.reopen()
    assert poller.poll(0.0) == []
    poller.watch(near.fileno(), READ)
    assert poller.poll(0.0) == [(near.fileno(), READ)]


def test_a_number_closed_and_reused_is_watched_as_the_new_file(poller: Poller, pair: Pair) -> None:
    near, _ = pair
    number = near.fileno()
    poller.watch(number, READ)
    near.close()  # without forget: epoll has dropped it, while poll and select keep the number
    new_near, new_far = socket.socketpair()
    if new_far.fileno() == number:
        new_near, new_far = new_far, new_near
    assert new_near.fileno() == number
    new_far.send(b"x")
    assert poller.watch(number, READ) is True
    assert poller.poll(0.0) == [(number, READ)]
    poller.forget(number)
    new_near.close()
    new_far.close()


def test_regular_files_and_the_null_device_are_ready_or_cannot_be_polled(poller: Poller, tmp_path: Path) -> None:
    for path in (str(tmp_path / "file"), "/dev/null"):
        fd = os.open(path, os.O_RDWR | os.O_CREAT)
        if poller.watch(fd, BOTH):
            assert poller.name not in EDGES
            assert poller.poll(0.0) == [(fd, BOTH)]
        else:
            assert poller.name in EDGES
            assert poller.poll(0.0) == []
        poller.forget(fd)
        os.close(fd)


# -- poll and select --------------------------------------------------------------------------------------------------


@only("poller", ["poll", "select"], indirect=True)
def test_a_closed_fd_is_reported_as_invalid(poller: Poller, pair: Pair) -> None:
    near, far = pair
    number = near.fileno()
    poller.watch(number, READ)
    poller.watch(far.fileno(), WRITE)
    near.close()
    events = dict(poller.poll(0.0))
    assert events[number] == BOTH | INVALID
    poller.forget(number)
    [(fd, left)] = poller.poll(0.0)
    assert fd == far.fileno()
    assert left & WRITE


@only("poller", ["select"], indirect=True)
def test_select_lets_other_errors_out(poller: Poller, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> None:
        raise OSError(errno.ENOMEM, "no memory")

    monkeypatch.setattr("hub_loop.pollers.select._kernel.select", fail)
    with pytest.raises(OSError, match="no memory"):
        poller.poll(0.0)


@pytest.fixture
def high_fd(pair: Pair) -> Iterator[int]:
    """A socket whose number is beyond what select can take."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard <= 1100:
        pytest.skip("the system allows no fd of 1024 or more")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 1100), hard))
    fd = 1024
    os.dup2(pair[0].fileno(), fd)
    yield fd
    os.close(fd)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_numbers_from_1024_on_are_refused_by_select_and_fine_elsewhere(poller: Poller, high_fd: int) -> None:
    if poller.name == "select":
        with pytest.raises(ValueError, match=r"below 1024, got 1024; use the epoll, kqueue or poll poller"):
            poller.watch(high_fd, WRITE)
        assert poller.poll(0.0) == []
    else:
        poller.watch(high_fd, WRITE)
        assert poller.poll(0.0) == [(high_fd, WRITE)]
        poller.forget(high_fd)


@only("loop", ["select"], indirect=True)
def test_a_select_loop_refuses_a_high_number_at_start_and_goes_on(loop: Loop, high_fd: int) -> None:
    watcher = loop.io(high_fd, WRITE)
    with pytest.raises(ValueError, match="below 1024"):
        watcher.start(print)
    assert not watcher.active
    with pytest.raises(ValueError, match="below 1024"):
        loop.register(high_fd, print)
    assert loop._registrations == {}
    assert loop.run() is False


# -- facts about epoll (man 7 epoll) ----------------------------------------------------------------------------------

on_epoll = only("poller", ["epoll"], indirect=True)


@on_epoll
def test_adding_reports_readiness_that_is_there_already(poller: Poller, pair: Pair) -> None:
    near, far = pair
    far.send(b"x")
    poller.watch(near.fileno(), READ | EDGE)
    assert poller.poll(0.0) == [(near.fileno(), READ)]


@on_epoll
def test_an_fd_that_nobody_drained_is_silent_until_new_data_comes(poller: Poller, pair: Pair) -> None:
    near, far = pair
    poller.watch(near.fileno(), READ | EDGE)
    far.send(b"x")
    assert poller.poll(0.0) == [(near.fileno(), READ)]
    assert poller.poll(0.0) == []
    far.send(b"y")
    assert poller.poll(0.0) == [(near.fileno(), READ)]
    assert near.recv(10) == b"xy"
    assert poller.poll(0.0) == []


@on_epoll
def test_modifying_reports_again_what_is_there(poller: Poller, pair: Pair) -> None:
    near, far = pair
    poller.watch(near.fileno(), READ | EDGE)
    far.send(b"x")
    assert len(poller.poll(0.0)) == 1
    assert poller.poll(0.0) == []
    poller.watch(near.fileno(), READ | EDGE)
    assert poller.poll(0.0) == [(near.fileno(), READ)]


@on_epoll
def test_an_edge_in_one_direction_tells_the_state_of_both(poller: Poller, pair: Pair) -> None:
    near, far = pair
    poller.watch(near.fileno(), BOTH | EDGE)
    assert poller.poll(0.0) == [(near.fileno(), WRITE)]
    far.send(b"x")
    assert poller.poll(0.0) == [(near.fileno(), BOTH)]


@on_epoll
def test_with_edges_the_end_of_the_stream_is_a_hang_up(poller: Poller, pair: Pair) -> None:
    near, far = pair
    poller.watch(near.fileno(), READ | EDGE)
    far.shutdown(socket.SHUT_WR)
    assert poller.poll(0.0) == [(near.fileno(), READ | HANGUP)]


@on_epoll
def test_a_hang_up_is_reported_whether_asked_for_or_not(poller: Poller, pair: Pair) -> None:
    near, far = pair
    while True:
        try:
            near.send(bytes(1 << 16))
        except BlockingIOError:
            break
    poller.watch(near.fileno(), WRITE)
    assert poller.poll(0.0) == []
    far.close()
    assert poller.poll(0.0) == [(near.fileno(), BOTH)]


@on_epoll
def test_an_edge_tells_the_end_of_reading_but_not_of_a_socket_that_was_never_connected(
    poller: Poller, pair: Pair
) -> None:
    near, far = pair
    poller.watch(near.fileno(), BOTH | EDGE)
    far.close()
    assert poller.poll(0.0) == [(near.fileno(), BOTH | HANGUP)]
    poller.forget(near.fileno())
    with socket.socket() as unconnected:
        poller.watch(unconnected.fileno(), BOTH | EDGE)
        assert poller.poll(0.0) == [(unconnected.fileno(), BOTH)]  # Linux says HUP and OUT; more may come after connect
        poller.forget(unconnected.fileno())


@on_epoll
def test_closing_the_last_number_removes_the_entry(poller: Poller, pair: Pair) -> None:
    near, far = pair
    poller.watch(near.fileno(), READ)
    near.close()
    far.close()
    assert poller.poll(0.0) == []


@on_epoll
def test_an_entry_that_epoll_knows_and_we_do_not_is_modified(poller: Poller, pair: Pair) -> None:
    near, far = pair
    copy = os.dup(near.fileno())
    number = near.fileno()
    poller.watch(number, READ)
    near.close()
    poller.forget(number)  # EBADF: but the copy keeps the entry
    os.dup2(copy, number)  # the same file under the same number again
    far.send(b"x")
    assert poller.watch(number, READ) is True
    assert poller.poll(0.0) == [(number, READ)]
    poller.forget(number)
    assert poller.poll(0.0) == []
    os.close(number)
    os.close(copy)


@on_epoll
def test_a_closed_number_cannot_be_watched(poller: Poller, pair: Pair) -> None:
    near, _ = pair
    number = near.fileno()
    poller.watch(number, READ)
    near.close()
    with pytest.raises(OSError, match="Bad file descriptor") as caught:
        poller.watch(number, READ)
    assert caught.value.errno == errno.EBADF


@on_epoll
def test_a_loop_that_is_told_of_an_fd_it_does_not_know_forgets_it(pair: Pair, poller: Poller) -> None:
    near, far = pair
    loop = Loop("epoll")
    loop._poller.watch(near.fileno(), READ)
    far.send(b"x")
    loop.run(nowait=True)
    assert loop._poller.poll(0.0) == []
    loop.destroy()


@on_epoll
def test_epoll_lets_errors_out_that_do_not_come_of_its_being_closed(poller: Poller) -> None:
    with pytest.raises(ValueError, match="negative"):
        poller.watch(-1, READ)


# -- choosing ---------------------------------------------------------------------------------------------------------


def test_the_best_backend_comes_first() -> None:
    assert supported()[-1] == "select"
    assert choose(None) in supported()


@pytest.mark.parametrize("asked", ["epol", next(name for name in ("kqueue", "epoll") if name not in supported())])
def test_a_wrong_name_in_the_environment_is_said_to_stand_there(monkeypatch: pytest.MonkeyPatch, asked: str) -> None:
    monkeypatch.setenv("HUB_LOOP_BACKEND", asked)
    with pytest.raises(ValueError, match=rf"^HUB_LOOP_BACKEND is '{asked}': .*{asked}"):
        choose(None)
    with pytest.raises(ValueError, match=rf"^(unknown poller|this system has no) '?{asked}"):
        choose(asked)
