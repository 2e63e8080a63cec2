"""The thread of the watch: there as long as a hub is watched, one for all of them, in a forked child too."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from hub_core import BlockReport, Hub, Watch, set_hub, sleep, spawn_raw
from hub_core import _watch as module
from hub_core._local import defaults
from hub_core._watch import Watchdog
from hub_loop import Loop

if TYPE_CHECKING:
    from tests.conftest import Kin
    from tests.hub_core.conftest import Elsewhere

    from hub_loop.testing import ManualClock

PATIENCE = 30.0  # seconds of real time for what takes milliseconds


def until(condition: Callable[[], object]) -> None:
    """Block this thread, natively, until that holds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.001)


def watchdogs() -> list[threading.Thread]:
    """The threads that watch."""
    return [thread for thread in threading.enumerate() if thread.name == "hub-watch"]


def test_a_native_block_is_told_while_it_lasts(hub: Hub) -> None:
    told: list[BlockReport] = []
    with hub.watch(0.02, report=told.append) as watch:
        spawn_raw(until, lambda: told)
        hub.join()
    assert told[0].stack[-1].name in ("until", "<lambda>")
    assert not watch.active


def test_a_computation_is_told_while_it_lasts(hub: Hub) -> None:
    told: list[BlockReport] = []

    def compute() -> None:
        deadline = time.monotonic() + PATIENCE
        while not told and time.monotonic() < deadline:
            pass

    with hub.watch(0.02, report=told.append):
        spawn_raw(compute)
        hub.join()
    assert told[0].stack[-1].name == "compute"


def test_the_hub_of_another_thread_is_watched_and_the_watch_ends_with_it(hub: Hub, elsewhere: Elsewhere) -> None:
    told: list[BlockReport] = []
    hubs: list[Hub] = []
    watches: list[Watch] = []

    def work() -> None:
        made = Hub(Loop(default=False))
        set_hub(made)
        hubs.append(made)
        watches.append(made.watch(0.02, report=told.append))
        spawn_raw(until, lambda: told)
        made.join()

    elsewhere(work)  # which does not destroy its hub: the end of the thread ends it
    assert told[0].thread.startswith("Thread-")
    assert not watches[0].active
    until(lambda: not watchdogs())
    hubs[0].destroy(destroy_loop=True)


def test_one_thread_watches_all_hubs_and_ends_with_the_last(hub: Hub) -> None:
    assert watchdogs() == []
    other = Hub(Loop(default=False))
    watches = [hub.watch(5.0), other.watch(10.0)]
    assert len(watchdogs()) == 1
    watches[0].stop()
    watches[0].stop()
    assert [watch.active for watch in watches] == [False, True]
    other.destroy(destroy_loop=True)
    assert not watches[1].active
    assert watchdogs() == []


def test_a_second_call_gives_the_same_watch_new_settings(hub: Hub) -> None:
    watch = hub.watch(5.0)
    assert hub.watch(2.0, interval=3.0) is watch
    assert (watch.threshold, watch.interval) == (2.0, 3.0)
    with pytest.raises(ValueError, match="threshold"):
        hub.watch(0.001)
    assert (watch.threshold, watch.active) == (2.0, True)
    watch.stop()
    assert hub.watch(1.0).active
    assert "active threshold=1 blocks=0 reports=0 of <Hub" in repr(watch)
    watch.stop()
    assert repr(watch).startswith("<Watch stopped")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"threshold": 0}, ValueError, "threshold must be a number of seconds, 0.01 or more, got 0"),
        ({"threshold": float("nan")}, ValueError, "threshold must be a number of seconds, 0.01 or more, got nan"),
        ({"threshold": float("inf")}, ValueError, "threshold must be"),
        ({"threshold": "1"}, TypeError, "threshold must be a number of seconds, got '1'"),
        ({"interval": -1}, ValueError, "interval must be a number of seconds, 0 or more, got -1"),
        ({"report": 7}, TypeError, "report must be callable or None, got 7"),
    ],
)
def test_wrong_settings_are_refused_and_nothing_is_watched(
    hub: Hub, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        hub.watch(**arguments)
    assert watchdogs() == []


def test_a_destroyed_hub_cannot_be_watched() -> None:
    hub = Hub(Loop(default=False))
    hub.destroy(destroy_loop=True)
    with pytest.raises(ValueError, match=r"cannot watch it: <Hub .* is destroyed"):
        hub.watch()


def test_no_thread_to_be_had_is_an_error_and_leaves_nothing(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(run: Callable[[], None]) -> threading.Thread:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(module, "_dog", Watchdog(start=refuse))
    with pytest.raises(RuntimeError, match="can't start new thread"):
        hub.watch()
    assert module._dog.watches() == []
    assert hub._watch is None


def test_the_watchdog_waits_a_quarter_of_the_shortest_threshold(hub: Hub, clock: ManualClock) -> None:
    waited: list[float] = []

    def wait(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 3:
            dog.close()

    dog = Watchdog(clock, wait, start=lambda run: None)
    for threshold in (0.4, 0.2):
        watch = Watch(hub)
        watch.set(threshold, 1.0, None)
        dog.add(watch)
    dog.run()
    assert waited == [0.05] * 3


# -- by default, in a child, at the end -------------------------------------------------------------------------------


def test_a_default_threshold_watches_each_new_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float | None] = [None, 5.0]
    monkeypatch.setattr(defaults, "watch", lambda: asked.pop(0))
    unwatched, watched = Hub(Loop(default=False)), Hub(Loop(default=False))
    assert unwatched._watch is None
    assert watched._watch is not None
    assert watched._watch.threshold == 5.0
    for hub in (unwatched, watched):
        hub.destroy(destroy_loop=True)
    assert watchdogs() == []


def test_a_default_that_is_refused_leaves_no_hub_and_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defaults, "watch", lambda: 0.0)
    loop = Loop(default=False)
    with pytest.raises(ValueError, match="threshold must be a number of seconds"):
        Hub(loop)
    assert watchdogs() == []
    monkeypatch.setattr(defaults, "watch", None)
    with Hub(loop):  # it is as good as before, and no other hub's
        sleep(0.001)
    from hub_core import set_loop

    set_loop(None)


def test_a_default_watch_without_a_thread_for_it_is_said_once_and_the_hub_works(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(defaults, "watch", lambda: 5.0)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    monkeypatch.setattr(module, "_said", False)
    stream = io.StringIO()
    monkeypatch.setattr(Hub, "exception_stream", stream)
    for _ in range(2):
        with Hub(Loop(default=False)) as hub:
            sleep(0.001)
            assert hub._watch is None
    assert stream.getvalue().count("\n") == 1
    assert "is not watched: can't create new thread at interpreter shutdown" in stream.getvalue()
    monkeypatch.setattr(module, "_said", False)
    monkeypatch.setattr(Hub, "exception_stream", None)
    Hub(Loop(default=False)).destroy(destroy_loop=True)


def test_a_hub_that_is_made_at_the_interpreters_exit_works_with_a_default_watch() -> None:
    # CPython 3.12 starts no threads any more by then.
    program = """
import atexit
from hub_core import get_hub, set_defaults, sleep
from hub_loop import Loop

def late():
    sleep(0.001)
    print("slept")

atexit.register(late)
set_defaults(loop=Loop, watch=lambda: 5.0)
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50)
    assert (ran.returncode, ran.stdout) == (0, "slept\n"), ran.stderr
    assert "Traceback" not in ran.stderr


def test_in_a_forked_child_the_hub_that_has_forked_is_watched_anew(hub: Hub, kin: Kin) -> None:
    told: list[BlockReport] = []
    watch = hub.watch(0.02, report=told.append)

    def check() -> None:
        assert watch.active
        assert len(watchdogs()) == 1
        spawn_raw(until, lambda: told)
        hub.join()
        assert [report.stack[-1].name in ("until", "<lambda>") for report in told] == [True]
        hub.destroy(destroy_loop=True)
        assert watchdogs() == []

    kin.run(check)
    watch.stop()
    assert told == []


def test_in_a_forked_child_the_hubs_of_other_threads_are_not_watched(hub: Hub, kin: Kin) -> None:
    watch, may_end = hub.watch(60.0), threading.Event()

    def other() -> None:
        def check() -> None:
            assert not watch.active
            assert watchdogs() == []

        kin.run(check)

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    may_end.set()
    assert watch.active
    watch.stop()


def test_a_child_without_a_thread_for_it_goes_on_unwatched(hub: Hub, kin: Kin, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = hub.watch(60.0)

    def refuse(run: Callable[[], None]) -> threading.Thread:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(module, "_start", refuse)

    def check() -> None:
        assert not watch.active
        sleep(0.001)

    kin.run(check)
    watch.stop()


@pytest.mark.parametrize("blocked", [False, True], ids=["at rest", "while it is blocked"])
def test_the_interpreter_ends_at_once_with_a_watch_on(blocked: bool) -> None:
    code = f"""
import time
from hub_core import Hub, spawn_raw, set_hub
from hub_loop import Loop
hub = Hub(Loop())
set_hub(hub)
told = []
hub.watch(0.02, report=lambda report: (told.append(report), print("told", flush=True)))
def block():
    while {blocked} and not told:
        time.sleep(0.001)
spawn_raw(block)
hub.join()
"""
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE, check=True, env=os.environ
    )
    assert (ran.stdout, ran.stderr) == ("told\n" * blocked, "")
