"""Child watchers: each end is told once, with its status, and nobody else's child is touched."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

import pytest

from hub_api import ILoop, ILoopCore
from hub_loop.testing.conformance._kit import Child, LoopKit, raised_by, turn


class Children(LoopKit):
    """`child`."""

    @pytest.fixture
    def child_loop(self, loop: ILoopCore) -> ILoop:
        """The loop, if it watches children."""
        return self.offering(loop, "child")

    @pytest.fixture
    def child(self, child_loop: ILoop) -> Iterator[Child]:
        """One child process."""
        with Child() as child:
            yield child

    def test_a_watcher_is_called_when_its_child_ends(self, child_loop: ILoop, child: Child) -> None:
        called: list[str] = []
        with child_loop.child(child.pid) as watcher:
            watcher.start(called.append, "ended")
            turn(child_loop)
            assert called == []
            child.end()
            while not called:
                child_loop.run(once=True)
            turn(child_loop)
        assert called == ["ended"]

    @pytest.mark.parametrize("status", [0, 1, 77, 255])
    def test_the_watcher_tells_who_ended_and_how(self, child_loop: ILoop, child: Child, status: int) -> None:
        seen: list[tuple[int, int]] = []
        with child_loop.child(child.pid) as watcher:
            assert (watcher.rpid, watcher.rstatus) == (0, 0)
            watcher.start(lambda: seen.append((watcher.rpid, os.waitstatus_to_exitcode(watcher.rstatus))))
            child.end(status)
            while not seen:
                child_loop.run(once=True)
            assert watcher.pid == child.pid
        assert seen == [(child.pid, status)]

    def test_a_child_that_was_killed_is_told_with_the_signal(self, child_loop: ILoop, child: Child) -> None:
        seen: list[int] = []
        with child_loop.child(child.pid) as watcher:
            watcher.start(lambda: seen.append(watcher.rstatus))
            child.kill(signal.SIGKILL)
            while not seen:
                child_loop.run(once=True)
        assert os.WIFSIGNALED(seen[0])
        assert os.WTERMSIG(seen[0]) == signal.SIGKILL

    def test_a_child_that_has_ended_before_the_start_is_told(self, child_loop: ILoop, child: Child) -> None:
        called: list[str] = []
        child.end(3)
        with child_loop.child(child.pid) as watcher:
            watcher.start(called.append, "ended")
            while not called:
                child_loop.run(once=True)
            assert os.waitstatus_to_exitcode(watcher.rstatus) == 3
        assert called == ["ended"]

    def test_the_end_of_a_child_ends_a_blocking_run(self, child_loop: ILoop, child: Child) -> None:
        watcher = child_loop.child(child.pid)
        watcher.start(watcher.close)
        child.end()
        assert child_loop.run() is False

    def test_the_child_has_been_waited_for_when_the_callback_runs(self, child_loop: ILoop, child: Child) -> None:
        seen: list[bool] = []

        def look() -> None:
            seen.append(isinstance(raised_by(partial(os.waitpid, child.pid, os.WNOHANG)), ChildProcessError))

        with child_loop.child(child.pid) as watcher:
            watcher.start(look)
            child.end()
            while not seen:
                child_loop.run(once=True)
        assert seen == [True]

    def test_several_children_are_told_each_with_its_own_status(self, child_loop: ILoop) -> None:
        seen: dict[int, int] = {}
        with ExitStack() as stack:
            children = [stack.enter_context(Child()) for _ in range(10)]
            for number, child in enumerate(children):
                watcher = stack.enter_context(child_loop.child(child.pid))

                def note(number: int = number, watcher: Any = watcher) -> None:
                    seen[number] = os.waitstatus_to_exitcode(watcher.rstatus)

                watcher.start(note)
            for number, child in reversed(list(enumerate(children))):
                child.end(number)
            while len(seen) < 10:
                child_loop.run(once=True)
        assert seen == {number: number for number in range(10)}

    def test_two_watchers_of_one_child_are_both_told(self, child_loop: ILoop, child: Child) -> None:
        called: list[int] = []
        with child_loop.child(child.pid) as one, child_loop.child(child.pid) as two:
            one.start(lambda: called.append(os.waitstatus_to_exitcode(one.rstatus)))
            two.start(lambda: called.append(os.waitstatus_to_exitcode(two.rstatus)))
            child.end(5)
            while len(called) < 2:
                child_loop.run(once=True)
        assert called == [5, 5]

    def test_a_child_that_nobody_watches_is_left_to_others(self, child_loop: ILoop, child: Child) -> None:
        called: list[str] = []
        with Child() as other, child_loop.child(child.pid) as watcher:
            watcher.start(called.append, "ended")
            other.end(9)
            child.end()
            while not called:
                child_loop.run(once=True)
            turn(child_loop)
            assert os.waitpid(other.pid, 0) == (other.pid, 9 << 8)

    def test_a_watcher_that_was_stopped_is_not_called_and_leaves_the_child_to_others(
        self, child_loop: ILoop, child: Child
    ) -> None:
        called: list[str] = []
        with child_loop.child(child.pid) as watcher:
            watcher.start(called.append, "never")
            watcher.stop()
            child.end(4)
            turn(child_loop)
            assert os.waitpid(child.pid, 0) == (child.pid, 4 << 8)
        assert called == []

    def test_a_handler_of_sigchld_stays(self, child_loop: ILoop, child: Child) -> None:
        before = signal.getsignal(signal.SIGCHLD)
        with child_loop.child(child.pid) as watcher:
            watcher.start(int)
            assert signal.getsignal(signal.SIGCHLD) is before
        assert signal.getsignal(signal.SIGCHLD) is before
