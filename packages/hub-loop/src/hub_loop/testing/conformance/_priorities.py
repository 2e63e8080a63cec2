"""Priorities: whose callback comes first among the events of one turn.

From `MINPRI` to `MAXPRI`, 0 unless set: first comes what is above 0, then the callbacks that are queued, then what is
of 0, then what is below; among watchers of one priority it is first come, first served.  A loop in which both bounds
are 0 knows none, and is asked for none.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from hub_api import READ, WRITE, ILoopCore, IWatcher
from hub_loop.testing.conformance._kit import TICK, Kind, LoopKit, MakeWire, Wire, all_of, turn

MIXED = (0, -2, 1, 0, 2, -1, 2)
"""Priorities in the order of the starts."""
SORTED = (4, 6, 2, 0, 3, 5, 1)
"""Positions in MIXED in the order in which they must be called."""


class Priorities(LoopKit):
    """`priority` of timers, fds, posts, prepare, check and idle watchers."""

    @pytest.fixture
    def ranked_loop(self, loop: ILoopCore) -> ILoopCore:
        """The loop, if it knows more than one priority."""
        return self.only_if_ranked(loop)

    def only_if_ranked(self, loop: ILoopCore) -> ILoopCore:
        """The same loop; skips the test if it knows only one priority."""
        if loop.MINPRI == loop.MAXPRI:
            pytest.skip("the loop knows only one priority")
        return loop

    def _order(self, loop: ILoopCore, make: Callable[[int], IWatcher]) -> list[int]:
        called: list[int] = []
        watchers = [make(max(loop.MINPRI, min(loop.MAXPRI, priority))) for priority in MIXED]
        for number, watcher in enumerate(watchers):
            watcher.start(called.append, number)
        self.pass_time(2 * TICK)
        turn(loop)
        for watcher in watchers:
            watcher.close()
        return called

    def test_timers_of_one_turn_are_called_by_priority_then_in_the_order_of_their_deadlines(
        self, ranked_loop: ILoopCore
    ) -> None:
        assert self._order(ranked_loop, lambda priority: ranked_loop.timer(TICK, priority=priority)) == list(SORTED)

    def test_watchers_of_several_fds_are_called_by_priority(self, ranked_loop: ILoopCore, make_wire: MakeWire) -> None:
        # Which of several ready fds the system names first is its own affair; so each has a priority of its own.
        called: list[int] = []
        watchers = []
        for priority in range(ranked_loop.MINPRI, ranked_loop.MAXPRI + 1):
            watchers.append(ranked_loop.io(make_wire().fd, WRITE, priority=priority))
            watchers[-1].start(called.append, priority)
        turn(ranked_loop)
        for watcher in watchers:
            watcher.close()
        assert called == list(range(ranked_loop.MAXPRI, ranked_loop.MINPRI - 1, -1))

    def test_watchers_of_one_fd_are_called_by_priority_then_in_the_order_of_their_starts(
        self, ranked_loop: ILoopCore, wire: Wire
    ) -> None:
        assert self._order(ranked_loop, lambda priority: ranked_loop.io(wire.fd, WRITE, priority=priority)) == list(
            SORTED
        )

    def test_reader_and_writer_of_one_fd_are_called_by_priority(self, ranked_loop: ILoopCore, wire: Wire) -> None:
        called: list[str] = []
        wire.send()
        with (
            ranked_loop.io(wire.fd, READ, priority=ranked_loop.MINPRI) as reader,
            ranked_loop.io(wire.fd, WRITE, priority=ranked_loop.MAXPRI) as writer,
        ):
            reader.start(called.append, "reader")
            writer.start(called.append, "writer")
            turn(ranked_loop)
        assert called == ["writer", "reader"]

    @pytest.mark.parametrize("name", ["prepare", "check"])
    def test_watchers_of_one_moment_are_called_by_priority_then_in_the_order_of_their_starts(
        self, ranked_loop: ILoopCore, name: str
    ) -> None:
        make: Callable[..., IWatcher] = getattr(ranked_loop, name)
        assert self._order(ranked_loop, lambda priority: make(priority=priority)) == list(SORTED)

    def test_posts_of_one_turn_are_called_by_priority(self, ranked_loop: ILoopCore) -> None:
        called: list[int] = []
        posts = [ranked_loop.async_(priority=priority) for priority in (ranked_loop.MINPRI, 0, ranked_loop.MAXPRI)]
        for number, post in enumerate(posts):
            post.start(called.append, number)
            post.send()
        turn(ranked_loop)
        for post in posts:
            post.close()
        assert called == [2, 1, 0]

    def test_different_kinds_are_ranked_together_and_callbacks_stand_in_the_middle(
        self, ranked_loop: ILoopCore, wire: Wire
    ) -> None:
        loop, called = ranked_loop, list[str]()
        low, high = loop.MINPRI, loop.MAXPRI
        with (
            loop.timer(TICK, priority=low) as low_timer,
            loop.io(wire.fd, WRITE, priority=high) as high_io,
            loop.async_(priority=low) as low_post,
            loop.timer(TICK) as timer,
        ):
            low_timer.start(called.append, "low timer")
            high_io.start(called.append, "high io")
            low_post.start(called.append, "low post")
            timer.start(called.append, "timer")
            low_post.send()
            self.pass_time(2 * TICK)
            loop.run_callback(called.append, "callback")
            turn(loop)
        assert called[0] == "high io"
        assert called[1:3] == ["callback", "timer"]
        assert sorted(called[3:]) == ["low post", "low timer"]

    def test_an_event_of_a_priority_can_stop_the_ones_behind_it(self, ranked_loop: ILoopCore, wire: Wire) -> None:
        called: list[str] = []
        with (
            ranked_loop.io(wire.fd, WRITE) as later,
            ranked_loop.io(wire.fd, WRITE, priority=ranked_loop.MAXPRI) as first,
        ):
            later.start(called.append, "never")
            first.start(all_of(partial(called.append, "first"), later.stop))
            turn(ranked_loop)
        assert called == ["first"]

    def test_among_idle_watchers_only_those_of_the_highest_priority_are_called(self, ranked_loop: ILoopCore) -> None:
        called: list[str] = []
        high_priority = ranked_loop.MAXPRI
        low, high = ranked_loop.idle(priority=ranked_loop.MINPRI), ranked_loop.idle(priority=high_priority)
        high_too = ranked_loop.idle(priority=high_priority)
        low.start(called.append, "low")
        high.start(called.append, "high")
        high_too.start(called.append, "high too")
        turn(ranked_loop)
        assert called == ["high", "high too"]
        high.stop()
        high_too.stop()
        turn(ranked_loop)
        assert called == ["high", "high too", "low"]
        low.close()

    def test_a_busy_watcher_of_a_high_priority_does_not_starve_a_low_one(
        self, ranked_loop: ILoopCore, make_wire: MakeWire
    ) -> None:
        called: list[str] = []
        with (
            ranked_loop.io(make_wire().fd, WRITE, priority=ranked_loop.MAXPRI) as busy,
            ranked_loop.io(make_wire().fd, WRITE, priority=ranked_loop.MINPRI) as low,
        ):
            busy.start(called.append, "busy")  # ready in every turn
            low.start(called.append, "low")
            for _ in range(3):
                turn(ranked_loop)
        assert called == ["busy", "low"] * 3

    def test_a_priority_beyond_the_bounds_counts_as_the_bound(self, any_kind: Kind, loop: ILoopCore) -> None:
        for asked, got in ((loop.MAXPRI + 15, loop.MAXPRI), (loop.MINPRI - 15, loop.MINPRI), (None, 0), (0, 0)):
            with any_kind.make() as watcher:
                watcher.priority = asked
                assert watcher.priority == got
            if any_kind.name != "child":
                with any_kind.make(priority=asked) as watcher:
                    assert watcher.priority == got

    def test_the_priority_of_an_active_watcher_cannot_be_set(self, any_kind: Kind) -> None:
        with any_kind.make() as watcher:
            watcher.start(int)
            with pytest.raises(AttributeError):
                watcher.priority = 1
            assert watcher.priority == 0
            watcher.stop()
            watcher.priority = 0

    def test_a_priority_must_be_a_whole_number(self, any_kind: Kind) -> None:
        untyped: Any = "high"
        with any_kind.make() as watcher:
            with pytest.raises(TypeError):
                watcher.priority = untyped
            assert watcher.priority == 0
