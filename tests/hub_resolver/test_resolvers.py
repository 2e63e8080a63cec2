"""Both resolvers give the `socket` module's answers and errors.  Only numbers and localhost are asked: no network."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import Any, TypeVar, cast

import pytest

from hub_api import IHub, IResolver
from hub_resolver import BlockingResolver, ThreadResolver

T = TypeVar("T")


class FakePool:
    """Calls in a new thread, and waits for it."""

    def __init__(self) -> None:
        self.called: list[object] = []

    def apply(self, func: Callable[..., T], args: tuple[Any, ...] | None = None) -> T:
        self.called.append(func)
        outcome: list[Any] = []

        def body() -> None:
            try:
                outcome.append(func(*(args or ())))
            except BaseException as error:
                outcome.append(error)

        thread = threading.Thread(target=body)
        thread.start()
        thread.join()
        if isinstance(outcome[0], BaseException):
            raise outcome[0]
        return cast(T, outcome[0])


class FakeHub:
    """A hub as far as a resolver needs one: nobody waits, so its loop is never asked for anything."""

    def __init__(self) -> None:
        self.loop = None
        self.thread_ident = threading.get_ident()
        self.threadpool = FakePool()


@pytest.fixture(params=["thread", "block"])
def resolver(request: pytest.FixtureRequest) -> IResolver:
    hub = cast(IHub, FakeHub())
    return ThreadResolver(hub) if request.param == "thread" else BlockingResolver(hub)


QUESTIONS: list[tuple[str, tuple[Any, ...]]] = [
    ("gethostbyname", ("127.0.0.1",)),
    ("gethostbyname", ("localhost",)),
    ("gethostbyname_ex", ("127.0.0.1",)),
    ("getaddrinfo", ("127.0.0.1", 80)),
    ("getaddrinfo", (None, "80", socket.AF_INET, socket.SOCK_STREAM, 0, socket.AI_PASSIVE)),
    ("getaddrinfo", (b"::1", 80, 0, 0, 0, socket.AI_NUMERICHOST)),
    ("getnameinfo", (("127.0.0.1", 80), socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)),
    ("gethostbyaddr", ("127.0.0.1",)),
    # and what the C library and the module refuse
    ("getaddrinfo", ("not-a-number", 80, 0, 0, 0, socket.AI_NUMERICHOST)),
    ("getaddrinfo", ("127.0.0.1", "no such service")),
    ("getaddrinfo", ("127.0.0.1", 80, -7)),
    ("gethostbyname", ("x" * 64 + ".invalid",)),
    ("gethostbyname", (7,)),
    ("getnameinfo", ("127.0.0.1", 0)),
    ("getnameinfo", (("127.0.0.1", 80, 1 << 21), 0)),
]


def outcome(func: Callable[..., Any], args: tuple[Any, ...]) -> object:
    try:
        return func(*args)
    except Exception as error:
        return type(error), error.args


@pytest.mark.parametrize(("name", "args"), QUESTIONS, ids=[f"{name}{args}"[:50] for name, args in QUESTIONS])
def test_the_answer_or_error_is_that_of_the_socket_module(
    resolver: IResolver, name: str, args: tuple[Any, ...]
) -> None:
    assert outcome(getattr(resolver, name), args) == outcome(getattr(socket, name), args)


def test_getaddrinfo_takes_the_keywords_of_the_socket_module(resolver: IResolver) -> None:
    asked = {"family": socket.AF_INET, "type": socket.SOCK_STREAM, "proto": 0, "flags": socket.AI_NUMERICHOST}
    assert resolver.getaddrinfo(host="127.0.0.1", port=80, **asked) == [
        (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", 80))
    ]


def test_the_thread_resolver_asks_the_pool_that_the_hub_has_now() -> None:
    hub = FakeHub()
    resolver = ThreadResolver(cast(IHub, hub))
    resolver.gethostbyname("127.0.0.1")
    first, hub.threadpool = hub.threadpool, FakePool()
    resolver.gethostbyname("127.0.0.1")
    assert (first.called, hub.threadpool.called) == ([socket.gethostbyname], [socket.gethostbyname])


def test_closing_twice_is_fine_and_a_closed_resolver_still_tells_what_it_is(resolver: IResolver) -> None:
    resolver.close()
    resolver.close()
    assert repr(resolver).startswith(f"<{type(resolver).__name__} at 0x")
