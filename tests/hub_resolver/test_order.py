"""The order of addresses, rule by rule; the comparison in tests/journeys asks the C library for real ones."""

from __future__ import annotations

import socket
from ipaddress import IPv6Address

import pytest

from hub_resolver import _order
from hub_resolver._order import Candidate, Local, configured_families, local_addresses, ordered, policy, sort

INET, INET6 = socket.AF_INET, socket.AF_INET6


def candidate(
    address: str, source: str | None, prefix: int = 64, deprecated: bool = False, home: bool = False
) -> Candidate:
    family = INET6 if ":" in address else INET

    def as_ipv6(text: str) -> IPv6Address:
        return IPv6Address(text if ":" in text else f"::ffff:{text}")

    if source is None:
        return Candidate(family, address, as_ipv6(address), None, None)
    local = Local(family, source, prefix, deprecated, home)
    return Candidate(family, address, as_ipv6(address), as_ipv6(source), local)


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        (candidate("192.0.2.1", "192.0.2.9"), candidate("2001:db8::1", None)),
        (candidate("2001:db8::1", "2001:db8::9"), candidate("2001:db8::2", "fe80::9")),
        (candidate("2001:db8::2", "2001:db8::8"), candidate("2001:db8::1", "2001:db8::9", deprecated=True)),
        (candidate("2001:db8::2", "2001:db8::8", home=True), candidate("2001:db8::1", "2001:db8::9")),
        (candidate("192.0.2.1", "192.0.2.9"), candidate("2002::1", "2001:db8::9")),
        (candidate("2001:db8::1", "2001:db8::9"), candidate("192.0.2.1", "192.0.2.9")),
        (candidate("fe80::1", "fe80::9"), candidate("2001:db8::1", "2001:db8::9")),
        (candidate("2001:db8::1", "2001:db8::9"), candidate("2001:db8:1::1", "2001:db8::9")),
        (candidate("192.0.2.1", "192.0.2.9", 24), candidate("198.51.100.1", "192.0.2.9", 24)),
    ],
    ids=["usable", "scope", "not deprecated", "home", "label", "precedence", "smaller scope", "prefix", "own network"],
)
def test_each_rule_puts_the_better_first(better: Candidate, worse: Candidate) -> None:
    assert ordered([worse, better], policy("")) == [better, worse]
    assert ordered([better, worse], policy("")) == [better, worse]


def test_equals_stay_as_they_came() -> None:
    first, second = candidate("192.0.2.1", "10.0.0.9", 8), candidate("192.0.2.2", "10.0.0.9", 8)
    assert ordered([first, second], policy("")) == [first, second]
    assert ordered([second, first], policy("")) == [second, first]


def test_gai_conf_replaces_the_table_it_has_rows_of() -> None:
    ipv4_first = policy("# comment\nprecedence ::ffff:0:0/96  100\nlabel broken\nlabel ::/0 x\n")
    six, four = candidate("2001:db8::1", "2001:db8::9"), candidate("192.0.2.1", "192.0.2.9")
    assert ordered([six, four], ipv4_first) == [four, six]
    assert ipv4_first.labels == policy("").labels


def test_a_single_address_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_order, "local_addresses", None)
    assert sort([(INET, "192.0.2.1")]) == [(INET, "192.0.2.1")]


@pytest.mark.skipif(not hasattr(socket, "AF_NETLINK"), reason="the addresses of this machine come by netlink")
def test_this_machine_has_the_loopback() -> None:
    assert "127.0.0.1" in [one.address for one in local_addresses()]
    assert next(one for one in local_addresses() if one.address == "127.0.0.1").prefix == 8


def test_where_the_kernel_does_not_tell_its_addresses_one_asks_for_a_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_order, "local_addresses", list)
    monkeypatch.setattr(_order, "_source", lambda family, address: "192.0.2.9" if family == INET else None)
    assert configured_families() == {INET}


def test_without_netlink_there_are_no_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "AF_NETLINK", raising=False)
    assert local_addresses() == []
    assert sort([(INET, "127.0.0.1"), (INET, "127.0.0.2")]) == [(INET, "127.0.0.1"), (INET, "127.0.0.2")]
