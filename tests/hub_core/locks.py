"""A lock made from Waiters that names its owner, as reports want it: no greenlet library is built yet."""

from __future__ import annotations

from collections import deque
from typing import Any

from greenlet import getcurrent, greenlet

from hub_core import Waiter


class Lock:
    """Mutual exclusion of greenlets; not re-entrant, first come first served."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.owner: greenlet | None = None
        self.waiters: deque[Waiter] = deque()

    def acquire(self) -> None:
        """Take it, or park until it is handed over."""
        if self.owner is None:
            self.owner = getcurrent()
            return
        waiter = Waiter()
        waiter.reason = self
        self.waiters.append(waiter)
        waiter.get()

    def release(self) -> None:
        """Hand it to who waits longest."""
        self.owner = None
        if self.waiters:
            waiter = self.waiters.popleft()
            self.owner = waiter.greenlet
            waiter.switch()

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *error: Any) -> None:
        self.release()

    def __repr__(self) -> str:
        return f"<Lock {self.name}>"
