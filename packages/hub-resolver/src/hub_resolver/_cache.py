"""The cache: answers that hold still are given again, and nobody is asked.

Receives: questions, and the answers of who is asked what is not known.  Gives: answers, each for as long as it holds.

Rule 1: nothing is given past its TTL, but for a question that nobody answers, and only if whoever made the cache said
for how long after it that is better than an error (`stale`; RFC 8767).
Rule 2: a "no" is kept only if the servers say for how long it holds (RFC 2308, 5), and "nobody answers" never.
Rule 3: at most `size` answers are kept; the one that was not used for the longest time goes.
Rule 4: time is the loop's, read anew at each question, for a turn may be long.
A forked child starts with what its parent knew.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, NamedTuple, TypeVar

from hub_resolver._answers import AGAIN, CACHE, FOUND, NO_DATA, NO_NAME, STALE, IReply

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from hub_api import ILoopCore
    from hub_resolver._answers import IAsks

Q = TypeVar("Q", bound=Hashable)
R = TypeVar("R", bound=IReply)

SIZE = 1000
"""How many answers are kept unless somebody says otherwise."""
_LONGEST = {FOUND: 86400.0, NO_DATA: 10800.0, NO_NAME: 10800.0}
"""Seconds for which an answer is believed at most, whatever its TTL: a day, and for a "no" three hours."""


class CacheInfo(NamedTuple):
    """What a cache has done and holds."""

    hits: int
    """Questions that were answered from it, while the answer held."""
    misses: int
    """Questions that were passed on."""
    stale: int
    """Of these, those that nobody answered and that got an answer from before."""
    maxsize: int
    """How many answers it keeps at most; 0: there is no cache."""
    currsize: int
    """How many it keeps; some of them may not hold any more."""


class Cache(Generic[Q, R]):
    """Answers, for as long as they hold.  Call from: the thread of the loop.  Switches: never."""

    def __init__(self, loop: ILoopCore, size: int = SIZE, stale: float = 0.0) -> None:
        if not isinstance(size, int) or isinstance(size, bool):
            raise TypeError(f"cache must be a whole number of answers, 0 for none, got {size!r}")
        if size < 0:
            raise ValueError(f"cache must be a number of answers, 0 for none, got {size}")
        if not stale >= 0:
            raise ValueError(f"stale must be seconds, 0 for never, got {stale!r}")
        self.size = size
        self._loop = loop
        self._stale = stale
        self._kept: OrderedDict[Q, tuple[float, R]] = OrderedDict()  # until when, and what; the least used first
        self._hits = self._misses = self._stales = 0
        self._epoch = 0

    @property
    def epoch(self) -> int:
        """Grows when it is emptied: an answer to a question from before is not kept."""
        return self._epoch

    def known(self, question: Q) -> R | None:
        """The answer, if there is one that holds; counts a hit or a miss."""
        found = self._kept.get(question)
        if found is not None:
            until, reply = found
            left = until - self._now()
            if left > 0:
                self._kept.move_to_end(question)
                self._hits += 1
                return reply.again(left, CACHE)
            if left <= -self._stale:
                del self._kept[question]
        self._misses += 1
        return None

    def keep(self, question: Q, reply: R, epoch: int) -> R:
        """Keep an answer that came; returns what is to be given: it, or instead of "nobody answers" a stale one."""
        longest = _LONGEST.get(reply.status)
        if longest is None or not self.size or epoch != self._epoch:
            return (self.stale(question) or reply) if reply.status == AGAIN else reply
        self._kept.pop(question, None)
        if reply.ttl is not None and reply.ttl > 0:
            # One of our own: the lists of the other are its taker's, and its error holds frames that are past.
            self._kept[question] = (self._now() + min(reply.ttl, longest), reply.again(reply.ttl, CACHE))
            if len(self._kept) > self.size:
                self._kept.popitem(last=False)
        return reply

    def stale(self, question: Q) -> R | None:
        """What was found before, if that is better than an error."""
        until, reply = self._kept.get(question, (0.0, None))
        if reply is None or reply.status != FOUND or until + self._stale <= self._now():
            return None
        self._stales += 1
        return reply.again(0, STALE)

    def clear(self) -> None:
        """Forget all answers."""
        self._kept.clear()
        self._epoch += 1

    def info(self) -> CacheInfo:
        """What it has done and holds."""
        return CacheInfo(self._hits, self._misses, self._stales, self.size, len(self._kept))

    def _now(self) -> float:
        self._loop.update_now()
        return self._loop.now()


class CachingAsker(Generic[Q, R]):
    """Answers what `cache` knows, and has `asker` asked the rest: see `IAsks`."""

    def __init__(self, asker: IAsks[Q, R], cache: Cache[Q, R], loop: ILoopCore) -> None:
        self._asker = asker
        self._cache = cache
        self._loop = loop

    def ask(self, question: Q, done: Callable[[R], object], /) -> Callable[[], object]:
        """See `IAsks.ask`."""
        cache = self._cache
        known = cache.known(question)
        if known is not None:
            return self._loop.run_callback(done, known).stop
        epoch = cache.epoch
        return self._asker.ask(question, lambda reply: done(cache.keep(question, reply, epoch)))

    def close(self) -> None:
        """See `IAsks.close`.  What is known is kept."""
        self._asker.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} at {id(self):#x} kept={self._cache.info().currsize} {self._asker!r}>"
