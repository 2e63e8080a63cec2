"""The bell of a worker, of both kinds."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from hub_threadpool import ThreadPool, _bell

if TYPE_CHECKING:
    from tests.conftest import Kin

Make = Callable[[], Any]
KINDS = [_bell.LockBell] + ([_bell.EventBell] if sys.platform == "linux" else [])
linux = pytest.mark.skipif(sys.platform != "linux", reason="there is no eventfd")


def open_fds() -> int:
    return len(os.listdir("/dev/fd"))


@pytest.mark.parametrize("make", KINDS)
def test_a_ring_ends_the_wait_that_is_under_way_or_the_next_one(make: Make) -> None:
    bell = make()
    assert not bell.wait(0.001)
    bell.ring()
    assert bell.wait(20)
    assert not bell.wait(0.001)
    ringer = threading.Thread(target=bell.ring)
    ringer.start()
    assert bell.wait(20)
    ringer.join()


@pytest.mark.parametrize("make", KINDS)
def test_rings_that_nobody_has_heard_count_as_one(make: Make) -> None:
    bell = make()
    bell.ring()
    bell.ring()
    assert bell.heard()
    assert not bell.heard()
    assert not bell.wait(0.001)


@pytest.mark.parametrize("make", KINDS)
def test_a_wait_that_nobody_ends_lasts_its_time_whatever_was_heard_before(make: Make) -> None:
    bell = make()
    for _ in range(3):
        ringer = threading.Thread(target=bell.ring)
        ringer.start()
        ringer.join()
        bell.heard()
    started = time.monotonic()
    assert not bell.wait(0.02)
    assert time.monotonic() - started >= 0.02


@pytest.mark.parametrize("make", KINDS)
def test_no_ring_is_lost_between_two_threads(make: Make) -> None:
    there, back = make(), make()
    rounds = 500

    def answer() -> None:
        for _ in range(rounds):
            assert there.wait(20)
            back.ring()

    thread = threading.Thread(target=answer)
    thread.start()
    for _ in range(rounds):
        there.ring()
        assert back.wait(20)
    thread.join(20)


@linux
def test_a_bell_gives_its_fds_back() -> None:
    before = open_fds()
    bell = _bell.EventBell()
    assert open_fds() == before + 2
    bell.close()
    bell.close()
    assert open_fds() == before
    bell.ring()  # late: nobody hears it, and nobody else's file is written to
    bell = _bell.EventBell()
    del bell
    assert open_fds() == before


@linux
def test_without_fds_there_is_a_bell_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> int:
        raise OSError(24, "Too many open files")

    before = open_fds()
    monkeypatch.setattr(os, "eventfd", refuse)
    assert isinstance(_bell.make_bell(), _bell.LockBell)
    assert open_fds() == before


@pytest.mark.parametrize("make", KINDS)
def test_a_pool_works_with_either(
    make: Make, make_pool: Callable[[int], ThreadPool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub_threadpool._worker.make_bell", make)
    pool = make_pool(2)
    assert [pool.apply(pow, (number, 2)) for number in range(50)] == [number**2 for number in range(50)]
    assert pool.map(abs, [-1, -2]) == [1, 2]


def test_a_forked_child_has_no_fds_of_the_parents_workers(make_pool: Callable[[int], ThreadPool], kin: Kin) -> None:
    before = open_fds()
    pool = make_pool(2)
    pool.apply(int)

    def check() -> None:
        assert open_fds() == before + 1  # the pipe of this test
        assert pool.apply(int, ("7",)) == 7
        pool.kill()

    kin.run(check)
