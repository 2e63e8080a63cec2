"""The loop itself: how long it runs, what it returns, how it ends, and what it does with errors."""

from __future__ import annotations

import os
import select
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hub_api import READ
from hub_loop import Loop, supported
from hub_loop.pollers import LONGEST
from hub_loop.testing import FakePoller, ManualClock

if TYPE_CHECKING:
    pass


# -- running --------------------------------------------------------------------------------------------------------


def test_the_iteration_counts_the_turns(loop: Loop) -> None:
    before = loop.iteration
    for _ in range(5):
        loop.run(nowait=True)
    assert loop.iteration == before + 5


# -- time and names -------------------------------------------------------------------------------------------------


def test_a_loop_is_the_default_one_unless_told_otherwise() -> None:
    for asked, got in ((None, True), (True, True), (False, False)):
        loop = Loop("select", default=asked)
        assert loop.default is got
        assert (" default " in repr(loop)) is got
        loop.destroy()


# -- which poller ---------------------------------------------------------------------------------------------------


def backend(flags: Any = None) -> str:
    loop = Loop(flags)
    loop.destroy()
    return loop.backend


def test_flags_name_the_poller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HUB_LOOP_BACKEND", raising=False)
    assert backend() == supported()[0]
    assert backend("default") == supported()[0]
    assert backend("") == supported()[0]
    for name in supported():
        assert backend(name) == name
        assert backend([name]) == name


def test_of_several_names_the_first_one_that_the_system_has_is_taken() -> None:
    missing = "kqueue" if "kqueue" not in supported() else "epoll"
    assert backend(f"{missing} select") == "select"
    assert backend(f"{missing},poll,select") == "poll"
    assert backend((missing, "select")) == "select"


def test_the_environment_decides_when_flags_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUB_LOOP_BACKEND", "select")
    assert backend() == "select"
    assert backend("poll") == "poll"
    monkeypatch.setenv("HUB_LOOP_BACKEND", "")
    assert backend() == supported()[0]


def test_an_unknown_poller_is_an_error_that_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"unknown poller 'epol'; this system has .*select"):
        Loop("epol")
    with pytest.raises(ValueError, match="unknown poller 'sel'"):
        Loop(["select", "sel"])
    with pytest.raises(TypeError, match="flags must be names of pollers"):
        Loop([1])  # type: ignore[list-item]  # what is refused
    missing = "kqueue" if "kqueue" not in supported() else "epoll"
    with pytest.raises(ValueError, match=f"this system has no {missing}; it has"):
        Loop(missing)


def test_a_poller_of_ones_own_can_be_given() -> None:
    clock = ManualClock()
    loop = Loop(poller=FakePoller(clock), clock=clock)
    assert loop.backend == "fake"
    assert loop.now() == clock()
    loop.destroy()
    assert loop._poller.closed  # type: ignore[attr-defined]  # it is the fake one


def test_importing_the_loop_opens_nothing_and_imports_no_greenlet() -> None:
    import subprocess

    code = (
        "import os, sys, threading; before = set(os.listdir('/proc/self/fd'))\n"
        "import hub_loop\n"
        "assert set(os.listdir('/proc/self/fd')) == before\n"
        "assert 'greenlet' not in sys.modules and 'traceback' not in sys.modules\n"
        "assert threading.active_count() == 1\n"
    )
    subprocess.run([sys.executable, "-S", "-c", code], check=True, env={**os.environ, "PYTHONPATH": _paths()})


def _paths() -> str:
    import hub_api
    import hub_loop

    return os.pathsep.join(str(Path(module.__path__[0]).parent) for module in (hub_api, hub_loop))


# -- a guest of another loop ----------------------------------------------------------------------------------------


def test_a_guest_tells_its_host_how_long_it_may_sleep(loop: Loop, clock: ManualClock) -> None:
    with loop.timer(5.0) as timer, loop.idle() as idle:
        timer.start(print, "never")
        loop.run(nowait=True)
        assert loop.poll_elsewhere() == 5.0
        clock.advance(2.0)
        assert loop.poll_elsewhere() == 3.0
        idle.start(print, "never")
        assert loop.poll_elsewhere() == 0.0
        idle.stop()
        loop.run_callback(int)
        assert loop.poll_elsewhere() == 0.0
    loop.run(nowait=True)
    assert not loop.sleeping


def test_a_guest_that_has_nothing_to_wait_for_does_not_have_its_host_wait(loop: Loop) -> None:
    assert loop.poll_elsewhere() == 0.0
    loop.ref()
    assert loop.poll_elsewhere() == LONGEST
    loop.unref()


@pytest.mark.parametrize("loop", ["epoll"], indirect=True)
def test_whatever_is_started_or_posted_wakes_the_host_of_a_guest(loop: Loop) -> None:
    number = loop.fileno()
    assert number is not None
    loop.ref()
    with loop.timer(1.0) as timer, loop.async_() as post:
        post.start(int)
        for act in (
            lambda: loop.run_callback(int),
            lambda: loop.run_callback_threadsafe(int),
            lambda: timer.start(int),
            post.send,
            loop.wakeup,
        ):
            loop.run(nowait=True)
            loop.poll_elsewhere()
            assert select.select([number], [], [], 0)[0] == []
            act()
            assert select.select([number], [], [], 0)[0] == [number]
    loop.run(nowait=True)
    loop.unref()


# -- for reports ----------------------------------------------------------------------------------------------------


def test_debug_lists_all_that_may_still_call_something_and_its_callback(loop: Loop) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, loop.timer(60) as timer, loop.io(theirs.fileno(), READ) as io, loop.timer(60) as idle:
        ours.setblocking(False)
        notify: list[int] = []
        registration = loop.register(ours.fileno(), notify.append)
        timer.start(int)
        io.start(int)
        callback = loop.run_callback(int)
        listed: list[Any] = loop.debug()
        assert {*map(id, listed)} == {*map(id, (timer, io, callback, registration))}
        assert [each.callback for each in listed if each is registration] == [notify.append]
        assert idle not in listed
        registration.close()
        loop.run(nowait=True)
        assert {*map(id, loop.debug())} == {id(timer), id(io)}
    assert loop.debug() == []


def test_the_clock_is_the_one_that_now_is_read_from(loop: Loop, clock: ManualClock) -> None:
    before = loop.now()
    clock.advance(5.0)
    assert (loop.now(), loop.clock()) == (before, before + 5.0)
