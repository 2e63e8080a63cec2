"""Law 8: what belongs to a hub or a loop raises at the call from any other thread, naming both, and the way out.

Every public name of every such class stands in a table: with a call that must be refused, or as fit for any thread.
A name that stands in neither fails the test, so that none can be forgotten.
"""

from __future__ import annotations

import os
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest
from greenlet import getcurrent, greenlet
from tests.hub_core.conftest import Failure

import hub_core
from hub_api import READ, InvalidThreadUseError
from hub_core import FdWaiter, Hub, Waiter, sleep, spawn_raw
from hub_core._local import defaults
from hub_loop import Loop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.hub_core.conftest import Elsewhere


class Things:
    """One of each class, in the hub's thread."""

    def __init__(self, hub: Hub) -> None:
        self.hub, self.loop = hub, hub.loop
        self.near, self.far = socket.socketpair()
        self.near.setblocking(False)
        self.waiter = hub.waiter()
        self.fd = FdWaiter(self.near.fileno())
        self.fd.clear_write()
        self.fd.clear_read()
        self.ready_fd = FdWaiter(self.far.fileno())
        self.near.send(b"x")
        sleep(0.001)  # it can be read and written, and its latch says so
        self.parked = spawn_raw(self.waiter.get)
        self.unused = greenlet(print)
        sleep(0)
        loop: Any = hub.loop
        self.read, self.write = os.pipe()
        kinds = {
            "io": lambda: loop.io(self.read, READ),
            "timer": lambda: loop.timer(100.0, 100.0),
            "async_": loop.async_,
            "idle": loop.idle,
            "prepare": loop.prepare,
            "check": loop.check,
            "fork": loop.fork,
            "signal": lambda: loop.signal(10),
            "interrupt": lambda: loop.interrupt(12),
            "child": lambda: loop.child(os.getpid()),  # never started
            "stat": lambda: loop.stat("/"),
        }
        self.idle_ones = {name: make() for name, make in kinds.items()}
        self.active = {name: make() for name, make in kinds.items() if name not in ("child", "idle")}
        for watcher in self.active.values():
            watcher.start(print)
        self.registration = self.fd._registration

    def close(self) -> None:
        for watcher in (*self.active.values(), *self.idle_ones.values()):
            watcher.close()
        for waiter in (self.fd, self.ready_fd):
            waiter.close()
        for sock in (self.near, self.far):
            sock.close()
        self.waiter.switch()
        sleep(0)
        os.close(self.read)
        os.close(self.write)


@pytest.fixture
def things(hub: Hub) -> Iterator[Things]:
    made = Things(hub)
    yield made
    made.close()


Call = Any  # a function of Things

ERROR = ZeroDivisionError()

REFUSED: dict[str, dict[str, Call]] = {
    "Hub": {
        "__enter__": lambda t: t.hub.__enter__(),
        "__exit__": lambda t: t.hub.__exit__(None, None, None),
        "cancel_wait": lambda t: t.hub.cancel_wait(t.active["timer"], ERROR),
        "cancel_waits_close_and_then": lambda t: t.hub.cancel_waits_close_and_then([], ERROR, print),
        "check_thread": lambda t: t.hub.check_thread("do it"),
        "destroy": lambda t: t.hub.destroy(),
        "forget_ready": lambda t: t.hub.forget_ready(t.parked),
        "handle_error": lambda t: t.hub.handle_error(None, SystemExit, SystemExit(), None),
        "handle_system_error": lambda t: t.hub.handle_system_error(SystemExit, SystemExit()),
        "join": lambda t: t.hub.join(),
        "make_ready": lambda t: t.hub.make_ready(t.parked),
        "park": lambda t: t.hub.park(),
        "refuse": lambda t: t.hub.refuse("do it"),
        "reinit": lambda t: t.hub.reinit(),
        "report_on_signal": lambda t: t.hub.report_on_signal(),
        "start_soon": lambda t: t.hub.start_soon(t.unused, print),
        "switch": lambda t: t.hub.switch(),
        "throw_soon": lambda t: t.hub.throw_soon(t.parked, ERROR),
        "wait": lambda t: t.hub.wait(t.idle_ones["timer"]),
    },
    "Waiter": {
        "__call__": lambda t: t.waiter(Source()),
        "clear": lambda t: t.waiter.clear(),
        "get": lambda t: t.waiter.get(),
        "switch": lambda t: t.waiter.switch(),
        "switch_args": lambda t: t.waiter.switch_args(1),
        "throw": lambda t: t.waiter.throw(ERROR),
    },
    "FdWaiter": {
        "clear_read": lambda t: t.fd.clear_read(),
        "clear_write": lambda t: t.fd.clear_write(),
        "close": lambda t: t.fd.close(),
        "wait_read": lambda t: t.fd.wait_read(),
        "wait_read, at most": lambda t: t.fd.wait_read(0.01),
        "wait_read, ready": lambda t: t.ready_fd.wait_read(),
        "wait_write": lambda t: t.fd.wait_write(),
        "wait_write, at most": lambda t: t.fd.wait_write(0.01),
        "wait_write, ready": lambda t: t.ready_fd.wait_write(),
    },
    "hub_core": {
        "kill": lambda t: hub_core.kill(t.parked),
        "reinit": lambda t: hub_core.reinit(t.hub),
        "report_on_signal": lambda t: hub_core.report_on_signal(t.loop),
        "set_hub": lambda t: hub_core.set_hub(t.hub),
        "wait_on_watcher": lambda t: hub_core.wait_on_watcher(t.idle_ones["timer"], hub=t.hub),
        "wait_on_watcher, of another loop": lambda t: hub_core.wait_on_watcher(t.idle_ones["timer"]),
    },
    "Loop": {
        "break_": lambda t: t.loop.break_(),
        "closing_fd": lambda t: t.loop.closing_fd(t.read),
        "destroy": lambda t: t.loop.destroy(),
        "poll_elsewhere": lambda t: t.loop.poll_elsewhere(),
        "ref": lambda t: t.loop.ref(),
        "register": lambda t: t.loop.register(t.write, print),
        "reinit": lambda t: t.loop.reinit(),
        "run": lambda t: t.loop.run(),
        "run_callback": lambda t: t.loop.run_callback(print),
        "unref": lambda t: t.loop.unref(),
        "update_now": lambda t: t.loop.update_now(),
    },
    "watchers": {
        "start": lambda t: each(t.idle_ones, lambda watcher: refused(watcher.start, print)),
        "restart": lambda t: each(t.active, lambda watcher: refused(watcher.start, print)),
        "stop": lambda t: each(t.active, lambda watcher: refused(watcher.stop)),
        "close": lambda t: each(t.active, lambda watcher: refused(watcher.close)),
        "__exit__": lambda t: each(t.active, lambda watcher: refused(watcher.__exit__, None, None, None)),
        "args": lambda t: each(t.active, lambda watcher: refused(setattr, watcher, "args", ())),
        "callback": lambda t: each(t.active, lambda watcher: refused(setattr, watcher, "callback", int)),
        "ref": lambda t: each(t.active, lambda watcher: refused(setattr, watcher, "ref", False)),
        "again": lambda t: t.active["timer"].again(print),
    },
    "Registration": {
        "clear": lambda t: t.registration.clear(READ),
        "close": lambda t: t.registration.close(),
        "evict": lambda t: t.registration._loop.closing_fd(t.near.fileno()),
        "unwant": lambda t: t.registration.unwant(READ),
        "want": lambda t: t.registration.want(READ),
    },
}

ANY_THREAD: dict[str, set[str]] = {
    # What only reads, what only formats, and what is `*_threadsafe`; a Waiter is an object until somebody waits on it.
    "Hub": {
        "NOT_ERROR",
        "SYSTEM_ERROR",
        "counters",
        "current",
        "exception_stream",
        "format_context",
        "loop",
        "main_hub",
        "name",
        "of_this_thread",
        "owner_ended",
        "print_exception",
        "report",
        "resolver",
        "run",  # an AssertionError in any thread: nobody calls it
        "switch_out",  # the hub's own answer to blocking calls, in any thread
        "thread_ident",
        "threadpool",
        "threadpool_size",
        "waiter",
        "watch",
    },
    "Waiter": {"exc_info", "greenlet", "hub", "ready", "reason", "successful", "value"},
    "FdWaiter": {"fileno"},
    "hub_core": {  # they concern the calling thread's own hub, or none
        "BlockReport",
        "Counters",
        "CountersSnapshot",
        "DelayHistogram",
        "FdWaiter",
        "FrameReport",
        "GreenletReport",
        "Hint",
        "Hub",
        "OrphanReport",
        "Report",
        "WaitReport",
        "Waiter",
        "Watch",
        "get_hub",
        "get_hub_class",
        "get_hub_if_exists",
        "get_loop",
        "idle",
        "left_behind",  # of a greenlet of the calling thread; elsewhere it has no frame to look at
        "set_default_hub_class",
        "set_defaults",
        "set_loop",
        "sleep",
        "spawn_raw",
        "wait_read",
        "wait_readwrite",
        "wait_reason",
        "wait_write",
    },
    "Loop": {
        "MAXPRI",
        "MINPRI",
        "activecnt",
        "approx_timer_resolution",
        "backend",
        "busy",
        "calls",
        "clock",
        "debug",
        "default",
        "error_handler",
        "fileno",
        "fork_listener",
        "handle_error",
        "install_sigchld",
        "iteration",
        "made_at",
        "now",
        "pendingcnt",
        "polled",
        "progress",
        "reset_sigchld",
        "run_callback_threadsafe",
        "run_mark",  # of the hub's, in the middle of parking, where it has asked for the thread
        "sleeping",
        "wakeup",
        # A watcher is an object until it is started.
        "async_",
        "check",
        "child",
        "fork",
        "idle",
        "interrupt",
        "io",
        "prepare",
        "signal",
        "stat",
        "timer",
    },
    "watchers": {
        "active",
        "at",
        "attr",
        "closed",
        "events",
        "fd",
        "interval",
        "loop",
        "path",
        "pending",
        "pid",
        "prev",
        "priority",
        "rpid",
        "rstatus",
        "send",  # that is what it is for
        "send_ignoring_arg",
        "signum",
        "trace",
    },
    "Registration": {"callback", "deliver", "fd", "ready"},
}
ERRORS = {"BlockingSwitchOutError", "ConcurrentObjectUseError", "HubDestroyed", "InvalidSwitchError"}
ERRORS |= {"InvalidThreadUseError", "LoopExit", "ForkedError"}


class Source:
    """As much as a waiter asks of one."""

    exception = None
    value = 1


def refused(call: Callable[..., object], *args: object) -> None:
    """Call it, and look at its error."""
    try:
        call(*args)
    except InvalidThreadUseError as error:
        check_message(str(error))
    else:
        pytest.fail(f"{call!r} was not refused")


def each(watchers: dict[str, Any], check: Callable[[Any], None]) -> None:
    """One of each kind."""
    for watcher in watchers.values():
        check(watcher)


def check_message(message: str) -> None:
    assert "MainThread" in message, message
    assert "a stranger" in message, message
    assert "threadsafe" in message, message


def public(cls: type, beyond: type = object) -> set[str]:
    """The names that a class adds to what `beyond` has."""
    return {name for name in dir(cls) if not name.startswith("_") and name not in dir(beyond)}


def words(table: dict[str, Call]) -> set[str]:
    return {name.split(",")[0] for name in table}


@pytest.mark.parametrize(("owner", "name"), [(owner, name) for owner, calls in REFUSED.items() for name in calls])
def test_it_is_refused_in_another_thread(
    owner: str, name: str, things: Things, elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(defaults, "loop", Loop)  # some make the other thread a hub

    def call() -> str:
        threading.current_thread().name = "a stranger"
        try:
            REFUSED[owner][name](things)
            if owner == "watchers":
                return ""  # each kind was refused, and its message looked at
        except InvalidThreadUseError as error:
            return str(error)
        finally:
            own = hub_core.get_hub_if_exists()
            if own is not None:
                own.destroy(destroy_loop=True)
        return "it was not refused"

    message = elsewhere(call)
    if message:
        check_message(message)
    assert things.waiter.greenlet is things.parked
    assert not things.parked.dead
    assert all(watcher.active for watcher in things.active.values())
    assert not any(watcher.active for watcher in things.idle_ones.values())
    assert things.fd.fileno() == things.near.fileno()


@pytest.mark.parametrize(
    "use",
    [
        lambda hub: hub.switch(),
        lambda hub: hub.make_ready(getcurrent()),
        lambda hub: hub.throw_soon(getcurrent(), Failure),
        lambda hub: hub.start_soon(greenlet(print), print),
    ],
    ids=["switch", "make_ready", "throw_soon", "start_soon"],
)
def test_use_in_another_thread_names_both_threads(hub: Hub, elsewhere: Elsewhere, use: Callable[[Hub], object]) -> None:
    with pytest.raises(InvalidThreadUseError) as caught:
        elsewhere(lambda: use(hub))
    assert f"{elsewhere.ident:#x}" in str(caught.value)
    assert f"{hub.thread_ident:#x}" in str(caught.value)


def test_both_hubs_are_named(hub: Hub, elsewhere: Elsewhere) -> None:
    waiter = hub.waiter()
    hub.name = "the first"

    def call() -> str:
        with Hub(Loop(default=False)) as own:
            own.name = "the second"
            with pytest.raises(InvalidThreadUseError) as caught:
                waiter.switch(1)
        return str(caught.value)

    message = elsewhere(call)
    assert "<Hub 'the first'" in message
    assert "<Hub 'the second'" in message
    assert "use hub.loop.run_callback_threadsafe(waiter.switch, value)" in message


def test_no_public_name_is_forgotten(things: Things) -> None:
    watchers = {name for watcher in things.idle_ones.values() for name in public(type(watcher))}
    names = {
        "Hub": public(Hub, greenlet) | {"switch"},
        "Waiter": public(Waiter),
        "FdWaiter": public(FdWaiter),
        "hub_core": set(hub_core.__all__) - ERRORS - {"__version__"},
        "Loop": public(type(things.loop)),
        "watchers": watchers,
        "Registration": public(type(things.registration)),
    }
    for owner, found in names.items():
        listed = words(REFUSED[owner]) | ANY_THREAD[owner]
        assert found - listed == set(), f"{owner}: say in a table of this file whether other threads may call these"
