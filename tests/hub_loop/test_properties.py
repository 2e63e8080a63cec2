"""Properties: whatever is done with them, timers, callbacks and fds behave as simple models do."""

from __future__ import annotations

import os
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from hub_loop import READ, WRITE, Loop, supported
from hub_loop._callback import Callback
from hub_loop._timers import Timer
from hub_loop.testing import FakePoller, ManualClock

REAL = [name for name in ("epoll", "poll", "select") if name in supported()]


# -- timers: a sorted list --------------------------------------------------------------------------------------------


@dataclass
class Modelled:
    """A timer and what a sorted list says of it: its deadline and the number of its start."""

    timer: Timer
    after: int
    repeat: int
    deadline: float | None = None
    number: int = 0


class Timers(RuleBasedStateMachine):
    """Timers behave as a list that is sorted by deadline, and by the order of the starts among equals."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.loop = Loop(poller=FakePoller(self.clock), clock=self.clock)
        self.timers: list[Modelled] = []
        self.fired: list[int] = []
        self.number = 0

    def teardown(self) -> None:
        self.loop.destroy()

    def _next(self) -> int:
        self.number += 1
        return self.number

    def _some(self, data: Any) -> tuple[int, Modelled]:
        which = data.draw(st.integers(0, len(self.timers) - 1))
        return which, self.timers[which]

    @rule(after=st.integers(-1, 5), repeat=st.integers(0, 4))
    def make(self, after: int, repeat: int) -> None:
        self.timers.append(Modelled(self.loop.timer(after, repeat), after, repeat))

    @precondition(lambda self: self.timers)
    @rule(data=st.data())
    def start(self, data: Any) -> None:
        which, entry = self._some(data)
        entry.timer.start(self.fired.append, which)
        if entry.deadline is None:
            entry.deadline, entry.number = self.clock() + entry.after, self._next()

    @precondition(lambda self: self.timers)
    @rule(data=st.data())
    def again(self, data: Any) -> None:
        which, entry = self._some(data)
        entry.timer.again(self.fired.append, which)
        entry.deadline, entry.number = self.clock() + (entry.repeat or entry.after), self._next()

    @precondition(lambda self: self.timers)
    @rule(data=st.data())
    def stop(self, data: Any) -> None:
        _, entry = self._some(data)
        entry.timer.stop()
        entry.deadline = None

    @precondition(lambda self: self.timers)
    @rule(data=st.data())
    def close(self, data: Any) -> None:
        which, entry = self._some(data)
        entry.timer.close()
        self.timers[which] = Modelled(self.loop.timer(entry.after, entry.repeat), entry.after, entry.repeat)

    @rule(seconds=st.integers(0, 6))
    def let_time_pass(self, seconds: int) -> None:
        self.clock.advance(seconds)
        self.fired.clear()
        self.loop.run(nowait=True)
        now = self.clock()
        due = [(entry.deadline, entry.number, which) for which, entry in enumerate(self.timers) if _is_due(entry, now)]
        due.sort(key=lambda one: one[:2])
        assert self.fired == [which for *_, which in due]
        for deadline, _, which in due:
            entry = self.timers[which]
            entry.number = self._next()
            entry.deadline = max((deadline or 0.0) + entry.repeat, now) if entry.repeat else None

    @invariant()
    def the_loop_says_the_same(self) -> None:
        assert [entry.timer.at for entry in self.timers] == [entry.deadline for entry in self.timers]
        assert [entry.timer.active for entry in self.timers] == [entry.deadline is not None for entry in self.timers]
        assert self.loop.activecnt == sum(entry.deadline is not None for entry in self.timers)
        deadlines = [entry.deadline for entry in self.timers if entry.deadline is not None]
        assert self.loop._timers.deadline() == min(deadlines, default=None)


def _is_due(entry: Modelled, now: float) -> bool:
    return entry.deadline is not None and entry.deadline <= now


TestTimers = Timers.TestCase
TestTimers.settings = settings(deadline=None, max_examples=60, stateful_step_count=40)


# -- callbacks: a list ------------------------------------------------------------------------------------------------


class Callbacks(RuleBasedStateMachine):
    """Callbacks behave as a list: what is queued while the list is read stands at its end, what is stopped is out.

    A post is one of them, whoever makes it: the loop's thread or another, between the turns or in a callback.
    """

    def __init__(self) -> None:
        super().__init__()
        self.loop = Loop("select", clock=ManualClock())  # a clock that stands: no batch runs out of time
        self.made: list[Callback] = []
        self.queued: list[tuple[int, int]] = []
        self.ran: list[int] = []
        self.expected: list[int] = []

    def teardown(self) -> None:
        self.loop.destroy()

    def _queue(self, how: str, number: int, children: int) -> Callback:
        if how == "queued":
            return self.loop.run_callback(self._work, number, children)
        if how == "posted":
            return self.loop.run_callback_threadsafe(self._work, number, children)
        made: list[Callback] = []
        thread = threading.Thread(
            target=lambda: made.append(self.loop.run_callback_threadsafe(self._work, number, children))
        )
        thread.start()
        thread.join()
        return made[0]

    def _work(self, number: int, children: int) -> None:
        self.ran.append(number)
        for child in range(children):
            self._queue(("queued", "posted")[child % 2], -(100 * number + child), 0)

    @rule(children=st.integers(0, 3), how=st.sampled_from(["queued", "posted", "posted by a thread"]))
    def queue(self, children: int, how: str) -> None:
        number = len(self.made) + 1
        self.made.append(self._queue(how, number, children))
        self.queued.append((number, children))

    @precondition(lambda self: self.made)
    @rule(data=st.data())
    def stop(self, data: Any) -> None:
        which = data.draw(st.integers(0, len(self.made) - 1))
        self.made[which].stop()
        self.queued = [entry for entry in self.queued if entry[0] != which + 1]

    @rule()
    def turn(self) -> None:
        self.loop.run(nowait=True)
        while self.queued:
            number, children = self.queued.pop(0)
            self.expected.append(number)
            self.queued += [(-(100 * number + child), 0) for child in range(children)]

    @invariant()
    def the_same_has_run(self) -> None:
        assert self.ran == self.expected
        pending = {number for number, _ in self.queued}
        assert [callback.pending for callback in self.made] == [
            number in pending for number in range(1, len(self.made) + 1)
        ]


TestCallbacks = Callbacks.TestCase
TestCallbacks.settings = settings(deadline=None, max_examples=60, stateful_step_count=30)


# -- fds: files, numbers, and who watches what ------------------------------------------------------------------------


class File:
    """One end of a socket pair, under one number or more: what can be done with it, as a fake poller is told, too."""

    def __init__(self, fake: FakePoller | None) -> None:
        near, self.far = socket.socketpair()
        near.setblocking(False)
        self.far.setblocking(False)
        self.fake = fake
        self.numbers: list[int] = []
        self.readable = self.hung_up = False
        self.writable = True
        self._goes_by(near.detach())

    @property
    def ready(self) -> int:
        return (READ if self.readable else 0) | (WRITE if self.writable else 0)

    def _goes_by(self, number: int) -> None:
        self.numbers.append(number)
        if self.fake:
            self.fake.replace(number)
            self.fake.make_ready(number, self.ready)
            if self.hung_up:
                self.fake.hang_up(number)

    def _script(self, what: str, *args: int) -> None:
        for number in self.numbers if self.fake else ():
            getattr(self.fake, what)(number, *args)

    def dup(self, number: int) -> None:
        self._goes_by(os.dup(number))

    def close(self, number: int) -> None:
        os.close(number)
        self.numbers.remove(number)
        if self.fake:
            self.fake.replace(number)

    def send(self) -> None:
        """The other end sends."""
        if not self.hung_up:
            self.far.send(b"x")
            self.readable = True
            self._script("make_ready", READ)

    def hang_up(self) -> None:
        """The other end closes."""
        if not self.hung_up:
            self.far.close()
            self.readable = self.writable = self.hung_up = True
            self._script("hang_up")

    def make_room(self) -> None:
        """The other end reads everything."""
        if not self.hung_up:
            with suppress(BlockingIOError):
                while self.far.recv(1 << 20):
                    pass
            self.writable = True
            self._script("make_ready", WRITE)

    def exhaust(self, events: int) -> int:
        """Read or write until the system refuses; what it has refused: after a hang-up it refuses nothing."""
        if self.hung_up:
            return 0
        number = self.numbers[0]
        if events & READ:
            with suppress(BlockingIOError):
                while os.read(number, 1 << 16):
                    pass
            self.readable = False
        if events & WRITE:
            with suppress(BlockingIOError):
                while os.write(number, bytes(1 << 16)):
                    pass
            self.writable = False
        self._script("drain", events)
        return events


@dataclass
class User:
    """An io watcher, or an owner's registration, and the number that it stands on; None once that has left."""

    handle: Any
    number: int | None
    wants: int
    """What it will be told when it happens: for an owner, once."""
    owner: bool = False
    told: list[int] = field(default_factory=list)


class Fds(RuleBasedStateMachine):
    """Whoever wants what its file is ready for is told in the next turn: its file, not what had the number before.

    A watcher in each turn, an owner once for each want.  The model is the kernel's own: numbers stand for open files, a
    dup is a second number of one file, a closed number is given out again.  Every number leaves the loop before it is
    closed (law 7), and an owner waits for what the system has just refused it, as the interface asks of owners.
    """

    def __init__(self) -> None:
        super().__init__()
        self.files: list[File] = []
        self.users: list[User] = []
        self.loop: Any = None

    @initialize(backend=st.sampled_from(["fake", *REAL]))
    def begin(self, backend: str) -> None:
        clock = ManualClock()
        self.fake = FakePoller(clock) if backend == "fake" else None
        self.loop = Loop(poller=self.fake, clock=clock) if self.fake else Loop(backend)

    def teardown(self) -> None:
        for user in self.users:
            user.handle.close()
        for file in self.files:
            file.far.close()
            for number in file.numbers:
                os.close(number)
        if self.loop:
            self.loop.destroy()

    def _a_number(self, data: Any) -> tuple[File, int]:
        numbers = [(file, number) for file in self.files for number in file.numbers]
        which: int = data.draw(st.integers(0, len(numbers) - 1))
        return numbers[which]

    def _an_owner(self, data: Any) -> User:
        owners = [user for user in self.users if user.owner]
        which: int = data.draw(st.integers(0, len(owners) - 1))
        return owners[which]

    def _file_of(self, user: User) -> File:
        [file] = [file for file in self.files if user.number in file.numbers]
        return file

    def _numbers(self) -> bool:
        return any(file.numbers for file in self.files)

    def _owners(self) -> bool:
        return any(user.owner for user in self.users)

    # -- files ------------------------------------------------------------------------------------------------------

    @precondition(lambda self: len(self.files) < 8)
    @rule()
    def open(self) -> None:
        self.files.append(File(self.fake))

    @precondition(_numbers)
    @rule(data=st.data())
    def dup(self, data: Any) -> None:
        file, number = self._a_number(data)
        if len(file.numbers) < 4:
            file.dup(number)

    @precondition(lambda self: self.files)
    @rule(data=st.data(), what=st.sampled_from(["send", "read", "fill", "make room", "hang up"]))
    def use(self, data: Any, what: str) -> None:
        file = self.files[data.draw(st.integers(0, len(self.files) - 1))]
        if what == "send":
            file.send()
        elif what == "hang up":
            file.hang_up()
        elif what == "make room":
            file.make_room()
        else:
            file.exhaust(READ if what == "read" else WRITE)

    @precondition(_numbers)
    @rule(data=st.data())
    def close(self, data: Any) -> None:
        file, number = self._a_number(data)
        leaving = self._leaving(number)
        assert self.loop.closing_fd(number) is any(user.wants for user in leaving)
        file.close(number)
        self._have_left(leaving)
        if not file.numbers:
            file.far.close()
            self.files.remove(file)
        self.turn()

    def _leaving(self, number: int) -> list[User]:
        return [user for user in self.users if user.number == number]

    def _have_left(self, leaving: list[User]) -> None:
        """The last event: an owner that waits is told 0 at once, a watcher its events in the next turn."""
        for user in leaving:
            user.number = None
            if user.owner:
                assert user.told == ([0] if user.wants else [])
                assert (user.handle.fd, user.handle.ready) == (-1, 0)
                user.told.clear()
                self.users.remove(user)
            else:
                assert user.handle.closed

    # -- watchers ---------------------------------------------------------------------------------------------------

    @precondition(_numbers)
    @rule(data=st.data(), events=st.sampled_from([READ, WRITE, READ | WRITE]))
    def watch(self, data: Any, events: int) -> None:
        _, number = self._a_number(data)
        user = User(self.loop.io(number, events), number, events)
        user.handle.start(user.told.append, pass_events=True)
        self.users.append(user)

    @precondition(lambda self: any(not user.owner for user in self.users))
    @rule(data=st.data(), how=st.sampled_from(["stop", "start", "close"]))
    def change(self, data: Any, how: str) -> None:
        watchers = [user for user in self.users if not user.owner]
        user = watchers[data.draw(st.integers(0, len(watchers) - 1))]
        if how == "start":
            # Of a number that was closed and given out again the loop is told by a new watcher, not by an old one.
            user.handle.start(user.told.append, pass_events=True)
        else:
            getattr(user.handle, how)()
            user.handle.close()
            self.users.remove(user)

    # -- owners -----------------------------------------------------------------------------------------------------

    @precondition(_numbers)
    @rule(data=st.data(), events=st.sampled_from([0, READ, WRITE, READ | WRITE]))
    def register(self, data: Any, events: int) -> None:
        """Become an owner, and perhaps wait without a try: what is ready already is an edge as well."""
        _, number = self._a_number(data)
        if any(user.owner for user in self._leaving(number)):
            with pytest.raises(ValueError, match="is registered already"):
                self.loop.register(number, print)
            return
        user = User(None, number, events, owner=True)
        user.handle = self.loop.register(number, user.told.append)
        if events:
            user.handle.want(events)
        self.users.append(user)

    @precondition(_owners)
    @rule(data=st.data(), events=st.sampled_from([READ, WRITE, READ | WRITE]))
    def want(self, data: Any, events: int) -> None:
        user = self._an_owner(data)
        refused = self._file_of(user).exhaust(events)
        if refused:
            user.handle.clear(refused)
            assert not user.handle.ready & refused
            user.handle.want(refused)
            user.wants |= refused

    @precondition(_owners)
    @rule(data=st.data(), events=st.sampled_from([READ, WRITE, READ | WRITE]))
    def unwant(self, data: Any, events: int) -> None:
        user = self._an_owner(data)
        user.handle.unwant(events)
        user.wants &= ~events

    @precondition(_owners)
    @rule(data=st.data())
    def disown(self, data: Any) -> None:
        """Close a registration, and not the fd: that may be registered again, and watched."""
        user = self._an_owner(data)
        assert user.number is not None
        leaving = self._leaving(user.number)
        user.handle.close()
        self._have_left(leaving)
        self.turn()

    # -- what is told -----------------------------------------------------------------------------------------------

    @rule()
    def turn(self) -> None:
        self.loop.run(nowait=True)
        for user in list(self.users):
            expected = user.wants
            if user.number is None:
                self.users.remove(user)
            else:
                expected &= self._file_of(user).ready
            assert user.told == ([expected] if expected else [])
            user.told.clear()
            if user.owner:
                user.wants &= ~expected

    @invariant()
    def the_count_is_right(self) -> None:
        if self.loop:
            assert self.loop.activecnt == sum(bool(user.wants) for user in self.users)


TestFds = Fds.TestCase
TestFds.settings = settings(deadline=None, max_examples=120, stateful_step_count=40)
