"""Finding the greenlets of a hub: all of them, in any state, with their stacks, and at which cost.

While other threads live, and in a child: test_report_find_elsewhere.py.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from greenlet import getcurrent, greenlet
from tests.hub_core.reported import end, find

from hub_core import Hub, Report, Waiter, kill, set_hub, sleep, spawn_raw
from hub_core._report_find import stack_from, stack_of
from hub_loop import Loop

MANY = int(os.environ.get("HUB_TEST_PARKED", "2000"))
"""How many parked greenlets a report shall cope with; 10,000 is the full size."""


# -- spawn sites ----------------------------------------------------------------------------------------------------


def line() -> int:
    """The line of the caller."""
    return sys._getframe(1).f_lineno


def test_a_greenlet_says_where_it_was_spawned(hub: Hub) -> None:
    it, there = spawn_raw(hub.switch), line()
    sleep(0)
    each = find(hub.report(), it)
    assert each is not None
    assert each.spawned_at is not None
    assert (each.spawned_at.filename, each.spawned_at.lineno) == (__file__, there)
    assert each.spawned_at.function == "test_a_greenlet_says_where_it_was_spawned"
    assert f"spawned at {each.spawned_at}" in str(hub.report())
    end(it)


def test_a_function_that_runs_in_a_carrier_has_its_own_site_and_not_the_last_ones(hub: Hub) -> None:
    gate = Waiter()
    seen: list[greenlet] = []

    def wait() -> None:
        seen.append(getcurrent())
        gate.get()

    spawn_raw(int)
    spawn_raw(int), spawn_raw(wait)
    there = line() - 1
    sleep(0)
    each = find(hub.report(), seen[0])
    assert each is not None
    assert each.name.endswith("wait")
    assert each.spawned_at is not None
    assert each.spawned_at.lineno == there
    gate.switch()
    seen.clear()
    hub.join()


def test_to_remember_the_site_keeps_no_local_variable_of_the_spawner_alive(hub: Hub) -> None:
    import weakref

    class Thing:
        pass

    def spawn() -> tuple[greenlet, weakref.ref[Thing]]:
        thing = Thing()
        return spawn_raw(hub.switch), weakref.ref(thing)

    it, seen = spawn()
    assert seen() is None
    sleep(0)
    end(it)


def test_a_greenlet_that_was_not_spawned_has_no_site(hub: Hub) -> None:
    it = greenlet(hub.switch, hub)
    hub.start_soon(it, hub.switch)
    sleep(0)
    each = find(hub.report(), it)
    assert each is not None
    assert each.spawned_at is None
    end(it)


# -- which greenlets ------------------------------------------------------------------------------------------------


def test_new_ready_and_parked_are_told_apart_and_the_dead_are_not_shown(hub: Hub) -> None:
    dead = spawn_raw(int)
    parked = spawn_raw(Waiter().get)
    ready = spawn_raw(sleep, 0.0)
    waiter = Waiter()
    woken = spawn_raw(waiter.get)
    hub.loop.run_callback(lambda: None)
    sleep(0)
    waiter.switch()
    new = spawn_raw(int)
    report = hub.report()
    states = {each.id: each.state for each in report.greenlets}
    assert states[id(parked)] == "parked"
    assert states[id(woken)] == "ready"
    assert id(dead) not in states
    assert id(new) not in states
    assert report.new == 1
    assert "1 not started" in str(report)
    end(parked, ready, woken, new)


def test_an_idle_carrier_is_nobody(hub: Hub) -> None:
    spawn_raw(int)
    sleep(0)
    assert hub._carrier is not None
    assert hub.report().greenlets == ()


def test_the_greenlets_of_another_hub_are_not_shown(hub: Hub) -> None:
    gone = threading.Event()
    parked: list[greenlet] = []

    def other() -> None:
        theirs = Hub(Loop())
        set_hub(theirs)
        parked.append(spawn_raw(sleep, 60))
        sleep(0.001)
        seen.append(theirs.report())
        gone.wait(30)
        end(*parked)
        theirs.destroy(destroy_loop=True)

    seen: list[Report] = []
    thread = threading.Thread(target=other)
    thread.start()
    mine = spawn_raw(sleep, 60)
    sleep(0)
    while not seen:
        sleep(0.001)
    report = hub.report()
    gone.set()
    thread.join()
    assert find(report, mine) is not None
    assert find(report, parked[0]) is None
    assert find(seen[0], parked[0]) is not None
    assert find(seen[0], mine) is None
    end(mine)


def test_nothing_that_is_asked_for_its_class_runs(hub: Hub) -> None:
    def unbound(self: object) -> type:
        raise RuntimeError("working outside of a context")

    held = type("Proxy", (), {"__class__": property(unbound)})()
    assert hub.report().greenlets == ()
    del held


FROZEN = """
import gc, json
from hub_core import Hub, Waiter, set_hub, sleep, spawn_raw
from hub_loop import Loop

hub = Hub(Loop())
set_hub(hub)
waiter = Waiter()

def on_timer(): sleep(60)
def on_nothing(): waiter.get()
def yielding():
    while True: sleep(0)

held = [spawn_raw(each) for each in (on_timer, on_nothing, yielding)]
sleep(0.01)
gc.collect()
gc.freeze()
frozen = hub.report()
gc.unfreeze()
print(json.dumps([frozen.as_dict(), hub.report().as_dict()]))
"""


def test_greenlets_that_were_set_aside_are_found_where_something_leads_to_them_and_the_report_says_so() -> None:
    done = subprocess.run([sys.executable, "-c", FROZEN], capture_output=True, text=True, check=True, timeout=60)
    frozen, whole = json.loads(done.stdout)
    assert {each["name"] for each in frozen["greenlets"]} == {"on_timer", "yielding"}
    assert "set aside by gc.freeze()" in frozen["incomplete"][0]
    assert {each["name"] for each in whole["greenlets"]} == {"on_timer", "yielding", "on_nothing"}
    assert whole["incomplete"] == []


def test_a_loop_that_does_not_tell_what_it_has_started_makes_the_report_incomplete(hub: Hub) -> None:
    class Tight:
        def __init__(self, loop: Loop) -> None:
            self._loop = loop

        def __getattr__(self, name: str) -> Any:
            if name in ("debug", "clock"):
                raise AttributeError(name)
            return getattr(self._loop, name)

    loop: Any = hub.loop
    tight: Any = Tight(loop)
    hub.loop = tight
    it = spawn_raw(sleep, 60)
    sleep(0)
    try:
        report = hub.report()
    finally:
        hub.loop = loop
    assert any("has no `debug`" in text for text in report.incomplete)
    each = find(report, it)
    assert each is not None
    assert each.wait is not None
    assert each.wait.waited is not None
    end(it)


# -- stacks ---------------------------------------------------------------------------------------------------------


def test_a_stack_begins_with_the_users_innermost_frame_and_has_none_of_the_familys(hub: Hub) -> None:
    def outer() -> None:
        inner()

    def inner() -> None:
        sleep(60)

    it = spawn_raw(outer)
    sleep(0)
    each = find(hub.report(), it)
    assert each is not None
    assert [frame.function.rpartition(".")[2] for frame in each.stack] == ["inner", "outer"]
    assert each.stack[0].line == "sleep(60)"
    assert not any(frame.family for frame in each.stack)
    end(it)


def test_a_greenlet_without_a_frame_of_the_users_shows_the_familys_marked(hub: Hub) -> None:
    it = spawn_raw(sleep, 60)
    sleep(0)
    each = find(hub.report(), it)
    assert each is not None
    assert each.name == "sleep"
    assert [frame.function for frame in each.stack] == ["Hub.park", "Waiter.get", "HubBase.wait", "sleep"]
    assert all(frame.family for frame in each.stack)
    end(it)


def test_a_stack_ends_where_the_greenlet_began(hub: Hub) -> None:
    it = spawn_raw(hub.switch)
    assert stack_of(it) == []
    sleep(0)
    assert [frame.f_code.co_name for frame in stack_of(it)] == ["switch"]
    end(it)
    assert stack_of(it) == []
    assert stack_from(sys._getframe())[0] is sys._getframe()


# -- how much -------------------------------------------------------------------------------------------------------


def parked_in(kind: str, held: list[Any]) -> Callable[[], object]:
    """A way to park for long."""

    def on_waiter() -> None:
        waiter = Waiter()
        held.append(waiter)
        waiter.get()

    def on_own() -> None:
        waiter = Waiter()
        waiter.get()

    def on_timer() -> None:
        sleep(1000)

    return {"waiter": on_waiter, "own": on_own, "timer": on_timer}[kind]


@pytest.mark.parametrize("kind", ["waiter", "own", "timer"])
def test_a_report_of_many_greenlets_takes_time_in_proportion_and_few_lines(hub: Hub, kind: str) -> None:
    # 10,000 take 0.8 to 1.0 s of CPU time on a busy machine.  The bound is far off, for one that traces each line.
    held: list[Any] = []
    greenlets = [spawn_raw(parked_in(kind, held)) for _ in range(MANY)]
    sleep(0.001)
    hub.report()
    started = time.process_time()
    report = hub.report()
    text = str(report)
    took = time.process_time() - started
    assert len(report.greenlets) == MANY
    assert len(report.orphans) == (MANY if kind == "own" else 0)
    assert f"({MANY - 1} greenlets)" in text
    assert text.count("\n") < 200
    assert took < MANY / 200
    end(*greenlets)


def test_a_report_imports_nothing_before_it_is_asked_for() -> None:
    code = """
import sys
import hub_core, hub_loop
hub = hub_core.Hub(hub_loop.Loop())
hub_core.set_hub(hub)
hub_core.spawn_raw(hub_core.sleep, 0.001)
hub.join()
assert not [name for name in sys.modules if "_report" in name], sys.modules
hub.report()
assert "hub_core._report_make" in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_report_while_nothing_can_be_collected_changes_nothing_for_the_collector(hub: Hub) -> None:
    gc.disable()
    try:
        hub.report()
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_what_a_callback_leads_to_is_seen_through_partials_methods_and_closures(hub: Hub) -> None:
    import functools

    waiter = Waiter()
    it = spawn_raw(waiter.get)
    sleep(0)

    def through_a_closure() -> None:
        waiter.switch(unset)

    with hub.loop.timer(7) as timer:
        for callback in (waiter.switch, functools.partial(functools.partial(waiter.switch, 1)), through_a_closure):
            timer.start(callback)
            each = find(hub.report(), it)
            assert each is not None
            assert each.wait is not None
            assert [str(waker)[:6] for waker in each.wait.wakers] == ["<timer"], callback
            timer.stop()
        timer.start(kill, it)
        each = find(hub.report(), it)
        assert each is not None
        assert each.wait is not None
        assert len(each.wait.wakers) == 1
    end(it)
    unset = None  # the closure's cell was empty until here


def test_a_callback_of_a_frozen_greenlet_leads_to_it_by_its_fd_too(hub: Hub) -> None:
    import socket

    from hub_core import FdWaiter
    from hub_core._find import behind

    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        owned = FdWaiter(ours.fileno())
        it = spawn_raw(owned.wait_read)
        sleep(0)
        handles: list[Any] = hub.loop.debug()  # type: ignore[attr-defined]  # the loop of these tests has it
        assert behind(handles) == [it]
        end(it)
        owned.close()


def test_what_the_collector_does_not_tell_of_is_found_behind_the_loop_and_in_the_lanes(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As after gc.freeze(), which no test of this process may call: see the fixtures.
    sleeper, yielder = spawn_raw(sleep, 60), spawn_raw(sleep)
    hub.loop.run_callback(lambda: None)
    sleep(0)
    monkeypatch.setattr("hub_core._report_find.known_greenlets", list)
    assert {each.id for each in hub.report().greenlets} == {id(sleeper), id(yielder)}
    end(sleeper, yielder)


def test_a_greenlet_below_another_that_parks_by_a_bare_switch_is_one_of_the_hub(hub: Hub) -> None:
    def start_another() -> None:
        below.append(greenlet(hub.switch))
        below[0].switch()

    below: list[greenlet] = []
    above = spawn_raw(start_another)
    sleep(0)
    each = find(hub.report(), below[0])
    assert each is not None
    assert each.thread == threading.get_ident()
    end(below[0], above)
