"""Who is told of forks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast
from weakref import WeakSet

import pytest

from hub_threadpool import _forks
from hub_threadpool._lanes import Lane


def test_of_two_threads_that_make_the_first_lane_at_once_both_lanes_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class Told:
        def _after_fork(self) -> None:
            told.append(self)

    def make_late() -> WeakSet[Any]:
        """The other thread has its turn, and is faster."""
        monkeypatch.setattr(_forks, "WeakSet", WeakSet)
        _forks.watch(cast("Lane", others), object)
        return WeakSet()

    told: list[Told] = []
    mine, others = Told(), Told()
    hooks: list[Callable[[], None]] = []
    monkeypatch.setattr(_forks, "_lanes", None)
    monkeypatch.setattr(_forks, "_hooked", set())
    monkeypatch.setattr(_forks, "WeakSet", make_late)
    monkeypatch.setattr("os.register_at_fork", lambda after_in_child: hooks.append(after_in_child))
    _forks.watch(cast("Lane", mine), object)
    (in_child,) = hooks
    in_child()
    assert set(told) == {mine, others}
