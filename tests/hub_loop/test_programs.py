"""Programs: whatever is done with a loop, its callbacks are called in the same order on every poller.

Which of two ready fds is told first is the system's own affair.  So there is one wire, and what other events there are
do not come by fd: a signal is raised between turns, when its handler runs at once; the child has ended before anybody
watches it, so each start finds that out by itself; a path is looked at by a timer, inotify being off.  A child that
ends while it is watched is no part of this, for its end comes by a pidfd, beside the wire; nor is a loop's life in a
forked child, where the wire would be shared: fork watchers are there to be left alone by the parent's forks.
"""

from __future__ import annotations

import os
import signal
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub_loop import READ, WRITE, Loop, supported
from hub_loop.testing import FakePoller, ManualClock

REAL = [name for name in ("epoll", "poll", "select") if name in supported()]

KINDS = (
    *("timer", "repeating", "reader", "writer", "async", "prepare", "check", "idle", "owner"),
    *("signal", "child", "fork", "stat"),
)
making = st.tuples(st.sampled_from(["make and start", "make"]), st.sampled_from(KINDS), st.integers(-2, 2))
which = st.integers(0, 7)
step = st.one_of(
    making,
    st.tuples(st.sampled_from(["start", "stop", "close"]), which, st.just(0)),
    *[st.tuples(st.just("happen"), which, st.just(0))] * 3,
    st.tuples(st.sampled_from(["callback", "threadsafe"]), st.integers(0, 2), st.just(0)),
    st.tuples(st.just("advance"), st.integers(0, 3), st.just(0)),
    *[st.tuples(st.just("turn"), st.just(0), st.just(0))] * 2,
)


class Player:
    """Plays a program on one poller, with one of everything to be watched, and notes what is called."""

    def __init__(self, backend: str, folder: Path) -> None:
        self.clock = ManualClock()
        self.fake = FakePoller(self.clock, real_fds=True) if backend == "fake" else None
        poller = {"poller": self.fake} if self.fake else {"flags": backend}
        self.loop = Loop(clock=self.clock, **poller)
        self.near, self.far = socket.socketpair()
        self.near.setblocking(False)
        if self.fake:
            self.fake.make_ready(self.near.fileno(), WRITE)
        self.path = folder / backend
        self.path.write_text("")
        self.pid = 0
        self.made: list[tuple[str, Any]] = []
        self.called: list[str] = []
        self.owned = False
        self.before = signal.signal(signal.SIGUSR1, lambda signum, frame: self.called.append("nobody's signal"))

    def close(self) -> None:
        self.loop.destroy()
        signal.signal(signal.SIGUSR1, self.before)
        self.near.close()
        self.far.close()
        if self.pid:
            with suppress(ChildProcessError):  # a watcher has waited for it
                os.waitpid(self.pid, 0)

    def dead_child(self) -> int:
        """The pid of a child that has ended; it is not waited for, unless a watcher has done so."""
        if not self.pid:
            self.pid = os.posix_spawn("/bin/sh", ["sh", "-c", "exit 7"], {})
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        return self.pid

    def make(self, kind: str, priority: int) -> None:
        fd, loop = self.near.fileno(), self.loop
        makers: dict[str, Any] = {
            "timer": lambda: loop.timer(1.0, priority=priority),
            "repeating": lambda: loop.timer(1.0, 2.0, priority=priority),
            "reader": lambda: loop.io(fd, READ, priority=priority),
            "writer": lambda: loop.io(fd, WRITE, priority=priority),
            "async": lambda: loop.async_(priority=priority),
            "prepare": lambda: loop.prepare(priority=priority),
            "check": lambda: loop.check(priority=priority),
            "idle": lambda: loop.idle(priority=priority),
            "signal": lambda: loop.signal(signal.SIGUSR1, priority=priority),
            "child": lambda: loop.child(self.dead_child()),
            "fork": lambda: loop.fork(priority=priority),
            "stat": lambda: loop.stat(self.path, 2.0, priority=priority),
        }
        number = len(self.made)
        if kind != "owner":
            self.made.append((kind, makers[kind]()))
        elif not self.owned:
            self.owned = True
            self.made.append((kind, loop.register(fd, lambda events: self.called.append(f"owner {number}: {events}"))))

    def act(self, action: str, which: int) -> None:
        which %= len(self.made)
        kind, watcher = self.made[which]
        if action == "happen":
            self.happen(kind, watcher)
        elif kind == "owner":
            if action == "start":
                self.read()  # an owner waits when there is nothing to read, and no sooner
                watcher.clear(READ)
                watcher.want(READ)
            elif action == "stop":
                watcher.unwant(READ)
        elif action != "start":
            getattr(watcher, action)()
        elif not watcher.closed:
            try:
                watcher.start(self.note, f"{kind} {which}", kind == "reader")
            except ChildProcessError:  # somebody has been told, and so waited for it
                self.called.append("no child")

    def happen(self, kind: str, watcher: Any) -> None:
        if kind == "async" and not watcher.closed:
            watcher.send()
        elif kind in ("reader", "owner"):
            self.far.send(b"x")
            if self.fake:
                self.fake.make_ready(self.near.fileno(), READ)
        elif kind == "signal":
            signal.raise_signal(signal.SIGUSR1)
        elif kind == "fork":
            fork()
        elif kind == "stat":
            with self.path.open("a") as file:
                file.write("more")

    def note(self, text: str, reads: bool) -> None:
        self.called.append(text)
        if reads:
            self.called.append(f"{self.read()} bytes")

    def read(self) -> int:
        if self.fake:
            self.fake.drain(self.near.fileno(), READ)
        try:
            return len(self.near.recv(1 << 16))
        except BlockingIOError:
            return 0

    def play(self, program: list[tuple[str, Any, int]]) -> list[str]:
        for action, value, priority in program:
            if action.startswith("make"):
                self.make(value, priority)
                if action == "make and start":
                    self.act("start", -1)
            elif action == "advance":
                self.clock.advance(value)
            elif action == "turn":
                self.loop.run(nowait=True)
                self.called.append("-")
            elif action == "callback":
                self.loop.run_callback(self.called.append, f"callback {value}")
            elif action == "threadsafe":
                self.loop.run_callback_threadsafe(self.called.append, f"posted {value}")
            else:
                self.act(action, value)
        self.loop.run(nowait=True)
        return list(self.called)


def fork() -> None:
    """Fork a child that ends at once: nothing of that is the parent's to be told."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # 3.12: fork while threads run; the child calls nothing
        pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


@contextmanager
def player(backend: str, folder: Path) -> Iterator[Player]:
    made = Player(backend, folder)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the watched files are: they are emptied before each program."""
    return tmp_path_factory.mktemp("programs")


@pytest.fixture(scope="module")
def without_inotify() -> Iterator[None]:
    """Leave watched paths to the timers, in which the clock is the test's."""
    with patch("hub_loop._stat.find_inotify", lambda: None):
        yield


@pytest.mark.usefixtures("without_inotify")
@settings(deadline=None, max_examples=150)
@given(makes=st.lists(making, min_size=3, max_size=8), steps=st.lists(step, min_size=15, max_size=40))
def test_a_program_has_its_callbacks_called_in_the_same_order_on_every_poller(
    folder: Path, makes: list[tuple[str, Any, int]], steps: list[tuple[str, Any, int]]
) -> None:
    orders = {}
    for backend in ("fake", *REAL):
        with player(backend, folder) as made:
            orders[backend] = made.play(makes + steps)
    assert len(set(map(tuple, orders.values()))) == 1, orders
    assert not [line for line in orders["fake"] if line.startswith("fork")]  # it is for the child to hear of
