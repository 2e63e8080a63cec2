"""A fork at every point of a small program: in each child only the one who forked goes on, and ends.

The program runs on a clock that is moved by hand, so it takes the same steps each time.  It is run once for each of its
points, and forks there.  Points are of two kinds: where its greenlets and callbacks say so, and, as a signal handler
might, at each call that any function in it makes, the hub's and the loop's own included.
"""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from greenlet import getcurrent, greenlet
from tests import interrupts
from tests.conftest import Kin

import hub_core
import hub_loop
from hub_api import LoopExit
from hub_core import Hub, Waiter, set_hub, set_loop, sleep, spawn_raw
from hub_loop import Loop
from hub_loop.testing import FakePoller, ManualClock

if TYPE_CHECKING:
    from types import FrameType

EVERY = int(os.environ.get("HUB_FORK_EVERY", "23"))
"""Of the calls of the program: at each so many-th there is a fork.  1 is all: a minute."""


FAKES = FakePoller.poll.__code__.co_filename


class Program:
    """Three greenlets that yield, sleep and wake one another, and a few callbacks."""

    def __init__(self, kin: Kin) -> None:
        self.kin = kin
        self.fork_at = -1
        self.points = 0
        self.passed: list[object] = []
        """Who has come by a point, in this process."""
        self.forker: object = None
        self.parents: list[object] = []
        """In the child: the parent's greenlets, but for the one that forked, the hub and an idle carrier."""

    def point(self) -> None:
        self.passed.append(getcurrent())
        if self.fork_at == self.points:
            self.fork()
        self.points += 1

    def fork(self) -> None:
        self.forker = getcurrent()
        hubs = [each for each in gc.get_objects() if isinstance(each, Hub)]
        idle = [getattr(hub, "_carrier", None) for hub in hubs]
        new = [entry[0] for hub in hubs for entry in getattr(hub, "_new", ())]
        started = [each for each in gc.get_objects() if isinstance(each, greenlet) and each and each not in idle]
        if self.kin.fork():
            self.passed.clear()
            self.parents = [each for each in [*started, *new] if each is not self.forker and each not in hubs]

    def run(self) -> None:
        """To its end, in the parent and in the child."""
        clock = ManualClock()
        loop = Loop(default=False, poller=FakePoller(clock), clock=clock)
        hub = Hub(loop)
        set_hub(hub)
        try:
            self.play(hub)
            while not hub.join():
                pass
        except LoopExit:
            assert self.kin.is_child  # what the main greenlet waited for is the parent's
        if not self.kin.is_child:
            hub.destroy(destroy_loop=True)
            set_hub(None)
            set_loop(None)

    def play(self, hub: Hub) -> None:
        point = self.point
        there, back = hub.waiter(), hub.waiter()

        def ping() -> None:
            point()
            sleep(0)
            there.switch("ping")
            point()
            assert back.get() == "pong"
            point()

        def pong() -> None:
            assert there.get() == "ping"
            point()
            hub.loop.run_callback(back.switch, "pong")
            hub.loop.run_callback(point)
            sleep(0.01)
            point()

        def doze() -> None:
            for _ in range(2):
                sleep(0.01)
                point()
                sleep(0)
            point()

        for body in (ping, pong, doze):
            spawn_raw(body)
        point()
        sleep(0)
        point()
        sleep(0.005)
        point()
        spawn_raw(point)
        sleep(0.01)
        point()


def points_of_the_program(kin: Kin) -> int:
    program = Program(kin)
    program.run()
    return program.points


def end(program: Program) -> None:
    """In the child: what went on was not the parent's."""
    assert [each for each in program.passed if each in program.parents] == []


def test_a_fork_at_every_scheduling_point() -> None:
    for number in range(points_of_the_program(Kin())):
        kin = Kin()
        program = Program(kin)
        program.fork_at = number
        program.run()
        kin.child_ends(lambda program=program: end(program))  # type: ignore[misc] # bound now, not later
        assert program.forker is not None


def test_a_fork_at_any_call() -> None:
    calls = 0
    fork_at = -1
    program: Program

    def profile(frame: FrameType, event: str, arg: object) -> None:
        nonlocal calls
        if frame.f_code.co_filename == FAKES:
            return  # the poller proper is not written in Python, and cannot fork in its middle
        calls += 1
        if calls == fork_at:
            sys.setprofile(None)
            program.fork()

    def play() -> None:
        nonlocal calls
        calls = 0
        sys.setprofile(profile)
        try:
            program.run()
        finally:
            sys.setprofile(None)

    program = Program(Kin())
    play()
    total = calls
    assert total > 300
    for number in range(1, total, EVERY):
        fork_at = number
        kin = Kin()
        program = Program(kin)
        play()
        if program.forker is None:
            break  # it came to its end with a call less than before
        kin.child_ends(lambda program=program: end(program))  # type: ignore[misc] # as above


def test_an_interrupt_at_any_moment_of_the_hooks_leaves_everybody_behind(hub: Hub) -> None:
    passed: list[str] = []
    gate = Waiter()
    sources = tuple(str(Path(module.__file__ or "").parent) for module in (hub_core, hub_loop))

    def yield_for_ever() -> None:
        while True:
            sleep(0)
            passed.append("ready")

    def get() -> None:
        gate.get()
        passed.append("parked")

    def check() -> None:
        passed.clear()
        gate.switch(None)
        spawn_raw(passed.append, "own")
        for _ in range(3):
            sleep(0)
        sleep(0.001)
        assert passed == ["own"]

    def the_parent_is_undisturbed() -> None:
        passed.clear()
        sleep(0)
        assert passed == ["ready"]

    spawn_raw(yield_for_ever)
    spawn_raw(get)
    sleep(0)
    assert interrupts.strike_forks(sources, check, the_parent_is_undisturbed) > 20
