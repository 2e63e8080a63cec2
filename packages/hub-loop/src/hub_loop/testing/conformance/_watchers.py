"""The life that watchers of all kinds share: idle, active, pending, closed."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest

from hub_api import ILoopCore, IWatcher
from hub_loop.testing.conformance._kit import ErrorLog, Kind, LoopKit, fail, turn


class Watchers(LoopKit):
    """`start`, `stop`, `close` and the attributes, for each kind of watcher."""

    def test_a_new_watcher_is_idle(self, any_kind: Kind, loop: ILoopCore) -> None:
        watcher = any_kind.make()
        assert not watcher.active
        assert not watcher.pending
        assert not watcher.closed
        assert watcher.callback is None
        assert watcher.args is None
        assert watcher.ref is True
        assert watcher.priority in (0, None)
        assert loop.activecnt == 0
        watcher.close()

    def test_a_watcher_knows_the_loop_in_which_it_counts(self, any_kind: Kind, loop: ILoopCore) -> None:
        with any_kind.make() as watcher:
            assert watcher.loop.activecnt == 0
            watcher.start(int)
            assert watcher.loop.activecnt == loop.activecnt == 1

    def test_a_started_watcher_is_active_and_names_its_callback(self, any_kind: Kind, loop: ILoopCore) -> None:
        with any_kind.make() as watcher:
            watcher.start(print, 1, "two")
            assert watcher.active
            assert not watcher.pending
            assert watcher.callback is print
            assert watcher.args == (1, "two")
            assert loop.activecnt == 1

    def test_a_started_watcher_calls_back_with_its_arguments(self, kind: Kind, loop: ILoopCore) -> None:
        seen: list[tuple[object, ...]] = []

        def note(*args: object) -> None:
            seen.append(args)

        with kind.make() as watcher:
            watcher.start(note, 1, "two")
            kind.happen(watcher)
            turn(loop)
        assert seen == [(1, "two")]

    def test_a_watcher_started_without_arguments_is_called_without(self, kind: Kind, loop: ILoopCore) -> None:
        seen: list[tuple[object, ...]] = []

        def note(*args: object) -> None:
            seen.append(args)

        with kind.make() as watcher:
            watcher.start(note)
            assert watcher.args == ()
            kind.happen(watcher)
            turn(loop)
        assert seen == [()]

    def test_a_stopped_watcher_is_idle_and_has_no_callback(self, any_kind: Kind, loop: ILoopCore) -> None:
        with any_kind.make() as watcher:
            watcher.start(print, "never")
            for _ in range(2):
                watcher.stop()
                assert not watcher.active
                assert not watcher.closed
                assert watcher.callback is None
                assert watcher.args is None
                assert loop.activecnt == 0

    def test_a_stopped_watcher_is_silent(self, kind: Kind, loop: ILoopCore) -> None:
        fired: list[str] = []
        with kind.make() as watcher:
            watcher.start(fired.append, "late")
            watcher.stop()
            kind.happen(watcher)
            turn(loop)
        assert fired == []

    def test_a_watcher_can_be_stopped_before_it_was_ever_started(self, any_kind: Kind, loop: ILoopCore) -> None:
        watcher = any_kind.make()
        watcher.stop()
        assert not watcher.active
        assert loop.activecnt == 0
        watcher.close()

    def test_a_stopped_watcher_can_be_started_again(self, kind: Kind, loop: ILoopCore) -> None:
        fired: list[int] = []
        with kind.make() as watcher:
            watcher.start(fired.append, 0)
            watcher.stop()
            for number in range(1, 2 if kind.once else 4):
                watcher.start(fired.append, number)
                assert watcher.active
                kind.happen(watcher)
                turn(loop)
                kind.calm()
                watcher.stop()
        assert fired == ([1] if kind.once else [1, 2, 3])

    def test_starting_an_active_watcher_replaces_its_callback_and_arguments(
        self, any_kind: Kind, loop: ILoopCore
    ) -> None:
        with any_kind.make() as watcher:
            watcher.start(print, "first")
            watcher.start(int, "second")
            assert watcher.callback is int
            assert watcher.args == ("second",)
            assert loop.activecnt == 1
            watcher.stop()
            assert loop.activecnt == 0

    def test_a_watcher_started_twice_calls_back_once(self, kind: Kind, loop: ILoopCore) -> None:
        fired: list[str] = []
        with kind.make() as watcher:
            watcher.start(fired.append, "first")
            watcher.start(fired.append, "second")
            kind.happen(watcher)
            turn(loop)
        assert fired == ["second"]

    @pytest.mark.parametrize("wrong", [None, "text", 3])
    def test_a_callback_that_cannot_be_called_is_refused_and_leaves_the_watcher_as_it_was(
        self, any_kind: Kind, loop: ILoopCore, wrong: Any
    ) -> None:
        with any_kind.make() as watcher:
            with pytest.raises(TypeError):
                watcher.start(wrong)
            assert not watcher.active
            assert loop.activecnt == 0
            watcher.start(print, "kept")
            with pytest.raises(TypeError):
                watcher.start(wrong)
            assert watcher.active
            assert watcher.callback is print
            assert watcher.args == ("kept",)

    def test_a_closed_watcher_is_idle_and_says_so(self, any_kind: Kind, loop: ILoopCore) -> None:
        watcher = any_kind.make()
        watcher.start(print)
        watcher.close()
        assert watcher.closed
        assert not watcher.active
        assert not watcher.pending
        assert watcher.callback is None
        assert loop.activecnt == 0

    def test_closing_and_stopping_a_closed_watcher_is_fine(self, any_kind: Kind) -> None:
        watcher = any_kind.make()
        watcher.close()
        watcher.close()
        watcher.stop()
        assert watcher.closed

    def test_a_closed_watcher_cannot_be_started(self, any_kind: Kind, loop: ILoopCore) -> None:
        watcher = any_kind.make()
        watcher.close()
        with pytest.raises(ValueError):
            watcher.start(print)
        assert not watcher.active
        assert loop.activecnt == 0

    def test_leaving_the_with_block_closes(self, any_kind: Kind) -> None:
        with any_kind.make() as watcher:
            watcher.start(print)
        assert watcher.closed
        assert not watcher.active
        with pytest.raises(ZeroDivisionError), any_kind.make() as watcher:
            raise ZeroDivisionError
        assert watcher.closed

    def test_callback_and_arguments_can_be_set_while_it_is_active(self, kind: Kind, loop: ILoopCore) -> None:
        fired: list[str] = []
        with kind.make() as watcher:
            watcher.start(print, "never")
            watcher.callback = fired.append
            watcher.args = ("set",)
            kind.happen(watcher)
            turn(loop)
        assert fired == ["set"]

    def test_a_watcher_whose_callback_was_taken_away_fires_into_nothing(self, kind: Kind, loop: ILoopCore) -> None:
        errors = ErrorLog()
        loop.error_handler = errors
        with kind.make() as watcher:
            watcher.start(print, "never")
            watcher.callback = None
            kind.happen(watcher)
            turn(loop)
            kind.calm()
        assert errors.seen == []

    def test_arguments_of_none_count_as_no_arguments(self, kind: Kind, loop: ILoopCore) -> None:
        fired: list[str] = []
        with kind.make() as watcher:
            watcher.start(lambda: fired.append("called"))
            watcher.args = None
            kind.happen(watcher)
            turn(loop)
        assert fired == ["called"]

    def test_callback_and_arguments_take_nothing_else(self, any_kind: Kind) -> None:
        wrong: Any = "text"
        with any_kind.make() as watcher:
            with pytest.raises(TypeError):
                watcher.callback = wrong
            with pytest.raises(TypeError):
                watcher.args = wrong
            assert watcher.callback is None
            assert watcher.args is None

    def test_a_watcher_without_ref_does_not_keep_the_loop_running(self, any_kind: Kind, loop: ILoopCore) -> None:
        with any_kind.make(ref=False) as watcher:
            assert watcher.ref is False
            watcher.start(int)
            assert loop.activecnt == 0
            assert loop.run() is False
            assert watcher.active

    def test_ref_can_be_changed_at_any_time_and_adjusts_the_count(self, any_kind: Kind, loop: ILoopCore) -> None:
        with any_kind.make() as watcher:
            watcher.ref = False
            assert loop.activecnt == 0
            watcher.start(int)
            assert loop.activecnt == 0
            watcher.ref = True
            watcher.ref = True
            assert loop.activecnt == 1
            watcher.ref = False
            assert loop.activecnt == 0
            watcher.ref = True
            watcher.stop()
            assert loop.activecnt == 0
            watcher.ref = False
            assert loop.activecnt == 0

    def test_in_its_callback_a_watcher_is_not_pending_and_may_stop_itself(self, kind: Kind, loop: ILoopCore) -> None:
        fired: list[bool] = []
        with kind.make() as watcher:

            def once() -> None:
                fired.append(watcher.pending)
                watcher.stop()

            watcher.start(once)
            for _ in range(3):
                kind.happen(watcher)
                turn(loop)
            assert fired == [False]
            assert not watcher.active
            assert watcher.callback is None

    def test_in_its_callback_a_watcher_may_close_itself(self, kind: Kind, loop: ILoopCore) -> None:
        fired: list[str] = []
        watcher = kind.make()

        def once() -> None:
            fired.append("closed itself")
            watcher.close()

        watcher.start(once)
        kind.happen(watcher)
        turn(loop)
        turn(loop)
        assert fired == ["closed itself"]
        assert watcher.closed
        assert loop.activecnt == 0

    def test_in_its_callback_a_watcher_may_be_started_again_with_another_callback(
        self, kind: Kind, loop: ILoopCore
    ) -> None:
        if kind.once:
            pytest.skip("its event happens once")
        fired: list[str] = []
        with kind.make() as watcher:

            def again() -> None:
                fired.append("first")
                kind.calm()
                watcher.stop()
                watcher.start(fired.append, "second")

            watcher.start(again)
            kind.happen(watcher)
            turn(loop)
            assert watcher.active
            assert loop.activecnt == 1
            kind.happen(watcher)
            turn(loop)
        assert fired == ["first", "second"]

    def test_an_event_that_was_seen_but_not_delivered_is_dropped_by_stop(self, kind: Kind, loop: ILoopCore) -> None:
        # Both watchers' events are there before either callback runs, and each callback stops the other watcher.
        fired: list[str] = []
        one, two = kind.make(), kind.make()

        def stop_other(other: IWatcher) -> None:
            fired.append("one of them")
            other.stop()
            assert not other.pending

        one.start(stop_other, two)
        two.start(stop_other, one)
        kind.happen(one)
        if kind.name == "async":
            kind.happen(two)
        turn(loop)
        one.close()
        two.close()
        assert fired == ["one of them"]

    def test_an_exception_in_the_callback_is_reported_with_the_watcher(self, kind: Kind, loop: ILoopCore) -> None:
        errors = ErrorLog()
        error = ZeroDivisionError("on purpose")
        loop.error_handler = errors
        with kind.make() as watcher:
            watcher.start(fail, error)
            kind.happen(watcher)
            turn(loop)
            assert errors.seen == [(watcher, error)]

    def test_after_an_exception_io_is_stopped_and_what_repeats_by_itself_goes_on(
        self, kind: Kind, loop: ILoopCore
    ) -> None:
        errors = ErrorLog()
        loop.error_handler = errors
        with kind.make() as watcher:
            watcher.start(fail, ZeroDivisionError("on purpose"))
            kind.happen(watcher)
            turn(loop)
            if kind.name in ("io", "timer"):
                assert not watcher.active
                assert watcher.callback is None
                assert loop.activecnt == 0
            elif not kind.once:
                assert watcher.active
                kind.happen(watcher)
                turn(loop)
                assert len(errors.seen) == 2

    def test_the_loop_keeps_a_started_watcher_alive(self, kind: Kind, loop: ILoopCore) -> None:
        fired: list[str] = []
        watcher: IWatcher | None = kind.make()
        assert watcher is not None
        watcher.start(fired.append, "alive")
        kind.happen(watcher)
        looked_at = weakref.ref(watcher)
        watcher = None
        gc.collect()
        turn(loop)
        assert fired == ["alive"]
        left = looked_at()
        if left is not None:
            left.close()

    def test_a_watcher_that_was_never_started_may_be_dropped(self, any_kind: Kind) -> None:
        looked_at = weakref.ref(any_kind.make())
        gc.collect()
        assert looked_at() is None

    def test_a_closed_watcher_may_be_dropped(self, any_kind: Kind) -> None:
        watcher = any_kind.make()
        watcher.start(int)
        watcher.close()
        looked_at = weakref.ref(watcher)
        del watcher
        gc.collect()
        assert looked_at() is None
