"""Lookups without the C library's own: its functions, its search list, its order of sources, on any `IAsker`.

Receives: questions of greenlets.  Gives: what the `socket` module's functions give, results and errors.

Theory of operation.  What needs nobody's answer is answered first, by the C library (`_addresses`).  A name is then
looked for in the sources that nsswitch.conf(5) names, in its order: in the hosts file, and in DNS.  There each name of
the search list (resolv.conf(5)) is put to the asker, for both families at once if both are wanted, until one is known.
What is found is shaped and ordered by `_addresses`.  The greenlet waits in one place, `_ask` (`_asking`).

Rule: where the C library differs from a standard, this does as the C library does; the exceptions stand in
docs/reference/resolver-differences.md.
"""

from __future__ import annotations

import socket
from typing import Any, NamedTuple, TypedDict

from hub_resolver import _addresses, _names, _steps
from hub_resolver._answers import AAAA, AGAIN, DANGLING, DEADLINE, FOUND, NO_DATA, NO_NAME, PTR, A, Answer, Question
from hub_resolver._asking import Asking, in_time
from hub_resolver._cache import SIZE
from hub_resolver._errors import HOST_NOT_FOUND, NO_RECOVERY, TRY_AGAIN, UNTOLD, gaierror, herror
from hub_resolver._errors import NO_DATA as NO_ADDRESS
from hub_resolver._files import NSSWITCH_CONF, RESOLV_CONF, ResolvConf, Watched, nsswitch_conf, resolv_conf
from hub_resolver._hosts import HOSTS, Hosts, Known

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hub_api import IHub
    from hub_resolver._answers import IAsker

_TYPES: dict[int, int] = {socket.AF_INET: A, socket.AF_INET6: AAAA}
_FAMILIES: dict[int, int] = {A: socket.AF_INET, AAAA: socket.AF_INET6}
_LOCALHOST: dict[int, str] = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}
_GAI = {
    HOST_NOT_FOUND: socket.EAI_NONAME,
    TRY_AGAIN: socket.EAI_AGAIN,
    NO_RECOVERY: socket.EAI_NONAME,
    NO_ADDRESS: socket.EAI_NODATA,
}
_OUTCOMES = {HOST_NOT_FOUND: "notfound", NO_ADDRESS: "notfound", TRY_AGAIN: "tryagain", NO_RECOVERY: "unavail"}


class Found(NamedTuple):
    """What a name stands for, or what an address is called."""

    canonical: str
    aliases: tuple[str, ...]
    data: tuple[tuple[int, str], ...]
    """Families and addresses; of a reverse lookup, family 0 and names."""


class LookupOptions(TypedDict, total=False):
    """The options that all resolvers on name servers have."""

    cache: int
    stale: float
    deadline: float | None
    hosts: str
    nsswitch: str


class LookupResolver(_steps.Traceable, Asking[Question, Answer]):
    """The functions of an `IResolver` on an asker: the base of `AresResolver` and `DnspythonResolver`.

    `cache`: how many answers of name servers are kept for their TTL, 0 for none.  `stale`: seconds after its TTL for
    which an answer is still better than an error.  `deadline`: seconds that a lookup may take in all.
    `resolv_conf`, `hosts` and `nsswitch` are paths, for tests and for who lives in a directory of his own; the files
    are read again when they change.
    Call from: greenlets of the hub; elsewhere InvalidThreadUseError.  Switches: while it waits for an answer.
    """

    def __init__(
        self,
        hub: IHub,
        asker: IAsker,
        *,
        cache: int = SIZE,
        stale: float = 0.0,
        deadline: float | None = None,
        resolv_conf: str = RESOLV_CONF,
        hosts: str = HOSTS,
        nsswitch: str = NSSWITCH_CONF,
    ) -> None:
        super().__init__(hub, asker, cache=cache, stale=stale, deadline=deadline)
        self._conf = Watched(resolv_conf, _parse_resolv_conf)
        self._asked_with: ResolvConf | None = None
        self._sources = Watched(nsswitch, nsswitch_conf)
        self._hosts = Hosts(hosts)

    # -- the functions of the socket module ---------------------------------------------------------------------------

    def getaddrinfo(
        self,
        host: bytes | str | None,
        port: bytes | str | int | None,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> list[tuple[Any, ...]]:
        """See `socket.getaddrinfo`."""
        self._check_thread("getaddrinfo")
        notes = _steps.current()
        known = _addresses.numeric(host, port, family, type, proto, flags)
        if known is not None:
            if notes:
                notes.add("numeric", str(host), "needs no lookup", _steps.addresses(known))
            return known
        name = _names.of(host)
        found = self._find_addresses(name, family, flags)
        canonical = (found.canonical or name) if flags & _addresses.CANONNAME else ""
        began = notes.now() if notes else 0.0
        entries = _addresses.entries(found.data, port, type, proto, flags, canonical)
        if notes:
            notes.add("order", "RFC 6724", "the best first", _steps.addresses(entries), began=began)
        return entries

    def gethostbyname(self, hostname: str, /) -> str:
        """See `socket.gethostbyname`."""
        self._check_thread("gethostbyname")
        name = _names.argument(socket.gethostbyname, hostname)
        if _names.needs_no_lookup(name):
            return socket.gethostbyname(name)
        found = self._find_addresses(name, socket.AF_INET, 0)
        return _addresses.first(found.data)

    def gethostbyname_ex(self, hostname: str, /) -> tuple[str, list[str], list[str]]:
        """See `socket.gethostbyname_ex`."""
        self._check_thread("gethostbyname_ex")
        name = _names.argument(socket.gethostbyname_ex, hostname)
        if _names.is_address(name):
            return socket.gethostbyname_ex(name)
        if name in ("", "<broadcast>"):  # addresses to the first half of the C library's function, names to the second
            raise herror(UNTOLD if name else NO_RECOVERY)
        found = self._find_addresses(name, socket.AF_INET, 0)
        return found.canonical, list(found.aliases), [address for _, address in found.data]

    @in_time
    def gethostbyaddr(self, ip_address: str, /) -> tuple[str, list[str], list[str]]:
        """See `socket.gethostbyaddr`."""
        self._check_thread("gethostbyaddr")
        name = _names.argument(socket.gethostbyaddr, ip_address)
        if not name:
            return socket.gethostbyaddr(name)  # raises: there is more than one wildcard address
        address = _names.as_address(name)
        if address is None:
            found = self._find_addresses(name, socket.AF_UNSPEC, 0)
            address = _addresses.first(found.data)
        named = self._find_name(address)
        if isinstance(named, int):
            raise herror(named)
        return named.canonical, list(named.aliases), [address]

    def getnameinfo(self, sockaddr: tuple[Any, ...], flags: int, /) -> tuple[str, str]:
        """See `socket.getnameinfo`."""
        self._check_thread("getnameinfo")
        needs_name = isinstance(flags, int) and flags & socket.NI_NAMEREQD
        if not isinstance(flags, int) or flags & socket.NI_NUMERICHOST:
            return socket.getnameinfo(sockaddr, flags)
        address, service = socket.getnameinfo(sockaddr, flags & ~socket.NI_NAMEREQD | socket.NI_NUMERICHOST)
        named = self._find_name(address.partition("%")[0])
        if not isinstance(named, int):
            host = named.canonical
            return (_names.without_domain(host) if flags & socket.NI_NOFQDN else host), service
        if named == TRY_AGAIN:
            raise gaierror(socket.EAI_AGAIN)
        if needs_name:
            raise gaierror(socket.EAI_NONAME)
        return address, service

    # -- where names are looked for -----------------------------------------------------------------------------------

    @in_time
    def _find_addresses(self, name: str, family: int, flags: int) -> Found:
        """What `name` stands for.  Raises gaierror."""
        wanted = _addresses.families(family, flags)
        found = self._from_sources(lambda source: self._addresses_from(source, name, wanted))
        mapped = family == socket.AF_INET6 and flags & _addresses.V4MAPPED
        if mapped and (isinstance(found, int) or flags & _addresses.ALL):
            other = self._from_sources(lambda source: self._addresses_from(source, name, (socket.AF_INET,)))
            if not isinstance(other, int):
                as_ipv6 = tuple((socket.AF_INET6, f"::ffff:{address}") for _, address in other.data)
                data = as_ipv6 if isinstance(found, int) else (*found.data, *as_ipv6)
                found = Found(other.canonical, other.aliases, data)
        if isinstance(found, int):
            raise gaierror(_GAI[found])
        return found

    @in_time
    def _find_name(self, address: str) -> Found | int:
        """What `address` is called, or what `h_errno` would be."""
        if address == "::":
            return UNTOLD
        return self._from_sources(lambda source: self._name_from(source, address))

    def _from_sources(self, look: Callable[[str], Found | int]) -> Found | int:
        outcome: Found | int = HOST_NOT_FOUND
        for source in self._sources.value():
            outcome = look(source.name)
            if not isinstance(outcome, int) or _OUTCOMES[outcome] in source.ends:
                break
        return outcome

    def _addresses_from(self, source: str, name: str, wanted: Sequence[int]) -> Found | int:
        notes = _steps.current()
        if source == "files":
            known = self._hosts.by_name(name, 0 if len(wanted) > 1 else wanted[0])
            if notes:
                notes.add("hosts", self._hosts.path, *_in_hosts(name, known))
            return HOST_NOT_FOUND if known is None else _found(known)
        if _names.is_localhost(name):
            if notes:
                notes.add("localhost", name, "is this machine, by RFC 6761")
            return Found(name, (), tuple((family, _LOCALHOST[family]) for family in reversed(wanted)))
        if wanted == (socket.AF_INET,) and _names.looks_like_address(name):
            return HOST_NOT_FOUND
        found = self._search(name, [_TYPES[family] for family in wanted])
        if not isinstance(found, int) and not found.data:  # glibc tells the two apart, for no reason that one can see
            return NO_ADDRESS if wanted == (socket.AF_INET,) else HOST_NOT_FOUND
        return found

    def _name_from(self, source: str, address: str) -> Found | int:
        if source == "files":
            known = self._hosts.by_address(address)
            if notes := _steps.current():
                notes.add("hosts", self._hosts.path, *_in_hosts(address, known))
            return HOST_NOT_FOUND if known is None else _found(known)
        self._options()
        (reply,) = self._ask([Question(_addresses.reverse_name(address), PTR)])
        if reply.status != FOUND:
            return HOST_NOT_FOUND if reply.status == DANGLING else _h_errno([reply])
        return Found(reply.data[0], reply.data[1:], ((0, reply.data[0]),))

    # -- DNS ----------------------------------------------------------------------------------------------------------

    def _search(self, name: str, types: list[int]) -> Found | int:
        """Ask for `name`, in one domain of the search list after the other: resolv.conf(5), `search` and `ndots`."""
        conf = self._options()
        if notes := _steps.current():
            notes.add("search", self._conf.path, f"ndots {conf.ndots}, search list: {' '.join(conf.search) or 'empty'}")
        as_it_is: int | None = None
        worst = HOST_NOT_FOUND
        dots = name.count(".")
        absolute = name.endswith(".")
        if absolute or dots >= conf.ndots:
            outcome = self._ask_for(name, types)
            if absolute or not isinstance(outcome, int):
                return outcome
            as_it_is = outcome
        for domain in conf.search:
            outcome = self._ask_for(f"{name}.{domain}", types)
            if not isinstance(outcome, int):
                return outcome
            worst = max(worst, outcome, key=_RANK.index)
            if outcome == NO_RECOVERY:
                break
        if as_it_is is None and (dots or not conf.search or not conf.no_tld_query):
            outcome = self._ask_for(name, types)
            if not isinstance(outcome, int):
                return outcome
            worst = max(worst, outcome, key=_RANK.index)
        return worst if as_it_is is None else as_it_is

    def _ask_for(self, name: str, types: list[int]) -> Found | int:
        askable = _names.can_be_asked(name)
        if notes := _steps.current():
            notes.add("name", name, "is asked for" if askable else "cannot be a host's name, so it is not asked for")
        if not askable:
            return NO_RECOVERY
        questions = [Question(name.rstrip("."), kind) for kind in types]
        if len(questions) > 1 and self._conf.value().single_request:
            answers = [answer for question in questions for answer in self._ask([question])]
        else:
            answers = self._ask(questions)
        good = [reply for reply in answers if reply.status == FOUND]
        good = good or [reply for reply in answers if reply.status == DANGLING]  # the name is known: no other is tried
        if not good:
            return _h_errno(answers)
        data = tuple((_FAMILIES[reply.question.type], one) for reply in good for one in reply.data)
        return Found(good[0].canonical, good[0].aliases, data)

    def _options(self) -> ResolvConf:
        """What resolv.conf(5) says now; if that has changed, what was said to the old questions is forgotten."""
        conf = self._conf.value()
        if self._asked_with is not conf:
            if self._asked_with is not None:
                self._cache.clear()
            self._asked_with = conf
        return conf

    def _late(self, question: Question) -> Answer:
        return Answer(question, AGAIN, via=DEADLINE)


_RANK = [HOST_NOT_FOUND, NO_RECOVERY, TRY_AGAIN, NO_ADDRESS]
"""Which of several failures along the search list counts: the last."""
_parse_resolv_conf = resolv_conf


def _h_errno(answers: Sequence[Answer]) -> int:
    """What `h_errno` would be after these answers, none of which has what was asked for."""
    statuses = [reply.status for reply in answers]
    if NO_NAME in statuses:
        return HOST_NOT_FOUND
    if AGAIN in statuses:
        return TRY_AGAIN
    return NO_ADDRESS if NO_DATA in statuses else NO_RECOVERY


def _in_hosts(what: str, known: Known | None) -> tuple[str, tuple[str, ...]]:
    """For a trace: what the hosts file knows."""
    if known is None:
        return f"does not have {what}", ()
    return f"has {what}, as {' '.join((known.canonical, *known.aliases))}", known.addresses


def _found(known: Known) -> Found:
    data = tuple((socket.AF_INET6 if ":" in one else socket.AF_INET, one) for one in known.addresses)
    return Found(known.canonical, known.aliases, data)
