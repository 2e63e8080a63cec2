"""The life that watchers of all kinds share: idle, active, pending, closed."""

from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from hub_loop import Loop
from hub_loop._watcher import Watcher

if TYPE_CHECKING:
    from tests.hub_loop.conftest import Kind


def turn(loop: Loop) -> None:
    loop.run(nowait=True)


def test_a_new_watcher_is_idle(kind: Kind, loop: Loop) -> None:
    watcher = kind.make()
    assert watcher.loop is loop
    assert not watcher.active
    assert not watcher.pending
    assert not watcher.closed
    assert watcher.callback is None
    assert watcher.args is None
    assert watcher.ref is True
    assert watcher.priority == 0
    assert loop.activecnt == 0
    watcher.close()


def test_a_started_watcher_calls_back_with_its_arguments(kind: Kind, loop: Loop) -> None:
    seen: list[tuple[object, ...]] = []

    def note(*args: object) -> None:
        seen.append(args)

    with kind.make() as watcher:
        watcher.start(note, 1, "two")
        assert watcher.active
        assert watcher.callback is note
        assert watcher.args == (1, "two")
        assert loop.activecnt == 1
        kind.happen(watcher)
        turn(loop)
        assert seen == [(1, "two")]


def test_a_stopped_watcher_is_idle_and_silent_and_has_no_callback(kind: Kind, loop: Loop) -> None:
    fired: list[str] = []
    with kind.make() as watcher:
        watcher.start(fired.append, "late")
        watcher.stop()
        assert not watcher.active
        assert watcher.callback is None
        assert watcher.args is None
        assert loop.activecnt == 0
        kind.happen(watcher)
        turn(loop)
        assert fired == []
        watcher.stop()
        assert loop.activecnt == 0


def test_a_watcher_can_be_stopped_before_it_was_ever_started(kind: Kind, loop: Loop) -> None:
    watcher = kind.make()
    watcher.stop()
    assert not watcher.active
    assert loop.activecnt == 0
    watcher.close()


def test_a_stopped_watcher_can_be_started_again(kind: Kind, loop: Loop) -> None:
    fired: list[int] = []
    with kind.make() as watcher:
        for number in range(3):
            watcher.start(fired.append, number)
            assert watcher.active
            kind.happen(watcher)
            turn(loop)
            kind.calm()
            watcher.stop()
        assert fired == [0, 1, 2]


def test_starting_an_active_watcher_replaces_only_its_callback_and_arguments(kind: Kind, loop: Loop) -> None:
    fired: list[str] = []
    with kind.make() as watcher:
        watcher.start(fired.append, "first")
        watcher.start(fired.append, "second")
        assert watcher.args == ("second",)
        assert loop.activecnt == 1
        kind.happen(watcher)
        turn(loop)
        assert fired == ["second"]


@pytest.mark.parametrize("wrong", [None, "text", 3])
def test_a_callback_that_cannot_be_called_is_refused_and_leaves_the_watcher_as_it_was(
    kind: Kind, loop: Loop, wrong: Any
) -> None:
    with kind.make() as watcher:
        with pytest.raises(TypeError, match="must be callable"):
            watcher.start(wrong)
        assert not watcher.active
        assert loop.activecnt == 0
        watcher.start(print, "kept")
        with pytest.raises(TypeError, match="must be callable"):
            watcher.start(wrong)
        assert watcher.active
        assert watcher.callback is print
        assert watcher.args == ("kept",)


def test_a_closed_watcher_is_idle_says_so_and_cannot_be_started(kind: Kind, loop: Loop) -> None:
    watcher = kind.make()
    watcher.start(print)
    watcher.close()
    assert watcher.closed
    assert not watcher.active
    assert watcher.callback is None
    assert loop.activecnt == 0
    assert "closed" in repr(watcher)
    watcher.close()
    watcher.stop()
    with pytest.raises(ValueError, match=r"was closed; ask the loop for a new watcher"):
        watcher.start(print)
    assert not watcher.active
    assert loop.activecnt == 0


def test_leaving_the_with_block_closes(kind: Kind, loop: Loop) -> None:
    with kind.make() as watcher:
        watcher.start(print)
    assert watcher.closed
    assert not watcher.active
    with pytest.raises(ZeroDivisionError), kind.make() as watcher:
        raise ZeroDivisionError
    assert watcher.closed


def test_callback_and_arguments_can_be_set_while_it_is_active(kind: Kind, loop: Loop) -> None:
    fired: list[str] = []
    with kind.make() as watcher:
        watcher.start(print, "never")
        watcher.callback = fired.append
        watcher.args = ("set",)
        kind.happen(watcher)
        turn(loop)
        assert fired == ["set"]


def test_a_watcher_whose_callback_was_taken_away_fires_into_nothing(kind: Kind, loop: Loop) -> None:
    with kind.make() as watcher:
        watcher.start(print, "never")
        watcher.callback = None
        kind.happen(watcher)
        turn(loop)
        kind.calm()


def test_arguments_of_none_count_as_no_arguments(kind: Kind, loop: Loop) -> None:
    fired: list[str] = []
    with kind.make() as watcher:
        watcher.start(lambda: fired.append("called"))
        watcher.args = None
        kind.happen(watcher)
        turn(loop)
        assert fired == ["called"]


def test_callback_and_arguments_take_nothing_else(kind: Kind) -> None:
    with kind.make() as watcher:
        with pytest.raises(TypeError, match="must be callable or None, got 'text'"):
            watcher.callback = "text"  # type: ignore[assignment]
        with pytest.raises(TypeError, match=r"must be a tuple or None, got \[1\]"):
            watcher.args = [1]  # type: ignore[assignment]


def test_a_watcher_without_ref_does_not_keep_the_loop_running(kind: Kind, loop: Loop) -> None:
    with kind.make(ref=False) as watcher:
        assert watcher.ref is False
        watcher.start(lambda: None)
        assert loop.activecnt == 0
        assert loop.run() is False
        assert watcher.active
        assert "unref" in repr(watcher)


def test_ref_can_be_changed_at_any_time_and_adjusts_the_count(kind: Kind, loop: Loop) -> None:
    with kind.make() as watcher:
        watcher.ref = False
        assert loop.activecnt == 0
        watcher.start(lambda: None)
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


@pytest.mark.parametrize(("asked", "got"), [(None, 0), (0, 0), (1, 1), (-2, -2), (17, 2), (-17, -2)])
def test_priorities_are_clamped(kind: Kind, loop: Loop, asked: int | None, got: int) -> None:
    with kind.make(priority=asked) as watcher:
        assert watcher.priority == got
        watcher.priority = 0
        watcher.priority = asked
        assert watcher.priority == got
    assert (loop.MINPRI, loop.MAXPRI) == (-2, 2)


def test_the_priority_of_an_active_watcher_cannot_be_set(kind: Kind) -> None:
    with kind.make() as watcher:
        watcher.start(lambda: None)
        with pytest.raises(AttributeError, match="while it is active; stop it first"):
            watcher.priority = 1
        assert watcher.priority == 0
        watcher.stop()
        watcher.priority = 1
        assert watcher.priority == 1


def test_the_repr_says_the_kind_the_state_and_the_callback(kind: Kind) -> None:
    with kind.make() as watcher:
        assert repr(watcher).startswith(f"<{kind.name} at 0x")
        assert " idle" in repr(watcher)
        watcher.start(print, watcher, b"")
        assert " active" in repr(watcher)
        assert f"callback=<built-in function print> args=({type(watcher).__name__}, bytes)" in repr(watcher)


def test_in_its_callback_a_watcher_is_not_pending_and_may_stop_itself(kind: Kind, loop: Loop) -> None:
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


def test_in_its_callback_a_watcher_may_close_itself(kind: Kind, loop: Loop) -> None:
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


def test_in_its_callback_a_watcher_may_be_started_again_with_another_callback(kind: Kind, loop: Loop) -> None:
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
        if kind.name == "child":
            assert fired == ["first", "second"]  # the end is known: it is told again in the same batch
            return
        assert watcher.active
        assert loop.activecnt == 1
        kind.happen(watcher)
        turn(loop)
        assert fired == ["first", "second"]


def test_an_event_that_was_seen_but_not_delivered_is_dropped_by_stop(kind: Kind, loop: Loop) -> None:
    # Both watchers' events are there before either callback runs, and each callback stops the other watcher.
    fired: list[str] = []
    one, two = kind.make(), kind.make()

    def stop_other(other: Watcher) -> None:
        fired.append("one of them")
        other.stop()
        assert not other.pending

    one.start(stop_other, two)
    two.start(stop_other, one)
    kind.happen(one)
    if kind.name == "async":
        kind.happen(two)
    turn(loop)
    assert fired == ["one of them"]
    one.close()
    two.close()


class Errors:
    """An error handler that keeps what it is told."""

    def __init__(self) -> None:
        self.seen: list[tuple[object, str]] = []

    def handle_error(self, context: object, type: type[BaseException], value: BaseException, tb: object, /) -> None:
        self.seen.append((context, repr(value)))


def test_an_exception_in_the_callback_is_reported_with_the_watcher_and_the_loop_goes_on(kind: Kind, loop: Loop) -> None:
    errors = Errors()
    loop.error_handler = errors
    with kind.make() as watcher:

        def fail() -> None:
            raise ZeroDivisionError("on purpose")

        watcher.start(fail)
        kind.happen(watcher)
        turn(loop)
        assert errors.seen == [(watcher, "ZeroDivisionError('on purpose')")]


def test_after_an_exception_io_is_stopped_and_what_repeats_by_itself_goes_on(kind: Kind, loop: Loop) -> None:
    errors = Errors()
    loop.error_handler = errors
    with kind.make() as watcher:
        one_shot = kind.name == "child" or (kind.name == "timer" and "repeat" not in repr(watcher))

        def fail() -> None:
            raise ZeroDivisionError("on purpose")

        watcher.start(fail)
        kind.happen(watcher)
        turn(loop)
        if kind.name == "io" or one_shot:
            assert not watcher.active
            assert watcher.callback is None
            assert loop.activecnt == 0
        else:
            assert watcher.active
            kind.happen(watcher)
            turn(loop)
            assert len(errors.seen) == 2


def test_the_loop_keeps_a_started_watcher_alive(kind: Kind, loop: Loop) -> None:
    fired: list[str] = []
    watcher: Watcher | None = kind.make()
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


def test_a_watcher_that_was_never_started_may_be_dropped(kind: Kind) -> None:
    looked_at = weakref.ref(kind.make())
    gc.collect()
    assert looked_at() is None


def test_a_watcher_of_a_destroyed_loop_is_stopped_and_refuses_to_start(kind: Kind, loop: Loop) -> None:
    active, idle = kind.make(), kind.make()
    active.start(print)
    loop.destroy()
    assert not active.active
    assert active.callback is None
    for watcher in (active, idle):
        watcher.stop()
        with pytest.raises(ValueError, match=r"operation on destroyed loop|was closed"):
            watcher.start(print)
        watcher.close()
        watcher.close()


def test_a_kind_has_to_say_how_it_is_armed(loop: Loop) -> None:
    watcher = Watcher(loop)
    with pytest.raises(NotImplementedError):
        watcher.start(print)
    with pytest.raises(NotImplementedError):
        watcher.stop()
    assert not watcher.active
    assert loop.activecnt == 0
