"""The steps of a lookup: what each room that it goes through writes down, if somebody traces it.

Receives: notes.  Gives: them in their order, with their times, to `_trace`.

Who traces puts `Notes` into the context of the greenlet (`contextvars`) for as long as its lookup takes.  So no room
passes them on to the next, lookups of other greenlets are not in them, and what stands between two rooms (a cache, say)
need not know of them.

Rule 1: a lookup that nobody traces pays one look into its context per room, and nothing else.
Rule 2: notes never change what a lookup does, nor its order.
Rule 3: one list, appended to by the greenlet, by callbacks of the loop and by a worker of the pool; `append` is one
step for the interpreter, so nothing is lost.
"""

from __future__ import annotations

import time
from _thread import get_ident
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple, ParamSpec, TypeVar, cast

from hub_resolver._answers import AAAA, CACHE, CNAME, DEADLINE, JOINED, NETWORK, PTR, STALE, A, Answer, Question

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from hub_api import IResolver
    from hub_resolver._answers import IReply, Try
    from hub_resolver._trace import Trace

P = ParamSpec("P")
T = TypeVar("T")

_TYPES = {A: "A", CNAME: "CNAME", PTR: "PTR", AAAA: "AAAA"}


class Step(NamedTuple):
    """One step of a lookup."""

    kind: str
    """`numeric`, `hosts`, `localhost`, `search`, `name`, `question`, `query`, `order`; `queue`, `libc`."""
    subject: str
    """What it was about: a name, a file, a question as `www.example.com AAAA`, the server of a query."""
    outcome: str
    """What came of it, in words."""
    began: float
    """Seconds since the lookup began."""
    elapsed: float = 0.0
    """Seconds that it took."""
    data: tuple[str, ...] = ()
    """The addresses or names that it gave."""


class Notes:
    """The steps of one lookup, as they come.  Call from: anywhere.  Switches: never."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self.steps: list[Step] = []

    def now(self) -> float:
        """Seconds since the lookup began."""
        return time.monotonic() - self._start

    def add(
        self, kind: str, subject: str, outcome: str, data: Iterable[str] = (), *, began: float | None = None
    ) -> None:
        """Write down a step that ends now and began at `began`, or took no time."""
        now = self.now()
        began = now if began is None else began
        self.steps.append(Step(kind, subject, outcome, began, now - began, tuple(data)))

    def answered(self, question: object, reply: IReply, began: float) -> None:
        """Write down what came of a question, and the queries behind it."""
        words = [reply.status]
        data: tuple[str, ...] = ()
        tries: tuple[Try, ...] = ()
        if isinstance(reply, Answer):
            data, tries = reply.data, reply.tries
            if reply.aliases:
                words.append("by way of " + ", ".join((*reply.aliases[1:], reply.canonical)))
        if reply.ttl is not None:
            words.append(f"for {reply.ttl:.0f} s")
        if reply.via != NETWORK:
            words.append(_VIA.get(reply.via, reply.via))
        self.add("question", _words(question), ", ".join(words), data, began=began)
        for one in tries:
            how = f"{one.outcome} over {one.over}" if one.over else one.outcome
            self.steps.append(Step("query", one.server, how, began, one.elapsed))
            began += one.elapsed

    def unanswered(self, questions: Iterable[object], began: float) -> None:
        """Write down that nobody waits for these any more."""
        for question in questions:
            self.add("question", _words(question), "given up before there was an answer", began=began)

    def timed(self, function: Callable[P, T]) -> Callable[P, T]:
        """The same function, which writes down when it was called, and for how long it has worked."""
        asked, thread = self.now(), get_ident()

        def call(*args: P.args, **kwargs: P.kwargs) -> T:
            name = getattr(function, "__name__", repr(function))
            if get_ident() != thread:
                self.add("queue", name, "a worker has taken the call", began=asked)
            began = self.now()
            try:
                value = function(*args, **kwargs)
            except BaseException as error:
                self.add("libc", name, f"{type(error).__name__}: {error}", began=began)
                raise
            self.add("libc", name, "returned", began=began)
            return value

        return call


_VIA = {
    CACHE: "from the cache",
    STALE: "from the cache, and out of date",
    JOINED: "asked by another lookup",
    DEADLINE: "the time for the lookup was up",
}


def _words(question: object) -> str:
    if isinstance(question, Question):
        return f"{question.name or '.'} {_TYPES.get(question.type, f'TYPE{question.type}')}"
    return repr(question)


_notes: ContextVar[Notes | None] = ContextVar("hub_resolver notes", default=None)

current: Callable[[], Notes | None] = _notes.get
"""The notes of this greenlet's lookup, or None if nobody traces it."""


@contextmanager
def written(notes: Notes) -> Iterator[None]:
    """Have lookups of this greenlet written down in `notes`, within the block."""
    token = _notes.set(notes)
    try:
        yield
    finally:
        _notes.reset(token)


def timed(function: Callable[P, T]) -> Callable[P, T]:
    """The function itself; if this lookup is traced, one that also says how long it waited for a thread, and worked."""
    notes = current()
    return function if notes is None else notes.timed(function)


class Traceable:
    """The method of all resolvers that tells what a lookup does."""

    def trace(
        self,
        host: bytes | str | None,
        port: bytes | str | int | None = None,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> Trace:
        """The lookup that `getaddrinfo` makes, with its steps: see `hub_resolver.trace`."""
        from hub_resolver._trace import trace

        return trace(cast("IResolver", self), host, port, family, type, proto, flags)


def addresses(entries: Iterable[tuple[Any, ...]]) -> tuple[str, ...]:
    """The addresses in entries of `getaddrinfo`, each once, in their order."""
    return tuple(dict.fromkeys(_address(*entry[4]) for entry in entries))


def _address(host: str, port: int, flow: int = 0, scope: int = 0) -> str:
    return f"{host}%{scope}" if scope and "%" not in host else host
