"""What lookups have in common, whoever is asked: the wait, its end, the time it may take, and whose thread it is.

Receives: questions of greenlets.  Gives: the answers of the asker; or an error to all who wait.

Before the asker stand, unless somebody says otherwise, who joins equal questions (`_joining`) and the cache (`_cache`).

Rule 1: while a greenlet waits, an asker has its questions; when it stops waiting, for whatever reason, they are
cancelled.
Rule 2: the asker calls back in the hub's thread and we only mark: a waiter is switched, and no greenlet.
Rule 3: the deadline is a lookup's, however many questions that takes.  Once it has passed nobody is asked any more, and
every question is answered as by servers that are silent; so what a lookup then raises is what the C library raises.
"""

from __future__ import annotations

import os
import socket
import threading
from _thread import get_ident
from collections.abc import Hashable
from contextvars import ContextVar
from functools import partial, wraps
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

from hub_api import ForkedError
from hub_resolver import _steps
from hub_resolver._answers import IReply
from hub_resolver._cache import Cache, CacheInfo, CachingAsker
from hub_resolver._joining import JoiningAsker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from hub_api import IHub, IWaiter, IWatcher
    from hub_resolver._answers import IAsks

Q = TypeVar("Q", bound=Hashable)
R = TypeVar("R", bound=IReply)
P = ParamSpec("P")
T = TypeVar("T")

_until: ContextVar[float | None] = ContextVar("hub_resolver_deadline", default=None)
"""When the lookup of this greenlet must be at its end, on the clock of the loop; None: it has no deadline."""


class Asking(Generic[Q, R]):
    """Puts questions to an asker and waits for the answers: the base of all resolvers that wait.

    `cache`: how many answers are kept, 0 for none.  `stale`: seconds after its TTL for which an answer is still better
    than an error.  `deadline`: seconds that a lookup may take in all.
    """

    def __init__(
        self, hub: IHub, asker: IAsks[Q, R], *, cache: int, stale: float = 0.0, deadline: float | None = None
    ) -> None:
        if deadline is not None and not deadline > 0:
            raise ValueError(f"deadline must be seconds, or None for none, got {deadline!r}")
        self._hub = hub
        self._cache: Cache[Q, R] = Cache(hub.loop, cache, stale)
        if cache:
            asker = CachingAsker(asker, self._cache, hub.loop)
        self.asker: IAsks[Q, R] = JoiningAsker(asker, hub.loop)
        """Who puts questions to name servers, with what stands before it; assignable."""
        self.deadline = deadline
        """Seconds that a lookup may take in all, or None; assignable."""
        self._waiting: set[IWaiter] = set()
        self._forks: IWatcher | None = None
        # Kept because the number of a thread that has ended is given to the next one.
        self._owner = next((each for each in threading.enumerate() if each.ident == hub.thread_ident), None)
        self._pid = os.getpid()

    # -- the cache ----------------------------------------------------------------------------------------------------

    def cache_clear(self) -> None:
        """Forget all answers; what is under way is answered, and not kept.

        Call from: the hub's thread.  Switches: never.
        """
        self._check_thread("cache_clear")
        self._cache.clear()

    def cache_info(self) -> CacheInfo:
        """What the cache has done and holds.  Call from: any thread.  Switches: never."""
        return self._cache.info()

    # -- the end ------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Give back what it holds, the cache included; lookups under way end with gaierror (EAI_FAIL).  Idempotent.

        A lookup after it starts afresh.
        Call from: the hub's thread, or any once that one has ended.  Switches: never.
        """
        if get_ident() != self._hub.thread_ident and self._owner is not None and self._owner.is_alive():
            self._hub.refuse(f"close {self!r}", "hub.loop.run_callback_threadsafe(hub.resolver.close)")
        words = f"{self!r} was closed while this lookup was under way"
        self._cache.clear()
        self._end_all(lambda: socket.gaierror(socket.EAI_FAIL, words))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} at {id(self):#x} {self.asker!r}>"

    # -- asking -------------------------------------------------------------------------------------------------------

    def _late(self, question: Q) -> R:
        """What a question is answered once the deadline has passed."""
        raise NotImplementedError

    def _ask(self, questions: list[Q]) -> list[R]:
        """Put all questions at once, and wait for all answers.  Switches: always, unless the deadline has passed."""
        notes = _steps.current()
        began = notes.now() if notes else 0.0
        until = _until.get()
        if until is None:
            answers = self._wait_for(questions, None)
        else:
            left = until - self._now()
            answers = self._wait_for(questions, left) if left > 0 else {}
        for one in questions:
            if one not in answers:
                answers[one] = self._cache.stale(one) or self._late(one)
                if notes:
                    notes.answered(one, answers[one], began)
        return [answers[one] for one in questions]

    def _wait_for(self, questions: list[Q], seconds: float | None) -> dict[Q, R]:
        """The answers; after `seconds`, those that have come."""
        waiter = self._hub.waiter()
        waiter.reason = self
        answers: dict[Q, R] = {}
        notes = _steps.current()
        began = notes.now() if notes else 0.0

        def done(question: Q, reply: R) -> None:
            answers[question] = reply
            if notes:
                notes.answered(question, reply, began)
            if len(answers) == len(questions):
                waiter.switch(None)

        cancels: list[Callable[[], object]] = []
        self._forked()
        self._waiting.add(waiter)
        self._watch_forks()
        try:
            for one in questions:
                cancels.append(self.asker.ask(one, partial(done, one)))  # noqa: PERF401  # one may raise, then those before count
            self._settle()
            if seconds is None:
                waiter.get()
            else:
                with self._hub.loop.timer(seconds) as timer:
                    timer.start(waiter.switch, None)
                    waiter.get()
        except BaseException:
            if notes:
                notes.unanswered([one for one in questions if one not in answers], began)
            raise
        finally:
            self._waiting.discard(waiter)
            self._watch_forks()
            for cancel in cancels:
                cancel()
        return answers

    def _settle(self) -> None:
        """Before a greenlet parks: see to answers that are there already."""

    def _now(self) -> float:
        loop = self._hub.loop
        loop.update_now()
        return loop.now()

    # -- for all who wait ---------------------------------------------------------------------------------------------

    def _end_all(self, error: Callable[[], BaseException]) -> None:
        """End all lookups under way with an error each; those that an interrupt leaves out are answered as ever."""
        if get_ident() == self._hub.thread_ident:  # else the thread has ended, and its greenlets with it
            for waiter in list(self._waiting):
                waiter.throw(error())
        self.asker.close()
        self._waiting = set()
        self._watch_forks()

    def _watch_forks(self) -> None:
        """Watch for forks while greenlets wait: in a child nobody answers them, and the sockets are the parent's."""
        if self._waiting and self._forks is None and (fork := getattr(self._hub.loop, "fork", None)) is not None:
            self._forks = fork(ref=False)
            self._forks.start(self._forked)
        elif not self._waiting and self._forks is not None:
            self._forks.close()
            self._forks = None

    def _forked(self) -> None:
        """In a child, once: by the loop, or by a lookup that comes before the loop's first turn there."""
        if self._pid == os.getpid():
            return
        words = (
            f"this lookup was under way in process {os.getppid()} when it forked; this is the child: look it up again"
        )
        try:
            self._end_all(lambda: ForkedError(words))
            self._pid = os.getpid()
        except BaseException:  # an interrupt: nobody will answer those that were not told
            self._hub.loop.run_callback(self._forked)
            raise

    def _check_thread(self, what: str) -> None:
        if get_ident() != self._hub.thread_ident:
            self._hub.refuse(
                f"call {what} of {self!r}",
                "the resolver of this thread's hub, get_hub().resolver, or hub.loop.run_callback_threadsafe",
            )


A = TypeVar("A", bound=Asking[Any, Any])


def in_time(lookup: Callable[Concatenate[A, P], T]) -> Callable[Concatenate[A, P], T]:
    """Have the deadline of the resolver hold for `lookup`, unless that is part of a lookup that has one."""

    @wraps(lookup)
    def limited(self: A, /, *args: P.args, **kwargs: P.kwargs) -> T:
        if self.deadline is None or _until.get() is not None:
            return lookup(self, *args, **kwargs)
        before = _until.set(self._now() + self.deadline)
        try:
            return lookup(self, *args, **kwargs)
        finally:
            _until.reset(before)

    return limited
