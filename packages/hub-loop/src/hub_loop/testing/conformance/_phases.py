"""Phases: prepare, check and idle watchers, each at its moment of the turn."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from hub_api import ILoopCore, IWatcher
from hub_loop.testing.conformance._kit import TICK, LoopKit, Wire, all_of, turn


class Phases(LoopKit):
    """`prepare`, `check`, `idle`, and the order of one turn."""

    def _make(self, loop: ILoopCore, name: str) -> IWatcher:
        make: Callable[[], IWatcher] = getattr(loop, name)
        return make()

    def test_prepare_is_called_before_and_check_after_each_poll(self, loop: ILoopCore) -> None:
        # What a poll finds is what tells the two sides of it apart: a post that is there before the poll.
        order: list[str] = []
        with loop.async_() as post, loop.check() as check, loop.prepare() as prepare:
            post.start(order.append, "post")
            prepare.start(all_of(partial(order.append, "prepare"), post.send))
            check.start(order.append, "check")
            turn(loop)
            assert order == ["prepare", "check", "post"]

    def test_a_turn_calls_prepare_then_check_then_what_is_queued(self, loop: ILoopCore) -> None:
        order: list[str] = []
        loop.timer(TICK).start(order.append, "timer")
        self.pass_time(TICK)
        loop.run_callback(order.append, "callback")
        with loop.check() as check, loop.prepare() as prepare:
            check.start(order.append, "check")
            prepare.start(order.append, "prepare")
            turn(loop)
        assert order == ["prepare", "check", "callback", "timer"]

    def test_callbacks_come_before_what_the_poll_finds(self, loop: ILoopCore, wire: Wire) -> None:
        order: list[str] = []
        with loop.io(wire.fd, 2) as writer:
            writer.start(order.append, "io")
            loop.run_callback(order.append, "callback")
            turn(loop)
        assert order == ["callback", "io"]

    def test_idle_is_called_only_when_nothing_else_is_to_be_done(self, loop: ILoopCore) -> None:
        order: list[str] = []
        with loop.idle() as idle:
            idle.start(order.append, "idle")
            loop.run_callback(order.append, "callback")
            turn(loop)
            turn(loop)
        assert order == ["callback", "idle"]

    def test_while_idle_is_active_the_poll_does_not_block(self, loop: ILoopCore) -> None:
        called: list[str] = []
        with loop.timer(3600.0) as timer, loop.idle() as idle:
            timer.start(print, "never")
            idle.start(called.append, "idle")
            for _ in range(3):
                loop.run(once=True)
        assert called == ["idle"] * 3

    def test_idle_is_called_again_in_every_turn_that_is_idle(self, loop: ILoopCore) -> None:
        called: list[int] = []
        with loop.idle() as idle:

            def count() -> None:
                called.append(len(called))
                if len(called) == 5:
                    idle.stop()

            idle.start(count)
            assert loop.run() is False
        assert called == [0, 1, 2, 3, 4]

    @pytest.mark.parametrize("name", ["prepare", "check", "idle"])
    def test_watchers_of_one_moment_are_called_in_the_order_of_their_starts(self, loop: ILoopCore, name: str) -> None:
        called: list[int] = []
        watchers = [self._make(loop, name) for _ in range(5)]
        for number in (3, 0, 4, 1, 2):
            watchers[number].start(called.append, number)
        turn(loop)
        assert called == [3, 0, 4, 1, 2]
        for watcher in watchers:
            watcher.close()

    @pytest.mark.parametrize("name", ["prepare", "check", "idle"])
    def test_a_watcher_that_another_one_starts_is_called_from_the_next_turn_on(
        self, loop: ILoopCore, name: str
    ) -> None:
        called: list[str] = []
        first, second = self._make(loop, name), self._make(loop, name)

        def start_the_second() -> None:
            called.append("first")
            second.start(called.append, "second")

        first.start(start_the_second)
        turn(loop)
        assert called == ["first"]
        turn(loop)
        assert called == ["first", "first", "second"]
        first.close()
        second.close()

    def test_what_prepare_queues_keeps_the_poll_from_blocking(self, loop: ILoopCore) -> None:
        ran: list[str] = []
        with loop.prepare() as prepare, loop.timer(3600.0) as timer:
            timer.start(print, "never")
            prepare.start(lambda: loop.run_callback(ran.append, "ran"))
            loop.run(once=True)
        assert ran == ["ran"]

    def test_a_timer_that_prepare_starts_bounds_the_sleep_that_follows(self, loop: ILoopCore) -> None:
        fired: list[str] = []
        with loop.prepare() as prepare, loop.timer(3600.0) as late, loop.timer(TICK) as soon:
            late.start(print, "never")
            prepare.start(lambda: soon.start(fired.append, "due"))
            while not fired:
                loop.run(once=True)
        assert fired == ["due"]

    @pytest.mark.parametrize("name", ["prepare", "check"])
    def test_a_watcher_of_a_moment_does_not_keep_the_poll_from_blocking(self, loop: ILoopCore, name: str) -> None:
        fired: list[float] = []
        begin = self.time()
        with loop.timer(5 * TICK) as timer, self._make(loop, name) as watcher:
            watcher.start(int)
            timer.start(lambda: fired.append(self.time()))
            loop.run(once=True)
        assert len(fired) == 1
        assert fired[0] >= begin + 5 * TICK
