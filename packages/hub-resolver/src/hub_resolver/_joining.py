"""Who joins equal questions: while one is under way, the same is not asked a second time.

Receives: questions.  Gives: to each that asked the answer to the one that was passed on.

Rule 1: a question under way belongs to nobody.  Who asked first may leave, and the others are told all the same; only
when the last has left is it cancelled.
Rule 2: a question that cannot be taken back stays under way without anybody, so who asks it anew joins what is running
and does not start another: lookups that time out again and again do not pile up.
Rule 3: a forked child joins nothing of its parent's.
Rule 4: a flight that stands in the table lands: it leaves the table before its question is taken back.  Else, after an
interrupt, who joins it would wait for ever.
"""

from __future__ import annotations

import os
from collections.abc import Hashable
from functools import partial
from typing import Any, Generic, TypeVar

from hub_resolver._answers import JOINED, NETWORK, IReply

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from hub_api import ILoopCore
    from hub_resolver._answers import IAsks

Q = TypeVar("Q", bound=Hashable)
R = TypeVar("R", bound=IReply)


class _Flight(Generic[Q, R]):
    """A question under way, and those who want to be told."""

    __slots__ = ("_flights", "_loop", "_reply", "cancel", "question", "takers")

    def __init__(self, question: Q, flights: dict[Q, _Flight[Q, R]], loop: ILoopCore) -> None:
        self.question = question
        self.takers: dict[object, Callable[[R], object]] = {}  # who asked first comes first
        self.cancel: Callable[[], object] = _nothing
        self._flights = flights
        self._loop = loop
        self._reply: R | None = None
        """What the next one is told."""

    def land(self, reply: R) -> None:
        """Tell all.  May be called again: it goes on where an interrupt has ended it.

        A method, and no `partial`: the loop sees that an interrupt came as it was entered (`struck_at_entry`).
        """
        try:
            self.forget()
            if self._reply is None:
                self._reply = reply
            while self.takers:
                self._tell(next(iter(self.takers)), self._reply)
        except BaseException:  # one has raised, or an interrupt has come; the others are told in the next batch
            self._loop.run_callback(self.land, reply)
            raise

    def _tell(self, mark: object, mine: R) -> None:
        if len(self.takers) > 1:  # each gets one of its own, and only the first the error that was really raised
            self._reply = mine.again(mine.ttl, JOINED if mine.via == NETWORK else mine.via)
        try:
            self.takers[mark](mine)
        except Exception:
            self.takers.pop(mark, None)
            raise
        self.takers.pop(mark, None)

    def forget(self) -> bool:
        """Leave the table; False if it does not stand there any more."""
        if self._flights.get(self.question) is not self:
            return False
        del self._flights[self.question]
        return True


class JoiningAsker(Generic[Q, R]):
    """Has `asker` asked each question once at a time: see `IAsks`."""

    def __init__(self, asker: IAsks[Q, R], loop: ILoopCore) -> None:
        self._asker = asker
        self._loop = loop
        self._flights: dict[Q, _Flight[Q, R]] = {}
        self._pid = os.getpid()

    def ask(self, question: Q, done: Callable[[R], object], /) -> Callable[[], object]:
        """See `IAsks.ask`."""
        if self._pid != os.getpid():
            self._flights, self._pid = {}, os.getpid()
        mark = object()
        flight = self._flights.get(question)
        if flight is None:
            flight = _Flight(question, self._flights, self._loop)
            flight.cancel = self._asker.ask(question, flight.land)
            self._flights[question] = flight
        flight.takers[mark] = done
        return partial(self._leave, flight, mark)

    def close(self) -> None:
        """See `IAsks.close`."""
        self._flights.clear()
        self._asker.close()

    def _leave(self, flight: _Flight[Q, R], mark: object) -> None:
        was_told = flight.takers.pop(mark, None) is None
        if was_told or flight.takers:
            return
        under_way = flight.forget()
        if flight.cancel() is False and under_way:
            self._flights[flight.question] = flight

    def __repr__(self) -> str:
        return f"<{type(self).__name__} at {id(self):#x} under_way={len(self._flights)} {self._asker!r}>"


def _nothing() -> Any:
    """What cancels a question that was never passed on."""
