"""The kill rules of docs/explain/killing.md as one table: in which state a greenlet is, and what its kill does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from greenlet import GreenletExit, getcurrent, greenlet

from hub_core import Hub, Waiter, get_hub, kill, set_hub, sleep, spawn_raw
from hub_loop import Loop

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.hub_core.conftest import Reports


class Failure(Exception):
    """Thrown by tests."""


Notes = list[str]

# -- the states: each makes a greenlet, brings it there, kills it, and lets the hub run --------------------------------


def note_the_end(notes: Notes, waits: Callable[[], object]) -> None:
    """The body of most victims."""
    notes.append("started")
    try:
        waits()
        notes.append("went on")
    except BaseException as error:
        notes.append(type(error).__name__)
        raise


def before_its_start(notes: Notes, exception: type[BaseException] | BaseException) -> greenlet:
    victim = spawn_raw(note_the_end, notes, sleep)
    kill(victim, exception)
    return victim


def before_its_start_twice(notes: Notes, exception: type[BaseException] | BaseException) -> greenlet:
    victim = spawn_raw(note_the_end, notes, sleep)
    kill(victim, exception)
    kill(victim, ZeroDivisionError)
    return victim


def never_scheduled(notes: Notes, exception: type[BaseException] | BaseException) -> greenlet:
    victim = greenlet(lambda: notes.append("started"), get_hub())
    kill(victim, exception)
    return victim


def parked(notes: Notes, exception: type[BaseException] | BaseException) -> greenlet:
    victim = spawn_raw(note_the_end, notes, Waiter().get)
    sleep(0)
    kill(victim, exception)
    return victim


def parked_raw(notes: Notes, exception: type[BaseException] | BaseException) -> greenlet:
    victim = spawn_raw(note_the_end, notes, get_hub().switch)
    sleep(0)
    kill(victim, exception)
    return victim


def asleep(notes: Notes, exception: type[BaseException] | BaseException) -> greenlet:
    victim = spawn_raw(note_the_end, notes, lambda: sleep(60))
    sleep(0)
    kill(victim, exception)
    return victim


def ready_after_a_yield(notes: Notes, exception: type[BaseException] | BaseException) -> greenlet:
    def spins() -> None:
        while True:
            sleep(0)

    victim = spawn_raw(note_the_end, notes, spins)
    sleep(0)
    kill(victim, exception)
    return victim


def killed_in_a_callback(notes: Notes, exception: type[BaseException] | BaseException) -> greenlet:
    victim = spawn_raw(note_the_end, notes, Waiter().get)
    sleep(0)
    get_hub().loop.run_callback(kill, victim, exception)
    return victim


def killed_from_another_thread_by_a_post(notes: Notes, exception: type[BaseException] | BaseException) -> greenlet:
    victim = spawn_raw(note_the_end, notes, Waiter().get)
    sleep(0)
    get_hub().loop.run_callback_threadsafe(kill, victim, exception)
    return victim


def itself(notes: Notes, exception: type[BaseException] | BaseException) -> greenlet:
    def waits() -> None:
        kill(getcurrent(), exception)
        notes.append("goes on until it parks")
        sleep(0)

    return spawn_raw(note_the_end, notes, waits)


def itself_while_carried(notes: Notes, exception: type[BaseException] | BaseException) -> greenlet:
    names: list[greenlet] = []

    def waits() -> None:
        names.append(getcurrent())
        kill(names[0], exception)
        sleep(0)

    spawn_raw(int)
    spawn_raw(note_the_end, notes, waits)
    sleep(0)
    return names[0]


def above_one_that_it_waits_for(notes: Notes, exception: type[BaseException] | BaseException) -> greenlet:
    victim = spawn_raw(note_the_end, notes, lambda: greenlet(lambda: sleep(0.001)).switch())
    sleep(0)
    kill(victim, exception)
    return victim


def of_a_destroyed_hub(notes: Notes, exception: type[BaseException] | BaseException) -> greenlet:
    kept = get_hub()
    old = Hub(Loop(default=False))
    set_hub(old)
    victim = spawn_raw(note_the_end, notes, Waiter().get)
    sleep(0)
    old.destroy(timeout=0)
    set_hub(kept)
    kill(victim, exception)
    return victim


def of_a_hub_that_waits_for_the_end_of_a_block(
    notes: Notes, exception: type[BaseException] | BaseException
) -> greenlet:
    victim = spawn_raw(note_the_end, notes, Waiter().get)
    sleep(0)
    with Hub(Loop(default=False)):
        kill(victim, exception)
        sleep(0.001)
        assert notes == ["started"], "its hub ran in the block of another"
    return victim


GOT_IT = ["started", "{}"]
STATES: list[tuple[Callable[..., greenlet], list[str]]] = [
    (before_its_start, []),
    (before_its_start_twice, []),
    (never_scheduled, []),
    (parked, GOT_IT),
    (parked_raw, GOT_IT),
    (asleep, GOT_IT),
    (ready_after_a_yield, GOT_IT),
    (killed_in_a_callback, GOT_IT),
    (killed_from_another_thread_by_a_post, GOT_IT),
    (itself, ["started", "goes on until it parks", "{}"]),
    (itself_while_carried, GOT_IT),
    (above_one_that_it_waits_for, GOT_IT),
    (of_a_destroyed_hub, GOT_IT),
    (of_a_hub_that_waits_for_the_end_of_a_block, GOT_IT),
]


@pytest.mark.parametrize(
    ("exception", "printed"),
    [(GreenletExit, False), (GreenletExit("a reason"), False), (Failure, True), (Failure("an instance"), True)],
    ids=["GreenletExit", "instance of GreenletExit", "error", "instance of an error"],
)
@pytest.mark.parametrize(("state", "expected"), STATES, ids=[row[0].__name__ for row in STATES])
def test_a_kill_in_each_state(
    hub: Hub,
    reports: Reports,
    state: Callable[..., greenlet],
    expected: list[str],
    exception: type[BaseException] | BaseException,
    printed: bool,
) -> None:
    notes: Notes = []
    victim = state(notes, exception)
    assert hub.join()
    name = exception.__name__ if isinstance(exception, type) else type(exception).__name__
    assert notes == [line.format(name) for line in expected]
    assert victim.dead
    text = reports.take()
    assert text.count(f" {victim!r} failed with Failure\n\n") == printed, text
    kill(victim, exception)
    assert hub.join(), "to kill a dead one is nothing"


def test_the_main_greenlet_gets_it_where_it_is_parked_like_any_other(hub: Hub) -> None:
    spawn_raw(kill, getcurrent(), Failure("for main"))
    with pytest.raises(Failure, match="for main"):
        sleep(60)
    spawn_raw(kill, getcurrent())
    with pytest.raises(GreenletExit):
        hub.join()
    assert hub.join()


# -- one that does not end at once -------------------------------------------------------------------------------------


def test_one_that_parks_in_its_finally_goes_on_there_and_can_be_killed_there(hub: Hub) -> None:
    notes: Notes = []

    def body(name: str) -> None:
        try:
            sleep(60)
        finally:
            notes.append(f"{name} cleans")
            sleep(0.001)
            notes.append(f"{name} is done")

    once, twice = spawn_raw(body, "once"), spawn_raw(body, "twice")
    sleep(0)
    kill(once)
    kill(twice)
    kill(twice)
    assert hub.join()
    assert notes == ["once cleans", "twice cleans", "once is done"]
    assert once.dead
    assert twice.dead


def test_two_kills_are_two_exceptions_the_second_where_it_parks_next(hub: Hub) -> None:
    caught: list[str] = []

    def body() -> None:
        for _ in range(2):
            try:
                sleep(60)
            except Exception as error:
                caught.append(str(error))

    victim = spawn_raw(body)
    sleep(0)
    kill(victim, Failure("first"))
    kill(victim, Failure("second"))
    assert hub.join()
    assert caught == ["first", "second"]


def test_one_that_catches_the_exception_goes_on_as_if_nothing_had_happened(hub: Hub) -> None:
    notes: Notes = []

    def body() -> None:
        try:
            Waiter().get()
        except GreenletExit:
            pass
        sleep(0.001)
        notes.append("went on")

    victim = spawn_raw(body)
    sleep(0)
    kill(victim)
    assert hub.join()
    assert notes == ["went on"]


def test_what_a_ready_one_was_woken_with_is_not_lost_when_it_is_killed(hub: Hub) -> None:
    waiter = Waiter()
    victim = spawn_raw(waiter.get)
    sleep(0)
    hub.loop.run_callback(kill, victim)
    hub.loop.run_callback(waiter.switch, "a job")
    assert hub.join()
    assert victim.dead
    assert waiter.get() == "a job"


def test_a_kill_of_many_that_includes_the_killer_reaches_all(hub: Hub) -> None:
    crew: list[greenlet] = []

    def body() -> None:
        sleep(0)
        for each in crew:
            kill(each)
        sleep(60)

    crew += [spawn_raw(body) for _ in range(3)]
    assert hub.join()
    assert all(each.dead for each in crew)


def test_the_end_of_one_of_a_destroyed_hub_does_not_wake_who_destroyed_it(hub: Hub) -> None:
    victim = of_a_destroyed_hub([], GreenletExit)
    waiter = Waiter()
    hub.loop.run_callback(lambda: hub.loop.run_callback(waiter.switch, "its own"))
    assert waiter.get() == "its own"
    assert victim.dead
