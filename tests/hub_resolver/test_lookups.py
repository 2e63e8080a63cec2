"""What a lookup asks of whoever answers, and when: on an asker that answers from a table, with no network."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from hub_api import ForkedError, IHub, InvalidThreadUseError
from hub_resolver._answers import AAAA, AGAIN, FAILED, FOUND, NO_DATA, NO_NAME, PTR, A, Answer, IAsker, Question
from hub_resolver._lookups import LookupResolver

Table = dict[tuple[str, int], tuple[str, tuple[str, ...]]]


class TableAsker:
    """Answers from a table, in a callback of the loop; names that are not in it do not exist."""

    def __init__(self, hub: IHub, table: Table) -> None:
        self.hub = hub
        self.table = table
        self.asked: list[Question] = []
        self.cancelled: list[Question] = []
        self.silent = False
        self.closed = 0

    def ask(self, question: Question, done: Callable[[Answer], object], /) -> Callable[[], object]:
        self.asked.append(question)
        status, data = self.table.get((question.name, question.type), (NO_NAME, ()))
        live = [done]
        if not self.silent:
            reply = Answer(question, status, question.name, (), data, 60)
            self.hub.loop.run_callback(lambda: live and live.pop()(reply))

        def cancel() -> None:
            if live:
                live.clear()
                self.cancelled.append(question)

        return cancel

    def close(self) -> None:
        self.closed += 1


Make = Callable[..., tuple[LookupResolver, TableAsker]]


@pytest.fixture
def make(hub: IHub, tmp_path: Path) -> Make:
    """A resolver on a table, with files of its own."""

    def made(
        table: dict[str, str], conf: str = "search first second", nsswitch: str = "hosts: files dns", hosts: str = ""
    ) -> tuple[LookupResolver, TableAsker]:
        for name, text in (("resolv.conf", conf), ("nsswitch.conf", nsswitch), ("hosts", hosts)):
            (tmp_path / name).write_text(text)
        rows: Table = {}
        for name, data in table.items():
            status = data if data in (NO_DATA, AGAIN, FAILED) else FOUND
            found = () if status is not FOUND else (data,)
            for kind in (A, AAAA):
                fits = status is not FOUND or (":" in data) is (kind == AAAA)
                rows[name, kind] = (status, found) if fits else (NO_DATA, ())
        asker = TableAsker(hub, rows)
        return LookupResolver(
            hub,
            asker,
            cache=0,
            resolv_conf=str(tmp_path / "resolv.conf"),
            nsswitch=str(tmp_path / "nsswitch.conf"),
            hosts=str(tmp_path / "hosts"),
        ), asker

    return made


def names(asker: TableAsker) -> list[str]:
    return list(dict.fromkeys(question.name for question in asker.asked))


def test_the_search_list_is_gone_through_until_a_name_is_known(make: Make) -> None:
    resolver, asker = make({"www.second": "192.0.2.1"})
    assert resolver.gethostbyname("www") == "192.0.2.1"
    assert names(asker) == ["www.first", "www.second"]


def test_a_name_with_dots_is_asked_as_it_is_first_and_one_that_ends_in_a_dot_only_so(make: Make) -> None:
    resolver, asker = make({"a.b.second": "192.0.2.1"})
    assert resolver.gethostbyname("a.b") == "192.0.2.1"
    assert names(asker) == ["a.b", "a.b.first", "a.b.second"]
    asker.asked.clear()
    with pytest.raises(socket.gaierror, match="Name or service not known"):
        resolver.gethostbyname("a.b.")
    assert names(asker) == ["a.b"]


def test_ndots_says_how_many_dots_are_enough(make: Make) -> None:
    resolver, asker = make({"a.b": "192.0.2.1"}, conf="search first\noptions ndots:2")
    resolver.gethostbyname("a.b")
    assert names(asker) == ["a.b.first", "a.b"]


def test_both_families_are_asked_for_at_once_or_one_by_one_if_the_file_says_so(make: Make) -> None:
    resolver, asker = make({"www": "192.0.2.1"}, conf="")
    resolver.getaddrinfo("www", 80)
    assert [question.type for question in asker.asked] == [A, AAAA]
    resolver, asker = make({"www": "192.0.2.1"}, conf="options single-request")
    assert len(resolver.getaddrinfo("www", 80, type=socket.SOCK_STREAM)) == 1


@pytest.mark.parametrize(
    ("status", "number"),
    [(NO_DATA, socket.EAI_NODATA), (AGAIN, socket.EAI_AGAIN), (FAILED, socket.EAI_NONAME)],
)
def test_each_failure_has_the_number_and_the_text_of_the_c_library(make: Make, status: str, number: int) -> None:
    resolver, _ = make({"www.": status, "www": status}, conf="")
    with pytest.raises(socket.gaierror) as caught:
        resolver.getaddrinfo("www", 80)
    assert caught.value.args[0] == number
    assert caught.value.args[1]


@pytest.mark.parametrize(
    ("nsswitch", "asked", "address"),
    [
        ("hosts: files dns", 0, "10.0.0.1"),
        ("hosts: dns files", 1, "192.0.2.1"),
        ("hosts: files", 0, "10.0.0.1"),
    ],
)
def test_sources_are_asked_in_the_order_of_nsswitch(make: Make, nsswitch: str, asked: int, address: str) -> None:
    resolver, asker = make({"www": "192.0.2.1"}, conf="", nsswitch=nsswitch, hosts="10.0.0.1 www\n")
    assert (resolver.gethostbyname("www"), len(asker.asked)) == (address, asked)


def test_an_action_ends_the_way_through_the_sources(make: Make) -> None:
    resolver, asker = make({"www": "192.0.2.1"}, nsswitch="hosts: files [NOTFOUND=return] dns")
    with pytest.raises(socket.gaierror):
        resolver.gethostbyname("www")
    assert asker.asked == []


def test_localhost_is_never_asked_of_anybody(make: Make) -> None:
    resolver, asker = make({"localhost": "192.0.2.66", "x.localhost": "192.0.2.66"})
    assert resolver.gethostbyname("localhost") == "127.0.0.1"
    assert resolver.gethostbyname("X.LocalHost.") == "127.0.0.1"
    assert {entry[4][0] for entry in resolver.getaddrinfo("localhost", 80)} == {"127.0.0.1", "::1"}
    assert asker.asked == []


@pytest.mark.parametrize("name", ["a\0b", "a b", b"\xff\xfe", "-x", "x" * 63 + "." + "y" * 250, "a..b", "<b>", "a\\.b"])
def test_what_is_no_name_of_a_host_is_never_asked_of_anybody(make: Make, name: str | bytes) -> None:
    resolver, asker = make({})
    with pytest.raises((socket.gaierror, UnicodeError)):
        resolver.getaddrinfo(name, 80)
    assert asker.asked == []


def test_a_name_is_looked_for_under_the_name_that_idna_gives_it(make: Make) -> None:
    resolver, asker = make({"xn--bcher-kva": "192.0.2.1"}, conf="")
    assert resolver.gethostbyname("bücher") == "192.0.2.1"
    assert resolver.gethostbyname(cast(str, b"xn--bcher-kva")) == "192.0.2.1"
    assert names(asker) == ["xn--bcher-kva"]


def test_a_reverse_lookup_asks_for_the_name_of_the_address(make: Make) -> None:
    resolver, asker = make({})
    asker.table["1.2.0.192.in-addr.arpa", PTR] = (FOUND, ("www.example", "second.example"))
    assert resolver.gethostbyaddr("192.0.2.1") == ("www.example", ["second.example"], ["192.0.2.1"])
    assert resolver.getnameinfo(("192.0.2.1", 80), 0) == ("www.example", "http")
    with pytest.raises(socket.herror, match="Unknown host"):
        resolver.gethostbyaddr("2001:db8::1")
    assert asker.asked[-1].name == ".".join("1000000000000000000000008bd01002") + ".ip6.arpa"


def test_what_is_wrong_before_anybody_is_asked_is_what_the_socket_module_says(make: Make) -> None:
    resolver, asker = make({})
    calls: list[tuple[str, tuple[Any, ...]]] = [
        ("getaddrinfo", (7, 80)),
        ("getaddrinfo", ("www", "no-such-service")),
        ("getaddrinfo", ("www", 80, 99)),
        ("getaddrinfo", ("www", 1.5)),
        ("gethostbyname", (None,)),
        ("gethostbyname", ("a\0b",)),
        ("gethostbyname_ex", ("x" * 64,)),
        ("gethostbyaddr", (b"a\0b",)),
        ("getnameinfo", ("127.0.0.1", 0)),
        ("getnameinfo", (("127.0.0.1", 80), "0")),
        ("getnameinfo", (("name", 80), 0)),
    ]
    for function, args in calls:
        outcomes = []
        for module in (resolver, socket):
            with pytest.raises(Exception) as caught:  # noqa: PT011  # whatever it is, both raise it
                getattr(module, function)(*args)
            outcomes.append((caught.type, str(caught.value)))
        assert outcomes[0] == outcomes[1], function
    assert asker.asked == []


@pytest.mark.parametrize(("function", "name"), [("gethostbyname_ex", "<broadcast>"), ("gethostbyaddr", "::")])
def test_where_the_c_library_leaves_its_number_as_it_was_it_is_0(make: Make, function: str, name: str) -> None:
    resolver, asker = make({})
    with pytest.raises(socket.herror) as caught:
        getattr(resolver, function)(name)
    assert caught.value.args[0] == 0
    assert asker.asked == []


def test_closing_ends_a_lookup_under_way_with_an_error_that_says_so(make: Make, fake_hub: Any) -> None:
    resolver, asker = make({})
    asker.silent = True
    fake_hub.meanwhile.append(resolver.close)
    with pytest.raises(socket.gaierror, match="was closed while this lookup was under way") as caught:
        resolver.getaddrinfo("www", 80)
    assert caught.value.errno == socket.EAI_FAIL
    assert (asker.closed, len(asker.cancelled)) == (1, 2)


def test_a_greenlet_that_is_killed_takes_its_questions_with_it(make: Make, fake_hub: Any) -> None:
    resolver, asker = make({})
    asker.silent = True

    def killed() -> None:
        raise KeyboardInterrupt

    fake_hub.meanwhile.append(killed)
    with pytest.raises(KeyboardInterrupt):
        resolver.getaddrinfo("www", 80)
    assert asker.cancelled == asker.asked


def test_an_asker_that_refuses_the_second_question_has_the_first_cancelled(make: Make) -> None:
    resolver, asker = make({})
    real = asker.ask

    def ask(question: Question, done: Callable[[Answer], object], /) -> Callable[[], object]:
        if question.type == AAAA:
            raise OSError("out of sockets")
        return real(question, done)

    asker.ask = ask  # type: ignore[method-assign]  # that is the fault
    with pytest.raises(OSError, match="out of sockets"):
        resolver.getaddrinfo("www", 80)
    assert asker.cancelled == asker.asked


def test_lookups_under_way_end_in_a_forked_child_and_new_ones_work(make: Make, fake_hub: Any, kin: Any) -> None:
    resolver, asker = make({"good": "192.0.2.1"}, conf="")
    asker.silent = True

    def then() -> None:
        if kin.fork():
            return
        asker.silent = False
        asker.table["www", A] = (FOUND, ("192.0.2.7",))
        fake_hub.loop.run_callback(resolver.close)  # the parent's lookup ends so

    fake_hub.meanwhile.append(then)
    with pytest.raises((ForkedError, socket.gaierror)) as caught:
        resolver.gethostbyname("www")
    if kin.is_child:
        asker.silent = False

    def check() -> None:
        assert caught.type is ForkedError
        assert f"in process {os.getppid()}" in str(caught.value)
        assert resolver.gethostbyname("good") == "192.0.2.1"

    kin.child_ends(check)
    assert caught.type is socket.gaierror


def test_another_thread_is_told_which_resolver_is_its_own(make: Make) -> None:
    resolver, _ = make({})
    calls: list[Callable[[], object]] = [
        lambda: resolver.getaddrinfo("127.0.0.1", 80),
        lambda: resolver.gethostbyname("www"),
        lambda: resolver.gethostbyname_ex("www"),
        lambda: resolver.gethostbyaddr("127.0.0.1"),
        lambda: resolver.getnameinfo(("127.0.0.1", 80), 0),
        resolver.close,
    ]
    refused: list[str] = []

    def elsewhere() -> None:
        for call in calls:
            try:
                call()
            except InvalidThreadUseError as error:
                refused.append(str(error))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert len(refused) == len(calls)
    assert "use the resolver of this thread's hub" in refused[0]


class Memory:
    """An asker that has another one do the asking, once per question: what a cache is like."""

    def __init__(self, hub: IHub, inner: IAsker) -> None:
        self.hub = hub
        self.inner = inner
        self.known: dict[Question, Answer] = {}

    def ask(self, question: Question, done: Callable[[Answer], object], /) -> Callable[[], object]:
        if question in self.known:
            return self.hub.loop.run_callback(done, self.known[question]).stop

        def came(reply: Answer) -> None:
            if reply.ttl:
                self.known[question] = reply
            done(reply)

        return self.inner.ask(question, came)

    def close(self) -> None:
        self.inner.close()


def test_an_asker_may_stand_before_another_one(make: Make, hub: IHub) -> None:
    resolver, asker = make({"www": "192.0.2.1"}, conf="")
    resolver.asker = Memory(hub, asker)
    assert [resolver.gethostbyname("www") for _ in range(3)] == ["192.0.2.1"] * 3
    assert len(asker.asked) == 1


# -- shapes: the comparison in tests/journeys asks the C library; these need no namespaces -----------------------------

STREAM = socket.SOCK_STREAM


def addresses(entries: list[tuple[Any, ...]]) -> list[str]:
    return [entry[4][0] for entry in entries]


def test_an_address_has_an_entry_for_each_kind_of_socket_as_from_the_socket_module(make: Make) -> None:
    resolver, _ = make({"www": "127.0.0.1"}, conf="")
    assert resolver.getaddrinfo("www", "domain") == socket.getaddrinfo("127.0.0.1", "domain")
    assert resolver.getaddrinfo("127.0.0.1", 80) == socket.getaddrinfo("127.0.0.1", 80)
    assert resolver.getaddrinfo("www", 80, 0, STREAM) == socket.getaddrinfo("127.0.0.1", 80, 0, STREAM)


def test_the_first_entry_has_the_canonical_name_if_one_asks_for_it(make: Make) -> None:
    resolver, _ = make({"www.first": "192.0.2.1"})
    entries = resolver.getaddrinfo("www", 80, flags=socket.AI_CANONNAME)
    assert [entry[3] for entry in entries] == ["www.first"] + [""] * (len(entries) - 1)


def test_ipv4_addresses_are_mapped_for_who_has_only_ipv6_sockets(make: Make) -> None:
    resolver, _ = make({"four": "192.0.2.1", "six": "2001:db8::1"}, conf="")
    mapped = socket.AI_V4MAPPED
    four = resolver.getaddrinfo("four", 80, socket.AF_INET6, STREAM, 0, mapped)
    assert four == [(socket.AF_INET6, STREAM, 6, "", ("::ffff:192.0.2.1", 80, 0, 0))]
    assert addresses(resolver.getaddrinfo("six", 80, socket.AF_INET6, STREAM, 0, mapped)) == ["2001:db8::1"]
    with pytest.raises(socket.gaierror):
        resolver.getaddrinfo("none", 80, socket.AF_INET6, STREAM, 0, mapped)


def test_with_all_both_the_mapped_and_the_others_come(make: Make) -> None:
    resolver, asker = make({"both": "192.0.2.1"}, conf="")
    asker.table["both", AAAA] = (FOUND, ("2001:db8::1",))
    every = socket.AI_V4MAPPED | socket.AI_ALL
    found = addresses(resolver.getaddrinfo("both", 80, socket.AF_INET6, STREAM, 0, every))
    assert set(found) == {"2001:db8::1", "::ffff:192.0.2.1"}


@pytest.mark.parametrize(
    ("configured", "family", "asked"),
    [
        ({socket.AF_INET}, 0, {A}),
        ({socket.AF_INET6}, 0, {AAAA}),
        (set(), 0, {A, AAAA}),
        ({socket.AF_INET}, socket.AF_INET, {A}),
        ({socket.AF_INET}, socket.AF_INET6, set()),
    ],
)
def test_only_families_that_this_machine_has_are_asked_for_if_one_asks_so(
    make: Make, monkeypatch: pytest.MonkeyPatch, configured: set[int], family: int, asked: set[int]
) -> None:
    monkeypatch.setattr("hub_resolver._order.configured_families", lambda: frozenset(configured))
    resolver, asker = make({}, conf="")
    with pytest.raises(socket.gaierror, match="Name or service not known"):
        resolver.getaddrinfo("www", 80, family, 0, 0, socket.AI_ADDRCONFIG)
    assert {question.type for question in asker.asked} == asked


def test_the_older_functions_say_what_the_newer_one_says(make: Make) -> None:
    resolver, _ = make({"www.first": "192.0.2.1"}, hosts="10.0.0.1 main also\n")
    assert resolver.gethostbyname_ex("www") == ("www.first", [], ["192.0.2.1"])
    assert resolver.gethostbyname_ex("also") == ("main", ["also"], ["10.0.0.1"])
    assert resolver.gethostbyname_ex("127.1") == socket.gethostbyname_ex("127.1")
    assert resolver.gethostbyaddr("10.0.0.1") == ("main", ["also"], ["10.0.0.1"])
    assert resolver.gethostbyaddr("also") == ("main", ["also"], ["10.0.0.1"])
    assert [resolver.gethostbyname(name) for name in ("", "<broadcast>", "0x7f.1")] == [
        "0.0.0.0",
        "255.255.255.255",
        "127.0.0.1",
    ]
    with pytest.raises(socket.herror) as caught:
        resolver.gethostbyname_ex("")
    assert caught.value.args[0] == 3
    with pytest.raises(OSError, match="wildcard resolved to multiple address"):
        resolver.gethostbyaddr("")


def test_a_name_of_digits_and_dots_alone_is_asked_of_nobody(make: Make) -> None:
    resolver, asker = make({})
    with pytest.raises(socket.gaierror):
        resolver.gethostbyname("1.2.3.256")
    assert asker.asked == []


def test_getnameinfo_does_as_its_flags_say(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "me.home.test")
    resolver, asker = make({}, conf="", hosts="10.0.0.1 www.home.test\n10.0.0.2 www.other.test\n")
    sockaddr, number, service = ("10.0.0.1", 80), socket.NI_NUMERICHOST, socket.NI_NUMERICSERV
    assert resolver.getnameinfo(sockaddr, 0) == ("www.home.test", "http")
    assert resolver.getnameinfo(sockaddr, number | service) == ("10.0.0.1", "80")
    assert resolver.getnameinfo(sockaddr, socket.NI_NOFQDN) == ("www", "http")
    assert resolver.getnameinfo(("10.0.0.2", 80), socket.NI_NOFQDN) == ("www.other.test", "http")
    assert resolver.getnameinfo(("10.0.0.9", 80), 0) == ("10.0.0.9", "http")
    with pytest.raises(socket.gaierror) as caught:
        resolver.getnameinfo(("10.0.0.9", 80), socket.NI_NAMEREQD)
    assert caught.value.errno == socket.EAI_NONAME
    asker.table["8.0.0.10.in-addr.arpa", PTR] = (AGAIN, ())
    with pytest.raises(socket.gaierror) as caught:
        resolver.getnameinfo(("10.0.0.8", 80), 0)
    assert caught.value.errno == socket.EAI_AGAIN


def test_texts_of_errors_are_there_even_where_the_c_library_cannot_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    from hub_resolver import _errors

    monkeypatch.setattr(_errors, "_text", lambda function, number: None)
    assert _errors.gaierror(socket.EAI_AGAIN).args == (socket.EAI_AGAIN, "Temporary failure in name resolution")
    assert _errors.herror(1).args == (1, "Unknown host")
