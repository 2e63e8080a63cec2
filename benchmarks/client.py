"""A client that asks at a fixed rate, whatever the server does, and keeps how long each answer took.

A latency counts from the moment at which the request was due, not from the one at which it was sent: a server that
stalls delays those who are due meanwhile, too, and that is what their users see (wrk, which sends the next request only
after the answer to the last, would leave them out: "coordinated omission"). Requests are spread over the connections in
turn.  One that is due on a connection which still waits for an answer is sent behind the other (HTTP pipelining); the
answers come in order. It never sleeps: to be woken takes longer than most answers do, and would be timed.  So it needs
a core of its own.
"""

from __future__ import annotations

import select
import socket
from collections import deque
from contextlib import ExitStack
from time import perf_counter

from servers.hello import REQUEST, RESPONSE

PATIENCE = 10.0  # seconds for the last answers


class Line:
    """One connection, and when the requests that it has not answered were due."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._due: deque[float] = deque()
        self._got = 0
        self.latencies: list[float] = []

    def ask(self, due: float) -> None:
        """Send a request."""
        self._due.append(due)
        self._sock.sendall(REQUEST)

    def readable(self) -> None:
        """Count what has come."""
        received = self._sock.recv(65536)
        now = perf_counter()
        if not received:
            raise RuntimeError("the server has closed a connection")
        self._got += len(received)
        while self._got >= len(RESPONSE):
            self._got -= len(RESPONSE)
            self.latencies.append(now - self._due.popleft())


def latencies(port: int, connections: int, rate: float, seconds: float) -> list[float]:
    """Ask for so long; how long each answer took, in seconds, sorted.  Raises TimeoutError if the last never come."""
    with ExitStack() as stack:
        poller = stack.enter_context(select.epoll())
        lines: dict[int, Line] = {}
        for _ in range(connections):
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            lines[sock.fileno()] = Line(sock)
            poller.register(sock, select.EPOLLIN)
        _drive(poller, lines, rate, round(rate * seconds))
        return sorted(latency for line in lines.values() for latency in line.latencies)


def _drive(poller: select.epoll, lines: dict[int, Line], rate: float, total: int) -> None:
    turns = list(lines.values())
    sent, started = 0, perf_counter()
    answered, last = 0, started + total / rate + PATIENCE
    while answered < total:
        now = perf_counter()
        while sent < total and (due := started + sent / rate) <= now:
            turns[sent % len(turns)].ask(due)
            sent += 1
        for fd, _ in poller.poll(0):
            line = lines[fd]
            before = len(line.latencies)
            line.readable()
            answered += len(line.latencies) - before
        if now > last:
            raise TimeoutError(f"{total - answered:,} of {total:,} answers had not come after {PATIENCE:.0f} s")


def percentile(ordered: list[float], share: float) -> float:
    """The value below which that share of the sorted values lies."""
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]
