"""The laws of docs/architecture, each with a guard that can fail: who switches, how often, and how deep.

Laws 1 to 3 here; 4 in test_waiter_refusals, 5 in test_fairness, 7 in test_fds, 8 in every file ("in another thread").
"""

from __future__ import annotations

import ast
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import greenlet as greenlets
import pytest
from greenlet import greenlet

from hub_core import FdWaiter, Hub, Waiter, kill, sleep, spawn_raw, wait_read, wait_reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hub_loop.testing import ManualClock

PACKAGES = Path(__file__).parents[2] / "packages"
SWITCHER = "hub_core/_hub.py"
MARKERS = {
    ("hub_core/_base.py", "callback.__self__"),  # of a watcher that Hub.wait started: its Waiter
    ("greenlet_hub/_demo.py", "self._all_gone"),
}
"""Waiters under another name than one that ends in "waiter"; that they are Waiters is for the reader to see, once."""


# -- law 1: a callback marks, it never switches ------------------------------------------------------------------------


def switches(source: str, file: str) -> list[str]:
    """Where `source` touches a `switch` or `throw` that may be a greenlet's, as `file:line: text`.

    Every attribute of that name counts, called or not, since it may be passed on; and so does the name as a text, for
    getattr and its like, as an attribute that a pattern takes, and as what is imported from somewhere, under any alias.
    Let be are those of a Waiter: of whatever is called a waiter, of MARKERS, and of `self` in the class Waiter.
    """
    found: list[str] = []
    names = ("switch", "throw", "_switch")

    def visit(node: ast.AST, of: str) -> None:
        if isinstance(node, ast.ClassDef):
            of = node.name
        elif isinstance(node, ast.Attribute) and node.attr in names:
            receiver = ast.unparse(node.value)
            marks = (
                receiver.lower().endswith("waiter")
                or (file, receiver) in MARKERS
                or (receiver == "self" and of == "Waiter")
            )
            if not marks:
                found.append(f"{file}:{node.lineno}: {ast.unparse(node)}")
        elif (
            (isinstance(node, ast.Constant) and node.value in names)
            or (isinstance(node, ast.ImportFrom) and any(name.name in names for name in node.names))
            or (isinstance(node, ast.MatchClass) and any(name in names for name in node.kwd_attrs))
        ):
            found.append(f"{file}:{node.lineno}: {ast.unparse(node)}")
        for child in ast.iter_child_nodes(node):
            visit(child, of)

    visit(ast.parse(source), "")
    return found


def sources() -> list[Path]:
    return sorted(PACKAGES.glob("*/src/**/*.py"))


def test_the_guard_looks_at_every_package_of_the_family() -> None:
    looked_at = {path.relative_to(PACKAGES).parts[0] for path in sources()}
    assert looked_at == {path.parent.name for path in PACKAGES.glob("*/pyproject.toml")}
    assert len(looked_at) >= 6


def test_only_the_hubs_module_switches_greenlets() -> None:
    found = [
        line
        for path in sources()
        if not str(path).endswith(SWITCHER)
        for line in switches(path.read_text("utf-8"), f"{path.parent.name}/{path.name}")
    ]
    assert found == []


def test_the_hubs_module_is_where_the_guard_looks() -> None:
    (hub,) = (path for path in sources() if str(path).endswith(SWITCHER))
    assert len(switches(hub.read_text("utf-8"), SWITCHER)) >= 5


@pytest.mark.parametrize(
    "line",
    [
        "chosen.switch()",
        "greenlet.switch(chosen)",
        "_switch = greenlet.switch",
        "current.parent.throw(error)",
        "loop.run_callback(parked.switch, value)",
        "getattr(parked, 'throw')(error)",
        "wake = operator.attrgetter('switch')",
        "greenlet.__dict__['switch'](parked)",
        "from hub_core._hub import _switch as go",
        "match parked:\n    case greenlet(switch=go):\n        go()",
        "class Pool:\n    def wake(self):\n        self.switch()",
        "class Waiter:\n    def wake(self):\n        self.greenlet.switch()",
    ],
)
def test_the_guard_finds_each_way_to_switch_a_greenlet(line: str) -> None:
    assert len(switches(line, "hub_core/_waits.py")) == 1


@pytest.mark.parametrize(
    "line",
    [
        "waiter.switch(1)",
        "timer.start(waiter.throw, error)",
        "self._parked.popleft().waiter.switch(None)",
        "self._waiter.switch(None)",
        "class Waiter:\n    def switch_args(self, *args):\n        self.switch(args)",
        "class IWaiter:\n    def switch(self, value): ...",
    ],
)
def test_the_guard_lets_waiters_be(line: str) -> None:
    assert switches(line, "hub_core/_waits.py") == []


class Tracer:
    """Notes every switch between greenlets: from which to which, and in which file the one that left stands."""

    def __init__(self) -> None:
        self.switches: list[tuple[greenlet, greenlet]] = []
        self.files: set[str] = set()

    def __call__(self, event: str, pair: tuple[Any, Any]) -> None:
        origin, target = pair
        self.switches.append((origin, target))
        if origin.gr_frame is not None:  # else it has ended: greenlet itself went on with the parent
            self.files.add(Path(origin.gr_frame.f_code.co_filename).name)


@pytest.fixture
def trace() -> Iterator[Callable[[], Tracer]]:
    """Starts to note the switches of this thread."""

    def start() -> Tracer:
        tracer = Tracer()
        greenlets.settrace(tracer)
        return tracer

    yield start
    greenlets.settrace(None)


def test_at_run_time_too_every_switch_is_made_in_the_hubs_module(
    hub: Hub, trace: Callable[[], Tracer], reports: Any
) -> None:
    tracer = trace()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        waiter, owned = Waiter(), FdWaiter(ours.fileno())
        doomed = spawn_raw(Waiter().get)
        spawn_raw(waiter.switch, 1)
        waiter.get()
        spawn_raw(theirs.send, b"x")
        owned.wait_read(timeout=5)
        owned.close()
        wait_read(ours.fileno(), timeout=5)
        spawn_raw(int, "not a number")
        kill(doomed)
        with hub.loop.timer(0.001) as timer:
            timer.start(hub.cancel_wait, None, ValueError)
            sleep(0.002)
        assert hub.join(timeout=0.001)
        assert hub.join()
    greenlets.settrace(None)
    assert tracer.files == {"_hub.py"}
    assert len(tracer.switches) > 10
    assert "ValueError" in reports.take()


def test_a_strangers_switch_is_seen_by_that_guard(hub: Hub, trace: Callable[[], Tracer]) -> None:
    parked = spawn_raw(hub.switch)
    sleep(0)
    tracer = trace()
    greenlet(int).switch()
    assert tracer.files == {"test_laws.py"}
    hub.loop.run_callback(parked.switch)
    hub.join()
    greenlets.settrace(None)
    assert tracer.files == {"test_laws.py", "_batch.py", "_hub.py"}


# -- law 2: one room sleeps --------------------------------------------------------------------------------------------


def test_a_park_with_somebody_ready_is_one_switch_and_never_goes_through_the_hub(
    clocked_hub: Hub, trace: Callable[[], Tracer]
) -> None:
    # The clock stands still, so the budget is its bound in count: far more than the 30 handoffs here.
    tracers: list[Tracer] = []
    seen: list[list[tuple[greenlet, greenlet]]] = []

    def run(number: int) -> None:
        sleep(0)
        for turn in range(12):
            if number == 0 and turn == 1:
                tracers.append(trace())
            if number == 0 and turn == 11:
                seen.append(list(tracers[0].switches))
                greenlets.settrace(None)
            sleep(0)

    ring = [spawn_raw(run, number) for number in range(3)]
    clocked_hub.join()
    assert seen == [[(ring[number % 3], ring[(number + 1) % 3]) for number in range(30)]]


def test_two_greenlets_that_wake_each_other_never_go_through_the_hub(
    clocked_hub: Hub, trace: Callable[[], Tracer]
) -> None:
    first, second = Waiter(), Waiter()
    seen: list[tuple[greenlet, greenlet]] = []

    def answer() -> None:
        for _ in range(50):
            second.get()
            first.switch(None)

    def ask() -> None:
        tracer = trace()
        for _ in range(50):
            second.switch(None)
            first.get()
        greenlets.settrace(None)
        seen.extend(tracer.switches)

    pair = [spawn_raw(answer), spawn_raw(ask)]
    clocked_hub.join()
    # The first handoff may go through the hub, which is still starting greenlets; the answerer ends at the last.
    direct = [switch for switch in seen if clocked_hub not in switch]
    assert len(seen) - len(direct) <= 2
    assert set(direct) == {(pair[0], pair[1]), (pair[1], pair[0])}
    assert len(direct) >= 98


def test_a_greenlet_that_finds_itself_next_does_not_switch_at_all(
    clocked_hub: Hub, trace: Callable[[], Tracer]
) -> None:
    seen: list[int] = []

    def alone() -> None:
        sleep(0)
        tracer = trace()
        for _ in range(10):
            sleep(0)
        greenlets.settrace(None)
        seen.append(len(tracer.switches))

    spawn_raw(alone)
    clocked_hub.join()
    assert seen == [0]


def test_a_callback_that_marks_the_parker_costs_no_switch(clocked_hub: Hub, trace: Callable[[], Tracer]) -> None:
    seen: list[int] = []

    def alone() -> None:
        sleep(0)
        waiter = Waiter()
        tracer = trace()
        for _ in range(10):
            clocked_hub.loop.run_callback(waiter.switch, None)
            waiter.get()
        greenlets.settrace(None)
        seen.append(len(tracer.switches))

    spawn_raw(alone)
    clocked_hub.join()
    assert seen == [0]


# -- law 3: a greenlet's first switch comes from the hub ---------------------------------------------------------------


def test_the_first_switch_into_each_greenlet_comes_from_the_hub(hub: Hub, trace: Callable[[], Tracer]) -> None:
    tracer = trace()

    def parent(depth: int) -> None:
        if depth:
            spawned.extend(spawn_raw(parent, depth - 1) for _ in range(2))
            sleep(0)

    spawned = [spawn_raw(parent, 4)]
    hub.join()
    greenlets.settrace(None)
    assert len(spawned) == 31
    for each in spawned:
        assert next(origin for origin, target in tracer.switches if target is each) is hub


def test_5000_greenlets_spawned_at_once_finish(hub: Hub) -> None:
    finished: list[int] = []

    def run(number: int) -> None:
        sleep(0)
        finished.append(number)

    for number in range(5000):
        spawn_raw(run, number)
    assert hub.join()
    assert sorted(finished) == list(range(5000))


@pytest.mark.parametrize("parks", [True, False], ids=["each parks", "each ends"])
def test_a_chain_in_which_each_of_10000_greenlets_spawns_the_next_finishes(hub: Hub, parks: bool) -> None:
    finished: list[int] = []

    def run(left: int) -> None:
        if left:
            spawn_raw(run, left - 1)
        if parks:
            sleep(0)
        finished.append(left)

    spawn_raw(run, 9999)
    assert hub.join()
    assert sorted(finished) == list(range(10000))


def test_a_chain_of_greenlets_that_are_held_and_stay_parked_finishes(clocked_hub: Hub, clock: ManualClock) -> None:
    held: list[greenlet] = []

    def run(left: int) -> None:
        if left:
            held.append(spawn_raw(run, left - 1))
        sleep(1)

    held.append(spawn_raw(run, 1999))
    assert clocked_hub.join()
    assert all(each.dead for each in held)
    assert len(held) == 2000


# -- law 6: a wait has a reason ----------------------------------------------------------------------------------------


def test_every_park_records_what_it_waits_for(hub: Hub) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, hub.loop.timer(60) as timer:
        ours.setblocking(False)
        waiter, owned = Waiter(), FdWaiter(ours.fileno())
        on_waiter = spawn_raw(waiter.get)
        on_watcher = spawn_raw(hub.wait, timer)
        on_time = spawn_raw(sleep, 60)
        on_stranger = spawn_raw(wait_read, theirs.fileno())
        on_owned = spawn_raw(owned.wait_read)
        raw = spawn_raw(hub.switch)
        yielding = spawn_raw(sleep)
        everybody = (on_waiter, on_watcher, on_time, on_stranger, on_owned)
        assert [wait_reason(new) for new in everybody] == [None] * 5
        hub.loop.run_callback(lambda: None)
        sleep(0)
        assert wait_reason(on_waiter) is waiter
        assert wait_reason(on_watcher) is timer
        assert wait_reason(on_owned) is owned
        assert "after=60" in repr(wait_reason(on_time))
        assert f"fd={theirs.fileno()}" in repr(wait_reason(on_stranger))
        assert wait_reason(raw) is None
        assert wait_reason(yielding) is None
        assert wait_reason(greenlets.getcurrent()) is None
        for parked in (*everybody, raw):
            kill(parked)
        hub.join()
        assert [wait_reason(dead) for dead in everybody] == [None] * 5
        owned.close()
