"""A hub in a forked child: its loop is the child's own, its parts are told, and the greenlet that forked goes on there.

The others, which stay behind: test_fork_greenlets.py.
"""

from __future__ import annotations

import gc
import socket
import sys
import threading
from typing import TYPE_CHECKING, Any, cast

import pytest
from greenlet import getcurrent

from hub_api import LoopExit
from hub_core import (
    FdWaiter,
    Hub,
    Waiter,
    get_hub,
    get_hub_if_exists,
    reinit,
    set_hub,
    sleep,
    spawn_raw,
    wait_read,
    wait_write,
)
from hub_core._local import defaults
from hub_loop import READ, Loop

if TYPE_CHECKING:
    from tests.conftest import Kin


@pytest.fixture
def implicit(monkeypatch: pytest.MonkeyPatch) -> None:
    """`get_hub()` makes hubs with hub-loop's loop."""
    monkeypatch.setattr(defaults, "loop", Loop)


def assert_it_works() -> None:
    """This thread's hub sleeps, starts greenlets, and waits for fds, its own and strangers'."""
    seen: list[str] = []
    near, far = socket.socketpair()
    near.setblocking(False)
    waiter = FdWaiter(near.fileno())

    def talk() -> None:
        sleep(0.001)
        wait_write(far.fileno())
        far.send(b"x")
        seen.append("sent")

    spawn_raw(talk)
    waiter.clear_read()
    waiter.wait_read(timeout=10)
    assert near.recv(1) == b"x"
    waiter.close()
    spawn_raw(far.send, b"y")
    wait_read(near.fileno(), timeout=10)
    sleep(0.001)
    assert seen == ["sent"]
    near.close()
    far.close()


def test_a_hub_works_in_the_child(hub: Hub, kin: Kin) -> None:
    assert_it_works()

    def check() -> None:
        assert get_hub() is hub
        assert_it_works()

    kin.run(check)
    assert_it_works()


def test_a_hub_works_in_a_child_forked_by_a_greenlet(hub: Hub, kin: Kin) -> None:
    def fork() -> None:
        kin.run(assert_it_works)
        done.append("parent")

    done: list[str] = []
    spawn_raw(fork)
    while not done:
        sleep(0.001)
    assert_it_works()


def test_what_another_thread_has_told_a_waiter_is_told_in_the_parent_alone(hub: Hub, kin: Kin) -> None:
    waiter = hub.waiter()
    hub.loop.run_callback_threadsafe(waiter.switch, "from elsewhere")

    def check() -> None:
        sleep(0)
        sleep(0.001)
        assert not waiter.ready()

    kin.run(check)
    assert waiter.get() == "from elsewhere"


@pytest.mark.parametrize("state", ["new", "parked", "running", "used"])
def test_the_hub_of_another_thread_stays_behind_in_silence(state: str, kin: Kin, implicit: None) -> None:
    at_it, let_go = threading.Event(), threading.Event()

    def live() -> None:
        own = get_hub() if state != "new" else None
        if own is None:
            own = Hub(Loop(default=False))
            set_hub(own)
        if state == "parked":
            spawn_raw(let_go.wait)
            own.loop.run_callback(at_it.set)
            sleep(0.05)  # the hub runs, and blocks in a greenlet of its own
        elif state == "running":
            own.loop.run_callback(at_it.set)
            own.loop.run_callback(let_go.wait)
            sleep(0.001)
        else:
            if state == "used":
                sleep(0.001)
            at_it.set()
            let_go.wait()
        own.destroy()

    thread = threading.Thread(target=live)
    thread.start()
    assert at_it.wait(30)
    unraisable: list[Any] = []
    hook, sys.unraisablehook = sys.unraisablehook, unraisable.append

    def check() -> None:
        for _ in range(3):
            gc.collect()
        assert unraisable == []
        assert get_hub_if_exists() is None
        assert_it_works()
        get_hub().destroy(destroy_loop=True)

    try:
        kin.run(check)
    finally:
        sys.unraisablehook = hook
        let_go.set()
        thread.join()


def test_a_thread_that_forks_has_its_hub_in_the_child(hub: Hub, kin: Kin, implicit: None) -> None:
    def live() -> None:
        own = get_hub()
        sleep(0.001)
        kin.run(lambda: check_other(own))
        own.destroy(destroy_loop=True)

    def check_other(own: Hub) -> None:
        assert get_hub() is own
        assert_it_works()
        with pytest.raises(ValueError, match="left behind"):
            hub.loop.run_callback_threadsafe(print)
        assert "left behind" in repr(hub)
        hub.destroy(destroy_loop=True)

    thread = threading.Thread(target=live)
    thread.start()
    thread.join()
    assert_it_works()


def test_a_waiter_parked_in_the_child_wakes_by_the_childs_own_threads(hub: Hub, kin: Kin) -> None:
    def check() -> None:
        waiter = hub.waiter()
        thread = threading.Thread(target=hub.loop.run_callback_threadsafe, args=(waiter.switch, "here"))
        spawn_raw(thread.start)
        assert waiter.get() == "here"
        thread.join()

    kin.run(check)


def test_what_a_user_has_started_goes_on(hub: Hub, kin: Kin) -> None:
    ticks: list[int] = []
    near, far = socket.socketpair()
    with hub.loop.timer(0.0, 0.001) as timer, hub.loop.io(near.fileno(), READ) as readable:
        timer.start(ticks.append, 1)
        readable.start(lambda: ticks.append(near.recv(1)[0]))

        def check() -> None:
            far.send(b"\2")
            while not {1, 2} <= set(ticks):
                sleep(0.001)

        kin.run(check)
    near.close()
    far.close()


def test_the_main_greenlet_stays_behind_but_hears_of_the_end(hub: Hub, kin: Kin) -> None:
    waiter = hub.waiter()

    def fork() -> None:
        if not kin.fork():
            waiter.switch("in the parent")
        else:
            hub.loop.run_callback(waiter.switch, "by a callback of the child")
            sleep(0.001)

    spawn_raw(fork)
    if not kin.is_child:
        try:
            outcome = waiter.get()
        except LoopExit:
            outcome = "LoopExit"
    kin.child_ends(lambda: check(outcome))
    assert outcome == "in the parent"


def check(outcome: object) -> None:
    """In the child."""
    assert outcome == "LoopExit"


@pytest.mark.parametrize("waits", ["in a waiter", "by yields"])
def test_sys_exit_in_the_greenlet_that_forked_ends_the_child(hub: Hub, kin: Kin, waits: str) -> None:
    waiter = hub.waiter()

    def fork() -> None:
        if kin.fork():
            raise SystemExit(3)
        waiter.switch("parent")

    spawn_raw(fork)
    outcome: Any = None
    try:
        while waits == "by yields" and not waiter.ready():
            sleep(0)
        outcome = waiter.get()
    except SystemExit as error:
        outcome = error.code
    kin.child_ends(lambda: check_code(outcome))
    assert outcome == "parent"


def check_code(outcome: object) -> None:
    """In the child."""
    assert outcome == 3


def test_a_join_under_way_ends_in_the_child_when_nothing_is_left(hub: Hub, kin: Kin) -> None:
    def fork() -> None:
        kin.fork()
        sleep(0.001)

    spawn_raw(fork)
    assert hub.join(timeout=10)
    kin.child_ends()


class Part:
    """A pool or resolver that counts."""

    def __init__(self, error: Exception | None = None) -> None:
        self.forks, self.error = 0, error

    def _on_fork(self) -> None:
        self.forks += 1
        if self.error is not None:
            raise self.error

    def close(self) -> None:
        pass

    kill = close


def test_the_hubs_parts_are_told_once_at_the_loops_first_use(hub: Hub, kin: Kin) -> None:
    pool, resolver = Part(), Part()
    hub.threadpool, hub.resolver = pool, resolver

    def check() -> None:
        assert (pool.forks, resolver.forks) == (0, 0)
        sleep(0.001)
        reinit()
        hub.reinit()
        assert (pool.forks, resolver.forks) == (1, 1)

    reinit()
    kin.run(check)
    reinit(hub)
    assert (pool.forks, resolver.forks) == (0, 0)


def test_a_part_that_fails_is_reported_and_the_others_are_told(hub: Hub, kin: Kin) -> None:
    resolver, pool = Part(ValueError("no fork for me")), Part()
    hub.threadpool, hub.resolver = pool, resolver

    def check() -> None:
        seen: list[object] = []
        hub.handle_error = lambda *told: seen.append(told[0])  # type: ignore[method-assign] # as documented
        sleep(0.001)
        hub.loop.error_handler = None
        assert pool.forks == 1

    kin.run(check)


def test_reinit_without_a_hub_makes_none(no_hub: object) -> None:
    reinit()
    assert get_hub_if_exists() is None


@pytest.mark.parametrize("spawning", [False, True])
def test_a_child_goes_on_counting_from_where_its_parent_was(clocked_hub: Hub, kin: Kin, spawning: bool) -> None:
    counted: list[tuple[int, int]] = []
    waiters = [Waiter() for _ in range(5)]

    def wait(number: int) -> None:
        waiters[number].get()
        if number == 0:
            fork()

    def count() -> None:
        snapshot = clocked_hub.counters.snapshot()
        counted.append((snapshot.switches, snapshot.handoffs))

    def fork() -> None:
        if spawning:
            spawn_raw(int)
        left, held, rest = clocked_hub._lane.left, clocked_hub._held, clocked_hub._rest
        assert min(rest, held if spawning else left) > 1, "else this proves nothing"
        count()
        kin.fork()
        count()
        if kin.is_child:
            kin.child_ends(check)

    def check() -> None:
        assert counted[0] == counted[1]

    def wake() -> None:
        for waiter in waiters:
            waiter.switch(None)

    for number in range(len(waiters)):
        spawn_raw(wait, number)
    clocked_hub.join(timeout=1.0)
    clocked_hub.loop.run_callback(wake)
    clocked_hub.join()
    check()
    kin.child_ends(check)


def test_what_was_to_be_thrown_into_the_one_that_forks_is_thrown_in_the_child_too(hub: Hub, kin: Kin) -> None:
    thrown: list[str] = []

    def check() -> None:
        assert thrown == ["from before"]

    def run() -> None:
        hub.throw_soon(getcurrent(), ValueError("from before"))
        kin.fork()
        try:
            hub.switch()
        except ValueError as error:
            thrown.append(str(error))
        if kin.is_child:
            kin.child_ends(check)

    spawn_raw(run)
    hub.join()
    check()
    kin.child_ends(check)


def test_a_fork_as_the_next_to_start_is_looked_at_has_it_start_in_the_parent_only(hub: Hub, kin: Kin) -> None:
    started: list[str] = []

    class Forking:
        @staticmethod
        def can_be_carried(entry: object, of: Hub) -> bool:
            hub._carriers = carriers
            kin.fork()  # as a signal handler might
            return False

    def check() -> None:
        assert started == []

    spawn_raw(started.append, "new")
    carriers, hub._carriers = hub._carriers, cast("Any", Forking)
    try:
        hub.join()
    except LoopExit:  # the main greenlet is the parent's, and nobody is left to wake it
        assert kin.is_child
    if not kin.is_child:
        assert started == ["new"]
    kin.child_ends(check)
