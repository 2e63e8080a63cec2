"""Host names as callers write them, before anybody is asked.

Receives: arguments.  Gives: names as strings of ASCII, in the form of zone files; the errors of the `socket` module for
what is no name.
Rule: what is no name, no encoding or no address is refused by the `socket` module itself, so the errors are its own.
"""

from __future__ import annotations

import socket

from hub_resolver._answers import is_host_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_LONGEST_LABEL = 63
_LONGEST_NAME = 253


def argument(function: Callable[[Any], object], host: Any) -> str:
    """The name in the argument of one of the `gethostby` functions.

    Raises what `function` raises: TypeError for what is no name, ValueError for an embedded NUL, UnicodeError for what
    has no form in ASCII.
    """
    if not isinstance(host, (str, bytes, bytearray)):
        function(host)
        raise TypeError(f"{function.__name__}() argument 1 must be str, bytes or bytearray, not {type(host).__name__}")
    name = of(host)
    if "\0" in name:
        function(host)
        raise ValueError("embedded null character")
    return name


def of(host: bytes | bytearray | str | None) -> str:
    """The name in ASCII; bytes that are none as `\\ddd`, as in a zone file.  Raises UnicodeError."""
    assert host is not None, "the address of None is known"
    raw = host.encode("idna") if isinstance(host, str) else bytes(host)
    try:
        return raw.decode("ascii")
    except UnicodeDecodeError:
        return "".join(chr(byte) if byte < 128 else f"\\{byte:03}" for byte in raw)


def as_address(name: str) -> str | None:
    """The address that `name` is, in its usual spelling, or None if it is a name."""
    if name == "":
        return "0.0.0.0"
    if name == "<broadcast>":
        return "255.255.255.255"
    try:
        found = socket.getaddrinfo(name, None, 0, socket.SOCK_DGRAM, 0, socket.AI_NUMERICHOST)
    except socket.gaierror:
        return None
    return str(found[0][4][0]).partition("%")[0]


def is_address(name: str) -> bool:
    """Whether it is an IPv4 address, in any spelling."""
    try:
        return bool(socket.getaddrinfo(name, None, socket.AF_INET, socket.SOCK_DGRAM, 0, socket.AI_NUMERICHOST))
    except socket.gaierror as error:
        return error.errno != socket.EAI_NONAME


def needs_no_lookup(name: str) -> bool:
    """Whether `socket.gethostbyname` answers without asking anybody."""
    return name in ("", "<broadcast>") or is_address(name)


def is_localhost(name: str) -> bool:
    """Whether it is `localhost` or ends in it: never to be asked of a server (RFC 6761, 6.3)."""
    name = name.lower().rstrip(".")
    return name == "localhost" or name.endswith(".localhost")


def can_be_asked(name: str) -> bool:
    """Whether it can be a host's name: of the letters of one, labels of 1 to 63 bytes, 253 in all, or the root."""
    if name == ".":
        return True
    name = name.removesuffix(".")
    if len(name) > _LONGEST_NAME or not is_host_name(name):
        return False
    lengths = [*map(len, name.split("."))]
    return min(lengths) > 0 and max(lengths) <= _LONGEST_LABEL


def looks_like_address(name: str) -> bool:
    """Whether it consists of digits and dots alone: if it is no address, it is no name either."""
    return not name.strip("0123456789.") and name[:1].isdigit() and not name.endswith(".")


def without_domain(name: str) -> str:
    """The name without the domain of this machine, if that is how it ends (NI_NOFQDN)."""
    _, dot, domain = socket.gethostname().partition(".")
    if dot and name.lower().endswith("." + domain.lower()):
        return name[: -len(domain) - 1]
    return name
