"""What the lanes of one pool have in common, and what each of them counts.

Receives: word from lanes that they have jobs, or none any more.  Gives: a loop that runs as long as one has; the
joiners' wake-up; numbers.
Rule: the hub's thread writes here, and nobody else.
"""

from __future__ import annotations

import threading

from hub_threadpool._outbox import Outbox

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from hub_api import IHub, ILoopCore, IWaiter
    from hub_threadpool._job import Job

    Table = dict[Job[Any], None]


class Ledger:
    """What the lanes of one pool have in common: the hub, the outbox, and whether the loop is kept running."""

    __slots__ = ("holding", "hub", "joiners", "killed", "loop", "name", "outbox", "owner", "tables", "thread")

    def __init__(self, hub: IHub, name: str) -> None:
        self.hub: IHub = hub
        self.loop: ILoopCore = hub.loop
        self.name: str = name
        self.thread: int = hub.thread_ident
        # Kept because the number of a thread that has ended is given to the next one.
        self.owner: threading.Thread | None = find_thread(self.thread)
        self.outbox: Outbox = Outbox(hub, hub.loop)
        self.killed: bool = False
        self.holding: bool = False
        self.tables: list[Table] = []
        self.joiners: list[tuple[IWaiter, list[Table]]] = []

    def hold(self) -> None:
        """There is, or is about to be, a job that has not ended."""
        if not self.holding:
            self.holding = True
            try:
                self.loop.ref()
            except BaseException:
                self.holding = False
                raise

    def settle(self) -> None:
        """A table has become empty: let go of the loop if all have, and tell who waited for that."""
        if self.holding and not any(self.tables):
            self.holding = False
            try:
                self.loop.unref()
            except BaseException:
                self.holding = True  # interrupted as it began
                raise
            if any(self.tables):  # a signal handler has started a job since we asked, and found the loop held
                self.hold()
        if self.joiners and self.hub.loop is self.loop:
            for waiter, tables in list(self.joiners):
                if not any(tables):
                    waiter.switch(None)


class LaneCounters:
    """What the jobs of a lane have cost; those that a worker began and that have ended since.

    Written by the hub's thread alone, and read from any: each number is right, but two that are read one after the
    other may be of different moments.  Seconds.
    """

    __slots__ = ("ended", "run_max", "run_sum", "wait_max", "wait_sum")

    def __init__(self) -> None:
        self.ended: int = 0
        """How many there were."""
        self.wait_sum: float = 0.0
        """How long they waited for a worker, together."""
        self.wait_max: float = 0.0
        """The longest of these waits."""
        self.run_sum: float = 0.0
        """How long they ran, together."""
        self.run_max: float = 0.0
        """The longest of these runs."""

    def add(self, job: Job[Any]) -> None:
        """Count a job.  Call from: the hub's thread."""
        started = job._started_at
        waited, ran = started - job._queued_at, job._finished_at - started
        self.ended += 1
        self.wait_sum += waited
        self.run_sum += ran
        if waited > self.wait_max:
            self.wait_max = waited
        if ran > self.run_max:
            self.run_max = ran

    def __repr__(self) -> str:
        return f"<LaneCounters {' '.join(f'{name}={getattr(self, name):.6g}' for name in self.__slots__)}>"


def find_thread(ident: int) -> threading.Thread | None:
    """The thread of that number, if `threading` knows it."""
    # `threading.current_thread()` would make one for a thread that it does not know, and keep it.
    return next((thread for thread in threading.enumerate() if thread.ident == ident), None)
