"""Python signal handlers: what they do to the loop while it sleeps is noticed at once, and what they raise gets out.

PEP 475 has `epoll.poll` go on after a signal handler has returned, so the loop must wake itself.  No timer but the one
of the test is active: a poll that is not woken would last an hour.
"""

from __future__ import annotations

import functools
import heapq
import os
import signal
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import FrameType
from typing import TYPE_CHECKING, Any, cast

import pytest
from tests import interrupts
from tests.hub_loop.conftest import on_epoll, on_fake

import hub_loop
from hub_loop import READ, Loop, _fork
from hub_loop._watcher import Watcher
from hub_loop.pollers import LONGEST
from hub_loop.testing import FakePoller, ManualClock, active_watchers

if TYPE_CHECKING:
    from tests.hub_loop.conftest import Wire

Handling = Callable[[Callable[[], object]], AbstractContextManager[None]]


# -- the same inside a fake poll, where nothing is left to chance ---------------------------------------------------


def during_sleep(loop: Loop, func: Callable[[], object]) -> None:
    """Let the next poll that blocks call `func` from a signal handler."""
    assert isinstance(loop._poller, FakePoller)
    before = signal.signal(signal.SIGUSR1, lambda signum, frame: func())

    def visit() -> None:
        assert loop.sleeping
        signal.raise_signal(signal.SIGUSR1)
        signal.signal(signal.SIGUSR1, before)

    loop._poller.when_blocking(visit)


@on_fake
def test_whatever_a_signal_handler_starts_ends_the_poll_before_any_time_passes(
    loop: Loop, clock: ManualClock, wire: Wire
) -> None:
    begin = clock()
    loop.ref()
    watchers = [loop.timer(5.0), loop.prepare(), loop.check(), loop.idle(), loop.async_(), loop.io(wire.fd, READ)]
    for watcher in watchers:
        during_sleep(loop, functools.partial(watcher.start, int))
        loop.run(once=True)
        assert watcher.active
        assert clock() == begin
        watcher.close()
    owner = loop.register(wire.fd, print)
    during_sleep(loop, lambda: loop.run_callback(int))
    loop.run(once=True)
    assert clock() == begin
    owner.close()
    loop.unref()


@on_fake
@pytest.mark.parametrize("waiting", ["a timer", "nothing"])
def test_a_timer_started_by_a_signal_between_the_choice_of_the_sleep_and_the_poll_is_in_time(
    loop: Loop, clock: ManualClock, waiting: str
) -> None:
    assert isinstance(loop._poller, FakePoller)
    begin = clock()
    fired: list[float] = []
    sooner, later = loop.timer(1.0), loop.timer(LONGEST)
    choose = loop._time_to_sleep

    def choose_and_be_interrupted() -> float:
        timeout = choose()
        if not fired and not sooner.active:
            signal.raise_signal(signal.SIGUSR1)
        return timeout

    loop._time_to_sleep = choose_and_be_interrupted  # type: ignore[method-assign]  # of this one object
    before = signal.signal(signal.SIGUSR1, lambda signum, frame: sooner.start(lambda: fired.append(clock() - begin)))
    loop.ref()
    if waiting == "a timer":
        later.start(print, "never")
    try:
        for _ in range(3):
            loop.run(once=True)
            if fired:
                break
    finally:
        signal.signal(signal.SIGUSR1, before)
    loop.unref()
    later.close()
    assert fired == [1.0]


# -- interrupts, at the very statement ------------------------------------------------------------------------------


def test_an_interrupt_right_behind_the_taking_of_a_due_timer_loses_none(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = ManualClock()
    loop = Loop(clock=clock)
    fired: list[int] = []
    for number in range(3):
        loop.timer(1.0).start(fired.append, number)
    loop.run(nowait=True)
    clock.advance(2.0)

    def pop_and_be_interrupted(heap: list[Any]) -> Any:
        monkeypatch.undo()
        heapq.heappop(heap)
        raise KeyboardInterrupt

    monkeypatch.setattr("hub_loop._timers.heappop", pop_and_be_interrupted)
    with pytest.raises(KeyboardInterrupt):
        loop.run(nowait=True)
    loop.run()
    assert fired == [0, 1, 2]
    loop.destroy()


def test_an_interrupt_right_behind_the_poll_loses_no_edge(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = Loop()
    near, far = socket.socketpair()
    with near, far:
        told: list[int] = []
        registration = loop.register(near.fileno(), told.append)
        loop.run(nowait=True)
        registration.clear(READ)
        registration.want(READ)
        far.send(b"x")
        poll = loop._poller.poll

        class Interrupted:
            def __getattr__(self, name: str) -> Any:
                return getattr(poller, name)

            def poll(self, timeout: float | None) -> list[tuple[int, int]]:
                loop._poller = poller
                poll(timeout)
                raise KeyboardInterrupt

        poller, loop._poller = loop._poller, cast("Any", Interrupted())
        with pytest.raises(KeyboardInterrupt):
            loop.run(nowait=True)
        loop.run(nowait=True)
        assert told == [READ]
        registration.close()
    loop.destroy()


_SOURCES = os.path.dirname(hub_loop.__file__)


def interrupt_at(moment: int, func: Callable[[], object]) -> bool:
    """Call `func`, and have a KeyboardInterrupt arise at a moment of hub_loop's code; False if it has fewer moments.

    `signal.signal` also looks before it does anything.  Left out is the return of a system call that makes a file
    descriptor, which no program in Python can keep from being lost there.
    """
    return interrupts.interrupt_at(moment, func, _is_moment)


def _is_moment(frame: FrameType, event: str, arg: Any) -> bool:
    file = frame.f_code.co_filename
    if not (file.startswith(_SOURCES) or file == signal.__file__) or interrupts.is_a_finalizers(frame):
        return False
    if event == "c_return" and arg in (os.pipe, os.pidfd_open, os.eventfd):
        return False
    return event in ("call", "c_return") or (event == "c_call" and arg.__name__ == "signal")


@on_epoll
@pytest.mark.parametrize("action", ["start", "stop", "close"])
@pytest.mark.parametrize("kind", ["signal", "child"])
def test_an_interrupt_at_any_moment_of_a_watchers_life_leaves_nothing_that_close_does_not_undo(
    loop: Loop, usr2: list[int], make_child: Callable[..., int], kind: str, action: str
) -> None:
    stranger = signal.getsignal(signal.SIGUSR2)
    pid = make_child()
    moment = 0
    interrupted = True
    while interrupted:
        moment += 1
        watcher: Watcher = loop.signal(signal.SIGUSR2) if kind == "signal" else loop.child(pid)
        if action == "start":
            interrupted = interrupt_at(moment, functools.partial(watcher.start, print))
        else:
            watcher.start(print)
            interrupted = interrupt_at(moment, getattr(watcher, action))
        watcher.close()
        assert not watcher.active
        assert active_watchers(loop) == []
        assert loop.activecnt == 0, moment
        assert signal.getsignal(signal.SIGUSR2) is stranger
        assert signal.set_wakeup_fd(-1) == -1
        assert not loop._registrations
        assert not loop._sentinels
    assert moment > 10


@on_epoll
def test_an_interrupt_at_any_moment_loses_no_signal(loop: Loop, usr2: list[int]) -> None:
    moment = 0
    interrupted = True
    while interrupted:
        moment += 1
        called: list[str] = []
        with loop.signal(signal.SIGUSR2) as watcher:
            watcher.start(called.append, "called")
            interrupted = interrupt_at(moment, lambda: signal.raise_signal(signal.SIGUSR2))
            if moment > 1:  # else the handler had not begun
                assert watcher.pending
            loop.run(nowait=True)
            assert called == ["called"] or moment == 1
            loop.run(nowait=True)
            signal.raise_signal(signal.SIGUSR2)
            if interrupt_at(moment, lambda: loop.run(nowait=True)):
                interrupted = True
            loop.run(nowait=True)
            assert called[-2:] == ["called", "called"] or moment == 1
    assert moment > 10


@on_epoll
@pytest.mark.parametrize("before_start", [False, True])
def test_an_interrupt_at_any_moment_loses_no_end_of_a_child(
    loop: Loop, make_child: Callable[..., int], before_start: bool
) -> None:
    moment = 0
    interrupted = True
    while interrupted:
        moment += 1
        called: list[str] = []
        pid = make_child(lambda: os._exit(3))
        watcher = loop.child(pid)
        if before_start:
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        watcher.start(called.append, "called")
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        interrupted = interrupt_at(moment, lambda: loop.run(nowait=True))
        for _ in range(3):
            loop.run(nowait=True)
        assert called == ["called"], moment
        assert watcher.rstatus == 3 << 8
        assert not watcher.active
        assert loop.activecnt == 0
        assert not loop._registrations
        assert not loop._sentinels
        assert not loop._children
    assert moment > 20


@on_epoll
def test_an_interrupt_at_any_moment_of_a_childs_first_turn_loses_no_fork_watcher(loop: Loop) -> None:
    called: list[str] = []
    with loop.fork(priority=-1) as last, loop.fork() as first:
        last.start(called.append, "last")
        first.start(called.append, "first")
        moment = 0
        interrupted = True
        while interrupted:
            moment += 1
            _fork.sever(loop)  # what the hook does in a child
            loop.reinit()
            del called[:]
            interrupted = interrupt_at(moment, lambda: loop.run(nowait=True))
            for _ in range(2):
                loop.run(nowait=True)
            assert called == ["first", "last"], moment
    assert moment > 10


@on_epoll
def test_an_interrupt_at_any_moment_of_a_childs_renewal_skips_no_watcher(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    renewed: list[object] = []
    monkeypatch.setattr(Watcher, "_forked", lambda watcher: renewed.append(watcher))
    with loop.async_(ref=False) as first, loop.async_(ref=False) as last:
        first.start(print)
        last.start(print)
        moment = 0
        interrupted = True
        while interrupted:
            moment += 1
            _fork.sever(loop)  # what the hook does in a child
            del renewed[:]
            interrupted = interrupt_at(moment, loop.reinit)
            loop.run(nowait=True)
            assert set(renewed) == {first, last}, moment
    assert moment > 20


# -- interrupts -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("signum", [signal.SIGUSR2, "SIGUSR2"])
def test_an_interrupt_watcher_calls_back_in_the_handler_and_not_in_a_turn(
    loop: Loop, usr2: list[int], signum: int | str
) -> None:
    heard: list[str] = []
    with loop.interrupt(signum) as watcher:
        watcher.start(heard.append, "now")
        signal.raise_signal(signal.SIGUSR2)
        assert heard == ["now"]
        assert not watcher.pending
        watcher.stop()
        signal.raise_signal(signal.SIGUSR2)
    assert heard == ["now"]
    assert usr2 == [signal.SIGUSR2]


def test_interrupt_and_signal_watchers_of_one_signal_are_both_told(loop: Loop) -> None:
    heard: list[str] = []
    with loop.interrupt("SIGUSR2") as at_once, loop.signal(signal.SIGUSR2) as later:
        at_once.start(heard.append, "at once")
        later.start(heard.append, "later")
        signal.raise_signal(signal.SIGUSR2)
        assert heard == ["at once"]
        loop.run(nowait=True)
        assert heard == ["at once", "later"]


def test_what_an_interrupt_callback_raises_is_reported_and_not_raised_into_what_runs(loop: Loop) -> None:
    class Handler:
        def handle_error(self, context: object, *error: Any) -> None:
            heard.append((context, error[0]))

    heard: list[tuple[object, object]] = []
    loop.error_handler = Handler()
    with loop.interrupt("SIGUSR2") as watcher:
        watcher.start(int, "no number")
        signal.raise_signal(signal.SIGUSR2)
        assert heard == [(watcher, ValueError)]
        assert watcher.active
    loop.error_handler = None


def test_an_unknown_name_of_a_signal_is_refused(loop: Loop) -> None:
    for name in ("USR2", "", "SIG_BLOCK"):
        with pytest.raises(ValueError, match="must name a signal"):
            loop.interrupt(name)
