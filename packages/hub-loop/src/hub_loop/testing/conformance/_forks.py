"""Forks: what a child may rely on once its loop was made usable, and that its parent does not notice.

The subject is the loop after `reinit()`, in a child made by `os.fork`.  A loop may do without the call; none of these
tests relies on that.
"""

from __future__ import annotations

import socket
import threading
import warnings

import pytest

from hub_api import READ, ILoop, ILoopCore
from hub_loop.testing.conformance._kit import TICK, LoopKit, Wire, in_child, turn


class Forks(LoopKit):
    """`fork`, `reinit`, and the rest of the loop in a child."""

    @pytest.fixture
    def fork_loop(self, loop: ILoopCore) -> ILoop:
        """The loop, if it survives a fork."""
        return self.offering(loop, "fork")

    def test_a_fork_watcher_is_called_once_in_the_child(self, fork_loop: ILoop) -> None:
        called: list[str] = []

        def child() -> str:
            fork_loop.reinit()
            for _ in range(3):
                turn(fork_loop)
            return " ".join(called)

        with fork_loop.fork() as watcher:
            watcher.start(called.append, "forked")
            assert in_child(child) == "forked"

    def test_a_fork_watcher_is_never_called_in_the_parent(self, fork_loop: ILoop) -> None:
        called: list[str] = []
        with fork_loop.fork() as watcher:
            watcher.start(called.append, "never")
            in_child(lambda: "")
            for _ in range(3):
                turn(fork_loop)
        assert called == []

    def test_a_fork_watcher_comes_before_everything_else_of_the_first_turn(self, fork_loop: ILoop) -> None:
        order: list[str] = []

        def child() -> str:
            fork_loop.reinit()
            fork_loop.run_callback(order.append, "callback")
            turn(fork_loop)
            return " ".join(order)

        with fork_loop.fork() as watcher, fork_loop.prepare() as prepare:
            watcher.start(order.append, "fork")
            prepare.start(order.append, "prepare")
            assert in_child(child) == "fork prepare callback"

    def test_a_fork_watcher_is_called_by_priority(self, fork_loop: ILoop) -> None:
        order: list[str] = []
        low, high = fork_loop.MINPRI, fork_loop.MAXPRI

        def child() -> str:
            fork_loop.reinit()
            turn(fork_loop)
            return " ".join(order)

        with fork_loop.fork(priority=low) as last, fork_loop.fork(priority=high) as first:
            last.start(order.append, "last")
            first.start(order.append, "first")
            assert in_child(child) == ("first last" if high > low else "last first")

    def test_a_child_can_run_callbacks_and_timers(self, fork_loop: ILoop) -> None:
        ran: list[str] = []

        def child() -> str:
            fork_loop.reinit()
            fork_loop.run_callback(ran.append, "callback")
            fork_loop.timer(TICK).start(ran.append, "timer")
            fork_loop.run()
            return " ".join(ran)

        assert in_child(child) == "callback timer"

    def test_a_timer_that_was_started_before_the_fork_fires_in_both(self, fork_loop: ILoop) -> None:
        fired: list[str] = []

        def child() -> str:
            fork_loop.reinit()
            fork_loop.run()
            return " ".join(fired)

        fork_loop.timer(TICK).start(fired.append, "due")
        assert in_child(child) == "due"
        fork_loop.run()
        assert fired == ["due"]

    def test_a_child_can_watch_fds_of_its_own(self, fork_loop: ILoop) -> None:
        def child() -> str:
            fork_loop.reinit()
            wire = Wire(self.fake)
            read: list[bytes] = []
            reader = fork_loop.io(wire.fd, READ)

            def done() -> None:
                read.append(wire.read())
                reader.close()

            reader.start(done)
            wire.send(b"in the child")
            fork_loop.run()
            return read[0].decode()

        assert in_child(child) == "in the child"

    def test_a_watcher_that_was_started_before_the_fork_works_in_the_child(self, fork_loop: ILoop, wire: Wire) -> None:
        called: list[str] = []

        def child() -> str:
            fork_loop.reinit()
            turn(fork_loop)
            before = len(called)
            wire.send()  # the near end is one and the same file in both processes
            turn(fork_loop)
            wire.read()
            return f"{before} {len(called)}"

        with fork_loop.io(wire.fd, READ) as reader:
            reader.start(called.append, "readable")
            assert in_child(child) == "0 1"

    def test_another_thread_can_wake_the_loop_of_a_child(self, fork_loop: ILoop) -> None:
        ran: list[str] = []

        def child() -> str:
            fork_loop.reinit()
            thread = threading.Thread(target=fork_loop.run_callback_threadsafe, args=(ran.append, "posted"))
            fork_loop.ref()
            thread.start()
            while not ran:
                fork_loop.run(once=True)
            thread.join()
            return ran[0]

        assert in_child(child) == "posted"

    def test_what_was_posted_to_the_parent_runs_there_and_not_in_the_child(self, fork_loop: ILoop) -> None:
        ran: list[str] = []

        def child() -> str:
            fork_loop.reinit()
            turn(fork_loop)
            return " ".join(ran)

        thread = threading.Thread(target=fork_loop.run_callback_threadsafe, args=(ran.append, "the parent's"))
        thread.start()
        thread.join()
        with warnings.catch_warnings():
            # CPython may still count the thread that has just ended, and warns of forks beside threads from 3.12 on.
            warnings.simplefilter("ignore", DeprecationWarning)
            assert in_child(child) == ""
        fork_loop.run()
        assert ran == ["the parent's"]

    def test_what_the_child_does_is_not_noticed_by_the_parent(self, fork_loop: ILoop, wire: Wire) -> None:
        called: list[str] = []

        def child() -> str:
            fork_loop.reinit()
            fork_loop.closing_fd(wire.fd)
            fork_loop.wakeup()
            fork_loop.run_callback(called.append, "the child's")
            turn(fork_loop)
            fork_loop.destroy()
            return "done"

        with fork_loop.io(wire.fd, READ) as reader:
            reader.start(called.append, "readable")
            assert in_child(child) == "done"
            turn(fork_loop)
            assert called == []
            wire.send()
            turn(fork_loop)
        assert called == ["readable"]

    def test_a_registration_that_was_made_before_the_fork_works_in_both(self, fork_loop: ILoop, wire: Wire) -> None:
        told: list[int] = []
        registration = fork_loop.register(wire.fd, told.append)
        turn(fork_loop)
        registration.clear(READ)

        def wait_for_data() -> str:
            registration.want(READ)
            wire.send()
            fork_loop.run(once=True)
            data = wire.read()
            registration.clear(READ)
            return f"{told} {data!r}"

        def child() -> str:
            fork_loop.reinit()
            return wait_for_data()

        assert in_child(child) == "[1] b'x'"
        told.clear()
        assert wait_for_data() == "[1] b'x'"
        registration.close()

    def test_reinit_in_the_parent_changes_nothing(self, fork_loop: ILoop, wire: Wire) -> None:
        called: list[str] = []
        with fork_loop.io(wire.fd, READ) as reader:
            reader.start(called.append, "readable")
            fork_loop.reinit()
            wire.send()
            turn(fork_loop)
        assert called == ["readable"]

    def test_a_child_of_a_child_can_use_the_loop(self, fork_loop: ILoop) -> None:
        ran: list[str] = []

        def grandchild() -> str:
            fork_loop.reinit()
            fork_loop.run_callback(ran.append, "in the grandchild")
            fork_loop.run()
            return ran[0]

        def child() -> str:
            fork_loop.reinit()
            turn(fork_loop)
            return in_child(grandchild)

        assert in_child(child) == "in the grandchild"

    def test_a_destroyed_loop_stays_destroyed_in_the_child(self, fork_loop: ILoop) -> None:
        def child() -> str:
            fork_loop.reinit()
            with pytest.raises(ValueError):
                fork_loop.run()
            one, other = socket.socketpair()  # the numbers of the loop are nobody's: these work
            one.close()
            other.close()
            return "destroyed"

        fork_loop.destroy()
        assert in_child(child) == "destroyed"
