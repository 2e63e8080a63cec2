"""What all resolvers that wait have in common: the deadline, stale answers, the options.  Time is moved by hand."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from tests.hub_resolver.conftest import FakeHub

from hub_api import IHub, InvalidThreadUseError
from hub_loop import Loop
from hub_loop.testing import FakePoller, ManualClock
from hub_resolver._answers import FOUND, NO_NAME, Answer, Question
from hub_resolver._lookups import LookupResolver


class SilentAsker:
    """Answers what is in `known`, and for the rest is silent."""

    def __init__(self, hub: FakeHub) -> None:
        self.hub = hub
        self.asked: list[str] = []
        self.cancelled = 0
        self.known: dict[str, Answer] = {}

    def ask(self, question: Question, done: Callable[[Answer], object], /) -> Callable[[], object]:
        self.asked.append(question.name)
        if question.name in self.known:
            self.hub.loop.run_callback(done, self.known[question.name]._replace(question=question))
        return self._cancel

    def _cancel(self) -> None:
        self.cancelled += 1

    def close(self) -> None:
        pass


@pytest.fixture
def timed_hub(fake_hub: FakeHub, clock: ManualClock) -> Iterator[FakeHub]:
    """A hub whose loop sleeps by moving the clock."""
    real, fake_hub.loop = fake_hub.loop, Loop(poller=FakePoller(clock, wait_for_threads=0.0), clock=clock)
    yield fake_hub
    fake_hub.loop.destroy()
    fake_hub.loop = real


@pytest.fixture
def asker(timed_hub: FakeHub) -> SilentAsker:
    return SilentAsker(timed_hub)


Make = Callable[..., LookupResolver]


@pytest.fixture
def make(timed_hub: FakeHub, asker: SilentAsker, tmp_path: Path) -> Make:
    """A resolver on the asker, with a search list of two, and files of its own."""
    for name, text in (("resolv.conf", "search first second"), ("nsswitch.conf", "hosts: files dns"), ("hosts", "")):
        (tmp_path / name).write_text(text)
    files = {"resolv_conf": "resolv.conf", "hosts": "hosts", "nsswitch": "nsswitch.conf"}
    paths: dict[str, Any] = {key: str(tmp_path / name) for key, name in files.items()}
    return lambda **options: LookupResolver(cast(IHub, timed_hub), asker, **paths, **options)


def reply(status: str = FOUND, ttl: int = 60) -> Answer:
    data = ("192.0.2.1",) if status == FOUND else ()
    return Answer(Question("", 1), status, "www.example.test", (), data, ttl)


@pytest.mark.parametrize(
    ("lookup", "error"),
    [
        (lambda resolver: resolver.getaddrinfo("www.example.test", 80), (socket.gaierror, socket.EAI_AGAIN)),
        (lambda resolver: resolver.gethostbyname("www.example.test"), (socket.gaierror, socket.EAI_AGAIN)),
        (lambda resolver: resolver.gethostbyname_ex("www.example.test"), (socket.gaierror, socket.EAI_AGAIN)),
        (lambda resolver: resolver.gethostbyaddr("192.0.2.1"), (socket.herror, 2)),
        (lambda resolver: resolver.getnameinfo(("192.0.2.1", 80), 0), (socket.gaierror, socket.EAI_AGAIN)),
    ],
)
def test_past_the_deadline_the_error_is_that_of_silent_servers_and_nobody_is_asked_any_more(
    make: Make, asker: SilentAsker, clock: ManualClock, lookup: Any, error: tuple[type[OSError], int]
) -> None:
    before = clock()
    with pytest.raises(error[0]) as caught:
        lookup(make(deadline=3.0))
    assert caught.value.errno == error[1]
    assert clock() - before == pytest.approx(3.0)
    assert len(set(asker.asked)) == 1  # the names of the search list would have come next
    assert asker.cancelled == len(asker.asked)


def test_the_deadline_is_that_of_the_whole_lookup_however_many_names_it_asks_for(
    make: Make, asker: SilentAsker, clock: ManualClock, timed_hub: FakeHub
) -> None:
    resolver = make(deadline=3.0, cache=0)
    asker.known["www.first"] = reply(NO_NAME)
    timed_hub.meanwhile.append(lambda: clock.advance(2.0))
    before = clock()
    with pytest.raises(socket.gaierror) as caught:
        resolver.gethostbyname("www")
    assert caught.value.errno == socket.EAI_AGAIN
    assert asker.asked == ["www.first", "www.second"]
    assert clock() - before == pytest.approx(3.0)


def test_a_lookup_of_a_name_and_then_of_its_address_has_one_deadline_for_both(
    make: Make, asker: SilentAsker, clock: ManualClock, timed_hub: FakeHub
) -> None:
    resolver = make(deadline=3.0)
    asker.known["www.example.test"] = reply()
    timed_hub.meanwhile.append(lambda: clock.advance(2.0))
    before = clock()
    with pytest.raises(socket.herror) as caught:
        resolver.gethostbyaddr("www.example.test")
    assert caught.value.errno == 2
    assert asker.asked[-1] == "1.2.0.192.in-addr.arpa"
    assert clock() - before == pytest.approx(3.0)


def test_each_lookup_has_a_deadline_of_its_own_and_one_in_time_is_not_touched(
    make: Make, asker: SilentAsker, clock: ManualClock
) -> None:
    resolver = make(deadline=3.0, cache=0)
    asker.known["www.example.test"] = reply()
    for _ in range(3):
        assert resolver.gethostbyname("www.example.test") == "192.0.2.1"
        clock.advance(2.0)


def test_a_deadline_ends_by_a_stale_answer_if_there_is_one_and_stale_is_allowed(
    make: Make, asker: SilentAsker, clock: ManualClock
) -> None:
    resolver = make(deadline=3.0, stale=100.0)
    asker.known["www.example.test"] = reply(ttl=60)
    assert resolver.gethostbyname("www.example.test") == "192.0.2.1"
    clock.advance(60)
    asker.known.clear()
    assert resolver.gethostbyname("www.example.test") == "192.0.2.1"
    assert resolver.cache_info().stale == 1
    clock.advance(100)
    with pytest.raises(socket.gaierror):
        resolver.gethostbyname("www.example.test")


def test_the_cache_answers_until_it_is_emptied(make: Make, asker: SilentAsker) -> None:
    resolver = make()
    asker.known["www.example.test"] = reply()
    for _ in range(3):
        assert resolver.gethostbyname("www.example.test") == "192.0.2.1"
    assert asker.asked == ["www.example.test"]
    assert resolver.cache_info()[:3] == (2, 1, 0)
    resolver.cache_clear()
    resolver.gethostbyname("www.example.test")
    assert asker.asked == ["www.example.test"] * 2
    resolver.close()
    assert resolver.cache_info().currsize == 0


def test_each_caller_gets_a_list_of_his_own(make: Make, asker: SilentAsker) -> None:
    resolver = make()
    asker.known["www.example.test"] = reply()
    resolver.getaddrinfo("www.example.test", 80, socket.AF_INET).clear()
    assert resolver.getaddrinfo("www.example.test", 80, socket.AF_INET)


def test_what_servers_said_is_forgotten_when_resolv_conf_names_others(
    make: Make, asker: SilentAsker, tmp_path: Path
) -> None:
    resolver = make()
    asker.known["www.example.test"] = reply()
    resolver.gethostbyname("www.example.test")
    (tmp_path / "resolv.conf").write_text("nameserver 192.0.2.53\nsearch first second\n")
    resolver.gethostbyname("www.example.test")
    assert asker.asked == ["www.example.test"] * 2


def test_the_cache_of_another_thread_is_not_emptied(make: Make) -> None:
    import threading

    resolver, caught = make(), list[BaseException]()

    def body() -> None:
        try:
            resolver.cache_clear()
        except InvalidThreadUseError as error:
            caught.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert "cache_clear of <LookupResolver" in str(caught[0])


@pytest.mark.parametrize("deadline", [0, -1.0, float("nan")])
def test_a_deadline_that_is_none_is_refused(make: Make, deadline: float) -> None:
    with pytest.raises(ValueError, match="deadline must be seconds, or None for none, got"):
        make(deadline=deadline)
