"""Waits: for time, for a quiet loop, for file descriptors, ours and strangers'."""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING, Any

import pytest

from hub_core import (
    BlockingSwitchOutError,
    ConcurrentObjectUseError,
    FdWaiter,
    Hub,
    InvalidSwitchError,
    InvalidThreadUseError,
    Waiter,
    idle,
    kill,
    sleep,
    spawn_raw,
    wait_on_watcher,
    wait_read,
    wait_readwrite,
    wait_write,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.hub_core.conftest import Elsewhere, Reports

    from hub_loop.testing import FakePoller, ManualClock

    Pair = tuple[socket.socket, socket.socket]


class Failure(Exception):
    """Thrown by tests."""


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Two sockets that talk to each other."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    with ours, theirs:
        yield ours, theirs


def fill(sock: socket.socket) -> int:
    """Write until nothing more can be written."""
    sent = 0
    try:
        while True:
            sent += sock.send(b"x" * 65536)
    except BlockingIOError:
        return sent


def drain(sock: socket.socket) -> None:
    """Read until there is nothing more to read."""
    try:
        while sock.recv(1 << 20):
            pass
    except BlockingIOError:
        pass


# -- sleep and idle ----------------------------------------------------------------------------------------------------


def test_sleep_0_lets_each_that_is_ready_run_once_in_order(hub: Hub) -> None:
    order: list[str] = []

    def run(name: str) -> None:
        for number in range(3):
            order.append(f"{name}{number}")
            sleep(0)

    for name in "abc":
        spawn_raw(run, name)
    hub.join()
    assert order == ["a0", "b0", "c0", "a1", "b1", "c1", "a2", "b2", "c2"]


@pytest.mark.parametrize("seconds", [0, -1, -0.5, float("-inf")])
def test_0_and_negative_seconds_take_no_time_but_let_others_run(
    clocked_hub: Hub, clock: ManualClock, seconds: float
) -> None:
    began = clock()
    order: list[str] = []
    spawn_raw(order.append, "other")
    sleep(seconds)
    assert order == ["other"]
    assert clock() == began


def test_sleep_0_in_a_callback_is_refused(hub: Hub) -> None:
    caught: list[BaseException] = []

    def callback() -> None:
        try:
            sleep(0)
        except BlockingSwitchOutError as error:
            caught.append(error)

    hub.loop.run_callback(callback)
    hub.join()
    assert len(caught) == 1
    assert hub.join()


@pytest.mark.parametrize("seconds", [0.001, 0.1, 1, 1 / 3, 3600.0, 86400 * 365])
def test_sleep_is_never_early_and_on_a_clock_without_noise_not_late(
    clocked_hub: Hub, clock: ManualClock, seconds: float
) -> None:
    began = clock()
    sleep(seconds)
    assert clock() >= began + seconds
    assert clock() == pytest.approx(began + seconds, abs=1e-9)


def test_sleep_counts_from_the_call_however_long_the_turn_took_before_it(clocked_hub: Hub, clock: ManualClock) -> None:
    clock.advance(50)
    sleep(1)
    assert clock() == 1051


def test_equal_sleeps_end_in_the_order_in_which_they_began(clocked_hub: Hub) -> None:
    order: list[int] = []

    def run(number: int) -> None:
        sleep(5)
        order.append(number)

    for number in range(20):
        spawn_raw(run, number)
    clocked_hub.join()
    assert order == list(range(20))


def test_sleep_without_ref_does_not_keep_the_loop_alive_but_ends_if_it_lives(clocked_hub: Hub) -> None:
    order: list[str] = []

    def run() -> None:
        sleep(1, ref=False)
        order.append("woke")

    spawn_raw(run)
    assert clocked_hub.join()
    assert order == []
    sleep(2)
    assert order == ["woke"]


def test_sleep_in_real_time_is_never_early(each_hub: Hub) -> None:
    import time

    for seconds in (0.001, 0.0034, 0.01):
        began = time.monotonic()
        sleep(seconds)
        assert time.monotonic() - began >= seconds


@pytest.mark.parametrize("wrong", ["1", None])
def test_sleep_takes_numbers(hub: Hub, wrong: Any) -> None:
    with pytest.raises(TypeError):
        sleep(wrong)
    sleep(0)


def test_idle_returns_when_there_is_nothing_else_to_do(hub: Hub) -> None:
    order: list[str] = []

    def busy() -> None:
        for number in range(3):
            order.append(f"turn {number}")
            turn = Waiter()
            hub.loop.run_callback(turn.switch, None)
            turn.get()

    spawn_raw(busy)
    idle()
    order.append("idle")
    hub.join()
    assert order[-1] == "idle"
    assert len(order) == 4


def test_idle_greenlets_of_a_higher_priority_go_first(hub: Hub) -> None:
    order: list[int] = []

    def run(priority: int) -> None:
        idle(priority)
        order.append(priority)

    for priority in (0, -1, 1):
        spawn_raw(run, priority)
    hub.join()
    assert order == [1, 0, -1]


def test_what_came_before_a_sleep_0_runs_before_it_returns(hub: Hub) -> None:
    # Whatever the hub was doing when it was left: here it is in the middle of starting greenlets.
    order: list[str] = []
    waiter = Waiter()
    spawn_raw(waiter.get)
    sleep(0)
    spawn_raw(order.append, "spawned")
    sleep(0)
    assert order == ["spawned"]
    waiter.switch(None)
    hub.join()


# -- strangers' fds ----------------------------------------------------------------------------------------------------


def test_wait_read_returns_when_there_is_something_to_read(each_hub: Hub, pair: Pair) -> None:
    ours, theirs = pair
    order: list[str] = []

    def read() -> None:
        wait_read(ours.fileno())
        order.append(ours.recv(10).decode())

    spawn_raw(read)
    sleep(0.001)
    assert order == []
    theirs.send(b"data")
    each_hub.join()
    assert order == ["data"]


def test_wait_read_on_a_pipe_returns_at_its_end(each_hub: Hub) -> None:
    reading, writing = os.pipe()
    try:
        spawn_raw(os.close, writing)
        wait_read(reading)
        assert os.read(reading, 1) == b""
    finally:
        os.close(reading)


def test_wait_write_returns_when_there_is_room(each_hub: Hub, pair: Pair) -> None:
    ours, theirs = pair
    wait_write(ours.fileno())
    fill(ours)
    spawn_raw(drain, theirs)
    wait_write(ours.fileno())
    assert ours.send(b"x") == 1


def test_wait_readwrite_returns_for_either(each_hub: Hub, pair: Pair) -> None:
    ours, theirs = pair
    wait_readwrite(ours.fileno())
    fill(ours)
    spawn_raw(theirs.send, b"x")
    wait_readwrite(ours.fileno())
    assert ours.recv(1) == b"x"


def test_many_greenlets_may_wait_for_one_strangers_fd(each_hub: Hub, pair: Pair) -> None:
    ours, theirs = pair
    order: list[str] = []

    def wait(name: str, function: Callable[[int], None]) -> None:
        function(ours.fileno())
        order.append(name)

    fill(ours)
    spawn_raw(wait, "read", wait_read)
    spawn_raw(wait, "read too", wait_read)
    spawn_raw(wait, "write", wait_write)
    sleep(0.001)
    assert order == []
    theirs.send(b"x")
    sleep(0.001)
    assert order == ["read", "read too"]
    drain(theirs)
    each_hub.join()
    assert order == ["read", "read too", "write"]


@pytest.mark.parametrize("wait", [wait_read, wait_readwrite])
def test_a_timeout_raises_timeout_error(each_hub: Hub, pair: Pair, wait: Callable[..., None]) -> None:
    fill(pair[0])
    with pytest.raises(TimeoutError, match="timed out"):
        wait(pair[0].fileno(), timeout=0.001)


@pytest.mark.parametrize("error", [Failure, Failure("mine")])
def test_a_timeout_raises_what_it_was_given(each_hub: Hub, pair: Pair, error: Failure | type[Failure]) -> None:
    fill(pair[0])
    with pytest.raises(Failure):
        wait_write(pair[0].fileno(), 0.001, error)


def test_a_timeout_that_is_not_needed_leaves_no_timer(clocked_hub: Hub, clock: ManualClock, pair: Pair) -> None:
    began = clock()
    poller: Any = clocked_hub.loop
    poller._poller.make_ready(pair[0].fileno(), 1)
    wait_read(pair[0].fileno(), timeout=1000)
    assert clocked_hub.join()
    assert clock() == began


def test_an_event_in_the_same_turn_as_the_timeout_wins(clocked_hub: Hub, poller: FakePoller, pair: Pair) -> None:
    fd = pair[0].fileno()
    poller.make_ready(fd, 1, after=5)
    wait_read(fd, timeout=5)
    with pytest.raises(TimeoutError):
        wait_write(fd, timeout=5)


@pytest.mark.parametrize("wait", [wait_read, wait_write, wait_readwrite])
def test_bad_fds_are_refused_at_the_call(hub: Hub, wait: Callable[[Any], None]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    os.close(writing)
    with pytest.raises(ValueError, match="0 or more"):
        wait(-1)
    with pytest.raises(OSError, match="not open") as caught:
        wait(reading)
    assert caught.value.errno == errno.EBADF
    with pytest.raises(TypeError, match="fileno"):
        wait("3")


def test_a_strangers_fd_that_leaves_the_loop_gives_ebadf(each_hub: Hub, pair: Pair) -> None:
    spawn_raw(each_hub.loop.closing_fd, pair[0].fileno())
    with pytest.raises(OSError, match="closed") as caught:
        wait_read(pair[0].fileno())
    assert caught.value.errno == errno.EBADF


def test_wait_on_watcher_refuses_a_watcher_that_another_waits_for(hub: Hub) -> None:
    with hub.loop.timer(30) as timer:
        waiting = spawn_raw(wait_on_watcher, timer)
        sleep(0)
        with pytest.raises(ConcurrentObjectUseError, match="already used by another greenlet"):
            wait_on_watcher(timer)
        assert timer.active, "the first goes on"
        kill(waiting)
        hub.join()


def test_wait_on_watcher_with_a_timeout(clocked_hub: Hub, clock: ManualClock) -> None:
    began = clock()
    with clocked_hub.loop.timer(30) as timer:
        with pytest.raises(TimeoutError):
            wait_on_watcher(timer, timeout=2)
        assert clock() == began + 2
        wait_on_watcher(timer, timeout=60, hub=clocked_hub)
        assert clock() == began + 32


# -- fds of our own: FdWaiter ------------------------------------------------------------------------------------------


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


def test_sleep_refuses_what_is_not_a_number_of_seconds(hub: Hub) -> None:
    with pytest.raises(ValueError, match="nan"):
        sleep(float("nan"))


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
    with pytest.raises(ValueError, match="destroyed"):
        owned.wait_read()


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


def test_a_greenlet_made_ready_right_before_the_poll_is_not_slept_over(clocked_hub: Hub, clock: ManualClock) -> None:
    begin = clock()
    with clocked_hub.loop.timer(1.5) as timer, clocked_hub.loop.prepare() as prepare:
        timer.start(lambda: None)
        clocked_hub.wait(prepare)
        assert clock() == begin
