"""What tests of reports have in common: they look for greenlets in them, and end those that they have parked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from greenlet import greenlet
from tests.hub_core.locks import Lock

from hub_core import GreenletReport, Hub, LoopExit, Report, kill, sleep, spawn_raw


def end(*greenlets: greenlet) -> None:
    """Kill them, and come back when they are dead."""
    for each in greenlets:
        kill(each)
    while not all(each.dead for each in greenlets):
        sleep(0)


def find(report: Report, found: greenlet) -> GreenletReport | None:
    """What a report says of a greenlet."""
    return next((each for each in report.greenlets if each.id == id(found)), None)


def named(report: Report, name: str) -> GreenletReport:
    """The one greenlet of that name."""
    (found,) = [each for each in report.greenlets if each.name == name]
    return found


def spawn(name: str, function: Callable[..., object], *args: Any) -> greenlet:
    """A greenlet with a name."""
    made: Any = spawn_raw(function, *args)
    made.name = name
    it: greenlet = made
    return it


def take_both(first: Lock, second: Lock) -> None:
    """Half of a deadlock."""
    with first:
        sleep(0.001)
        with second:
            pass


def stuck(hub: Hub) -> Report:
    """Wait for ever, and return the report that says so."""
    with pytest.raises(LoopExit) as caught:
        hub.switch()
    assert isinstance(caught.value.report, Report)
    return caught.value.report
