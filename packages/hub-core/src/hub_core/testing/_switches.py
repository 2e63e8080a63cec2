"""Which calls switch greenlets: two assertions, and the tracer below them.

Receives: a block of code.  Gives: AssertionError if it did, or did not, let other greenlets run.

greenlet tells a thread's tracer of each switch, so nothing is guessed and nothing is paid outside the block.  A thread
has one tracer only, and blocks of several greenlets overlap in any order.  Hence one tracer per thread for all of them:

Rule 1: it is set when the first block begins and taken away when the last one ends; the tracer that was there before is
told of everything, and is back afterwards.
Rule 2: whoever sets another tracer meanwhile keeps it: what is not ours any more is not ours to take away.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager

import greenlet as greenlets
from greenlet import getcurrent, greenlet

from hub_core._greenlets import spawn_raw

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    Switch = tuple[greenlet, greenlet]
    Trace = Callable[[Any, Switch], object]


class _Tracer(threading.local):
    """This thread's blocks, each with the switches that it has seen."""

    def __init__(self) -> None:
        self.blocks: list[list[Switch]] = []
        self.before: Trace | None = None
        self.installed: Trace | None = None

    def add(self, seen: list[Switch]) -> None:
        """A block begins: its switches go into `seen`."""
        if not self.blocks:
            self.before = greenlets.gettrace()
            self.installed = self.told
            greenlets.settrace(self.installed)
        self.blocks.append(seen)

    def remove(self, seen: list[Switch]) -> None:
        """The block ends.  By identity: lists that hold the same are equal."""
        self.blocks = [other for other in self.blocks if other is not seen]
        if not self.blocks and greenlets.gettrace() is self.installed:
            greenlets.settrace(self.before)
            self.before = self.installed = None

    def told(self, event: Any, pair: Switch) -> None:
        """Greenlet switches, or throws, from the first of the pair to the second."""
        for seen in self.blocks:
            seen.append(pair)
        if self.before is not None:
            self.before(event, pair)


_tracer = _Tracer()


@contextmanager
def switches_seen() -> Iterator[list[Switch]]:
    """Collects each switch of this thread while the block runs, as (from, to)."""
    seen: list[Switch] = []
    _tracer.add(seen)
    try:
        yield seen
    finally:
        _tracer.remove(seen)


@contextmanager
def assert_switches() -> Iterator[None]:
    """Raise AssertionError unless the block lets other greenlets run.

    There is always one that could: a greenlet is spawned for this, which does nothing.  So `sleep(0)` switches, whoever
    else is ready; `get` of a Waiter that holds its outcome does not.  An exception out of the block passes through.
    Call from: any greenlet but the hub.  Switches: never by itself.
    """
    current = getcurrent()
    with switches_seen() as seen:
        spawn_raw(_nothing)
        yield
        switched = any(origin is current for origin, _ in seen)
    if not switched:
        raise AssertionError(f"{current!r} was to let other greenlets run, and did not switch")


@contextmanager
def assert_no_switch() -> Iterator[None]:
    """Raise AssertionError if the block switches to another greenlet.

    Nothing else ran then, so what the block has read of shared state is still so.  An exception out of the block
    passes through.
    Call from: anywhere, callbacks included.  Switches: never by itself.
    """
    with switches_seen() as seen:
        yield
        switches = list(seen)
    if switches:
        origin, target = switches[0]
        raise AssertionError(f"{origin!r} was not to let other greenlets run, and switched to {target!r}")


def _nothing() -> None:
    """Could run."""
