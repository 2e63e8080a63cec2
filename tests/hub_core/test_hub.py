"""The hub: how it is made, what it says of itself, parking on it, joining it, and its end."""

from __future__ import annotations

import errno
import re
import subprocess
import sys
import threading
from typing import Any, cast

import pytest
from greenlet import getcurrent, greenlet

from hub_core import (
    BlockingSwitchOutError,
    ConcurrentObjectUseError,
    FdWaiter,
    Hub,
    HubDestroyed,
    InvalidSwitchError,
    InvalidThreadUseError,
    LoopExit,
    Waiter,
    get_hub,
    get_loop,
    kill,
    set_defaults,
    set_hub,
    sleep,
    spawn_raw,
)
from hub_core._local import defaults
from hub_loop import Loop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.hub_core.conftest import Elsewhere, Reports

    from hub_loop.testing import FakePoller, ManualClock

    MakeLoop = Callable[..., Loop]


class Failure(Exception):
    """Thrown by tests."""


# -- construction ------------------------------------------------------------------------------------------------------


def test_a_hub_is_a_greenlet_below_the_one_that_made_it(hub: Hub) -> None:
    assert isinstance(hub, greenlet)
    assert hub.parent is getcurrent()
    assert not hub.dead
    assert hub.thread_ident == threading.get_ident()


def test_a_loop_object_is_used_as_it_is(no_hub: MakeLoop) -> None:
    loop = no_hub()
    hub = Hub(loop)
    assert hub.loop is loop
    hub.destroy(destroy_loop=True)


def test_a_loop_object_and_default_together_are_refused(no_hub: MakeLoop) -> None:
    loop = no_hub()
    with pytest.raises(TypeError, match="unexpected argument default=True"):
        Hub(loop, default=True)


@pytest.mark.parametrize(("given", "made"), [(None, True), (True, True), (False, False)])
def test_a_loop_factory_is_called_with_default(no_hub: MakeLoop, given: bool | None, made: bool) -> None:
    # None becomes whether the thread is the main one.
    hub = Hub(no_hub, default=given)
    assert hub.loop.default is made
    hub.destroy(destroy_loop=True)


def test_a_loop_class_is_a_factory(no_hub: MakeLoop) -> None:
    hub = Hub(Loop)
    assert type(hub.loop) is Loop
    hub.destroy(destroy_loop=True)


def test_off_the_main_thread_a_loop_is_not_the_default_one(no_hub: MakeLoop, elsewhere: Elsewhere) -> None:
    def look() -> bool:
        hub = Hub(no_hub)
        try:
            return hub.loop.default or hub.main_hub
        finally:
            hub.destroy()

    assert elsewhere(look) is False


def test_without_any_loop_the_error_names_what_to_install(no_hub: MakeLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defaults, "loop", None)
    with pytest.raises(LookupError, match=r"install greenlet-hub and import greenlet_hub, or pass one, as in Hub"):
        Hub()


def test_set_defaults_names_the_factories_and_none_leaves_them(
    no_hub: MakeLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    for part in ("loop", "threadpool", "resolver"):
        monkeypatch.setattr(defaults, part, None)
    set_defaults(loop=no_hub, threadpool=cast("Any", lambda hub: "pool"), resolver=cast("Any", lambda hub: "resolver"))
    set_defaults()
    hub = Hub()
    assert (type(hub.loop), hub.threadpool, hub.resolver) == (Loop, "pool", "resolver")
    del hub.threadpool, hub.resolver
    hub.destroy(destroy_loop=True)


# -- what it says of itself --------------------------------------------------------------------------------------------


def test_the_repr_tells_name_loop_parts_and_thread(hub: Hub) -> None:
    hub.name = "worker"
    hub.resolver = "a resolver"
    text = repr(hub)
    assert re.fullmatch(
        rf"<Hub 'worker' at {id(hub):#x} \w+ pending=0 ref=0( fileno=\d+)? resolver='a resolver' "
        rf"thread_ident={threading.get_ident():#x}>",
        text,
    )
    del hub.resolver
    hub.destroy()
    assert repr(hub) == f"<Hub 'worker' at {id(hub):#x} destroyed thread_ident={threading.get_ident():#x}>"


def test_the_repr_survives_a_loop_that_cannot_describe_itself(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(loop: Loop) -> str:
        raise Failure("no words")

    monkeypatch.setattr(Loop, "_format", fail)
    assert "(no words)" in repr(hub)


def test_the_name_is_empty_until_set_and_belongs_to_one_hub(hub: Hub) -> None:
    assert Hub.name == hub.name == ""
    hub.name = "mine"
    assert Hub.name == ""


def test_the_documented_class_attributes_have_the_documented_values() -> None:
    from greenlet import GreenletExit

    assert (GreenletExit, SystemExit) == Hub.NOT_ERROR
    assert (KeyboardInterrupt, SystemExit, SystemError) == Hub.SYSTEM_ERROR
    assert Hub.threadpool_size == 10


def test_main_hub_says_whether_the_thread_is_the_main_one(hub: Hub, elsewhere: Elsewhere) -> None:
    assert hub.main_hub
    assert elsewhere(lambda: hub.main_hub), "it is about the hub and not about who asks"


def test_waiter_makes_a_waiter_of_this_hub(hub: Hub) -> None:
    assert hub.waiter().hub is hub


def test_a_waiter_belongs_to_the_hub_it_was_given_even_if_that_has_never_run(hub: Hub) -> None:
    # A greenlet that has not run yet, or is dead, is false.
    sleep(0)
    other = Hub(loop := Loop(default=False))
    assert Waiter(other).hub is other
    assert other.waiter().hub is other
    other.destroy()
    assert Waiter(other).hub is other
    loop.destroy()


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


# -- running, LoopExit, join -------------------------------------------------------------------------------------------


def test_run_is_not_to_be_called(hub: Hub) -> None:
    with pytest.raises(AssertionError, match=r"Do not call Hub\.run\(\) directly.*join\(\)"):
        hub.run()


def test_waiting_for_nothing_raises_loop_exit_with_its_three_arguments(hub: Hub) -> None:
    with pytest.raises(LoopExit) as caught:
        Waiter().get()
    message, of, handles = caught.value.args
    assert (message, of, handles) == ("This operation would block forever", hub, [])
    assert caught.value.hub is hub
    assert str(caught.value) == repr(caught.value) == f"{message}\n\tHub: {hub}\n\tHandles:\n[]"


def test_loop_exit_made_with_other_arguments_is_an_ordinary_exception() -> None:
    error = LoopExit("why")
    assert (error.hub, str(error), repr(error)) == (None, "why", "LoopExit('why')")


def test_loop_exit_is_raised_in_the_main_greenlet_whoever_blocked(hub: Hub) -> None:
    waiter = Waiter()
    blocked = spawn_raw(waiter.get)
    with pytest.raises(LoopExit):
        hub.switch()
    assert waiter.greenlet is blocked, "the greenlet that blocks is left suspended"
    waiter.switch(None)
    hub.join()
    assert blocked.dead


def test_the_hub_is_usable_after_loop_exit_any_number_of_times(hub: Hub) -> None:
    for _ in range(3):
        with pytest.raises(LoopExit):
            Waiter().get()
        sleep(0.001)
    assert not hub.dead


def test_join_waits_until_nothing_is_left(clocked_hub: Hub, clock: ManualClock) -> None:
    began, order = clock(), []

    def sleeper() -> None:
        sleep(3)
        order.append("slept")

    spawn_raw(sleeper)
    with clocked_hub.loop.timer(5) as timer:
        timer.start(order.append, "timer")
        assert clocked_hub.join() is True
    assert order == ["slept", "timer"]
    assert clock() == began + 5


def test_join_returns_false_when_time_is_up_and_true_when_the_loop_is_done(
    clocked_hub: Hub, clock: ManualClock
) -> None:
    began = clock()
    sleeper = spawn_raw(sleep, 10)
    assert clocked_hub.join(timeout=4) is False
    assert clock() == began + 4
    assert clocked_hub.join(timeout=60) is True
    assert clock() == began + 10, "the timeout does not keep the loop alive"
    assert sleeper.dead


def test_join_with_a_timeout_of_zero_lets_what_is_ready_run(clocked_hub: Hub) -> None:
    ran: list[str] = []
    spawn_raw(ran.append, "once")
    sleeper = spawn_raw(sleep, 10)
    assert clocked_hub.join(timeout=0) is False
    assert ran == ["once"]
    kill(sleeper)
    assert clocked_hub.join() is True


def test_join_ignores_what_is_not_referenced(clocked_hub: Hub, clock: ManualClock) -> None:
    began = clock()
    sleeper = spawn_raw(sleep, 10, ref=False)
    with clocked_hub.loop.timer(7, ref=False) as timer:
        timer.start(lambda: None)
        assert clocked_hub.join() is True
    assert clock() == began
    assert not sleeper.dead
    kill(sleeper)
    clocked_hub.join()


def test_join_may_be_repeated_and_the_hub_never_dies_of_it(hub: Hub) -> None:
    for _ in range(3):
        assert hub.join() is True
        spawned = spawn_raw(sleep, 0)
        assert hub.join() is True
        assert spawned.dead
    assert not hub.dead


def test_join_outside_the_main_greenlet_is_refused_with_both_names(hub: Hub) -> None:
    caught: list[BaseException] = []

    def join() -> None:
        try:
            hub.join()
        except AssertionError as error:
            caught.append(error)

    spawned = spawn_raw(join)
    hub.join()
    assert "only possible from the main greenlet" in str(caught[0])
    assert f"{id(spawned):#x}" in str(caught[0])
    assert f"{id(getcurrent()):#x}" in str(caught[0])


def test_a_dead_hub_is_joined_at_once(hub: Hub) -> None:
    hub.join()
    hub.destroy()
    assert hub.dead
    assert hub.join() is True


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


# -- destroy -----------------------------------------------------------------------------------------------------------


def test_destroy_keeps_the_default_loop_for_the_next_hub(no_hub: MakeLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defaults, "loop", no_hub)
    hub = get_hub()
    loop = hub.loop
    assert loop.default
    hub.destroy()
    assert get_loop() is loop
    again = get_hub()
    assert again is not hub
    assert again.loop is loop
    sleep(0.001)


def test_destroy_true_destroys_the_default_loop_and_the_next_hub_has_another(
    no_hub: MakeLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(defaults, "loop", no_hub)
    hub = get_hub()
    loop = hub.loop
    hub.destroy(destroy_loop=True)
    assert get_loop() is None
    with pytest.raises(ValueError, match="destroyed"):
        loop.now()
    assert get_hub().loop is not loop


def test_a_loop_that_was_kept_and_is_destroyed_with_its_next_hub_is_forgotten(
    no_hub: MakeLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(defaults, "loop", no_hub)
    get_hub().destroy()
    assert get_loop() is not None
    get_hub().destroy(destroy_loop=True)
    assert get_loop() is None


def test_destroy_destroys_a_loop_that_is_not_the_default_one(hub: Hub) -> None:
    loop = hub.loop
    hub.destroy()
    with pytest.raises(ValueError, match="operation on destroyed loop"):
        loop.run()


def test_destroy_false_keeps_any_loop(hub: Hub) -> None:
    loop = hub.loop
    hub.destroy(destroy_loop=False)
    assert get_loop() is loop
    assert get_hub().loop is loop


def test_destroying_twice_is_fine(hub: Hub) -> None:
    sleep(0)
    hub.destroy()
    hub.destroy()
    assert hub.dead
    assert cast("Any", hub).loop is None


def test_destroy_in_a_greenlet_of_the_hub_is_refused_and_nothing_breaks(hub: Hub) -> None:
    caught: list[BaseException] = []

    def destroy() -> None:
        try:
            hub.destroy()
        except RuntimeError as error:
            caught.append(error)

    hub.loop.run_callback(destroy)
    spawn_raw(destroy)
    hub.join()
    assert len(caught) == 2
    assert all("do so from the main greenlet" in str(error) for error in caught)
    sleep(0.001)


def test_destroy_in_another_thread_while_the_owner_lives_breaks_nothing(hub: Hub, elsewhere: Elsewhere) -> None:
    sleep(0)
    with pytest.raises((InvalidThreadUseError, RuntimeError)):
        elsewhere(hub.destroy)
    sleep(0.001)


def test_destroy_in_another_thread_after_the_owner_ended() -> None:
    # In a process of its own: a greenlet that a thread leaves suspended at its end can be ended by nobody, and stays.
    program = """
import os, threading
from hub_core import Hub, set_hub, sleep
from hub_loop import Loop

def in_thread(function):
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()

def use():
    global hub, loop
    hub = Hub(Loop(default=False))
    loop = hub.loop
    set_hub(hub)
    sleep(0.001)

before = len(os.listdir("/proc/self/fd"))
for destroy_in in (lambda call: call(), in_thread, in_thread):  # threads may share a number
    in_thread(use)
    destroy_in(hub.destroy)
    assert hub.loop is None
    assert len(os.listdir("/proc/self/fd")) == before
    try:
        loop.now()
    except ValueError as error:
        assert "destroyed" in str(error)
    else:
        raise AssertionError("the loop lives on")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_hub_that_never_ran_is_destroyed_in_another_thread_without_a_trace(elsewhere: Elsewhere) -> None:
    hub = elsewhere(lambda: Hub(Loop(default=False)))
    elsewhere(hub.destroy)
    assert cast("Any", hub).loop is None


def test_destroy_from_a_greenlet_that_is_not_below_the_hub(hub: Hub) -> None:
    sleep(0)
    order: list[str] = []

    def destroy() -> None:
        hub.destroy()
        order.append("destroyed")

    greenlet(destroy).switch()
    assert order == ["destroyed"]
    assert hub.dead


@pytest.mark.parametrize(
    "suspended",
    ["never run", "in a handoff", "in a callback", "after LoopExit", "in an error", "in a KeyboardInterrupt"],
)
def test_destroy_ends_the_hub_wherever_it_is_suspended(
    hub: Hub, reports: Reports, monkeypatch: pytest.MonkeyPatch, suspended: str
) -> None:
    if suspended == "in a handoff":
        sleep(0.001)
    elif suspended == "in a callback":
        hub.loop.run_callback(getcurrent().switch)
        hub.loop.run_callback(reports.write, "this callback must not run")
        hub.switch()
    elif suspended == "after LoopExit":
        with pytest.raises(LoopExit):
            hub.switch()
    elif suspended == "in an error":
        spawn_raw(exit_with, 3)
        with pytest.raises(SystemExit):
            sleep(0.001)
    elif suspended == "in a KeyboardInterrupt":
        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(hub.loop, "run", interrupt)
            hub.switch()
        assert "KeyboardInterrupt" in reports.take()
    hub.destroy()
    assert hub.dead
    assert reports.take() == ""


def exit_with(status: int) -> None:
    raise SystemExit(status)


def interrupt(nowait: bool = False, once: bool = False) -> bool:
    raise KeyboardInterrupt


def test_destroy_drops_what_is_ready_or_new(hub: Hub) -> None:
    ran: list[str] = []
    waiter = Waiter()
    waiting = spawn_raw(lambda: ran.append(waiter.get()))
    sleep(0)
    waiter.switch("made ready")
    spawn_raw(ran.append, "new")
    hub.destroy()
    assert ran == []
    assert not waiting.dead
    waiting.throw()


def test_destroy_says_nothing_of_greenlets_that_still_wait(
    hub: Hub, reports: Reports, capfd: pytest.CaptureFixture[str]
) -> None:
    import socket

    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        owned = FdWaiter(ours.fileno())
        waiting = [
            spawn_raw(owned.wait_read),
            spawn_raw(sleep, 30),
            spawn_raw(hub.wait, hub.loop.io(theirs.fileno(), 1)),
        ]
        sleep(0)
        hub.destroy()
    for parked in waiting:
        parked.throw()  # nobody else would ever end them
    assert capfd.readouterr().err == ""
    assert owned.fileno() == -1


def test_destroy_closes_the_resolver_and_kills_the_pool(hub: Hub) -> None:
    order: list[str] = []

    class Part:
        def close(self) -> None:
            order.append("closed")

        def kill(self) -> None:
            order.append("killed")

    hub.resolver, hub.threadpool = Part(), Part()
    hub.destroy()
    assert order == ["closed", "killed"]


def test_a_part_that_fails_to_close_is_reported_and_the_hub_ends(hub: Hub, capfd: pytest.CaptureFixture[str]) -> None:
    class Part:
        def kill(self) -> None:
            raise Failure("stuck")

    hub.threadpool = Part()
    hub.destroy()
    assert hub.dead
    assert "Failure: stuck" in capfd.readouterr().err


def test_destroy_does_not_make_parts_that_nobody_asked_for(no_hub: MakeLoop) -> None:
    def never(hub: object) -> Any:
        raise AssertionError("made")

    Hub(no_hub, threadpool=never, resolver=never).destroy(destroy_loop=True)


@pytest.mark.parametrize(
    "use",
    [
        lambda hub: hub.switch(),
        lambda hub: hub.wait(None),
        lambda hub: hub.make_ready(getcurrent()),
        lambda hub: hub.throw_soon(getcurrent(), Failure),
        lambda hub: hub.cancel_wait(object(), Failure),
        lambda hub: set_hub(hub),
        lambda hub: Waiter(hub).get(),
    ],
    ids=["switch", "wait", "make_ready", "throw_soon", "cancel_wait", "set_hub", "get"],
)
def test_use_after_destroy_is_a_value_error_that_says_what_to_do(hub: Hub, use: Callable[[Hub], object]) -> None:
    hub.destroy()
    with pytest.raises(ValueError, match=r"destroyed; get_hub\(\) makes a new one"):
        use(hub)


@pytest.mark.parametrize(
    "use",
    [
        lambda hub: hub.switch(),
        lambda hub: hub.make_ready(getcurrent()),
        lambda hub: hub.throw_soon(getcurrent(), Failure),
        lambda hub: hub.start_soon(greenlet(print), print),
    ],
    ids=["switch", "make_ready", "throw_soon", "start_soon"],
)
def test_use_in_another_thread_names_both_threads(hub: Hub, elsewhere: Elsewhere, use: Callable[[Hub], object]) -> None:
    with pytest.raises(InvalidThreadUseError) as caught:
        elsewhere(lambda: use(hub))
    assert f"{elsewhere.ident:#x}" in str(caught.value)
    assert f"{hub.thread_ident:#x}" in str(caught.value)


def test_hub_destroyed_is_not_for_users_to_catch_by_accident() -> None:
    assert issubclass(HubDestroyed, BaseException)
    assert not issubclass(HubDestroyed, Exception)


# -- parts -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", ["threadpool", "resolver"])
def test_a_part_is_made_by_its_factory_when_first_read(no_hub: MakeLoop, part: str) -> None:
    made: list[Hub] = []

    def factory(hub: Any) -> Any:
        made.append(hub)
        return f"the {part}"

    hub = Hub(no_hub, **{part: factory})  # type: ignore[arg-type]  # one of two keywords of the same type
    assert made == []
    assert [getattr(hub, part), getattr(hub, part)] == [f"the {part}"] * 2
    assert made == [hub]
    delattr(hub, part)
    hub.destroy(destroy_loop=True)


@pytest.mark.parametrize("part", ["threadpool", "resolver"])
def test_a_part_may_be_assigned_and_deleted(hub: Hub, monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    monkeypatch.setattr(defaults, part, lambda hub: "made by default")
    setattr(hub, part, "mine")
    assert getattr(hub, part) == "mine"
    delattr(hub, part)
    assert getattr(hub, part) == "made by default"
    delattr(hub, part)


@pytest.mark.parametrize("part", ["threadpool", "resolver"])
def test_a_missing_part_is_one_clear_sentence(hub: Hub, monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    monkeypatch.setattr(defaults, part, None)
    with pytest.raises(LookupError, match=f"has no {part} of its own: install greenlet-hub .* or assign hub.{part}"):
        getattr(hub, part)


def test_a_watcher_whose_fd_leaves_the_loop_gives_ebadf_to_its_wait(hub: Hub) -> None:
    import socket

    ours, theirs = socket.socketpair()
    with ours, theirs:
        hub.loop.run_callback(hub.loop.closing_fd, ours.fileno())
        with hub.loop.io(ours.fileno(), 1) as watcher, pytest.raises(OSError, match="was closed while") as caught:
            hub.wait(watcher)
    assert caught.value.errno == errno.EBADF
