"""`hub_loop.testing.Leftovers`: what came between two moments and did not go."""

from __future__ import annotations

import _thread
import gc
import os
import threading
from typing import TYPE_CHECKING

import pytest

from hub_loop import Loop
from hub_loop.testing import Leftovers, _leftovers

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Unfinished, Verdicts


def test_to_look_for_watchers_disturbs_no_thread_that_makes_a_tuple(unfinished: Callable[[object], Unfinished]) -> None:
    # It would get a SystemError if its tuple were held, be it in a list of everything, when it is resized.
    another = unfinished(object())
    assert another.most_held_during(lambda: Leftovers().found()) == 1


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is there stays there: no need to wait for its end."""
    monkeypatch.setattr(_leftovers, "PATIENCE", 0.01)


@pytest.mark.usefixtures("impatient")
def test_an_open_fd_is_told_with_its_file_until_it_is_closed() -> None:
    before = Leftovers()
    fd = os.open(os.devnull, os.O_RDONLY)
    try:
        assert before.found() == [f"fd {fd} -> {os.devnull}"]
        assert Leftovers().found() == []
    finally:
        os.close(fd)
    assert before.found() == []


@pytest.mark.usefixtures("impatient")
def test_an_fd_without_a_name_is_told_too(monkeypatch: pytest.MonkeyPatch) -> None:
    before = Leftovers()
    fd = os.open(os.devnull, os.O_RDONLY)

    def unknown(path: object) -> str:
        raise OSError("no such link")

    monkeypatch.setattr(os, "readlink", unknown)
    try:
        assert before.found() == [f"fd {fd} -> ?"]
    finally:
        os.close(fd)


def test_a_file_that_nobody_can_reach_is_closed_first() -> None:
    class Holder:
        def __init__(self) -> None:
            self.me = self
            self.loop = Loop(default=False)  # its fds go with it

    gc.disable()
    try:
        before = Leftovers()
        Holder()
        assert before.found() == []
    finally:
        gc.enable()


@pytest.mark.parametrize("cycle", [False, True], ids=["alone", "in a cycle"])
def test_what_a_thread_has_stored_may_go_after_the_thread_is_counted_no_more(
    monkeypatch: pytest.MonkeyPatch, cycle: bool
) -> None:
    # It goes while the look at fds goes on, and not before: the look itself lets it.
    stored, ending, go = threading.local(), threading.Event(), threading.Event()

    class File:
        def __init__(self) -> None:
            self.fd = os.open(os.devnull, os.O_RDONLY)
            self.me = self if cycle else None

        def __del__(self) -> None:
            os.close(self.fd)

    class Holder:
        file: File

        def __del__(self) -> None:
            ending.set()
            go.wait(30)

    def run() -> None:
        stored.holder = Holder()
        stored.holder.file = File()

    before, looks = Leftovers(), list[set[int]]()
    thread = threading.Thread(target=run)
    thread.start()

    def look() -> set[int]:
        looks.append(open_fds())
        if len(looks) > 1:
            go.set()
        return looks[-1]

    open_fds = _leftovers.open_fds
    monkeypatch.setattr(_leftovers, "open_fds", look)
    monkeypatch.setattr(_leftovers, "PATIENCE", 0.2 if cycle else 30.0)
    try:
        ending.wait(30)
        assert thread not in threading.enumerate()
        assert before._new_threads() == []
        assert before.found() == []
        assert len(looks) > 2
    finally:
        go.set()
        thread.join()


def test_a_thread_that_runs_is_told_until_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_leftovers, "PATIENCE", 0.01)
    before, go = Leftovers(), threading.Event()
    thread = threading.Thread(target=go.wait, name="straggler")
    thread.start()
    try:
        assert [text.partition("(")[0] for text in before.found()] == ["thread <Thread"]
        assert "straggler" in before.found()[0]
    finally:
        go.set()
        thread.join()
    monkeypatch.setattr(_leftovers, "PATIENCE", 30.0)
    assert before.found() == []


def test_a_thread_that_is_about_to_end_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    # It ends while the look goes on, and not before: the look itself lets it.
    before, go = Leftovers(), threading.Event()
    thread = threading.Thread(target=go.wait, name="hub-worker-1")
    thread.start()
    looks: list[int] = []
    enumerate_threads = threading.enumerate

    def look() -> list[threading.Thread]:
        looks.append(1)
        if len(looks) > 1:
            go.set()
        return enumerate_threads()

    monkeypatch.setattr(threading, "enumerate", look)
    monkeypatch.setattr(_leftovers, "PATIENCE", 30.0)
    try:
        assert before.found() == []
        assert len(looks) > 1
    finally:
        go.set()
        thread.join()


def test_a_thread_that_threading_does_not_know_is_told_after_some_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_leftovers, "PATIENCE", 0.01)
    before, hold, runs = Leftovers(), _thread.allocate_lock(), threading.Event()
    hold.acquire()

    def run() -> None:
        runs.set()
        hold.acquire()

    _thread.start_new_thread(run, ())
    try:
        runs.wait()
        assert before.found() == ["1 threads that `threading` does not know"]
    finally:
        hold.release()
    monkeypatch.setattr(_leftovers, "PATIENCE", 30.0)
    assert before.found() == [], "it has ended, or ends within the patience"


def test_a_watcher_is_told_while_it_is_active_and_was_not_before() -> None:
    loop = Loop(default=False)
    old, new = loop.timer(60), loop.timer(60)
    old.start(int)
    before = Leftovers()
    assert before.found() == []
    new.start(int)
    assert before.found() == [f"active watcher {new!r}"]
    new.stop()
    assert before.found() == []
    loop.destroy()


def test_a_watcher_of_a_loop_that_the_collector_does_not_tell_of_is_told_too() -> None:
    # What is set aside by `gc.freeze()` is in none of its lists; here it does not know of them at all.
    loop = Loop(default=False)
    before, watcher = Leftovers(), loop.timer(60)
    watcher.start(int)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gc, "get_objects", lambda generation=None: [])
        assert before.found() == [f"active watcher {watcher!r}"]
    loop.destroy()
    assert before.found() == []


def test_another_threads_loop_is_not_looked_into(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_leftovers, "PATIENCE", 0.01)
    before, made, go = Leftovers(), threading.Event(), threading.Event()
    told: list[str] = []

    def run() -> None:
        loop = Loop(default=False)
        loop.timer(60).start(int)
        made.set()
        go.wait()
        loop.destroy()

    thread = threading.Thread(target=run)
    thread.start()
    made.wait()
    told += before.found()
    go.set()
    thread.join()
    assert not any("watcher" in text for text in told)
    monkeypatch.setattr(_leftovers, "PATIENCE", 30.0)
    assert before.found() == []


SUITE = """
import gc, os
import pytest
from hub_loop import Loop
from hub_loop.testing import _leftovers

_leftovers.PATIENCE = 0.01
kept = []
watched = []

def test_leaves_a_watcher():
    watched.append(Loop("select", default=False).timer(60))
    watched[-1].start(int)

def test_leaves_a_watcher_on_another_loop_right_after():
    test_leaves_a_watcher()
    gc.collect()

def test_leaves_an_fd():
    kept.append(os.open(os.devnull, os.O_RDONLY))

def test_leaves_an_fd_and_fails():
    kept.append(os.open(os.devnull, os.O_RDONLY))
    assert not kept

def test_leaves_nothing():
    os.close(kept.pop())

class TestThatMayLeave:
    @pytest.fixture
    def nothing_is_left_behind(self):
        pass

    def test_leaves_an_fd_too(self):
        kept.append(os.open(os.devnull, os.O_RDONLY))
"""


def test_with_the_plugin_a_test_that_leaves_something_fails_once_and_no_other(
    judged_with: Callable[[str, str], Verdicts],
) -> None:
    verdicts = judged_with("hub_loop.testing.pytest_plugin", SUITE)
    assert sorted(verdicts.told) == [
        "ERROR test_suite.py::test_leaves_a_watcher",
        "ERROR test_suite.py::test_leaves_a_watcher_on_another_loop_right_after",
        "ERROR test_suite.py::test_leaves_an_fd",
        "FAILED test_suite.py::test_leaves_an_fd_and_fails",
    ], verdicts.text
    assert "the test left behind: fd " in verdicts.text
    assert verdicts.text.count("the test left behind: active watcher <timer") == 2
