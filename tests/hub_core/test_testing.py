"""`hub_core.testing`: the order of steps, and what switches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import greenlet as greenlets
import pytest
from greenlet import getcurrent

from hub_core import Hub, InvalidThreadUseError, LoopExit, Waiter, kill, sleep, spawn_raw, wait_reason
from hub_core.testing import Sequencer, assert_no_switch, assert_switches
from hub_core.testing._switches import _tracer, switches_seen

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.hub_core.conftest import Elsewhere, Reports


class Failure(Exception):
    pass


# -- the sequencer ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("coming", [(0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1)])
def test_steps_are_passed_in_order_whoever_comes_first(hub: Hub, coming: tuple[int, ...]) -> None:
    sequencer, passed = Sequencer(), list[str]()

    def pass_step(number: int) -> None:
        with sequencer(number):
            passed.append(f"{number} begins")
            sleep(0)
            passed.append(f"{number} ends")

    for number in coming:
        spawn_raw(pass_step, number)
    hub.join()
    assert passed == [f"{number} {what}" for number in range(4) for what in ("begins", "ends")]


def test_greenlets_may_take_several_steps_in_turns(hub: Hub) -> None:
    sequencer, passed = Sequencer(hub), list[str]()

    def take(name: str, *numbers: int) -> None:
        for number in numbers:
            with sequencer(number):
                passed.append(f"{name}{number}")

    spawn_raw(take, "b", 1, 2, 5)
    spawn_raw(take, "a", 0, 3, 4)
    hub.join()
    assert passed == ["a0", "b1", "b2", "a3", "a4", "b5"]


def test_a_step_whose_turn_it_is_does_not_switch(hub: Hub) -> None:
    sequencer = Sequencer()
    with assert_no_switch():
        for number in range(3):
            with sequencer(number):
                pass


def test_an_error_in_a_step_is_raised_there_and_the_next_step_comes(hub: Hub) -> None:
    sequencer, passed = Sequencer(), list[int]()

    def pass_next() -> None:
        with sequencer(1):
            passed.append(1)

    spawn_raw(pass_next)
    sleep(0)
    with pytest.raises(Failure), sequencer(0):
        raise Failure
    hub.join()
    assert passed == [1]


@pytest.mark.parametrize("wrong", [-1, 1.5, "1", None])
def test_a_step_has_a_whole_number_from_0(hub: Hub, wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"steps are numbered 0, 1, 2 and so on, got "):
        Sequencer()(wrong)


def test_a_number_that_was_passed_or_that_another_waits_for_is_refused(hub: Hub) -> None:
    sequencer = Sequencer()

    def wait() -> None:
        with sequencer(2):
            pass

    waiting = spawn_raw(wait)
    sleep(0)
    with sequencer(0):
        pass
    for used in (0, 2):
        with (
            pytest.raises(RuntimeError, match=rf"cannot enter <step {used} of Sequencer .*this one is used"),
            sequencer(used),
        ):
            pytest.fail("the step was entered")
    assert f"next=1 waiting=[{2}]" in repr(sequencer)
    with sequencer(1):
        pass
    hub.join()
    assert waiting.dead


def test_a_parked_step_is_the_reason_of_its_wait_and_knows_whom_it_waits_for(hub: Hub) -> None:
    sequencer, go_on = Sequencer(), Waiter()

    def pass_step(number: int) -> None:
        with sequencer(number):
            if number == 0:
                go_on.get()

    first, second, fourth = (spawn_raw(pass_step, number) for number in (0, 1, 3))
    sleep(0)
    step = wait_reason(second)
    assert repr(step).startswith("<step 1 of Sequencer")
    assert getattr(step, "owner", None) is first
    orphan = wait_reason(fourth)
    assert repr(orphan).startswith("<step 3 of Sequencer")
    assert getattr(orphan, "owner", first) is None
    go_on.switch(None)
    hub.join()
    assert second.dead
    assert not fourth.dead
    kill(fourth)
    hub.join()


def test_steps_behind_one_that_was_killed_are_told_and_those_before_it_pass(hub: Hub, reports: Reports) -> None:
    sequencer, passed, told = Sequencer(), list[int](), list[str]()

    def pass_step(number: int) -> None:
        try:
            with sequencer(number):
                passed.append(number)
        except RuntimeError as error:
            told.append(str(error))

    two, three, five = (spawn_raw(pass_step, number) for number in (2, 3, 5))
    sleep(0)
    kill(three)
    sleep(0)
    assert three.dead
    sleep(0)
    assert five.dead
    assert not two.dead
    spawn_raw(pass_step, 4)
    spawn_raw(pass_step, 1)
    spawn_raw(pass_step, 0)
    hub.join()
    assert passed == [0, 1, 2]
    assert [text.partition(" cannot pass ")[2].split(" of ")[0] for text in told] == ["<step 5", "<step 4"]
    assert all("step 3 was given up while it waited, so no later one can come" in text for text in told)
    assert "next=3 waiting=[5] given up at 3" in repr(sequencer)


def test_a_lower_step_that_is_given_up_later_tells_those_between(hub: Hub) -> None:
    sequencer, told = Sequencer(), list[int]()

    def pass_step(number: int) -> None:
        try:
            with sequencer(number):
                pytest.fail("the step was entered")
        except RuntimeError:
            told.append(number)

    one, _, three = (spawn_raw(pass_step, number) for number in (1, 2, 3))
    sleep(0)
    kill(three)
    sleep(0)
    assert told == []
    kill(one)
    hub.join()
    assert told == [2]


def test_a_step_that_is_out_of_turn_in_a_callback_is_refused_and_may_come_again(hub: Hub, reports: Reports) -> None:
    sequencer, passed = Sequencer(), list[int]()

    def pass_step(number: int) -> None:
        with sequencer(number):
            passed.append(number)

    hub.loop.run_callback(pass_step, 1)
    hub.loop.run_callback(pass_step, 0)
    hub.join()
    assert passed == [0]
    assert "BlockingSwitchOutError" in reports.take()
    pass_step(1)
    assert passed == [0, 1]


def test_another_thread_is_refused_at_the_step(hub: Hub, elsewhere: Elsewhere) -> None:
    sequencer = Sequencer()

    def enter() -> None:
        with sequencer(0):
            pytest.fail("the step was entered")

    with pytest.raises(InvalidThreadUseError, match=r"cannot enter <step 0 of Sequencer"):
        elsewhere(enter)
    with sequencer(0):
        pass


def test_a_missing_step_is_a_hang_that_names_who_waits(hub: Hub) -> None:
    sequencer = Sequencer()
    with pytest.raises(LoopExit), sequencer(1):
        pytest.fail("the step was entered")
    with pytest.raises(RuntimeError, match="step 1 was given up"), sequencer(2):
        pytest.fail("the step was entered")


# -- what switches ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call",
    [
        lambda hub: sleep(0),
        lambda hub: sleep(0.001),
        lambda hub: hub.join(),
        lambda hub: hub.loop.run_callback(getcurrent().switch) and hub.switch(),
    ],
    ids=["sleep 0, with nobody else", "sleep", "join", "a stranger's switch"],
)
def test_what_lets_others_run_switches(hub: Hub, call: Callable[[Hub], object]) -> None:
    with assert_switches():
        call(hub)
    spawn_raw(int)
    with pytest.raises(AssertionError, match=r"was not to .* run, and switched to <"), assert_no_switch():
        call(hub)
    assert greenlets.gettrace() is None


def test_what_is_there_already_does_not_switch(hub: Hub) -> None:
    waiter = Waiter()
    waiter.switch("stored")
    with assert_no_switch():
        waiter.get()
        spawn_raw(int)
        hub.loop.run_callback(int)
    with pytest.raises(AssertionError, match=r"was to let .* run, and did not switch"), assert_switches():
        waiter.get()
    assert greenlets.gettrace() is None
    hub.join()


@pytest.mark.parametrize("check", [assert_switches, assert_no_switch])
def test_an_error_in_the_block_is_the_one_that_is_raised(hub: Hub, check: Callable[[], Any]) -> None:
    with pytest.raises(Failure), check():
        if check is assert_no_switch:
            sleep(0)
        raise Failure
    assert greenlets.gettrace() is None


def test_a_tracer_that_was_there_is_told_of_everything_and_is_there_again(hub: Hub) -> None:
    events: list[str] = []

    def told(event: str, pair: object) -> None:
        events.append(event)

    greenlets.settrace(told)
    try:
        with assert_switches():
            sleep(0)
        assert greenlets.gettrace() is told
        assert set(events) == {"switch"}
    finally:
        greenlets.settrace(None)


def test_what_greenlet_tells_is_passed_on_word_for_word(hub: Hub) -> None:
    # Called by hand: no measure of coverage sees what runs in greenlet's tracer.
    told: list[tuple[str, Any]] = []
    pair = (getcurrent(), hub)
    greenlets.settrace(lambda event, pair: told.append((event, pair)))
    try:
        with switches_seen() as outer, switches_seen() as inner:
            _tracer.told("throw", pair)
    finally:
        greenlets.settrace(None)
    assert outer == inner == [pair]
    assert told == [("throw", pair)]


def test_a_tracer_that_somebody_sets_meanwhile_stays(hub: Hub) -> None:
    def stranger(event: str, pair: object) -> None: ...

    with assert_no_switch():
        greenlets.settrace(stranger)
    assert greenlets.gettrace() is stranger
    greenlets.settrace(None)
    with assert_switches():
        sleep(0)


def test_blocks_of_several_greenlets_may_overlap_and_each_sees_its_own(hub: Hub) -> None:
    waiter, ended = Waiter(), list[str]()

    def first() -> None:
        with assert_switches():
            waiter.get()
        ended.append("first")

    def second() -> None:
        with assert_switches():
            waiter.switch(None)
            sleep(0)
            sleep(0)
        with pytest.raises(AssertionError, match="did not switch"), assert_switches():
            pass
        ended.append("second")

    spawn_raw(first)
    spawn_raw(second)
    hub.join()
    assert ended == ["first", "second"]
    assert greenlets.gettrace() is None


def test_in_a_callback_one_can_assert_that_nothing_switches(hub: Hub) -> None:
    def mark() -> None:
        with assert_no_switch():
            Waiter().switch(None)
        done.append("marked")

    done: list[str] = []
    hub.loop.run_callback(mark)
    hub.join()
    assert done == ["marked"]
