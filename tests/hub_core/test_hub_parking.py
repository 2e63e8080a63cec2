"""Parking on the hub: by a bare switch, for a watcher; what is asked before (`switch_out`), what ends it early."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

import pytest
from greenlet import getcurrent, greenlet
from tests.hub_core.conftest import Failure

from hub_core import (
    BlockingSwitchOutError,
    ConcurrentObjectUseError,
    Hub,
    InvalidSwitchError,
    InvalidThreadUseError,
    Waiter,
    kill,
    sleep,
    spawn_raw,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.hub_core.conftest import Elsewhere, Reports

    from hub_loop.testing import FakePoller, ManualClock


# -- raw parking -------------------------------------------------------------------------------------------------------


def test_switch_parks_until_somebody_switches_and_returns_what_they_pass(hub: Hub) -> None:
    got: list[object] = []
    parked = spawn_raw(lambda: got.append(hub.switch()))
    sleep(0)
    hub.loop.run_callback(parked.switch, 5)
    hub.join()
    assert got == [5]


def test_switch_in_the_main_greenlet_works_as_well(hub: Hub) -> None:
    hub.loop.run_callback(getcurrent().switch, "value")
    assert hub.switch() == "value"


def test_switch_raises_what_is_thrown(hub: Hub) -> None:
    hub.loop.run_callback(getcurrent().throw, Failure("thrown"))
    with pytest.raises(Failure, match="thrown"):
        hub.switch()


def test_switch_takes_no_arguments(hub: Hub) -> None:
    with pytest.raises(TypeError, match="takes no arguments"):
        hub.switch("value")


def test_switch_in_a_callback_is_refused(hub: Hub) -> None:
    caught: list[BaseException] = []

    def callback() -> None:
        try:
            hub.switch()
        except BlockingSwitchOutError as error:
            caught.append(error)

    hub.loop.run_callback(callback)
    hub.join()
    assert repr(hub).split(" pending")[0] in str(caught[0])


def test_greenlets_go_on_by_handoff_after_a_raw_resume(hub: Hub) -> None:
    order: list[str] = []

    def raw() -> None:
        hub.switch()
        order.append("raw")
        sleep(0)
        order.append("raw again")

    waiter = Waiter()

    def other() -> None:
        waiter.get()
        order.append("other")
        sleep(0)
        order.append("other again")

    def resume_both() -> None:
        waiter.switch(None)
        parked.switch()

    parked = spawn_raw(raw)
    spawn_raw(other)
    sleep(0)
    hub.loop.run_callback(resume_both)
    hub.join()
    assert order == ["raw", "other", "raw again", "other again"]


def test_make_ready_resumes_a_greenlet_that_parked_after_those_already_ready(hub: Hub) -> None:
    order: list[str] = []

    def park(name: str) -> None:
        hub.park()
        order.append(name)

    parked = [spawn_raw(park, name) for name in "abc"]
    sleep(0)
    for each in (parked[2], parked[0], parked[1]):
        hub.make_ready(each)
    hub.join()
    assert order == ["c", "a", "b"]


def test_a_signal_handler_that_makes_a_greenlet_ready_wakes_a_sleeping_loop(
    clocked_hub: Hub, clock: ManualClock, poller: FakePoller
) -> None:
    began = clock()
    woke: list[float] = []

    def park() -> None:
        clocked_hub.park()
        woke.append(clock())

    parked = spawn_raw(park)
    poller.when_blocking(clocked_hub.make_ready, parked)
    sleep(10)
    assert woke == [began]


@pytest.mark.parametrize("parked_by", ["handoff", "hub"])
def test_a_stranger_who_resumes_a_greenlet_that_is_ready_does_not_have_it_run_twice(hub: Hub, parked_by: str) -> None:
    runs: list[str] = []
    waiter, helper = Waiter(), Waiter()

    def run() -> None:
        if parked_by == "handoff":
            helper.switch(None)  # now somebody is ready, to whom the next line hands over
        waiter.get()
        runs.append("resumed")
        hub.switch()
        runs.append("resumed again")

    def meddle() -> None:
        waiter.switch(None)
        meddled.switch()
        hub.loop.run_callback(meddled.switch)

    spawn_raw(helper.get)
    meddled = spawn_raw(run)
    with hub.loop.timer(0.001) as timer:
        timer.start(meddle)
        hub.join()
    helper.switch(None)
    hub.join()
    assert runs == ["resumed", "resumed again"]


def test_a_stranger_who_resumes_a_greenlet_that_yields_does_not_have_it_run_twice(hub: Hub) -> None:
    runs: list[str] = []

    def run() -> None:
        hub.loop.run_callback(meddle)
        for _ in range(5000):  # sooner or later the budget is spent, and the callback runs while we are ready
            sleep(0)
            if runs:
                break
        hub.switch()
        runs.append("resumed again")

    def meddle() -> None:
        runs.append("meddled")
        meddled.switch()
        hub.loop.run_callback(meddled.switch)

    meddled = spawn_raw(run)
    hub.join()
    assert runs == ["meddled", "resumed again"]


# -- the switch_out hook -----------------------------------------------------------------------------------------------


class Hooked(greenlet):
    """A greenlet that notes when it is about to park."""

    def __init__(self, run: Callable[[], object], parent: greenlet, error: BaseException | None = None) -> None:
        super().__init__(run, parent)
        self.parked = 0
        self.pending = error

    def switch_out(self) -> None:
        """The documented hook."""
        self.parked += 1
        if self.pending is not None:
            error, self.pending = self.pending, None
            raise error


def park_in_waiter(hub: Hub) -> None:
    waiter = Waiter(hub)
    hub.loop.run_callback(waiter.switch, None)
    waiter.get()


def park_raw(hub: Hub) -> None:
    hub.loop.run_callback(getcurrent().switch)
    hub.switch()


PARKS: list[Callable[[Hub], object]] = [
    lambda hub: sleep(0),
    lambda hub: sleep(0.001),
    park_in_waiter,
    park_raw,
    lambda hub: hub.wait(hub.loop.timer(0)),
]


@pytest.mark.parametrize("park", PARKS, ids=["sleep(0)", "sleep", "waiter", "raw", "wait"])
@pytest.mark.parametrize("others", [0, 2])
def test_switch_out_is_called_once_at_every_kind_of_park(hub: Hub, park: Callable[[Hub], object], others: int) -> None:
    hooked = Hooked(lambda: park(hub), hub)
    hub.loop.run_callback(hooked.switch)
    for _ in range(others):
        spawn_raw(sleep, 0)
    hub.join()
    assert hooked.parked == 1
    assert hooked.dead


@pytest.mark.parametrize("park", PARKS, ids=["sleep(0)", "sleep", "waiter", "raw", "wait"])
def test_an_exception_out_of_switch_out_is_raised_at_the_park_and_leaves_nothing_ready(
    hub: Hub, park: Callable[[Hub], object]
) -> None:
    caught: list[BaseException] = []

    def run() -> None:
        try:
            park(hub)
        except Failure as error:
            caught.append(error)
        hub.switch()  # whoever resumes us now does so by mistake

    hooked = Hooked(run, hub, error := Failure("not now"))
    hub.loop.run_callback(hooked.switch)
    sleep(0.001)
    assert caught == [error]
    if park is not park_raw:  # there the test itself has queued the switch
        sleep(0.005)
        assert not hooked.dead
        kill(hooked)
    hub.join()
    assert hooked.dead


def test_a_waiter_whose_park_was_refused_by_switch_out_is_usable(hub: Hub) -> None:
    waiter = Waiter()
    got: list[object] = []

    def run() -> None:
        with pytest.raises(Failure):
            waiter.get()
        got.append(waiter.get())

    hub.loop.run_callback(Hooked(run, hub, Failure("not now")).switch)
    sleep(0.001)
    waiter.switch("later")
    hub.join()
    assert got == ["later"]


# -- wait and cancel_wait ----------------------------------------------------------------------------------------------


def test_wait_returns_when_the_watcher_calls_back_and_leaves_it_stopped(clocked_hub: Hub, clock: ManualClock) -> None:
    began = clock()
    with clocked_hub.loop.timer(2) as timer:
        clocked_hub.wait(timer)
        assert (timer.active, timer.callback) == (False, None)
        clocked_hub.wait(timer)
    assert clock() == began + 4


def test_wait_for_a_watcher_that_is_started_is_refused(hub: Hub) -> None:
    with hub.loop.timer(2) as timer:
        timer.start(print)
        with pytest.raises(ConcurrentObjectUseError) as caught:
            hub.wait(timer)
        assert repr(getcurrent()) in str(caught.value)
        assert repr(timer) in str(caught.value)
        assert timer.callback is print, "the first user goes on"


def test_wait_in_a_callback_is_refused_and_the_watcher_stopped(hub: Hub, reports: Reports) -> None:
    with hub.loop.timer(0.001) as timer:
        hub.loop.run_callback(hub.wait, timer)
        hub.join()
        assert not timer.active
    assert "BlockingSwitchOutError" in reports.take()


def test_wait_in_another_thread_is_refused(hub: Hub, elsewhere: Elsewhere) -> None:
    with hub.loop.timer(1) as timer:
        with pytest.raises(InvalidThreadUseError, match="cannot wait"):
            elsewhere(lambda: hub.wait(timer))
        assert not timer.active


def test_a_watcher_that_brings_something_else_than_its_waiter_is_an_invalid_switch(hub: Hub) -> None:
    def meddle() -> None:
        assert timer.callback is not None
        timer.callback("not the waiter")

    with hub.loop.timer(1) as timer:
        hub.loop.run_callback(meddle)
        with pytest.raises(InvalidSwitchError, match="got 'not the waiter'") as caught:
            hub.wait(timer)
        assert not timer.active
    assert repr(hub).split(" pending")[0] in str(caught.value)


@pytest.mark.parametrize("error", [Failure, Failure("an instance")])
def test_cancel_wait_raises_the_error_in_the_greenlet_that_waits(hub: Hub, error: Failure | type[Failure]) -> None:
    with hub.loop.timer(30) as timer:
        hub.loop.run_callback(hub.cancel_wait, timer, error)
        with pytest.raises(Failure) as caught:
            hub.wait(timer)
        assert not timer.active
        assert not timer.closed
    if isinstance(error, Failure):
        assert caught.value is error


def test_an_error_that_cannot_be_raised_cancels_no_wait(hub: Hub) -> None:
    order: list[object] = []
    nonsense: Any = "nonsense"
    with hub.loop.timer(30) as idle, hub.loop.timer(0.001) as timer:
        for cancel in (
            lambda: hub.cancel_wait(timer, nonsense, close_watcher=True),
            lambda: hub.cancel_wait(idle, nonsense, close_watcher=True),
            lambda: hub.cancel_waits_close_and_then([idle, timer], nonsense, order.append, "then"),
        ):
            spawn_raw(_note_refusal, order, cancel)
        hub.wait(timer)
        assert not idle.closed
        assert not timer.closed
    assert order == ["refused"] * 3


def _note_refusal(order: list[object], cancel: Callable[[], object]) -> None:
    with pytest.raises(TypeError, match="cancelled with must be an exception class or an instance"):
        cancel()
    order.append("refused")


def test_cancel_wait_closes_the_watcher_if_asked(hub: Hub) -> None:
    timer = hub.loop.timer(30)
    hub.loop.run_callback(hub.cancel_wait, timer, Failure, True)
    with pytest.raises(Failure):
        hub.wait(timer)
    assert timer.closed


def test_cancel_wait_of_none_or_of_an_idle_watcher_does_nothing_but_close(hub: Hub) -> None:
    hub.cancel_wait(None, Failure)
    hub.cancel_wait(None, Failure, True)
    timer = hub.loop.timer(30)
    hub.cancel_wait(timer, Failure)
    assert not timer.closed
    hub.cancel_wait(timer, Failure, close_watcher=True)
    assert timer.closed


def test_a_wait_that_ended_by_itself_before_the_cancellation_is_not_disturbed(hub: Hub) -> None:
    with hub.loop.timer(30) as timer:

        def fire_and_cancel() -> None:
            assert timer.callback is not None
            timer.callback(*(timer.args or ()))
            hub.cancel_wait(timer, Failure)

        hub.loop.run_callback(fire_and_cancel)
        hub.wait(timer)


def test_cancel_wait_in_another_thread_is_refused_with_the_remedy(hub: Hub, elsewhere: Elsewhere) -> None:
    with hub.loop.timer(1) as timer, pytest.raises(InvalidThreadUseError, match="run_callback_threadsafe"):
        elsewhere(lambda: hub.cancel_wait(timer, Failure))


def test_cancel_waits_close_and_then_is_synchronous_if_nobody_waits(hub: Hub) -> None:
    order: list[object] = []
    timer = hub.loop.timer(30)
    hub.cancel_waits_close_and_then([None, timer], Failure, order.append, "then")
    assert order == ["then"]
    assert timer.closed


def test_cancel_waits_close_and_then_cancels_all_and_then_calls(hub: Hub) -> None:
    order: list[object] = []
    idle, first, second = (hub.loop.timer(30) for _ in range(3))

    def wait(watcher: Any, name: str) -> None:
        try:
            hub.wait(watcher)
        except Failure:
            order.append(name)

    spawn_raw(wait, first, "first")
    spawn_raw(wait, second, "second")
    sleep(0)
    hub.cancel_waits_close_and_then([first, None, idle, second], Failure, order.append, "then")
    assert idle.closed, "an idle watcher is closed at once"
    assert order == []
    hub.join()
    assert order == ["then", "first", "second"]
    assert first.closed
    assert second.closed


def test_cancel_waits_close_and_then_in_another_thread_is_refused(hub: Hub, elsewhere: Elsewhere) -> None:
    called: list[str] = []
    with pytest.raises(InvalidThreadUseError):
        elsewhere(lambda: hub.cancel_waits_close_and_then([], Failure, called.append, "then"))
    assert called == []


def test_a_watcher_whose_fd_leaves_the_loop_gives_ebadf_to_its_wait(hub: Hub) -> None:
    import socket

    ours, theirs = socket.socketpair()
    with ours, theirs:
        hub.loop.run_callback(hub.loop.closing_fd, ours.fileno())
        with hub.loop.io(ours.fileno(), 1) as watcher, pytest.raises(OSError, match="was closed while") as caught:
            hub.wait(watcher)
    assert caught.value.errno == errno.EBADF
