"""What a type checker makes of the loop's surface: `mypy --strict tests` checks this file, nothing runs it.

An `assert_type` that is wrong is an error; so is an ignore that ignores nothing: so refusals are checked.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal, assert_type

import hub_api
import hub_loop
from hub_api import (
    IAsyncWatcher,
    ICallback,
    IChildWatcher,
    IIoWatcher,
    ILoop,
    ILoopCore,
    IRegistration,
    ISignalWatcher,
    IStatWatcher,
    ITimerWatcher,
    IWatcher,
)
from hub_loop import READ, WRITE, Loop
from hub_loop.pollers import Poller
from hub_loop.testing import FakePoller, ManualClock, active_watchers


def join(number: int, text: str, weight: float = 1.0) -> str:
    return f"{number}{text}{weight}"


def told(events: int, text: str) -> None: ...


def nothing() -> None: ...


def what_the_protocol_gives(loop: ILoopCore) -> None:
    assert_type(loop.run_callback(join, 1, "two"), ICallback)
    assert_type(loop.run_callback_threadsafe(nothing), ICallback)
    assert_type(loop.timer(1), ITimerWatcher)
    assert_type(loop.io(0, READ), IIoWatcher)
    assert_type(loop.async_(), IAsyncWatcher)
    assert_type(loop.idle(), IWatcher)
    assert_type(loop.prepare(ref=False), IWatcher)
    assert_type(loop.check(priority=1), IWatcher)
    assert_type(loop.register(0, print), IRegistration)
    assert_type(loop.run(), bool)
    assert_type(loop.now(), float)
    assert_type(loop.fileno(), int | None)
    assert_type(loop.closing_fd(0), bool)
    with loop.timer(1.0) as timer:
        assert_type(timer, ITimerWatcher)
    assert_type(timer.callback, Callable[..., object] | None)


def what_the_whole_protocol_gives(loop: ILoop, path: Path) -> None:
    assert_type(loop.fork(ref=False), IWatcher)
    assert_type(loop.stat(path, 1), IStatWatcher)
    assert_type(loop.stat(b"path", interval=0.5, ref=False, priority=1), IStatWatcher)
    assert_type(loop.reinit(), None)
    loop.stat(0)  # type: ignore[arg-type]


def what_the_loop_gives() -> None:
    loop = Loop()
    found = loop.stat("path").attr
    assert_type(found, os.stat_result | None)
    loop.stat(0)  # type: ignore[arg-type]
    assert_type(loop.run_callback(join, 1, "two").pending, bool)
    with loop.io(0, READ | WRITE) as reader:
        assert_type(reader.fd, int)
        assert_type(reader.events, int)
    assert_type(loop.timer(1.0).at, float | None)
    assert_type(loop.backend, str)
    assert_type(loop.signal(10, ref=False).signum, int)
    with loop.child(1, trace=True) as child:
        assert_type((child.pid, child.rpid, child.rstatus, child.trace), tuple[int, int, int, bool])
    assert_type(hub_loop.supported(), list[str])
    assert_type([watcher.active for watcher in active_watchers(loop)], list[bool])


def start_takes_what_the_callback_takes(watcher: IWatcher, timer: ITimerWatcher, io: IIoWatcher) -> None:
    assert_type(watcher.start(join, 1, "two"), None)
    watcher.start(join, 1, "two", 3.0)
    watcher.start(functools.partial(join, 1), "two")
    watcher.start(lambda: None)
    watcher.start(print, 1, "two", None)
    timer.start(join, 1, "two", update=False)
    timer.again(nothing, update=True)
    io.start(nothing)
    io.start(join, 1, "two")
    io.start(told, "two", pass_events=True)
    io.start(told, READ, "two", pass_events=False)


def start_refuses_everything_else(watcher: IWatcher, timer: ITimerWatcher, io: IIoWatcher, loop: Loop) -> None:
    watcher.start(join, 1)  # type: ignore[arg-type]
    watcher.start(join, "one", "two")  # type: ignore[arg-type]
    watcher.start(nothing, 1)  # type: ignore[arg-type]
    watcher.start(None)  # type: ignore[arg-type]
    timer.start(join, 1)  # type: ignore[arg-type]
    timer.again(nothing, 1)  # type: ignore[arg-type]
    io.start(told, "two")  # type: ignore[arg-type]
    loop.run_callback(join, 1)  # type: ignore[arg-type]
    loop.run_callback_threadsafe(join, "one", "two")  # type: ignore[arg-type]
    loop.timer(1.0).start(join, 1)  # type: ignore[arg-type]
    loop.register(0, nothing)  # type: ignore[arg-type]
    loop.error_handler = print  # type: ignore[assignment]
    hub_api.ILoup  # type: ignore[attr-defined]  # noqa: B018


# -- conformance: the loop and the fakes are what the Protocols say ----------------------------------------------------

core: ILoopCore = Loop()
whole: ILoop = Loop()
factory: hub_api.ILoopFactory = Loop
poller: Poller = FakePoller(ManualClock())
clock: Callable[[], float] = ManualClock()
timer: ITimerWatcher = Loop().timer(1.0)
reader: IIoWatcher = Loop().io(0, READ)
sender: IAsyncWatcher = Loop().async_()
idle: IWatcher = Loop().idle()
signal: ISignalWatcher = Loop().signal(10)
child: IChildWatcher = Loop().child(1)
fork: IWatcher = Loop().fork()
stat: IStatWatcher = Loop().stat("path")
registration: IRegistration = Loop().register(0, print)
callback: ICallback = Loop().run_callback(nothing)
read: Literal[1] | int = READ
