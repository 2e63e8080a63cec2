"""A KeyboardInterrupt at each single moment of the family's code: main sees it, and nobody is lost on the way.

CPython looks for signals as a Python function is entered, behind a call of one in C, and where a loop jumps back.  The
first two are provoked here one by one; the third by a thread that interrupts at random, in test_signals.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from greenlet import getcurrent
from tests import interrupts

import hub_core
import hub_loop
from hub_core import FdWaiter, Hub, Waiter, get_hub, kill, set_hub, sleep, spawn_raw, wait_read
from hub_loop import Loop
from hub_loop.testing import FakePoller, ManualClock

if TYPE_CHECKING:
    from types import FrameType

_SOURCES = tuple(str(Path(module.__file__ or "").parent) for module in (hub_core, hub_loop))


def interrupt_at(moment: int, func: Callable[[], object]) -> bool:
    """Call `func`, and have a KeyboardInterrupt arise at a moment of the family's code; False if it has fewer."""
    return interrupts.interrupt_at(moment, func, _is_moment)


def _is_moment(frame: FrameType, event: str, arg: Any) -> bool:
    return (
        event in ("call", "c_return")
        and frame.f_code.co_filename.startswith(_SOURCES)
        and not interrupts.is_a_finalizers(frame)
    )


Clean = list[Callable[[], object]]
Way = Callable[[Hub, Clean], tuple[Callable[[], object], Callable[[], object]]]
"""How to wait, and what to do, when somebody waits, to end it."""


def sleeps(hub: Hub, clean: Clean) -> tuple[Callable[[], object], Callable[[], object]]:
    return lambda: sleep(1), lambda: None


def gets(hub: Hub, clean: Clean) -> tuple[Callable[[], object], Callable[[], object]]:
    waiter = Waiter()
    return waiter.get, lambda: hub.loop.run_callback(waiter.switch, None)


def sees_another_killed(hub: Hub, clean: Clean) -> tuple[Callable[[], object], Callable[[], object]]:
    victim = spawn_raw(Waiter().get)

    def wait() -> None:
        while not victim.dead:
            sleep(1)

    return wait, lambda: kill(victim)


def reads(hub: Hub, clean: Clean) -> tuple[Callable[[], object], Callable[[], object]]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    owned = FdWaiter(ours.fileno())
    clean += [owned.close, ours.close, theirs.close]
    return owned.wait_read, lambda: theirs.send(b"x")


def reads_until_its_time_is_up(hub: Hub, clean: Clean) -> tuple[Callable[[], object], Callable[[], object]]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    owned = FdWaiter(ours.fileno())
    clean += [owned.close, ours.close, theirs.close]

    def wait() -> None:
        with pytest.raises(TimeoutError):
            owned.wait_read(1)

    return wait, lambda: None


def reads_as_a_stranger(hub: Hub, clean: Clean) -> tuple[Callable[[], object], Callable[[], object]]:
    ours, theirs = socket.socketpair()
    clean += [ours.close, theirs.close]
    return lambda: wait_read(ours.fileno()), lambda: theirs.send(b"x")


@pytest.mark.parametrize(
    ("way", "poller"),
    [
        (sleeps, "fake"),
        (gets, "fake"),
        (sees_another_killed, "fake"),
        (reads, "poll"),
        (reads_until_its_time_is_up, "fake"),
        (reads_as_a_stranger, "poll"),
    ],
)
def test_an_interrupt_at_any_moment_loses_nobody(way: Way, poller: str) -> None:
    moment, interrupted = 0, True
    while interrupted:
        moment += 1
        interrupted = _one_moment(moment, way, poller)
    assert moment > 15


def _one_moment(moment: int, way: Way, poller: str) -> bool:
    clock = ManualClock()
    if poller == "fake":
        hub = Hub(Loop(default=False, poller=FakePoller(clock), clock=clock))
    else:
        hub = Hub(Loop(poller, default=False))
    set_hub(hub)
    hub.exception_stream = None
    notes: list[str] = []
    clean: Clean = []
    wait, end_it = way(hub, clean)

    def body() -> None:
        try:
            wait()
            notes.append("went on")
        except KeyboardInterrupt:
            notes.append("was struck itself")

    spawn_raw(body)
    sleep(0)
    assert notes == []
    end_it()
    interrupted = interrupt_at(moment, hub.join)
    done = hub.join(5)
    assert (done, len(notes)) == (True, 1), f"at moment {moment}: {done} {notes}"
    for close in clean:
        close()
    assert get_hub() is hub
    hub.destroy()
    set_hub(None)
    return interrupted


def test_an_interrupt_at_any_moment_of_the_first_wait_of_a_hub_leaves_it_alive() -> None:
    def is_moment(frame: FrameType, event: str, arg: Any) -> bool:
        # An exception of a profile function is no signal's: it ends a generator that goes on, without its `except`.
        return _is_moment(frame, event, arg) and (event, frame.f_code.co_name) != ("call", "_live")

    moment, interrupted = 0, True
    while interrupted:
        moment += 1
        with Hub(Loop(default=False)) as hub:
            hub.exception_stream = None
            interrupted = interrupts.interrupt_at(moment, lambda: sleep(0.0001), is_moment)
            assert not hub.dead, f"at moment {moment}"
            sleep(0.0001)
    assert moment > 15


@pytest.mark.parametrize("whose", ["the main greenlet's", "a greenlet's", "a greenlet's whose hub was destroyed"])
def test_an_interrupted_yield_leaves_nobody_ready(whose: str) -> None:
    moment, interrupted = 0, True
    while interrupted:
        moment += 1
        interrupted = _one_yield(moment, whose)
    assert moment > 5


def _one_yield(moment: int, whose: str) -> bool:
    struck: list[bool] = []
    hub = Hub(Loop(default=False))
    hub.exception_stream = None
    set_hub(hub)

    def strike() -> None:
        hub = get_hub()
        spawn_raw(lambda: None)  # so that it goes by the hub
        try:
            struck.append(interrupt_at(moment, lambda: sleep(0)))
        except KeyboardInterrupt:
            struck.append(True)
        assert getcurrent() not in hub._ready, f"at moment {moment}"
        sleep(0)  # once around, and no more
        assert getcurrent() not in hub._ready, f"at moment {moment}"

    if whose == "the main greenlet's":
        strike()
    elif whose == "a greenlet's":
        spawn_raw(strike)
        try:
            hub.join()
        except KeyboardInterrupt:  # it has struck the hub
            hub.join()
    else:
        struck = _of_a_destroyed_hub(hub, strike, struck)
    get_hub().destroy()
    set_hub(None)
    return struck[0]


def _of_a_destroyed_hub(hub: Hub, strike: Callable[[], None], struck: list[bool]) -> list[bool]:
    def live() -> None:
        hub.switch()
        set_hub(Hub(Loop(default=False)))
        get_hub().exception_stream = None
        strike()

    left = spawn_raw(live)
    sleep(0)
    hub.destroy(timeout=0)
    left.parent = getcurrent()
    set_hub(None)
    left.switch()
    while not left.dead:
        try:
            sleep(0)
        except KeyboardInterrupt:
            pass
    return struck
