"""The Waiter: one wait of one greenlet, its outcome, and how that is delivered.

What it refuses: test_waiter_refusals.py.  Whatever is done to it in whichever order: test_waiter_model.py.
"""

from __future__ import annotations

import doctest
import signal
import threading
from typing import TYPE_CHECKING, Any

import pytest
from greenlet import GreenletExit, getcurrent
from tests.hub_core.conftest import Failure

from hub_core import Hub, Waiter, get_hub, kill, sleep, spawn_raw

if TYPE_CHECKING:
    from hub_loop.testing import FakePoller, ManualClock

REFERENCE = """
>>> result = Waiter()
>>> timer = get_hub().loop.timer(0.1)
>>> timer.start(result.switch, 'hello from Waiter')
>>> result.get() # blocks for 0.1 seconds
'hello from Waiter'
>>> timer.close()

If switch is called before the greenlet gets a chance to call get() then Waiter stores the value.

>>> result = Waiter()
>>> timer = get_hub().loop.timer(0.1)
>>> timer.start(result.switch, 'hi from Waiter')
>>> sleep(0.2)
>>> result.get() # returns immediately without blocking
'hi from Waiter'
>>> timer.close()
"""


def test_the_two_examples_of_the_reference_run_word_for_word(hub: Hub) -> None:
    names = {"Waiter": Waiter, "get_hub": get_hub, "sleep": sleep}
    example = doctest.DocTestParser().get_doctest(REFERENCE, names, "reference", None, None)
    result = doctest.DocTestRunner().run(example)
    assert (result.attempted, result.failed) == (11, 0)


# -- stored outcomes ---------------------------------------------------------------------------------------------------


def test_a_stored_value_is_returned_again_and_again_until_clear(hub: Hub) -> None:
    waiter = Waiter()
    waiter.switch(25)
    assert [waiter.get(), waiter.get()] == [25, 25]
    assert (waiter.ready(), waiter.successful(), waiter.value, waiter.exc_info) == (True, True, 25, None)
    waiter.clear()
    assert (waiter.ready(), waiter.successful(), waiter.value, waiter.exc_info) == (False, False, None, None)


def test_a_stored_none_is_an_outcome(hub: Hub) -> None:
    waiter = Waiter()
    waiter.switch(None)
    assert waiter.ready()
    assert waiter.get() is None


def test_a_stored_exception_is_raised_again_and_again_until_clear(hub: Hub) -> None:
    waiter = Waiter()
    error = Failure("no")
    waiter.throw(error)
    for _ in range(2):
        with pytest.raises(Failure, match="no") as caught:
            waiter.get()
        assert caught.value is error
    assert (waiter.ready(), waiter.successful(), waiter.value) == (True, False, None)
    waiter.clear()
    waiter.switch("fine now")
    assert waiter.get() == "fine now"


def test_switch_before_get_stores_the_value_and_get_does_not_park(hub: Hub) -> None:
    order: list[str] = []
    waiter = Waiter()
    waiter.switch("early")
    spawn_raw(order.append, "another greenlet")
    assert waiter.get() == "early"
    assert order == []


def test_a_later_outcome_replaces_a_stored_one(hub: Hub) -> None:
    waiter = Waiter()
    waiter.switch(1)
    waiter.throw(Failure)
    waiter.switch(2)
    assert waiter.get() == 2


def test_switch_args_stores_its_arguments_as_a_tuple(hub: Hub) -> None:
    waiter = Waiter()
    waiter.switch_args(1, "two")
    assert waiter.get() == (1, "two")


def test_exc_info_is_what_throw_was_given_and_not_a_normalised_triple(hub: Hub) -> None:
    waiter = Waiter()
    waiter.throw(Failure)
    seen = [waiter.exc_info]
    waiter.throw(Failure, "why")
    seen.append(waiter.exc_info)
    waiter.throw()
    seen.append(waiter.exc_info)
    waiter.switch("a value")
    assert [*seen, waiter.exc_info] == [(Failure,), (Failure, "why"), (), None]


def test_the_forms_of_str_tell_the_state(hub: Hub) -> None:
    waiter = Waiter()
    assert str(waiter) == "<Waiter greenlet=None>"
    waiter.switch(25)
    assert str(waiter) == "<Waiter greenlet=None value=25>"
    waiter.throw(Failure, "why")
    assert str(waiter) == f"<Waiter greenlet=None exc_info=({Failure!r}, 'why')>"
    waiter.clear()
    seen: list[str] = []
    hub.loop.run_callback(lambda: seen.append(str(waiter)))
    hub.loop.run_callback(waiter.switch, None)
    waiter.get()
    assert seen[0].startswith(f"<Waiter greenlet=<greenlet.greenlet object at {id(getcurrent()):#x} ")
    assert repr(waiter) == str(waiter) == "<Waiter greenlet=None>"


# -- delivery ----------------------------------------------------------------------------------------------------------


def test_a_waiting_get_returns_the_value_and_leaves_the_waiter_not_ready(hub: Hub) -> None:
    waiter = Waiter()
    hub.loop.run_callback(waiter.switch, "delivered")
    assert waiter.get() == "delivered"
    assert (waiter.ready(), waiter.value, waiter.greenlet) == (False, None, None)


def test_a_waiting_get_raises_the_exception_and_leaves_the_waiter_not_ready(hub: Hub) -> None:
    waiter = Waiter()
    hub.loop.run_callback(waiter.throw, Failure("delivered"))
    with pytest.raises(Failure, match="delivered"):
        waiter.get()
    assert (waiter.ready(), waiter.exc_info, waiter.greenlet) == (False, None, None)


def test_switch_only_marks_so_the_caller_goes_on_first(hub: Hub) -> None:
    order: list[object] = []
    waiter = Waiter()

    def wait() -> None:
        order.append(waiter.get())

    def wake() -> None:
        waiter.switch("value")
        order.append("the caller goes on")

    spawn_raw(wait)
    spawn_raw(wake)
    sleep(0)
    sleep(0)
    assert order == ["the caller goes on", "value"]


def test_switch_may_be_called_from_any_greenlet_of_the_thread(hub: Hub) -> None:
    waiter = Waiter()
    spawn_raw(waiter.switch, "from a greenlet")
    assert waiter.get() == "from a greenlet"


def test_the_greenlet_that_waits_is_named(hub: Hub) -> None:
    waiter = Waiter(hub)
    waiting = spawn_raw(waiter.get)
    sleep(0)
    assert waiter.greenlet is waiting
    assert waiter.hub is hub
    waiter.switch(None)
    hub.join()
    assert waiter.greenlet is None


def test_a_second_switch_while_a_delivery_is_pending_is_kept_for_the_next_get(hub: Hub) -> None:
    waiter = Waiter()
    got: list[object] = []

    def wait_twice() -> None:
        got.append(waiter.get())
        got.append(waiter.get())

    spawn_raw(wait_twice)
    sleep(0)
    waiter.switch("first")
    waiter.switch("second")
    hub.join()
    assert got == ["first", "second"]


def test_a_greenlet_killed_while_its_delivery_is_pending_leaves_the_outcome_and_no_ready_entry(hub: Hub) -> None:
    waiter = Waiter()
    order: list[str] = []
    waiting = spawn_raw(waiter.get)
    sleep(0)

    def deliver_and_kill() -> None:  # in one callback, so that the hub sees both: it throws before it hands over
        waiter.switch("not lost")
        kill(waiting)
        spawn_raw(order.append, "the others go on")

    hub.loop.run_callback(deliver_and_kill)
    hub.join()
    assert waiting.dead
    assert order == ["the others go on"]
    assert waiter.get() == "not lost"


def test_of_two_outcomes_under_way_to_a_killed_greenlet_the_first_is_kept(hub: Hub) -> None:
    waiter = Waiter()
    waiting = spawn_raw(waiter.get)
    sleep(0)

    def deliver_twice_and_kill() -> None:
        waiter.switch("first")
        waiter.switch("second")
        kill(waiting)

    hub.loop.run_callback(deliver_twice_and_kill)
    hub.join()
    assert waiting.dead
    assert waiter.get() == waiter.value == "first"


def test_an_outcome_stored_behind_a_delivery_can_be_taken_at_once(hub: Hub) -> None:
    waiter = Waiter()
    got: list[object] = []
    spawn_raw(lambda: got.append(waiter.get()))
    sleep(0)
    waiter.switch("for the one that waits")
    waiter.throw(Failure("for the next"))
    assert waiter.ready()
    with pytest.raises(Failure, match="for the next"):
        waiter.get()
    waiter.clear()
    assert not waiter.ready()
    hub.join()
    assert got == ["for the one that waits"]


def test_a_greenlet_that_survives_its_kill_is_not_resumed_by_the_stale_delivery(hub: Hub) -> None:
    first, second = Waiter(), Waiter()
    got: list[object] = []

    def stubborn() -> None:
        try:
            first.get()
        except GreenletExit:
            got.append(second.get())

    waiting = spawn_raw(stubborn)
    sleep(0)

    def deliver_and_kill() -> None:
        first.switch("stale")
        kill(waiting)

    hub.loop.run_callback(deliver_and_kill)
    sleep(0.001)
    assert got == []
    second.switch("fresh")
    hub.join()
    assert got == ["fresh"]


def test_a_waiter_can_be_used_for_one_wait_after_another(hub: Hub) -> None:
    waiter = Waiter()
    got = []
    for number in range(5):
        hub.loop.run_callback(waiter.switch, number)
        got.append(waiter.get())
    assert got == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("arguments", "kind", "text"),
    [
        ((Failure,), Failure, ""),
        ((Failure("instance"),), Failure, "instance"),
        ((Failure, "text"), Failure, "text"),
        ((Failure, Failure("as value")), Failure, "as value"),
        ((Failure, ("a", "b")), Failure, r"\('a', 'b'\)"),
        ((Failure, None, None), Failure, ""),
        ((), GreenletExit, ""),
    ],
)
@pytest.mark.parametrize("stored", [True, False])
def test_throw_takes_every_form_that_greenlet_throw_takes(
    hub: Hub, arguments: tuple[Any, ...], kind: type[BaseException], text: str, stored: bool
) -> None:
    waiter = Waiter()
    if stored:
        waiter.throw(*arguments)
    else:
        hub.loop.run_callback(waiter.throw, *arguments)
    with pytest.raises(kind, match=f"^{text}$"):
        waiter.get()


@pytest.mark.parametrize("value", ["origin", None])
def test_throw_with_a_traceback_raises_with_it(hub: Hub, value: str | None) -> None:
    waiter = Waiter()
    try:
        raise Failure("origin")
    except Failure as failure:
        waiter.throw(Failure, value or failure, failure.__traceback__)
    with pytest.raises(Failure, match="origin") as caught:
        waiter.get()
    assert "raise Failure" in "".join(str(entry) for entry in caught.traceback)


@pytest.mark.parametrize("arguments", [(1,), ("text",), (int,), (None,), (Failure, 1, None, 4)])
def test_throw_refuses_what_is_not_an_exception_at_the_call(hub: Hub, arguments: tuple[Any, ...]) -> None:
    waiter = Waiter()
    with pytest.raises(TypeError, match="throw takes an exception class, an instance or a"):
        waiter.throw(*arguments)
    assert not waiter.ready()


def test_time_spent_in_get_is_the_callers_only(clocked_hub: Hub, clock: ManualClock, poller: FakePoller) -> None:
    waiter = Waiter()
    began = clock()
    with clocked_hub.loop.timer(2.0) as timer:
        timer.start(waiter.switch, "on time")
        assert waiter.get() == "on time"
    assert clock() == began + 2.0
    assert poller.polls < 5


# -- links and signals -------------------------------------------------------------------------------------------------


class Source:
    """Something that one can link a waiter to."""

    def __init__(self, value: object, exception: BaseException | None) -> None:
        self.value = value
        self.exception = exception


def test_a_waiter_called_with_a_source_takes_over_its_value(hub: Hub) -> None:
    waiter = Waiter()
    hub.loop.run_callback(waiter, Source("result", None))
    assert waiter.get() == "result"


def test_a_waiter_called_with_a_failed_source_takes_over_its_exception(hub: Hub) -> None:
    waiter = Waiter()
    error = Failure("of the source")
    waiter(Source(None, error))
    assert waiter.exc_info == (error,)


def test_a_signal_handler_that_switches_a_waiter_wakes_a_sleeping_loop_at_once(
    clocked_hub: Hub, clock: ManualClock, poller: FakePoller
) -> None:
    waiter = Waiter()
    began = clock()
    before = signal.signal(signal.SIGUSR1, lambda signum, frame: waiter.switch(signum))
    try:
        poller.when_blocking(signal.raise_signal, signal.SIGUSR1)
        with clocked_hub.loop.timer(30.0) as late:
            late.start(waiter.switch, "too late")
            assert waiter.get() == signal.SIGUSR1
        assert clock() == began
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_signal_ends_a_real_poll_too(each_hub: Hub) -> None:
    # A thread sends signals as long as the loop sleeps; a poll that went on would run into the test's timeout.  One
    # signal is not enough: it can slip in between the interpreter's last look at its signals and the system call.
    waiter = Waiter()
    before = signal.signal(signal.SIGUSR1, lambda signum, frame: waiter.switch(signum))

    def send_while_asleep() -> None:
        while waiter.greenlet is not None:
            if each_hub.loop.sleeping:
                signal.pthread_kill(each_hub.thread_ident, signal.SIGUSR1)

    thread = threading.Thread(target=send_while_asleep)
    try:
        each_hub.loop.ref()
        each_hub.loop.run_callback(thread.start)
        assert waiter.get() == signal.SIGUSR1
    finally:
        thread.join()
        each_hub.loop.unref()
        signal.signal(signal.SIGUSR1, before)
