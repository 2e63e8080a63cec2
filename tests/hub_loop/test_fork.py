"""Forks: the child's loop is whole and its own, and the parent's is undisturbed."""

from __future__ import annotations

import ctypes
import errno
import gc
import multiprocessing
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from tests.hub_loop.conftest import turn

from hub_api import READ, WRITE, InvalidThreadUseError
from hub_loop import Loop, _fork
from hub_loop._phases import Prepare
from hub_loop.testing import FakePoller, ManualClock, active_watchers

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from tests.conftest import Kin
    from tests.hub_loop.conftest import MakeWire, Wire

only = pytest.mark.parametrize


def assert_it_works(loop: Loop) -> None:
    """A loop that turns: own callbacks, posts, a thread's wake-up out of a blocking poll, and an fd."""
    seen: list[object] = []
    loop.run_callback(seen.append, "own")
    loop.run_callback_threadsafe(seen.append, "posted")
    turn(loop)
    assert seen == ["own", "posted"]
    near, far = socket.socketpair()
    fake = loop._poller if isinstance(loop._poller, FakePoller) else None
    if fake is not None:
        fake.replace(near.fileno())
        fake.make_ready(near.fileno(), READ)
    far.send(b"x")
    with loop.io(near.fileno(), READ) as watcher:
        watcher.start(loop.break_)
        loop.run()
    woken = threading.Event()

    def wake() -> None:
        while not loop.sleeping and not woken.is_set():
            pass
        loop.run_callback_threadsafe(loop.break_)

    thread = threading.Thread(target=wake)
    with loop.async_() as keep_going:
        keep_going.start(seen.append, "nobody sends")
        thread.start()
        loop.run()
        woken.set()
        thread.join()
    near.close()
    far.close()


# -- what the child has ------------------------------------------------------------------------------------------------


def test_the_childs_loop_works(loop: Loop, kin: Kin) -> None:
    turn(loop)
    kin.run(lambda: assert_it_works(loop))
    assert_it_works(loop)


def test_a_loop_works_in_a_child_of_a_child_and_in_a_child_that_forks_before_its_first_use(
    loop: Loop, kin: Kin
) -> None:
    def check() -> None:
        for used in (False, True):
            if used:
                assert_it_works(loop)
            grandchild = os.fork()
            if not grandchild:
                try:
                    assert_it_works(loop)
                    os._exit(0)
                finally:
                    os._exit(1)
            assert os.waitpid(grandchild, 0)[1] == 0
        assert_it_works(loop)

    kin.run(check)


def test_the_hook_closes_what_was_the_parents_and_opens_nothing(loop: Loop, kin: Kin) -> None:
    parents = [fd for fd in (loop._wakeup.fd, loop.fileno()) if fd is not None]

    def check() -> None:
        for fd in parents:
            with pytest.raises(OSError, match="Bad file"):
                os.fstat(fd)
        assert "forked" in repr(loop)
        assert loop._wakeup.fd == -1  # to look at a loop does not renew it

    kin.run(check)


def test_timers_go_on(loop: Loop, clock: ManualClock, kin: Kin) -> None:
    fired: list[str] = []
    timer = loop.timer(5.0)
    timer.start(fired.append, "timer")

    def check() -> None:
        clock.advance(4.0)
        turn(loop)
        assert fired == []
        clock.advance(1.0)
        turn(loop)
        assert fired == ["timer"]

    kin.run(check)
    assert fired == []
    timer.close()


def test_io_watchers_go_on_in_both(loop: Loop, make_wire: MakeWire, kin: Kin) -> None:
    wire, other = make_wire(), make_wire()
    seen: list[str] = []
    watcher, second = loop.io(wire.fd, READ), loop.io(other.fd, READ | WRITE)
    watcher.start(seen.append, "first")
    second.start(seen.append, "second")
    turn(loop)
    assert seen == ["second"]

    def check() -> None:
        wire.send()
        turn(loop)
        assert sorted(seen) == ["first", "second", "second"]
        watcher.stop()
        turn(loop)
        assert len(seen) == 4

    kin.run(check)
    wire.send()
    turn(loop)
    assert sorted(seen) == ["first", "second", "second"]
    watcher.close()
    second.close()


def test_an_owner_is_told_of_edges_that_came_before_the_fork_and_after(loop: Loop, wire: Wire, kin: Kin) -> None:
    told: list[int] = []
    registration = loop.register(wire.fd, told.append)
    turn(loop)
    registration.want(READ)
    wire.send()

    def check() -> None:
        turn(loop)
        assert told == [READ]
        assert registration.ready & READ
        wire.read()
        registration.clear(READ)
        registration.want(READ)
        turn(loop)
        assert told == [READ]
        wire.send()
        turn(loop)
        assert told == [READ, READ]
        registration.close()
        assert registration.fd == -1

    kin.run(check)
    if not isinstance(loop._poller, FakePoller):
        wire.send()  # the child has read what both had: the file is the same
    turn(loop)
    assert told == [READ]
    registration.close()


def test_what_the_forking_thread_has_queued_runs_in_both(loop: Loop, kin: Kin) -> None:
    seen: list[str] = []
    loop.run_callback(seen.append, "own")

    def check() -> None:
        turn(loop)
        assert seen == ["own"]

    kin.run(check)
    turn(loop)
    assert seen == ["own"]


def test_files_that_are_always_ready_stay_so(loop: Loop, kin: Kin) -> None:
    fd = os.open(os.devnull, os.O_RDONLY)
    if isinstance(loop._poller, FakePoller):
        loop._poller.make_unpollable(fd)
    seen: list[str] = []
    watcher = loop.io(fd, READ)
    watcher.start(seen.append, "ready")

    def check() -> None:
        turn(loop)
        turn(loop)
        assert seen == ["ready", "ready"]

    kin.run(check)
    watcher.close()
    os.close(fd)


# -- what the child has not --------------------------------------------------------------------------------------------


def test_posts_do_not_run_twice(loop: Loop, kin: Kin) -> None:
    ran: list[str] = []
    posted = loop.run_callback_threadsafe(ran.append, "posted")
    watcher = loop.async_(ref=False)
    watcher.start(ran.append, "sent")
    watcher.send()

    def check() -> None:
        assert not posted
        assert not watcher.pending
        turn(loop)
        turn(loop)
        assert ran == []
        watcher.send()
        loop.run_callback_threadsafe(ran.append, "the child's")
        turn(loop)
        assert ran == ["sent", "the child's"] or ran == ["the child's", "sent"]

    kin.run(check)
    turn(loop)
    assert ran == ["posted", "sent"]
    watcher.close()


def test_posts_that_the_turn_has_taken_up_already_do_not_run_twice_either(loop: Loop, kin: Kin) -> None:
    ran: list[str] = []
    watcher = loop.async_(ref=False)
    ranked = loop.async_(ref=False, priority=-1)
    watcher.start(ran.append, "sent")
    ranked.start(ran.append, "ranked")
    loop.run_callback_threadsafe(kin.fork)
    loop.run_callback_threadsafe(ran.append, "posted")
    watcher.send()
    ranked.send()
    turn(loop)  # in the child it goes on from the fork
    loop.run_callback(ran.append, "own")
    turn(loop)
    expected = ["own"] if kin.is_child else ["posted", "sent", "ranked", "own"]

    def check() -> None:
        assert ran == expected
        assert_it_works(loop)

    kin.child_ends(check)
    assert ran == expected
    watcher.close()
    ranked.close()


def test_a_lock_that_another_thread_holds_is_not_held_in_the_child(loop: Loop, kin: Kin) -> None:
    held, let_go = threading.Event(), threading.Event()

    def hold() -> None:
        with loop._wakeup._lock:
            held.set()
            let_go.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()

    def check() -> None:
        loop.wakeup()
        loop.run_callback_threadsafe(lambda: None)
        assert_it_works(loop)
        loop.destroy()

    kin.run(check)
    let_go.set()
    thread.join()


@only("loop", ["epoll", "poll", "select"], indirect=True)
def test_the_parent_is_undisturbed_whatever_the_child_does(loop: Loop, make_wire: MakeWire, kin: Kin) -> None:
    wires = [make_wire() for _ in range(4)]
    told: list[tuple[int, int]] = []
    seen: list[int] = []

    def note(number: int) -> Callable[[int], object]:
        return lambda events: told.append((number, events))

    registrations = [loop.register(wires[number].fd, note(number)) for number in (0, 1)]
    watchers = [loop.io(wires[number].fd, READ) for number in (2, 3)]
    for number, watcher in zip((2, 3), watchers, strict=True):
        watcher.start(seen.append, number)
    for registration in registrations:
        registration.want(READ)
    turn(loop)

    def check() -> None:
        registrations[0].close()
        watchers[0].close()
        loop.closing_fd(watchers[1].fd)
        for _ in range(10):
            loop.wakeup()
            turn(loop)
        loop.destroy()
        Loop(loop.backend).destroy()

    kin.run(check)
    ready = select.poll()
    ready.register(loop._wakeup.fd, select.POLLIN)
    assert ready.poll(0) == []  # the child wrote to a wake fd of its own
    for wire in wires:
        wire.send()
    turn(loop)
    assert sorted(told) == [(0, READ), (1, READ)]
    assert sorted(seen) == [2, 3]
    for registration in registrations:
        registration.close()
    for watcher in watchers:
        watcher.close()


@only("loop", ["epoll", "poll", "select"], indirect=True)
def test_the_parents_wake_ups_do_not_reach_the_child(loop: Loop, kin: Kin) -> None:
    go, told = os.pipe()
    kin.fork()
    if not kin.is_child:
        for _ in range(5):
            loop.wakeup()
        os.write(told, b"x")

    def check() -> None:
        loop.reinit()
        os.read(go, 1)
        ready = select.poll()
        ready.register(loop._wakeup.fd, select.POLLIN)
        assert ready.poll(0) == []

    kin.child_ends(check)
    os.close(go)
    os.close(told)


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


# -- where a fork may come from ----------------------------------------------------------------------------------------


@only("where", ["callback", "timer", "prepare", "check", "notify", "io"])
def test_a_fork_inside_a_running_turn(where: str, loop: Loop, make_wire: MakeWire, kin: Kin) -> None:
    wire = make_wire()
    told: list[str] = []
    things: list[Any] = []

    def fork(*ignored: object) -> None:
        for thing in things:
            thing.close()
        kin.fork()

    if where == "callback":
        loop.run_callback(fork)
    elif where == "notify":
        things.append(loop.register(wire.fd, fork))
        things[0].want(WRITE)
        things.pop()
    elif where == "io":
        things.append(loop.io(wire.fd, WRITE))
    else:
        things.append(loop.timer(0.0) if where == "timer" else getattr(loop, where)())
    for thing in things:
        thing.start(fork)
    ticks = loop.timer(0.0, 0.001)
    ticks.start(told.append, "tick")
    loop.run(once=True)
    while len(told) < 3:
        loop.run(once=True)
    ticks.close()
    loop.closing_fd(wire.fd)
    kin.child_ends(lambda: assert_it_works(loop))
    assert_it_works(loop)


@only("loop", ["epoll", "poll", "select"], indirect=True)
def test_a_fork_by_a_signal_handler_inside_the_poll(
    loop: Loop,
    kin: Kin,
    wire: Wire,
    from_signal_handler: Callable[[Callable[[], object]], AbstractContextManager[None]],
) -> None:
    told: list[int] = []
    registration = loop.register(wire.fd, told.append)
    turn(loop)
    registration.clear(READ)
    registration.want(READ)

    def fork() -> None:
        if not kin.fork():
            loop.break_()
            loop.wakeup()

    with loop.fork(ref=False) as watcher:
        watcher.start(loop.break_)
        with from_signal_handler(fork):
            loop.run()  # in the child too: it does not wait in the parent's poller, and goes on to tell of the fork
            if kin.is_child:
                kin.child_ends(lambda: assert_it_works(loop))
    kin.child_ends()
    wire.send()
    turn(loop)
    assert told == [READ]  # the edge was the parent's
    registration.close()


@only("loop", ["epoll", "poll", "select"], indirect=True)
def test_what_a_signal_handler_raises_in_the_child_comes_out_of_the_childs_poll(
    loop: Loop, kin: Kin, from_signal_handler: Callable[[Callable[[], object]], AbstractContextManager[None]]
) -> None:
    def fork() -> None:
        if kin.fork():
            raise OSError(errno.EBADF, "raised by the handler")
        loop.break_()
        loop.wakeup()

    def check() -> None:
        assert raised == ["raised by the handler"]
        assert_it_works(loop)

    raised = []
    with loop.async_() as keep_going:
        keep_going.start(print)
        with from_signal_handler(fork):
            try:
                loop.run()
            except OSError as error:
                raised.append(error.strerror)
            if kin.is_child:
                kin.child_ends(check)
    kin.child_ends()
    assert raised == []


@only("loop", ["epoll", "poll", "select", "fake"], indirect=True)
def test_a_fork_between_the_choice_of_a_timeout_and_the_poll_does_not_sleep_in_the_parents_poller(
    loop: Loop, kin: Kin, monkeypatch: pytest.MonkeyPatch
) -> None:
    choose = loop._time_to_sleep

    def fork_and_choose() -> float | None:
        monkeypatch.undo()
        kin.fork()
        if not kin.is_child:
            return 0.0
        assert choose() is not None
        return choose()

    monkeypatch.setattr(loop, "_time_to_sleep", fork_and_choose)
    with loop.async_() as keep_going:
        keep_going.start(print)
        loop.run(once=True)
    kin.child_ends(lambda: assert_it_works(loop))


def test_a_fork_by_another_thread_leaves_that_threads_own_loop_whole(loop: Loop, kin: Kin) -> None:
    other_fds: list[int] = []

    def live() -> None:
        own = Loop()
        own.run_callback(kin.fork)
        turn(own)
        kin.child_ends(lambda: check(own))
        own.destroy()

    def check(own: Loop) -> None:
        assert_it_works(own)
        for use in (
            lambda: loop.run(),
            lambda: loop.run_callback(print),
            lambda: loop.run_callback_threadsafe(print),
            lambda: loop.timer(1.0),
            lambda: watcher.send(),
            lambda: watcher.start(print),
            lambda: registration.want(READ),
            lambda: loop.now(),
        ):
            with pytest.raises(ValueError, match="left behind"):
                use()
        assert "left behind" in repr(loop)
        assert loop.fileno() is None
        assert loop._wakeup.fd == -1
        loop.wakeup()
        loop.reinit()
        loop.destroy()
        watcher.close()
        registration.close()
        timer.stop()
        assert not timer.active

    reader, writer = os.pipe()
    watcher = loop.async_()
    watcher.start(print)
    registration = loop.register(reader, other_fds.append)
    timer = loop.timer(1000.0)
    timer.start(print)
    thread = threading.Thread(target=live)
    thread.start()
    thread.join()
    assert_it_works(loop)
    for thing in (watcher, registration, timer):
        thing.close()
    os.close(reader)
    os.close(writer)


def test_in_a_child_whose_loop_was_not_used_yet_other_threads_may_post_and_nothing_else(loop: Loop, kin: Kin) -> None:
    def check() -> None:
        seen: list[str] = []

        def elsewhere() -> None:
            loop.run_callback_threadsafe(seen.append, "posted")
            loop.wakeup()
            for use in (loop.fileno, loop.reinit, loop.run, loop.update_now, lambda: loop.run_callback(print)):
                try:
                    use()
                except InvalidThreadUseError:
                    seen.append("refused")

        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        assert seen == ["refused"] * 5
        with loop.async_() as keep_going:
            keep_going.start(print)
            loop.run(once=True)
        assert seen[5:] == ["posted"]

    kin.run(check)


@only("way", ["ctypes", "before"])
def test_reinit_serves_forks_that_python_was_not_told_of(way: str, loop: Loop, wire: Wire, kin: Kin) -> None:
    told: list[int] = []
    registration = loop.register(wire.fd, told.append)
    turn(loop)
    if way == "ctypes":
        kin._ends = os.pipe()
        kin._child = ctypes.PyDLL(None).fork()
        os.close(kin._ends[1 if kin._child else 0])
    else:
        _fork._loops, hidden = None, _fork._loops  # a hook that was registered before ours runs before it
        try:
            kin.fork()
        finally:
            _fork._loops = hidden

    def check() -> None:
        loop.reinit()
        registration.close()
        assert_it_works(loop)

    kin.child_ends(check)
    registration.clear(READ)
    registration.want(READ)
    wire.send()
    turn(loop)
    assert told == [READ]
    registration.close()


# -- the first use -----------------------------------------------------------------------------------------------------

FIRST_USES: dict[str, Callable[[Loop, dict[str, Any]], object]] = {
    "run": lambda loop, had: loop.run(nowait=True),
    "run_callback": lambda loop, had: loop.run_callback(lambda: None),
    "run_callback_threadsafe": lambda loop, had: loop.run_callback_threadsafe(lambda: None),
    "timer.start": lambda loop, had: had["idle timer"].start(lambda: None),
    "timer.again": lambda loop, had: had["timer"].again(lambda: None),
    "timer.stop": lambda loop, had: had["timer"].stop(),
    "io": lambda loop, had: loop.io(had["fd"], READ).close(),
    "io.start": lambda loop, had: had["idle io"].start(lambda: None),
    "io.stop": lambda loop, had: had["io"].stop(),
    "ref": lambda loop, had: setattr(had["io"], "ref", False),
    "register": lambda loop, had: loop.register(had["free"], lambda events: None).close(),
    "want": lambda loop, had: had["registration"].want(READ),
    "unwant": lambda loop, had: had["registration"].unwant(READ),
    "clear": lambda loop, had: had["registration"].clear(READ),
    "close": lambda loop, had: had["registration"].close(),
    "send": lambda loop, had: had["async"].send(),
    "wakeup": lambda loop, had: loop.wakeup(),
    "closing_fd": lambda loop, had: loop.closing_fd(had["fd"]),
    "fileno": lambda loop, had: loop.fileno(),
    "now": lambda loop, had: loop.now(),
    "update_now": lambda loop, had: loop.update_now(),
    "loop.ref": lambda loop, had: loop.ref(),
    "unref": lambda loop, had: loop.unref(),
    "break_": lambda loop, had: loop.break_(),
    "counts": lambda loop, had: (loop.activecnt, loop.pendingcnt, loop.backend),
    "repr": lambda loop, had: repr(loop),
    "reinit": lambda loop, had: loop.reinit(),
}


@only("use", FIRST_USES)
def test_any_call_may_be_the_first_in_the_child(use: str, loop: Loop, make_wire: MakeWire, kin: Kin) -> None:
    wires = [make_wire() for _ in range(3)]
    had: dict[str, Any] = {
        "timer": loop.timer(1000.0),
        "idle timer": loop.timer(1000.0),
        "io": loop.io(wires[0].fd, READ),
        "idle io": loop.io(wires[0].fd, READ | WRITE),
        "async": loop.async_(),
        "registration": loop.register(wires[1].fd, lambda events: None),
        "fd": wires[0].fd,
        "free": wires[2].fd,
    }
    for name in ("timer", "io", "async"):
        had[name].start(lambda: None)
    turn(loop)

    def check() -> None:
        FIRST_USES[use](loop, had)
        for thing in had.values():
            if not isinstance(thing, int):
                thing.close()
        turn(loop)
        assert active_watchers(loop) == []
        assert_it_works(loop)

    kin.run(check)
    for thing in had.values():
        if not isinstance(thing, int):
            thing.close()


def test_a_child_that_destroys_its_loop_first_holds_nothing_of_it(loop: Loop, kin: Kin) -> None:
    timer = loop.timer(10.0)
    timer.start(print)

    def check() -> None:
        before = set(os.listdir("/proc/self/fd"))
        loop.destroy()
        loop.destroy()
        loop.reinit()
        assert set(os.listdir("/proc/self/fd")) == before
        assert not timer.active
        with pytest.raises(ValueError, match="destroyed"):
            loop.run()

    kin.run(check)
    timer.close()


def test_a_running_loop_may_be_destroyed_in_the_child(loop: Loop, kin: Kin) -> None:
    def fork() -> None:
        if kin.fork():
            loop.destroy()

    loop.run_callback(fork)
    turn(loop)
    if kin.is_child:
        kin.child_ends()
    kin.child_ends()
    assert_it_works(loop)


def test_a_wake_up_in_the_child_before_its_first_poll_is_not_lost(loop: Loop, kin: Kin) -> None:
    def check() -> None:
        loop.wakeup()
        with loop.async_() as keep_going:
            keep_going.start(print)
            loop.run(once=True)  # for ever, if it were lost

    kin.run(check)


def test_fds_that_the_child_has_closed_are_told_as_closed(loop: Loop, make_wire: MakeWire, kin: Kin) -> None:
    wire, other = make_wire(), make_wire()
    told: list[object] = []
    registration = loop.register(wire.fd, told.append)
    registration.want(READ)
    watcher = loop.io(other.fd, READ)
    watcher.start(told.append, "closed")

    def check() -> None:
        for number in (wire, other):
            number.close_near()
            if isinstance(loop._poller, FakePoller):
                loop._poller.invalidate(number.fd)
        for _ in range(3):
            turn(loop)
        assert sorted(map(str, told)) == ["0", "closed"]
        assert (registration.fd, watcher.fd, watcher.closed) == (-1, -1, True)
        assert_it_works(loop)

    kin.run(check)
    turn(loop)
    registration.close()
    watcher.close()
    assert told == [0]


@only("loop", ["epoll"], indirect=True)
def test_an_fd_that_the_childs_poller_refuses_is_told_and_reported(
    loop: Loop, wire: Wire, kin: Kin, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors: list[object] = []
    told: list[int] = []

    class Handler:
        def handle_error(self, context: object, type: object, value: object, tb: object, /) -> None:
            errors.append((context, value))

    loop.error_handler = Handler()
    registration = loop.register(wire.fd, told.append)
    registration.want(READ)
    refusal = OSError(errno.ENOSPC, "too many watches")
    watch = type(loop._poller).watch

    def refuse(poller: Any, fd: int, interest: int) -> bool:
        if fd == wire.fd:
            raise refusal
        return watch(poller, fd, interest)

    def check() -> None:
        monkeypatch.setattr(type(loop._poller), "watch", refuse)
        loop.reinit()
        assert told == [0]
        assert errors == [(registration, refusal)]
        assert_it_works(loop)

    kin.run(check)
    registration.close()


@only("loop", ["epoll", "poll", "select"], indirect=True)
def test_a_child_out_of_fds_is_told_so_at_the_call_and_the_next_call_tries_again(loop: Loop, kin: Kin) -> None:
    def check() -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        held = os.dup(0)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        for use in (lambda: loop.run_callback(print), loop.run, loop.reinit):
            with pytest.raises(OSError, match="Too many open files"):
                use()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        os.close(held)
        assert_it_works(loop)

    kin.run(check)


# -- forks by others ---------------------------------------------------------------------------------------------------


def _turn_in_a_child(loop: Loop, results: Any) -> None:
    assert_it_works(loop)
    results.put(os.getpid())


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_multiprocessing_with_fork_finds_a_working_loop(loop: Loop) -> None:
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    processes = [context.Process(target=_turn_in_a_child, args=(loop, results)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
        assert process.exitcode == 0
    assert {results.get() for _ in processes} == {process.pid for process in processes}
    for process in processes:
        process.close()
    results.close()
    assert_it_works(loop)


@only("preexec", [None, lambda: None])
def test_subprocesses_leave_the_loop_alone(preexec: Callable[[], object] | None, loop: Loop, wire: Wire) -> None:
    told: list[int] = []
    registration = loop.register(wire.fd, told.append)
    ran = subprocess.run([sys.executable, "-c", "print('ran')"], preexec_fn=preexec, capture_output=True, check=True)
    assert ran.stdout == b"ran\n"
    registration.clear(READ)
    registration.want(READ)
    wire.send()
    turn(loop)
    assert told == [READ]
    registration.close()


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
    code += "assert not told; loops = [hub_loop.Loop() for _ in range(3)]; assert len(told) == 1"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)


def test_reinit_in_the_parent_changes_nothing_and_belongs_to_the_loops_thread(loop: Loop) -> None:
    fds = loop._wakeup.fd, loop.fileno()
    loop.reinit()
    assert (loop._wakeup.fd, loop.fileno()) == fds
    errors: list[Exception] = []

    def elsewhere() -> None:
        try:
            loop.reinit()
        except InvalidThreadUseError as error:
            errors.append(error)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert len(errors) == 1
    loop.destroy()
    loop.reinit()
    with pytest.raises(ValueError, match="destroyed"):
        loop.fork()


@only("loop", ["epoll", "poll", "select"], indirect=True)
def test_what_somebody_has_closed_before_the_hook_is_let_go_all_the_same(loop: Loop, kin: Kin) -> None:
    def check() -> None:
        loop.reinit()
        for fd in (loop.fileno(), loop._wakeup.fd):
            if fd is not None:
                os.close(fd)
        _fork.sever(loop)
        assert_it_works(loop)

    kin.run(check)


def test_a_poller_that_the_child_has_not_inherited_is_let_go_all_the_same(kin: Kin) -> None:
    class NotInherited(FakePoller):
        """As a kqueue: in the child its number is not open."""

        def close(self) -> None:
            super().close()
            if kin.is_child and not closed:
                closed.append(1)
                raise OSError(errno.EBADF, "not open here")

    closed: list[int] = []
    clock = ManualClock()
    loop = Loop(poller=NotInherited(clock, wait_for_threads=30.0), clock=clock)

    def check() -> None:
        assert closed
        assert_it_works(loop)

    kin.run(check)
    assert_it_works(loop)
    loop.destroy()


def test_a_child_that_ends_by_a_signal_has_not_harmed_its_parent(loop: Loop, wire: Wire) -> None:
    told: list[int] = []
    registration = loop.register(wire.fd, told.append)
    ready, go = os.pipe()
    child = os.fork()
    if not child:
        try:
            turn(loop)
            os.write(go, b"x")
            signal.pause()
        finally:
            os._exit(1)
    os.read(ready, 1)
    os.kill(child, signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    registration.clear(READ)
    registration.want(READ)
    wire.send()
    turn(loop)
    assert told == [READ]
    registration.close()
    os.close(ready)
    os.close(go)
