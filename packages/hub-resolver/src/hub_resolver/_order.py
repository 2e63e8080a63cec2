"""The order of addresses: which of several to try first (RFC 6724, as glibc applies it, with gai.conf(5)).

Receives: addresses of a name.  Gives: the same, the best first.

The rules compare where one would send to with where one would send from.  The kernel tells the latter: a UDP socket is
connected, which sends nothing, and asked for its own address.  What an address of this machine is like (its prefix, on
its way out or not) comes from the kernel by netlink(7), on Linux; elsewhere nothing is known of it, and the rules that
need it do not apply.
Rule: nothing here waits; a single address is not looked at.
"""

from __future__ import annotations

import socket
import struct
from functools import cmp_to_key
from ipaddress import IPv6Address, IPv6Network
from typing import NamedTuple

from hub_resolver._files import Watched

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

GAI_CONF = "/etc/gai.conf"

_Table = list[tuple[IPv6Network, int]]


class Policy(NamedTuple):
    """What prefixes of addresses are worth."""

    labels: _Table
    precedences: _Table
    scopes: _Table


def _table(*rows: tuple[str, int]) -> _Table:
    return _by_length([(IPv6Network(prefix), value) for prefix, value in rows])


def _by_length(table: _Table) -> _Table:
    return sorted(table, key=lambda row: -row[0].prefixlen)


_LABELS = _table(
    ("::1/128", 0), ("::/0", 1), ("2002::/16", 2), ("::/96", 3), ("::ffff:0:0/96", 4), ("fec0::/10", 5),
    ("fc00::/7", 6), ("2001::/32", 7),
)  # fmt: skip
_PRECEDENCES = _table(("::1/128", 50), ("::/0", 40), ("2002::/16", 30), ("::/96", 20), ("::ffff:0:0/96", 10))
_SCOPES = _table(("::ffff:169.254.0.0/112", 2), ("::ffff:127.0.0.0/104", 2), ("::ffff:0:0/96", 14))
_LINK, _SITE, _GLOBAL = 2, 5, 14


def policy(text: str) -> Policy:
    """Parse gai.conf(5); a table of which no row is given is the usual one."""
    tables: dict[str, _Table] = {"label": [], "precedence": [], "scopev4": []}
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        if len(words) == 3 and words[0] in tables:
            try:
                tables[words[0]].append((IPv6Network(words[1], strict=False), int(words[2])))
            except ValueError:
                continue  # a line that nobody understands counts for nothing, there and here
    return Policy(
        _by_length(tables["label"]) or _LABELS,
        _by_length(tables["precedence"]) or _PRECEDENCES,
        _by_length(tables["scopev4"]) or _SCOPES,
    )


_policy = Watched(GAI_CONF, policy)


class Local(NamedTuple):
    """An address of this machine."""

    family: int
    address: str
    prefix: int
    deprecated: bool = False
    home: bool = False


class Candidate(NamedTuple):
    """An address to send to, and what one would send from."""

    family: int
    address: str
    target: IPv6Address
    source: IPv6Address | None
    local: Local | None


def sort(found: Sequence[tuple[int, str]]) -> list[tuple[int, str]]:
    """The best first; equals in the order given.  Each is a family and an address."""
    if len(found) < 2:
        return list(found)
    local = {one.address: one for one in local_addresses()}
    candidates = [_candidate(family, address, local) for family, address in found]
    try:
        by = _policy.value()
    except socket.gaierror:  # it cannot be read for now, and the addresses are known: as the C library does
        by = policy("")
    return [(one.family, one.address) for one in ordered(candidates, by)]


def ordered(candidates: list[Candidate], by: Policy) -> list[Candidate]:
    """Candidates by the rules, the best first."""

    def compare(one: Candidate, other: Candidate) -> int:
        return _compare(one, other, by)

    return sorted(candidates, key=cmp_to_key(compare))


def _compare(one: Candidate, other: Candidate, by: Policy) -> int:
    """Less than 0 if `one` comes first.  The numbers are those of RFC 6724, section 6."""
    usable = (one.source is not None, other.source is not None)
    if usable[0] != usable[1]:  # 1: avoid unusable destinations
        return -1 if usable[0] else 1
    if one.source is not None and other.source is not None:
        for better in (_same_scope, _not_deprecated, _at_home, _same_label):  # 2 to 5
            of_one, of_other = better(one, by), better(other, by)
            if of_one != of_other:
                return -1 if of_one else 1
    if difference := _value(other.target, by.precedences) - _value(one.target, by.precedences):  # 6: precedence
        return difference
    if difference := _scope(one.target, by) - _scope(other.target, by):  # 8: smaller scope
        return difference
    if one.source is not None and other.source is not None and one.family == other.family:
        return _common_prefix(other) - _common_prefix(one)  # 9: longest matching prefix
    return 0  # 10: as given


def _same_scope(one: Candidate, by: Policy) -> bool:
    return one.source is not None and _scope(one.target, by) == _scope(one.source, by)


def _not_deprecated(one: Candidate, by: Policy) -> bool:
    return one.local is None or not one.local.deprecated


def _at_home(one: Candidate, by: Policy) -> bool:
    return one.local is not None and one.local.home


def _same_label(one: Candidate, by: Policy) -> bool:
    return one.source is not None and _value(one.target, by.labels) == _value(one.source, by.labels)


def _value(address: IPv6Address, table: _Table) -> int:
    return next((value for network, value in table if address in network), 0)


def _scope(address: IPv6Address, by: Policy) -> int:
    if address.ipv4_mapped is not None:
        return _value(address, by.scopes)
    if address.is_multicast:
        return address.packed[1] & 15
    if address.is_link_local or address.is_loopback:
        return _LINK
    return _SITE if address.is_site_local else _GLOBAL


def _common_prefix(one: Candidate) -> int:
    """Leading bits that are equal; of IPv4, only within the network that the source is in."""
    assert one.source is not None
    same = 128 - (int(one.target) ^ int(one.source)).bit_length()
    if one.family == socket.AF_INET:
        same -= 96
        if one.local is None or same < one.local.prefix:
            return 0
    return same


def _candidate(family: int, address: str, local: dict[str, Local]) -> Candidate:
    source = _source(family, address)
    if source is None:
        return Candidate(family, address, _as_ipv6(address), None, None)
    return Candidate(family, address, _as_ipv6(address), _as_ipv6(source), local.get(source))


def _as_ipv6(address: str) -> IPv6Address:
    return IPv6Address(address.partition("%")[0] if ":" in address else f"::ffff:{address}")


def _source(family: int, address: str) -> str | None:
    """The address one would send from, or None if there is no way there."""
    try:
        with socket.socket(family, socket.SOCK_DGRAM | getattr(socket, "SOCK_CLOEXEC", 0)) as probe:
            probe.connect((address, 9))  # a datagram socket: nothing is sent
            source: str = probe.getsockname()[0]
            return source.partition("%")[0]
    except OSError:
        return None


# -- the addresses of this machine ----------------------------------------------------------------------------------

_NLMSG_ERROR, _NLMSG_DONE, _RTM_NEWADDR, _RTM_GETADDR = 2, 3, 20, 22
_NLM_F_REQUEST_DUMP = 0x301
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_IFA_F_OPTIMISTIC, _IFA_F_HOMEADDRESS, _IFA_F_DEPRECATED = 0x04, 0x10, 0x20


def configured_families() -> frozenset[int]:
    """The families of which this machine has an address beside that of the loopback."""
    own = local_addresses()
    if not own:  # nobody tells: then what one can send to
        probes = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))
        return frozenset(family for family, address in probes if _source(family, address))
    return frozenset(one.family for one in own if one.address not in ("127.0.0.1", "::1"))


def local_addresses() -> list[Local]:
    """The addresses of this machine's interfaces; empty where the system has no netlink."""
    family = getattr(socket, "AF_NETLINK", None)
    if family is None:
        return []
    found: list[Local] = []
    try:
        with socket.socket(family, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0) as link:
            link.settimeout(1)  # the kernel answers within the call; this is for kernels that do not answer at all
            link.send(struct.pack("=IHHIIB3x", 20, _RTM_GETADDR, _NLM_F_REQUEST_DUMP, 1, 0, socket.AF_UNSPEC))
            while _read_addresses(link.recv(65536), found):
                pass
    except OSError:
        return []
    return found


def _read_addresses(data: bytes, found: list[Local]) -> bool:
    """Add the addresses of one packet; whether another will follow."""
    while len(data) >= 16:
        length, kind = struct.unpack_from("=IH", data)
        if kind in (_NLMSG_DONE, _NLMSG_ERROR) or length < 16:
            return False
        if kind == _RTM_NEWADDR:
            family, prefix, flags = struct.unpack_from("=BBB", data, 16)
            if family in (socket.AF_INET, socket.AF_INET6):
                packed = _attribute(data[24:length])
                if packed:
                    deprecated = bool(flags & (_IFA_F_DEPRECATED | _IFA_F_OPTIMISTIC))
                    home = bool(flags & _IFA_F_HOMEADDRESS)
                    found.append(Local(family, socket.inet_ntop(family, packed), prefix, deprecated, home))
        data = data[(length + 3) & ~3 :]
    return True


def _attribute(data: bytes) -> bytes | None:
    """The address in the attributes of one message: on a point-to-point link the local end."""
    values: dict[int, bytes] = {}
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        if length < 4:
            break
        values[kind] = data[4:length]
        data = data[(length + 3) & ~3 :]
    return values.get(_IFA_LOCAL) or values.get(_IFA_ADDRESS)
