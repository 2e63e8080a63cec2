"""The tasks of the resolver on dnspython: what ends them, and what they leave to others; the test is the server."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.hub_resolver.conftest import FakeHub

pytest.importorskip("dns", reason="needs the extra hub-resolver[dnspython]")

import dns.message

from hub_api import IHub
from hub_resolver._answers import AGAIN, FOUND, A, Answer, Question
from hub_resolver._dnspython import DnspythonAsker
from hub_resolver._servers import Told

WWW = Question("www.example.test", A)


@pytest.fixture
def server() -> Iterator[socket.socket]:
    """A socket on which queries arrive."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind(("127.0.0.1", 0))
        made.settimeout(10)
        yield made


@pytest.fixture
def make(hub: IHub, server: socket.socket) -> Iterator[Callable[..., DnspythonAsker]]:
    """Makes askers that ask the server, and closes them."""
    made: list[DnspythonAsker] = []

    def maker(timeout: float = 10.0, tries: int = 1) -> DnspythonAsker:
        made.append(DnspythonAsker(hub, Told((f"127.0.0.1:{server.getsockname()[1]}",), timeout, tries)))
        return made[-1]

    yield maker
    for asker in made:
        asker.close()


def run_until(hub: FakeHub, done: Callable[[], object]) -> None:
    with hub.loop.timer(10) as limit:
        limit.start(lambda: None)
        while not done() and limit.active:
            hub.loop.run(once=True)
    assert done()


def test_a_loop_that_refuses_to_watch_the_socket_ends_the_question_and_no_other(
    fake_hub: FakeHub, make: Callable[..., DnspythonAsker], server: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    def io(self: object, fd: int, events: int) -> Any:
        raise ValueError("select takes file descriptors below 1024")

    asker, answers = make(), list[Answer]()
    with monkeypatch.context() as patch:
        patch.setattr(type(fake_hub.loop), "io", io)
        asker.ask(WWW, answers.append)
        fake_hub.loop.run(nowait=True)
    assert [(reply.question, reply.status) for reply in answers] == [(WWW, AGAIN)]
    assert answers[0].tries[0].outcome == "select takes file descriptors below 1024"
    assert [str(error) for error in fake_hub.errors] == ["select takes file descriptors below 1024"]
    fake_hub.errors.clear()
    asker.ask(WWW, answers.append)
    fake_hub.loop.run(nowait=True)
    server.recv(4096)  # that of the first
    query, client = server.recvfrom(4096)
    server.sendto(found(query), client)
    run_until(fake_hub, lambda: len(answers) == 2)
    assert answers[1].status == FOUND


def found(query: bytes) -> bytes:
    """The packet that answers a query."""
    reply = dns.message.make_response(dns.message.from_wire(query))
    reply.answer.append(dns.rrset.from_text("www.example.test.", 60, "IN", "A", "192.0.2.1"))
    return reply.to_wire()


def test_an_interrupt_in_a_query_has_the_question_asked_anew(
    fake_hub: FakeHub, make: Callable[..., DnspythonAsker], server: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    asker, answers = make(), list[Answer]()
    asker.ask(WWW, answers.append)
    fake_hub.loop.run(nowait=True)
    query, client = server.recvfrom(4096)

    def interrupted(*args: Any, **more: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(dns.message, "from_wire", interrupted)
        server.sendto(query, client)
        run_until(fake_hub, lambda: fake_hub.errors)
    assert [type(error) for error in fake_hub.errors] == [KeyboardInterrupt]
    fake_hub.errors.clear()
    assert answers == []
    fake_hub.loop.run(nowait=True)
    query, client = server.recvfrom(4096)
    server.sendto(found(query), client)
    run_until(fake_hub, lambda: answers)
    assert [(reply.status, reply.data) for reply in answers] == [(FOUND, ("192.0.2.1",))]


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The packets that were parsed."""
    really, wires = dns.message.from_wire, list[bytes]()

    def from_wire(wire: bytes, *args: Any, **more: Any) -> Any:
        wires.append(wire)
        return really(wire, *args, **more)

    monkeypatch.setattr(dns.message, "from_wire", from_wire)
    return wires


def test_bad_packets_are_read_one_a_turn_so_the_loop_goes_on_however_fast_they_come(
    fake_hub: FakeHub, make: Callable[..., DnspythonAsker], server: socket.socket, parsed: list[bytes]
) -> None:
    answers: list[Answer] = []
    make().ask(WWW, answers.append)
    fake_hub.loop.run(nowait=True)
    query, client = server.recvfrom(4096)
    right = found(query)
    parsed.clear()
    for packet in [*[b"\xff" * 40] * 10, right]:
        server.sendto(packet, client)
    for turn in range(1, 12):
        fake_hub.loop.run(once=True)
        assert len(parsed) == turn
    assert [reply.status for reply in answers] == [FOUND]


def test_bad_packets_are_not_read_past_the_time(
    fake_hub: FakeHub, make: Callable[..., DnspythonAsker], server: socket.socket, parsed: list[bytes]
) -> None:
    answers: list[Answer] = []
    make(timeout=0.01).ask(WWW, answers.append)
    fake_hub.loop.run(nowait=True)
    _, client = server.recvfrom(4096)
    for _ in range(10):
        server.sendto(b"\xff" * 40, client)
    time.sleep(0.02)  # the time is up, and the packets are there
    run_until(fake_hub, lambda: answers)
    assert answers[0].tries[0].outcome == "timed out"
    assert len(parsed) <= 1


def test_later_rounds_are_as_patient_as_the_caller_says_also_below_a_second(
    fake_hub: FakeHub, make: Callable[..., DnspythonAsker], server: socket.socket
) -> None:
    answers: list[Answer] = []
    make(timeout=0.01, tries=3).ask(WWW, answers.append)
    run_until(fake_hub, lambda: answers)
    assert answers[0].status == AGAIN
    assert [each.elapsed >= least for each, least in zip(answers[0].tries, (0.01, 0.02, 0.04), strict=True)] == [
        True
    ] * 3
    assert answers[0].elapsed < 1
