"""Who is told of a fork: each loop there is, and in the child its fork watchers, its other watchers, its listener."""

from __future__ import annotations

import errno
import gc
import os
import signal
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import pytest
from tests.hub_loop.conftest import assert_it_works, turn

from hub_loop import Loop, _fork
from hub_loop._phases import Prepare

if TYPE_CHECKING:
    from tests.conftest import Kin


# -- fork watchers -----------------------------------------------------------------------------------------------------


def test_fork_watchers_run_once_in_the_child_and_never_in_the_parent(loop: Loop, kin: Kin) -> None:
    seen: list[str] = []
    order = {"last": -1, "first": 2, "second": None}
    watchers = [(loop.fork(ref=False, priority=priority), name) for name, priority in order.items()]
    prepare = loop.prepare(ref=False)
    for watcher, name in watchers:
        watcher.start(seen.append, name)
    prepare.start(seen.append, "prepare")
    loop.run_callback(seen.append, "callback")

    def check() -> None:
        assert loop.run(nowait=True) is False
        assert seen == ["first", "second", "last", "prepare", "callback"]
        turn(loop)
        assert seen[5:] == ["prepare"]
        loop.reinit()
        turn(loop)
        assert seen[6:] == ["prepare"]

    kin.run(check)
    turn(loop)
    loop.reinit()
    turn(loop)
    assert seen == ["prepare", "callback", "prepare"]
    prepare.close()
    for watcher, _ in watchers:
        watcher.close()


def test_a_fork_that_is_still_to_be_told_keeps_the_childs_loop_running(loop: Loop, kin: Kin) -> None:
    seen: list[str] = []
    with loop.fork(ref=False) as watcher:
        watcher.start(seen.append, "forked")

        def check() -> None:
            loop.run()
            assert seen == ["forked"]

        kin.run(check)
        loop.run()
        assert seen == []


def test_a_fork_watcher_started_in_the_child_before_its_first_turn_is_called(loop: Loop, kin: Kin) -> None:
    seen: list[str] = []

    def check() -> None:
        with loop.fork() as watcher:
            watcher.start(seen.append, "forked")
            turn(loop)
            turn(loop)
        assert seen == ["forked"]

    kin.run(check)


def test_each_generation_is_told_of_its_own_fork(loop: Loop, kin: Kin) -> None:
    seen: list[int] = []
    with loop.fork(ref=False) as watcher:
        watcher.start(lambda: seen.append(os.getpid()))

        def check() -> None:
            turn(loop)
            grandchild = os.fork()
            turn(loop)
            turn(loop)
            if not grandchild:
                os._exit(seen != [os.getppid(), os.getpid()])
            assert os.waitpid(grandchild, 0)[1] == 0
            assert seen == [os.getpid()]

        kin.run(check)


def test_a_fork_watcher_that_raises_is_reported_and_the_child_goes_on(loop: Loop, kin: Kin) -> None:
    errors: list[object] = []

    class Handler:
        def handle_error(self, context: object, type: object, value: object, tb: object, /) -> None:
            errors.append((context, value))

    error = ValueError("in the child")

    def fail() -> None:
        raise error

    loop.error_handler = Handler()
    with loop.fork(ref=False) as watcher:
        watcher.start(fail)

        def check() -> None:
            turn(loop)
            assert errors == [(watcher, error)]
            assert watcher.active
            assert_it_works(loop)

        kin.run(check)
    assert errors == []


def test_fork_watchers_behind_one_that_was_interrupted_are_called_in_the_next_turn(loop: Loop, kin: Kin) -> None:
    seen: list[str] = []

    def interrupted() -> None:
        seen.append("interrupted")
        raise KeyboardInterrupt

    with loop.fork(priority=1) as first, loop.fork() as second, loop.fork() as third, loop.fork() as late:
        first.start(interrupted)
        second.start(seen.append, "second")
        third.start(seen.append, "third")

        def check() -> None:
            with pytest.raises(KeyboardInterrupt):
                turn(loop)
            assert [watcher.pending for watcher in (first, second, third)] == [False, True, True]
            late.start(seen.append, "late")
            third.stop()
            turn(loop)
            turn(loop)
            assert seen == ["interrupted", "second"]

        kin.run(check)
        turn(loop)
    assert seen == []


def test_a_child_that_a_fork_watcher_makes_is_told_of_its_own_fork(loop: Loop, kin: Kin) -> None:
    told: list[int] = []
    grandchild: list[int] = []

    def fork() -> None:
        told.append(os.getpid())
        if not grandchild:
            grandchild.append(os.fork())

    with loop.fork(ref=False) as watcher:
        watcher.start(fork)

        def check() -> None:
            turn(loop)
            if grandchild == [0]:
                turn(loop)
                turn(loop)
                os._exit(told != [os.getppid(), os.getpid()])
            assert os.waitpid(grandchild[0], 0)[1] == 0
            turn(loop)
            assert told == [os.getpid()]

        kin.run(check)


def test_a_fork_watcher_that_destroys_the_loop_ends_the_turn(loop: Loop, kin: Kin) -> None:
    with loop.fork(ref=False) as watcher:
        watcher.start(loop.destroy)

        def check() -> None:
            assert loop.run(nowait=True) is False
            assert loop.fileno() is None

        kin.run(check)


class Kind(Prepare):
    """A kind that holds something of the system's, and counts how often it is told to get it anew."""

    __slots__ = ("renewed",)

    def _arm(self) -> None:
        super()._arm()
        self.renewed = 0

    def _forked(self) -> None:
        self.renewed += 1
        if self._args:
            raise self._args[0]


def test_every_active_watcher_gets_anew_what_it_had_of_the_system(loop: Loop, kin: Kin) -> None:
    errors: list[object] = []

    class Handler:
        def handle_error(self, context: object, type: object, value: object, tb: object, /) -> None:
            errors.append(value)

    loop.error_handler = Handler()
    refusal = OSError(errno.ENOSPC, "no more of these")
    failing, watcher, idle = Kind(loop), Kind(loop), Kind(loop)
    failing.start(print, refusal)
    watcher.start(lambda: None)

    def check() -> None:
        loop.reinit()
        loop.reinit()
        assert (failing.renewed, watcher.renewed) == (1, 1)
        assert not hasattr(idle, "renewed")
        assert errors == [refusal]
        turn(loop)
        assert watcher.renewed == 1

    kin.run(check)
    assert watcher.renewed == 0
    failing.close()
    watcher.close()


def test_signals_and_ends_of_children_that_the_parent_was_told_of_are_the_parents(
    loop: Loop, kin: Kin, usr2: list[int], make_child: Callable[..., int]
) -> None:
    ran: list[str] = []
    stray = make_child(lambda: os._exit(7))
    os.waitid(os.P_PID, stray, os.WEXITED | os.WNOWAIT)
    with loop.signal(signal.SIGUSR2) as first, loop.signal(signal.SIGUSR2) as second, loop.child(stray) as child:
        first.start(ran.append, "in the inbox")
        signal.raise_signal(signal.SIGUSR2)
        loop.run_callback(kin.fork)
        child.start(ran.append, "child")
        assert child.pending
        turn(loop)  # forks in the batch, with the signal and the child queued behind
        second.start(ran.append, "later")

        def check() -> None:
            for _ in range(3):
                turn(loop)
            assert ran == []
            assert (first.active, child.active) == (True, False)
            signal.raise_signal(signal.SIGUSR2)
            turn(loop)
            assert sorted(ran) == ["in the inbox", "later"]

        kin.child_ends(check)
        assert sorted(ran) == ["child", "in the inbox"]
        assert child.rstatus == 7 << 8


def test_a_signal_in_the_child_before_its_first_turn_is_told(loop: Loop, kin: Kin, usr2: list[int]) -> None:
    ran: list[str] = []
    with loop.signal(signal.SIGUSR2) as watcher:
        watcher.start(ran.append, "signal")

        def check() -> None:
            signal.raise_signal(signal.SIGUSR2)
            turn(loop)
            turn(loop)
            assert ran == ["signal"]

        kin.run(check)
        turn(loop)
        assert ran == []


def test_signals_of_a_loop_that_was_left_behind_are_the_previous_handlers_again(
    loop: Loop, kin: Kin, usr2: list[int]
) -> None:
    def live() -> None:
        kin.run(check)

    def check() -> None:
        signal.raise_signal(signal.SIGUSR2)
        signal.raise_signal(signal.SIGUSR2)
        assert usr2 == [signal.SIGUSR2] * 2

    with loop.signal(signal.SIGUSR2) as watcher:
        watcher.start(print)
        thread = threading.Thread(target=live)
        thread.start()
        thread.join()
    assert usr2 == []


def test_a_signal_of_a_loop_that_was_left_behind_ends_the_child_if_it_did_so_before(
    loop: Loop, make_child: Callable[[Callable[[], object]], int]
) -> None:
    statuses: list[int] = []

    def live() -> None:
        pid = make_child(lambda: signal.raise_signal(signal.SIGUSR2))
        statuses.append(os.waitpid(pid, 0)[1])

    before = signal.signal(signal.SIGUSR2, signal.SIG_DFL)
    with loop.signal(signal.SIGUSR2) as watcher:
        watcher.start(print)
        thread = threading.Thread(target=live)
        thread.start()
        thread.join()
    signal.signal(signal.SIGUSR2, before)
    assert statuses == [signal.SIGUSR2]


# -- the listener ------------------------------------------------------------------------------------------------------


class Listener:
    """What a hub is to a loop: told of forks."""

    def __init__(self) -> None:
        self.told: list[tuple[str, list[object], list[object]]] = []
        self.error: Exception | None = None

    def loop_forked(self) -> None:
        self.told.append(("forked", [], []))

    def loop_renewed(self, watchers: Iterable[object], notified: Iterable[object]) -> None:
        self.told.append(("renewed", list(watchers), list(notified)))
        if self.error is not None:
            raise self.error


def test_a_listener_is_told_inside_the_fork_and_again_at_the_first_use(kin: Kin) -> None:
    loop, listener = Loop(), Listener()
    loop.fork_listener = listener
    near, far = socket.socketpair()
    registration = loop.register(near.fileno(), print)
    with loop.timer(100.0) as active, loop.timer(100.0):
        active.start(print)

        def check() -> None:
            assert listener.told == [("forked", [], [])]
            loop.update_now()
            loop.run(nowait=True)
            assert listener.told[1:] == [("renewed", [active], [print])]

        kin.run(check)
        assert listener.told == []
    registration.close()
    near.close()
    far.close()
    loop.destroy()


def test_a_listener_that_fails_is_reported_and_the_loop_is_usable(kin: Kin) -> None:
    loop, listener = Loop(), Listener()
    loop.fork_listener = listener
    listener.error = ValueError("no")
    seen: list[object] = []
    loop.error_handler = lambda *told: seen.append(told[0])  # type: ignore[assignment] # a function will do

    def check() -> None:
        loop.run_callback(seen.append, "ran")
        loop.run(nowait=True)
        assert seen == [listener, "ran"]

    kin.run(check)
    loop.destroy()


def test_the_listener_of_another_threads_loop_is_not_told(kin: Kin) -> None:
    listener = Listener()
    made: list[Loop] = []

    def live() -> None:
        loop = Loop(default=False)
        loop.fork_listener = listener
        made.append(loop)
        at_it.set()
        let_go.wait()
        loop.destroy()

    at_it, let_go = threading.Event(), threading.Event()
    thread = threading.Thread(target=live)
    thread.start()
    assert at_it.wait(30)
    kin.fork()
    kin.child_ends(lambda: None if listener.told == [] else pytest.fail("it was told"))
    let_go.set()
    thread.join()


# -- loops -------------------------------------------------------------------------------------------------------------


def test_a_loop_is_not_kept_alive_for_the_sake_of_forks() -> None:
    loop = Loop()
    gone = weakref.ref(loop)
    loop.destroy()
    del loop
    gc.collect()
    assert gone() is None


def test_an_interpreter_without_a_loop_is_not_told_of_forks() -> None:
    code = (
        "import os, threading; told = []; os.register_at_fork = lambda **hooks: told.append(hooks); import hub_loop\n"
    )
    code += "assert not told; loops = [hub_loop.Loop()]; hooks = len(told); assert hooks\n"
    code += "loops += [hub_loop.Loop(), hub_loop.Loop()]; assert len(told) == hooks"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)


def test_of_two_threads_that_make_the_first_loop_at_once_both_loops_are_told_of_forks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loops: list[Loop] = []

    def make_late() -> weakref.WeakSet[Any]:
        """The other thread has its turn, and is faster."""
        monkeypatch.setattr(_fork, "WeakSet", weakref.WeakSet)
        loops.append(Loop())
        return weakref.WeakSet()

    monkeypatch.setattr(_fork, "_loops", None)
    monkeypatch.setattr(_fork, "WeakSet", make_late)
    monkeypatch.setattr("os.register_at_fork", lambda **hooks: None)
    loops.append(Loop())
    assert set(_fork.tracked()) == set(loops)
    for loop in loops:
        loop.destroy()
