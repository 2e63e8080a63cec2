"""What all tests share: loops, a clock that is moved by hand, public names, forks, and the family's pytest plugins.

Rule 1: a package's tests also run where only that package is installed, so nothing of the family is imported up here,
and a plugin is asked for where it can be had: what a test leaves behind is seen at the latest when all run together.
Rule 2: what only one package's tests need stands in that directory's own conftest.
"""

from __future__ import annotations

import ctypes
import dataclasses
import difflib
import gc
import os
import select
import signal
import subprocess
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import pytest

if TYPE_CHECKING:
    from hub_loop import Loop
    from hub_loop.testing import ManualClock

pytest_plugins = [f"{package}.testing.pytest_plugin" for package in ("hub_loop", "hub_core") if find_spec(package)]
"""A test fails that leaves fds, threads, active watchers or greenlets behind."""

POLLERS = [name for name in ("epoll", "kqueue", "poll", "select") if hasattr(select, name)]
"""The real ones of this machine."""


_came_with_imports: WeakSet[threading.Thread] = WeakSet()
"""The main thread, and one of pycares that never ends."""


def pytest_collection_finish() -> None:
    """Nothing but what was imported has started threads yet."""
    _came_with_imports.update(threading.enumerate())


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """Between two files, set aside what pytest keeps of the tests that ran: some 16 objects of each, for its summary.

    Every look at all objects would pay for them: each `gc.collect()` of a test, each hub that ends, each thread that
    does.  hub_loop's plugin says why that is not done while a thread's first greenlet may be among them: so it is not
    done unless this thread is alone, but for those of libraries, and its own is the only greenlet there is.
    """
    result = yield
    alone = all(each in _came_with_imports for each in threading.enumerate())
    if (nextitem is None or nextitem.path != item.path) and alone and _no_greenlets():
        gc.collect()
        gc.freeze()
    return result


def _no_greenlets() -> bool:
    greenlets = sys.modules.get("greenlet")
    return greenlets is None or sum(issubclass(type(each), greenlets.greenlet) for each in gc.get_objects()) <= 1


@pytest.hookimpl(tryfirst=True, optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Under xdist a file's tests run in one process, and those about load and time in one after another.

    So they have one neighbour at most who asks for the processor, and are never each other's.
    """
    from xdist.scheduler import LoadFileScheduling

    def together(nodeid: str) -> str:
        return "load and time" if nodeid.startswith(("tests/journeys/", "tests/stress/")) else nodeid.split("::")[0]

    scheduler = LoadFileScheduling(config, log)
    scheduler._split_scope = together
    return scheduler


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
    failures = request.session.testsfailed
    yield made
    left = [repr(watcher) for watcher in active_watchers(made)]
    made.destroy()
    if left and request.session.testsfailed == failures:
        pytest.fail(f"the test left active watchers behind: {', '.join(left)}", pytrace=False)


# -- plugins --------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Verdicts:
    """What a pytest of its own said of a suite: the lines about tests that failed, and everything."""

    told: list[str]
    text: str


@pytest.fixture
def judged_with(tmp_path: Path) -> Callable[[str, str], Verdicts]:
    """Runs a suite, given as text, in a pytest of its own with one plugin.

    What pytest tells depends on variables: on a build server it repeats whole messages in its summary.
    """
    theirs = {"CI", "BUILD_NUMBER", "PYTEST_ADDOPTS", "COLUMNS"}
    environment = {name: value for name, value in os.environ.items() if name not in theirs}
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # to import hypothesis takes as long as all of it

    def judge(plugin: str, suite: str) -> Verdicts:
        file = tmp_path / "test_suite.py"
        file.write_text(suite)
        options = ["-p", plugin, "-p", "no:cacheprovider", "-q", "-rA", "--rootdir", str(tmp_path)]
        ran = subprocess.run(
            [sys.executable, "-m", "pytest", *options, str(file)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=50,
            env=environment,
        )
        lines = [line.split(" - ")[0] for line in ran.stdout.splitlines()]
        return Verdicts([line for line in lines if line.startswith(("ERROR ", "FAILED "))], ran.stdout)

    return judge


# -- names ----------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class PublicNames:
    """The lines of a package's api.txt: those that are committed, and those that what is installed would have."""

    committed: list[str]
    installed: list[str]

    def check(self) -> None:
        """Fail with the lines that differ."""
        told = [line for line in difflib.ndiff(self.committed, self.installed) if line.startswith(("- ", "+ "))]
        if told:
            told.append("If others may rely on that: `hatch run tools:api` writes it, and the changelog says it.")
            pytest.fail("\n".join(["The public names are not those of api.txt:", *told]), pytrace=False)


@pytest.fixture
def public_names(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> PublicNames:
    """Those of the package whose tests these are, read by tools/api.py."""
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "tools")
    import api

    spec = find_spec(request.path.parent.name)
    assert spec is not None
    assert spec.origin is not None
    committed = api.committed(spec.name.replace("_", "-")).read_text("utf-8").splitlines()
    return PublicNames(committed, api.lines(spec.name, Path(spec.origin).parent))


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


class Unfinished:
    """A tuple that another thread is in the middle of making, out of a generator.

    If anything holds it besides, at the moment at which it is resized, that thread gets a SystemError.  Another thread
    can run between any two bytecodes, so that is where we look.
    """

    def __init__(self, item: object) -> None:
        self._items = (mark := object(), item)
        self._go_on = threading.Event()
        self._begun = threading.Event()
        self._thread = threading.Thread(target=self._make)
        self.made: tuple[object, ...] = ()
        self._thread.start()
        self._begun.wait(30)
        address = next(id(each) for each in gc.get_referrers(mark) if type(each) is tuple and each is not self._items)
        self._count = ctypes.c_uint32.from_address(address)  # an object begins with the count of its references
        assert self._count.value == 1

    def _make(self) -> None:
        self.made = tuple(self._bring())

    def _bring(self) -> Iterator[object]:
        yield from self._items
        self._begun.set()
        self._go_on.wait(30)

    def held(self) -> int:
        """How many references there are to the tuple now."""
        return self._count.value

    def most_held_during(self, call: Callable[[], object]) -> int:
        """How many references there are to the tuple at most, between two bytecodes of `call`."""
        most = 0

        def look(frame: Any, *_: object) -> Any:
            nonlocal most
            frame.f_trace_opcodes = True
            most = max(most, self._count.value)
            return look

        before = sys.gettrace()
        sys.settrace(look)
        try:
            call()
        finally:
            sys.settrace(before)
        return most

    def finish(self) -> None:
        """Let the other thread make the tuple."""
        self._go_on.set()
        self._thread.join()


@pytest.fixture
def unfinished() -> Iterator[Callable[[object], Unfinished]]:
    """Begins tuples in other threads, of which the given thing is an item."""
    begun: list[Unfinished] = []

    def begin(item: object) -> Unfinished:
        begun.append(Unfinished(item))
        return begun[-1]

    yield begin
    for each in begun:
        each.finish()
