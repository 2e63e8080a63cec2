"""What a loop tells of what it has done: turns, calls, sleep, progress.  Exact, on a clock that is moved by hand."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from hub_api import HubDestroyed
from hub_loop import Loop
from hub_loop._batch import _STRIDE
from hub_loop.testing import FakePoller, ManualClock

if TYPE_CHECKING:
    from tests.conftest import Kin

    from hub_api import ICountingLoop


@pytest.fixture
def poller(clock: ManualClock) -> FakePoller:
    """The poller of `counting`, which moves the clock instead of sleeping."""
    return FakePoller(clock)


@pytest.fixture
def counting(clock: ManualClock, poller: FakePoller) -> Loop:
    """A loop that has done nothing yet; it holds no fd but its wake fd, and is destroyed by the tests' end."""
    return Loop(default=False, poller=poller, clock=clock)


@pytest.fixture(autouse=True)
def destroyed(counting: Loop) -> object:
    """Ends the loop after the test."""
    yield
    counting.destroy()


def polled(loop: Loop) -> tuple[float, float | None]:
    """The same as the attribute, of which mypy would believe that it stays as it was once seen."""
    return loop.polled


def test_a_new_loop_has_counted_nothing(counting: Loop, clock: ManualClock) -> None:
    told: ICountingLoop = counting
    assert (told.iteration, told.calls, told.polled) == (0, 0, (0.0, None))
    assert told.made_at == told.clock() == clock()
    clock.advance(1.0)
    assert told.clock() == told.made_at + 1.0
    assert counting.now() == told.made_at, "to ask for the time is not to read it for the turn"


# -- calls ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, _STRIDE - 1, _STRIDE, _STRIDE + 1, 3 * _STRIDE])
def test_each_callback_is_one_call(counting: Loop, count: int) -> None:
    for _ in range(count):
        counting.run_callback(int)
    counting.run()
    assert counting.calls == count


def test_callbacks_that_callbacks_queue_and_stopped_ones_count_too(counting: Loop) -> None:
    counting.run_callback(lambda: counting.run_callback(int))
    counting.run_callback(int).stop()
    counting.run()
    assert counting.calls == 3


def test_a_callback_that_raises_counts_even_if_it_ends_the_batch(counting: Loop) -> None:
    def end() -> None:
        raise HubDestroyed(True)

    for function in (int, end, int):
        counting.run_callback(function)
    with pytest.raises(HubDestroyed):
        counting.run()
    assert counting.calls == 2  # the third was dropped


@pytest.mark.parametrize("count", [1, _STRIDE, _STRIDE + 1])
@pytest.mark.parametrize("priority", [0, 1, -1])
def test_each_event_is_one_call(counting: Loop, count: int, priority: int) -> None:
    timers = [counting.timer(1.0, priority=priority) for _ in range(count)]
    for timer in timers:
        timer.start(int)
    counting.run()
    assert counting.calls == count


def test_prepare_and_check_watchers_count(counting: Loop) -> None:
    with counting.prepare(ref=False) as prepare, counting.check(ref=False) as check:
        prepare.start(int)
        check.start(int)
        counting.run(nowait=True)
        assert counting.calls == 2


def test_a_mark_that_somebody_else_runs_is_not_the_loops_call(counting: Loop) -> None:
    class Marker:
        def mark(self) -> None:
            pass

    counting.run_callback(Marker().mark)
    assert counting.run_mark({Marker.mark})
    assert counting.calls == 0


def test_the_count_is_at_most_a_stride_behind_in_a_long_batch(counting: Loop) -> None:
    behind: list[int] = []

    def look(number: int) -> None:
        behind.append(number - counting.calls)

    for number in range(4 * _STRIDE):
        counting.run_callback(look, number)
    counting.run()
    assert max(behind) < _STRIDE
    assert counting.calls == 4 * _STRIDE


# -- sleep ------------------------------------------------------------------------------------------------------------


def test_sleep_is_what_polls_that_might_wait_took(counting: Loop, clock: ManualClock) -> None:
    timer = counting.timer(2.0)
    timer.start(clock.advance, 0.5)  # work, and no sleep
    counting.run()
    counting.run(nowait=True)
    assert counting.polled == (2.0, None)
    assert counting.iteration == 2


def test_while_it_sleeps_it_says_since_when_and_makes_no_progress_that_counts(
    counting: Loop, clock: ManualClock, poller: FakePoller
) -> None:
    seen: list[object] = []
    poller.when_blocking(lambda: seen.extend([counting.polled, counting.progress()]))
    counting.timer(2.0).start(int)
    began = clock()
    counting.run()
    assert seen == [(0.0, began), None]
    assert counting.polled == (2.0, None)


def test_a_poll_that_an_exception_ends_is_over(counting: Loop, clock: ManualClock, poller: FakePoller) -> None:
    def interrupt() -> None:
        clock.advance(0.25)
        raise KeyboardInterrupt

    poller.when_blocking(interrupt)
    with counting.timer(2.0) as timer:
        timer.start(int)
        with pytest.raises(KeyboardInterrupt):
            counting.run()
    assert counting.polled == (0.25, None)


def test_the_sleep_of_a_host_is_the_guests_until_it_is_turned_again(counting: Loop, clock: ManualClock) -> None:
    with counting.timer(10.0) as timer:
        timer.start(int)
        counting.run(nowait=True)
        began = clock()
        assert counting.poll_elsewhere() == 10.0
        clock.advance(1.0)
        assert counting.poll_elsewhere() == 9.0  # said again: the same sleep
        assert polled(counting) == (0.0, began)
        assert counting.progress() is None
        clock.advance(1.0)
        counting.run(nowait=True)
        assert polled(counting) == (2.0, None)
        assert counting.progress() is not None
    counting.run_callback(int)
    assert counting.poll_elsewhere() == 0.0  # it is not to sleep at all
    assert polled(counting) == (2.0, None)


# -- progress ---------------------------------------------------------------------------------------------------------


def test_progress_differs_from_call_to_call_and_stays_while_one_lasts(counting: Loop) -> None:
    marks: list[object] = []

    def look() -> None:
        marks.append(counting.progress())
        thread = threading.Thread(target=counting.run_callback_threadsafe, args=(int,))
        thread.start()
        thread.join()
        assert counting.progress() == marks[-1], "what others post is no progress"

    counting.run_callback(look)
    counting.run_callback(look)
    for timer in [counting.timer(0.0), counting.timer(0.0)]:
        timer.start(look)
    counting.run(nowait=True)
    counting.run()
    assert len(marks) == 4
    assert all(mark != other for number, mark in enumerate(marks) for other in marks[:number])


def test_in_a_forked_child_no_progress_counts_before_the_loop_is_used(loop: Loop, kin: Kin) -> None:
    with loop.timer(60.0) as timer:
        timer.start(int)

        def check() -> None:
            assert loop.progress() is None, "what it has is its parent's, and waits there"
            loop.reinit()
            assert loop.progress() is not None

        kin.run(check)
        assert loop.progress() is not None


def test_a_destroyed_loop_still_tells_what_it_has_done(counting: Loop) -> None:
    counting.timer(2.0).start(int)
    counting.run()
    counting.destroy()
    assert (counting.iteration, counting.calls, counting.polled) == (1, 1, (2.0, None))
    assert counting.progress() == counting.progress()
