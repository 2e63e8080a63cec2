"""The thread side: workers, and the crew they form.

Receives: jobs that the hub's thread puts into a crew's queue.  Gives: the same jobs, with an outcome, in the
outbox (`_outbox`).

No lock guards any of this.  Each piece of state is a deque or a list, each step one of its methods, which CPython
makes whole; and where two sides could miss each other, each writes first and looks afterwards, so that the second sees
what the first did:

    the hub puts a job into `queue`, then looks into `idle`     a worker goes into `idle`, then looks into `queue`
    the hub puts a job into `queue`, then counts `workers`      a worker leaves `workers`, then looks into `queue`
    a worker puts a job into `news`, then looks at the post     the loop marks the post as begun, then `news` is read

Places are not kept but derived: a thread may be started while there are fewer `workers` than `maxsize`, and while there
are more, whoever finds that leaves.  So no interrupt and no death can lose a place, and none can come to be too many.

Rule 1: a worker holds its crew, the outbox and the job it runs, never the lane: a forgotten pool can be collected.
Rule 2: to wake a worker is a hint, no order.  Whoever wakes looks into the queue, and nobody relies on who it is.
Rule 3: a worker says which job it has at hand before it takes the call out, and until it has reported: so of a job that
was taken and has no outcome, and that no living worker has at hand, it is certain that its worker has died.
Rule 4: whatever ends a worker, it has left the crew and told the hub; an exception meanwhile begins that again.
"""

from __future__ import annotations

import sys
import threading
from collections import deque
from os import getpid
from time import perf_counter, sleep

from hub_api import PoolKilledError
from hub_threadpool import _exit
from hub_threadpool._bell import make_bell
from hub_threadpool._entry import Entrant
from hub_threadpool._outbox import Event

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any
    from weakref import ref

    from hub_threadpool._job import Job
    from hub_threadpool._lanes import Lane
    from hub_threadpool._outbox import Outbox

RECHECK = 1.0
"""Seconds after which an idle worker looks whether the hub has taken notice of what lies in the outbox.

An interrupt (Ctrl-C) may come just as the loop calls `deliver`, and take the call's place.
"""
LINGER = (0.001, 0.01, 0.05, 0.2, 1.0, 1.0, 1.0, 1.0)
"""The same for a worker that leaves, perhaps as the last: seconds between its looks, until it gives up on the loop."""
_FOREVER = 3600.0

here = threading.local()
"""Of a worker's thread: `outbox`, the pool that it works for."""


class Crew:
    """The workers of one lane, and what they and the hub share.  In a forked child it is replaced by a new one."""

    __slots__ = (
        "__weakref__",
        "closed",
        "door",
        "forsaken",
        "idle",
        "idle_timeout",
        "lane",
        "maxsize",
        "name",
        "outbox",
        "pid",
        "queue",
        "started",
        "unbegun",
        "workers",
    )

    def __init__(self, lane: ref[Lane], name: str, maxsize: int, idle_timeout: float | None, outbox: Outbox) -> None:
        self.lane = lane
        self.name = name
        self.idle_timeout = idle_timeout
        self.outbox = outbox
        self.pid = getpid()
        self.closed = False
        self.forsaken = False
        """Whether the hub will not take notice of anything any more: the process ends, or is another one."""
        self.unbegun: deque[Job[Any]] = deque()
        """Jobs that were in the queue when the process ended, and of which the hub is to be told."""
        self.started = 0
        self.queue: deque[Job[Any]] = deque()
        self.idle: list[Worker] = []  # last in, first out: so those who are not needed stay idle, and time out
        self.maxsize = maxsize
        self.workers: dict[Worker, None] = {}
        self.door: dict[None, Worker] = {}
        """Who leaves because there are too many: one at a time, else two that count at once would both."""

    @property
    def dismissals(self) -> int:
        """How many workers are too many, since `maxsize` shrank."""
        return max(0, len(self.workers) - self.maxsize)

    def has_room(self) -> bool:
        """Whether a worker may be started."""
        return len(self.workers) < self.maxsize

    def summon(self) -> None:
        """Have somebody look into the queue: who is idle, else a new worker if there may be one.

        If there may not, all are at work, and will look when they are done.
        Call from: the hub's thread.  Raises RuntimeError if the system refuses a thread.
        """
        idle = self.idle
        if idle:
            try:
                worker = idle.pop()
                worker.wake()
                return
            except IndexError:
                pass  # it has just timed out
            except BaseException:
                self.wake_all()  # who was taken out is in no list now
                raise
        if len(self.workers) < self.maxsize:
            self._start()
        else:
            waiting = len(self.queue)
            if not waiting & (waiting - 1):  # 1, 2, 4, 8 wait, and so on: are those at work really there?
                self.miss()
                if len(self.workers) < self.maxsize:
                    self._start()

    def miss(self) -> None:
        """Strike off workers whose thread has ended without a word: something has killed it outside of its work."""
        for worker in list(self.workers):
            if worker.is_gone():
                worker._leave()

    def _start(self) -> None:
        worker = None
        try:
            self.started += 1
            worker = Worker(self, f"{self.name}-worker-{self.started}")
            self.workers[worker] = None
            _exit.start(self, worker.thread)
            worker.await_entry()
        except BaseException:
            if worker is not None and worker.enter():  # else it has begun, and an interrupt came to us after that
                self.workers.pop(worker, None)
                worker._bell.close()  # nobody knows it yet
            raise

    def wake_all(self) -> None:
        """Have everybody look around: an interrupt may have come as one was taken out of the list to be woken."""
        for worker in list(self.workers):
            worker.wake()

    def resize(self, maxsize: int) -> None:
        """Allow so many workers.  Call from: the hub's thread."""
        self.maxsize = maxsize
        for _ in range(self.dismissals):
            if self.idle:
                self.summon()

    def close(self) -> None:
        """Let all workers leave: who is idle now, others after their jobs.  Call from: any thread."""
        self.closed = True
        try:
            self.wake_all()
        except BaseException:
            self.wake_all()
            raise

    def close_bells(self) -> None:
        """Give back what the parent's workers had open.  Call from: a forked child."""
        for worker in list(self.workers):
            worker._bell.close()

    def retire(self) -> None:
        """The process ends: what has not begun will not begin.  Call from: any thread.

        Its end is news for the hub: a hook of `atexit` that is called after ours may wait for the pool.
        """
        self.forsaken = True
        self._tell_end()  # now as well: one more Ctrl-C may come at any step below
        try:
            while self.queue:
                try:
                    job = self.queue.popleft()
                except IndexError:
                    break  # a worker was faster
                if job._take():
                    self.unbegun.append(job)
            self._tell_end()  # a hub in another thread may have looked already
        finally:
            self.close()

    def _tell_end(self) -> None:
        self.outbox.news.append(Event(self, None, PoolKilledError("the process ends")))
        self.outbox.post()


class Worker(Entrant):
    """One thread of a crew."""

    __slots__ = ("_bell", "crew", "job", "wake")

    def __init__(self, crew: Crew, name: str) -> None:
        super().__init__()
        self.crew = crew
        self.job: Job[Any] | None = None
        """The job at hand."""
        self._bell = make_bell()
        self.wake = self._bell.ring
        self.thread = threading.Thread(target=self._live, name=name, daemon=True)

    def is_gone(self) -> bool:
        """Whether its thread has begun, or was given up before that, and is no more."""
        return not self._entry and not self.thread.is_alive()

    def doing(self) -> tuple[str, float] | None:
        """The name of the job at hand, and when it began.  Call from: any thread."""
        job = self.job
        return None if job is None else (job._name, job._started_at)

    # -- in the thread ------------------------------------------------------------------------------------------------

    def _live(self) -> None:
        try:
            sys.settrace(None)  # what `threading` has installed is for jobs, and not for us
            sys.setprofile(None)
        except BaseException:
            pass  # the hook has seen the call and raised, and CPython uninstalls one that does
        given_up = False
        try:
            given_up = not self.enter()
            if given_up:
                return
            here.outbox = self.crew.outbox
            self._work()
        except BaseException as error:
            had_job = self.job is not None
            self._bury(error)
            if not had_job:  # else its caller is told, by `Lane._audit`
                threading.excepthook(threading.ExceptHookArgs((type(error), error, error.__traceback__, self.thread)))
        finally:
            if not given_up:
                self._linger()
            del self  # what is kept of a job's exception leads to this frame, which shall not keep our fds

    def _work(self) -> None:
        crew, outbox = self.crew, self.crew.outbox
        queue, idle, news, workers = crew.queue, crew.idle, outbox.news, crew.workers
        listed = False
        try:
            while True:
                if len(workers) > crew.maxsize and self._is_dismissed():
                    return
                try:
                    job = queue.popleft()
                except IndexError:
                    if not listed:
                        idle.append(self)
                    listed = False
                    if self._rest():
                        continue
                    return
                self.job = job
                if listed:
                    listed = False
                    # Whoever took us out has rung the bell, and this is the job that was meant.
                    if not self._bell.heard():
                        self._rise()
                try:
                    call = job._call.pop()
                except IndexError:  # it was ended before it started
                    self.job = None
                    del job
                    continue
                job._started_at = perf_counter()
                if job._start_waiter is not None:
                    news.append(Event(crew, job, None))
                    outbox.post()
                job.run(call)
                del call
                news.append(job)
                # Idle in advance: the post wakes the hub, whose next job would else wake somebody else meanwhile.
                if not queue:
                    idle.append(self)
                    listed = True
                outbox.post()
                self.job = None
                del job  # else its result would live until the next one comes
        finally:
            del self, crew, outbox, queue, idle, news, workers  # as in `_live`

    def _rest(self) -> bool:
        """Wait to be woken, in the list of the idle; False if it is time to leave, and the crew has been left."""
        crew = self.crew
        if not (crew.queue or crew.dismissals or crew.closed):
            waited, limit = 0.0, _FOREVER if crew.idle_timeout is None else crew.idle_timeout
            while waited < limit:
                step = min(limit - waited, RECHECK if crew.outbox.news else _FOREVER)
                if self._bell.wait(step):
                    if self in crew.idle:  # a second wake-up, meant for an earlier rest
                        self._rise()
                    return self._stays()
                waited += step
                if crew.outbox.news:
                    crew.outbox.post(anew=True)
            timed_out = crew.idle_timeout is not None
        else:
            timed_out = False
        if not self._rise() or not timed_out:
            return self._stays()
        self._retire()
        return False

    def _rise(self) -> bool:
        """Leave the list of the idle; False if somebody has taken us out, to wake us."""
        try:
            self.crew.idle.remove(self)
        except ValueError:
            return False
        return True

    def _stays(self) -> bool:
        if not self.crew.closed or self.crew.queue:
            return True
        self._retire()
        return False

    def _is_dismissed(self) -> bool:
        """Leave if there are too many of us; False if that was so, and another one has left."""
        crew = self.crew
        while crew.dismissals:
            if crew.door.setdefault(None, self) is not self:
                sleep(0.0002)
                continue
            try:
                if crew.dismissals:
                    self._retire()
                    return True
            finally:
                self._close_door()
        return False

    def _retire(self) -> None:
        """Leave; and if the hub has counted on us meanwhile, tell it to look for somebody else."""
        crew = self.crew
        self._leave()
        if crew.queue and crew.has_room():
            crew.outbox.news.append(Event(crew, None, None))
            crew.outbox.post()

    def _leave(self) -> None:
        self._rise()
        self.crew.workers.pop(self, None)
        self._close_door()

    def _close_door(self) -> None:
        if self.crew.door.get(None) is self:
            del self.crew.door[None]

    def _linger(self) -> None:
        """We have left.  See to it that the hub takes notice of our last news."""
        crew, anew = self.crew, False
        for seconds in LINGER:
            if not crew.outbox.news or crew.forsaken or not crew.outbox.post(anew):
                return
            self._bell.wait(seconds)
            anew = True

    def _bury(self, error: BaseException) -> None:
        """We die.  Leave the crew and have the hub look after what we leave behind."""
        crew = self.crew
        gone = told = False
        while True:
            try:
                if not gone:
                    self._leave()
                    gone = True
                if not told:
                    crew.outbox.news.append(Event(crew, None, error))
                    told = True
                crew.outbox.post()
                return
            except BaseException:
                sleep(0.01)  # out of memory, or one more who wants us dead
