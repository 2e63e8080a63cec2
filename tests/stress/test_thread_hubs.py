"""Thousands of threads, each with a hub of its own: nothing of them stays."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from greenlet import greenlet

from greenlet_hub import Hub, get_hub, sleep, spawn_raw

HUBS = int(os.environ.get("HUB_THREAD_HUBS", "600"))
"""All of them, 10,000, take half a minute."""
WARM_UP = 200
MOST_BYTES = 1 << 20


def implicit() -> None:
    done: list[object] = []

    def live() -> None:
        sleep(0)
        done.append(1)

    spawn_raw(live)
    sleep(0.00001)
    while not done:
        sleep(0)


def with_one_parked() -> None:
    implicit()
    spawn_raw(sleep, 60)
    sleep(0)


def in_a_block() -> None:
    with Hub() as hub:
        assert get_hub() is hub
        implicit()


def run(body: Callable[[], None], times: int) -> None:
    for _ in range(times):
        thread = threading.Thread(target=body)
        thread.start()
        thread.join()


def greenlets() -> int:
    """How many have started and not ended; threads' main ones go when greenlet looks after them."""
    gc.collect()
    return sum(isinstance(each, greenlet) and bool(each) and each.parent is not None for each in gc.get_objects())


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
@pytest.mark.parametrize("body", [implicit, with_one_parked, in_a_block])
def test_hubs_of_threads_leave_nothing(body: Callable[[], None]) -> None:
    run(body, WARM_UP)
    fds, parked, objects, memory = len(os.listdir("/proc/self/fd")), greenlets(), len(gc.get_objects()), resident()
    run(body, HUBS)
    assert greenlets() == parked
    assert len(os.listdir("/proc/self/fd")) == fds
    assert len(gc.get_objects()) <= objects + 50
    assert resident() - memory < MOST_BYTES
