"""The watch: what blocks a loop is told once, and nothing else is.

These tests are the watchdog themselves: its clock is the hub's, moved by hand, and what blocks looks at itself.  The
thread that really looks: test_watch_thread.py.
"""

from __future__ import annotations

import gc
import io
import itertools
from typing import TYPE_CHECKING, Any
from weakref import ref

import pytest
from greenlet import greenlet

from hub_core import BlockReport, Hub, Waiter, Watch, kill, set_hub, sleep, spawn_raw
from hub_core._ready import WIDEST
from hub_core._watch import LOOKS, REMEMBERED, Watchdog
from hub_loop import Loop
from hub_loop.testing import FakePoller

if TYPE_CHECKING:
    from tests.conftest import Kin
    from tests.hub_core.conftest import Reports

    from hub_loop.testing import ManualClock

THRESHOLD = 0.125  # and a look every 1/32 s: sums of these are exact


class Guard:
    """A watchdog without a thread over the hub under test."""

    def __init__(self, hub: Hub, clock: ManualClock) -> None:
        self.told: list[BlockReport] = []
        self.clock = clock
        self.dog = Watchdog(clock, start=lambda run: None)
        self.watch = Watch(hub)
        self.watch.set(THRESHOLD, 0.0, self.told.append)
        self.dog.add(self.watch)

    def block(self, seconds: float) -> None:
        """Run on for so long, while the watchdog looks as often as it does."""
        for _ in range(round(seconds / THRESHOLD * LOOKS)):
            self.clock.advance(THRESHOLD / LOOKS)
            self.dog.look()

    @property
    def functions(self) -> list[list[str]]:
        """The names on the stacks that were told."""
        return [[frame.name for frame in report.stack] for report in self.told]


@pytest.fixture
def guard(clocked_hub: Hub, clock: ManualClock) -> Guard:
    """A watchdog whom only the test lets look."""
    return Guard(clocked_hub, clock)


# -- what is told -----------------------------------------------------------------------------------------------------


def test_a_greenlet_that_runs_on_is_told_with_its_stack(clocked_hub: Hub, guard: Guard) -> None:
    def culprit() -> None:
        guard.block(0.5)

    blocking = spawn_raw(culprit)
    clocked_hub.join()
    (report,) = guard.told
    assert report.greenlet == f"<RawGreenlet at {id(blocking):#x}>"
    assert report.seconds == pytest.approx(THRESHOLD)
    assert report.stack[0].name == "culprit"
    assert (report.thread, report.hub, report.untold) == ("MainThread", repr(clocked_hub), 0)
    assert "blocked for 0.125 s or more by <RawGreenlet" in str(report)
    assert "in culprit\n    guard.block(0.5)\n" in str(report)
    assert (guard.watch.blocks, guard.watch.reports) == (1, 1)


def test_it_is_told_by_its_name_if_it_has_one(clocked_hub: Hub, guard: Guard) -> None:
    class Named(greenlet):
        name = "accountant"

    worker = Named(lambda: guard.block(0.2), clocked_hub)
    clocked_hub.start_soon(worker, lambda: None)
    clocked_hub.join()
    assert guard.told[0].greenlet == f"'accountant', <{Named.__qualname__} at {id(worker):#x}>"


def test_a_greenlet_with_a_repr_of_its_own_is_told_by_that_and_a_broken_one_does_no_harm(
    clocked_hub: Hub, guard: Guard
) -> None:
    class Talks(greenlet):
        def __repr__(self) -> str:
            return "<me>"

    class Broken(greenlet):
        def __repr__(self) -> str:
            raise ZeroDivisionError

    for kind in (Talks, Broken):
        clocked_hub.start_soon(kind(lambda: guard.block(0.2), clocked_hub), lambda: None)
    clocked_hub.start_soon(Broken(lambda more=True: guard.block(0.2), clocked_hub), lambda: None)
    clocked_hub.join()
    assert guard.told[0].greenlet == "<me>"
    assert "Broken object at" in guard.told[1].greenlet


def test_a_callback_that_runs_on_is_told(clocked_hub: Hub, guard: Guard) -> None:
    def callback() -> None:
        guard.block(0.2)

    clocked_hub.loop.run_callback(callback)
    clocked_hub.join()
    assert guard.told[0].greenlet == "the loop or a callback"
    assert "callback" in guard.functions[0]


def test_callbacks_that_others_post_meanwhile_do_not_hide_it(clocked_hub: Hub, guard: Guard) -> None:
    def callback() -> None:
        for _ in range(10):
            clocked_hub.loop.run_callback(int)
            guard.block(THRESHOLD / LOOKS)

    clocked_hub.loop.run_callback(callback)
    clocked_hub.join()
    assert guard.watch.blocks == 1


def test_the_main_greenlet_is_told_if_somebody_is_kept_waiting(clocked_hub: Hub, guard: Guard) -> None:
    sleep(1.0)
    guard.block(1.0)
    assert guard.told == [], "there is nobody but the main greenlet"
    spawn_raw(int)
    guard.block(1.0)
    assert [report.greenlet for report in guard.told] == ["the main greenlet"]
    clocked_hub.join()


def test_before_the_hub_has_run_the_main_greenlet_is_let_be_until_somebody_waits(
    clocked_hub: Hub, guard: Guard
) -> None:
    guard.block(1.0)
    assert guard.told == []
    with clocked_hub.loop.timer(5.0) as timer:
        timer.start(int)
        guard.block(1.0)
    assert [report.greenlet for report in guard.told] == ["the main greenlet"]


# -- what is not ------------------------------------------------------------------------------------------------------


def test_32_greenlets_of_20_ms_each_block_nobody(clocked_hub: Hub, guard: Guard, clock: ManualClock) -> None:
    # In a fresh hub the stride is at its widest: 32 handoffs, 640 ms, come before it looks at the clock.
    at_poll: list[float] = []

    def member() -> None:
        for _ in range(3):
            for _ in range(2):
                clock.advance(0.010)
                guard.dog.look()
            sleep(0)

    for _ in range(WIDEST):
        spawn_raw(member)
    with clocked_hub.loop.prepare(ref=False) as prepare:
        prepare.start(lambda: at_poll.append(clock()))
        clocked_hub.join()
    assert max(after - before for before, after in itertools.pairwise(at_poll)) > 0.6
    assert guard.watch.blocks == 0


def test_two_that_hand_over_to_each_other_for_ever_block_nobody(clocked_hub: Hub, guard: Guard) -> None:
    first, second = Waiter(), Waiter()

    def answer() -> None:
        while second.get():
            guard.block(THRESHOLD / LOOKS)
            first.switch(None)

    def ask() -> None:
        for _ in range(200):
            guard.block(THRESHOLD / LOOKS)
            second.switch(True)
            first.get()
        second.switch(False)

    spawn_raw(answer)
    spawn_raw(ask)
    clocked_hub.join()
    assert guard.watch.blocks == 0


def test_one_that_yields_to_itself_blocks_nobody(clocked_hub: Hub, guard: Guard) -> None:
    def alone() -> None:
        for _ in range(200):
            guard.block(THRESHOLD / LOOKS)
            sleep(0)

    spawn_raw(alone)
    clocked_hub.join()
    assert guard.watch.blocks == 0


@pytest.mark.parametrize("kind", ["callbacks", "watchers", "phases", "starts"])
def test_many_short_calls_in_one_turn_block_nobody(clocked_hub: Hub, guard: Guard, kind: str) -> None:
    step = THRESHOLD / LOOKS
    watchers: list[Any] = []
    for _ in range(50):
        if kind == "callbacks":
            clocked_hub.loop.run_callback(guard.block, step)
        elif kind == "starts":
            spawn_raw(guard.block, step)
        else:
            watchers.append(clocked_hub.loop.timer(1.0) if kind == "watchers" else clocked_hub.loop.check(ref=False))
            watchers[-1].start(guard.block, step)
    sleep(2.0)
    assert guard.watch.blocks == 0
    for watcher in watchers:
        watcher.close()


def test_who_sleeps_in_the_poller_blocks_nobody(clocked_hub: Hub, guard: Guard, poller: FakePoller) -> None:
    poller.when_blocking(guard.block, 1.0)
    sleep(5.0)
    assert guard.watch.blocks == 0


def test_nor_does_one_that_another_thread_has_just_woken(clocked_hub: Hub, guard: Guard, poller: FakePoller) -> None:
    def wake_and_look() -> None:
        clocked_hub.loop.wakeup()  # from here on the loop does not say that it sleeps
        assert not clocked_hub.loop.sleeping
        guard.block(1.0)

    poller.when_blocking(wake_and_look)
    sleep(5.0)
    assert guard.watch.blocks == 0


def test_a_hub_that_another_one_has_taken_the_place_of_blocks_nobody(
    clocked_hub: Hub, guard: Guard, clock: ManualClock
) -> None:
    spawn_raw(sleep, 100.0)
    sleep(0)
    poller = FakePoller(clock)
    with Hub(Loop(default=False, poller=poller, clock=clock)):
        poller.when_blocking(guard.block, 10 * THRESHOLD)
        sleep(THRESHOLD)
        with Hub(Loop(default=False)):
            guard.block(10 * THRESHOLD)
        guard.block(10 * THRESHOLD)
    assert guard.told == []
    other = Hub(Loop(default=False))
    set_hub(other)
    guard.block(10 * THRESHOLD)
    assert guard.told == []
    set_hub(clocked_hub)
    other.destroy(destroy_loop=True)
    guard.block(10 * THRESHOLD)
    assert len(guard.told) == 1, "now it is this thread's again, and its sleeper is kept waiting"


def test_a_loop_that_a_host_polls_for_blocks_nobody(clocked_hub: Hub, guard: Guard) -> None:
    loop: Any = clocked_hub.loop
    with loop.timer(5.0) as timer:
        timer.start(int)
        loop.run(nowait=True)
        assert loop.poll_elsewhere() == 5.0
        guard.block(1.0)
        loop.wakeup()  # from another thread; but the host has not come back yet
        guard.block(1.0)
        assert guard.watch.blocks == 0
        loop.run(nowait=True)
        guard.block(1.0)
        assert guard.watch.blocks == 1, "now it is the host's turn to say that it sleeps, or to let us run"


def test_those_who_wait_in_the_parent_are_not_kept_waiting_by_a_forked_child(
    clocked_hub: Hub, guard: Guard, kin: Kin
) -> None:
    sleeper = spawn_raw(sleep, 60.0)
    sleep(0)

    def check() -> None:
        guard.watch.forget()  # as the watch's hook does
        guard.block(1.0)
        assert guard.told == [], "its main greenlet computes, and nobody of its own waits"
        clocked_hub.reinit()
        guard.block(1.0)
        assert guard.told == [], "nor once its loop is used"
        spawn_raw(int)
        guard.block(1.0)
        assert len(guard.told) == 1

    kin.run(check)
    guard.block(1.0)
    assert len(guard.told) == 1, "in the parent it keeps a sleeper waiting"
    kill(sleeper)
    sleep(0)


def test_a_process_that_was_stopped_was_not_blocked(clocked_hub: Hub, guard: Guard, clock: ManualClock) -> None:
    def stopped() -> None:
        for _ in range(10):
            guard.dog.look()
            clock.advance(3600.0)  # SIGSTOP and SIGCONT, or a lid that was closed
            guard.dog.look()
            sleep(0)

    spawn_raw(stopped)
    clocked_hub.join()
    assert guard.watch.blocks == 0


def test_one_that_goes_on_while_the_watchdog_takes_its_stack_is_let_be(clocked_hub: Hub, guard: Guard) -> None:
    class Moves(greenlet):
        @property
        def name(self) -> str:
            sleep(0)  # what another thread would see, had the greenlet gone on just now
            return "moves"

    clocked_hub.start_soon(Moves(lambda: guard.block(0.2), clocked_hub), lambda: None)
    clocked_hub.join()
    assert guard.told == []


# -- how often --------------------------------------------------------------------------------------------------------


def test_a_stack_is_told_once_and_its_line_does_not_matter(clocked_hub: Hub, guard: Guard) -> None:
    def one(line: int) -> None:
        if line:
            guard.block(0.2)
        else:
            guard.block(0.2)

    def other() -> None:
        guard.block(0.2)

    for line in (0, 1, 0):
        spawn_raw(one, line)
    clocked_hub.join()
    assert (guard.watch.blocks, guard.watch.reports) == (3, 1)
    spawn_raw(other)
    clocked_hub.join()
    assert (guard.watch.blocks, guard.watch.reports) == (4, 2)
    assert guard.told[1].untold == 2
    assert "blocked 2 times more since the last report" in str(guard.told[1])


def test_reports_keep_their_interval_and_say_what_was_left_out(clocked_hub: Hub, guard: Guard) -> None:
    guard.watch.set(THRESHOLD, 2.0, guard.told.append)

    def first() -> None:
        guard.block(0.2)

    def second() -> None:
        guard.block(0.2)

    def third() -> None:
        guard.block(5.0)

    for function in (first, second, third):
        spawn_raw(function)
        clocked_hub.join()
    assert [report.untold for report in guard.told] == [0, 1]
    assert "third" in guard.functions[1]
    assert guard.told[1].seconds > 1.0, "it was still blocked when the interval was over"
    assert guard.watch.blocks == 3


def test_what_was_told_is_forgotten_in_the_end(clocked_hub: Hub, guard: Guard) -> None:
    guard.watch._told_stacks.update(dict.fromkeys(range(REMEMBERED)))
    spawn_raw(guard.block, 0.2)
    clocked_hub.join()
    assert len(guard.watch._told_stacks) == REMEMBERED
    assert 0 not in guard.watch._told_stacks


def test_new_settings_begin_anew_whoever_listens_has_been_told_nothing(clocked_hub: Hub, guard: Guard) -> None:
    later: list[BlockReport] = []

    def work() -> None:
        guard.block(2 * THRESHOLD)
        guard.watch.set(THRESHOLD, 60.0, later.append)  # in the middle of a block that has been told
        guard.block(2 * THRESHOLD)

    guard.watch.set(THRESHOLD, 60.0, guard.told.append)
    spawn_raw(work)
    assert clocked_hub.join()
    assert (len(guard.told), len(later)) == (1, 1), "neither the interval nor the known stacks are those of before"


# -- to whom ----------------------------------------------------------------------------------------------------------


def test_without_a_function_it_is_printed_where_exceptions_are(
    clocked_hub: Hub, guard: Guard, reports: Reports
) -> None:
    guard.watch.set(THRESHOLD, 0.0, None)
    spawn_raw(lambda: guard.block(0.2))
    clocked_hub.join()
    text = reports.take()
    assert text.startswith(f"{clocked_hub!r} of thread 'MainThread' has been blocked for 0.125 s or more by <RawGreen")
    assert text.count("Most recent call last:\n  File ") == 1
    clocked_hub.exception_stream = None
    spawn_raw(lambda: guard.block(0.3))
    clocked_hub.join()
    clocked_hub.exception_stream = reports


def test_a_function_or_a_stream_that_fails_does_not_end_the_watch(
    clocked_hub: Hub, guard: Guard, reports: Reports
) -> None:
    def fail(report: BlockReport) -> None:
        raise SystemExit("not now")

    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError("no space left")

    def first() -> None:
        guard.block(0.2)

    def second() -> None:
        guard.block(0.2)

    guard.watch.set(THRESHOLD, 0.0, fail)
    spawn_raw(first)
    clocked_hub.join()
    assert "SystemExit: not now" in (text := reports.take())
    assert "<Watch" in text
    guard.watch.set(THRESHOLD, 0.0, None)
    clocked_hub.exception_stream = Broken()
    spawn_raw(second)
    clocked_hub.join()
    clocked_hub.exception_stream = reports
    assert (guard.watch.reports, guard.dog.has(guard.watch)) == (2, True)


# -- who is watched no more -------------------------------------------------------------------------------------------


def test_a_loop_that_fails_to_tell_is_told_of_and_watched_no_more(
    clocked_hub: Hub, guard: Guard, reports: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(loop: Loop) -> object:
        raise ZeroDivisionError("of a stranger's loop")

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "progress", fail)
        guard.dog.look()
    assert "ZeroDivisionError: of a stranger's loop" in reports.take()
    assert not guard.dog.has(guard.watch)


def test_one_whose_thread_ends_while_the_watchdog_looks_is_told_of_nobody_and_watched_no_more(
    clocked_hub: Hub, guard: Guard
) -> None:
    here = clocked_hub.thread_ident

    def culprit() -> None:
        clocked_hub.thread_ident = 0  # as if this thread were gone: none has that number
        try:
            guard.block(0.5)
        finally:
            clocked_hub.thread_ident = here

    spawn_raw(culprit)
    clocked_hub.join()
    assert (guard.told, guard.watch.blocks) == ([], 1)
    assert not guard.dog.has(guard.watch)


def test_a_hub_is_not_kept_by_its_watch(clocked_hub: Hub, clock: ManualClock) -> None:
    hub = Hub(Loop(default=False))
    loop = hub.loop
    guard = Guard(hub, clock)
    gone = ref(hub)
    holder = [hub]
    del hub
    with pytest.warns(ResourceWarning, match="dropped and never destroyed"):
        holder.clear()
    gc.collect()
    assert gone() is None
    assert "of a hub that is gone" in repr(guard.watch)
    guard.dog.look()
    assert not guard.dog.has(guard.watch)
    loop.destroy()
