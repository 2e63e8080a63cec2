"""The loop itself: how long it runs, what it returns, how it ends, and what it does with errors."""

from __future__ import annotations

import gc
import io
import os
import sys
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hub_api import HubDestroyed, InvalidThreadUseError
from hub_loop import READ, WRITE, Loop, supported
from hub_loop.testing import FakePoller, ManualClock, active_watchers

if TYPE_CHECKING:
    from tests.hub_loop.conftest import Wire

on_fake = pytest.mark.parametrize("loop", ["fake"], indirect=True)
on_select = pytest.mark.parametrize("loop", ["select"], indirect=True)


class Errors:
    """An error handler that keeps what it is told."""

    def __init__(self) -> None:
        self.seen: list[tuple[object, BaseException]] = []

    def handle_error(self, context: object, type: type[BaseException], value: BaseException, tb: object, /) -> None:
        assert isinstance(value, type)
        assert tb is value.__traceback__
        self.seen.append((context, value))


def fail(error: BaseException) -> None:
    raise error


# -- running ----------------------------------------------------------------------------------------------------------


def test_run_returns_at_once_when_nothing_is_left(loop: Loop) -> None:
    assert loop.run() is False
    assert loop.run(once=True) is False
    assert loop.run(nowait=True) is False


def test_run_goes_on_until_nothing_is_left(loop: Loop) -> None:
    order: list[str] = []

    def first() -> None:
        order.append("first")
        loop.timer(0.0).start(second)

    def second() -> None:
        order.append("second")
        loop.run_callback_threadsafe(order.append, "third")

    loop.run_callback(first)
    assert loop.run() is False
    assert order == ["first", "second", "third"]


def test_nowait_takes_one_turn_that_does_not_block_and_says_whether_anything_is_left(
    loop: Loop, clock: ManualClock
) -> None:
    with loop.timer(10.0) as timer:
        timer.start(print, "never")
        before = loop.iteration
        assert loop.run(nowait=True) is True
        assert loop.iteration == before + 1
        timer.stop()
        assert loop.run(nowait=True) is False


@on_fake
def test_once_takes_one_turn_that_blocks_until_there_is_something_to_do(loop: Loop, clock: ManualClock) -> None:
    fired: list[float] = []
    begin = clock()
    for after in (1.0, 2.0):
        loop.timer(after).start(lambda: fired.append(clock() - begin))
    assert loop.run(once=True) is True
    assert fired == [1.0]
    assert loop.run(once=True) is False
    assert fired == [1.0, 2.0]


def test_run_can_be_called_again_and_again(loop: Loop) -> None:
    ran: list[int] = []
    for number in range(3):
        loop.run_callback(ran.append, number)
        assert loop.run() is False
    assert ran == [0, 1, 2]


def test_break_ends_run_after_the_turn(loop: Loop) -> None:
    order: list[str] = []

    def leave() -> None:
        order.append("leave")
        loop.break_()

    with loop.timer(3600.0) as timer:
        timer.start(print, "never")
        loop.run_callback(leave)
        loop.run_callback(order.append, "in the same turn")
        assert loop.run() is True
        assert order == ["leave", "in the same turn"]
    assert loop.run() is False


def test_break_in_a_prepare_watcher_keeps_the_poll_from_blocking(loop: Loop) -> None:
    with loop.timer(3600.0) as timer, loop.prepare() as prepare:
        timer.start(print, "never")
        prepare.start(loop.break_)
        assert loop.run() is True


def test_ref_keeps_run_from_returning_and_unref_takes_it_back(loop: Loop) -> None:
    loop.ref()
    loop.ref()
    assert loop.activecnt == 2
    assert loop.run(nowait=True) is True
    loop.unref()
    assert loop.run(nowait=True) is True
    loop.unref()
    assert loop.activecnt == 0
    assert loop.run() is False


def test_unref_lets_run_return_in_spite_of_an_active_watcher(loop: Loop) -> None:
    with loop.timer(3600.0) as timer:
        timer.start(print, "never")
        loop.unref()
        assert loop.activecnt == 0
        assert loop.run() is False
        loop.ref()
        assert loop.activecnt == 1


def test_a_callback_counts_as_pending_and_as_active(loop: Loop) -> None:
    loop.run_callback(int)
    loop.run_callback_threadsafe(int)
    assert loop.pendingcnt == 2
    assert loop.activecnt == 2
    loop.run()
    assert loop.pendingcnt == loop.activecnt == 0


def test_a_loop_cannot_be_run_from_inside_itself(loop: Loop) -> None:
    errors = Errors()
    loop.error_handler = errors
    callback = loop.run_callback(loop.run)
    loop.run()
    assert [context for context, _ in errors.seen] == [callback]
    assert isinstance(errors.seen[0][1], RuntimeError)
    assert "is running already" in str(errors.seen[0][1])
    loop.run_callback(int)
    assert loop.run() is False


def test_another_loop_can_be_run_from_inside_a_callback(loop: Loop) -> None:
    inner = Loop("select")
    ran: list[str] = []
    inner.run_callback(ran.append, "inner")
    loop.run_callback(inner.run)
    loop.run()
    inner.destroy()
    assert ran == ["inner"]


def test_the_iteration_counts_the_turns(loop: Loop) -> None:
    before = loop.iteration
    for _ in range(5):
        loop.run(nowait=True)
    assert loop.iteration == before + 5


def test_the_same_script_gives_the_same_order(loop: Loop, clock: ManualClock) -> None:
    def play() -> list[str]:
        order: list[str] = []
        watchers = [loop.prepare(), loop.check(), loop.idle(), loop.timer(1.0, 1.0), loop.timer(1.0), loop.async_()]
        for watcher in watchers:
            watcher.start(order.append, type(watcher).__name__)
        for _ in range(4):
            loop.run_callback(order.append, "callback")
            loop.async_().close()
            watchers[-1].send()  # type: ignore[attr-defined]  # the last one is an async watcher
            clock.advance(0.5)
            loop.run(nowait=True)
        for watcher in watchers:
            watcher.close()
        return order

    first = play()
    assert len(first) > 12
    assert play() == first


def test_events_of_one_turn_are_delivered_by_priority(loop: Loop, wire: Wire) -> None:
    order: list[str] = []
    low, high = loop.io(wire.fd, WRITE, priority=-1), loop.io(wire.fd, WRITE, priority=2)
    normal = loop.io(wire.fd, WRITE)
    for name, watcher in (("low", low), ("normal", normal), ("high", high)):
        watcher.start(order.append, name)
    loop.run_callback(order.append, "callback")
    loop.run(nowait=True)
    assert order == ["high", "callback", "normal", "low"]
    for watcher in (low, normal, high):
        watcher.close()


def test_run_mark_takes_only_the_oldest_callback_and_only_a_mark(loop: Loop, clock: ManualClock) -> None:
    class Waiter:
        def __init__(self) -> None:
            self.got: list[str] = []

        def switch(self, value: str) -> None:
            self.got.append(value)

        def fail(self) -> None:
            raise ZeroDivisionError

    waiter, errors = Waiter(), Errors()
    marks = {Waiter.switch, Waiter.fail}
    assert loop.run_mark(marks) is False
    loop.run_callback(waiter.switch, "one")
    loop.run_callback(waiter.got.append, "not a mark")
    loop.run_callback(waiter.switch, "two")
    assert loop.run_mark(set()) is False
    assert loop.run_mark(marks) is True
    assert loop.run_mark(marks) is False
    assert waiter.got == ["one"]
    loop.run()
    assert waiter.got == ["one", "not a mark", "two"]
    stopped = loop.run_callback(waiter.switch, "stopped")
    stopped.stop()
    assert loop.run_mark(marks) is False
    loop.run()
    loop.error_handler = errors
    failing = loop.run_callback(waiter.fail)
    assert loop.run_mark(marks) is True
    assert [context for context, _ in errors.seen] == [failing]
    assert not failing


def test_run_mark_lets_events_of_a_priority_go_first(loop: Loop, clock: ManualClock) -> None:
    class Waiter:
        def switch(self) -> None:
            order.append("mark")

    order: list[str] = []
    taken: list[bool] = []

    def queue_and_try() -> None:
        loop.run_callback(Waiter().switch)
        taken.append(loop.run_mark({Waiter.switch}))

    with loop.timer(0.0, priority=1) as urgent, loop.check() as check:
        urgent.start(order.append, "urgent")
        check.start(queue_and_try)
        loop.run(nowait=True)
    assert taken == [False]
    assert order == ["urgent", "mark"]


# -- time and names ---------------------------------------------------------------------------------------------------


def test_now_is_the_time_of_this_turn_until_it_is_updated(loop: Loop, clock: ManualClock) -> None:
    begin = clock()
    assert loop.now() == begin
    clock.advance(5.0)
    assert loop.now() == begin
    loop.update_now()
    assert loop.now() == begin + 5.0
    clock.advance(5.0)
    loop.run(nowait=True)
    assert loop.now() == begin + 10.0


def test_a_loop_says_what_it_is(loop: Loop) -> None:
    loop.ref()
    loop.run_callback(int)
    assert f" {loop.backend} default pending=1 ref=1" in repr(loop)
    assert (loop.fileno() is not None) == (loop.backend == "epoll")
    assert ("fileno=" in repr(loop)) == (loop.backend == "epoll")
    loop.unref()
    assert loop.approx_timer_resolution > 0
    loop.destroy()
    assert "destroyed" in repr(loop)
    assert loop._format() == "destroyed"


def test_a_loop_is_the_default_one_unless_told_otherwise() -> None:
    for asked, got in ((None, True), (True, True), (False, False)):
        loop = Loop("select", default=asked)
        assert loop.default is got
        assert (" default " in repr(loop)) is got
        loop.destroy()


@pytest.mark.parametrize("loop", ["epoll"], indirect=True)
def test_the_fileno_of_an_epoll_loop_is_readable_when_there_is_something_to_do(loop: Loop) -> None:
    import select

    number = loop.fileno()
    assert number is not None
    assert select.select([number], [], [], 0)[0] == []
    loop.wakeup()
    assert select.select([number], [], [], 0)[0] == [number]
    loop.run(nowait=True)


# -- errors -----------------------------------------------------------------------------------------------------------


def test_an_exception_in_a_callback_goes_to_the_handler_with_the_callback_and_the_batch_goes_on(loop: Loop) -> None:
    errors, ran = Errors(), list[str]()
    loop.error_handler = errors
    error = ZeroDivisionError("on purpose")
    callback = loop.run_callback(fail, error)
    loop.run_callback(ran.append, "next")
    loop.run()
    assert errors.seen == [(callback, error)]
    assert not callback
    assert callback.args is None
    assert ran == ["next"]


def test_without_a_handler_the_traceback_is_printed_and_the_loop_goes_on(
    loop: Loop, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[str] = []
    loop.run_callback(fail, ZeroDivisionError("on purpose"))
    loop.run_callback(ran.append, "next")
    assert loop.run() is False
    printed = capsys.readouterr().err
    assert printed.startswith("Traceback")
    assert printed.endswith("ZeroDivisionError: on purpose\n")
    assert ran == ["next"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3)], ids=repr)
def test_without_a_handler_what_is_meant_for_the_process_leaves_run(
    loop: Loop, capsys: pytest.CaptureFixture[str], error: BaseException
) -> None:
    ran: list[str] = []
    loop.run_callback(fail, error)
    loop.run_callback(ran.append, "next")
    with pytest.raises(type(error)) as caught:
        loop.run()
    assert caught.value is error
    assert capsys.readouterr().err == ""
    assert ran == []
    loop.run()
    assert ran == ["next"]


@pytest.mark.parametrize("priority", [-1, 0, 1])
def test_events_behind_one_that_ended_run_are_delivered_by_the_next_run(
    loop: Loop, clock: ManualClock, priority: int
) -> None:
    fired: list[str] = []
    loop.timer(1.0, priority=priority).start(fail, KeyboardInterrupt())
    for number in (1, 0, -1):
        loop.timer(1.0, priority=number).start(fired.append, f"priority {number}")
    clock.advance(1.0)
    with pytest.raises(KeyboardInterrupt):
        loop.run(nowait=True)
    loop.run(nowait=True)
    loop.run(nowait=True)
    assert sorted(fired) == ["priority -1", "priority 0", "priority 1"]
    assert active_watchers(loop) == []


def test_readiness_behind_an_owner_that_ended_run_is_delivered_by_the_next_run(loop: Loop, make_wire: Any) -> None:
    wires = [make_wire(), make_wire()]
    told: list[int] = []

    def notify(events: int) -> None:
        told.append(events)
        if len(told) == 1:
            raise KeyboardInterrupt

    owners = [loop.register(wire.fd, notify) for wire in wires]
    loop.run(nowait=True)
    for owner, wire in zip(owners, wires, strict=True):
        owner.clear(READ)
        owner.want(READ)
        wire.send()
    with pytest.raises(KeyboardInterrupt):
        loop.run(once=True)
    assert told == [READ]
    loop.run(once=True)  # an edge is told once by the kernel: it would block for ever if the loop had lost it
    assert told == [READ, READ]
    for owner in owners:
        owner.close()


def test_a_handler_that_raises_is_printed_and_the_loop_goes_on(loop: Loop, capsys: pytest.CaptureFixture[str]) -> None:
    class Broken:
        def handle_error(self, *args: object) -> None:
            raise LookupError("the handler is broken")

    ran: list[str] = []
    loop.error_handler = Broken()
    loop.run_callback(fail, ZeroDivisionError("on purpose"))
    loop.run_callback(ran.append, "next")
    loop.run()
    printed = capsys.readouterr().err
    assert "LookupError: the handler is broken" in printed
    assert "ZeroDivisionError: on purpose" in printed
    assert ran == ["next"]


def test_a_handler_may_end_run_with_what_is_meant_for_the_process(loop: Loop) -> None:
    class Leaving:
        def handle_error(self, *args: object) -> None:
            raise SystemExit(3)

    loop.error_handler = Leaving()
    loop.run_callback(fail, ZeroDivisionError("on purpose"))
    with pytest.raises(SystemExit):
        loop.run()


def test_the_handler_is_looked_up_at_each_error(loop: Loop) -> None:
    first, second = Errors(), Errors()
    loop.error_handler = first

    def swap() -> None:
        loop.error_handler = second
        raise ZeroDivisionError

    loop.run_callback(swap)
    loop.run()
    assert first.seen == []
    assert len(second.seen) == 1


def test_a_broken_stderr_does_not_hurt_the_loop(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError("the terminal is gone")

    ran: list[str] = []
    monkeypatch.setattr(sys, "stderr", Broken())
    loop.run_callback(fail, ZeroDivisionError("on purpose"))
    loop.run_callback(ran.append, "next")
    loop.run()
    assert ran == ["next"]


def test_handle_error_can_be_called_by_others(loop: Loop) -> None:
    errors = Errors()
    loop.error_handler = errors
    error = ZeroDivisionError()
    loop.handle_error("context", type(error), error, None)
    assert errors.seen == [("context", error)]


def test_an_exception_of_the_poller_is_reported_for_the_loop_itself(loop: Loop) -> None:
    class Broken:
        name = "broken"
        edge = False

        def poll(self, timeout: float | None) -> list[tuple[int, int]]:
            raise OSError("the poller is broken")

    class Leaving(Errors):
        def handle_error(self, *args: Any) -> None:
            super().handle_error(*args)
            loop.break_()

    errors, poller, broken = Leaving(), loop._poller, Broken()
    loop._poller = broken  # type: ignore[assignment]  # all of it that is used
    loop.ref()
    with pytest.raises(OSError, match="the poller is broken"):
        loop.run()
    loop.error_handler = errors
    assert loop.run() is True
    assert [(context, str(error)) for context, error in errors.seen] == [(None, "the poller is broken")]
    loop._poller = poller
    loop.unref()


@pytest.mark.parametrize("with_handler", [True, False])
def test_hub_destroyed_drops_what_is_queued_and_leaves_run(loop: Loop, with_handler: bool) -> None:
    errors = Errors()
    loop.error_handler = errors if with_handler else None
    ran: list[str] = []
    loop.run_callback(fail, HubDestroyed())
    loop.run_callback(ran.append, "never")
    with pytest.raises(HubDestroyed):
        loop.run()
    assert loop.run() is False
    assert ran == []
    assert errors.seen == []


def test_hub_destroyed_leaves_run_out_of_a_handler_too(loop: Loop) -> None:
    class Ending:
        def handle_error(self, *args: object) -> None:
            raise HubDestroyed

    loop.error_handler = Ending()
    loop.run_callback(fail, ZeroDivisionError())
    with pytest.raises(HubDestroyed):
        loop.run()


# -- threads ----------------------------------------------------------------------------------------------------------


def in_thread(func: Callable[[], object]) -> BaseException | None:
    """Call a function in another thread; what it raised."""
    raised: list[BaseException | None] = [None]

    def call() -> None:
        try:
            func()
        except BaseException as error:
            raised[0] = error

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    return raised[0]


def test_whatever_is_not_made_for_other_threads_raises_there_and_names_both(loop: Loop, wire: Wire) -> None:
    timer, idle = loop.timer(1.0), loop.timer(1.0)
    watchers = [loop.io(wire.fd, READ), loop.async_(), loop.prepare(), loop.check(), loop.idle(), timer]
    for watcher in watchers:
        watcher.start(print)
    calls: list[Callable[[], object]] = [
        loop.run,
        lambda: loop.run_callback(print),
        loop.ref,
        loop.unref,
        lambda: loop.register(wire.fd, print),
        lambda: loop.closing_fd(wire.fd),
        lambda: idle.start(print),
        lambda: timer.again(print),
    ]
    for watcher in watchers:
        calls += [watcher.stop, watcher.close, lambda watcher=watcher: watcher.start(print)]  # type: ignore[misc]
    for call in calls:
        error = in_thread(call)
        assert isinstance(error, InvalidThreadUseError), call
        assert f"it belongs to thread {threading.get_ident():#x}" in str(error)
        assert "from thread 0x" in str(error)
    assert all(watcher.active for watcher in watchers)
    assert loop.activecnt == len(watchers)
    for watcher in watchers:
        watcher.close()


def test_a_running_loop_cannot_be_destroyed_from_another_thread(loop: Loop) -> None:
    errors: list[BaseException | None] = []
    loop.run_callback(lambda: errors.append(in_thread(loop.destroy)))
    loop.run()
    assert isinstance(errors[0], InvalidThreadUseError)


def test_a_loop_whose_thread_has_ended_can_be_destroyed_from_another() -> None:
    made: list[Loop] = []

    def make() -> None:
        made.append(Loop())
        made[0].timer(5.0).start(print)
        made[0].run_callback(print)

    assert in_thread(make) is None
    made[0].destroy()
    assert "destroyed" in repr(made[0])


# -- the end ----------------------------------------------------------------------------------------------------------


def test_a_destroyed_loop_refuses_everything_and_says_so(loop: Loop, wire: Wire) -> None:
    timer = loop.timer(1.0)
    loop.destroy()
    loop.destroy()
    calls: list[Callable[[], object]] = [
        loop.run,
        loop.now,
        loop.update_now,
        loop.ref,
        loop.unref,
        lambda: loop.run_callback(print),
        lambda: loop.run_callback_threadsafe(print),
        lambda: loop.register(wire.fd, print),
        lambda: loop.closing_fd(wire.fd),
        lambda: timer.start(print),
        lambda: timer.again(print),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=r"operation on destroyed loop <Loop at 0x.* destroyed>"):
            call()
    loop.wakeup()
    assert loop.fileno() is None
    assert loop.pendingcnt == loop.activecnt == 0


def test_destroy_stops_what_is_active_and_drops_what_is_queued(loop: Loop, clock: ManualClock, wire: Wire) -> None:
    told: list[int] = []
    watchers = [loop.io(wire.fd, READ), loop.async_(), loop.prepare(), loop.check(), loop.idle(), loop.timer(1.0)]
    registration = loop.register(wire.fd, told.append)
    registration.clear(READ)
    registration.want(READ)
    urgent = loop.timer(0.0, priority=1)
    pending = loop.timer(0.0)
    callback = loop.run_callback(print, "never")
    for watcher in watchers:
        watcher.start(print, "never")

    def destroy() -> None:
        assert pending.pending
        loop.destroy()

    urgent.start(destroy)
    pending.start(print, "never")
    watchers[2].stop()
    watchers[3].stop()
    assert loop.run() is False
    assert [watcher for watcher in (*watchers, urgent, pending) if watcher.active or watcher.pending] == []
    assert told == [0]
    assert registration.fd == -1
    assert callback.pending  # it was never run; it is simply in no queue any more
    assert loop.pendingcnt == 0


@pytest.mark.parametrize(
    "kind", ["callback", "threadsafe", "timer", "io", "async", "prepare", "check", "idle", "owner"]
)
def test_destroy_from_inside_any_callback_ends_run(loop: Loop, clock: ManualClock, wire: Wire, kind: str) -> None:
    with_destroy: Callable[[], None] = loop.destroy
    if kind == "callback":
        loop.run_callback(with_destroy)
    elif kind == "threadsafe":
        loop.run_callback_threadsafe(with_destroy)
    elif kind == "timer":
        loop.timer(0.0).start(with_destroy)
    elif kind == "io":
        loop.io(wire.fd, WRITE).start(with_destroy)
    elif kind == "async":
        watcher = loop.async_()
        watcher.start(with_destroy)
        watcher.send()
    elif kind == "owner":
        owner = loop.register(wire.fd, lambda events: loop.destroy())
        loop.run(nowait=True)
        owner.clear(READ)
        owner.want(READ)
        wire.send()
    else:
        getattr(loop, kind)().start(with_destroy)
    other = loop.timer(0.0, 1.0)
    other.start(lambda: None)
    assert loop.run() is False
    assert not other.active
    assert "destroyed" in repr(loop)


def test_a_hundred_loops_made_and_destroyed_leave_nothing() -> None:
    # The fixture that looks for open fds is the other assertion.
    looked_at = []
    for number in range(120):
        loop = Loop(supported()[number % len(supported())])
        loop.timer(1.0).start(print)
        loop.run_callback(int)
        loop.run(nowait=True)
        looked_at.append(weakref.ref(loop.io(0, READ)))
        loop.destroy()
    del loop
    gc.collect()
    assert [ref for ref in looked_at if ref() is not None] == []


# -- which poller -----------------------------------------------------------------------------------------------------


def backend(flags: Any = None) -> str:
    loop = Loop(flags)
    loop.destroy()
    return loop.backend


def test_flags_name_the_poller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HUB_LOOP_BACKEND", raising=False)
    assert backend() == supported()[0]
    assert backend("default") == supported()[0]
    assert backend("") == supported()[0]
    for name in supported():
        assert backend(name) == name
        assert backend([name]) == name


def test_of_several_names_the_first_one_that_the_system_has_is_taken() -> None:
    missing = "kqueue" if "kqueue" not in supported() else "epoll"
    assert backend(f"{missing} select") == "select"
    assert backend(f"{missing},poll,select") == "poll"
    assert backend((missing, "select")) == "select"


def test_the_environment_decides_when_flags_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUB_LOOP_BACKEND", "select")
    assert backend() == "select"
    assert backend("poll") == "poll"
    monkeypatch.setenv("HUB_LOOP_BACKEND", "")
    assert backend() == supported()[0]


def test_an_unknown_poller_is_an_error_that_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"unknown poller 'epol'; this system has .*select"):
        Loop("epol")
    with pytest.raises(ValueError, match="unknown poller 'sel'"):
        Loop(["select", "sel"])
    with pytest.raises(TypeError, match="flags must be names of pollers"):
        Loop([1])  # type: ignore[list-item]
    missing = "kqueue" if "kqueue" not in supported() else "epoll"
    with pytest.raises(ValueError, match=f"this system has no {missing}; it has"):
        Loop(missing)


def test_a_poller_of_ones_own_can_be_given() -> None:
    clock = ManualClock()
    loop = Loop(poller=FakePoller(clock), clock=clock)
    assert loop.backend == "fake"
    assert loop.now() == clock()
    loop.destroy()
    assert loop._poller.closed  # type: ignore[attr-defined]


def test_importing_the_loop_opens_nothing_and_imports_no_greenlet() -> None:
    import subprocess

    code = (
        "import os, sys, threading; before = set(os.listdir('/proc/self/fd'))\n"
        "import hub_loop\n"
        "assert set(os.listdir('/proc/self/fd')) == before\n"
        "assert 'greenlet' not in sys.modules and 'traceback' not in sys.modules\n"
        "assert threading.active_count() == 1\n"
    )
    subprocess.run([sys.executable, "-S", "-c", code], check=True, env={**os.environ, "PYTHONPATH": _paths()})


def _paths() -> str:
    import hub_api
    import hub_loop

    return os.pathsep.join(str(Path(module.__path__[0]).parent) for module in (hub_api, hub_loop))
