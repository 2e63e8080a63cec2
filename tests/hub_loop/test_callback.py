"""Callbacks: what `run_callback` returns, and in which order what was queued runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub_loop import Loop
from hub_loop._callback import Callback

if TYPE_CHECKING:
    from hub_loop.testing import ManualClock


def test_callbacks_run_once_each_first_in_first_out(loop: Loop) -> None:
    ran: list[int] = []
    for number in range(200):
        loop.run_callback(ran.append, number)
    loop.run()
    assert ran == list(range(200))
    loop.run()
    assert ran == list(range(200))


def test_a_callback_without_arguments_and_one_with_several_get_what_they_were_given(loop: Loop) -> None:
    seen: list[tuple[object, ...]] = []

    def note(*args: object) -> None:
        seen.append(args)

    loop.run_callback(note)
    loop.run_callback(note, 1, "two", None)
    loop.run()
    assert seen == [(), (1, "two", None)]


def test_a_callback_is_pending_until_it_starts_and_true_until_it_has_run(loop: Loop) -> None:
    states: list[tuple[bool, bool]] = []

    def look(argument: str) -> None:
        states.append((callback.pending, bool(callback)))
        assert callback.args == ("argument",)
        assert "running" in repr(callback)

    callback = loop.run_callback(look, "argument")
    assert (callback.pending, bool(callback)) == (True, True)
    assert callback.callback is look
    assert callback.args == ("argument",)
    assert "pending" in repr(callback)
    loop.run()
    assert states == [(False, True)]
    assert (callback.pending, bool(callback)) == (False, False)
    assert callback.callback is None
    assert callback.args is None
    assert "stopped" in repr(callback)


@pytest.mark.parametrize("end", [Callback.stop, Callback.close])
def test_a_stopped_callback_does_not_run_and_can_be_stopped_again(loop: Loop, end: Callable[[Callback], None]) -> None:
    ran: list[str] = []
    callback = loop.run_callback(ran.append, "stopped")
    loop.run_callback(ran.append, "other")
    end(callback)
    end(callback)
    assert not callback
    assert not callback.pending
    loop.run()
    assert ran == ["other"]


def test_a_stopped_callback_still_counts_until_it_leaves_the_queue(loop: Loop) -> None:
    callback = loop.run_callback(print)
    callback.stop()
    assert loop.pendingcnt == 1
    assert loop.run() is False
    assert loop.pendingcnt == 0


def test_stopping_a_callback_while_it_runs_does_no_harm(loop: Loop) -> None:
    ran: list[str] = []

    def stop_itself() -> None:
        callback.stop()
        ran.append("stopped itself")

    callback = loop.run_callback(stop_itself)
    loop.run_callback(ran.append, "next")
    loop.run()
    assert ran == ["stopped itself", "next"]


def test_a_callback_that_a_callback_queues_runs_in_the_same_batch(loop: Loop) -> None:
    ran: list[str] = []

    def first() -> None:
        ran.append("first")
        loop.run_callback(ran.append, "queued by the first")

    loop.run_callback(first)
    loop.run_callback(ran.append, "second")
    loop.run(nowait=True)
    assert ran == ["first", "second", "queued by the first"]


def test_the_arguments_of_a_queued_callback_can_be_replaced(loop: Loop) -> None:
    ran: list[str] = []
    callback = loop.run_callback(ran.append, "before")
    callback.args = ("after",)
    loop.run()
    assert ran == ["after"]


def test_what_is_not_callable_is_refused_at_the_call(loop: Loop) -> None:
    with pytest.raises(TypeError, match=r"'text'.*must be callable"):
        loop.run_callback("text")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"None.*must be callable"):
        loop.run_callback_threadsafe(None)  # type: ignore[arg-type]
    assert loop.pendingcnt == 0


@pytest.mark.parametrize("loop", ["fake"], indirect=True)
def test_a_batch_that_feeds_itself_ends_after_its_share_of_time_so_that_the_loop_polls(
    loop: Loop, clock: ManualClock
) -> None:
    ran = 0
    turns: list[int] = []

    def burn() -> None:
        nonlocal ran
        ran += 1
        clock.advance(0.0005)
        if len(turns) < 4:
            loop.run_callback(burn)

    with loop.check() as polled:
        polled.start(lambda: turns.append(ran))
        loop.run_callback(burn)
        while loop.pendingcnt or loop.iteration == 0:
            loop.run(nowait=True)
    # A batch looks at the clock after every 50 calls, which take 25 ms here, and has 5 ms.
    assert turns[:3] == [0, 50, 100]


@pytest.mark.parametrize("loop", ["fake"], indirect=True)
def test_a_long_queue_is_worked_off_over_several_turns_in_order(loop: Loop, clock: ManualClock) -> None:
    ran: list[int] = []

    def burn(number: int) -> None:
        clock.advance(0.001)
        ran.append(number)

    for number in range(1000):
        loop.run_callback(burn, number)
    loop.run()
    assert ran == list(range(1000))
    assert loop.iteration > 5


@settings(deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("run"), st.integers(0, 3)),  # queue one that queues so many others when it runs
            st.tuples(st.just("stop"), st.integers(0, 20)),
            st.tuples(st.just("turn"), st.just(0)),
        )
    )
)
def test_callbacks_behave_as_a_list_does(script: list[tuple[str, int]]) -> None:
    loop = Loop("select")
    made: list[Callback] = []
    ran: list[int] = []
    model: list[tuple[int, int]] = []
    expected: list[int] = []
    next_expected_child = -1
    next_child = -1

    def work(number: int, children: int) -> None:
        nonlocal next_child
        ran.append(number)
        for _ in range(children):
            loop.run_callback(work, next_child, 0)
            next_child -= 1

    try:
        for step, value in script:
            if step == "run":
                model.append((len(made), value))
                made.append(loop.run_callback(work, len(made), value))
            elif step == "stop" and value < len(made):
                made[value].stop()
                model = [entry for entry in model if entry[0] != value]
            else:
                loop.run(nowait=True)
                while model:
                    number, children = model.pop(0)
                    expected.append(number)
                    for _ in range(children):
                        model.append((next_expected_child, 0))
                        next_expected_child -= 1
            assert ran == expected
    finally:
        loop.destroy()
