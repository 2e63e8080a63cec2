"""Hubs of threads: `with Hub()`, the end of a thread, and the warning of a hub that was dropped."""

from __future__ import annotations

import _thread
import gc
import os
import subprocess
import sys
import threading
import time
import warnings
import weakref
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from greenlet import greenlet

from hub_core import Hub, Waiter, get_hub, get_hub_if_exists, get_loop, set_hub, sleep, spawn_raw
from hub_core._local import defaults
from hub_loop import Loop

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Kin
    from tests.hub_core.conftest import Elsewhere, Reports


def make() -> Hub:
    return Hub(Loop(default=False))


@pytest.fixture
def implicit(monkeypatch: pytest.MonkeyPatch) -> None:
    """`get_hub()` makes hubs with hub-loop's loop."""
    monkeypatch.setattr(defaults, "loop", Loop)


# -- with -------------------------------------------------------------------------------------------------------------


def test_a_hub_is_its_threads_for_a_block_and_is_destroyed_with_its_loop() -> None:
    done: list[int] = []
    with make() as hub:
        loop = hub.loop
        assert get_hub() is hub
        spawn_raw(done.append, 1)
        sleep(0.001)
    assert done == [1]
    assert hub.loop is None
    assert hub.dead
    assert "destroyed" in repr(loop)
    assert get_hub_if_exists() is None
    assert get_loop() is None


def test_an_exception_destroys_it_too_and_passes() -> None:
    with pytest.raises(KeyError), make() as hub:
        raise KeyError("mine")
    assert hub.loop is None
    assert get_hub_if_exists() is None


def test_the_former_hub_is_the_threads_again(hub: Hub) -> None:
    with make() as inner:
        assert get_hub() is inner
        with make() as innermost:
            assert get_hub() is innermost
            sleep(0.001)
        assert get_hub() is inner
        sleep(0.001)
    assert get_hub() is hub
    sleep(0.001)


def test_a_former_hub_that_was_destroyed_in_the_block_does_not_come_back() -> None:
    former = make()
    set_hub(former)
    with make():
        former.destroy(destroy_loop=True)
    assert get_hub_if_exists() is None


def test_a_block_whose_loop_cannot_be_destroyed_leaves_no_destroyed_hub_behind() -> None:
    class Stubborn(Loop):
        def destroy(self) -> None:
            super().destroy()
            raise OSError("on purpose")

    with pytest.raises(OSError, match="on purpose"), Hub(Stubborn(default=False)) as hub:
        sleep(0.001)
    assert hub.loop is None
    assert get_hub_if_exists() is None


def test_an_implicit_hub_stays_implicit_around_a_block(elsewhere: Elsewhere, implicit: None) -> None:
    def live() -> Hub:
        first = get_hub()
        with make():
            sleep(0.001)
        assert get_hub() is first
        return first

    assert elsewhere(live).loop is None  # so its thread's end has destroyed it


def test_it_cannot_be_entered_twice() -> None:
    with make() as hub:
        with pytest.raises(RuntimeError, match="entered already"):
            hub.__enter__()
        sleep(0.001)
    with pytest.raises(ValueError, match="destroyed"):
        hub.__enter__()


def test_it_cannot_be_entered_in_another_thread(hub: Hub, elsewhere: Elsewhere) -> None:
    from hub_api import InvalidThreadUseError

    with pytest.raises(InvalidThreadUseError):
        elsewhere(hub.__enter__)


def test_it_may_be_destroyed_inside_its_block() -> None:
    with make() as hub:
        hub.destroy(destroy_loop=True)
    assert get_hub_if_exists() is None


def test_an_end_that_is_refused_leaves_it_entered() -> None:
    hub = make()
    errors: list[str] = []

    def leave() -> None:
        try:
            hub.__exit__(None, None, None)
        except RuntimeError as error:
            errors.append(str(error))

    with hub:
        spawn_raw(leave)
        sleep(0.001)
        assert get_hub() is hub
    assert "cannot destroy it" in errors[0]
    assert hub.loop is None


def test_a_greenlet_of_a_hub_cannot_enter_another_one(hub: Hub) -> None:
    errors: list[str] = []

    def nest() -> None:
        other = make()
        try:
            other.__enter__()
        except RuntimeError as error:
            errors.append(str(error))
        other.destroy(destroy_loop=True)

    spawn_raw(nest)
    hub.join()
    assert "parks on the hub that runs it" in errors[0]
    assert get_hub() is hub


# -- the end of a thread ----------------------------------------------------------------------------------------------


def by_thread(body: Callable[[], None]) -> None:
    thread = threading.Thread(target=body)
    thread.start()
    thread.join()


def by_daemon(body: Callable[[], None]) -> None:
    thread = threading.Thread(target=body, daemon=True)
    thread.start()
    thread.join()


def by_start_new_thread(body: Callable[[], None]) -> None:
    _thread.start_new_thread(body, ())


def by_executor(body: Callable[[], None]) -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(body).result()


@pytest.mark.parametrize("start", [by_thread, by_daemon, by_start_new_thread, by_executor])
def test_an_implicit_hub_is_destroyed_with_its_thread(start: Any, implicit: None) -> None:
    hubs: list[Hub] = []
    fds = len(os.listdir("/dev/fd"))

    def body() -> None:
        done: list[int] = []
        spawn_raw(done.append, 1)
        while not done:
            sleep(0.001)
        hubs.append(get_hub())

    start(body)
    deadline = time.monotonic() + 30
    while not hubs or hubs[0].loop is not None or len(os.listdir("/dev/fd")) > fds:  # that of the loop comes last
        assert time.monotonic() < deadline
        time.sleep(0.001)


# -- the warning ------------------------------------------------------------------------------------------------------


def test_a_hub_that_is_dropped_says_where_it_was_made() -> None:
    loop = Loop(default=False)
    hub: Hub | None = Hub(loop)
    line = sys._getframe().f_lineno - 1
    with pytest.warns(ResourceWarning, match=rf"test_thread_hubs\.py:{line}, was dropped and never destroyed"):
        del hub
    loop.destroy()


def test_a_subclass_is_made_where_it_is_called() -> None:
    class Mine(Hub):
        def __init__(self, loop: Loop) -> None:
            super().__init__(loop)

    loop = Loop(default=False)
    hub: Hub | None = Mine(loop)
    line = sys._getframe().f_lineno - 1
    with pytest.warns(ResourceWarning, match=rf"test_thread_hubs\.py:{line}, "):
        del hub
    loop.destroy()


@pytest.mark.parametrize("used", [True, False], ids=["used", "never-run"])
def test_one_that_outlived_its_thread_is_warned_of_when_it_is_dropped(used: bool, elsewhere: Elsewhere) -> None:
    loops: list[Loop] = []

    def live() -> Hub:
        loops.append(Loop(default=False))
        hub = Hub(loops[0])
        set_hub(hub)
        if used:
            sleep(0.001)
        return hub

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kept: list[Hub] = [elsewhere(live)]

    def drop() -> None:
        kept.clear()
        gc.collect()

    with pytest.warns(ResourceWarning, match="was dropped"):
        drop()
    loops[0].destroy()


def test_one_that_its_thread_drops_is_warned_of_at_the_threads_end() -> None:
    loops: list[Loop] = []
    unraisable: list[Any] = []

    def live() -> None:
        loops.append(Loop(default=False))
        set_hub(Hub(loops[0]))
        sleep(0.001)

    hook, sys.unraisablehook = sys.unraisablehook, unraisable.append
    try:
        by_thread(live)  # under `filterwarnings = error`
        gc.collect()
    finally:
        sys.unraisablehook = hook
    assert [type(each.exc_value) for each in unraisable] == [ResourceWarning]
    loops[0].destroy()


def test_a_destroyed_one_an_implicit_one_and_a_failed_one_are_dropped_in_silence(implicit: None) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        hub: Hub | None = make()
        assert hub is not None
        hub.destroy(destroy_loop=True)
        by_thread(lambda: sleep(0.001))

        def fail(default: bool | None = None) -> Any:
            raise OSError("no loop today")

        with pytest.raises(OSError, match="today"):
            Hub(fail)
        del hub
        gc.collect()


def test_a_forked_child_drops_the_hubs_of_other_threads_in_silence(kin: Kin) -> None:
    at_it, let_go = threading.Event(), threading.Event()
    held: list[Hub] = []

    def live() -> None:
        with make() as hub:
            held.append(hub)
            at_it.set()
            let_go.wait()

    thread = threading.Thread(target=live)
    thread.start()
    assert at_it.wait(30)

    def check() -> None:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            held.clear()
            gc.collect()
        assert [str(each.message) for each in caught if each.category is ResourceWarning] == []

    kin.run(check)
    held.clear()
    let_go.set()
    thread.join()


# -- greenlets that are parked as their thread ends --------------------------------------------------------------------


def end_a_thread(body: Callable[[], object]) -> None:
    thread = threading.Thread(target=body)
    thread.start()
    thread.join()


def clean(notes: list[str], name: str, waits: Callable[[], object], cleans: Callable[[], object] = list) -> None:
    try:
        waits()
    finally:
        notes.append(f"{name} cleans")
        cleans()
        notes.append(f"{name} is done")


def test_their_finally_blocks_run_and_none_is_left(implicit: None) -> None:
    notes: list[str] = []
    left: list[weakref.ref[Any]] = []

    def body() -> None:
        waiter = Waiter()
        for name, waits in (("waits", Waiter().get), ("sleeps", lambda: sleep(60)), ("is ready", waiter.get)):
            left.append(weakref.ref(spawn_raw(clean, notes, name, waits)))
        left.append(weakref.ref(spawn_raw(lambda: clean(notes, "is below", greenlet(lambda: sleep(60)).switch))))
        sleep(0)
        waiter.switch()
        spawn_raw(notes.append, "one that has not started")

    end_a_thread(body)
    names = ["waits", "sleeps", "is ready", "is below"]
    assert sorted(notes) == sorted(f"{name} {what}" for name in names for what in ("cleans", "is done"))
    gc.collect()
    assert [each() for each in left] == [None] * 4


def test_those_of_a_hub_that_somebody_holds_end_too(implicit: None) -> None:
    notes: list[str] = []
    hubs: list[Hub] = []

    def body() -> None:
        hubs.append(make())
        set_hub(hubs[0])
        spawn_raw(clean, notes, "it", Waiter().get)
        sleep(0)

    end_a_thread(body)
    assert notes == ["it cleans", "it is done"]
    assert hubs[0].loop is not None
    hubs.pop().destroy()


PARKS_AGAIN = """
import os, threading
from hub_core import Waiter, _storage, get_hub, set_defaults, sleep, spawn_raw
from hub_loop import Loop

set_defaults(loop=Loop)
told, hubs = [], []

def cleans():
    try:
        Waiter().get()
    finally:
        hubs.append(get_hub())
        told.append("cleans")
        while True:
            {wait}
            told.append("went on")

def body():
    hubs.append(get_hub())
    spawn_raw(cleans)
    sleep(0)

before = os.listdir("/dev/fd")
thread = threading.Thread(target=body)
thread.start()
thread.join()
assert len(os.listdir("/dev/fd")) == len(before)
assert hubs[0] is hubs[1], "there is no other hub in a thread that ends"
assert hubs[0].loop is None
assert not _storage._ending
print(set(told), told[0])
"""


@pytest.mark.parametrize(
    ("wait", "told"),
    [
        ("sleep(60)", "{'cleans'} cleans"),  # the hub has ended, so nothing is waited for
        ("Waiter().get()", "{'cleans'} cleans"),
        ("get_hub().switch()", "{'cleans'} cleans"),
        ("sleep(0); assert len(told) < 10**6", None),  # while nobody else is ready a yield does not park
    ],
)
def test_one_that_parks_again_is_let_go_there_and_the_thread_ends(wait: str, told: str | None) -> None:
    # In a process of its own: it leaves a greenlet, as it says.
    done = subprocess.run(
        [sys.executable, "-c", PARKS_AGAIN.format(wait=wait)], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert told is None or done.stdout == f"{told}\n"


def test_a_finally_block_may_spawn_and_destroy_and_make_hubs_as_the_thread_ends(implicit: None) -> None:
    notes: list[str] = []
    hubs: list[Hub] = []

    def cleans() -> None:
        spawn_raw(notes.append, "spawned")
        get_hub().destroy()
        hubs.append(get_hub())
        hubs.append(make())

    def body() -> None:
        hubs.append(get_hub())
        spawn_raw(clean, notes, "it", Waiter().get, cleans)
        sleep(0)

    end_a_thread(body)
    assert notes == ["it cleans", "it is done"]
    assert [hub.loop is None for hub in hubs] == [True, True, False]
    hubs.pop().destroy()


def test_their_errors_are_printed_and_reach_nobody(
    implicit: None, reports: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes: list[str] = []

    def fails(error: BaseException) -> None:
        raise error

    def body() -> None:
        get_hub().exception_stream = reports
        for error in (ZeroDivisionError("a failure"), SystemExit(3), KeyboardInterrupt("an interrupt")):
            spawn_raw(clean, notes, type(error).__name__, Waiter().get, partial(fails, error))
        sleep(0)

    unraisable: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)
    end_a_thread(body)
    assert sorted(notes) == ["KeyboardInterrupt cleans", "SystemExit cleans", "ZeroDivisionError cleans"]
    assert not unraisable
    text = reports.take()
    assert "ZeroDivisionError: a failure" in text
    assert "KeyboardInterrupt: an interrupt" in text
    assert "SystemExit" not in text
