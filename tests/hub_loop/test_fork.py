"""Forks: the child's loop is whole and its own, and the parent's is undisturbed.

Who else is told of it: test_fork_watchers.py.  Where it comes from, and which call is the first: test_fork_moments.py.
"""

from __future__ import annotations

import errno
import multiprocessing
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from tests.hub_loop.conftest import assert_it_works, on_real_ones, turn

from hub_api import READ, WRITE, InvalidThreadUseError
from hub_loop import Loop, _fork
from hub_loop.testing import FakePoller, ManualClock

if TYPE_CHECKING:
    from tests.conftest import Kin
    from tests.hub_loop.conftest import MakeWire, Wire


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


@on_real_ones
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


@on_real_ones
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


@pytest.mark.parametrize("preexec", [None, lambda: None])
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


@on_real_ones
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
