"""What all tests share: loops on every poller, a clock that is moved by hand, and a look at what a test leaves behind.

Rule 1: a package's tests also run where only that package is installed, so nothing of the family is imported up here.
Rule 2: what only one package's tests need stands in that directory's own conftest.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import pytest

if TYPE_CHECKING:
    from hub_loop import Loop
    from hub_loop.testing import ManualClock

POLLERS = [name for name in ("epoll", "kqueue", "poll", "select") if hasattr(select, name)]
"""The real ones of this machine."""

GREENLETS_UNKNOWN = {"hub_api", "hub_loop", "hub_resolver", "hub_threadpool"}
"""Packages that never import greenlet, as the import contract says: to look for what their tests left is a waste."""

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


# -- forks ----------------------------------------------------------------------------------------------------------


class Kin:
    """The parent and the child of one fork, as a test writes about both."""

    PATIENCE = 30.0  # seconds: a child that takes longer hangs

    def __init__(self) -> None:
        self._parent = os.getpid()
        self._child = 0
        self._ends: tuple[int, ...] = ()

    @property
    def is_child(self) -> bool:
        """Whether this is the child."""
        return os.getpid() != self._parent

    def fork(self) -> bool:
        """Fork, once per test; returns whether this is the child."""
        self._ends = os.pipe()
        with warnings.catch_warnings():
            # CPython from 3.12 warns of forks in processes with threads: they are what such tests are about.
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if not child:
            os.close(self._ends[0])
        else:
            self._child = child
            os.close(self._ends[1])
        return not child

    def child_ends(self, check: Callable[[], object] = lambda: None) -> None:
        """In the child: call `check`, and end there.  In the parent: wait, and fail with what the child has raised."""
        if self.is_child:
            try:
                check()
                os._exit(0)
            except BaseException:
                os.write(self._ends[1], traceback.format_exc().encode())
            finally:
                os._exit(1)
        words = b""
        while True:
            if not select.select([self._ends[0]], [], [], self.PATIENCE)[0]:
                os.kill(self._child, signal.SIGKILL)
                words += b"the child hangs"
                break
            read = os.read(self._ends[0], 65536)
            if not read:
                break
            words += read
        os.close(self._ends[0])
        status = os.waitpid(self._child, 0)[1]
        if status:
            pytest.fail(f"the child ended with status {status}: {words.decode()}", pytrace=False)

    def run(self, check: Callable[[], object]) -> None:
        """Fork, call `check` in the child, and wait for its end."""
        self.fork()
        self.child_ends(check)


@pytest.fixture
def kin() -> Iterator[Kin]:
    """Forks; a child that leaves the test by an exception ends here and does not go on with pytest."""
    made = Kin()
    yield made
    if made.is_child:
        os.write(made._ends[1], b"it left the test's body; see the traceback above")
        os._exit(1)


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
    greenlets = [] if request.path.parent.name in GREENLETS_UNKNOWN else _greenlets_left()
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
