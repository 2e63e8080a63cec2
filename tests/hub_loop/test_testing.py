"""The fake poller and the manual clock behave as what they stand for."""

from __future__ import annotations

import math
import os
import select
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import hub_api
import hub_loop
from hub_api import READ, WRITE
from hub_loop import Loop
from hub_loop.pollers import BOTH, EDGE, HANGUP, INVALID, LONGEST
from hub_loop.testing import FakePoller, ManualClock, NothingCanHappen, active_watchers

FD = 7


@pytest.fixture
def wake_fd() -> Iterator[int]:
    """An fd that can be made ready, as a loop's wake fd can."""
    fd = os.eventfd(0, os.EFD_NONBLOCK)
    yield fd
    os.close(fd)


@pytest.fixture
def poller(wake_fd: int) -> FakePoller:
    """A fake poller without a loop."""
    made = FakePoller(ManualClock())
    made.watch(wake_fd, READ | EDGE)
    return made


@pytest.fixture
def level_poller(wake_fd: int) -> FakePoller:
    """A fake poller that knows no edges."""
    made = FakePoller(ManualClock(), edge=False)
    made.watch(wake_fd, READ)
    return made


# -- the clock --------------------------------------------------------------------------------------------------------


def test_the_clock_moves_only_when_told_to() -> None:
    clock = ManualClock(5.0)
    assert clock() == clock() == 5.0
    clock.advance(2.5)
    assert clock() == 7.5
    clock.advance(0.0)
    clock.advance_to(10.0)
    assert clock() == 10.0
    clock.advance_to(9.0)
    assert clock() == 10.0
    assert repr(clock) == "<ManualClock at 10 s>"


@pytest.mark.parametrize("seconds", [-1.0, math.nan])
def test_the_clock_does_not_go_back(seconds: float) -> None:
    with pytest.raises(ValueError, match="a monotonic clock does not go back"):
        ManualClock().advance(seconds)


# -- as the kernel ----------------------------------------------------------------------------------------------------


def test_a_state_is_reported_in_every_poll(poller: FakePoller) -> None:
    poller.watch(FD, READ)
    assert poller.poll(0.0) == []
    poller.make_ready(FD, READ | WRITE)
    assert poller.poll(0.0) == [(FD, READ)]
    assert poller.poll(0.0) == [(FD, READ)]
    poller.drain(FD, READ)
    assert poller.poll(0.0) == []


def test_an_edge_is_reported_once_and_again_when_more_comes(poller: FakePoller) -> None:
    poller.watch(FD, BOTH | EDGE)
    poller.make_ready(FD, WRITE)
    assert poller.poll(0.0) == [(FD, WRITE)]
    assert poller.poll(0.0) == []
    poller.make_ready(FD, READ)
    assert poller.poll(0.0) == [(FD, BOTH)]
    assert poller.poll(0.0) == []
    poller.make_ready(FD, READ)
    assert poller.poll(0.0) == [(FD, BOTH)]


def test_a_new_watch_reports_what_is_there_already(poller: FakePoller) -> None:
    poller.make_ready(FD, READ)
    poller.watch(FD, READ | EDGE)
    assert poller.poll(0.0) == [(FD, READ)]
    assert poller.poll(0.0) == []
    poller.watch(FD, READ | EDGE)
    assert poller.poll(0.0) == [(FD, READ)]


def test_readiness_that_nobody_asked_for_is_no_edge(poller: FakePoller) -> None:
    poller.watch(FD, READ | EDGE)
    poller.make_ready(FD, WRITE)
    assert poller.poll(0.0) == []


def test_what_was_drained_before_the_poll_is_not_reported(poller: FakePoller) -> None:
    poller.watch(FD, READ | EDGE)
    poller.make_ready(FD, READ)
    poller.drain(FD)
    assert poller.poll(0.0) == []


def test_what_is_forgotten_is_silent_until_it_is_watched_again(poller: FakePoller) -> None:
    poller.watch(FD, READ)
    poller.make_ready(FD, READ)
    poller.forget(FD)
    poller.forget(FD)
    assert poller.poll(0.0) == []
    poller.watch(FD, READ)
    assert poller.poll(0.0) == [(FD, READ)]


def test_a_hang_up_is_reported_whether_asked_for_or_not_and_cannot_be_drained(poller: FakePoller) -> None:
    poller.watch(FD, READ)
    poller.hang_up(FD)
    poller.drain(FD)
    assert poller.poll(0.0) == [(FD, BOTH | HANGUP)]
    poller.watch(FD, WRITE | EDGE)
    assert poller.poll(0.0) == [(FD, BOTH | HANGUP)]
    assert poller.poll(0.0) == []


def test_a_shut_stream_is_a_hang_up_where_the_kernel_is_asked_for_it(
    poller: FakePoller, level_poller: FakePoller
) -> None:
    for made, interest, expected in (
        (poller, READ | EDGE, READ | HANGUP),
        (poller, READ, READ),
        (poller, WRITE | EDGE, READ | HANGUP),
        (level_poller, READ, READ | HANGUP),
    ):
        made.replace(FD)
        made.watch(FD, interest)
        made.shut(FD)
        assert made.poll(0.0) == [(FD, expected)]
    level_poller.watch(FD, WRITE)
    assert level_poller.poll(0.0) == []


def test_a_closed_number_is_invalid_until_it_is_forgotten_and_cannot_be_watched(poller: FakePoller) -> None:
    poller.watch(FD, READ)
    poller.invalidate(FD)
    assert poller.poll(0.0) == [(FD, BOTH | INVALID)]
    with pytest.raises(OSError, match=r"Bad file descriptor: fd 7"):
        poller.watch(FD, READ)
    poller.forget(FD)
    assert poller.poll(0.0) == []


def test_a_replaced_number_is_fresh_and_silent(poller: FakePoller) -> None:
    poller.watch(FD, READ)
    poller.make_ready(FD, READ)
    poller.replace(FD)
    assert poller.poll(0.0) == []
    poller.watch(FD, READ)
    assert poller.poll(0.0) == []


def test_what_cannot_be_polled_is_refused(poller: FakePoller) -> None:
    poller.make_unpollable(FD)
    assert poller.watch(FD, READ) is False
    assert poller.poll(0.0) == []


def test_without_edges_an_edge_interest_is_an_error(level_poller: FakePoller) -> None:
    with pytest.raises(ValueError, match="watched with EDGE, but this poller has edge=False"):
        level_poller.watch(FD, READ | EDGE)


def test_fds_take_turns(poller: FakePoller) -> None:
    for fd in (7, 8, 9):
        poller.watch(fd, READ)
        poller.make_ready(fd, READ)
    assert [fd for fd, _ in poller.poll(0.0)] == [7, 8, 9]


def test_a_closed_fake_says_so_and_reports_nothing_until_it_is_opened_again(poller: FakePoller, wake_fd: int) -> None:
    poller.make_ready(FD, READ)
    poller.close()
    poller.close()
    assert repr(poller) == "<FakePoller closed plans=0>"
    assert poller.watch(FD, READ)
    assert poller.poll(None) == []
    poller.reopen()
    poller.watch(wake_fd, READ)
    assert poller.poll(0.0) == []
    poller.watch(FD, READ)
    assert poller.poll(0.0) == [(FD, READ)]


def test_a_fake_has_no_fileno_and_says_what_it_watches(poller: FakePoller) -> None:
    poller.watch(FD, READ)
    poller.make_ready(FD, READ, after=1.0)
    assert poller.fileno() is None
    assert repr(poller) == "<FakePoller watching 7 plans=1>"


# -- plans and time ---------------------------------------------------------------------------------------------------


def test_a_poll_moves_the_clock_to_the_next_plan_or_to_its_end(poller: FakePoller) -> None:
    begin = poller.clock()
    poller.watch(FD, READ)
    poller.make_ready(FD, READ, after=5.0)
    poller.drain(FD, after=7.0)
    assert poller.poll(1.0) == []
    assert poller.clock() == begin + 1.0
    assert poller.poll(100.0) == [(FD, READ)]
    assert poller.clock() == begin + 5.0
    assert poller.timeout == 100.0
    assert poller.polls == 2
    poller.clock.advance(2.0)
    assert poller.poll(3.0) == []
    assert poller.clock() == begin + 10.0


def test_every_kind_of_event_can_be_planned(poller: FakePoller) -> None:
    for fd, plan in ((7, poller.shut), (8, poller.hang_up), (9, poller.invalidate)):
        poller.watch(fd, READ | EDGE)
        plan(fd, after=float(fd))
    assert poller.poll(None) == [(7, READ | HANGUP)]
    assert poller.poll(None) == [(8, BOTH | HANGUP)]
    assert poller.poll(LONGEST) == [(9, BOTH | INVALID)]


def test_a_plan_that_nobody_notices_does_not_end_the_poll(poller: FakePoller) -> None:
    begin = poller.clock()
    poller.make_ready(FD, READ, after=1.0)
    poller.make_ready(8, READ, after=1.0)
    poller.watch(8, WRITE)
    assert poller.poll(4.0) == []
    assert poller.clock() == begin + 4.0


def test_a_poll_that_could_never_end_is_an_error_that_says_what_to_do(poller: FakePoller) -> None:
    loop = Loop(poller=FakePoller(ManualClock()), clock=ManualClock())
    loop.ref()
    with pytest.raises(NothingCanHappen, match="script an event, start a timer, or set wait_for_threads"):
        loop.run()
    loop.destroy()


def test_a_timer_of_half_a_year_is_not_taken_for_a_poll_that_never_ends(clock: ManualClock) -> None:
    loop = Loop(poller=FakePoller(clock), clock=clock)
    begin, fired = clock(), list[float]()
    loop.timer(180 * 86400.0).start(lambda: fired.append(clock() - begin))
    loop.run()
    loop.destroy()
    assert fired == [180 * 86400.0]


def test_what_is_to_be_done_while_the_loop_sleeps_is_done_once_per_poll(poller: FakePoller) -> None:
    done: list[str] = []
    poller.watch(FD, READ)
    poller.when_blocking(done.append, "first")
    poller.when_blocking(poller.make_ready, FD, READ)
    assert poller.poll(0.0) == []
    assert done == []
    assert poller.poll(1.0) == []
    assert done == ["first"]
    assert poller.poll(1.0) == [(FD, READ)]


# -- the wake fd ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("edge", [True, False])
def test_a_wake_up_is_real_and_ends_the_poll_before_time_passes(
    edge: bool, from_thread_of: Callable[[Loop, Callable[[Loop], object]], None]
) -> None:
    clock = ManualClock()
    begin = clock()
    loop = Loop(poller=FakePoller(clock, edge=edge, wait_for_threads=30.0), clock=clock)
    ran: list[str] = []
    loop.ref()
    from_thread_of(loop, lambda loop: loop.run_callback_threadsafe(ran.append, "posted"))
    loop.run(once=True)
    loop.wakeup()
    loop.wakeup()
    loop.run(once=True)
    assert loop._poller.poll(0.0) == []
    loop.destroy()
    assert ran == ["posted"]
    assert clock() == begin


@pytest.fixture
def from_thread_of() -> Iterator[Callable[[Loop, Callable[[Loop], object]], None]]:
    """Have another thread act on a loop as soon as that sleeps."""
    import threading
    import time

    threads: list[threading.Thread] = []

    def start(loop: Loop, act: Callable[[Loop], object]) -> None:
        def wait_and_act() -> None:
            while not loop.sleeping:
                time.sleep(0)
            act(loop)

        threads.append(threading.Thread(target=wait_and_act))
        threads[-1].start()

    yield start
    for thread in threads:
        thread.join()


def test_a_poller_that_watches_nothing_has_no_wake_fd() -> None:
    assert FakePoller(ManualClock()).poll(1.0) == []


# -- real fds ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("edge", [True, False])
def test_an_fd_that_the_script_has_not_named_is_a_real_one_if_asked_for(edge: bool, wake_fd: int) -> None:
    made = FakePoller(ManualClock(), edge=edge, real_fds=True, wait_for_threads=30.0)
    made.watch(wake_fd, READ)
    reader, writer = os.pipe()
    scripted, other = os.pipe()
    made.make_ready(scripted, READ)
    assert made.watch(reader, READ) is True
    assert made.watch(scripted, READ) is True
    assert made.poll(0.0) == [(scripted, READ)]
    os.write(writer, b"x")
    assert sorted(made.poll(None)) == sorted([(reader, READ), (scripted, READ)])
    made.drain(scripted)
    made.forget(reader)
    assert made.poll(5.0) == []
    made.watch(reader, READ)
    assert made.poll(None) == [(reader, READ)]
    os.eventfd_write(wake_fd, 1)
    assert sorted(made.poll(0.0)) == sorted([(reader, READ), (wake_fd, READ)])
    made.close()
    for fd in (reader, writer, scripted, other):
        os.close(fd)


# -- active watchers --------------------------------------------------------------------------------------------------


def test_active_watchers_are_all_that_were_started_and_not_stopped(loop: Loop, clock: ManualClock) -> None:
    read_end, write_end = os.pipe()
    watchers = [
        loop.io(write_end, WRITE),
        loop.timer(1.0),
        loop.timer(1.0, 1.0),
        loop.async_(),
        loop.prepare(),
        loop.check(),
        loop.idle(),
    ]
    assert active_watchers(loop) == []
    for watcher in watchers:
        watcher.start(int)
    assert set(active_watchers(loop)) == set(watchers)
    for watcher in watchers:
        watcher.close()
    assert active_watchers(loop) == []
    pending = loop.timer(0.0)
    pending.start(int)
    with loop.check() as check:
        seen: list[object] = []
        check.start(lambda: seen.extend(active_watchers(loop)))
        loop.run(nowait=True)
        assert set(seen) == {check, pending}
    os.close(read_end)
    os.close(write_end)


# -- what it does not need --------------------------------------------------------------------------------------------


def test_it_imports_no_test_runner() -> None:
    paths = os.pathsep.join(str(Path(module.__path__[0]).parent) for module in (hub_api, hub_loop))
    code = "import sys, hub_loop.testing; assert not {'pytest', 'unittest', 'greenlet'} & set(sys.modules)"
    subprocess.run([sys.executable, "-S", "-c", code], check=True, env={**os.environ, "PYTHONPATH": paths})


def test_the_example_in_its_first_lines_works() -> None:
    clock = ManualClock()
    poller = FakePoller(clock)
    loop = Loop(poller=poller, clock=clock)
    fd, other = os.pipe()
    reader = loop.io(fd, READ)
    begin = clock()
    reader.start(reader.close)
    poller.make_ready(fd, READ, after=5.0)
    loop.run()
    assert clock() == begin + 5.0
    loop.destroy()
    os.close(fd)
    os.close(other)


@pytest.mark.skipif(not hasattr(select, "epoll"), reason="compares with epoll")
def test_the_fake_agrees_with_epoll_about_every_short_script(wake_fd: int) -> None:
    """All scripts of four steps, played on both: the fake is as the kernel is."""
    import itertools
    import socket

    from hub_loop.pollers.epoll import EpollPoller

    steps = ("send", "drain", "watch", "watch edge", "forget", "shut", "hang up")
    for script in itertools.product(steps, repeat=4):
        near, far = socket.socketpair()
        near.setblocking(False)
        real, fake = EpollPoller(), FakePoller(ManualClock())
        fake.watch(wake_fd, READ | EDGE)
        fd = near.fileno()
        for step in script:
            if step == "send" and far.fileno() >= 0:
                try:
                    far.send(b"x")
                except BrokenPipeError:
                    continue
                fake.make_ready(fd, READ)
            elif step == "drain":
                try:
                    near.recv(100)
                except BlockingIOError:
                    pass
                fake.drain(fd, READ)
            elif step in ("watch", "watch edge"):
                interest = READ | EDGE if step == "watch edge" else READ
                real.watch(fd, interest)
                fake.watch(fd, interest)
            elif step == "forget":
                real.forget(fd)
                fake.forget(fd)
            elif step == "shut" and far.fileno() >= 0:
                far.shutdown(socket.SHUT_WR)
                fake.shut(fd)
            elif step == "hang up" and far.fileno() >= 0:
                far.close()
                fake.hang_up(fd)
            assert fake.poll(0.0) == real.poll(0.0), script
        real.close()
        near.close()
        far.close()
