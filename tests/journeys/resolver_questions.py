"""What the C library and our resolvers are asked in each world of test_resolver_differences.py, which has the zones."""

from __future__ import annotations

import socket
from typing import Any

Question = tuple[str, tuple[Any, ...]]

AI = {
    "": 0,
    "canon": socket.AI_CANONNAME,
    "passive": socket.AI_PASSIVE,
    "numerichost": socket.AI_NUMERICHOST,
    "numericserv": socket.AI_NUMERICSERV,
    "addrconfig": socket.AI_ADDRCONFIG,
    "v4mapped": socket.AI_V4MAPPED,
    "all": socket.AI_V4MAPPED | socket.AI_ALL,
}
STREAM, INET, INET6 = socket.SOCK_STREAM, socket.AF_INET, socket.AF_INET6


def getaddrinfo(
    host: Any, port: Any = 80, family: int = 0, type: int = STREAM, proto: int = 0, flags: str = ""
) -> Question:
    return "getaddrinfo", (host, port, family, type, proto, sum(AI[one] for one in flags.split()))


def of_name(name: str) -> list[Question]:
    """What is asked of most names."""
    return [
        getaddrinfo(name),
        getaddrinfo(name, family=INET),
        getaddrinfo(name, family=INET6),
        getaddrinfo(name, flags="canon"),
        ("gethostbyname", (name,)),
        ("gethostbyname_ex", (name,)),
    ]


def of_address(address: str) -> list[Question]:
    return [("gethostbyaddr", (address,)), ("getnameinfo", ((address, 80), 0))]


def in_the_zone() -> list[Question]:
    names = (
        "www.example.test",
        "www",
        "www.example.test.",
        "four",
        "six",
        "many",
        "alias",
        "alias3",
        "out",
        "dangling",
        "text",
        "under_score",
        "any.wild",
        "upper",
        "loop1",
        "a.b",
        "nothere",
        "nothere.example.test.",
        "nothere.test",
        "www.sub",
        "example.test",
        "bücher",
        "refused.elsewhere.",
    )
    questions = [question for name in names for question in of_name(name)]
    addresses = (
        "192.0.2.1",
        "192.0.2.4",
        "192.0.2.5",
        "192.0.2.6",
        "192.0.2.7",
        "192.0.2.77",
        "2001:db8::1",
        "2001:db8::77",
    )
    questions += [question for address in addresses for question in of_address(address)]
    flags = ("v4mapped", "all", "addrconfig", "passive", "numericserv", "canon v4mapped", "numerichost")
    questions += [getaddrinfo(name, family=INET6, flags=one) for one in flags for name in ("four", "www", "nothere")]
    questions += [getaddrinfo("many", 53, type=0), getaddrinfo("four", type=0), getaddrinfo("www", None)]
    questions += [
        getaddrinfo("www", "http"),
        getaddrinfo("www", "domain", type=0),
        getaddrinfo("www", "no-such-service"),
        getaddrinfo("www", "80"),
        getaddrinfo("www", "70000"),
        getaddrinfo("www", ""),
        getaddrinfo("www", -1),
        getaddrinfo("www", "http", flags="numericserv"),
        getaddrinfo("www", 80, type=99),
        getaddrinfo("www", 80, family=99),
        getaddrinfo("www", 80, proto=17),
        getaddrinfo("www", 80, type=0, proto=17),
        getaddrinfo("www", "syslog"),
        getaddrinfo("www", "syslog", type=socket.SOCK_DGRAM),
        getaddrinfo("www", 80, type=socket.SOCK_RAW),
        ("gethostbyaddr", ("www",)),
        ("gethostbyaddr", ("nothere",)),
        ("gethostbyaddr", ("six",)),
    ]
    return questions


def numeric() -> list[Question]:
    """What needs nobody's answer; asked where nobody would give one."""
    hosts = (
        "127.0.0.1",
        "::1",
        "127.1",
        "0x7f.1",
        "0177.0.0.1",
        "1",
        "fe80::1%lo",
        "fe80::1%1",
        "fe80::1%nothere",
        "::ffff:1.2.3.4",
        "255.255.255.255",
        "1.2.3",
        "1.2.3.256",
        "::",
        "0.0.0.0",
        "01.02.03.04",
        " 127.0.0.1",
        "127.0.0.1 ",
        "[::1]",
        "::1%lo",
        "224.0.0.1",
        "2001:DB8::A",
    )
    questions = [getaddrinfo(host, flags="canon") for host in hosts]
    questions += [getaddrinfo(host, family=INET) for host in hosts[:3]]
    questions += [getaddrinfo(host, family=INET6, flags="v4mapped") for host in hosts[:3]]
    questions += [("gethostbyname", (host,)) for host in hosts]
    questions += [("gethostbyname_ex", (host,)) for host in (*hosts[:4], "255.255.255.255")]
    questions += [getaddrinfo(None), getaddrinfo(None, flags="passive"), getaddrinfo(None, None), getaddrinfo("", 80)]
    questions += [("gethostbyname", ("",)), ("gethostbyname", ("<broadcast>",)), ("gethostbyname_ex", ("",))]
    questions += [("gethostbyaddr", ("",))]
    questions += [("gethostbyaddr", ("<broadcast>",)), ("gethostbyaddr", ("255.255.255.255",))]
    for function in ("gethostbyname", "gethostbyname_ex", "gethostbyaddr"):
        questions += [(function, (wrong,)) for wrong in (7, None, b"127.0.0.1", "a\0b", "x" * 64, "a..b", ".")]
    questions += [getaddrinfo(wrong) for wrong in (7, b"127.0.0.1", "x" * 64, "a..b", ".", b"x" * 64, b"a..b")]
    questions += [getaddrinfo(b"x." * 130), getaddrinfo(b"\xff\xfe"), getaddrinfo("127.0.0.1", 80.5)]
    sockaddrs = (
        ("127.0.0.1", 80),
        ("::1", 80, 0, 0),
        ("fe80::1", 80, 0, 1),
        ("127.0.0.1",),
        ("127.0.0.1", "80"),
        ("127.0.0.1", 70000),
        ("::1", 80, 1 << 21),
        ("name", 80),
        (7, 80),
        "127.0.0.1",
        ("127.0.0.1", -1),
        ("127.1", 80),
        ("fe80::1%lo", 80),
    )
    flags = (
        0,
        socket.NI_NUMERICHOST,
        socket.NI_NUMERICHOST | socket.NI_NUMERICSERV,
        socket.NI_NAMEREQD | socket.NI_NUMERICHOST,
    )
    questions += [("getnameinfo", (sockaddr, flag)) for sockaddr in sockaddrs for flag in flags[:2]]
    questions += [("getnameinfo", (("127.0.0.1", 514), flag)) for flag in (*flags, socket.NI_DGRAM, socket.NI_NOFQDN)]
    questions += [("getnameinfo", (("127.0.0.1", 80), "flags")), ("getnameinfo", (("127.0.0.1", 80), 1 << 12))]
    return questions


def in_the_hosts_file() -> list[Question]:
    names = (
        "localhost",
        "ip6-localhost",
        "both",
        "both.example.test",
        "twice",
        "one",
        "only6",
        "upper.example",
        "CAMELCASE",
        "toobig",
        "nonsense",
        "alias2.hosts.test",
        "mapped",
        "same",
        "later",
        "LocalHost",
        "both.",
        "a.localhost",
    )
    questions = [question for name in names for question in of_name(name)]
    questions += [
        getaddrinfo(name, family=INET6, flags=one) for name in ("one", "both", "only6") for one in ("v4mapped", "all")
    ]
    addresses = (
        "127.0.0.1",
        "::1",
        "10.0.0.1",
        "fd00::1",
        "10.0.0.5",
        "10.0.0.7",
        "10.0.0.8",
        "10.0.0.9",
        "10.0.0.6",
        "fd00::99",
    )
    questions += [question for address in addresses for question in of_address(address)]
    questions += [
        ("getnameinfo", (("10.0.0.1", 80), socket.NI_NOFQDN)),
        ("getnameinfo", (("10.0.0.7", 80), socket.NI_NOFQDN)),
        ("getnameinfo", (("10.0.0.99", 80), socket.NI_NAMEREQD)),
        ("getnameinfo", (("10.0.0.99", 80), 0)),
        ("getnameinfo", (("fd00::1", 80), socket.NI_NAMEREQD)),
        ("gethostbyaddr", ("twice",)),
        ("gethostbyaddr", ("only6",)),
    ]
    return questions


def of_faults() -> list[Question]:
    short = [
        "servfail",
        "refused",
        "notimp",
        "formerr",
        "nxdomain",
        "yxdomain",
        "nodata",
        "badcode",
        "slow-100",
        "truncated",
        "big-5",
        "big-30",
        "big-80",
        "chain-1",
        "chain-5",
        "chain-15",
        "chain-20",
        "loop",
        "dangling",
        "badalias",
        "aonly",
        "aaaaservfail",
        "latewrongid",
        "othername",
        "oldserver",
    ]
    questions = [question for fault in short for question in of_name(f"{fault}.fault.test.")]
    questions += [getaddrinfo("servfail"), getaddrinfo("nodata"), getaddrinfo("refused"), getaddrinfo("formerr")]
    questions += [getaddrinfo("aonly", flags="addrconfig"), getaddrinfo("good"), getaddrinfo("deep.good")]
    return questions


def of_silence() -> list[Question]:
    return [one for fault in ("drop", "asilent", "slow-3000") for one in of_name(f"{fault}.fault.test.")]


def of_lies() -> list[Question]:
    lies = ("wrongid", "wrongquestion", "garbage", "elsewhere", "truncatednotcp")
    return [one for lie in lies for one in of_name(f"{lie}.fault.test.")]


def with_a_second_server() -> list[Question]:
    return [
        question
        for name in ("good", "servfail", "refused", "truncated", "nothere")
        for question in of_name(f"{name}.fault.test")
    ]


def of_search() -> list[Question]:
    names = (
        "www",
        "www.sub",
        "www.example.test",
        "only",
        "a.b.c",
        "a.b",
        "deep.er",
        "nothere",
        "nothere.at.all",
        "www.",
        "nodata",
    )
    return [question for name in names for question in of_name(name)[:1] + of_name(name)[3:4] + of_name(name)[5:]]


def of_order() -> list[Question]:
    return [getaddrinfo(f"{name}.order.test") for name in ("mixed", "fours", "sixes", "scopes", "all", "mapped")] + [
        ("gethostbyname", ("fours.order.test",)),
        ("gethostbyname_ex", ("fours.order.test",)),
        getaddrinfo("mixed.order.test", flags="addrconfig"),
        getaddrinfo("mixed.order.test", family=INET6, flags="all"),
        getaddrinfo("sixes.order.test", family=INET6),
    ]
