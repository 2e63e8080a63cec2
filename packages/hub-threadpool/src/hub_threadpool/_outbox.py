"""The outbox: how the workers of one pool tell its hub what they did, with one wake-up for all that end together.

Receives: jobs with an outcome, and events, from workers.  Gives: the same to their lanes, in the hub's thread.

Rule 1: what is to be told stays in `news` until it has been: an interrupt may come at any step, and then it is told
again.
Rule 2: whoever writes into `news` posts afterwards; the loop marks the post as begun, and then `deliver` reads.
"""

from __future__ import annotations

from collections import deque

from hub_threadpool._job import Job

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from hub_api import ICallback, IHub, ILoopCore
    from hub_threadpool._worker import Crew

AT_MOST = 32
FOR_SECONDS = 0.002
"""How long, and for how many jobs in a row, greenlets whose jobs end at once go on without parking: `Outbox.take`."""


class Outbox:
    """What the workers of one pool have to tell its hub: one wake-up, however many have ended together."""

    __slots__ = ("_since", "hub", "loop", "news", "posted", "taken")

    def __init__(self, hub: IHub, loop: ILoopCore) -> None:
        self.hub: IHub = hub
        self.loop: ILoopCore = loop
        self.news: deque[Job[Any] | Event] = deque()
        self.posted: ICallback | None = None
        self.taken: int = 0
        """How many jobs were finished since the last delivery."""
        self._since = 0.0

    def post(self, anew: bool = False) -> bool:
        """See to it that the news is delivered; False if the loop refuses because it was destroyed.

        True also if an earlier post is pending, which a destroyed loop may have dropped: `anew` posts nevertheless, and
        so finds out.  Call from: any thread.
        """
        posted = self.posted
        if anew or posted is None or not posted.pending:
            try:
                self.posted = self.loop.run_callback_threadsafe(self.deliver)
            except ValueError:
                return False
        return True

    def take(self, job: Job[Any]) -> bool:
        """Finish a job that has ended before its greenlet came to park, if there is no other news.

        Its delivery is posted all the same; but `AT_MOST` jobs in a row, and those of `FOR_SECONDS`, need not wait for
        it.  Then a greenlet parks, and the loop has its turn.
        Call from: whoever has just submitted the job, which nobody else knows.  False also in a callback.
        """
        news = self.news
        if len(news) != 1 or news[0] is not job or self.hub.current:
            return False
        if not self.taken:
            self._since = job._queued_at
        if self.taken >= AT_MOST or job._finished_at - self._since > FOR_SECONDS:
            return False
        self.taken += 1
        job._lane._finish(job)
        if news and news[0] is job:  # else a signal handler has parked us meanwhile, and the loop has delivered it
            news.popleft()
        return True

    def deliver(self) -> None:
        """Tell each lane what has become of its jobs.  Call from: the loop, as a callback.

        What comes meanwhile was posted anew, and is left to the next callback: many jobs shall not hold up the loop.
        """
        news = self.news
        self.taken = 0
        try:
            for _ in range(len(news)):
                if not news:
                    return
                item = news[0]  # it stays until it is told: an interrupt may come at any step
                if type(item) is Job:
                    item._lane._finish(item)
                elif type(item) is Event:
                    item.tell()
                if news and news[0] is item:
                    news.popleft()
        except BaseException:
            if news:
                self.post()
            raise


class Event:
    """Something else for the hub to learn.

    With a job: its start is awaited, and it has left the queue.  With an error: a worker has died of it, it has
    interrupted the hub's thread between two steps, or the process ends.  With neither: a worker has left, and then
    found work.
    """

    __slots__ = ("crew", "error", "job")

    def __init__(self, crew: Crew, job: Job[Any] | None, error: BaseException | None) -> None:
        self.crew: Crew = crew
        self.job: Job[Any] | None = job
        self.error: BaseException | None = error

    def tell(self) -> None:
        """Call from: the hub's thread."""
        if self.job is not None:
            self.job._lane._has_started(self.job)
            return
        lane = self.crew.lane()
        if lane is None or lane._crew is not self.crew:
            return
        if self.error is None:
            lane._start_waiting()
        else:
            lane._audit(self.error)
