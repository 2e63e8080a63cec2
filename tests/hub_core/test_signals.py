"""Ctrl-C at any moment: it surfaces in the main greenlet, and no other greenlet is lost on the way."""

from __future__ import annotations

import _thread
import operator
import signal
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import pytest
from greenlet import GreenletExit, getcurrent

from hub_api import LoopExit
from hub_core import Hub, Waiter, sleep, spawn_raw
from hub_loop import Loop

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from tests.hub_core.conftest import Reports

    from hub_loop.testing import FakePoller


@pytest.fixture(autouse=True)
def ctrl_c() -> Iterator[None]:
    """Python's own handler, whatever the test runner has installed."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interrupt_in_the_poll_surfaces_in_main_and_the_sleepers_sleep_on(
    clocked_hub: Hub, poller: FakePoller, reports: Reports
) -> None:
    order: list[str] = []

    def run() -> None:
        sleep(5)
        order.append("slept")

    spawn_raw(run)
    poller.when_blocking(signal.raise_signal, signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        clocked_hub.join()
    assert "KeyboardInterrupt" in reports.take()
    assert clocked_hub.join()
    assert order == ["slept"]


class Struck(Hub):
    """Its greenlet is interrupted as its function is entered for the first time: until then, all is C."""

    blows: list[Callable[[], None]]

    def begin(self) -> Callable[[], object]:
        steps = [*self.blows, Hub.run.fget(self)]
        self.blows.clear()
        return partial(list, map(operator.call, steps))

    run: Any = property(begin)


def test_an_interrupt_just_as_the_hub_starts_surfaces_in_main_and_the_hub_lives() -> None:
    with Struck(Loop(default=False)) as hub:
        hub.blows = [_thread.interrupt_main]
        with pytest.raises(KeyboardInterrupt):
            sleep(60)
        assert not hub.dead
        errors: list[BaseException] = []
        cast("Any", hub).handle_error = lambda context, kind, error, trace: errors.append(error)
        spawn_raw(divmod, 1, 0)
        sleep(0.001)
        assert errors[0].__context__ is None, "it is not handled on and on"


def test_interrupts_at_arbitrary_moments_lose_no_greenlet(hub: Hub, reports: Reports) -> None:
    # An alarm interrupts a ring of greenlets again and again, wherever they and the hub happen to be; but only in the
    # family's own code: between two lines of this test it would prove nothing, and nobody would catch it.  Each
    # greenlet goes on after an interrupt; had one been lost between two lines of the hub, the hub would have nothing
    # left to do, and that one would not have ended.  No thread does it, which the ring might keep from the lock.
    interrupts, main = 50, getcurrent()
    strikes, ended, before = 0, list[int](), 0
    done = [0] * 10

    def strike(signum: int, frame: FrameType | None) -> None:
        nonlocal strikes, before
        ours = frame is None or frame.f_code.co_filename == __file__
        if getcurrent() is main and not ours:  # what this test has called that is not the hub's
            while frame is not None and not frame.f_globals["__name__"].startswith("hub_"):
                frame = frame.f_back
            ours = frame is None
        if not ours and strikes < interrupts and sum(done) >= before + 10:
            strikes += 1
            before = sum(done)
            raise KeyboardInterrupt

    def run(number: int) -> None:
        while strikes < interrupts:
            try:
                done[number] += 1
                sleep(0)
            except KeyboardInterrupt:
                pass
        ended.append(number)

    ring = [spawn_raw(run, number) for number in range(len(done))]
    former = signal.signal(signal.SIGVTALRM, strike)
    nothing_left = False
    try:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.001, 0.001)  # of CPU time, which the ring takes until it has ended
        while not nothing_left:
            try:
                nothing_left = hub.join(timeout=0.05)
            except KeyboardInterrupt:
                pass
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, former)
    reports.take()
    assert sorted(ended) == list(range(len(ring)))
    assert all(each.dead for each in ring)
    assert strikes == interrupts
    assert hub.join()


@pytest.mark.parametrize("wakes", ["itself", "another, and is woken meanwhile"])
def test_an_interrupt_in_a_mark_that_a_greenlet_runs_as_it_parks_costs_it_no_wake_up(
    hub: Hub, reports: Reports, wakes: str
) -> None:
    mine, others, got = Waiter(), Waiter(), list[str]()

    def run(waiter: Waiter, marked: Waiter) -> None:
        sleep(0)  # started, and so nothing is new
        hub.loop.run_callback(marked.switch, "awake")
        interrupted.due = True
        got.append(waiter.get())

    class Interrupted(deque[Any]):
        due = False

        def append(self, each: Any) -> None:
            super().append(each)
            if self.due:  # right behind the call, where CPython looks for signals
                self.due = False
                raise KeyboardInterrupt

    interrupted = hub._lane.ready = hub._ready = Interrupted()
    if wakes == "itself":
        spawn_raw(run, mine, mine)
    else:
        spawn_raw(lambda: got.append(others.get()))
        spawn_raw(run, mine, others)
    with pytest.raises(KeyboardInterrupt):
        hub.join()
    assert "KeyboardInterrupt" in reports.take()
    if wakes != "itself":
        mine.switch("awake")  # while that greenlet stands in the lane, to go on behind the interrupt
    assert hub.join()
    assert got == ["awake"] * (1 if wakes == "itself" else 2)


@pytest.mark.parametrize("how", ["switch", "throw"])
def test_who_stands_aside_for_an_interrupt_and_is_resumed_by_a_stranger_stands_in_the_lane_no_more(
    hub: Hub, how: str
) -> None:
    stands: list[bool] = []

    def run() -> None:
        with suppress(GreenletExit):
            hub.handle_system_error(KeyboardInterrupt, KeyboardInterrupt())
        stands.append(aside in hub._ready)

    aside = spawn_raw(run)
    with pytest.raises(KeyboardInterrupt):
        hub.join()
    with pytest.raises(LoopExit):  # it ends, and nothing is left that could wake us
        getattr(aside, how)()
    assert stands == [False]
