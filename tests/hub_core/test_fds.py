"""FdWaiter: waits for file descriptors of our own, their end, and who comes in between."""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING

import pytest
from tests.hub_core.conftest import drain, fill

from hub_core import (
    ConcurrentObjectUseError,
    FdWaiter,
    Hub,
    InvalidSwitchError,
    InvalidThreadUseError,
    kill,
    sleep,
    spawn_raw,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.hub_core.conftest import Elsewhere, Pair, Reports

    from hub_loop.testing import FakePoller, ManualClock


@pytest.fixture
def owned(each_hub: Hub, pair: Pair) -> Iterator[FdWaiter]:
    """An FdWaiter for the first socket of `pair`, on each poller."""
    waiter = FdWaiter(pair[0].fileno())
    yield waiter
    waiter.close()


def test_an_fd_waiter_returns_at_once_while_readiness_is_latched(each_hub: Hub, owned: FdWaiter, pair: Pair) -> None:
    pair[1].send(b"data")
    owned.wait_read()
    order: list[str] = []
    spawn_raw(order.append, "another greenlet")
    owned.wait_read()
    assert order == [], "the latch holds until clear_read, so there is nothing to park for"
    each_hub.join()


def test_after_clear_read_the_next_wait_parks_until_new_data_comes(each_hub: Hub, owned: FdWaiter, pair: Pair) -> None:
    ours, theirs = pair
    got: list[bytes] = []

    def read() -> None:
        for _ in range(3):
            owned.wait_read()
            got.append(ours.recv(100))  # a short read: there is no more
            owned.clear_read()

    spawn_raw(read)
    for word in (b"one", b"two", b"three"):
        sleep(0.001)
        theirs.send(word)
    each_hub.join()
    assert got == [b"one", b"two", b"three"]


def test_after_clear_write_the_next_wait_parks_until_there_is_room(each_hub: Hub, owned: FdWaiter, pair: Pair) -> None:
    ours, theirs = pair
    owned.wait_write()
    fill(ours)
    owned.clear_write()
    with pytest.raises(TimeoutError):
        owned.wait_write(timeout=0.001)
    spawn_raw(drain, theirs)
    owned.wait_write()
    assert ours.send(b"x") == 1


def test_a_hang_up_wakes_the_reader_and_stays_readable(each_hub: Hub, owned: FdWaiter, pair: Pair) -> None:
    ours, theirs = pair
    spawn_raw(theirs.close)
    owned.wait_read()
    assert ours.recv(1) == b""
    owned.clear_read()
    owned.wait_read(timeout=1)


def test_data_right_before_a_hang_up_is_not_lost(each_hub: Hub, owned: FdWaiter, pair: Pair) -> None:
    ours, theirs = pair

    def write_and_leave() -> None:
        theirs.send(b"last words")
        theirs.close()

    spawn_raw(write_and_leave)
    owned.wait_read()
    assert ours.recv(4) == b"last"
    owned.wait_read()
    assert ours.recv(100) == b" words"
    owned.clear_read()
    owned.wait_read(timeout=1)
    assert ours.recv(1) == b""


def test_a_reader_and_a_writer_may_wait_for_one_fd(each_hub: Hub, owned: FdWaiter, pair: Pair) -> None:
    ours, theirs = pair
    order: list[str] = []

    def read() -> None:
        owned.wait_read()
        order.append("read")

    def write() -> None:
        owned.wait_write()
        order.append("written")

    fill(ours)
    owned.clear_write()
    sleep(0.001)
    owned.clear_write()
    spawn_raw(read)
    spawn_raw(write)
    sleep(0.001)
    assert order == []
    theirs.send(b"x")
    sleep(0.001)
    assert order == ["read"]
    drain(theirs)
    each_hub.join()
    assert order == ["read", "written"]


def test_a_second_reader_is_refused_and_the_first_goes_on(each_hub: Hub, owned: FdWaiter, pair: Pair) -> None:
    got: list[str] = []

    def read() -> None:
        owned.wait_read()
        got.append("first")

    first = spawn_raw(read)
    sleep(0)
    for timeout in (None, 0.5):
        with pytest.raises(ConcurrentObjectUseError) as caught:
            owned.wait_read(timeout)
        assert f"{id(first):#x}" in str(caught.value)
    pair[1].send(b"x")
    each_hub.join()
    assert got == ["first"]


def test_a_timeout_of_an_fd_waiter_leaves_it_fit_for_the_next_wait(each_hub: Hub, owned: FdWaiter, pair: Pair) -> None:
    for _ in range(2):
        with pytest.raises(TimeoutError, match="timed out"):
            owned.wait_read(timeout=0.001)
    spawn_raw(pair[1].send, b"x")
    owned.wait_read(timeout=5)
    assert pair[0].recv(1) == b"x"


def test_an_event_and_the_timeout_of_its_wait_in_one_turn_leave_nothing_for_the_next_wait(
    clocked_hub: Hub, poller: FakePoller, clock: ManualClock, pair: Pair
) -> None:
    owned = FdWaiter(pair[0].fileno())
    poller.make_ready(pair[0].fileno(), 1, after=5)
    owned.wait_read(timeout=5)
    owned.clear_read()
    poller.make_ready(pair[0].fileno(), 1, after=7)
    owned.wait_read()
    assert clock() == 1012
    owned.close()


def test_a_reader_whose_data_another_has_taken_is_not_told_that_its_time_is_up(
    clocked_hub: Hub, poller: FakePoller, clock: ManualClock, pair: Pair
) -> None:
    owned = FdWaiter(pair[0].fileno())
    poller.make_ready(pair[0].fileno(), 1, after=5)
    with clocked_hub.loop.timer(5) as timer:
        timer.start(spawn_raw, owned.clear_read)  # new greenlets start before ready ones go on
        owned.wait_read(timeout=10)
        assert clock() == 1005, "as without a timeout, it may find nothing to read and waits again"
        with pytest.raises(TimeoutError):
            owned.wait_read(timeout=10)
    assert clock() == 1015
    assert "wanted=none" in repr(owned)
    owned.close()


def test_the_timeout_of_one_that_is_ready_already_does_not_end_the_wait_of_the_next(
    clocked_hub: Hub, poller: FakePoller, clock: ManualClock, pair: Pair
) -> None:
    owned = FdWaiter(pair[0].fileno())
    ends: list[tuple[str, float]] = []

    def wait(name: str, timeout: float) -> None:
        with pytest.raises(TimeoutError):
            owned.wait_read(timeout)
        ends.append((name, clock() - start))

    def take_its_place() -> None:
        owned.clear_read()
        clock.advance(10)  # so long that the hub polls, and calls the first one's timer, before that one goes on
        wait("second", 20)

    for _ in range(40):  # greenlets that run for long: from now on the hub looks at the clock after each
        clock.advance(1)
        sleep(0)
    start = clock()
    spawn_raw(wait, "first", 10)
    poller.make_ready(pair[0].fileno(), 1, after=5)
    with clocked_hub.loop.timer(5) as timer:
        timer.start(spawn_raw, take_its_place)
        clocked_hub.join()
    assert ends == [("first", 15), ("second", 35)]
    owned.close()


def test_a_killed_reader_leaves_the_fd_waiter_fit_for_the_next(each_hub: Hub, owned: FdWaiter, pair: Pair) -> None:
    reader = spawn_raw(owned.wait_read)
    sleep(0)
    kill(reader)
    sleep(0)
    assert reader.dead
    spawn_raw(pair[1].send, b"x")
    owned.wait_read()
    assert pair[0].recv(1) == b"x"


def test_closing_wakes_whoever_waits_with_ebadf_and_says_so_afterwards(
    each_hub: Hub, owned: FdWaiter, pair: Pair, reports: Reports
) -> None:
    caught: list[OSError] = []

    def wait(function: Callable[[], None]) -> None:
        try:
            function()
        except OSError as error:
            caught.append(error)

    fill(pair[0])
    owned.clear_write()
    sleep(0.001)
    owned.clear_write()
    spawn_raw(wait, owned.wait_read)
    spawn_raw(wait, owned.wait_write)
    sleep(0.001)
    assert caught == []
    assert owned.fileno() == pair[0].fileno()
    owned.close()
    owned.close()
    each_hub.join()
    assert [error.errno for error in caught] == [errno.EBADF] * 2
    assert owned.fileno() == -1
    with pytest.raises(ValueError, match="left the loop"):
        owned.wait_read()
    assert "closed" in repr(owned)


def test_closing_fd_is_the_same_as_closing(each_hub: Hub, owned: FdWaiter, pair: Pair) -> None:
    spawn_raw(each_hub.loop.closing_fd, pair[0].fileno())
    with pytest.raises(OSError, match="closed") as caught:
        owned.wait_read()
    assert caught.value.errno == errno.EBADF


def test_a_reused_number_gets_no_event_of_the_old_file(each_hub: Hub) -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    number = ours.fileno()
    old = FdWaiter(number)
    theirs.send(b"for the old one")
    old.wait_read()
    old.close()
    ours.close()
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    try:
        if reading != number:
            os.dup2(reading, number)
            os.close(reading)
        new = FdWaiter(number)
        with pytest.raises(TimeoutError):
            new.wait_read(timeout=0.002)
        os.write(writing, b"for the new one")
        new.wait_read(timeout=5)
        assert os.read(number, 100) == b"for the new one"
        new.close()
    finally:
        os.close(number)
        os.close(writing)
        theirs.close()


def test_an_fd_may_have_one_owner(each_hub: Hub, owned: FdWaiter, pair: Pair) -> None:
    with pytest.raises(ValueError, match="registered already"):
        FdWaiter(pair[0].fileno())


def test_bad_fds_have_no_fd_waiter(hub: Hub) -> None:
    with pytest.raises(ValueError, match="0 or more"):
        FdWaiter(-1)
    reading, writing = os.pipe()
    os.close(reading)
    os.close(writing)
    with pytest.raises(OSError, match="not open"):
        FdWaiter(reading)


def test_the_repr_of_an_fd_waiter_names_who_waits(hub: Hub, pair: Pair) -> None:
    owned = FdWaiter(pair[0].fileno(), hub)
    reader = spawn_raw(owned.wait_read)
    sleep(0)
    assert f"fd={pair[0].fileno()}" in repr(owned)
    assert f"reader={reader!r} writer=None" in repr(owned)
    pair[1].send(b"x")
    hub.join()
    owned.close()


def test_waiting_in_a_callback_is_refused(hub: Hub, pair: Pair, reports: Reports) -> None:
    owned = FdWaiter(pair[0].fileno())
    hub.loop.run_callback(owned.wait_read)
    hub.join()
    assert "BlockingSwitchOutError" in reports.take()
    owned.close()


def test_an_fd_waiter_that_was_closed_cannot_be_waited_for_although_it_was_ready(hub: Hub) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        owned = FdWaiter(ours.fileno())
        theirs.send(b"x")
        owned.wait_read()
        owned.close()
        with pytest.raises(ValueError, match="has left the loop"):
            owned.wait_read()


def test_an_fd_waiter_made_before_connect_does_not_take_the_hang_up_of_the_unconnected_for_the_end(hub: Hub) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    client = socket.socket()
    client.setblocking(False)
    with listener, client:
        owned = FdWaiter(client.fileno())
        sleep(0.001)  # a poll: Linux reports an unconnected socket as hung up
        client.connect_ex(listener.getsockname())
        owned.clear_write()
        owned.wait_write(timeout=5)
        accepted, _ = listener.accept()
        with accepted:
            owned.clear_read()
            with pytest.raises(TimeoutError):
                owned.wait_read(timeout=0.01)
            accepted.send(b"x")
            owned.wait_read(timeout=5)
            assert client.recv(1) == b"x"
        owned.close()


def test_a_stranger_that_resumes_a_reader_is_named_and_the_fd_waiter_stays_fit(
    each_hub: Hub, owned: FdWaiter, pair: Pair
) -> None:
    caught: list[str] = []

    def read() -> None:
        try:
            owned.wait_read()
        except InvalidSwitchError as error:
            caught.append(str(error))

    reader = spawn_raw(read)
    sleep(0)
    each_hub.loop.run_callback(reader.switch)
    sleep(0.001)
    assert len(caught) == 1
    assert f"{id(reader):#x}" in caught[0]
    assert "not greenlet.switch()" in caught[0]
    spawn_raw(pair[1].send, b"x")
    owned.wait_read()
    assert pair[0].recv(1) == b"x"


def test_an_fd_waiter_refuses_another_thread_and_a_destroyed_hub(
    each_hub: Hub, owned: FdWaiter, elsewhere: Elsewhere
) -> None:
    with pytest.raises(InvalidThreadUseError, match="wait on <FdWaiter"):
        elsewhere(owned.wait_read)
    each_hub.destroy()
    for timeout in (None, 1.0):
        with pytest.raises(ValueError, match="destroyed"):
            owned.wait_read(timeout)


def test_a_reader_killed_in_the_turn_of_its_event_leaves_the_event_to_the_next(
    each_hub: Hub, owned: FdWaiter, pair: Pair
) -> None:
    reader = spawn_raw(owned.wait_read)
    sleep(0)
    pair[1].send(b"x")
    each_hub.loop.run_callback(kill, reader)  # runs after the event has made the reader ready, and before it resumes
    sleep(0.001)
    assert reader.dead
    owned.wait_read(timeout=5)
    assert pair[0].recv(1) == b"x"


def test_a_second_reader_that_comes_before_the_first_resumes_does_not_lose_its_place_to_it(hub: Hub) -> None:
    ours, theirs = socket.socketpair()
    gate, key = socket.socketpair()
    got: list[object] = []
    with ours, theirs, gate, key:
        ours.setblocking(False)
        owned, door = FdWaiter(ours.fileno()), FdWaiter(gate.fileno())

        def first() -> None:
            owned.wait_read()
            got.append("first resumed")

        def second() -> None:
            door.wait_read()  # made ready in the same turn as `first`, and before it
            for _ in range(2):
                owned.wait_read()
                got.append(ours.recv(9))
                owned.clear_read()

        spawn_raw(first)
        spawn_raw(second)
        sleep(0.001)
        # In this order: the loop is told of both, and whose fd became ready first is called first.
        key.send(b".")
        theirs.send(b"one")
        sleep(0.001)
        theirs.send(b"two")
        hub.join()
        assert sorted(map(str, got)) == sorted(map(str, [b"one", b"two", "first resumed"]))
        owned.close()
        door.close()


def test_a_reader_killed_while_ready_takes_no_place_from_the_one_that_waits_by_then(hub: Hub) -> None:
    ours, theirs = socket.socketpair()
    got: list[bytes] = []
    with ours, theirs:
        ours.setblocking(False)
        owned = FdWaiter(ours.fileno())
        first = spawn_raw(owned.wait_read)
        sleep(0)

        def take_its_place() -> None:
            owned.wait_read()  # returns at once: the edge has come
            got.append(ours.recv(9))
            owned.clear_read()
            kill(first)
            owned.wait_read()
            got.append(ours.recv(9))

        theirs.send(b"one")
        hub.loop.run_callback(spawn_raw, take_its_place)  # new greenlets start before ready ones go on
        sleep(0.001)
        theirs.send(b"two")
        hub.join()
        assert got == [b"one", b"two"]
        owned.close()
