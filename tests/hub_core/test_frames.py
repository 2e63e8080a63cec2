"""Looking at the variables of other people's frames: they are as they were, and nothing is kept."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any
from weakref import ref

from tests.hub_core.reported import end

from hub_core import Hub, Waiter, set_hub, sleep, spawn_raw
from hub_loop import Loop

if TYPE_CHECKING:
    from collections.abc import Callable

    from greenlet import greenlet


class Thing:
    pass


def parked(function: Callable[[list[dict[str, Any]]], object]) -> tuple[greenlet, dict[str, Any]]:
    """A greenlet that is parked in `function`, which has noted a dict; and that."""
    noted: list[dict[str, Any]] = []
    it = spawn_raw(function, noted)
    sleep(0)
    return it, noted[0]


def test_a_dict_of_locals_stays_with_whoever_called_for_it(hub: Hub) -> None:
    def handle(noted: list[dict[str, Any]], user: str = "bob") -> None:
        words = locals()
        words["title"] = "hello"
        noted.append(words)
        Waiter().get()

    it, words = parked(handle)
    hub.report()
    assert (words["user"], words["title"]) == ("bob", "hello")
    end(it)


def test_nor_is_one_emptied_that_somebody_has_by_way_of_the_frame(hub: Hub) -> None:
    def render() -> dict[str, Any]:
        return sys._getframe(1).f_locals

    def handle(noted: list[dict[str, Any]], user: str = "bob") -> None:
        noted.append(render())
        Waiter().get()

    it, words = parked(handle)
    hub.report()
    assert words["user"] == "bob"
    end(it)


def test_code_that_runs_in_such_a_dict_keeps_its_variables(hub: Hub) -> None:
    def run(noted: list[dict[str, Any]]) -> None:
        exec("title = 'hello'; noted.append({}); gate.get(); noted[0]['title'] = title", {"gate": gate}, locals())

    gate = Waiter()
    it, noted = parked(run)
    hub.report()
    gate.switch(None)
    while not it.dead:
        sleep(0)
    assert noted == {"title": "hello"}


def test_a_hub_keeps_no_variable_of_the_function_that_makes_it(hub: Hub) -> None:
    thing = Thing()
    gone = ref(thing)
    made = Hub(Loop(default=False))
    del thing
    assert gone() is None
    made.destroy()
    set_hub(hub)


def test_nor_of_the_method_that_makes_it(hub: Hub) -> None:
    class App:
        def run(self) -> None:
            thing = Thing()
            gone = ref(thing)
            made = Hub(Loop(default=False))
            del thing
            assert gone() is None
            made.destroy()

    App().run()
    set_hub(hub)
