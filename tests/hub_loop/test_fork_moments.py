"""The moments around a fork: wherever it comes from, and whatever the child calls first, the loop works there."""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.conftest import Kin
from tests.hub_loop.conftest import assert_it_works, on_epoll, on_real_ones, turn
from tests.interrupts import strike_forks

from hub_api import READ, WRITE, InvalidThreadUseError
from hub_loop import Loop, _fork, _signals
from hub_loop.testing import FakePoller, active_watchers

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from tests.hub_loop.conftest import MakeWire, Wire


# -- where a fork may come from ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["callback", "timer", "prepare", "check", "notify", "io"])
def test_a_fork_inside_a_running_turn(where: str, loop: Loop, make_wire: MakeWire, kin: Kin) -> None:
    wire = make_wire()
    told: list[str] = []
    things: list[Any] = []

    def fork(*ignored: object) -> None:
        for thing in things:
            thing.close()
        kin.fork()

    if where == "callback":
        loop.run_callback(fork)
    elif where == "notify":
        things.append(loop.register(wire.fd, fork))
        things[0].want(WRITE)
        things.pop()
    elif where == "io":
        things.append(loop.io(wire.fd, WRITE))
    else:
        things.append(loop.timer(0.0) if where == "timer" else getattr(loop, where)())
    for thing in things:
        thing.start(fork)
    ticks = loop.timer(0.0, 0.001)
    ticks.start(told.append, "tick")
    loop.run(once=True)
    while len(told) < 3:
        loop.run(once=True)
    ticks.close()
    loop.closing_fd(wire.fd)
    kin.child_ends(lambda: assert_it_works(loop))
    assert_it_works(loop)


@on_real_ones
def test_a_fork_by_a_signal_handler_inside_the_poll(
    loop: Loop,
    kin: Kin,
    wire: Wire,
    from_signal_handler: Callable[[Callable[[], object]], AbstractContextManager[None]],
) -> None:
    told: list[int] = []
    registration = loop.register(wire.fd, told.append)
    turn(loop)
    registration.clear(READ)
    registration.want(READ)

    def fork() -> None:
        if not kin.fork():
            loop.break_()
            loop.wakeup()

    with loop.fork(ref=False) as watcher:
        watcher.start(loop.break_)
        with from_signal_handler(fork):
            loop.run()  # in the child too: it does not wait in the parent's poller, and goes on to tell of the fork
            if kin.is_child:
                kin.child_ends(lambda: assert_it_works(loop))
    kin.child_ends()
    wire.send()
    turn(loop)
    assert told == [READ]  # the edge was the parent's
    registration.close()


@on_real_ones
def test_what_a_signal_handler_raises_in_the_child_comes_out_of_the_childs_poll(
    loop: Loop, kin: Kin, from_signal_handler: Callable[[Callable[[], object]], AbstractContextManager[None]]
) -> None:
    def fork() -> None:
        if kin.fork():
            raise OSError(errno.EBADF, "raised by the handler")
        loop.break_()
        loop.wakeup()

    def check() -> None:
        assert raised == ["raised by the handler"]
        assert_it_works(loop)

    raised = []
    with loop.async_() as keep_going:
        keep_going.start(print)
        with from_signal_handler(fork):
            try:
                loop.run()
            except OSError as error:
                raised.append(error.strerror)
            if kin.is_child:
                kin.child_ends(check)
    kin.child_ends()
    assert raised == []


@pytest.mark.parametrize("loop", ["epoll", "poll", "select", "fake"], indirect=True)
def test_a_fork_between_the_choice_of_a_timeout_and_the_poll_does_not_sleep_in_the_parents_poller(
    loop: Loop, kin: Kin, monkeypatch: pytest.MonkeyPatch
) -> None:
    choose = loop._time_to_sleep

    def fork_and_choose() -> float | None:
        monkeypatch.undo()
        kin.fork()
        if not kin.is_child:
            return 0.0
        assert choose() is not None
        return choose()

    monkeypatch.setattr(loop, "_time_to_sleep", fork_and_choose)
    with loop.async_() as keep_going:
        keep_going.start(print)
        loop.run(once=True)
    kin.child_ends(lambda: assert_it_works(loop))


def test_a_fork_by_another_thread_leaves_that_threads_own_loop_whole(loop: Loop, kin: Kin) -> None:
    other_fds: list[int] = []

    def live() -> None:
        own = Loop()
        own.run_callback(kin.fork)
        turn(own)
        kin.child_ends(lambda: check(own))
        own.destroy()

    def check(own: Loop) -> None:
        assert_it_works(own)
        for use in (
            lambda: loop.run(),
            lambda: loop.run_callback(print),
            lambda: loop.run_callback_threadsafe(print),
            lambda: loop.timer(1.0),
            lambda: watcher.send(),
            lambda: watcher.start(print),
            lambda: registration.want(READ),
            lambda: loop.now(),
        ):
            with pytest.raises(ValueError, match="left behind"):
                use()
        assert "left behind" in repr(loop)
        assert loop.fileno() is None
        assert loop._wakeup.fd == -1
        loop.wakeup()
        loop.reinit()
        loop.destroy()
        watcher.close()
        registration.close()
        timer.stop()
        assert not timer.active

    reader, writer = os.pipe()
    watcher = loop.async_()
    watcher.start(print)
    registration = loop.register(reader, other_fds.append)
    timer = loop.timer(1000.0)
    timer.start(print)
    thread = threading.Thread(target=live)
    thread.start()
    thread.join()
    assert_it_works(loop)
    for thing in (watcher, registration, timer):
        thing.close()
    os.close(reader)
    os.close(writer)


def test_in_a_child_whose_loop_was_not_used_yet_other_threads_may_post_and_nothing_else(loop: Loop, kin: Kin) -> None:
    def check() -> None:
        seen: list[str] = []

        def elsewhere() -> None:
            loop.run_callback_threadsafe(seen.append, "posted")
            loop.wakeup()
            for use in (loop.fileno, loop.reinit, loop.run, loop.update_now, lambda: loop.run_callback(print)):
                try:
                    use()
                except InvalidThreadUseError:
                    seen.append("refused")

        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        assert seen == ["refused"] * 5
        with loop.async_() as keep_going:
            keep_going.start(print)
            loop.run(once=True)
        assert seen[5:] == ["posted"]

    kin.run(check)


@pytest.mark.parametrize("way", ["ctypes", "before"])
def test_reinit_serves_forks_that_python_was_not_told_of(way: str, loop: Loop, wire: Wire, kin: Kin) -> None:
    told: list[int] = []
    registration = loop.register(wire.fd, told.append)
    turn(loop)
    if way == "ctypes":
        kin._ends = os.pipe()
        kin._child = ctypes.PyDLL(None).fork()
        os.close(kin._ends[1 if kin._child else 0])
    else:
        _fork._loops, hidden = None, _fork._loops  # a hook that was registered before ours runs before it
        try:
            kin.fork()
        finally:
            _fork._loops = hidden

    def check() -> None:
        loop.reinit()
        registration.close()
        assert_it_works(loop)

    kin.child_ends(check)
    registration.clear(READ)
    registration.want(READ)
    wire.send()
    turn(loop)
    assert told == [READ]
    registration.close()


# -- the first use -----------------------------------------------------------------------------------------------------

FIRST_USES: dict[str, Callable[[Loop, dict[str, Any]], object]] = {
    "run": lambda loop, had: loop.run(nowait=True),
    "run_callback": lambda loop, had: loop.run_callback(lambda: None),
    "run_callback_threadsafe": lambda loop, had: loop.run_callback_threadsafe(lambda: None),
    "timer.start": lambda loop, had: had["idle timer"].start(lambda: None),
    "timer.again": lambda loop, had: had["timer"].again(lambda: None),
    "timer.stop": lambda loop, had: had["timer"].stop(),
    "io": lambda loop, had: loop.io(had["fd"], READ).close(),
    "io.start": lambda loop, had: had["idle io"].start(lambda: None),
    "io.stop": lambda loop, had: had["io"].stop(),
    "ref": lambda loop, had: setattr(had["io"], "ref", False),
    "register": lambda loop, had: loop.register(had["free"], lambda events: None).close(),
    "want": lambda loop, had: had["registration"].want(READ),
    "unwant": lambda loop, had: had["registration"].unwant(READ),
    "clear": lambda loop, had: had["registration"].clear(READ),
    "close": lambda loop, had: had["registration"].close(),
    "send": lambda loop, had: had["async"].send(),
    "wakeup": lambda loop, had: loop.wakeup(),
    "closing_fd": lambda loop, had: loop.closing_fd(had["fd"]),
    "fileno": lambda loop, had: loop.fileno(),
    "now": lambda loop, had: loop.now(),
    "update_now": lambda loop, had: loop.update_now(),
    "loop.ref": lambda loop, had: loop.ref(),
    "unref": lambda loop, had: loop.unref(),
    "break_": lambda loop, had: loop.break_(),
    "counts": lambda loop, had: (loop.activecnt, loop.pendingcnt, loop.backend),
    "repr": lambda loop, had: repr(loop),
    "reinit": lambda loop, had: loop.reinit(),
}


@pytest.mark.parametrize("use", FIRST_USES)
def test_any_call_may_be_the_first_in_the_child(use: str, loop: Loop, make_wire: MakeWire, kin: Kin) -> None:
    wires = [make_wire() for _ in range(3)]
    had: dict[str, Any] = {
        "timer": loop.timer(1000.0),
        "idle timer": loop.timer(1000.0),
        "io": loop.io(wires[0].fd, READ),
        "idle io": loop.io(wires[0].fd, READ | WRITE),
        "async": loop.async_(),
        "registration": loop.register(wires[1].fd, lambda events: None),
        "fd": wires[0].fd,
        "free": wires[2].fd,
    }
    for name in ("timer", "io", "async"):
        had[name].start(lambda: None)
    turn(loop)

    def check() -> None:
        FIRST_USES[use](loop, had)
        for thing in had.values():
            if not isinstance(thing, int):
                thing.close()
        turn(loop)
        assert active_watchers(loop) == []
        assert_it_works(loop)

    kin.run(check)
    for thing in had.values():
        if not isinstance(thing, int):
            thing.close()


def test_a_child_that_destroys_its_loop_first_holds_nothing_of_it(loop: Loop, kin: Kin) -> None:
    timer = loop.timer(10.0)
    timer.start(print)

    def check() -> None:
        before = set(os.listdir("/proc/self/fd"))
        loop.destroy()
        loop.destroy()
        loop.reinit()
        assert set(os.listdir("/proc/self/fd")) == before
        assert not timer.active
        with pytest.raises(ValueError, match="destroyed"):
            loop.run()

    kin.run(check)
    timer.close()


def test_a_running_loop_may_be_destroyed_in_the_child(loop: Loop, kin: Kin) -> None:
    def fork() -> None:
        if kin.fork():
            loop.destroy()

    loop.run_callback(fork)
    turn(loop)
    if kin.is_child:
        kin.child_ends()
    kin.child_ends()
    assert_it_works(loop)


def test_a_wake_up_in_the_child_before_its_first_poll_is_not_lost(loop: Loop, kin: Kin) -> None:
    def check() -> None:
        loop.wakeup()
        with loop.async_() as keep_going:
            keep_going.start(print)
            loop.run(once=True)  # for ever, if it were lost

    kin.run(check)


def test_fds_that_the_child_has_closed_are_told_as_closed(loop: Loop, make_wire: MakeWire, kin: Kin) -> None:
    wire, other = make_wire(), make_wire()
    told: list[object] = []
    registration = loop.register(wire.fd, told.append)
    registration.want(READ)
    watcher = loop.io(other.fd, READ)
    watcher.start(told.append, "closed")

    def check() -> None:
        for number in (wire, other):
            number.close_near()
            if isinstance(loop._poller, FakePoller):
                loop._poller.invalidate(number.fd)
        for _ in range(3):
            turn(loop)
        assert sorted(map(str, told)) == ["0", "closed"]
        assert (registration.fd, watcher.fd, watcher.closed) == (-1, -1, True)
        assert_it_works(loop)

    kin.run(check)
    turn(loop)
    registration.close()
    watcher.close()
    assert told == [0]


@on_epoll
def test_an_fd_that_the_childs_poller_refuses_is_told_and_reported(
    loop: Loop, wire: Wire, kin: Kin, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors: list[object] = []
    told: list[int] = []

    class Handler:
        def handle_error(self, context: object, type: object, value: object, tb: object, /) -> None:
            errors.append((context, value))

    loop.error_handler = Handler()
    registration = loop.register(wire.fd, told.append)
    registration.want(READ)
    refusal = OSError(errno.ENOSPC, "too many watches")
    watch = type(loop._poller).watch

    def refuse(poller: Any, fd: int, interest: int) -> bool:
        if fd == wire.fd:
            raise refusal
        return watch(poller, fd, interest)

    def check() -> None:
        monkeypatch.setattr(type(loop._poller), "watch", refuse)
        loop.reinit()
        assert told == [0]
        assert errors == [(registration, refusal)]
        assert_it_works(loop)

    kin.run(check)
    registration.close()


@on_real_ones
def test_a_child_out_of_fds_is_told_so_at_the_call_and_the_next_call_tries_again(loop: Loop, kin: Kin) -> None:
    def check() -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        held = os.dup(0)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        for use in (lambda: loop.run_callback(print), loop.run, loop.reinit):
            with pytest.raises(OSError, match="Too many open files"):
                use()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        os.close(held)
        assert_it_works(loop)

    kin.run(check)


# -- what strikes inside the hook --------------------------------------------------------------------------------------


@on_epoll
def test_an_interrupt_at_any_moment_of_the_hook_leaves_nothing_of_the_parents_open(loop: Loop) -> None:
    def check() -> None:
        assert signal.set_wakeup_fd(-1) == -1, "the parent would be told of our signals"
        still = {fd: os.readlink(f"/proc/self/fd/{fd}") for fd in inherited if os.path.exists(f"/proc/self/fd/{fd}")}
        assert still == {}
        assert_it_works(loop)

    with loop.signal(signal.SIGUSR2, ref=False) as watcher:
        watcher.start(print)
        turn(loop)
        inherited = {loop._poller.fileno(), loop._wakeup.fd, *_signals.shared_fds()}
        assert len(inherited) == 4
        assert strike_forks((str(Path(_fork.__file__).parent),), check) > 20
    assert_it_works(loop)
