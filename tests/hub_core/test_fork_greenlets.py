"""Greenlets of the parent in a forked child: they stay behind, whatever they were doing and whoever wakes them.

What was on its way to them: test_fork_underway.py.
"""

from __future__ import annotations

import os
import socket
import time
from typing import TYPE_CHECKING, Any, cast

import greenlet as greenlets
import pytest
from greenlet import getcurrent, greenlet

from hub_api import ConcurrentObjectUseError, LoopExit
from hub_core import FdWaiter, Hub, idle, kill, left_behind, reinit, sleep, spawn_raw, wait_read
from hub_loop import Loop
from hub_loop.testing import ManualClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.conftest import Kin


class Interrupt(BaseException):
    """What a signal handler raises."""


def yield_for_long() -> None:
    for _ in range(10**6):
        sleep(0)


class Parked:
    """Greenlets parked in every way there is, and what they and their `finally` blocks have said."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.said: list[str] = []
        self.near, self.far = socket.socketpair()
        self.near.setblocking(False)
        self.fd = FdWaiter(self.near.fileno())
        self.other_near, self.other_far = socket.socketpair()
        self.other_near.setblocking(False)
        self.timed_fd = FdWaiter(self.other_near.fileno())
        self.waiter = hub.waiter()
        self.async_ = hub.loop.async_()
        self.greenlets: dict[str, greenlet] = {}
        ways: dict[str, Callable[[], object]] = {
            "sleep": lambda: sleep(0.002),
            "waiter": self.waiter.get,
            "fd": self.fd.wait_read,
            "fd with a timeout": lambda: self.timed_fd.wait_read(0.002),
            "stranger's fd": lambda: wait_read(self.far.fileno()),
            "stranger's fd with a timeout": lambda: wait_read(self.far.fileno(), 0.002),
            "watcher": lambda: hub.wait(self.async_),
            "switch": hub.switch,
            "yield": yield_for_long,
        }
        for name, way in ways.items():
            self.greenlets[name] = spawn_raw(self.live, name, way)
        sleep(0)

    def live(self, name: str, way: Callable[[], object]) -> None:
        try:
            way()
            self.said.append(f"{name} goes on")
        finally:
            self.said.append(f"{name} ends")

    def wake_all(self) -> None:
        """Everything that would wake them, if they were here."""
        self.waiter.switch("woken")
        self.near.send(b"x")
        self.far.send(b"x")
        self.other_far.send(b"x")
        self.async_.send()
        self.hub.loop.run_callback(self.greenlets["switch"].switch)
        for _ in range(5):
            sleep(0)
            sleep(0.001)

    def end(self) -> None:
        """In the parent: have all of them end."""
        for parked in self.greenlets.values():
            kill(parked)
        sleep(0)
        sleep(0)
        for waiter in (self.fd, self.timed_fd):
            waiter.close()
        for sock in (self.near, self.far, self.other_near, self.other_far):
            sock.close()
        assert all(parked.dead for parked in self.greenlets.values())


@pytest.fixture
def parked(hub: Hub, kin: Kin) -> Iterator[Parked]:
    made = Parked(hub)
    yield made
    if not kin.is_child:
        made.end()


def test_the_parents_greenlets_do_not_go_on_in_the_child(parked: Parked, kin: Kin) -> None:
    def check() -> None:
        parked.wake_all()
        assert parked.said == []
        assert all(left_behind(each) and not each.dead for each in parked.greenlets.values())

    kin.run(check)
    assert not any(map(left_behind, parked.greenlets.values()))


def test_a_yield_at_once_in_the_child_hands_over_to_nobody(parked: Parked, kin: Kin) -> None:
    def check() -> None:
        for _ in range(100):
            sleep(0)
        assert parked.said == []

    kin.run(check)


def test_the_parents_greenlets_go_on_in_the_parent(parked: Parked, kin: Kin) -> None:
    kin.run(lambda: None)
    parked.wake_all()
    assert {line.removesuffix(" goes on") for line in parked.said if line.endswith("goes on")} >= {
        "sleep",
        "waiter",
        "fd",
        "stranger's fd",
        "watcher",
        "switch",
    }


def test_what_they_waited_with_does_not_keep_the_childs_loop_running(parked: Parked, kin: Kin) -> None:
    def check() -> None:
        loop = parked.hub.loop
        reinit()
        assert loop.activecnt == 0
        started = time.monotonic()
        assert parked.hub.join(timeout=10)
        assert time.monotonic() - started < 5

    kin.run(check)


def test_what_is_thrown_into_them_is_without_effect(parked: Parked, kin: Kin) -> None:
    def check() -> None:
        for each in parked.greenlets.values():
            kill(each)
        sleep(0)
        sleep(0.001)
        with pytest.raises(LoopExit):  # whoever switches to one by himself waits for somebody who never comes back
            parked.greenlets["sleep"].throw(ValueError("a stranger's"))
        sleep(0.001)
        assert parked.said == []
        assert not any(each.dead for each in parked.greenlets.values())

    kin.run(check)


def test_what_is_thrown_into_one_below_the_one_that_forked_does_not_wake_that(hub: Hub, kin: Kin) -> None:
    below = greenlet(hub.waiter().get)
    hub.loop.run_callback(getcurrent().switch)
    below.switch()
    assert below.parent is getcurrent()

    def check() -> None:
        kill(below)
        sleep(0.001)  # who is woken by a stranger gets an InvalidSwitchError
        assert left_behind(below)
        assert not below.dead

    kin.run(check)
    kill(below)
    sleep(0)
    assert below.dead


@pytest.mark.parametrize("by", ["a kill", "a stranger"])
def test_one_of_a_hub_that_was_destroyed_in_the_child_disturbs_nobody_on_the_next(hub: Hub, kin: Kin, by: str) -> None:
    left = spawn_raw(hub.waiter().get)
    sleep(0)

    def check() -> None:
        hub.destroy(destroy_loop=True)
        with Hub(Loop(default=False)) as following:
            if by == "a kill":
                kill(left)
            else:
                following.loop.run_callback(left.throw)
            sleep(0.001)
            sleep(0.001)
            assert not left.dead

    kin.run(check)
    kill(left)
    sleep(0)


def test_one_that_stands_aside_for_an_interrupt_stays_behind_too(hub: Hub, kin: Kin) -> None:
    said: list[str] = []

    def run() -> None:
        try:
            hub.handle_system_error(Interrupt, Interrupt())
        finally:
            said.append("goes on")

    aside = spawn_raw(run)
    with pytest.raises(Interrupt):
        sleep(60)

    def check() -> None:
        sleep(0)
        kill(aside)
        sleep(0.001)
        assert left_behind(aside)
        assert not aside.dead
        assert said == []

    kin.run(check)
    sleep(0)
    assert said == ["goes on"]


def test_the_hub_goes_on_under_its_own_name_when_one_left_behind_was_switched_to(hub: Hub, kin: Kin) -> None:
    left = spawn_raw(hub.waiter().get)
    sleep(0)

    def check() -> None:
        ran: list[object] = []
        stranger = spawn_raw(left.switch)
        hub.loop.run_callback(lambda: ran.append(hub._lane.running))
        sleep(0.001)
        assert ran == [None]
        assert not stranger.dead

    kin.run(check)
    kill(left)
    sleep(0)


def test_the_end_of_the_hub_in_the_child_ends_its_own_greenlets_and_not_the_parents(parked: Parked, kin: Kin) -> None:
    def check() -> None:
        own = spawn_raw(parked.live, "own", parked.hub.waiter().get)
        sleep(0)
        parked.hub.destroy(destroy_loop=True)
        assert parked.said == ["own ends"]
        assert own.dead
        assert not any(each.dead for each in parked.greenlets.values())

    kin.run(check)


def test_the_child_may_wait_for_fds_that_the_parents_greenlets_wait_for(parked: Parked, kin: Kin) -> None:
    def check() -> None:
        spawn_raw(parked.far.send, b"x")
        parked.fd.wait_read(timeout=10)  # its first use of the loop in the child
        assert parked.near.recv(1) == b"x"
        parked.fd.clear_read()
        done: list[str] = []

        def read() -> None:
            parked.fd.wait_read(10)
            done.append("read")

        spawn_raw(read)
        sleep(0)
        with pytest.raises(ConcurrentObjectUseError):
            parked.fd.wait_read()
        parked.far.send(b"y")
        sleep(0)
        sleep(0.001)
        assert done == ["read"]
        assert parked.said == []

    kin.run(check)


@pytest.mark.parametrize("where", ["greenlet", "callback", "timer", "switch_out"])
def test_a_fork_from_anywhere_leaves_the_others_behind(where: str, parked: Parked, kin: Kin) -> None:
    hub, done = parked.hub, []

    def go_on() -> None:
        sleep(0)
        sleep(0.001)
        done.append("child")
        os._exit(0 if parked.said == [] and (where != "switch_out" or "went on" in done) else 2)

    def fork() -> None:
        if kin.fork():
            spawn_raw(go_on)
        done.append("forked")

    def fork_once() -> None:
        if not done:
            fork()

    def park() -> None:
        sleep(0)
        done.append("went on")

    with hub.loop.timer(0.0) as timer:
        if where == "greenlet":
            spawn_raw(fork)
        elif where == "callback":
            hub.loop.run_callback(fork)
        elif where == "timer":
            timer.start(fork)
        else:
            # In the middle of parking: this greenlet lives on, though it parks with what it saw before.
            parker: Any = spawn_raw(park)
            parker.switch_out = fork_once
        while "forked" not in done:
            sleep(0)
    kin.child_ends(lambda: pytest.fail("the main greenlet was resumed in the child"))
    parked.said.clear()


def test_a_child_of_a_child_leaves_both_behind(parked: Parked, kin: Kin) -> None:
    said: list[str] = []

    def live() -> None:
        try:
            sleep(0.001)
        finally:
            said.append("the child's own")

    def check() -> None:
        spawn_raw(live)
        sleep(0)
        grandchild = os.fork()
        if not grandchild:
            try:
                parked.wake_all()
                os._exit(0 if not said and not parked.said else 1)
            finally:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(grandchild, 0)[1]) == 0
        parked.wake_all()
        assert said == ["the child's own"]
        assert parked.said == []

    kin.run(check)


def test_a_child_that_never_used_its_loop_may_fork(parked: Parked, kin: Kin) -> None:
    def check() -> None:
        grandchild = os.fork()
        if not grandchild:
            try:
                parked.wake_all()
                os._exit(len(parked.said))
            finally:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(grandchild, 0)[1]) == 0

    kin.run(check)


def test_greenlets_that_are_parked_elsewhere_are_their_owners(hub: Hub, kin: Kin) -> None:
    """A greenlet used as a generator belongs to the one who switches to it, and goes on with it."""
    numbers = greenlet(lambda: [getcurrent().parent.switch(n) for n in range(3)])  # type: ignore[union-attr] # it has one
    assert numbers.switch() == 0

    def check() -> None:
        assert numbers.switch() == 1
        assert not left_behind(numbers)

    kin.run(check)
    numbers.throw()


def test_idle_greenlets_stay_behind(hub: Hub, kin: Kin) -> None:
    said: list[str] = []

    def wait_for_quiet() -> None:
        idle()
        said.append("idle")

    idler = spawn_raw(wait_for_quiet)
    sleep(0)

    def check() -> None:
        idle()
        assert said == []

    kin.run(check)
    idle()
    kill(idler)
    sleep(0)


def test_ten_thousand_parked_greenlets_cost_a_child_less_than_fifty_milliseconds(hub: Hub, kin: Kin) -> None:
    waiters = [hub.waiter() for _ in range(2000)]
    many = [spawn_raw(waiter.get) for waiter in waiters] + [spawn_raw(sleep, 100) for _ in range(2000)]
    sleep(0)

    def check() -> None:
        # Counted in calls, not in seconds: it must not look at each greenlet, and not twice at each watcher.
        spawn_raw(lambda: None)
        started = time.process_time()
        sleep(0)
        sleep(0.0001)
        spent = time.process_time() - started
        assert spent < 1.0, spent
        assert hub.loop.activecnt == 0

    kin.run(check)
    for parked in many:
        kill(parked)
    while not all(parked.dead for parked in many):
        sleep(0)
    assert greenlets.gettrace() is None


def test_a_spawned_greenlet_that_forks_yields_among_those_of_the_child(hub: Hub, kin: Kin) -> None:
    order: list[str] = []

    def other() -> None:
        for _ in range(40):  # more than are handed out at once
            order.append("other")
            sleep(0)

    def check() -> None:
        assert order == ["heir", "other"] * 40
        assert cast("Any", getcurrent()).spawn_lane is hub._lane

    def fork() -> None:
        sleep(0)
        if kin.fork():
            spawn_raw(other)
            for _ in range(40):
                order.append("heir")
                sleep(0)
            kin.child_ends(check)
        kin.child_ends()

    bystander = spawn_raw(yield_for_long)
    spawn_raw(fork)
    for _ in range(6):
        sleep(0)
    kill(bystander)
    hub.join()
    assert order == []


def test_one_that_yielded_straight_to_another_is_told_from_those_of_the_child(kin: Kin) -> None:
    with Hub(Loop(default=False, clock=ManualClock())) as hub:  # at which nobody runs for long: no yield asks the clock
        yielding = [spawn_raw(yield_for_long) for _ in range(5)]
        for _ in range(4):
            sleep(0)
        assert any(each.gr_frame.f_code is sleep.__code__ for each in yielding if each.gr_frame)
        assert not any(map(left_behind, yielding))

        def check() -> None:
            assert all(map(left_behind, yielding))
            own = spawn_raw(yield_for_long)
            sleep(0)
            assert not left_behind(own)
            assert [each.id for each in hub.report().greenlets] == [id(own)]
            hub.destroy(destroy_loop=True)
            assert own.dead
            assert not any(each.dead for each in yielding)

        kin.run(check)
