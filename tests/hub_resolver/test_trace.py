"""What a traced lookup tells: every step of every resolver, as data and as text; and that nobody else's is told."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from hub_api import IHub
from hub_resolver import BlockingResolver, ThreadResolver, Trace, _steps, trace
from hub_resolver._answers import AAAA, AGAIN, FOUND, NO_NAME, A, Answer, IAsker, Question, Try
from hub_resolver._lookups import LookupResolver

SERVER = "192.0.2.53#53"


class Asker:
    """Answers from a table: name and type to status, data, and codes of queries."""

    def __init__(self, hub: IHub) -> None:
        self.hub = hub
        self.table: dict[tuple[str, int], tuple[str, tuple[str, ...], tuple[str, ...]]] = {}
        self.silent = False
        self.cancelled = 0

    def ask(self, question: Question, done: Callable[[Answer], object], /) -> Callable[[], object]:
        status, data, codes = self.table.get((question.name, question.type), (NO_NAME, (), ("NXDOMAIN",)))
        tries = tuple(Try(SERVER, code, 0.25) for code in codes)
        aliases = (question.name,) if question.name.startswith("alias") else ()
        reply = Answer(question, status, "www.real.test", aliases, data, 60 if data else None, tries, 0.25)
        live = [] if self.silent else [done]
        self.hub.loop.run_callback(lambda: live and live.pop()(reply))

        def cancel() -> None:
            self.cancelled += bool(live)
            live.clear()

        return cancel

    def close(self) -> None:
        pass


@pytest.fixture
def asker(hub: IHub) -> Asker:
    return Asker(hub)


@pytest.fixture
def resolver(hub: IHub, asker: Asker, tmp_path: Path) -> LookupResolver:
    (tmp_path / "resolv.conf").write_text("search first.test second.test\n")
    (tmp_path / "nsswitch.conf").write_text("hosts: files dns\n")
    (tmp_path / "hosts").write_text("10.0.0.1 mine me\n")
    return LookupResolver(
        hub,
        cast(IAsker, asker),
        resolv_conf=str(tmp_path / "resolv.conf"),
        hosts=str(tmp_path / "hosts"),
        nsswitch=str(tmp_path / "nsswitch.conf"),
    )


def told(traced: Trace) -> list[tuple[str, str]]:
    return [(step.kind, step.subject) for step in traced.steps]


def test_a_trace_has_the_hosts_file_the_search_list_every_question_and_every_query(
    resolver: LookupResolver, asker: Asker, tmp_path: Path
) -> None:
    asker.table["www.second.test", A] = (FOUND, ("192.0.2.1", "192.0.2.2"), ("SERVFAIL", "NOERROR"))
    traced = resolver.trace("www", 80, socket.AF_INET, socket.SOCK_STREAM)
    assert told(traced) == [
        ("hosts", str(tmp_path / "hosts")),
        ("search", str(tmp_path / "resolv.conf")),
        ("name", "www.first.test"),
        ("question", "www.first.test A"),
        ("query", SERVER),
        ("name", "www.second.test"),
        ("question", "www.second.test A"),
        ("query", SERVER),
        ("query", SERVER),
        ("order", "RFC 6724"),
    ]
    hosts, search, *_, first, second, order = traced.steps
    assert hosts.outcome == "does not have www"
    assert search.outcome == "ndots 1, search list: first.test second.test"
    assert (first.outcome, second.outcome) == ("SERVFAIL", "NOERROR")
    assert second.began - first.began == pytest.approx(first.elapsed) == pytest.approx(0.25)
    assert order.data == traced.addresses
    assert sorted(traced.addresses) == ["192.0.2.1", "192.0.2.2"]
    assert traced.error is None
    assert traced.reason == ""
    assert traced.entries == tuple(resolver.getaddrinfo("www", 80, socket.AF_INET, socket.SOCK_STREAM))


def test_a_question_tells_its_status_its_aliases_and_how_long_the_answer_holds(
    resolver: LookupResolver, asker: Asker
) -> None:
    asker.table["alias.test", A] = (FOUND, ("192.0.2.1",), ("NOERROR",))
    asker.table["alias.test", AAAA] = (AGAIN, (), ("timed out", "timed out"))
    questions = [step for step in resolver.trace("alias.test.").steps if step.kind == "question"]
    assert {step.subject: step.outcome for step in questions} == {
        "alias.test A": "found, by way of www.real.test, for 60 s",
        "alias.test AAAA": "no answer, by way of www.real.test",
    }
    assert questions[0].data == ("192.0.2.1",)


def outcome(traced: Trace) -> str:
    (question,) = (step for step in traced.steps if step.kind == "question")
    return question.outcome


def test_an_answer_from_the_cache_says_so_and_has_no_queries(resolver: LookupResolver, asker: Asker) -> None:
    asker.table["www.test", A] = (FOUND, ("192.0.2.1",), ("NOERROR",))
    assert ("query", SERVER) in told(resolver.trace("www.test.", None, socket.AF_INET))
    again = resolver.trace("www.test.", None, socket.AF_INET)
    assert outcome(again).startswith("found, for ")
    assert outcome(again).endswith(" s, from the cache")
    assert ("query", SERVER) not in told(again)
    assert again.addresses == ("192.0.2.1",)


def test_a_question_that_is_under_way_already_says_so(resolver: LookupResolver, asker: Asker, fake_hub: Any) -> None:
    asker.table["www.test", A] = (FOUND, ("192.0.2.1",), ("NOERROR",))
    inner: list[Trace] = []
    fake_hub.meanwhile.append(lambda: inner.append(resolver.trace("www.test.", None, socket.AF_INET)))
    assert outcome(resolver.trace("www.test.", None, socket.AF_INET)) == "found, for 60 s"
    assert outcome(inner[0]) == "found, for 60 s, asked by another lookup"


def test_a_question_that_takes_longer_than_the_lookup_may_says_so(resolver: LookupResolver, asker: Asker) -> None:
    asker.silent = True
    resolver.deadline = 0.001
    traced = resolver.trace("www.test.", None, socket.AF_INET)
    assert outcome(traced) == "no answer, the time for the lookup was up"
    assert isinstance(traced.error, socket.gaierror)
    assert traced.error.errno == socket.EAI_AGAIN


def test_what_needs_no_question_says_why(resolver: LookupResolver) -> None:
    assert told(resolver.trace("192.0.2.7", 80)) == [("numeric", "192.0.2.7")]
    (hosts, _) = resolver.trace("me").steps
    assert (hosts.outcome, hosts.data) == ("has me, as mine me", ("10.0.0.1",))
    assert ("localhost", "a.localhost") in told(resolver.trace("a.localhost"))
    (refused,) = (step for step in resolver.trace("no host.").steps if step.kind == "name")
    assert refused.outcome == "cannot be a host's name, so it is not asked for"


def test_a_name_that_is_not_found_is_a_trace_with_the_error(resolver: LookupResolver) -> None:
    traced = resolver.trace("nothere.test.", "http")
    assert isinstance(traced.error, socket.gaierror)
    assert traced.error.errno == socket.EAI_NONAME
    assert traced.error.__traceback__ is None
    assert (traced.addresses, traced.entries) == ((), ())
    assert traced.reason == "Name or service not known"
    assert isinstance(resolver.trace("a" * 64).error, UnicodeError)


def test_a_wrong_argument_is_raised_and_leaves_nothing_behind(resolver: LookupResolver) -> None:
    with pytest.raises(TypeError):
        resolver.trace(80.5, 80)  # type: ignore[arg-type]  # that is what is wrong
    assert _steps.current() is None


def test_a_lookup_that_is_ended_has_written_down_what_it_waited_for(
    resolver: LookupResolver, asker: Asker, fake_hub: Any
) -> None:
    asker.silent = True
    fake_hub.meanwhile.append(resolver.close)
    traced = resolver.trace("www.test.")
    assert isinstance(traced.error, socket.gaierror)
    assert "was closed while this lookup was under way" in traced.reason
    ends = [step.outcome for step in traced.steps if step.kind == "question"]
    assert ends == ["given up before there was an answer"] * 2


def test_a_lookup_that_nobody_traces_is_not_written_down(resolver: LookupResolver) -> None:
    before = resolver.trace("me")
    resolver.getaddrinfo("mine", 80)
    assert _steps.current() is None
    assert [step.outcome for step in before.steps if step.kind == "hosts"] == ["has me, as mine me"]


def test_a_lookup_within_a_traced_one_has_a_trace_of_its_own(resolver: LookupResolver, fake_hub: Any) -> None:
    inner: list[Trace] = []
    fake_hub.meanwhile.append(lambda: inner.append(resolver.trace("me")))  # while the outer one waits
    outer = resolver.trace("www.test.", None, socket.AF_INET)
    assert [step.kind for step in inner[0].steps] == ["hosts", "order"]
    assert ("question", "www.test A") in told(outer)
    assert len([step for step in outer.steps if step.kind == "hosts"]) == 1


def test_a_reverse_lookup_writes_its_steps_down_too(resolver: LookupResolver, asker: Asker) -> None:
    notes = _steps.Notes()
    with _steps.written(notes), pytest.raises(socket.herror):
        resolver.gethostbyaddr("10.9.9.9")
    assert [(step.kind, step.subject) for step in notes.steps][1:] == [
        ("question", "9.9.9.10.in-addr.arpa PTR"),
        ("query", SERVER),
    ]


def test_of_a_pool_without_lanes_a_trace_tells_the_wait_for_a_thread_and_the_call(fake_hub: Any) -> None:
    fake_hub.threadpool = ApplyingPool()
    traced = ThreadResolver(cast(IHub, fake_hub)).trace("127.0.0.1", 80, 0, socket.SOCK_STREAM)
    assert told(traced) == [("queue", "getaddrinfo"), ("libc", "getaddrinfo")]
    queue, call = traced.steps
    assert queue.began + queue.elapsed <= call.began
    assert call.outcome == "returned"
    assert traced.addresses == ("127.0.0.1",)
    assert traced.resolver == "ThreadResolver"


class ApplyingPool:
    """Calls in a new thread, and waits for it."""

    def apply(self, function: Callable[..., Any], args: tuple[Any, ...] = ()) -> Any:
        out: list[Any] = []
        thread = threading.Thread(target=lambda: out.append(function(*args)))
        thread.start()
        thread.join()
        return out[0]


def test_of_the_blocking_resolver_it_tells_the_call_and_its_error() -> None:
    traced = BlockingResolver().trace("127.0.0.1", "no-such-service")
    assert told(traced) == [("libc", "getaddrinfo")]
    assert traced.steps[0].outcome.startswith("gaierror: ")
    assert isinstance(traced.error, socket.gaierror)


def test_what_the_blocking_resolver_has_kept_is_told_as_kept(hub: IHub) -> None:
    resolver = BlockingResolver(hub, ttl=30)
    assert [step.kind for step in resolver.trace("127.0.0.1", 80).steps] == ["libc", "question"]
    (step,) = resolver.trace("127.0.0.1", 80).steps
    assert step.kind == "question"
    assert step.outcome.endswith(", from the cache")


class Foreign(BlockingResolver):
    """A resolver of somebody else's."""

    def getaddrinfo(self, host: Any, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0) -> Any:
        return [(socket.AF_INET6, type, proto, "", ("fe80::1", 80, 0, 2))]


def test_any_resolver_can_be_traced_if_it_tells_only_its_result() -> None:
    traced = trace(Foreign(), b"fo\xffreign", b"80")
    assert (traced.resolver, traced.steps, traced.addresses) == ("Foreign", (), ("fe80::1%2",))
    assert traced.as_dict()["host"] == "fo\\xffreign"
    assert traced.as_dict()["port"] == "80"


def test_the_data_go_through_json_unchanged(resolver: LookupResolver, asker: Asker) -> None:
    asker.table["www.test", A] = (FOUND, ("192.0.2.1",), ("NOERROR",))
    told = resolver.trace("www.test.", 80, socket.AF_INET, socket.SOCK_STREAM).as_dict()
    assert json.loads(json.dumps(told)) == told
    assert (told["family"], told["addresses"], told["error"]) == ("IPv4", ["192.0.2.1"], None)
    assert told["entries"] == [
        {
            "family": "IPv4",
            "type": socket.SOCK_STREAM,
            "proto": socket.IPPROTO_TCP,
            "canonical": "",
            "sockaddr": ["192.0.2.1", 80],
        }
    ]
    assert set(told["steps"][0]) == {"kind", "subject", "outcome", "began", "elapsed", "data"}
    failed = resolver.trace("nothere.test.").as_dict()["error"]
    assert failed == {"class": "gaierror", "number": socket.EAI_NONAME, "text": "Name or service not known"}


def test_the_text_has_a_line_for_each_step_and_the_result_at_the_end(resolver: LookupResolver, asker: Asker) -> None:
    asker.table["www.test", A] = (FOUND, ("192.0.2.1",), ("NOERROR",))
    traced = resolver.trace("www.test.", 80, socket.AF_INET)
    head, columns, *steps, end = str(traced).splitlines()
    assert head == "www.test., port 80, IPv4 only, by LookupResolver"
    assert columns.split() == ["at", "ms", "took", "ms"]
    assert len(steps) == len(traced.steps)
    assert any(line.endswith("question  www.test A: found, for 60 s: 192.0.2.1") for line in steps)
    assert any(line.endswith(f"250.0      query     {SERVER}: NOERROR") for line in steps)
    assert end.endswith("in all: 192.0.2.1")
    assert str(resolver.trace("nothere.test.")).endswith("in all: gaierror: [Errno -2] Name or service not known")


@pytest.mark.parametrize(
    ("name", "tells"), [("big-1", "NOERROR over UDP"), ("truncated", "NOERROR over TCP"), ("drop", "timed out")]
)
def test_a_query_tells_how_its_answer_came(hub: IHub, tmp_path: Path, name: str, tells: str) -> None:
    testing = pytest.importorskip("hub_resolver.testing", reason="needs the extra hub-resolver[dnspython]")
    from hub_resolver import DnspythonResolver

    with testing.NameServer() as server:
        files = str(tmp_path / "none")
        resolver = DnspythonResolver(
            hub, servers=[server.server], timeout=5 if "NOERROR" in tells else 0.05, tries=1, hosts=files
        )
        traced = resolver.trace(f"{name}.example.test.", None, socket.AF_INET)
        resolver.close()
    (query,) = (step for step in traced.steps if step.kind == "query")
    assert query.outcome == tells
    assert query.subject == f"127.0.0.1#{server.port}"
