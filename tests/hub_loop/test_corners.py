"""Corners that no other test comes to: refusals of wrong types, a corpse at the head of the heap, an empty pipe."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import pytest

from hub_loop import Loop
from hub_loop.testing import FakePoller

if TYPE_CHECKING:
    from hub_loop.testing import ManualClock


@pytest.mark.parametrize("wrong", ["1", None, [1]])
def test_an_interval_that_is_no_number_is_refused(loop: Loop, wrong: Any) -> None:
    with pytest.raises(TypeError, match="repeat must be a number of seconds"):
        loop.timer(1.0, wrong)


@pytest.mark.parametrize("wrong", ["1", 1.5, [1]])
def test_a_priority_that_is_no_integer_is_refused(loop: Loop, wrong: Any) -> None:
    with pytest.raises(TypeError, match="priority must be an integer from -2 to 2, or None"):
        loop.timer(1.0, priority=wrong)


@pytest.mark.parametrize("loop", ["fake"], indirect=True)
def test_a_timer_that_was_stopped_at_the_head_of_the_heap_does_not_shorten_the_sleep(
    loop: Loop, clock: ManualClock
) -> None:
    assert isinstance(loop._poller, FakePoller)
    began, fired = clock(), list[float]()
    first, second, last = loop.timer(1.0), loop.timer(2.0), loop.timer(5.0)
    for timer in (first, second, last):
        timer.start(lambda: fired.append(clock() - began))
    loop.run(nowait=True)  # all have their places by now
    first.stop()
    second.stop()
    loop.run(once=True)
    assert loop._poller.timeout == 5.0
    assert fired == [5.0]


@pytest.mark.parametrize("loop", ["epoll", "poll", "select"], indirect=True)
def test_a_signals_pipe_that_somebody_has_emptied_is_no_error(loop: Loop) -> None:

    told: list[str] = []
    with loop.signal(signal.SIGUSR2) as watcher:
        watcher.start(told.append, "told")
        door = loop._door
        assert door is not None
        door._drain()
        signal.raise_signal(signal.SIGUSR2)
        loop.run(once=True)
        door._drain()
    assert told == ["told"]
