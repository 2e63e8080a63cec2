"""c-ares and dnspython on the wire: a name server on loopback that stalls, lies and fails as it is told."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from tests.hub_resolver.conftest import FakeHub

pytest.importorskip("pycares", reason="needs the extra hub-resolver[ares]")
pytest.importorskip("dns", reason="needs the extra hub-resolver[dnspython]")

from hub_api import IHub
from hub_resolver._answers import AAAA, AGAIN, DANGLING, FAILED, FOUND, NO_DATA, NO_NAME, PTR, A, Answer, Question
from hub_resolver._ares import AresAsker
from hub_resolver._dnspython import DnspythonAsker
from hub_resolver._servers import Told
from hub_resolver.testing import NameServer

ZONE = """
www.example.test A 192.0.2.1
www.example.test AAAA 2001:db8::1
alias.example.test CNAME www.example.test.
1.2.0.192.in-addr.arpa PTR www.example.test.
"""
Asker = AresAsker | DnspythonAsker
ASKERS: dict[str, Callable[..., Asker]] = {"ares": AresAsker, "dnspython": DnspythonAsker}
MANY = int(os.environ.get("HUB_MANY_LOOKUPS", "500"))
"""Lookups that are created and cancelled: 10,000 to see what it is about."""


@pytest.fixture
def server() -> Iterator[NameServer]:
    with NameServer(ZONE) as made:
        yield made


@pytest.fixture(params=ASKERS)
def make(request: pytest.FixtureRequest, hub: IHub) -> Iterator[Callable[..., Asker]]:
    """Makes askers of one kind, and closes them."""
    made: list[Asker] = []

    def maker(*servers: str, timeout: float = 5.0, tries: int = 1, **more: Any) -> Asker:
        made.append(ASKERS[request.param](hub, Told(servers or None, timeout, tries, **more)))
        return made[-1]

    yield maker
    for asker in made:
        asker.close()


def ask(hub: IHub, asker: Asker, name: str, kind: int = A) -> Answer:
    """One question, and its answer."""
    answers: list[Answer] = []
    asker.ask(Question(name, kind), answers.append)
    assert not answers, "the answer came in the middle of the asking"
    while not answers:
        hub.loop.run(once=True)
    hub.loop.run(nowait=True)
    assert len(answers) == 1
    return answers[0]


@pytest.mark.parametrize(
    ("name", "kind", "status", "data"),
    [
        ("www.example.test", A, FOUND, ("192.0.2.1",)),
        ("www.example.test", AAAA, FOUND, ("2001:db8::1",)),
        ("alias.example.test", A, FOUND, ("192.0.2.1",)),
        ("1.2.0.192.in-addr.arpa", PTR, FOUND, ("www.example.test",)),
        ("example.test", A, NO_DATA, ()),
        ("nothere.example.test", A, NO_NAME, ()),
        ("nodata.example.test", A, NO_DATA, ()),
        ("servfail.example.test", A, AGAIN, ()),
        ("refused.example.test", A, AGAIN, ()),
        ("formerr.example.test", A, FAILED, ()),
        ("truncated.example.test", A, FOUND, ("198.51.0.1",)),
        ("oldserver.example.test", A, FOUND, ("198.51.0.1",)),
        ("loop.example.test", A, DANGLING, ()),
        ("dangling.example.test", A, DANGLING, ()),
        ("othername.example.test", A, DANGLING, ()),
        ("latewrongid.example.test", A, FOUND, ("198.51.0.1",)),
        ("chain-9.example.test", A, FOUND, ("198.51.100.7",)),
    ],
)
def test_what_becomes_of_a_question(
    hub: IHub, make: Callable[..., Asker], server: NameServer, name: str, kind: int, status: str, data: tuple[str, ...]
) -> None:
    reply = ask(hub, make(server.server), name, kind)
    assert (reply.question, reply.status, reply.data) == (Question(name, kind), status, data)
    assert 0 <= reply.elapsed < 5
    assert reply.tries


def test_an_answer_says_how_long_it_holds_and_what_the_aliases_were(
    hub: IHub, make: Callable[..., Asker], server: NameServer
) -> None:
    reply = ask(hub, make(server.server), "alias.example.test")
    assert (reply.ttl, reply.canonical, reply.aliases) == (60, "www.example.test", ("alias.example.test",))


@pytest.mark.parametrize("fault", ["drop", "wrongid", "wrongquestion", "garbage", "short", "elsewhere"])
def test_silence_and_lies_end_when_the_time_is_up_and_are_no_answer(
    hub: IHub, make: Callable[..., Asker], server: NameServer, fault: str
) -> None:
    began = time.monotonic()
    reply = ask(hub, make(server.server, timeout=0.1), f"{fault}.example.test")
    assert (reply.status, reply.data) == (AGAIN, ())
    assert time.monotonic() - began < 5


def test_an_answer_that_came_in_time_counts_even_if_the_loop_was_busy_until_the_time_was_up(
    hub: IHub, make: Callable[..., Asker], server: NameServer
) -> None:
    answers: list[Answer] = []
    make(server.server, timeout=0.5).ask(Question("held.example.test", A), answers.append)
    while not server.asked:
        hub.loop.run(nowait=True)
    server.release()
    time.sleep(0.6)  # a callback, say, that takes so long
    while not answers:
        hub.loop.run(once=True)
    assert [(each.status, each.data) for each in answers] == [(FOUND, ("198.51.0.1",))]


def test_an_answer_that_does_not_fit_comes_over_tcp(hub: IHub, make: Callable[..., Asker], server: NameServer) -> None:
    assert len(ask(hub, make(server.server), "big-100.example.test").data) == 100
    assert [transport for _, _, transport, _ in server.asked] == ["udp", "tcp"]


def test_an_answer_of_more_than_512_bytes_comes_over_udp_by_edns(
    hub: IHub, make: Callable[..., Asker], server: NameServer
) -> None:
    assert len(ask(hub, make(server.server), "big-50.example.test").data) == 50
    assert [transport for _, _, transport, _ in server.asked] == ["udp"]


def test_a_server_that_is_not_there_is_passed_over_at_once(
    hub: IHub, make: Callable[..., Asker], server: NameServer
) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as nobody:
        nobody.bind(("127.0.0.1", 0))
        gone = f"127.0.0.1:{nobody.getsockname()[1]}"
    began = time.monotonic()
    assert ask(hub, make(gone, server.server, timeout=30), "www.example.test").status == FOUND
    assert time.monotonic() - began < 10


def test_a_server_that_fails_is_passed_over(hub: IHub, make: Callable[..., Asker], server: NameServer) -> None:
    with NameServer("servfail.example.test A 192.0.2.7\n") as other:
        asker = make(server.server, other.server)
        assert ask(hub, asker, "servfail.example.test").status == AGAIN
        assert server.asked
        assert other.asked


def test_a_server_on_ipv6_is_asked_too(hub: IHub, make: Callable[..., Asker]) -> None:
    try:
        server = NameServer(ZONE, "::1")
    except OSError as error:
        pytest.skip(f"no IPv6 here: {error}")
    with server:
        assert ask(hub, make(server.server), "www.example.test").data == ("192.0.2.1",)


def test_ids_and_ports_cannot_be_guessed(hub: IHub, make: Callable[..., Asker], server: NameServer) -> None:
    asker = make(server.server)
    count = 60
    for i in range(count):
        ask(hub, asker, f"n{i}.example.test")
    ids = [number for _, _, _, number in server.asked]
    for drawn, least in ((ids, count - 3), (server.ports, count * 2 // 3)):
        assert len(set(drawn)) >= least
        steps = {later - earlier for earlier, later in pairwise(drawn)}
        assert len(steps) > count // 2, "they follow one upon the other"
    assert max(ids) > 1 << 14  # sixteen bits are drawn from, not eight


def test_a_question_that_is_cancelled_is_never_answered(
    hub: IHub, make: Callable[..., Asker], server: NameServer
) -> None:
    asker = make(server.server)
    answers: list[Answer] = []
    cancel = asker.ask(Question("slow-20.example.test", A), answers.append)
    asker.ask(Question("www.example.test", A), answers.append)
    cancel()
    cancel()
    while not answers:
        hub.loop.run(once=True)
    cancel()
    assert ask(hub, asker, "slow-60.example.test").status == FOUND  # by now the first would have come, too
    assert [reply.question.name for reply in answers] == ["www.example.test"]


def test_closing_calls_nobody_and_the_next_question_starts_afresh(
    hub: IHub, make: Callable[..., Asker], server: NameServer
) -> None:
    asker = make(server.server)
    answers: list[Answer] = []
    for name in ("drop.example.test", "truncatednotcp.example.test", "www.example.test"):
        asker.ask(Question(name, A), answers.append)
    hub.loop.run(nowait=True)
    came = len(answers)
    asker.close()
    asker.close()
    assert ask(hub, asker, "www.example.test").status == FOUND
    assert len(answers) == came


def test_thousands_created_and_cancelled_leave_nothing(
    hub: IHub, fake_hub: Any, make: Callable[..., Asker], server: NameServer
) -> None:
    asker = make(server.server, timeout=60)
    answers: list[Answer] = []
    assert ask(hub, asker, "www.example.test").status == FOUND
    fds = os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd") else []
    for start in range(0, MANY, 100):
        cancels = [asker.ask(Question(f"drop.n{start + i}.example.test", A), answers.append) for i in range(100)]
        hub.loop.run(nowait=True)
        for cancel in cancels:
            cancel()
    hub.loop.run(nowait=True)
    assert answers == []
    assert "asking=0" in repr(asker)
    if fds:
        assert len(os.listdir("/proc/self/fd")) <= len(fds)
    assert ask(hub, asker, "www.example.test").status == FOUND


def test_a_name_that_no_packet_can_hold_is_an_answer_and_no_exception(
    hub: IHub, make: Callable[..., Asker], server: NameServer
) -> None:
    assert ask(hub, make(server.server), "x" * 64 + ".example.test").status == FAILED


def test_a_file_with_other_servers_is_noticed(
    hub: IHub, make: Callable[..., Asker], tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    conf = tmp_path / "resolv.conf"
    conf.write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
    asker = make(resolv_conf=str(conf))
    conf.write_text("nameserver 127.0.0.2\nnameserver 127.0.0.3\noptions timeout:2\n")
    assert asker._conf.value().servers == ("127.0.0.2", "127.0.0.3")


def test_in_a_forked_child_the_parents_sockets_are_not_read(
    hub: IHub, make: Callable[..., Asker], server: NameServer, kin: Any
) -> None:
    asker = make(server.server)
    answers: list[Answer] = []
    asker.ask(Question("slow-100.example.test", A), answers.append)
    # Its thread is at rest then, and holds no lock of dnspython's that the child would wait for for ever.
    while not server._later:
        hub.loop.run(nowait=True)
    if kin.fork():

        def check() -> None:
            assert ask(hub, asker, "www.example.test").status == FOUND
            assert ask(hub, asker, "slow-200.example.test").status == FOUND
            assert answers == [], "a question of the parent's was answered in the child"

        kin.child_ends(check)
    while not answers:
        hub.loop.run(once=True)
    kin.child_ends()
    assert answers[0].status == FOUND


def test_an_error_in_the_callback_of_an_answer_goes_to_the_loop_and_the_asker_goes_on(
    hub: IHub, fake_hub: Any, make: Callable[..., Asker], server: NameServer
) -> None:
    asker = make(server.server)

    def fails(reply: Answer) -> None:
        raise LookupError("of the callback's own")

    asker.ask(Question("www.example.test", A), fails)
    while not fake_hub.errors:
        hub.loop.run(once=True)
    assert [str(error) for error in fake_hub.errors] == ["of the callback's own"]
    fake_hub.errors.clear()
    assert ask(hub, asker, "www.example.test").status == FOUND


def test_servers_take_turns_and_tcp_alone_is_spoken_if_the_file_says_so(hub: IHub, tmp_path: Any) -> None:
    conf = tmp_path / "resolv.conf"
    conf.write_text("options use-vc rotate\n")
    with NameServer(ZONE) as one, NameServer(ZONE) as other:
        for kind in ASKERS.values():
            asker = kind(hub, Told((one.server, other.server), resolv_conf=str(conf)))
            for i in range(12):
                assert ask(hub, asker, f"n{i}.example.test").status == NO_NAME
            asker.close()
    assert {transport for _, _, transport, _ in one.asked + other.asked} == {"tcp"}
    assert one.asked
    assert other.asked


def test_out_of_file_descriptors_is_no_answer_for_now_and_leaves_nothing(
    hub: IHub, make: Callable[..., Asker], server: NameServer
) -> None:
    import resource

    asker = make(server.server)
    assert ask(hub, asker, "www.example.test").status == FOUND
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    spare = os.dup(0)
    os.close(spare)
    resource.setrlimit(resource.RLIMIT_NOFILE, (spare, hard))
    try:
        assert ask(hub, asker, "n1.example.test").status == AGAIN
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert ask(hub, asker, "www.example.test").status == FOUND


def test_a_no_says_how_long_it_holds_if_the_zone_says_so_and_the_library_passes_it_on(
    hub: IHub, make: Callable[..., Asker]
) -> None:
    soa = "SOA ns.example.test. mail.example.test. 1 3600 600 86400"
    zone = f"example.test {soa} 7\nv4.example.test A 192.0.2.1\nlong.test {soa} 9999\nv4.long.test A 192.0.2.1\n"
    with NameServer(f"{zone}other.invalid A 192.0.2.1") as server:
        asker = make(server.server)
        replies = [
            ask(hub, asker, name, AAAA)
            for name in ("nothere.example.test", "v4.example.test", "v4.long.test", "nothere.invalid")
        ]
    assert [reply.status for reply in replies] == [NO_NAME, NO_DATA, NO_DATA, NO_NAME]
    told = isinstance(asker, DnspythonAsker)  # c-ares reads SOA records and keeps what they say to itself
    assert [reply.ttl for reply in replies] == ([7, 7, 60, None] if told else [None] * 4)


# -- the channels of c-ares --------------------------------------------------------------------------------------------


@pytest.fixture
def held(hub: IHub, server: NameServer, tmp_path: Path) -> Iterator[tuple[AresAsker, list[Answer], Path]]:
    """An asker, which has a question under way, the answers to that, and the file that it goes by."""
    conf = tmp_path / "resolv.conf"
    conf.write_text("")
    asker, answers = AresAsker(hub, Told((server.server,), 5.0, 1, str(conf))), list[Answer]()
    asker.ask(Question("held.example.test", A), answers.append)
    while not server.asked:
        hub.loop.run(nowait=True)
    yield asker, answers, conf
    asker.close()


def test_a_changed_file_counts_at_once_though_a_question_is_under_way(
    hub: IHub, server: NameServer, held: tuple[AresAsker, list[Answer], Path]
) -> None:
    asker, answers, conf = held
    conf.write_text("options use-vc\n")
    assert ask(hub, asker, "www.example.test").status == FOUND
    assert [transport for _, _, transport, _ in server.asked] == ["udp", "tcp"]
    assert answers == []
    server.release()
    run_until(hub, lambda: answers)
    assert answers[0].status == FOUND
    assert len(asker._channels) == 1, "the old channel is still there"


def test_what_c_ares_keeps_is_forgotten_at_once_though_a_question_is_under_way(
    hub: IHub, server: NameServer, held: tuple[AresAsker, list[Answer], Path]
) -> None:
    asker, _, _ = held
    for _ in range(2):
        assert ask(hub, asker, "www.example.test").status == FOUND
    assert len(server.asked) == 2, "c-ares keeps nothing"
    asker.forget()
    assert ask(hub, asker, "www.example.test").status == FOUND
    assert len(server.asked) == 3


@pytest.mark.parametrize("end", ["cancel", "close"])
def test_an_old_channel_goes_when_its_questions_are_cancelled_or_all_is_closed(
    hub: IHub, server: NameServer, held: tuple[AresAsker, list[Answer], Path], end: str
) -> None:
    asker, answers, _ = held
    asker.forget()
    cancel = asker.ask(Question("drop.example.test", A), answers.append)
    assert len(asker._channels) == 2
    asker.forget()
    assert ask(hub, asker, "www.example.test").status == FOUND
    assert len(asker._channels) == 3
    if end == "cancel":
        cancel()
        assert len(asker._channels) == 2
    asker.close()
    assert len(asker._channels) == 0
    server.release()
    hub.loop.run(nowait=True)
    assert answers == []


# -- the timer of c-ares -----------------------------------------------------------------------------------------------


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that never answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
        deaf.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{deaf.getsockname()[1]}"


@pytest.fixture
def ares(hub: IHub, silent: str) -> Iterator[AresAsker]:
    """One that asks the silent server, and gives up after 50 ms."""
    asker = AresAsker(hub, Told((silent,), 0.05, 1))
    yield asker
    asker.close()


def run_until(hub: IHub | FakeHub, done: Callable[[], object]) -> None:
    with hub.loop.timer(10) as limit:
        limit.start(lambda: None)
        while not done() and limit.active:
            hub.loop.run(once=True)
    assert done()


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_who_raises_when_told_that_nobody_answers_leaves_the_others_their_end(
    fake_hub: FakeHub, ares: AresAsker, error: type[BaseException]
) -> None:
    def fail(answer: Answer) -> None:
        raise error

    answers: list[Answer] = []
    ares.ask(Question("www.example.test", A), fail)
    ares.ask(Question("www.example.test", AAAA), answers.append)
    run_until(fake_hub, lambda: answers)
    assert answers[0].status == AGAIN
    assert [type(raised) for raised in fake_hub.errors] == [error]
    fake_hub.errors.clear()


def test_an_interrupt_as_the_last_question_is_cancelled_leaves_the_next_one_its_timer(
    hub: IHub, ares: AresAsker, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[Answer] = []
    cancel = ares.ask(Question("www.example.test", A), answers.append)
    assert ares._channel is not None
    kind: Any = type(ares._channel.timers[0])
    really_close = kind.close

    def close(timer: Any) -> None:
        really_close(timer)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(kind, "close", close)
        with pytest.raises(KeyboardInterrupt):
            cancel()
    ares.ask(Question("www.example.test", AAAA), answers.append)
    run_until(hub, lambda: answers)
    assert [answer.question.type for answer in answers] == [AAAA]
