"""Questions to name servers, and what they answer: the seam between lookups and whoever asks.

Receives: raw records from an asker.  Gives: an `Answer` that says what became of one question, how long it holds, and
who said so.

A lookup (`_lookups`) puts questions to an `IAsker` and never asks who that is.  `_ares` and `_dnspython` are askers;
the cache (`_cache`), and who joins equal questions (`_joining`), are askers that have another one do the asking.  These
two do not look into questions, so they also stand before who calls the C library (`_calls`), where a question is a
call.

Rule 1: records count only if the chain of CNAMEs leads to them from the name that was asked.  Whatever else a server
puts into a packet is no answer.
Rule 2: an asker calls `done` once, from a callback of the loop, never before `ask` has returned and never after it was
cancelled; so whoever asks need not be prepared for an answer in the middle of the asking.
Rule 3: an interrupt, KeyboardInterrupt say, may come between any two steps, and none of them may be lost by it.  So who
is told is told first and forgotten afterwards; an asker out of whose `done` an interrupt comes calls it again; and who
is told twice takes no harm.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol, TypeVar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Self

A, CNAME, PTR, AAAA = 1, 5, 12, 28
"""Types of records, as RFC 1035 and RFC 3596 number them."""

FOUND = "found"
"""There are records of the type that was asked for."""
NO_DATA = "no data"
"""The name exists, and has no records of that type."""
DANGLING = "dangling"
"""There are records, but none that the name leads to: it is an alias, say, for a name that has none."""
NO_NAME = "no such name"
AGAIN = "no answer"
"""No server gave an answer that counts: they were silent, unreachable, or refused.  Another time they may."""
FAILED = "failed"
"""The question cannot be asked, or a server cannot deal with it; another time will be no better."""

NETWORK = "network"
"""Somebody was asked."""
CACHE = "cache"
"""It was known, and holds still."""
STALE = "stale"
"""It was known and holds no longer, but nobody gave a newer one."""
JOINED = "joined"
"""Somebody else's question was under way, and this is what became of it."""
DEADLINE = "deadline"
"""Nobody: the time for the whole lookup was up."""


class Question(NamedTuple):
    """What is asked of a name server."""

    name: str
    """In the form of zone files, ASCII, without the dot at the end; empty for the root."""
    type: int


class Record(NamedTuple):
    """One record of an answer."""

    name: str
    type: int
    ttl: int
    """Seconds for which it holds."""
    data: str
    """An address as `inet_ntop` writes it, or a name without the dot at the end."""


class Try(NamedTuple):
    """One query on the wire."""

    server: str
    outcome: str
    """What came back, in the words of DNS: a response code, or what went wrong."""
    elapsed: float
    """Seconds."""
    over: str = ""
    """`UDP` or `TCP`: how the answer came; empty if none did, or the asker does not see it."""


class Answer(NamedTuple):
    """What became of one question."""

    question: Question
    status: str
    """One of FOUND, NO_DATA, DANGLING, NO_NAME, AGAIN, FAILED."""
    canonical: str = ""
    """The name that the records belong to, at the end of the chain of aliases."""
    aliases: tuple[str, ...] = ()
    """The names on the way to it, that of the question first."""
    data: tuple[str, ...] = ()
    """The addresses or names asked for, in the server's order."""
    ttl: int | None = None
    """Seconds for which this holds, or None where the server, or the library in between, does not tell."""
    tries: tuple[Try, ...] = ()
    """The queries that led to it, as far as the asker sees them."""
    elapsed: float = 0.0
    """Seconds from the question to the answer."""
    via: str = NETWORK
    """Where it comes from: one of NETWORK, CACHE, STALE, JOINED, DEADLINE."""

    def again(self, ttl: float | None, via: str) -> Self:
        """The same, for somebody else who asks, and who waited for no query of his own."""
        return self._replace(ttl=None if ttl is None else int(ttl), via=via, tries=(), elapsed=0.0)


class IReply(Protocol):
    """An answer as far as the cache, and who joins questions, look into it."""

    @property
    def status(self) -> str:
        """See `Answer.status`."""
        ...

    @property
    def ttl(self) -> float | None:
        """See `Answer.ttl`."""
        ...

    @property
    def via(self) -> str:
        """See `Answer.via`."""
        ...

    def again(self, ttl: float | None, via: str) -> Self:
        """See `Answer.again`."""
        ...


Q_contra = TypeVar("Q_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)


class IAsks(Protocol[Q_contra, R_co]):
    """Has questions answered.  Call from: the thread of its hub.  Switches: never."""

    def ask(self, question: Q_contra, done: Callable[[R_co], object], /) -> Callable[[], object]:
        """Ask, and call `done` with the answer from a later callback of the loop.

        Returns what cancels it: then `done` is not called any more.  To cancel twice, or too late, is fine.
        One who cannot take a question back any more returns False from there, and calls `done` in the end.
        """
        ...

    def close(self) -> None:
        """Give back what it holds, without calling anybody.  Idempotent; the next `ask` starts afresh."""
        ...


class IAsker(IAsks[Question, Answer], Protocol):
    """Puts questions to name servers."""


def answer(question: Question, records: Iterable[Record], tries: tuple[Try, ...], elapsed: float) -> Answer:
    """The answer in the records of a packet whose response code was that all is well."""
    aliases: dict[str, Record] = {}
    rest: list[Record] = []
    for record in records:
        if record.type == CNAME:
            aliases.setdefault(record.name.lower(), record)
        elif record.type == question.type:
            rest.append(record)
    way, holds, end = [question.name], [], question.name.lower()
    while alias := aliases.pop(end, None):  # each is taken once, so a circle ends
        way.append(alias.data)
        holds.append(alias.ttl)
        end = alias.data.lower()
    found = [record for record in rest if record.name.lower() == end]
    if question.type == PTR:
        found = [record for record in found if is_host_name(record.data)]
    holds += [record.ttl for record in found]
    status = FOUND if found else DANGLING if rest or len(way) > 1 else NO_DATA
    way = [question.name] + [name for name in way[1:] if is_host_name(name)]
    data = tuple(record.data for record in found)
    return Answer(question, status, way[-1], tuple(way[:-1]), data, min(holds) if found else None, tries, elapsed)


_HOST_NAME = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")


def is_host_name(name: str) -> bool:
    """Whether a name that a server sent may be handed to programs as a host's: letters, digits, `-`, `_` and dots.

    As glibc has it (`res_hnok`); anything else has been used to smuggle shell commands and markup through DNS.
    """
    return name.isascii() and not name.startswith("-") and _HOST_NAME.issuperset(name.encode("ascii"))
