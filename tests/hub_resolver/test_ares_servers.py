"""How c-ares is told whom to ask: servers as resolv.conf(5) and programs write them, with zones and ports."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

pytest.importorskip("pycares", reason="needs the extra hub-resolver[ares]")

from hub_api import IHub
from hub_resolver._answers import AGAIN, FOUND, A, Answer, Question
from hub_resolver._ares import AresAsker, _server
from hub_resolver._servers import Told
from hub_resolver.testing import NameServer


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.1:5353", "192.0.2.1:5353"),
        ("2001:db8::1", "[2001:db8::1]"),
        ("[2001:db8::1]:5353", "[2001:db8::1]:5353"),
        ("fe80::1%eth0", "[fe80::1]%eth0"),
        ("[fe80::1%eth0]", "[fe80::1]%eth0"),
        ("[fe80::1%eth0]:5353", "[fe80::1]:5353%eth0"),
        ("[fe80::1]:5353%eth0", "[fe80::1]:5353%eth0"),
    ],
)
def test_a_zone_stands_behind_all_else(text: str, written: str) -> None:
    assert _server(text) == written


def ask(hub: IHub, asker: AresAsker) -> Answer:
    answers: list[Answer] = []
    asker.ask(Question("www.example.test", A), answers.append)
    assert not answers, "the answer came in the middle of the asking"
    while not answers:
        hub.loop.run(once=True)
    asker.close()
    return answers[0]


def test_a_server_with_a_zone_leaves_the_others_to_be_asked(hub: IHub) -> None:
    with NameServer("www.example.test A 192.0.2.1") as server:
        assert ask(hub, AresAsker(hub, Told(("fe80::1%nosuch", server.server), 5.0, 1))).status == FOUND


def test_a_file_whose_server_has_a_zone_is_gone_by(hub: IHub, tmp_path: Path) -> None:
    conf = tmp_path / "resolv.conf"
    conf.write_text(f"nameserver fe80::1%{socket.if_indextoname(1)}\n")
    asker = AresAsker(hub, Told(None, 0.02, 1, str(conf)))
    assert ask(hub, asker).status == AGAIN  # nobody is there


@pytest.mark.parametrize("server", ["fe80::1%", "nonsense", "fe80::1%\u00e9th0"])
def test_a_server_that_c_ares_does_not_understand_is_no_answer_for_now(hub: IHub, server: str) -> None:
    reply = ask(hub, AresAsker(hub, Told((server,), 0.02, 1)))
    assert reply.status == AGAIN
    assert reply.tries[0].outcome


def test_a_question_that_nobody_could_be_asked_can_be_cancelled(hub: IHub) -> None:
    answers: list[Answer] = []
    asker = AresAsker(hub, Told(("nonsense",), 0.02, 1))
    cancel = asker.ask(Question("www.example.test", A), answers.append)
    cancel()
    cancel()
    hub.loop.run(nowait=True)
    assert answers == []
