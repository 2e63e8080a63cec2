"""Forks of a busy loop: a thousand children, each with a loop that turns, and a parent that misses nothing."""

from __future__ import annotations

import os
import select
import signal
import socket
import threading
import warnings

import pytest

from hub_loop import READ, Loop, supported

BACKENDS = [name for name in ("epoll", "poll", "select") if name in supported()]
BATCH = 20  # children at a time
PATIENCE = 30.0


class Busy:
    """A loop with timers, sockets in flight and a thread that posts, and the account of what has arrived."""

    def __init__(self, backend: str) -> None:
        self.loop = Loop(backend)
        self.ticks = self.arrived = self.posted = self.forks_seen = 0
        self.parent = os.getpid()
        self.strangers = 0  # events of one process that were seen in another
        self.pairs = [socket.socketpair() for _ in range(8)]
        self.registrations = []
        for near, far in self.pairs:
            near.setblocking(False)
            far.setblocking(False)
            registration = self.loop.register(near.fileno(), lambda events: None)
            self.registrations.append(registration)
            watcher = self.loop.io(far.fileno(), READ)
            watcher.start(self.echo, far)
            near.send(b"x")
        self.timers = [self.loop.timer(0.0, 0.0005) for _ in range(4)]
        for timer in self.timers:
            timer.start(self.tick)
        self.told = self.loop.fork(ref=False)
        self.told.start(self.fork_told)
        self.stop = threading.Event()
        self.poster = threading.Thread(target=self.post)

    def echo(self, far: socket.socket) -> None:
        """In flight: each byte that comes goes out again."""
        try:
            far.send(far.recv(1))
        except BlockingIOError:
            pass  # the child has its turn with the same socket now and then

    def tick(self) -> None:
        self.ticks += 1
        for registration, (near, _) in zip(self.registrations, self.pairs, strict=True):
            if registration.ready & READ:
                try:
                    near.send(near.recv(1))
                except BlockingIOError:
                    registration.clear(READ)

    def fork_told(self) -> None:
        self.forks_seen += 1

    def post(self) -> None:
        while not self.stop.is_set():
            # Never too far ahead: a poster that outruns the loop would measure the queue, not the forks.
            if self.posted - self.arrived < 64:
                self.posted += 1
                self.loop.run_callback_threadsafe(self.arrive, os.getpid())
            self.stop.wait(0.0001)

    def arrive(self, sender: int) -> None:
        self.arrived += 1
        self.strangers += sender != os.getpid()


def child_lives(busy: Busy) -> bool:
    """In the child: its loop turns, sleeps until a timer is due, hears of the fork once, and runs none of our posts."""
    loop = busy.loop
    before = busy.arrived
    seen: list[str] = []
    loop.run_callback_threadsafe(seen.append, "posted")
    with loop.timer(0.001) as timer:
        timer.start(seen.append, "timer")
        while len(seen) < 2:
            loop.run(once=True)
    return seen == ["posted", "timer"] and busy.forks_seen == 1 and busy.arrived == before and not busy.strangers


@pytest.mark.parametrize(("backend", "forks"), [("epoll", 1000), ("poll", 200), ("select", 200)])
@pytest.mark.parametrize("inside", [False, True], ids=["between-turns", "in-a-callback"])
def test_a_thousand_forks_of_a_busy_loop_give_children_that_live_and_disturb_nobody(
    backend: str, forks: int, inside: bool
) -> None:
    if backend not in BACKENDS:
        pytest.skip(f"this system has no {backend}")
    forks //= 2  # for each of `inside`
    busy = Busy(backend)
    loop = busy.loop
    busy.poster.start()
    children: dict[int, int] = {}
    ended: list[int] = []

    def fork() -> int:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", DeprecationWarning
            )  # CPython from 3.12: threads run here, that is the point
            child = os.fork()
        if child:
            children[child] = os.pidfd_open(child)
        return child

    def in_callback(made: list[int]) -> None:
        made.append(fork())

    try:
        while len(ended) < forks:
            for _ in range(min(BATCH, forks - len(ended))):
                made: list[int] = []
                if inside:
                    loop.run_callback(in_callback, made)
                    # In the child the turn goes on, and with it the batch that the fork was in.
                    while not made:
                        loop.run(nowait=True)
                else:
                    loop.run(nowait=True)
                    made.append(fork())
                if not made[0]:
                    try:
                        os._exit(0 if child_lives(busy) else 1)
                    finally:
                        os._exit(2)
            for child, pidfd in list(children.items()):
                # The parent's loop goes on while its children live.
                while not select.select([pidfd], [], [], 0.0)[0]:
                    loop.run(once=True)
                ended.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
                os.close(pidfd)
                del children[child]
    finally:
        for child, pidfd in children.items():
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            os.close(pidfd)
        busy.stop.set()
        busy.poster.join()
    loop.run(nowait=True)
    assert ended == [0] * forks
    assert busy.forks_seen == 0
    assert busy.arrived == busy.posted  # no post was lost to a child, none ran twice
    assert not busy.strangers
    ticks = busy.ticks
    while busy.ticks < ticks + 8:
        loop.run(once=True)
    loop.destroy()
    for near, far in busy.pairs:
        near.close()
        far.close()
