"""Addresses and what getaddrinfo(3) makes of them: the part of a lookup for which nobody has to be asked.

Receives: the arguments of a caller; addresses that a lookup has found.  Gives: errors about the former, and the list
that `socket.getaddrinfo` would return.

Rule 1: what the C library can say without asking anybody is left to it: with AI_NUMERICHOST it checks the arguments,
knows the names of services, reads addresses in all their spellings, and looks no name up.  So these answers are its;
only what it will say of a plain name, and of arguments that it has found right before, is not asked again.
Rule 2: nothing here waits.
"""

from __future__ import annotations

import socket
from functools import lru_cache
from typing import Any

from hub_resolver import _order
from hub_resolver._errors import gaierror

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    Entry = tuple[Any, ...]

# Numbers and bytes rather than members of enumerations and str: `&` of two members makes a third, and str goes through
# IDNA first; both are felt in each lookup (benchmarks/bench_resolver.py).
NUMERICHOST, CANONNAME, V4MAPPED, ALL, ADDRCONFIG = map(
    int, (socket.AI_NUMERICHOST, socket.AI_CANONNAME, socket.AI_V4MAPPED, socket.AI_ALL, socket.AI_ADDRCONFIG)
)
_NONE_OF_OURS = ~(CANONNAME | V4MAPPED | ALL | ADDRCONFIG)
_SAMPLES: dict[int, bytes] = {socket.AF_INET: b"127.0.0.1", socket.AF_INET6: b"::1"}


def numeric(host: Any, port: Any, family: int, type: int, proto: int, flags: int) -> list[Entry] | None:
    """The whole answer if `host` is an address or None; None if it is a name, which must be looked up.

    Raises what `socket.getaddrinfo` raises for arguments that are wrong whatever the name stands for.
    """
    if _is_plainly_a_name(host) and _are_right(port, family, type, proto, flags):
        return None
    try:
        return list(socket.getaddrinfo(host, port, family, type, proto, flags | NUMERICHOST))
    except socket.gaierror as error:
        if error.errno != socket.EAI_NONAME or host is None or flags & NUMERICHOST:
            raise
        return None


def _is_plainly_a_name(host: Any) -> bool:
    """Whether it is no address in any spelling: those begin with a digit, or have a colon in them (inet(3))."""
    return isinstance(host, str) and host[:1].isalpha() and host.isascii() and ":" not in host


def _are_right(port: Any, family: Any, type: Any, proto: Any, flags: Any) -> bool:
    """Whether the C library is known to find nothing wrong with these; False: ask it."""
    if port.__class__ is not int or flags.__class__ is not int or flags & (NUMERICHOST | ADDRCONFIG):
        return False
    try:
        return bool(_shape(_SAMPLES.get(family, b"127.0.0.1"), port, family, type, proto, flags))
    except (OSError, TypeError, OverflowError):
        return False


@lru_cache(maxsize=256, typed=True)  # two calls less in a lookup, 6 % of it (benchmarks/bench_resolver.py)
def _shape(sample: bytes, port: int, family: int, type: int, proto: int, flags: int) -> tuple[Entry, ...]:
    """The entries for one address and a port that is a number: neither a file nor the network comes into that."""
    return tuple(socket.getaddrinfo(sample, port, family, type, proto, flags | NUMERICHOST))


def families(family: int, flags: int) -> tuple[int, ...]:
    """The families of addresses that are worth looking for.

    Raises gaierror if AI_ADDRCONFIG is asked for and this machine has no address of the family.
    """
    both = (socket.AF_INET, socket.AF_INET6)
    if not flags & ADDRCONFIG:
        return both if family == socket.AF_UNSPEC else (family,)
    configured = _order.configured_families()
    if family == socket.AF_UNSPEC:
        return tuple(configured) if len(configured) == 1 else both
    if family not in configured:
        raise gaierror(socket.EAI_NONAME)
    return (family,)


def entries(
    found: Sequence[tuple[int, str]], port: Any, type: int, proto: int, flags: int, canonical: str
) -> list[Entry]:
    """The entries of `socket.getaddrinfo` for addresses that were found, the best address first (RFC 6724)."""
    shapes: dict[int, Sequence[Entry]] = {}
    shape = _shape if port.__class__ is int else _shape.__wrapped__  # what a service is called may change
    for family, _ in found:
        if family not in shapes:
            shapes[family] = shape(_SAMPLES[family], port, family, type, proto, flags & _NONE_OF_OURS)
    result: list[Entry] = []
    for family, address in _order.sort(found):
        scope = 0
        if "%" in address:
            address, _, zone = address.partition("%")
            scope = socket.if_nametoindex(zone)
        for _family, _type, _proto, _, sockaddr in shapes[family]:
            where = (address, sockaddr[1]) if family == socket.AF_INET else (address, sockaddr[1], 0, scope)
            result.append((_family, _type, _proto, canonical if not result else "", where))
    return result


def reverse_name(address: str) -> str:
    """The name under which DNS keeps the names of an address (RFC 1035, 3.5, and RFC 3596, 2.5)."""
    if ":" not in address:
        return ".".join(reversed(address.split("."))) + ".in-addr.arpa"
    packed = socket.inet_pton(socket.AF_INET6, address)
    if packed.startswith(bytes(10) + b"\xff\xff"):
        return reverse_name(socket.inet_ntop(socket.AF_INET, packed[12:]))
    return ".".join(reversed(packed.hex())) + ".ip6.arpa"


def first(found: Sequence[tuple[int, str]]) -> str:
    """The best of the addresses."""
    return _order.sort(found)[0][1]
