"""The loop itself: how long it runs, what it returns, how it ends, and what it does with errors."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hub_loop import WRITE, Loop, supported
from hub_loop.testing import FakePoller, ManualClock

if TYPE_CHECKING:
    from tests.hub_loop.conftest import Wire

on_fake = pytest.mark.parametrize("loop", ["fake"], indirect=True)


class Errors:
    """An error handler that keeps what it is told."""

    def __init__(self) -> None:
        self.seen: list[tuple[object, BaseException]] = []

    def handle_error(self, context: object, type: type[BaseException], value: BaseException, tb: object, /) -> None:
        assert isinstance(value, type)
        assert tb is value.__traceback__
        self.seen.append((context, value))


def fail(error: BaseException) -> None:
    raise error


# -- running ----------------------------------------------------------------------------------------------------------


def test_run_returns_at_once_when_nothing_is_left(loop: Loop) -> None:
    assert loop.run() is False
    assert loop.run(once=True) is False
    assert loop.run(nowait=True) is False


def test_run_goes_on_until_nothing_is_left(loop: Loop) -> None:
    order: list[str] = []

    def first() -> None:
        order.append("first")
        loop.timer(0.0).start(second)

    def second() -> None:
        order.append("second")
        loop.run_callback_threadsafe(order.append, "third")

    loop.run_callback(first)
    assert loop.run() is False
    assert order == ["first", "second", "third"]


def test_nowait_takes_one_turn_that_does_not_block_and_says_whether_anything_is_left(
    loop: Loop, clock: ManualClock
) -> None:
    with loop.timer(10.0) as timer:
        timer.start(print, "never")
        before = loop.iteration
        assert loop.run(nowait=True) is True
        assert loop.iteration == before + 1
        timer.stop()
        assert loop.run(nowait=True) is False


@on_fake
def test_once_takes_one_turn_that_blocks_until_there_is_something_to_do(loop: Loop, clock: ManualClock) -> None:
    fired: list[float] = []
    begin = clock()
    for after in (1.0, 2.0):
        loop.timer(after).start(lambda: fired.append(clock() - begin))
    assert loop.run(once=True) is True
    assert fired == [1.0]
    assert loop.run(once=True) is False
    assert fired == [1.0, 2.0]


def test_run_can_be_called_again_and_again(loop: Loop) -> None:
    ran: list[int] = []
    for number in range(3):
        loop.run_callback(ran.append, number)
        assert loop.run() is False
    assert ran == [0, 1, 2]


def test_break_ends_run_after_the_turn(loop: Loop) -> None:
    order: list[str] = []

    def leave() -> None:
        order.append("leave")
        loop.break_()

    with loop.timer(3600.0) as timer:
        timer.start(print, "never")
        loop.run_callback(leave)
        loop.run_callback(order.append, "in the same turn")
        assert loop.run() is True
        assert order == ["leave", "in the same turn"]
    assert loop.run() is False


def test_break_in_a_prepare_watcher_keeps_the_poll_from_blocking(loop: Loop) -> None:
    with loop.timer(3600.0) as timer, loop.prepare() as prepare:
        timer.start(print, "never")
        prepare.start(loop.break_)
        assert loop.run() is True


def test_ref_keeps_run_from_returning_and_unref_takes_it_back(loop: Loop) -> None:
    loop.ref()
    loop.ref()
    assert loop.activecnt == 2
    assert loop.run(nowait=True) is True
    loop.unref()
    assert loop.run(nowait=True) is True
    loop.unref()
    assert loop.activecnt == 0
    assert loop.run() is False


def test_unref_lets_run_return_in_spite_of_an_active_watcher(loop: Loop) -> None:
    with loop.timer(3600.0) as timer:
        timer.start(print, "never")
        loop.unref()
        assert loop.activecnt == 0
        assert loop.run() is False
        loop.ref()
        assert loop.activecnt == 1


def test_a_callback_counts_as_pending_and_as_active(loop: Loop) -> None:
    loop.run_callback(int)
    loop.run_callback_threadsafe(int)
    assert loop.pendingcnt == 2
    assert loop.activecnt == 2
    loop.run()
    assert loop.pendingcnt == loop.activecnt == 0


def test_a_loop_cannot_be_run_from_inside_itself(loop: Loop) -> None:
    errors = Errors()
    loop.error_handler = errors
    callback = loop.run_callback(loop.run)
    loop.run()
    assert [context for context, _ in errors.seen] == [callback]
    assert isinstance(errors.seen[0][1], RuntimeError)
    assert "is running already" in str(errors.seen[0][1])
    loop.run_callback(int)
    assert loop.run() is False


def test_another_loop_can_be_run_from_inside_a_callback(loop: Loop) -> None:
    inner = Loop("select")
    ran: list[str] = []
    inner.run_callback(ran.append, "inner")
    loop.run_callback(inner.run)
    loop.run()
    inner.destroy()
    assert ran == ["inner"]


def test_the_iteration_counts_the_turns(loop: Loop) -> None:
    before = loop.iteration
    for _ in range(5):
        loop.run(nowait=True)
    assert loop.iteration == before + 5


def test_the_same_script_gives_the_same_order(loop: Loop, clock: ManualClock) -> None:
    def play() -> list[str]:
        order: list[str] = []
        watchers = [loop.prepare(), loop.check(), loop.idle(), loop.timer(1.0, 1.0), loop.timer(1.0), loop.async_()]
        for watcher in watchers:
            watcher.start(order.append, type(watcher).__name__)
        for _ in range(4):
            loop.run_callback(order.append, "callback")
            loop.async_().close()
            watchers[-1].send()  # type: ignore[attr-defined]  # the last one is an async watcher
            clock.advance(0.5)
            loop.run(nowait=True)
        for watcher in watchers:
            watcher.close()
        return order

    first = play()
    assert len(first) > 12
    assert play() == first


def test_events_of_one_turn_are_delivered_by_priority(loop: Loop, wire: Wire) -> None:
    order: list[str] = []
    low, high = loop.io(wire.fd, WRITE, priority=-1), loop.io(wire.fd, WRITE, priority=2)
    normal = loop.io(wire.fd, WRITE)
    for name, watcher in (("low", low), ("normal", normal), ("high", high)):
        watcher.start(order.append, name)
    loop.run_callback(order.append, "callback")
    loop.run(nowait=True)
    assert order == ["high", "callback", "normal", "low"]
    for watcher in (low, normal, high):
        watcher.close()


def test_run_mark_takes_only_the_oldest_callback_and_only_a_mark(loop: Loop, clock: ManualClock) -> None:
    class Waiter:
        def __init__(self) -> None:
            self.got: list[str] = []

        def switch(self, value: str) -> None:
            self.got.append(value)

        def fail(self) -> None:
            raise ZeroDivisionError

    waiter, errors = Waiter(), Errors()
    marks = {Waiter.switch, Waiter.fail}
    assert loop.run_mark(marks) is False
    loop.run_callback(waiter.switch, "one")
    loop.run_callback(waiter.got.append, "not a mark")
    loop.run_callback(waiter.switch, "two")
    assert loop.run_mark(set()) is False
    assert loop.run_mark(marks) is True
    assert loop.run_mark(marks) is False
    assert waiter.got == ["one"]
    loop.run()
    assert waiter.got == ["one", "not a mark", "two"]
    stopped = loop.run_callback(waiter.switch, "stopped")
    stopped.stop()
    assert loop.run_mark(marks) is False
    loop.run()
    loop.error_handler = errors
    failing = loop.run_callback(waiter.fail)
    assert loop.run_mark(marks) is True
    assert [context for context, _ in errors.seen] == [failing]
    assert not failing


def test_run_mark_lets_events_of_a_priority_go_first(loop: Loop, clock: ManualClock) -> None:
    class Waiter:
        def switch(self) -> None:
            order.append("mark")

    order: list[str] = []
    taken: list[bool] = []

    def queue_and_try() -> None:
        loop.run_callback(Waiter().switch)
        taken.append(loop.run_mark({Waiter.switch}))

    with loop.timer(0.0, priority=1) as urgent, loop.check() as check:
        urgent.start(order.append, "urgent")
        check.start(queue_and_try)
        loop.run(nowait=True)
    assert taken == [False]
    assert order == ["urgent", "mark"]


# -- time and names ---------------------------------------------------------------------------------------------------


def test_now_is_the_time_of_this_turn_until_it_is_updated(loop: Loop, clock: ManualClock) -> None:
    begin = clock()
    assert loop.now() == begin
    clock.advance(5.0)
    assert loop.now() == begin
    loop.update_now()
    assert loop.now() == begin + 5.0
    clock.advance(5.0)
    loop.run(nowait=True)
    assert loop.now() == begin + 10.0


def test_a_loop_says_what_it_is(loop: Loop) -> None:
    loop.ref()
    loop.run_callback(int)
    assert f" {loop.backend} default pending=1 ref=1" in repr(loop)
    assert (loop.fileno() is not None) == (loop.backend == "epoll")
    assert ("fileno=" in repr(loop)) == (loop.backend == "epoll")
    loop.unref()
    assert loop.approx_timer_resolution > 0
    loop.destroy()
    assert "destroyed" in repr(loop)
    assert loop._format() == "destroyed"


def test_a_loop_is_the_default_one_unless_told_otherwise() -> None:
    for asked, got in ((None, True), (True, True), (False, False)):
        loop = Loop("select", default=asked)
        assert loop.default is got
        assert (" default " in repr(loop)) is got
        loop.destroy()


@pytest.mark.parametrize("loop", ["epoll"], indirect=True)
def test_the_fileno_of_an_epoll_loop_is_readable_when_there_is_something_to_do(loop: Loop) -> None:
    import select

    number = loop.fileno()
    assert number is not None
    assert select.select([number], [], [], 0)[0] == []
    loop.wakeup()
    assert select.select([number], [], [], 0)[0] == [number]
    loop.run(nowait=True)


# -- which poller -----------------------------------------------------------------------------------------------------


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
        Loop([1])  # type: ignore[list-item]
    missing = "kqueue" if "kqueue" not in supported() else "epoll"
    with pytest.raises(ValueError, match=f"this system has no {missing}; it has"):
        Loop(missing)


def test_a_poller_of_ones_own_can_be_given() -> None:
    clock = ManualClock()
    loop = Loop(poller=FakePoller(clock), clock=clock)
    assert loop.backend == "fake"
    assert loop.now() == clock()
    loop.destroy()
    assert loop._poller.closed  # type: ignore[attr-defined]


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
