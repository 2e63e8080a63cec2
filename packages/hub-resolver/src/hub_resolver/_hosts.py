"""The hosts file: names and addresses that this machine knows by itself (hosts(5)).

Receives: names and addresses.  Gives: what the file says, as the C library reads it.
Rule 1: of a name that stands in several lines all lines count; of an address the first.
Rule 2: names are compared without regard to case, and given as they are written.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass

from hub_resolver._files import Watched

HOSTS = "/etc/hosts"


@dataclass(frozen=True)
class Line:
    """One line: an address, and the names it goes by."""

    address: str
    family: int
    canonical: str
    aliases: tuple[str, ...]

    def as_family(self, family: int) -> str | None:
        """The address for one who asks for `family` (0: any), or None if the line is not for him.

        One who wants IPv4 is given 127.0.0.1 for ::1, and what an IPv4-mapped address stands for.
        """
        if family in (0, self.family):
            return self.address
        if family == socket.AF_INET:
            if self.address == "::1":
                return "127.0.0.1"
            if self.address.startswith("::ffff:") and "." in self.address:
                return self.address[7:]
        return None


@dataclass(frozen=True)
class Known:
    """What the file knows of a name."""

    canonical: str
    aliases: tuple[str, ...]
    addresses: tuple[str, ...]


class _Index:
    def __init__(self, text: str) -> None:
        self.by_name: dict[str, list[Line]] = {}
        self.by_address: dict[str, Line] = {}
        for line in map(_line, text.splitlines()):
            if line is not None:
                for name in {name.lower() for name in (line.canonical, *line.aliases)}:
                    self.by_name.setdefault(name, []).append(line)
                self.by_address.setdefault(line.address, line)
                as_ipv4 = line.as_family(socket.AF_INET)
                if as_ipv4 is not None and line.address != "::1":
                    self.by_address.setdefault(as_ipv4, line)


class Hosts:
    """A hosts file, read again when it has changed.

    An index is kept, so that a file with a hundred thousand names is as quick to ask as one with two.
    Call from: any thread.  Switches: never.
    """

    def __init__(self, path: str = HOSTS) -> None:
        self.path = path
        self._file = Watched(path, _Index)

    def by_name(self, name: str, family: int = 0) -> Known | None:
        """What the file knows of `name`; with `family`, only addresses of that."""
        lines = self._file.value().by_name.get(name.lower(), ())
        found = [(address, line) for line in lines if (address := line.as_family(family)) is not None]
        if not found:
            return None
        first = found[0][1]
        aliases = list(first.aliases)
        for _, line in found[1:]:
            aliases += [other for other in (line.canonical, *line.aliases) if other != first.canonical]
        return Known(first.canonical, tuple(aliases), tuple(address for address, _ in found))

    def by_address(self, address: str) -> Known | None:
        """What the file knows of `address`, which is written as `inet_ntop` does."""
        line = self._file.value().by_address.get(address)
        return None if line is None else Known(line.canonical, line.aliases, (address,))


def _line(text: str) -> Line | None:
    address, *names = text.partition("#")[0].split() or [""]
    if not names:
        return None
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            written = socket.inet_ntop(family, socket.inet_pton(family, address))
        except (OSError, ValueError):
            continue
        return Line(written, family, names[0], tuple(names[1:]))
    return None
