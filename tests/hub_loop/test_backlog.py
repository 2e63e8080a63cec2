"""A loop with more callbacks than it can run in time: watchers do not wait behind them, and nobody's order changes."""

from __future__ import annotations

from itertools import pairwise
from sys import getswitchinterval
from typing import TYPE_CHECKING

import pytest

from hub_loop import READ, Loop, _batch
from hub_loop._watcher import Watcher, urgency

if TYPE_CHECKING:
    from tests.hub_loop.conftest import Wire

    from hub_loop.testing import ManualClock

BATCH_SECONDS = getswitchinterval()
SLICE = BATCH_SECONDS / 10
"""What each callback takes: a batch looks at the clock after 50 of them, and that is time enough to end it."""


class Busy:
    """A thousand callbacks, each of which takes its time and keeps its number."""

    def __init__(self, loop: Loop, clock: ManualClock) -> None:
        self.ran: list[object] = []
        self._clock = clock
        for number in range(1000):
            loop.run_callback(self.take_time, number)

    def take_time(self, number: object) -> None:
        self.ran.append(number)
        self._clock.advance(SLICE)

    @property
    def numbers(self) -> list[int]:
        """The callbacks' own, in the order in which they ran."""
        return [entry for entry in self.ran if isinstance(entry, int)]


def place(busy: Busy, what: str) -> int:
    """How many callbacks had run before `what` was called."""
    return busy.ran.index(what) - sum(isinstance(entry, str) for entry in busy.ran[: busy.ran.index(what)])


def test_a_timer_that_is_due_does_not_wait_behind_callbacks_that_are_left_over(loop: Loop, clock: ManualClock) -> None:
    busy = Busy(loop, clock)
    with loop.timer(SLICE * 300) as timer:
        timer.start(busy.ran.append, "timer")
        loop.run()
    # Due after 300, or one batch later for the rounding of sums; the batch of that turn calls 50 before it, and ends at
    # its first look at the clock.
    assert 300 <= place(busy, "timer") <= 400
    assert busy.numbers == list(range(1000))


def test_an_fd_that_is_ready_does_not_wait_behind_callbacks_that_are_left_over(
    loop: Loop, clock: ManualClock, wire: Wire
) -> None:
    busy = Busy(loop, clock)
    with loop.io(wire.fd, READ) as reader:

        def read() -> None:
            busy.ran.append(wire.read().decode())
            reader.stop()

        reader.start(read)
        loop.run(nowait=True)
        assert 0 < len(busy.ran) <= 100
        wire.send(b"read")
        loop.run()
    assert place(busy, "read") <= 100
    assert busy.numbers == list(range(1000))


def test_a_repeating_timer_beats_on_beside_callbacks_that_queue_themselves_twice(
    loop: Loop, clock: ManualClock
) -> None:
    # They can never be run in time: without a place of its own the timer would be called once and then hardly ever.
    beats: list[float] = []
    left = 3000

    def multiply() -> None:
        nonlocal left
        clock.advance(SLICE)
        left -= 1
        if left > 0:
            loop.run_callback(multiply)
            loop.run_callback(multiply)

    loop.run_callback(multiply)
    with loop.timer(BATCH_SECONDS, BATCH_SECONDS) as timer:
        timer.start(lambda: beats.append(clock()))
        while left > 0:
            loop.run(nowait=True)
        loop.run(nowait=True)
    gaps = [after - before for before, after in pairwise(beats)]
    assert max(gaps) <= SLICE * 101
    loop.destroy()


def test_a_watcher_beside_callbacks_left_over_is_called_once_and_may_be_stopped_by_its_fellow(
    loop: Loop, clock: ManualClock
) -> None:
    busy = Busy(loop, clock)
    first, second = loop.timer(SLICE), loop.timer(SLICE)

    def stop_the_other() -> None:
        busy.ran.append("first")
        second.stop()

    first.start(stop_the_other)
    second.start(busy.ran.append, "second")
    loop.run()
    assert [entry for entry in busy.ran if isinstance(entry, str)] == ["first"]
    assert busy.numbers == list(range(1000))


@pytest.mark.parametrize("priority", [2, -2])
def test_priorities_are_what_they_were(loop: Loop, clock: ManualClock, priority: int) -> None:
    busy = Busy(loop, clock)
    with loop.timer(SLICE * 100, priority=priority) as ranked, loop.timer(SLICE * 100) as plain:
        ranked.start(busy.ran.append, "ranked")
        plain.start(busy.ran.append, "plain")
        loop.run()
    assert place(busy, "plain") <= 200
    assert place(busy, "ranked") <= 300
    assert (busy.ran.index("ranked") < busy.ran.index("plain")) == (priority > 0)
    assert busy.numbers == list(range(1000))


def test_what_another_thread_posts_comes_behind_what_is_left_over(loop: Loop, clock: ManualClock) -> None:
    busy = Busy(loop, clock)
    loop.run(nowait=True)
    for number in range(1000, 1010):
        loop.run_callback_threadsafe(busy.take_time, number)
    loop.run()
    assert busy.numbers == list(range(1010))


def test_a_watcher_that_raises_beside_callbacks_left_over_is_reported_and_the_others_come(
    loop: Loop, clock: ManualClock, capsys: pytest.CaptureFixture[str]
) -> None:
    busy = Busy(loop, clock)
    with loop.timer(SLICE) as bad, loop.timer(SLICE) as good:
        bad.start(lambda: 1 / 0)
        good.start(busy.ran.append, "good")
        loop.run()
    assert place(busy, "good") <= 100
    assert capsys.readouterr().err.count("ZeroDivisionError") == 1
    assert busy.numbers == list(range(1000))


def test_an_event_that_a_signal_handler_finds_while_the_fired_are_sorted_is_told(
    loop: Loop, clock: ManualClock, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    def interrupted(watcher: Watcher) -> int:
        monkeypatch.undo()
        loop.closing_fd(wire.fd)  # as a signal handler may that CPython calls at the entry of a function
        return urgency(watcher)

    monkeypatch.setattr(_batch, "urgency", interrupted)
    with loop.io(wire.fd, READ) as reader, loop.timer(0.0, priority=1) as ranked, loop.timer(0.0) as plain:
        reader.start(told.append, "closed")
        plain.start(told.append, "plain")
        ranked.start(told.append, "ranked")
        loop.run(nowait=True)
        assert told == ["ranked", "plain", "closed"]
        assert not reader.pending
