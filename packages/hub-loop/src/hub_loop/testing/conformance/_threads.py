"""Other threads: what they may do, that it ends a poll at once, and that they may do nothing else.

That a wake-up comes at once is shown by what would otherwise happen: no timer is active in these tests, so a poll that
nobody ends goes on until the test is given up.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial

import pytest

from hub_api import READ, ILoopCore, InvalidThreadUseError
from hub_loop.testing.conformance._kit import Kind, LoopKit, WhenAsleep, Wire, all_of, fail, in_thread, turn


class Threads(LoopKit):
    """`run_callback_threadsafe`, `wakeup`, `async_`, and the refusal of everything else."""

    def test_a_callback_from_another_thread_ends_a_blocking_poll(
        self, loop: ILoopCore, when_asleep: WhenAsleep
    ) -> None:
        ran_in: list[int] = []
        loop.ref()
        when_asleep(lambda: loop.run_callback_threadsafe(lambda: ran_in.append(threading.get_ident())))
        loop.run(once=True)
        loop.unref()
        assert ran_in == [threading.get_ident()]

    def test_callbacks_from_another_thread_run_in_the_order_they_were_posted(self, loop: ILoopCore) -> None:
        ran: list[int] = []

        def post() -> None:
            for number in range(1000):
                loop.run_callback_threadsafe(ran.append, number)

        assert in_thread(post) is None
        assert loop.pendingcnt == 1000
        assert loop.run() is False
        assert ran == list(range(1000))

    def test_callbacks_of_many_threads_all_run_each_threads_in_its_order(self, loop: ILoopCore) -> None:
        ran: list[tuple[int, int]] = []

        def post(which: int) -> None:
            for number in range(200):
                loop.run_callback_threadsafe(ran.append, (which, number))

        threads = [threading.Thread(target=post, args=(which,)) for which in range(4)]
        for thread in threads:
            thread.start()
        while len(ran) < 800:
            turn(loop)  # beside the posting
        for thread in threads:
            thread.join()
        for which in range(4):
            assert [number for thread, number in ran if thread == which] == list(range(200))

    def test_a_callback_from_another_thread_can_be_stopped_before_it_runs(self, loop: ILoopCore) -> None:
        ran: list[str] = []
        callback = loop.run_callback_threadsafe(ran.append, "never")
        assert callback.pending
        callback.stop()
        assert not callback.pending
        assert loop.run() is False
        assert ran == []

    def test_a_threadsafe_callback_keeps_run_from_returning(self, loop: ILoopCore) -> None:
        loop.run_callback_threadsafe(int)
        assert loop.activecnt == 1
        loop.run()
        assert loop.activecnt == 0

    def test_a_threadsafe_callback_that_raises_is_reported_with_it(
        self, loop: ILoopCore, capsys: pytest.CaptureFixture[str]
    ) -> None:
        callback = loop.run_callback_threadsafe(fail, ZeroDivisionError("on purpose"))
        loop.run()
        assert not callback
        assert "ZeroDivisionError: on purpose" in capsys.readouterr().err

    def test_wakeup_ends_a_blocking_poll(self, loop: ILoopCore, when_asleep: WhenAsleep) -> None:
        loop.ref()
        when_asleep(loop.wakeup)
        assert loop.run(once=True) is True
        loop.unref()

    def test_a_wakeup_before_the_poll_makes_it_not_block(self, loop: ILoopCore) -> None:
        loop.ref()
        for _ in range(3):
            loop.wakeup()
        loop.run(once=True)
        loop.unref()

    def test_wakeups_before_a_poll_are_one(self, loop: ILoopCore, when_asleep: WhenAsleep) -> None:
        ended: list[str] = []
        loop.ref()
        for _ in range(1000):
            loop.wakeup()
        loop.run(once=True)
        when_asleep(all_of(partial(ended.append, "by the second"), loop.wakeup))
        loop.run(once=True)  # blocks: of the first thousand nothing is left
        loop.unref()
        assert ended == ["by the second"]

    def test_a_wakeup_is_not_an_event(self, loop: ILoopCore) -> None:
        for _ in range(10):
            loop.wakeup()
        assert loop.pendingcnt == loop.activecnt == 0
        assert loop.run() is False

    # -- posts ------------------------------------------------------------------------------------------------------

    def test_an_async_watcher_calls_back_in_the_loops_thread_after_send_from_another(
        self, loop: ILoopCore, when_asleep: WhenAsleep
    ) -> None:
        ran_in: list[int] = []
        with loop.async_() as watcher:
            watcher.start(lambda: ran_in.append(threading.get_ident()))
            when_asleep(watcher.send)
            loop.run(once=True)
        assert ran_in == [threading.get_ident()]

    def test_sends_before_the_callback_count_as_one(self, loop: ILoopCore) -> None:
        called: list[str] = []
        with loop.async_() as watcher:
            watcher.start(called.append, "sent")
            watcher.send()
            watcher.send()
            in_thread(watcher.send)
            turn(loop)
            assert called == ["sent"]
            watcher.send()
            turn(loop)
        assert called == ["sent", "sent"]

    def test_an_async_watcher_is_pending_from_send_to_its_callback(self, loop: ILoopCore) -> None:
        seen: list[bool] = []
        with loop.async_() as watcher:
            watcher.start(lambda: seen.append(watcher.pending))
            seen.append(watcher.pending)
            watcher.send()
            seen.append(watcher.pending)
            turn(loop)
            seen.append(watcher.pending)
        assert seen == [False, True, False, False]

    def test_send_ignoring_arg_is_send(self, loop: ILoopCore) -> None:
        called: list[str] = []
        with loop.async_() as watcher:
            watcher.start(called.append, "sent")
            watcher.send_ignoring_arg("ignored")
            turn(loop)
        assert called == ["sent"]

    def test_a_send_in_the_callback_is_a_new_event(self, loop: ILoopCore) -> None:
        called: list[int] = []
        with loop.async_() as watcher:

            def again() -> None:
                called.append(len(called))
                if len(called) < 3:
                    watcher.send()

            watcher.start(again)
            watcher.send()
            for _ in range(5):
                turn(loop)
        assert called == [0, 1, 2]

    def test_a_send_before_start_is_lost(self, loop: ILoopCore) -> None:
        called: list[str] = []
        with loop.async_() as watcher:
            watcher.send()
            turn(loop)
            watcher.start(called.append, "never")
            turn(loop)
        assert called == []

    def test_a_send_dropped_by_stop_does_not_come_after_the_next_start(self, loop: ILoopCore) -> None:
        called: list[str] = []
        with loop.async_() as watcher:
            watcher.start(called.append, "old")
            watcher.send()
            watcher.stop()
            assert not watcher.pending
            watcher.start(called.append, "new")
            turn(loop)
            assert called == []
            watcher.send()
            turn(loop)
        assert called == ["new"]

    def test_a_send_after_a_stop_and_a_start_is_delivered_once(self, loop: ILoopCore) -> None:
        called: list[str] = []
        with loop.async_() as watcher:
            watcher.start(called.append, "old")
            watcher.send()
            watcher.stop()
            watcher.start(called.append, "new")
            watcher.send()
            for _ in range(3):
                turn(loop)
        assert called == ["new"]

    def test_a_send_to_a_closed_watcher_is_an_error(self, loop: ILoopCore) -> None:
        watcher = loop.async_()
        watcher.close()
        with pytest.raises(ValueError):
            watcher.send()

    # -- everything else --------------------------------------------------------------------------------------------

    def test_a_loops_methods_are_refused_in_another_thread(self, loop: ILoopCore, wire: Wire) -> None:
        calls: dict[str, Callable[[], object]] = {
            "run": loop.run,
            "break_": loop.break_,
            "update_now": loop.update_now,
            "ref": loop.ref,
            "unref": loop.unref,
            "run_callback": lambda: loop.run_callback(print),
            "register": lambda: loop.register(wire.fd, print),
            "closing_fd": lambda: loop.closing_fd(wire.fd),
        }
        answers = {name: type(in_thread(call)) for name, call in calls.items()}
        assert answers == dict.fromkeys(calls, InvalidThreadUseError)
        assert loop.activecnt == loop.pendingcnt == 0

    def test_an_idle_watcher_cannot_be_started_in_another_thread(self, any_kind: Kind, loop: ILoopCore) -> None:
        with any_kind.make() as watcher:
            assert isinstance(in_thread(lambda: watcher.start(print)), InvalidThreadUseError)
            assert not watcher.active
            assert watcher.callback is None
            assert loop.activecnt == 0

    def test_an_active_watcher_cannot_be_changed_in_another_thread(self, any_kind: Kind, loop: ILoopCore) -> None:
        with any_kind.make() as watcher:
            watcher.start(print, "kept")
            calls: dict[str, Callable[[], object]] = {
                "start": lambda: watcher.start(int),
                "stop": watcher.stop,
                "close": watcher.close,
                "ref": lambda: setattr(watcher, "ref", False),
            }
            answers = {name: type(in_thread(call)) for name, call in calls.items()}
            assert answers == dict.fromkeys(calls, InvalidThreadUseError)
            assert watcher.active
            assert not watcher.closed
            assert watcher.args == ("kept",)
            assert loop.activecnt == 1

    def test_a_timer_cannot_be_put_off_in_another_thread(self, loop: ILoopCore) -> None:
        with loop.timer(3600.0, 3600.0) as timer:
            timer.start(print, "kept")
            assert isinstance(in_thread(lambda: timer.again(int)), InvalidThreadUseError)
            assert timer.active
            assert timer.args == ("kept",)

    @pytest.mark.parametrize("method", ["want", "unwant", "clear"])
    def test_a_registration_cannot_be_used_in_another_thread(self, loop: ILoopCore, wire: Wire, method: str) -> None:
        registration = loop.register(wire.fd, int)
        turn(loop)
        before = (registration.ready, loop.activecnt)
        assert isinstance(in_thread(lambda: getattr(registration, method)(READ)), InvalidThreadUseError)
        assert (registration.ready, loop.activecnt) == before
        registration.close()

    def test_a_running_loop_cannot_be_destroyed_in_another_thread(self, loop: ILoopCore) -> None:
        errors: list[BaseException | None] = []
        ran: list[str] = []
        loop.run_callback(lambda: errors.append(in_thread(loop.destroy)))
        loop.run_callback(ran.append, "next")
        loop.run()
        assert isinstance(errors[0], InvalidThreadUseError)
        assert ran == ["next"]
