"""The client of the latency rows: it asks when it is time to, and counts from then."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from client import latencies, percentile
from servers.hello import RESPONSE, answer

Serve = Callable[[socket.socket], None]


@contextmanager
def serving(serve: Serve) -> Iterator[int]:
    """A server with one connection, in a thread; gives its port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        connection, _ = listener.accept()
        with connection:
            serve(connection)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        thread.join(30)
        listener.close()


def answer_all(connection: socket.socket) -> None:
    rest = b""
    while received := connection.recv(65536):
        reply, rest = answer(rest + received)
        connection.sendall(reply)


def test_each_request_has_a_latency_in_order() -> None:
    with serving(answer_all) as port:
        taken = latencies(port, connections=1, rate=1_000.0, seconds=0.05)
    assert len(taken) == 50
    assert taken == sorted(taken)
    assert taken[0] > 0


def test_those_who_are_due_while_the_server_stalls_count_from_when_they_were_due() -> None:
    def stall(connection: socket.socket) -> None:
        waiting = b""
        while waiting.count(b"\r\n\r\n") < 20:  # the last is due 0.19 s after the first
            waiting += connection.recv(65536)
        connection.sendall(RESPONSE * 20)
        connection.recv(1)

    with serving(stall) as port:
        taken = latencies(port, connections=1, rate=100.0, seconds=0.2)
    assert len(taken) == 20
    assert taken[-1] >= 0.19
    assert taken[-1] - taken[0] == pytest.approx(0.19)  # one answer for all, asked for in steps of 10 ms


def test_a_server_that_leaves_is_an_error() -> None:
    with (
        serving(lambda connection: connection.shutdown(socket.SHUT_WR)) as port,
        pytest.raises((RuntimeError, ConnectionError)),
    ):
        latencies(port, connections=1, rate=1_000.0, seconds=1.0)


def test_a_percentile_is_the_value_below_which_that_share_lies() -> None:
    ordered = [float(value) for value in range(100)]
    assert [percentile(ordered, share) for share in (0.0, 0.5, 0.99, 1.0)] == [0.0, 50.0, 99.0, 99.0]
