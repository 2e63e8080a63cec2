"""Addresses, and arguments that are wrong: what a lookup says before anybody is asked, as the `socket` module does."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub_resolver import _addresses

NAME = "www.example.test"


def outcome(function: Any, *args: Any) -> Any:
    """The result, or the error as its class and arguments."""
    try:
        return function(*args)
    except Exception as error:
        return type(error), str(error)


def by_the_socket_module(host: Any, port: Any, family: Any, type: Any, proto: Any, flags: Any) -> Any:
    """What the C library says without looking anything up; None: it would have to."""
    said = outcome(socket.getaddrinfo, host, port, family, type, proto, flags | socket.AI_NUMERICHOST)
    no_name = outcome(socket.getaddrinfo, NAME, None, 0, 0, 0, socket.AI_NUMERICHOST)
    return None if said == no_name and not flags & socket.AI_NUMERICHOST else said


@pytest.mark.parametrize(
    "args",
    [
        (80, 0, 0, 0, 0),
        (80, socket.AF_INET, socket.SOCK_STREAM, 0, 0),
        (80, socket.AF_INET6, socket.SOCK_STREAM, 0, 0),
        (80, int(socket.AF_INET), int(socket.SOCK_DGRAM), socket.IPPROTO_UDP, 0),
        (80, 0, 0, 0, int(socket.AI_PASSIVE)),
        (80, 0, 0, 0, int(socket.AI_CANONNAME)),
        (80, 0, 0, 0, socket.AI_CANONNAME),
        (80, socket.AF_INET6, 0, 0, int(socket.AI_V4MAPPED)),
        (80, 0, 0, 0, int(socket.AI_NUMERICHOST)),
        (70000, 0, 0, 0, 0),
        (-1, 0, 0, 0, 0),
        (1 << 80, 0, 0, 0, 0),
        (None, 0, 0, 0, 0),
        ("http", 0, 0, 0, 0),
        ("nosuchservice", 0, 0, 0, 0),
        (b"80", 0, 0, 0, 0),
        (80.0, 0, 0, 0, 0),
        (True, 0, 0, 0, 0),
        (80, socket.AF_UNIX, 0, 0, 0),
        (80, 1 << 40, 0, 0, 0),
        (80, 0, 77, 0, 0),
        (80, 0, socket.SOCK_STREAM, socket.IPPROTO_UDP, 0),
        (80, 0, 1.0, 0, 0),
        (80, 0, [], 0, 0),
        (80, 0, 0, 0, 1 << 20),
        (80, 0, 0, 0, 1 << 40),
    ],
)
@pytest.mark.parametrize("host", [NAME, "localhost", "n:1", "127.0.0.1", "0x7f.1", "1.2.3", "::1", "fe80::1%1", b"a"])
def test_what_is_wrong_with_arguments_is_said_as_the_socket_module_does_the_second_time_too(
    host: Any, args: tuple[Any, ...]
) -> None:
    expected = by_the_socket_module(host, *args)
    assert outcome(_addresses.numeric, host, *args) == expected
    assert outcome(_addresses.numeric, host, *args) == expected


@given(host=st.text("0123456789abcdefgxyzABCDEFXZ.:%-_ \0\u00e4", max_size=12))
def test_of_what_is_plainly_a_name_none_is_an_address(host: str) -> None:
    if _addresses._is_plainly_a_name(host):
        with pytest.raises((socket.gaierror, UnicodeError)):
            socket.getaddrinfo(host, 80, 0, socket.SOCK_STREAM, 0, socket.AI_NUMERICHOST)


def test_the_port_of_a_service_is_asked_for_each_time_and_that_of_a_number_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = [(int(socket.AF_INET), "192.0.2.1")]
    asked: list[Any] = []
    real = socket.getaddrinfo
    _addresses._shape.cache_clear()

    def noting(*args: Any) -> Any:
        asked.append(args[1])
        return real(*args)

    monkeypatch.setattr(socket, "getaddrinfo", noting)
    for port in (80, 80, "http", "http"):
        assert [entry[4] for entry in _addresses.entries(found, port, 1, 0, 0, "")] == [("192.0.2.1", 80)]
    assert asked == [80, "http", "http"]
