"""A name server for tests: it answers what it is told to, and lies, stalls and babbles for names that say so.

Receives: records, as in a zone file.  Gives: a server on UDP and TCP, in a thread of its own, and what it was asked.

Needs dnspython: the extra `[dnspython]`.  A name whose first label is one of `FAULTS` is answered with that fault,
whatever the records say; a number may follow, as in `slow-200.example.test` (milliseconds).

| label | what the server does |
|---|---|
| `servfail`, `refused`, `notimp`, `formerr`, `nxdomain`, `yxdomain` | answers with that code |
| `nodata` | answers that all is well, with no records |
| `drop` | says nothing |
| `slow-N` | answers after N milliseconds |
| `held` | answers when the test calls `release` |
| `truncated` | over UDP says that the answer does not fit; over TCP answers |
| `truncatednotcp` | says that the answer does not fit, and over TCP hangs up |
| `big-N` | has N addresses, and over UDP as much room as the question says |
| `wrongid`, `wrongquestion`, `garbage`, `short` | answers with another id, another question, noise, half a packet |
| `elsewhere` | answers from another port |
| `latewrongid` | the same as `wrongid`, and the right answer after it |
| `othername` | answers with records of another name |
| `chain-N`, `loop`, `dangling` | N aliases that lead to an address; aliases in a circle; an alias that leads nowhere |
| `badalias` | an alias for something that is no host's name |
| `aonly`, `aaaaservfail`, `asilent` | has an IPv4 address alone; fails for IPv6; is silent for IPv4 |
| `oldserver` | answers with FORMERR to all that has EDNS |
| `badcode` | a response code that nobody knows |

Rule: the thread is the server's own; `close`, or leaving the `with` block, ends it.
"""

from __future__ import annotations

import math
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from types import TracebackType
from typing import Any, Self

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

__all__ = ["FAULTS", "NameServer"]

Reply = tuple[float, bytes | None]
"""When, in seconds from now, or infinite for when it is released; and what: None hangs up."""

_END, _RELEASE = b"e", b"r"
_TTL = 60
_NOBODY = "192.0.2.99"
"""The address that lies give."""


class NameServer:
    """Serves on `address` and `port` (0: any that is free), from `records`: `name type data`, one a line.

    Records hold for 60 seconds.  A "no" carries the SOA record of its zone, if there is one.
    """

    def __init__(self, records: str = "", address: str = "127.0.0.1", port: int = 0) -> None:
        self.asked: list[tuple[str, str, str, int]] = []
        """Name, type, transport (`udp`, `tcp`) and id of every query, in their order."""
        self.ports: list[int] = []
        """The ports that the queries over UDP came from."""
        self._records = _parse(records)
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._udp, self._tcp = _bind(family, address, port)
        self.address = address
        self.port: int = self._udp.getsockname()[1]
        self._other = socket.socket(family, socket.SOCK_DGRAM)
        self._other.bind((address, 0))
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._udp, selectors.EVENT_READ, self._serve_udp)
        self._selector.register(self._tcp, selectors.EVENT_READ, self._accept)
        self._wake, wakes = socket.socketpair()
        self._selector.register(wakes, selectors.EVENT_READ, None)
        self._wakes = wakes
        self._later: list[tuple[float, Callable[[], object]]] = []
        self._held: list[Callable[[], object]] = []
        self._open: set[socket.socket] = set()
        self._thread = threading.Thread(target=self._run, name="name server", daemon=True)
        self._thread.start()

    @property
    def server(self) -> str:
        """Address and port, as the resolvers' `servers` take it."""
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"

    def release(self) -> None:
        """Give the answers that are held.  Call from: any thread."""
        self._wake.send(_RELEASE)

    def close(self) -> None:
        """End the thread and close its sockets.  Idempotent."""
        if self._thread.is_alive():
            self._wake.send(_END)
            self._thread.join()
        for sock in (self._udp, self._tcp, self._other, self._wake, self._wakes, *self._open):
            sock.close()
        self._selector.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # -- the thread ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            now = time.monotonic()
            due = [what for when, what in self._later if when <= now]
            self._later = [(when, what) for when, what in self._later if when > now]
            for what in due:
                what()
            wait = min((when - now for when, _ in self._later), default=None)
            for key, _ in self._selector.select(wait):
                if key.data is not None:
                    key.data()
                elif self._wakes.recv(1) == _END:
                    return
                else:
                    held, self._held = self._held, []
                    for what in held:
                        what()

    def _at(self, delay: float, what: Callable[[], object]) -> None:
        if delay == math.inf:
            self._held.append(what)
        elif delay:
            self._later.append((time.monotonic() + delay, what))
        else:
            what()

    def _serve_udp(self) -> None:
        wire, client = self._udp.recvfrom(65535)
        self.ports.append(client[1])
        for delay, reply in self._replies(wire, "udp"):
            sock = self._other if b"\x09elsewhere" in wire else self._udp
            if reply is not None:
                self._at(delay, partial(_send, sock, reply, client))

    def _accept(self) -> None:
        sock, _ = self._tcp.accept()
        self._open.add(sock)
        held = bytearray()

        def read() -> None:
            data = sock.recv(65535)
            held.extend(data)
            while len(held) >= 2 and len(held) >= 2 + int.from_bytes(held[:2], "big"):
                end = 2 + int.from_bytes(held[:2], "big")
                wire = bytes(held[2:end])
                del held[:end]
                for delay, reply in self._replies(wire, "tcp"):
                    self._at(delay, hang_up if reply is None else partial(answer, reply))
            if not data:
                hang_up()

        def answer(reply: bytes) -> None:
            if sock in self._open:
                sock.sendall(len(reply).to_bytes(2, "big") + reply)

        def hang_up() -> None:
            if sock in self._open:
                self._open.discard(sock)
                self._selector.unregister(sock)
                sock.close()

        self._selector.register(sock, selectors.EVENT_READ, read)

    # -- answers ------------------------------------------------------------------------------------------------------

    def _replies(self, wire: bytes, transport: str) -> Iterable[Reply]:
        try:
            query = dns.message.from_wire(wire)
        except dns.exception.DNSException:
            return []
        question = query.question[0]
        name = question.name.to_text().rstrip(".").lower()
        self.asked.append((name, dns.rdatatype.to_text(question.rdtype), transport, query.id))
        label, _, number = name.partition(".")[0].partition("-")
        fault = FAULTS.get(label)
        if fault is not None:
            return fault(self, query, transport, int(number) if number.isdecimal() else 0)
        return [(0.0, self._honest(query, transport))]

    def _honest(self, query: Any, transport: str) -> bytes:
        reply = dns.message.make_response(query, recursion_available=True)
        question = query.question[0]
        name = question.name.to_text().rstrip(".").lower()
        known = False
        for _ in range(16):
            kinds = self._records.get(name, {})
            known = known or bool(kinds) or any(other.endswith("." + name) for other in self._records)
            wanted = kinds.get(dns.rdatatype.to_text(question.rdtype))
            if wanted:
                _add(reply, name, dns.rdatatype.to_text(question.rdtype), wanted)
            if wanted or "CNAME" not in kinds:
                break
            _add(reply, name, "CNAME", kinds["CNAME"])
            name = kinds["CNAME"][0].rstrip(".").lower()
        if not known:
            reply.set_rcode(dns.rcode.NXDOMAIN)
        if not (wanted and known):
            self._add_authority(reply, name)
        return _fit(reply, query, transport)

    def _add_authority(self, reply: Any, name: str) -> None:
        """With a "no" goes the SOA record of the zone, if there is one: it says for how long that holds."""
        labels = name.split(".")
        for i in range(len(labels)):
            zone = ".".join(labels[i:])
            for data in self._records.get(zone, {}).get("SOA", ()):
                reply.authority.append(dns.rrset.from_text(dns.name.from_text(zone), _TTL, "IN", "SOA", data))
                return


def _parse(records: str) -> dict[str, dict[str, list[str]]]:
    table: dict[str, dict[str, list[str]]] = {}
    for line in records.splitlines():
        if line.strip():
            name, kind, data = line.split(None, 2)
            table.setdefault(name.rstrip(".").lower(), {}).setdefault(kind, []).append(data)
    return table


def _bind(family: int, address: str, port: int) -> tuple[socket.socket, socket.socket]:
    for _ in range(50):
        udp = socket.socket(family, socket.SOCK_DGRAM)
        udp.bind((address, port))
        tcp = socket.socket(family, socket.SOCK_STREAM)
        try:
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tcp.bind((address, udp.getsockname()[1]))
            tcp.listen(128)
        except OSError:
            udp.close()
            tcp.close()
            if port:
                raise
            continue  # another process has that number on TCP
        return udp, tcp
    raise OSError("no number is free on both UDP and TCP")


def _send(sock: socket.socket, reply: bytes, client: Any) -> None:
    try:
        sock.sendto(reply, client)
    except OSError:
        pass  # a client that has gone


def _add(reply: Any, name: str, kind: str, data: list[str]) -> None:
    for one in data:  # each alone, for dnspython shuffles those that stand together
        reply.answer.append(dns.rrset.from_text(dns.name.from_text(name), _TTL, "IN", kind, one))


def _fit(reply: Any, query: Any, transport: str) -> bytes:
    size = 65535 if transport == "tcp" else max(512, query.payload if query.edns >= 0 else 512)
    try:
        wire: bytes = reply.to_wire(max_size=size)
    except dns.exception.TooBig:
        reply.answer.clear()
        reply.flags |= dns.flags.TC
        wire = reply.to_wire(max_size=size)
    return wire


# -- faults -----------------------------------------------------------------------------------------------------------


def _addresses(query: Any, count: int = 1, name: str | None = None) -> Any:
    """A response with `count` addresses of the kind that is asked for."""
    reply = dns.message.make_response(query, recursion_available=True)
    question = query.question[0]
    if question.rdtype in (dns.rdatatype.A, dns.rdatatype.AAAA):
        kind = dns.rdatatype.to_text(question.rdtype)
        data = [f"198.51.{i >> 8}.{i & 255}" if kind == "A" else f"2001:db8:51::{i:x}" for i in range(1, count + 1)]
        _add(reply, name or question.name.to_text(), kind, data)
    return reply


def _code(code: str) -> Any:
    def fault(server: NameServer, query: Any, transport: str, number: int) -> list[Reply]:
        reply = dns.message.make_response(query, recursion_available=True)
        reply.set_rcode(dns.rcode.from_text(code))
        return [(0.0, reply.to_wire())]

    return fault


def _for(kind: str, fault: Any) -> Any:
    """The fault for questions of one kind; others are answered."""

    def only(server: NameServer, query: Any, transport: str, number: int) -> list[Reply]:
        if dns.rdatatype.to_text(query.question[0].rdtype) == kind:
            replies: list[Reply] = fault(server, query, transport, number)
            return replies
        return [(0.0, _addresses(query).to_wire())]

    return only


def _changed(change: Callable[[bytes, Any], bytes]) -> Any:
    """An answer of whose packet something is wrong, with a lie in it that nobody may believe."""

    def fault(server: NameServer, query: Any, transport: str, number: int) -> list[Reply]:
        reply = dns.message.make_response(query, recursion_available=True)
        if query.question[0].rdtype == dns.rdatatype.A:
            _add(reply, query.question[0].name.to_text(), "A", [_NOBODY])
        return [(0.0, change(reply.to_wire(), query))]

    return fault


def _wrong_question(wire: bytes, query: Any) -> bytes:
    other = dns.message.make_query("other.example", query.question[0].rdtype, id=query.id)
    changed: bytes = _addresses(other).to_wire()
    return changed


def _late_wrong_id(server: NameServer, query: Any, transport: str, number: int) -> list[Reply]:
    lie = _changed(lambda wire, _: _other_id(wire))(server, query, transport, number)
    return [*lie, (0.05, _addresses(query).to_wire())]


def _other_id(wire: bytes) -> bytes:
    return bytes([wire[0] ^ 0x55, wire[1] ^ 0x55]) + wire[2:]


def _truncated(server: NameServer, query: Any, transport: str, number: int) -> list[Reply]:
    if transport == "tcp":
        return [(0.0, _addresses(query).to_wire())]
    reply = dns.message.make_response(query, recursion_available=True)
    reply.flags |= dns.flags.TC
    return [(0.0, reply.to_wire())]


def _chain(server: NameServer, query: Any, transport: str, number: int) -> list[Reply]:
    reply = dns.message.make_response(query, recursion_available=True)
    name = query.question[0].name.to_text()
    for i in range(number):
        target = f"alias{i}.example.test."
        _add(reply, name, "CNAME", [target])
        name = target
    _add(reply, name, "A", ["198.51.100.7"]) if query.question[0].rdtype == dns.rdatatype.A else None
    return [(0.0, _fit(reply, query, transport))]


def _aliases(*targets: str) -> Any:
    def fault(server: NameServer, query: Any, transport: str, number: int) -> list[Reply]:
        reply = dns.message.make_response(query, recursion_available=True)
        name = query.question[0].name.to_text()
        for target in targets:
            following = name if target == "" else query.question[0].name.to_text() if target == "@" else target
            _add(reply, name, "CNAME", [following])
            name = following
        return [(0.0, reply.to_wire())]

    return fault


def _bad_alias(server: NameServer, query: Any, transport: str, number: int) -> list[Reply]:
    reply = dns.message.make_response(query, recursion_available=True)
    _add(reply, query.question[0].name.to_text(), "CNAME", ["<b>.example.test."])
    if query.question[0].rdtype == dns.rdatatype.A:
        _add(reply, "<b>.example.test.", "A", [_NOBODY])
    return [(0.0, reply.to_wire())]


def _old_server(server: NameServer, query: Any, transport: str, number: int) -> list[Reply]:
    if query.edns >= 0:
        reply = dns.message.make_response(query, recursion_available=True)
        reply.use_edns(False)
        reply.set_rcode(dns.rcode.FORMERR)
        return [(0.0, reply.to_wire())]
    return [(0.0, _addresses(query).to_wire())]


def _bad_code(server: NameServer, query: Any, transport: str, number: int) -> list[Reply]:
    wire = bytearray(dns.message.make_response(query).to_wire())
    wire[3] = wire[3] & 0xF0 | 0x0F
    return [(0.0, bytes(wire))]


Fault = Callable[[NameServer, Any, str, int], Iterable[Reply]]
FAULTS: dict[str, Fault] = {
    **{code: _code(code.upper()) for code in ("servfail", "refused", "notimp", "formerr", "nxdomain", "yxdomain")},
    "nodata": _code("NOERROR"),
    "drop": lambda server, query, transport, number: [],
    "slow": lambda server, query, transport, number: [(number / 1000, _addresses(query).to_wire())],
    "truncated": _truncated,
    "truncatednotcp": lambda server, query, transport, number: (
        [(0.0, None)] if transport == "tcp" else _truncated(server, query, transport, number)
    ),
    "held": lambda server, query, transport, number: [(math.inf, _addresses(query).to_wire())],
    "big": lambda server, query, transport, number: [(0.0, _fit(_addresses(query, number), query, transport))],
    "wrongid": _changed(lambda wire, _: _other_id(wire)),
    "wrongquestion": _changed(_wrong_question),
    "garbage": _changed(lambda wire, _: wire[:2] + bytes(range(200, 240)) * 3),
    "short": _changed(lambda wire, _: wire[: len(wire) // 2]),
    "elsewhere": _changed(lambda wire, _: wire),
    "latewrongid": _late_wrong_id,
    "othername": lambda server, query, transport, number: [(0.0, _addresses(query, name="other.example.").to_wire())],
    "chain": _chain,
    "loop": _aliases("two.example.test.", "@"),
    "dangling": _aliases("nowhere.example.test."),
    "badalias": _bad_alias,
    "aonly": _for("AAAA", _code("NOERROR")),
    "aaaaservfail": _for("AAAA", _code("SERVFAIL")),
    "asilent": _for("A", lambda server, query, transport, number: []),
    "oldserver": _old_server,
    "badcode": _bad_code,
}
"""What each of the labels does."""
