"""A KeyboardInterrupt at each single step of what `_ares` does: nobody who asked is left without an answer.

Not in pycares as c-ares tells of a socket: cffi prints an interrupt there, and nobody can learn of it.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from math import inf
from types import FrameType
from typing import Any, cast

import pytest
from tests.hub_resolver.conftest import FakeHub
from tests.interrupts import interrupt_at

pytest.importorskip("pycares", reason="needs the extra hub-resolver[ares]")

from hub_api import IHub
from hub_resolver import _ares
from hub_resolver._answers import AAAA, AGAIN, FOUND, A, Answer, Question
from hub_resolver._ares import AresAsker
from hub_resolver._servers import Told
from hub_resolver.testing import NameServer

ZONE = "www.example.test A 192.0.2.1\nwww.example.test AAAA 2001:db8::1\n"


@pytest.fixture(autouse=True)
def printed(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What cffi prints: an interrupt of a callback."""
    made: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", made.append)
    return made


@pytest.fixture
def deaf() -> Iterator[str]:
    """The address of a server that never answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{made.getsockname()[1]}"


def is_ours(frame: FrameType, event: str, arg: Any) -> bool:
    """A moment of `_ares`, or of what it has called, in pycares too; but see above."""
    code, caller = frame.f_code, frame
    if event not in ("call", "c_return") or (event == "call" and code.co_name == "_socket_is"):
        return False
    while caller.f_code.co_filename != _ares.__file__:
        if caller.f_back is None or caller.f_code.co_name == "_sock_state_cb":
            return False
        caller = caller.f_back
    return True


class Case:
    """An asker, one question whose end is waited for, and an interrupt at one moment of what else is done."""

    def __init__(self, hub: FakeHub, server: str, tries: int) -> None:
        self.hub = hub
        self.asker = AresAsker(cast(IHub, hub), Told((server,), 0.02, tries))  # in all: 20 ms, or 2.5 s with 7 tries
        self.answers: list[Answer] = []

    def ask(self) -> None:
        self.asker.ask(Question("www.example.test", A), lambda answer: self.answers.append(answer))  # a user's

    def ask_another(self) -> None:
        self.asker.ask(Question("www.example.test", AAAA), lambda answer: None)

    def wait(self) -> None:
        with self.hub.loop.timer(10) as limit:
            limit.start(lambda: None)
            while not self.answers and limit.active:
                self.hub.loop.run(once=True)

    def end(self, status: str) -> None:
        self.wait()
        self.hub.loop.run(nowait=True)
        assert [answer.status for answer in self.answers] == [status]
        self.asker.close()
        assert {type(error) for error in self.hub.errors} <= {KeyboardInterrupt}
        self.hub.errors.clear()


def test_an_answer_is_told_once_wherever_an_interrupt_strikes(fake_hub: FakeHub) -> None:
    with NameServer(ZONE) as server:
        struck, moment = True, 0
        while struck:
            moment += 1
            case = Case(fake_hub, server.server, 7)
            case.ask()
            struck = interrupt_at(moment, case.wait, is_ours)
            case.end(FOUND)
    assert moment > 50


def test_a_socket_is_watched_wherever_an_interrupt_strikes_as_it_is_opened(fake_hub: FakeHub) -> None:
    with NameServer(ZONE) as server:
        struck, moment = True, 0
        while struck:
            moment += 1
            case = Case(fake_hub, server.server, 7)
            struck = interrupt_at(moment, case.ask_another, is_ours)
            case.ask()
            case.end(FOUND)
    assert moment > 50


def test_a_silent_server_is_given_up_wherever_an_interrupt_strikes(fake_hub: FakeHub, deaf: str) -> None:
    struck, moment = True, 0
    while struck:
        moment += 1
        case = Case(fake_hub, deaf, 1)
        case.ask()
        struck = interrupt_at(moment, case.wait, is_ours)
        case.end(AGAIN)
    assert moment > 50


def test_an_interrupt_as_somebody_asks_leaves_the_others_their_timer(fake_hub: FakeHub, deaf: str) -> None:
    struck, moment = True, 0
    while struck:
        moment += 1
        case = Case(fake_hub, deaf, 1)
        case.ask()
        assert case.asker._channel is not None
        case.asker._channel.due = inf  # so the next question wants c-ares woken sooner than this one does
        struck = interrupt_at(moment, case.ask_another, is_ours)
        case.end(AGAIN)
    assert moment > 30


def test_a_socket_that_an_interrupt_in_pycares_has_kept_from_us_is_not_relied_upon(
    fake_hub: FakeHub, printed: list[Any]
) -> None:
    with NameServer(ZONE) as server:
        case = Case(fake_hub, server.server, 7)
        assert interrupt_at(1, case.ask_another, lambda frame, event, arg: frame.f_code.co_name == "_socket_is")
        assert [told.exc_type for told in printed] == [KeyboardInterrupt]
        channel = case.asker._channel
        assert channel is not None
        while not channel.outdated:
            fake_hub.loop.run(once=True)
        case.ask()
        case.end(FOUND)
