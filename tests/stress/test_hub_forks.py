"""Forks of a busy hub: a thousand children, each with one greenlet that lives on, and a parent that misses nothing."""

from __future__ import annotations

import os
import select
import signal
import threading
import time
import warnings
from typing import TYPE_CHECKING

import pytest

from greenlet_hub import Hub, Waiter, get_hub, sleep, spawn_raw

if TYPE_CHECKING:
    from collections.abc import Callable

FORKS = int(os.environ.get("HUB_FORKS", "60"))
"""A thousand, the figure of the fork contract, takes half a minute."""
BATCH = 20
PATIENCE = 30.0


class Busy:
    """Greenlets that yield, sleep and wake one another, and a thread that posts."""

    def __init__(self) -> None:
        self.parent = os.getpid()
        self.stopped = False
        self.steps = self.posts = self.arrived = self.running = 0
        self.strangers = 0  # steps and ends of the parent's greenlets that were seen in another process
        self.hub = get_hub()
        ring = [Waiter() for _ in range(10)]
        bodies: list[Callable[[], None]] = [lambda: sleep(0), lambda: sleep(0.0005)]
        bodies += [lambda number=number: self.pass_on(ring, number) for number in range(len(ring))]  # type: ignore[misc] # bound now
        for body in bodies * 2:
            spawn_raw(self.live, body)
        ring[0].switch()
        self.poster = threading.Thread(target=self.post)

    def pass_on(self, ring: list[Waiter], number: int) -> None:
        if ring[number].greenlet is None and (ring[number].ready() or not self.stopped):
            if ring[number].ready():
                ring[number].clear()
                ring[(number + 1) % len(ring)].switch()
            sleep(0.0002)

    def live(self, body: Callable[[], None]) -> None:
        self.running += 1
        try:
            while not self.stopped:
                body()
                self.step()
        finally:
            self.running -= 1
            self.step()

    def step(self) -> None:
        self.steps += 1
        if os.getpid() != self.parent:
            self.strangers += 1

    def post(self) -> None:
        while not self.stopped:
            if self.posts - self.arrived < 64:
                self.posts += 1
                self.hub.loop.run_callback_threadsafe(self.arrive)
            time.sleep(0.0001)

    def arrive(self) -> None:
        self.arrived += 1


def child_lives(busy: Busy) -> bool:
    """In the child: this greenlet yields, sleeps, spawns and waits; nobody else goes on."""
    before = busy.steps, busy.arrived
    waiter = Waiter()
    sleep(0)
    spawn_raw(waiter.switch, 1)
    alive = waiter.get() == 1
    sleep(0.001)
    return alive and (busy.steps, busy.arrived) == before and not busy.strangers


def fork() -> int:
    with warnings.catch_warnings():
        # CPython from 3.12: threads run here, that is the point.
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


@pytest.mark.parametrize("where", ["main", "greenlet"])
def test_many_forks_of_a_busy_hub_give_children_with_one_greenlet(where: str) -> None:
    with Hub():
        busy = Busy()
        busy.poster.start()
        children: dict[int, int] = {}
        ended: list[int] = []

        def make_child() -> None:
            child = fork()
            if not child:
                try:
                    os._exit(0 if child_lives(busy) else 1)
                finally:
                    os._exit(2)
            children[child] = os.pidfd_open(child)

        try:
            while len(ended) < FORKS:
                for _ in range(min(BATCH, FORKS - len(ended))):
                    if where == "main":
                        make_child()
                        sleep(0)
                    else:
                        made = len(children) + 1
                        spawn_raw(make_child)
                        while len(children) < made:
                            sleep(0)
                for child, pidfd in list(children.items()):
                    deadline = time.monotonic() + PATIENCE
                    while not select.select([pidfd], [], [], 0.0)[0]:
                        assert time.monotonic() < deadline, "a child hangs"
                        sleep(0.0005)
                    ended.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
                    os.close(children.pop(child))
        finally:
            for child, pidfd in children.items():
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                os.close(pidfd)
            busy.stopped = True
            busy.poster.join()
            while busy.running:
                sleep(0.001)
        assert ended == [0] * FORKS
        assert busy.arrived == busy.posts
        assert not busy.strangers
