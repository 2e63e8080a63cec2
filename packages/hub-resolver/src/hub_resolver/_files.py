"""Files that lookups go by, and that may change at any time: /etc/resolv.conf, /etc/nsswitch.conf.

Receives: paths.  Gives: what stands in the files now.
Rule 1: a file is read when it is first asked for and again when its time, size or inode has changed; that is one
stat(2) a question, as in the C library.
Rule 2: as there, a file that is missing, or that may not be read, is an empty one, and each question tries anew.  One
that cannot be read for now, as where file descriptors have run out, still says what it said; if it was never read
nobody knows, and that is an error for now.
"""

from __future__ import annotations

import errno
import os
import socket
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from hub_resolver._errors import gaierror

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

RESOLV_CONF = "/etc/resolv.conf"
NSSWITCH_CONF = "/etc/nsswitch.conf"
_MOST_SERVERS = 3
_MOST_DOTS = 15
_LONGEST_TIMEOUT = 30
_MOST_ATTEMPTS = 5
_LASTING = {errno.EACCES, errno.EISDIR, errno.ELOOP, errno.ENOENT, errno.ENOTDIR, errno.EPERM}
"""Errors that are the file's own (glibc, resolv/res_init.c); all others are for now."""


class Watched(Generic[T]):
    """What `parse` makes of the text of a file."""

    def __init__(self, path: str, parse: Callable[[str], T]) -> None:
        self.path = path
        self._parse = parse
        self._stamp: tuple[int, ...] | None = None
        """Of the file that was read; empty: there was none to read."""
        self._value: T | None = None

    def value(self) -> T:
        """What stands in the file now.  Raises gaierror (EAI_AGAIN) if it could not be read yet, and may be later."""
        try:
            stamp, text = self._news()
        except OSError as error:
            if error.errno in _LASTING:
                stamp, text = (), ""
            elif self._value is not None:
                return self._value
            else:
                raise gaierror(socket.EAI_AGAIN) from error
        if stamp != self._stamp or self._value is None:
            self._value = self._parse(text)
            self._stamp = stamp
        return self._value

    def _news(self) -> tuple[tuple[int, ...], str]:
        """The stamp of the file, and the text if that is another one than was read."""
        found = os.stat(self.path)
        stamp = (found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev)
        if stamp == self._stamp:
            return stamp, ""
        with open(self.path, encoding="utf-8", errors="surrogateescape") as file:
            return stamp, file.read()


@dataclass(frozen=True)
class ResolvConf:
    """What resolv.conf(5) says."""

    servers: tuple[str, ...] = ("127.0.0.1",)
    search: tuple[str, ...] = ()
    ndots: int = 1
    timeout: int = 5
    """Seconds until a server is given up for this try."""
    attempts: int = 2
    rotate: bool = False
    use_vc: bool = False
    """Ask over TCP only."""
    no_tld_query: bool = False
    """Never ask for a name without a dot as it is."""
    single_request: bool = field(default=False)
    """One question at a time."""


def resolv_conf(text: str) -> ResolvConf:
    """Parse, as the C library does: the last `search` or `domain` counts, and whatever is not understood does not."""
    servers: list[str] = []
    search: list[str] | None = None
    options: list[str] = []
    for line in text.splitlines():
        if line[:1] in ("#", ";"):
            continue
        keyword, *values = line.split() or [""]
        if keyword == "nameserver" and values and _is_address(values[0]):
            servers.append(values[0])
        elif keyword == "domain" and values:
            search = values[:1]
        elif keyword == "search" and values:
            search = values
        elif keyword == "options":
            options += values
    if (domains := os.environ.get("LOCALDOMAIN")) is not None:
        search = domains.split()
    options += os.environ.get("RES_OPTIONS", "").split()
    if search is None:
        _, dot, domain = socket.gethostname().partition(".")
        search = [domain] if dot and domain else []
    return ResolvConf(
        servers=tuple(servers[:_MOST_SERVERS]) or ("127.0.0.1",),
        search=tuple(name.rstrip(".") for name in search),
        ndots=_number(options, "ndots", 1, _MOST_DOTS),
        timeout=max(1, _number(options, "timeout", 5, _LONGEST_TIMEOUT)),
        attempts=max(1, _number(options, "attempts", 2, _MOST_ATTEMPTS)),
        rotate="rotate" in options,
        use_vc="use-vc" in options,
        no_tld_query="no-tld-query" in options,
        single_request="single-request" in options or "single-request-reopen" in options,
    )


def _number(options: list[str], name: str, default: int, most: int) -> int:
    for option in reversed(options):
        key, colon, value = option.partition(":")
        if key == name and colon and value.isdecimal():
            return min(int(value), most)
    return default


def _is_address(text: str) -> bool:
    address = text.partition("%")[0]
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, address)
        except OSError:
            continue
        return True
    return False


@dataclass(frozen=True)
class Source:
    """One word of the line `hosts:` in nsswitch.conf(5): where host names are looked for."""

    name: str
    """`files` or `dns`: only these can be asked without the C library; others are left out, with their actions."""
    ends: frozenset[str] = frozenset()
    """The outcomes after which no other source is asked: of `notfound`, `unavail`, `tryagain`."""


def nsswitch_conf(text: str) -> tuple[Source, ...]:
    """The sources for host names, in their order."""
    sources: list[Source] = [Source("dns", frozenset({"notfound", "tryagain"})), Source("files")]  # glibc's own default
    for line in text.splitlines():
        database, colon, rest = line.partition("#")[0].partition(":")
        if colon and database.strip() == "hosts":
            sources = list(_sources(rest))
    return tuple(source for source in sources if source.name in ("files", "dns"))


def _sources(line: str) -> list[Source]:
    sources: list[Source] = []
    for part in line.replace("]", " ] ").replace("[", " [ ").split("["):
        actions, bracket, names = part.partition("]")
        if bracket and sources:
            sources[-1] = Source(sources[-1].name, _ends(actions.split()))
        sources += [Source(name) for name in (names if bracket else part).split()]
    return sources


def _ends(actions: list[str]) -> frozenset[str]:
    outcomes = {"success", "notfound", "unavail", "tryagain"}
    ends: set[str] = set()
    for action in actions:
        outcome, _, what = action.lower().partition("=")
        about = outcomes - {outcome[1:]} if outcome.startswith("!") else {outcome}
        ends = ends | about if what == "return" else ends - about
    return frozenset(ends & outcomes - {"success"})
