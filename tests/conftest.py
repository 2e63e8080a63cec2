"""What all tests share: loops on every poller, a clock that is moved by hand, and a look at what a test leaves behind.

Rule 1: a package's tests also run where only that package is installed, so nothing of the family is imported up here.
Rule 2: what only one package's tests need stands in that directory's own conftest.
"""

from __future__ import annotations

import gc
import os
import select
import sys
import threading
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import pytest

if TYPE_CHECKING:
    from hub_loop import Loop
    from hub_loop.testing import ManualClock

POLLERS = [name for name in ("epoll", "kqueue", "poll", "select") if hasattr(select, name)]
"""The real ones of this machine."""

_FDS = Path("/proc/self/fd" if Path("/proc/self/fd").exists() else "/dev/fd")
_failed = pytest.StashKey[bool]()
_let_be: WeakSet[Any] = WeakSet()
"""Greenlets that earlier tests have left; they have been reported."""


# -- loops ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def clock() -> ManualClock:
    """The clock of the `loop` of this test, if the test asks for both."""
    from hub_loop.testing import ManualClock

    return ManualClock()


@pytest.fixture(params=[*POLLERS, "fake"])
def loop(request: pytest.FixtureRequest) -> Iterator[Loop]:
    """A loop on each poller, the fake one included.

    With `clock` in the test's arguments its time is that clock's; then only the fake poller can sleep until a timer is
    due, and the others are turned by `clock.advance(...)` and `loop.run(nowait=True)`.  Else they live in real time.
    One poller, or a few: `@pytest.mark.parametrize("loop", ["epoll", "poll"], indirect=True)`.
    """
    from hub_loop import Loop
    from hub_loop.testing import FakePoller, ManualClock, active_watchers

    manual = "clock" in request.fixturenames
    if request.param == "fake":
        time_source: ManualClock = request.getfixturevalue("clock") if manual else ManualClock()
        made = Loop(poller=FakePoller(time_source, wait_for_threads=0.0 if manual else 30.0), clock=time_source)
    elif manual:
        made = Loop(request.param, clock=request.getfixturevalue("clock"))
    else:
        made = Loop(request.param)
    yield made
    left = [repr(watcher) for watcher in active_watchers(made)]
    made.destroy()
    if left and not request.node.stash.get(_failed, False):
        pytest.fail(f"the test left active watchers behind: {', '.join(left)}", pytrace=False)


# -- what is left behind --------------------------------------------------------------------------------------------


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep for the fixtures' tear-down whether the test has failed."""
    report = yield
    item.stash[_failed] = item.stash.get(_failed, False) or report.failed
    return report


@pytest.fixture(autouse=True)
def nothing_is_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test after which an fd is open, a thread runs or a greenlet is parked that was not there before.

    Set up before every other fixture and torn down after them.  A test that failed is let be: it may not have come to
    its tidying up, and one failure is enough to read.
    """
    fds, threads, count = _open_fds(), set(threading.enumerate()), _thread_count()
    yield
    greenlets = _greenlets_left()
    if request.node.stash.get(_failed, False):
        _let_be.update(greenlets)
        return
    left: list[str] = [f"greenlet {parked!r}" for parked in greenlets if parked not in _let_be]
    _let_be.update(greenlets)
    left += [repr(thread) for thread in threading.enumerate() if thread not in threads]
    if not left and _thread_count() > count:
        left += _threads_that_do_not_end(count)
    if _open_fds() - fds:
        gc.collect()
        left += [f"fd {fd} -> {_target(fd)}" for fd in sorted(_open_fds() - fds)]
    if left:
        pytest.fail(f"the test left behind: {', '.join(left)}", pytrace=False)


@pytest.fixture(scope="session", autouse=True)
def what_the_tools_brought_is_set_aside() -> None:
    """Keep the objects of pytest and its plugins out of every look at all objects: there are a hundred thousand.

    Once, before any test, and never in between: when a thread ends, greenlet 3.5 asks the garbage collector who still
    refers to that thread's main greenlet, and if it is told nobody, takes the last reference away.  It is not told of
    objects that are set aside, and then the interpreter crashes at some later time.
    """
    gc.collect()
    gc.freeze()


def _open_fds() -> set[int]:
    fds = set()
    for name in os.listdir(_FDS):
        try:
            os.fstat(int(name))
        except OSError:
            continue  # the one that listdir itself had open
        fds.add(int(name))
    return fds


def _target(fd: int) -> str:
    try:
        return os.readlink(_FDS / str(fd))
    except OSError:
        return "?"


def _thread_count() -> int:
    import _thread

    return _thread._count()


def _threads_that_do_not_end(count: int) -> list[str]:
    # A joined thread, or one started by `_thread`, takes a moment more until the interpreter has forgotten it.
    for _ in range(2000):
        if _thread_count() <= count:
            return []
        time.sleep(0.001)
    return [f"{_thread_count() - count} threads that `threading` does not know"]


def _greenlets_left() -> list[Any]:
    """Greenlets that were started and are not finished; threads' main ones do not count."""
    module = sys.modules.get("greenlet")
    if module is None:
        return []
    kind: type[Any] = module.greenlet

    def parked() -> list[Any]:
        return [thing for thing in gc.get_objects() if isinstance(thing, kind) and thing and thing.parent is not None]

    if not parked():
        return []
    gc.collect()  # one that nobody can reach any more is no leak
    return parked()
