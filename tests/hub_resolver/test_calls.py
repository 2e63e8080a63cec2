"""Calls of the C library as questions, on a lane whose jobs end when the test says so."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import Any, cast

import pytest
from tests.hub_resolver.conftest import FakeHub

from hub_api import IHub
from hub_resolver import BlockingResolver, ThreadResolver
from hub_resolver._answers import JOINED
from hub_resolver._calls import Call, Called


class FakeJob:
    """A call that is made when `run` is called, or by the time that its greenlet comes to park."""

    hub_takes = False

    def __init__(self, hub: FakeHub, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self.hub, self.function, self.args = hub, function, args
        self.value: Any = None
        self.exception: BaseException | None = None
        self.links: list[Callable[[FakeJob], object]] = []
        self.started = self.cancelled = False

    def rawlink(self, callback: Callable[[FakeJob], object], /) -> None:
        self.links.append(callback)

    def take(self) -> bool:
        if self.hub_takes and not self.started:
            self.run()
            self._tell()
            return True
        return False

    def cancel(self) -> bool:
        if not self.started:
            self.cancelled = True
            self._tell()
        return not self.started

    def run(self) -> None:
        self.started = True
        try:
            self.value = self.function(*self.args)
        except Exception as error:
            self.exception = error
        self.hub.loop.run_callback(self._tell)

    def _tell(self) -> None:
        for each in self.links:
            each(self)
        self.links.clear()


class FakeLanes:
    """A pool with lanes; jobs run when nobody has anything else to do."""

    def __init__(self, hub: FakeHub) -> None:
        self.hub = hub
        self.jobs: list[FakeJob] = []
        self.lanes: list[tuple[str, int | None]] = []
        self.lazy = False

    def lane(self, name: str, maxsize: int | None = None) -> FakeLanes:
        self.lanes.append((name, maxsize))
        return self

    def submit(self, function: Callable[..., Any], /, *args: Any) -> FakeJob:
        job = FakeJob(self.hub, function, args)
        self.jobs.append(job)
        if not self.lazy:
            self.hub.meanwhile.append(job.run)
        return job


@pytest.fixture
def pool(fake_hub: Any) -> FakeLanes:
    fake_hub.threadpool = FakeLanes(fake_hub)
    return cast(FakeLanes, fake_hub.threadpool)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What the C library is asked; it answers by heart."""
    asked: list[tuple[Any, ...]] = []

    def gethostbyname_ex(name: str) -> tuple[str, list[str], list[str]]:
        asked.append((name,))
        if name == "nobody":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        if name == "silent":
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return name, ["alias"], ["192.0.2.1"]

    monkeypatch.setattr(socket, "gethostbyname_ex", gethostbyname_ex)
    return asked


def test_lookups_go_to_the_lane_of_the_pool_that_the_hub_has_now(hub: IHub, fake_hub: Any, pool: FakeLanes) -> None:
    resolver = ThreadResolver(hub, threads=3)
    for _ in range(2):
        assert resolver.gethostbyname("127.0.0.1") == "127.0.0.1"
    fake_hub.threadpool = other = FakeLanes(fake_hub)
    resolver.gethostbyname("127.0.0.1")
    assert (pool.lanes, other.lanes) == ([("dns", 3)], [("dns", 3)])
    assert (len(pool.jobs), len(other.jobs)) == (2, 1)


def test_a_call_that_is_made_before_its_greenlet_parks_costs_no_turn_of_the_loop(
    hub: IHub, fake_hub: Any, pool: FakeLanes, calls: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeJob, "hub_takes", True)
    pool.lazy = True
    monkeypatch.setattr(fake_hub, "wait_for_event", lambda: pytest.fail("it waited"))
    assert ThreadResolver(hub).gethostbyname_ex("www")[0] == "www"
    assert calls == [("www",)]


def test_without_a_ttl_nothing_is_kept(hub: IHub, pool: FakeLanes, calls: list[Any]) -> None:
    resolver = ThreadResolver(hub)
    for _ in range(2):
        resolver.gethostbyname_ex("www")
    assert calls == [("www",)] * 2
    assert resolver.cache_info().maxsize == 0


def test_with_a_ttl_answers_are_kept_a_no_too_and_everybody_gets_his_own(
    hub: IHub, pool: FakeLanes, calls: list[Any]
) -> None:
    resolver = ThreadResolver(hub, ttl=60)
    for _ in range(3):
        found = resolver.gethostbyname_ex("www")
        assert found == ("www", ["alias"], ["192.0.2.1"])
        found[1].clear()
        found[2].clear()
    errors = []
    for _ in range(3):
        with pytest.raises(socket.gaierror) as caught:
            resolver.gethostbyname_ex("nobody")
        errors.append(caught.value)
    assert calls == [("www",), ("nobody",)]
    assert [error.args for error in errors] == [(socket.EAI_NONAME, "Name or service not known")] * 3
    assert len({id(error) for error in errors}) == 3
    assert resolver.cache_info()[:2] == (4, 2)


def test_that_nobody_answers_is_not_kept(hub: IHub, pool: FakeLanes, calls: list[Any]) -> None:
    resolver = ThreadResolver(hub, ttl=60)
    for _ in range(2):
        with pytest.raises(socket.gaierror, match="Temporary failure"):
            resolver.gethostbyname_ex("silent")
    assert calls == [("silent",)] * 2


def test_arguments_that_are_wrong_are_the_socket_modules_to_refuse(hub: IHub, pool: FakeLanes) -> None:
    resolver: Any = ThreadResolver(hub, ttl=60)
    for host in (["a list"], 7, object()):
        with pytest.raises(TypeError):
            resolver.gethostbyname(host)
    assert resolver.cache_info().currsize == 0


@pytest.mark.parametrize(
    ("lookup", "error"),
    [
        (lambda resolver: resolver.getaddrinfo("www", 80), (socket.gaierror, socket.EAI_AGAIN)),
        (lambda resolver: resolver.gethostbyaddr("192.0.2.1"), (socket.herror, 2)),
    ],
)
def test_past_the_deadline_the_job_is_taken_back_and_the_error_is_that_of_silent_servers(
    hub: IHub, pool: FakeLanes, lookup: Any, error: tuple[type[OSError], int]
) -> None:
    pool.lazy = True
    with pytest.raises(error[0]) as caught:
        lookup(ThreadResolver(hub, deadline=0.001))
    assert caught.value.errno == error[1]
    assert [job.cancelled for job in pool.jobs] == [True]


def test_a_call_that_a_thread_has_begun_is_joined_by_who_looks_up_the_same_later(
    hub: IHub, fake_hub: Any, pool: FakeLanes, calls: list[Any]
) -> None:
    pool.lazy = True
    resolver = ThreadResolver(hub, deadline=0.001)

    def begin() -> None:
        pool.jobs[0].started = True

    fake_hub.meanwhile.append(begin)
    with pytest.raises(socket.gaierror):
        resolver.gethostbyname_ex("www")
    resolver.deadline = None
    fake_hub.meanwhile.append(lambda: pool.jobs[0].run())
    assert resolver.gethostbyname_ex("www")[0] == "www"
    assert len(pool.jobs) == 1


def test_closing_takes_back_what_no_thread_has_begun(hub: IHub, fake_hub: Any, pool: FakeLanes) -> None:
    pool.lazy = True
    resolver = ThreadResolver(hub)
    fake_hub.meanwhile.append(resolver.close)
    with pytest.raises(socket.gaierror, match="was closed while this lookup was under way") as caught:
        resolver.gethostbyname_ex("www")
    assert caught.value.errno == socket.EAI_FAIL
    assert pool.jobs[0].cancelled


class PlainPool:
    """One without lanes."""

    def apply(self, function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        return function(*args)


def test_a_pool_without_lanes_is_used_as_it_is_and_answers_are_kept_if_there_is_a_ttl(
    hub: IHub, fake_hub: Any, calls: list[Any]
) -> None:
    fake_hub.threadpool = PlainPool()
    for resolver, count in ((ThreadResolver(hub), 2), (ThreadResolver(hub, ttl=60), 1)):
        calls.clear()
        for _ in range(2):
            assert resolver.gethostbyname_ex("www")[1:] == (["alias"], ["192.0.2.1"])
        assert len(calls) == count
    for _ in range(2):
        with pytest.raises(socket.gaierror):
            resolver.gethostbyname_ex("nobody")
    assert len(calls) == 2


def test_a_job_of_a_pool_without_lanes_may_look_names_up_and_leaves_the_cache_alone(
    hub: IHub, fake_hub: Any, calls: list[Any]
) -> None:
    fake_hub.threadpool = PlainPool()
    resolver, found = ThreadResolver(hub, ttl=60), list[Any]()
    resolver.gethostbyname_ex("www")
    job = threading.Thread(target=lambda: found.append(resolver.gethostbyname_ex("www")))
    job.start()
    job.join()
    assert found == [("www", ["alias"], ["192.0.2.1"])]
    assert len(calls) == 2
    assert resolver.cache_info()[:2] == (0, 1)


def test_a_deadline_in_a_pool_without_lanes_is_refused_at_the_lookup(hub: IHub, fake_hub: Any) -> None:
    fake_hub.threadpool = PlainPool()
    with pytest.raises(TypeError, match=r"cannot keep a deadline in .*PlainPool.*, which has no lanes: use one that"):
        ThreadResolver(hub, deadline=1.0).gethostbyname("localhost")


# -- on the spot ------------------------------------------------------------------------------------------------------


def test_the_blocking_resolver_keeps_answers_if_there_is_a_ttl_and_only_then(hub: IHub, calls: list[Any]) -> None:
    for resolver, count in ((BlockingResolver(), 2), (BlockingResolver(hub), 2), (BlockingResolver(hub, ttl=60), 1)):
        calls.clear()
        for _ in range(2):
            found = resolver.gethostbyname_ex("www")
            assert found == ("www", ["alias"], ["192.0.2.1"])
            found[1].clear()
        assert len(calls) == count
        assert resolver.cache_info().hits == 2 - count
        resolver.close()
        resolver.gethostbyname_ex("www")
        assert len(calls) == count + 1


def test_the_blocking_resolver_asks_anew_in_another_thread(hub: IHub, calls: list[Any]) -> None:
    resolver = BlockingResolver(hub, ttl=60)
    resolver.gethostbyname_ex("www")
    thread = threading.Thread(target=resolver.gethostbyname_ex, args=("www",))
    thread.start()
    thread.join()
    assert len(calls) == 2


def test_a_blocking_resolver_with_a_ttl_needs_a_hub() -> None:
    with pytest.raises(TypeError, match="give it the hub, or no ttl"):
        BlockingResolver(ttl=60)


# -- questions --------------------------------------------------------------------------------------------------------


def test_an_error_that_cannot_be_copied_is_shared() -> None:
    class Odd(Exception):
        def __init__(self, one: int, two: int) -> None:
            super().__init__(one)

    error = Odd(1, 2)
    assert Called(Call(socket.gethostbyname, ("www",)), "failed", error=error).again(None, JOINED).error is error


@pytest.mark.parametrize(
    ("options", "says"),
    [({"ttl": 0}, "ttl must be seconds"), ({"threads": 0}, "threads must be"), ({"threads": True}, "threads must be")],
)
def test_options_that_are_none_are_refused(hub: IHub, options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        ThreadResolver(hub, **options)


SAME = [
    (("www", 80, socket.AF_INET, socket.SOCK_STREAM), ("www", 80, 2, 1)),
    ((("127.0.0.1", 80), 0), (("127.0.0.1", 80), 0)),
    ((b"www", None), (b"www", None)),
]
OTHER = [
    (("www",), (b"www",)),
    (("www", 80), ("www", "80")),
    (("www", 1), ("www", True)),
    (("www", 80), ("www", 80.0)),
    (("WWW",), ("www",)),
    ((("127.0.0.1", 80), 0), (("127.0.0.1", 80.0), 0)),
    ((["www"],), (["www"],)),
    ((bytearray(b"www"),), (bytearray(b"www"),)),
]


@pytest.mark.parametrize(("first", "second", "same"), [(*one, True) for one in SAME] + [(*one, False) for one in OTHER])
def test_calls_are_the_same_question_only_if_the_c_library_sees_the_same(
    first: tuple[Any, ...], second: tuple[Any, ...], same: bool
) -> None:
    one, other = Call(socket.getaddrinfo, first), Call(socket.getaddrinfo, second)
    assert (one == other) is same
    assert one == one  # one that is like no other is still itself
    assert len({one: 1, other: 2}) == (1 if same else 2)
    assert Call(socket.gethostbyname, first) != one
