"""The end: what `destroy` stops, drops and gives back, and what a destroyed loop answers."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from hub_api import READ, WRITE, ILoopCore
from hub_loop.testing._leftovers import open_fds
from hub_loop.testing.conformance._kit import WHOLE, Kind, LoopKit, Wire, all_of, in_thread, raised_by, turn


class Ending(LoopKit):
    """`destroy`, and everything after it."""

    def test_a_destroyed_loop_refuses_everything(self, loop: ILoopCore, wire: Wire) -> None:
        timer = loop.timer(1.0)
        loop.destroy()
        calls: dict[str, Callable[[], object]] = {
            "run": loop.run,
            "break_": loop.break_,
            "now": loop.now,
            "update_now": loop.update_now,
            "ref": loop.ref,
            "unref": loop.unref,
            "run_callback": lambda: loop.run_callback(print),
            "run_callback_threadsafe": lambda: loop.run_callback_threadsafe(print),
            "register": lambda: loop.register(wire.fd, print),
            "closing_fd": lambda: loop.closing_fd(wire.fd),
            "timer.start": lambda: timer.start(print),
            "timer.again": lambda: timer.again(print),
        }
        assert _answers(calls) == dict.fromkeys(calls, ValueError)

    def test_a_destroyed_loop_makes_no_watcher(self, loop: ILoopCore, wire: Wire) -> None:
        loop.destroy()
        makers: dict[str, Callable[[], object]] = {
            "io": lambda: loop.io(wire.fd, READ),
            "timer": lambda: loop.timer(1.0),
            "async_": loop.async_,
            "idle": loop.idle,
            "prepare": loop.prepare,
            "check": loop.check,
        }
        assert _answers(makers) == dict.fromkeys(makers, ValueError)

    @pytest.mark.parametrize("kind", WHOLE)
    def test_a_destroyed_loop_makes_no_watcher_of_the_whole_interface(self, loop: ILoopCore, kind: str) -> None:
        whole = self.offering(loop, kind)
        arguments: dict[str, tuple[object, ...]] = {"signal": (10,), "child": (1,), "stat": ("/",)}
        loop.destroy()
        with pytest.raises(ValueError):
            getattr(whole, kind)(*arguments.get(kind, ()))

    def test_destroying_twice_is_fine(self, loop: ILoopCore) -> None:
        loop.destroy()
        loop.destroy()

    def test_a_destroyed_loop_has_nothing_and_no_fileno(self, loop: ILoopCore) -> None:
        loop.run_callback(print, "never")
        loop.run_callback_threadsafe(print, "never")
        loop.timer(3600.0).start(print, "never")
        loop.destroy()
        assert loop.fileno() is None
        assert loop.pendingcnt == loop.activecnt == 0

    def test_waking_a_destroyed_loop_does_nothing(self, loop: ILoopCore) -> None:
        loop.destroy()
        # Whoever gets the loop's numbers next must not receive its wake-ups.
        pipes = [os.pipe() for _ in range(5)]
        try:
            loop.wakeup()
            for reader, _ in pipes:
                os.set_blocking(reader, False)
                with pytest.raises(BlockingIOError):
                    os.read(reader, 1)
        finally:
            for pipe in pipes:
                for end in pipe:
                    os.close(end)

    def test_a_send_of_a_destroyed_loop_is_an_error(self, loop: ILoopCore) -> None:
        watcher = loop.async_()
        loop.destroy()
        with pytest.raises(ValueError):
            watcher.send()
        watcher.close()

    def test_a_watcher_of_a_destroyed_loop_is_stopped_and_refuses_to_start(
        self, any_kind: Kind, loop: ILoopCore
    ) -> None:
        active, idle = any_kind.make(), any_kind.make()
        active.start(print, "never")
        loop.destroy()
        assert not active.active
        assert active.callback is None
        for watcher in (active, idle):
            watcher.stop()
            with pytest.raises(ValueError):
                watcher.start(print)
            watcher.close()
            watcher.close()

    def test_destroy_drops_events_that_were_seen_and_not_delivered(self, loop: ILoopCore) -> None:
        fired: list[str] = []
        first, second = loop.timer(0.0), loop.timer(0.0)
        first.start(all_of(partial(fired.append, "first"), loop.destroy), update=False)
        second.start(fired.append, "never", update=False)
        callback = loop.run_callback(int)
        assert loop.run() is False
        assert not callback
        assert fired == ["first"]
        assert not second.pending
        assert not second.active

    def test_destroy_tells_the_owner_who_still_wants_something(self, loop: ILoopCore, wire: Wire) -> None:
        told: list[int] = []
        registration = loop.register(wire.fd, told.append)
        registration.want(READ)
        loop.destroy()
        assert told == [0]
        assert registration.fd == -1

    @pytest.mark.parametrize(
        "kind", ["callback", "threadsafe", "timer", "io", "async", "prepare", "check", "idle", "owner"]
    )
    def test_destroy_from_inside_any_callback_ends_run(self, loop: ILoopCore, wire: Wire, kind: str) -> None:
        if kind == "callback":
            loop.run_callback(loop.destroy)
        elif kind == "threadsafe":
            loop.run_callback_threadsafe(loop.destroy)
        elif kind == "timer":
            loop.timer(0.0).start(loop.destroy)
        elif kind == "io":
            loop.io(wire.fd, WRITE).start(loop.destroy)
        elif kind == "async":
            post = loop.async_()
            post.start(loop.destroy)
            post.send()
        elif kind == "owner":
            registration = loop.register(wire.fd, lambda events: loop.destroy())
            turn(loop)
            registration.clear(READ)
            registration.want(READ)
            wire.send()
        else:
            watcher: Any = getattr(loop, kind)()
            watcher.start(loop.destroy)
        other = loop.timer(0.0, 3600.0)  # ends the first poll, and would keep `run` from returning
        other.start(int)
        assert loop.run() is False
        assert not other.active

    def test_a_loop_whose_thread_has_ended_can_be_destroyed_by_another(self) -> None:
        made: list[ILoopCore] = []

        def make() -> None:
            made.append(self.make_loop())
            made[0].timer(5.0).start(print)
            made[0].run_callback(print)

        assert in_thread(make) is None
        made[0].destroy()
        assert made[0].activecnt == 0

    def test_destroy_gives_every_fd_back(self) -> None:
        before = open_fds()
        for _ in range(20):
            made = self.make_loop()
            made.timer(1.0).start(print)
            made.run_callback(int)
            made.run_callback_threadsafe(int)
            turn(made)
            made.destroy()
        assert open_fds() == before

    def test_two_loops_live_side_by_side(self, loop: ILoopCore) -> None:
        ran: list[str] = []
        other = self.make_loop()
        loop.run_callback(ran.append, "loop")
        other.run_callback(ran.append, "other")
        loop.run()
        assert ran == ["loop"]
        loop.destroy()
        other.run()
        assert ran == ["loop", "other"]
        other.destroy()


def _answers(calls: dict[str, Callable[[], object]]) -> dict[str, type]:
    return {name: type(raised_by(call)) for name, call in calls.items()}
