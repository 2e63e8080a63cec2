"""The life of an fd in the loop, on every poller: duplicated, closed elsewhere, reused, half closed, reset.

What a watcher or an owner is told of a file is told of that file and no other; nobody waits for one that has gone.
"""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from tests.hub_loop.conftest import BOTH, User, turn

from hub_api import InvalidThreadUseError
from hub_loop import READ, WRITE, Loop
from hub_loop.testing import FakePoller

if TYPE_CHECKING:
    from tests.hub_loop.conftest import MakeWire, Wire


def fake_of(loop: Loop) -> FakePoller | None:
    return loop._poller if isinstance(loop._poller, FakePoller) else None


@pytest.fixture(params=["io", "owner"])
def use(request: pytest.FixtureRequest, loop: Loop) -> Iterator[Callable[..., User]]:
    """Makes users of fds: io watchers, or owners of registrations."""
    users: list[User] = []

    def make(fd: int, events: int = READ) -> User:
        users.append(User(loop, request.param, fd, events))
        return users[-1]

    yield make
    for user in users:
        user.close()


class Twin(NamedTuple):
    """A second number of a wire's near end."""

    fd: int
    send: Callable[[bytes], None]


@pytest.fixture
def twin(loop: Loop, wire: Wire) -> Iterator[Twin]:
    """`twin.send` sends to the wire, whose near end has two numbers, and is told to a fake poller of both."""
    copy, fake = os.dup(wire.fd), fake_of(loop)

    def send(data: bytes) -> None:
        wire.send(data)
        if fake is not None:
            fake.make_ready(copy, READ)

    yield Twin(copy, send)
    os.close(copy)


# -- dup ------------------------------------------------------------------------------------------------------------


def test_two_numbers_of_one_file_are_told_of_each(loop: Loop, wire: Wire, twin: Twin, use: Callable[..., User]) -> None:
    first, second = use(wire.fd), use(twin.fd)
    twin.send(b"x")
    turn(loop)
    assert (first.told, second.told) == ([READ], [READ])


def test_when_one_number_leaves_the_loop_the_other_goes_on(
    loop: Loop, wire: Wire, twin: Twin, use: Callable[..., User]
) -> None:
    first, second = use(wire.fd), use(twin.fd)
    assert loop.closing_fd(wire.fd) is True
    wire.close_near()
    turn(loop)
    assert first.told == first.last
    assert second.told == []
    twin.send(b"x")
    turn(loop)
    turn(loop)
    assert first.told == first.last
    assert second.told[0] == READ


def test_while_a_dup_lives_on_the_number_that_left_is_silent(
    loop: Loop, wire: Wire, twin: Twin, use: Callable[..., User]
) -> None:
    user = use(wire.fd)
    loop.closing_fd(wire.fd)
    wire.close_near()
    twin.send(b"x")
    turn(loop)
    turn(loop)
    assert user.told == user.last
    assert loop._poller.poll(0.0) == []


def test_a_number_that_dup2_gave_to_another_file_is_that_files(
    loop: Loop, wire: Wire, make_wire: MakeWire, use: Callable[..., User]
) -> None:
    old = use(wire.fd)
    loop.closing_fd(wire.fd)
    other = make_wire()
    os.dup2(other.fd, wire.fd)  # closes and reuses in one step
    fake = fake_of(loop)
    if fake is not None:
        fake.replace(wire.fd)
    new = use(wire.fd)
    turn(loop)
    assert (old.told, new.told) == (old.last, [])
    other.send(b"x")
    if fake is not None:
        fake.make_ready(wire.fd, READ)
    turn(loop)
    assert (old.told, new.told) == (old.last, [READ])


# -- closed elsewhere -----------------------------------------------------------------------------------------------


def test_another_thread_that_takes_an_fd_out_is_refused_and_told_what_to_do(
    loop: Loop, wire: Wire, use: Callable[..., User]
) -> None:
    user = use(wire.fd)
    refused: list[str] = []

    def close() -> None:
        try:
            loop.closing_fd(wire.fd)
        except InvalidThreadUseError as error:
            refused.append(str(error))

    thread = threading.Thread(target=close)
    thread.start()
    thread.join()
    assert len(refused) == 1
    assert "use run_callback_threadsafe(loop.closing_fd, fd)" in refused[0]
    turn(loop)
    assert user.told == []
    wire.send()
    turn(loop)
    assert user.told == [READ]


def test_another_thread_closes_an_fd_in_the_way_that_is_documented_while_the_loop_sleeps(
    loop: Loop, wire: Wire, use: Callable[..., User], from_thread: Callable[[Callable[[], object]], None]
) -> None:
    user, out = use(wire.fd), threading.Event()

    def close() -> None:
        loop.run_callback_threadsafe(take_out)
        assert out.wait(30)
        wire.close_near()
        loop.run_callback_threadsafe(loop.break_)

    def take_out() -> None:
        loop.closing_fd(wire.fd)
        out.set()

    from_thread(close)
    loop.ref()
    loop.run()
    loop.unref()
    assert user.told == user.last
    assert loop.activecnt == 0


def test_an_fd_closed_by_another_thread_without_a_word_disturbs_nobody_and_its_number_can_be_used_again(
    loop: Loop, wire: Wire, make_wire: MakeWire, from_thread: Callable[[Callable[[], object]], None]
) -> None:
    # That breaks law 7.  poll and select tell it at their next look, epoll never does; but none of them mixes up files.
    number, old, new = wire.fd, list[int](), list[int]()
    watcher = loop.io(number, READ)
    watcher.start(old.append, pass_events=True)

    def close() -> None:
        wire.close_near()
        loop.run_callback_threadsafe(loop.break_)

    from_thread(close)
    loop.run()
    turn(loop)
    assert set(old) == ({READ} if loop.backend in ("poll", "select") else set())
    fresh = make_wire(number)
    with loop.io(number, READ) as reader:
        reader.start(new.append, pass_events=True)
        turn(loop)
        assert new == []
        fresh.send()
        turn(loop)
        assert new == [READ]
    watcher.close()


def test_many_fds_closed_by_other_threads_in_the_documented_way_all_tell_their_users(
    loop: Loop, make_wire: MakeWire, use: Callable[..., User]
) -> None:
    wires = [make_wire() for _ in range(20)]
    users = [use(wire.fd) for wire in wires]
    loop.ref()
    left = len(wires)

    def one_less(wire: Wire) -> None:
        nonlocal left
        loop.closing_fd(wire.fd)
        wire.close_near()
        left -= 1
        if not left:
            loop.unref()

    threads = [threading.Thread(target=loop.run_callback_threadsafe, args=(one_less, wire)) for wire in wires]
    for thread in threads:
        thread.start()
    loop.run()
    for thread in threads:
        thread.join()
    assert [user.told for user in users] == [user.last for user in users]


# -- reuse ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", ["io", "owner"])
@pytest.mark.parametrize("after", ["io", "owner"])
def test_a_number_used_again_and_again_is_told_of_each_file_once(
    loop: Loop, make_wire: MakeWire, before: str, after: str
) -> None:
    first = make_wire()
    number = first.fd
    first.close_near()
    for how in (before, after) * 3:
        wire = make_wire(number)
        user = User(loop, how, number)
        turn(loop)
        assert user.told == []
        wire.send()
        turn(loop)
        assert user.told == [READ]
        user.told.clear()
        wire.send()  # lies there unread when its file goes
        loop.closing_fd(number)
        wire.close_near()
        turn(loop)
        assert READ not in user.told or how == "io"
        user.close()


def test_a_registration_whose_number_went_to_a_regular_file_is_ready_and_back_again(
    loop: Loop, wire: Wire, make_wire: MakeWire, tmp_path: Path
) -> None:
    number, fake = wire.fd, fake_of(loop)
    first = User(loop, "owner", number)
    first.close()
    wire.close_near()
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    if fd != number:
        os.dup2(fd, number)
        os.close(fd)
    if fake is not None:
        fake.make_unpollable(number)
    second = User(loop, "owner", number)
    loop.run(once=True)
    assert second.told == [READ]
    second.close()
    os.close(number)
    fresh = make_wire(number)
    third = User(loop, "owner", number)
    turn(loop)
    assert third.told == []
    fresh.send()
    turn(loop)
    assert third.told == [READ]
    third.close()


# -- half closed, hung up, reset ------------------------------------------------------------------------------------


def test_when_the_peer_says_no_more_there_is_an_end_to_read_and_still_room_to_write(
    loop: Loop, wire: Wire, use: Callable[..., User]
) -> None:
    user = use(wire.fd)
    wire.shut()
    turn(loop)
    assert user.told == [READ]
    assert wire.read() == b""
    os.write(wire.fd, b"still")
    assert wire._far.recv(10) == b"still"


def test_after_the_peer_has_said_no_more_waiting_to_write_waits(
    loop: Loop, wire: Wire, use: Callable[..., User]
) -> None:
    wire.fill()
    writer = use(wire.fd, WRITE)
    wire.shut()
    turn(loop)
    assert writer.told == []
    wire.make_room()
    turn(loop)
    assert writer.told == [WRITE]


@pytest.mark.parametrize("loop", ["epoll", "poll", "select"], indirect=True)
def test_who_has_said_no_more_itself_can_still_wait_to_read(loop: Loop, wire: Wire, use: Callable[..., User]) -> None:
    reader = use(wire.fd)
    wire._near.shutdown(socket.SHUT_WR)
    turn(loop)
    assert reader.told == []
    wire.send(b"answer")
    turn(loop)
    assert reader.told[0] & READ
    assert wire.read() == b"answer"


@pytest.mark.parametrize("events", [READ, WRITE, BOTH])
def test_a_hang_up_wakes_whoever_waits_whatever_for(
    loop: Loop, wire: Wire, use: Callable[..., User], events: int
) -> None:
    wire.fill()
    user = use(wire.fd, events)
    turn(loop)
    assert user.told == []
    wire.hang_up()
    turn(loop)
    assert sum(set(user.told)) & BOTH == events


@pytest.mark.parametrize("events", [READ, WRITE, BOTH])
@pytest.mark.parametrize("loop", ["epoll", "poll", "select"], indirect=True)
def test_a_reset_wakes_whoever_waits_and_the_error_is_there_for_its_own_call(
    loop: Loop, use: Callable[..., User], events: int
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
    near.setblocking(False)
    try:
        while True:
            near.send(bytes(1 << 16))
    except BlockingIOError:
        pass
    user = use(near.fileno(), events)
    turn(loop)
    assert user.told == []
    far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    far.close()
    loop.run(once=True)
    assert user.told != []
    assert sum(set(user.told)) & BOTH == events
    with pytest.raises(ConnectionResetError):
        near.recv(1)
    loop.closing_fd(near.fileno())
    near.close()


@pytest.mark.parametrize("loop", ["epoll", "poll", "select"], indirect=True)
def test_each_end_of_a_pipe_is_told_when_the_other_has_gone(loop: Loop) -> None:
    # The reading end sees HUP, the writing end ERR.
    reader, gone_writer = os.pipe()
    gone_reader, writer = os.pipe()
    os.set_blocking(writer, False)
    try:
        while True:
            os.write(writer, bytes(1 << 16))
    except BlockingIOError:
        pass
    reading, writing = User(loop, "owner", reader, READ), User(loop, "owner", writer, WRITE)
    turn(loop)
    assert (reading.told, writing.told) == ([], [])
    os.close(gone_writer)
    os.close(gone_reader)
    turn(loop)
    assert (reading.told, writing.told) == ([READ], [WRITE])
    assert os.read(reader, 1) == b""
    with pytest.raises(BrokenPipeError):
        os.write(writer, b"x")
    for user, fd in ((reading, reader), (writing, writer)):
        loop.closing_fd(fd)
        user.close()
        os.close(fd)


@pytest.mark.parametrize("loop", ["epoll", "poll", "select"], indirect=True)
def test_a_refused_connection_wakes_who_waits_to_write(loop: Loop) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
    for how in ("io", "owner"):
        connecting = socket.socket()
        connecting.setblocking(False)
        assert connecting.connect_ex(address) != 0
        told: list[int] = []
        if how == "io":
            watcher = loop.io(connecting.fileno(), WRITE)
            watcher.start(told.append, pass_events=True)
        else:
            loop.register(connecting.fileno(), told.append).want(WRITE)
        loop.run(once=True)
        assert told == [WRITE]
        assert connecting.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0
        loop.closing_fd(connecting.fileno())
        connecting.close()
    turn(loop)


# -- what cannot be polled ------------------------------------------------------------------------------------------


def test_whoever_wants_a_regular_file_is_told_in_the_same_turn_each_time(
    loop: Loop, tmp_path: Path, use: Callable[..., User]
) -> None:
    fd, fake = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT), fake_of(loop)
    if fake is not None:
        fake.make_unpollable(fd)
    user = use(fd, READ)
    loop.run(once=True)  # would block for ever if it were not known to be ready
    assert user.told[:1] == [READ]
    user.again()
    loop.run(once=True)
    assert user.told[:1] == [READ]
    user.close()
    os.close(fd)
