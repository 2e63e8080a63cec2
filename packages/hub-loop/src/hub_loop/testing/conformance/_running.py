"""Running: how long `run` goes on, what it returns, what keeps it going, and what the clock says meanwhile."""

from __future__ import annotations

import select
import threading
from typing import Any

from hub_api import READ, ILoopCore
from hub_loop.testing.conformance._kit import TICK, ErrorLog, LoopKit, WhenAsleep, Wire, turn


class Running(LoopKit):
    """`run`, `break_`, `ref`, `unref`, the counts, `now`, `run_mark`, and a few names."""

    def test_run_returns_at_once_when_nothing_is_left(self, loop: ILoopCore) -> None:
        assert loop.run() is False
        assert loop.run(once=True) is False
        assert loop.run(nowait=True) is False

    def test_run_goes_on_until_nothing_is_left(self, loop: ILoopCore) -> None:
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

    def test_nowait_does_not_block_and_says_whether_anything_is_left(self, loop: ILoopCore) -> None:
        with loop.timer(3600.0) as timer:
            timer.start(print, "never")
            assert loop.run(nowait=True) is True
            timer.stop()
            assert loop.run(nowait=True) is False

    def test_nowait_takes_one_turn_and_no_more(self, loop: ILoopCore) -> None:
        turns: list[str] = []
        with loop.prepare() as prepare:
            prepare.start(turns.append, "turn")
            loop.run(nowait=True)
            assert turns == ["turn"]
            loop.run(nowait=True)
            assert turns == ["turn", "turn"]

    def test_nowait_delivers_what_is_unreferenced_too(self, loop: ILoopCore) -> None:
        called: list[str] = []
        with loop.check(ref=False) as check:
            check.start(called.append, "check")
            assert loop.run(nowait=True) is False
        assert called == ["check"]

    def test_once_blocks_until_there_is_something_to_do(self, loop: ILoopCore) -> None:
        fired: list[float] = []
        begin = self.time()
        with loop.timer(5 * TICK) as timer:
            timer.start(lambda: fired.append(self.time()))
            assert loop.run(once=True) is False
        assert len(fired) == 1
        assert fired[0] >= begin + 5 * TICK

    def test_once_takes_one_turn_and_says_whether_anything_is_left(self, loop: ILoopCore) -> None:
        turns: list[str] = []
        with loop.prepare() as prepare, loop.timer(3600.0) as timer:
            prepare.start(turns.append, "turn")
            timer.start(print, "never")
            loop.run_callback(int)
            assert loop.run(once=True) is True
        assert turns == ["turn"]

    def test_once_does_not_block_when_nothing_is_referenced(self, loop: ILoopCore) -> None:
        with loop.timer(3600.0, ref=False) as timer:
            timer.start(print, "never")
            assert loop.run(once=True) is False

    def test_run_can_be_called_again_and_again(self, loop: ILoopCore) -> None:
        ran: list[int] = []
        for number in range(3):
            loop.run_callback(ran.append, number)
            assert loop.run() is False
        assert ran == [0, 1, 2]

    def test_break_ends_run_after_the_turn(self, loop: ILoopCore) -> None:
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

    def test_break_in_a_prepare_watcher_keeps_the_poll_from_blocking(self, loop: ILoopCore) -> None:
        with loop.timer(3600.0) as timer, loop.prepare() as prepare:
            timer.start(print, "never")
            prepare.start(loop.break_)
            assert loop.run() is True

    def test_a_broken_run_can_be_taken_up_again(self, loop: ILoopCore) -> None:
        fired: list[str] = []
        with loop.timer(TICK) as timer:
            timer.start(fired.append, "due")
            loop.run_callback(loop.break_)
            loop.run()
            assert loop.run() is False
        assert fired == ["due"]

    def test_ref_keeps_run_from_returning_and_unref_takes_it_back(self, loop: ILoopCore) -> None:
        loop.ref()
        loop.ref()
        assert loop.activecnt == 2
        assert loop.run(nowait=True) is True
        loop.unref()
        assert loop.run(nowait=True) is True
        loop.unref()
        assert loop.activecnt == 0
        assert loop.run() is False

    def test_unref_lets_run_return_in_spite_of_an_active_watcher(self, loop: ILoopCore) -> None:
        with loop.timer(3600.0) as timer:
            timer.start(print, "never")
            loop.unref()
            assert loop.activecnt == 0
            assert loop.run() is False
            loop.ref()
            assert loop.activecnt == 1

    def test_a_callback_counts_as_pending_and_as_active(self, loop: ILoopCore) -> None:
        loop.run_callback(int)
        loop.run_callback_threadsafe(int)
        assert loop.pendingcnt == 2
        assert loop.activecnt == 2
        loop.run()
        assert loop.pendingcnt == loop.activecnt == 0

    def test_an_event_counts_as_pending_from_the_poll_to_its_callback(self, loop: ILoopCore, wire: Wire) -> None:
        counts: list[int] = []
        with loop.io(wire.fd, READ) as reader, loop.check() as check:
            check.start(lambda: counts.append(loop.pendingcnt))
            reader.start(wire.read)
            wire.send()
            turn(loop)
        assert counts == [1]
        assert loop.pendingcnt == 0

    def test_a_loop_cannot_be_run_from_inside_itself(self, loop: ILoopCore) -> None:
        errors, ran = ErrorLog(), list[str]()
        loop.error_handler = errors
        callback = loop.run_callback(loop.run)
        loop.run()
        assert [context for context, _ in errors.seen] == [callback]
        loop.run_callback(ran.append, "usable")
        assert loop.run() is False
        assert ran == ["usable"]

    def test_another_loop_can_be_run_from_inside_a_callback(self, loop: ILoopCore) -> None:
        inner = self.make_loop()
        ran: list[str] = []
        inner.run_callback(ran.append, "inner")
        loop.run_callback(inner.run)
        loop.run()
        inner.destroy()
        assert ran == ["inner"]

    def test_the_same_script_gives_the_same_order(self, loop: ILoopCore) -> None:
        def play() -> list[str]:
            order: list[str] = []
            post = loop.async_()
            once, again = loop.timer(TICK), loop.timer(TICK / 2, 100.0)
            watchers: list[Any] = [loop.prepare(), loop.check(), loop.idle(), once, again, post]
            for number, watcher in enumerate(watchers):
                watcher.start(order.append, f"watcher {number}")
            for _ in range(4):
                loop.run_callback(order.append, "callback")
                post.send()
                self.pass_time(TICK)
                turn(loop)
            for watcher in watchers:
                watcher.close()
            return order

        first = play()
        assert len(first) > 12
        assert play() == first

    # -- the clock --------------------------------------------------------------------------------------------------

    def test_now_is_the_time_as_read_last_until_it_is_updated(self, loop: ILoopCore) -> None:
        begin = loop.now()
        self.pass_time(TICK)
        assert loop.now() == begin
        loop.update_now()
        assert begin + TICK <= loop.now() <= self.time()

    def test_a_turn_reads_the_clock(self, loop: ILoopCore) -> None:
        seen: list[float] = []
        before = self.time()
        self.pass_time(TICK)
        loop.timer(0.0).start(lambda: seen.append(loop.now()))
        turn(loop)
        assert before + TICK <= seen[0] <= self.time()

    def test_now_never_goes_back(self, loop: ILoopCore) -> None:
        seen = [loop.now()]
        for _ in range(20):
            turn(loop)
            seen.append(loop.now())
            loop.update_now()
            seen.append(loop.now())
        assert seen == sorted(seen)

    # -- run_mark ---------------------------------------------------------------------------------------------------

    def test_run_mark_takes_only_the_oldest_callback_and_only_a_mark(self, loop: ILoopCore) -> None:
        waiter = _Waiter()
        marks = {_Waiter.switch}
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

    def test_run_mark_does_not_take_a_mark_that_was_stopped(self, loop: ILoopCore) -> None:
        waiter = _Waiter()
        loop.run_callback(waiter.switch, "stopped").stop()
        assert loop.run_mark({_Waiter.switch}) is False
        loop.run()
        assert waiter.got == []

    def test_a_mark_that_raises_is_reported(self, loop: ILoopCore) -> None:
        errors = ErrorLog()
        loop.error_handler = errors
        failing = loop.run_callback(_Waiter().fail)
        assert loop.run_mark({_Waiter.fail}) is True
        assert [context for context, _ in errors.seen] == [failing]
        assert not failing

    def test_run_mark_lets_events_of_a_higher_priority_go_first(self, loop: ILoopCore) -> None:
        if loop.MAXPRI <= 0:
            return  # then no event goes before a callback
        waiter, taken = _Waiter(), list[bool]()

        def queue_and_try() -> None:
            loop.run_callback(waiter.switch, "mark")
            taken.append(loop.run_mark({_Waiter.switch}))

        with loop.timer(0.0, priority=loop.MAXPRI) as urgent, loop.check() as check:
            urgent.start(waiter.got.append, "urgent")
            check.start(queue_and_try)
            turn(loop)
        assert taken == [False]
        assert waiter.got == ["urgent", "mark"]

    # -- names ------------------------------------------------------------------------------------------------------

    def test_a_loop_says_what_it_is(self, loop: ILoopCore) -> None:
        assert isinstance(loop.default, bool)
        assert 0.0 < loop.approx_timer_resolution < 1.0
        assert loop.MINPRI <= 0 <= loop.MAXPRI
        assert loop.error_handler is None
        assert loop.fileno() is None or isinstance(loop.fileno(), int)

    def test_the_fileno_is_readable_when_there_is_something_to_do(self, loop: ILoopCore, wire: Wire) -> None:
        number = loop.fileno()
        if number is None:
            return  # a loop whose poller has none says so
        with loop.io(wire.fd, READ) as reader:
            reader.start(wire.read)
            turn(loop)
            assert select.select([number], [], [], 0)[0] == []
            wire.send()
            assert select.select([number], [], [], 0)[0] == [number]
            turn(loop)
            assert select.select([number], [], [], 0)[0] == []
        loop.wakeup()
        assert select.select([number], [], [], 0)[0] == [number]
        turn(loop)

    def test_a_loop_sleeps_while_it_blocks_and_at_no_other_time(self, loop: ILoopCore, when_asleep: WhenAsleep) -> None:
        seen: list[bool] = [loop.sleeping]
        blocked = threading.Event()

        def look() -> None:
            seen.append(loop.sleeping)
            blocked.set()
            loop.wakeup()

        loop.run_callback(lambda: seen.append(loop.sleeping))
        turn(loop)
        loop.ref()
        when_asleep(look)
        while not blocked.is_set():
            loop.run(once=True)
        loop.unref()
        seen.append(loop.sleeping)
        assert seen == [False, False, True, False]


class _Waiter:
    """What a hub's waiter is to a loop: an object with a method that only marks."""

    def __init__(self) -> None:
        self.got: list[str] = []

    def switch(self, value: str) -> None:
        self.got.append(value)

    def fail(self) -> None:
        raise ZeroDivisionError
