"""Hints: each known cause of a hang, made really, is named; and none is named that is not there."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from greenlet import getcurrent
from tests.hub_core.locks import Lock
from tests.hub_core.reported import end

from hub_core import Hint, Hub, LoopExit, Report, Waiter, set_hub, sleep, spawn_raw
from hub_loop import Loop


def keys(report: Report) -> list[str]:
    """The kinds of hints."""
    return [hint.key for hint in report.hints]


def test_a_program_that_waits_for_ordinary_things_gets_no_hint(hub: Hub) -> None:
    lock = Lock("mine")

    def hold() -> None:
        with lock:
            sleep(60)

    greenlets = [spawn_raw(hold), spawn_raw(lock.acquire), spawn_raw(Waiter().get)]
    sleep(0)
    assert hub.report().hints == ()
    end(*greenlets)


# -- another thread's hub -------------------------------------------------------------------------------------------


class SharedLock(Lock):
    """A lock whose maker forgot that each thread has a hub of its own."""

    def __init__(self, name: str, hub: Hub) -> None:
        super().__init__(name)
        self.hub = hub


@pytest.mark.parametrize("named_by", ["owner", "hub"])
def test_what_belongs_to_another_threads_hub_is_named_with_both_threads(hub: Hub, named_by: str) -> None:
    lock = SharedLock("shared", hub) if named_by == "hub" else Lock("shared")
    lock.owner = getcurrent()
    main = threading.get_ident()
    seen: list[Report] = []
    ident: list[int] = []

    def other() -> None:
        ident.append(threading.get_ident())
        theirs = Hub(Loop())
        set_hub(theirs)
        try:
            with pytest.raises(LoopExit) as caught:
                lock.acquire()
            seen.append(caught.value.report)
        finally:
            theirs.destroy(destroy_loop=True)

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    (hint,) = seen[0].hints
    assert hint.key == "other-hub"
    assert f"{ident[0]:#x}" in hint.text
    assert f"{main:#x}" in hint.text
    wait = seen[0].greenlets[0].wait
    assert wait is not None
    assert wait.owner is not None
    owner = seen[0][wait.owner]
    assert owner.state == "running"


def test_a_watcher_of_a_loop_that_nobody_runs_is_named(hub: Hub) -> None:
    other = Loop()
    with other.timer(0.001) as timer:
        it = spawn_raw(hub.wait, timer)
        with pytest.raises(LoopExit) as caught:
            hub.switch()
        assert "other-loop" in keys(caught.value.report)
        end(it)
    other.destroy()


# -- unref'd --------------------------------------------------------------------------------------------------------


def test_only_watchers_without_a_reference_left_is_named_with_who_waits_for_them(hub: Hub) -> None:
    it = spawn_raw(sleep, 60, ref=False)
    with pytest.raises(LoopExit) as caught:
        hub.switch()
    report: Report = caught.value.report
    (hint,) = report.hints
    assert hint.key == "unref"
    assert [report[number].id for number in hint.greenlets] == [id(it)]
    assert "ref=False" in str(caught.value)
    end(it)


def test_beside_a_watcher_with_a_reference_there_is_nothing_to_name(hub: Hub) -> None:
    greenlets = spawn_raw(sleep, 60, ref=False), spawn_raw(sleep, 60)
    sleep(0)
    assert hub.report().hints == ()
    end(*greenlets)


# -- native locks ---------------------------------------------------------------------------------------------------


class Holder:
    """Has a lock as an attribute."""

    def __init__(self, lock: Any) -> None:
        self.lock = lock


class Slotted:
    """Has it in a slot."""

    __slots__ = ("lock",)

    def __init__(self, lock: Any) -> None:
        self.lock = lock


def by_acquire(lock: Any) -> None:
    """Block in a call."""
    lock.acquire()


def by_timeout(lock: Any) -> None:
    """Block in a call with arguments."""
    lock.acquire(True, timeout=30)


def by_with(lock: Any) -> None:
    """Block in a statement."""
    with lock:
        pass


def by_attribute(lock: Any) -> None:
    """Block on an attribute's lock."""
    holder = Holder(lock)
    with holder.lock:
        pass


def by_slot(lock: Any) -> None:
    """Block on a slot's lock."""
    holder = Slotted(lock)
    holder.lock.acquire()


def blocked(hub: Hub, block: Callable[[], object], unblock: Callable[[], object]) -> Hint:
    """Block this thread, have another one ask for reports until one has the hint, and go on."""
    found: list[Hint] = []
    begun: list[bool] = []  # and no event: to look at one is to run a function of `threading`

    def look() -> None:
        try:
            while not begun:
                time.sleep(0)
            until = time.monotonic() + 20
            while not found and time.monotonic() < until:
                found.extend(hint for hint in hub.report().hints if hint.key == "native-lock")
        finally:
            unblock()

    thread = threading.Thread(target=look)
    thread.start()
    begun.append(True)
    block()
    thread.join()
    return found[0]


@pytest.mark.parametrize("way", [by_acquire, by_timeout, by_with, by_attribute, by_slot], ids=lambda way: way.__name__)
def test_a_greenlet_that_blocks_the_thread_in_a_native_lock_is_named_with_who_has_the_lock(
    hub: Hub, way: Callable[[Any], None]
) -> None:
    lock = threading.Lock()

    def hold() -> None:
        mine = lock
        mine.acquire()
        sleep(60)

    holder = spawn_raw(hold)
    sleep(0)
    hint = blocked(hub, lambda: way(lock), lock.release)
    assert "a lock's acquire" in hint.text
    assert __file__ in hint.text
    assert len(hint.greenlets) == 1
    assert "have that lock among their variables" in hint.text
    end(holder)


def test_a_wait_of_threading_is_named_with_the_line_that_called_it(hub: Hub) -> None:
    event = threading.Event()
    hint = blocked(hub, lambda: event.wait(30), event.set)
    assert "threading." in hint.text
    assert __file__ in hint.text
    assert hint.greenlets == ()


def test_a_thread_that_computes_stands_in_no_lock(hub: Hub) -> None:
    seen: list[Report] = []
    begun: list[bool] = []

    def look() -> None:
        while not begun:
            time.sleep(0)
        seen.extend(hub.report() for _ in range(3))

    free = threading.Lock()
    event = threading.Event()
    thread = threading.Thread(target=look)
    thread.start()
    begun.append(True)
    while len(seen) < 3:
        free.locked()
        event.is_set()
    thread.join()
    assert [keys(report) for report in seen] == [[], [], []]


def test_a_lock_that_is_not_named_in_the_code_gives_no_hint(hub: Hub) -> None:
    # It was made by a call, or found in a list: to find out which one would be to run the program's code.
    lock = threading.Lock()
    lock.acquire()
    seen: list[Report] = []

    def look() -> None:
        while not begun:
            time.sleep(0)
        time.sleep(0.01)
        seen.append(hub.report())
        lock.release()

    begun: list[bool] = []
    thread = threading.Thread(target=look)
    thread.start()
    begun.append(True)
    [lock][0].acquire()
    thread.join()
    assert keys(seen[0]) == []


def test_a_hub_that_cannot_be_asked_for_gives_no_hint(hub: Hub) -> None:
    class Broken:
        @property
        def hub(self) -> Hub:
            raise OSError

    it = spawn_raw(hub.park, None, Broken())
    sleep(0)
    assert hub.report().hints == ()
    end(it)


# -- the pool --------------------------------------------------------------------------------------------------------

POOL = """
def worker(job):
    job()

def apply(waiter):
    waiter.get()

class Lane:
    def __init__(self, size, jobs):
        self.size, self.jobs = size, jobs

    def __len__(self):
        return self.jobs

class Pool(Lane):
    def __init__(self, size, jobs, lanes):
        self.lanes = {number: Lane(*lane) for number, lane in enumerate(lanes)}
        all_lanes = Lane(size, jobs), *self.lanes.values()
        super().__init__(sum(each.size for each in all_lanes), sum(map(len, all_lanes)))

    def kill(self):
        pass
"""


def test_a_pool_used_from_inside_the_pool_is_named(hub: Hub) -> None:
    # A stand-in for the pool, since hub-core's tests do without it: what counts is whose code stands on the stacks.
    pool: dict[str, Any] = {"__name__": "hub_threadpool._stand_in"}
    exec(POOL, pool)
    done = threading.Event()
    begun: list[bool] = []

    def job() -> None:
        begun.append(True)
        done.wait(30)

    idle = threading.Lock()
    idle.acquire()
    threads = [threading.Thread(target=pool["worker"], args=[each]) for each in (job, idle.acquire)]
    for thread in threads:
        thread.start()
    its = [spawn_raw(pool["apply"], Waiter()) for _ in range(2)]
    while not begun or "pool-in-pool" not in keys(hub.report()):
        sleep(0.001)
    (hint,) = hub.report().hints
    assert "while 1 of its jobs wait" in hint.text
    assert f"{__file__}:{job.__code__.co_firstlineno + 2}" in hint.text
    assert len(hint.greenlets) == 2
    end(its.pop())
    assert hub.report().hints == (), "it may be that job which the last one waits for"
    for size, jobs, lanes, told in [
        (1, 2, [], True),
        (1, 1, [(1, 0)], False),
        (1, 2, [(3, 1)], True),
        (2, 1, [(1, 2)], True),
        (3, 1, [(1, 1), (2, 1)], False),
    ]:
        hub.threadpool = pool["Pool"](size, jobs, lanes)
        assert (keys(hub.report()) == ["pool-in-pool"]) is told, "the pool knows whether jobs wait for places"
    done.set()
    idle.release()
    for thread in threads:
        thread.join()
    assert hub.report().hints == ()
    end(*its)
