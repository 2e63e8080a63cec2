"""Signal watchers: what is told to whom, what wakes a sleeping loop, and what threads, forks and the end do.

Signals are sent to this very process; the fixture `usr2` has put a stranger's handler there for SIGUSR2, and looks that
it is there again in the end.  What becomes of other users' handlers meanwhile is in test_signal_handlers.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
from tests.hub_loop.conftest import in_thread, on_epoll, on_fake, on_real_ones, turn

from hub_api import InvalidThreadUseError
from hub_loop import Loop, _signals
from hub_loop.testing import FakePoller, ManualClock, active_watchers

pytestmark = pytest.mark.usefixtures("no_signal_stays_watched")

# -- what is watched ---------------------------------------------------------------------------------------------------


@on_fake
@pytest.mark.parametrize("wrong", ["SIGINT", None, 2.0])
def test_a_signal_is_a_number(loop: Loop, wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"must be the number of a signal.*pass signal\.SIG"):
        loop.signal(wrong)


@on_fake
@pytest.mark.parametrize("wrong", [0, -1, signal.NSIG, 10_000])
def test_a_signal_that_the_system_has_not_is_refused(loop: Loop, wrong: int) -> None:
    with pytest.raises(ValueError, match=f"a signal of this system, got {wrong}"):
        loop.signal(wrong)


@on_fake
@pytest.mark.parametrize("wrong", [signal.SIGKILL, signal.SIGSTOP])
def test_a_signal_that_nobody_can_catch_is_refused(loop: Loop, wrong: int) -> None:
    with pytest.raises(ValueError, match="no process can catch"):
        loop.signal(wrong)


@on_fake
def test_the_watcher_tells_its_signal(loop: Loop) -> None:
    with loop.signal(signal.SIGUSR2, ref=False, priority=1) as watcher:
        assert watcher.signum == signal.SIGUSR2
        assert (watcher.ref, watcher.priority) == (False, 1)
        assert repr(watcher).endswith(f" signum={signal.SIGUSR2!r}>")


def test_a_signal_from_before_the_start_or_the_restart_is_nobodys(loop: Loop, usr2: list[int]) -> None:
    called: list[int] = []
    with loop.signal(signal.SIGUSR2) as watcher:
        signal.raise_signal(signal.SIGUSR2)
        watcher.start(called.append, 1)
        turn(loop)
        signal.raise_signal(signal.SIGUSR2)
        watcher.stop()
        watcher.start(called.append, 2)
        assert not watcher.pending
        turn(loop)
    assert called == []
    assert usr2 == [signal.SIGUSR2]


# -- waking ------------------------------------------------------------------------------------------------------------


@on_real_ones
def test_a_signal_to_the_process_ends_the_poll_at_once(
    loop: Loop, usr2: list[int], from_thread: Callable[[Callable[[], None]], None]
) -> None:
    called: list[str] = []
    with loop.signal(signal.SIGUSR2) as watcher:
        watcher.start(called.append, "signal")
        from_thread(lambda: os.kill(os.getpid(), signal.SIGUSR2))
        while not called:  # a poll that is not ended lasts an hour
            loop.run(once=True)
    assert called == ["signal"]


@on_real_ones
def test_a_signal_that_the_kernel_gives_to_another_thread_ends_the_poll_too(
    loop: Loop, usr2: list[int], from_thread: Callable[[Callable[[], None]], None]
) -> None:
    # The main thread's poll is not interrupted: only the C handler, in that thread, can end it.
    called: list[str] = []
    with loop.signal(signal.SIGUSR2) as watcher:
        watcher.start(called.append, "signal")
        for _ in range(20):
            del called[:]
            from_thread(lambda: signal.pthread_kill(threading.get_ident(), signal.SIGUSR2))
            while not called:
                loop.run(once=True)
    assert called == ["signal"]


@on_real_ones
def test_a_watcher_without_ref_is_told_while_something_else_keeps_the_loop_running(
    loop: Loop, usr2: list[int], from_thread: Callable[[Callable[[], None]], None]
) -> None:
    with loop.signal(signal.SIGUSR2, ref=False) as watcher, loop.async_() as other:
        other.start(print)
        watcher.start(other.stop)
        from_thread(lambda: os.kill(os.getpid(), signal.SIGUSR2))
        assert loop.run() is False  # ended by the callback
        assert watcher.active


@on_fake
def test_a_signal_inside_a_poll_ends_it_before_any_time_passes(loop: Loop, clock: ManualClock, usr2: list[int]) -> None:
    assert isinstance(loop._poller, FakePoller)
    begin = clock()
    with loop.signal(signal.SIGUSR2) as watcher:
        watcher.start(watcher.stop)
        loop._poller.when_blocking(lambda: signal.raise_signal(signal.SIGUSR2))
        loop.run()
        assert clock() == begin


@on_epoll
def test_the_pipe_of_the_c_handler_does_not_fill_up(loop: Loop, usr2: list[int]) -> None:
    called: list[int] = []
    with loop.signal(signal.SIGUSR2) as watcher:
        watcher.start(called.append, 1)
        for _ in range(10_000):
            signal.raise_signal(signal.SIGUSR2)
        turn(loop)
        assert loop._door is not None
        reader = loop._door._reader
        assert select.select([reader], [], [], 0) == ([], [], [])
    assert called == [1]


# -- threads -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("main_watches", [False, True])
def test_a_loop_of_another_thread_says_that_the_main_thread_must_watch(usr2: list[int], main_watches: bool) -> None:
    mine = Loop()
    if main_watches:
        mine.signal(signal.SIGUSR2).start(print)
    before = signal.getsignal(signal.SIGUSR2)

    def watch() -> None:
        loop = Loop()
        watcher = loop.signal(signal.SIGUSR2)
        try:
            watcher.start(print)
        finally:
            assert not watcher.active
            assert active_watchers(loop) == []
            assert loop.activecnt == 0
            loop.destroy()

    error = in_thread(watch)
    assert isinstance(error, ValueError)
    assert "in the main thread only" in str(error)
    assert "watch the signal in the main thread's loop, and post from there by run_callback_threadsafe" in str(error)
    assert signal.getsignal(signal.SIGUSR2) is before
    mine.destroy()


def test_another_thread_cannot_destroy_the_loop_and_its_signals_are_still_told(usr2: list[int]) -> None:
    called: list[str] = []
    loop = Loop()
    loop.signal(signal.SIGUSR2).start(called.append, "called")
    assert isinstance(in_thread(loop.destroy), InvalidThreadUseError)
    signal.raise_signal(signal.SIGUSR2)
    turn(loop)
    assert called == ["called"]
    loop.destroy()


def test_a_loop_that_another_thread_destroys_leaves_a_bridge_that_steps_aside(usr2: list[int]) -> None:
    stranger = signal.getsignal(signal.SIGUSR2)
    loop = Loop()
    loop.signal(signal.SIGUSR2).start(print, "never")
    # As is the main thread when the interpreter waits for the others to end.
    loop._owner = ended = threading.Thread()
    assert not ended.is_alive()
    assert in_thread(loop.destroy) is None
    assert signal.getsignal(signal.SIGUSR2) is not stranger  # that thread cannot put it back
    signal.raise_signal(signal.SIGUSR2)
    assert signal.getsignal(signal.SIGUSR2) is stranger
    assert usr2 == [signal.SIGUSR2]  # and the signal is not swallowed
    other = Loop()
    with other.signal(signal.SIGUSR2) as watcher:  # the door was still open
        watcher.start(print)
    other.destroy()


# -- Ctrl-C ------------------------------------------------------------------------------------------------------------


@on_real_ones
def test_a_watched_ctrl_c_is_a_callback_and_an_unwatched_one_an_exception(
    loop: Loop, from_thread: Callable[[Callable[[], None]], None]
) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    called: list[str] = []
    try:
        with loop.signal(signal.SIGINT, ref=False) as watcher:
            watcher.start(called.append, "first Ctrl-C: shut down in good order")
            loop.ref()
            from_thread(lambda: os.kill(os.getpid(), signal.SIGINT))
            while not called:
                loop.run(once=True)
            watcher.stop()  # from now on a second one is the user's last word
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
            loop.unref()
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(called) == 1


@on_fake
def test_an_interrupt_in_the_middle_of_telling_is_raised_and_everybody_is_told(loop: Loop, usr2: list[int]) -> None:
    called: list[str] = []
    with loop.signal(signal.SIGUSR2) as one, loop.signal(signal.SIGUSR2) as two:
        one.start(called.append, "one")
        two.start(called.append, "two")
        wakeup = loop._wakeup

        class Inbox(list[Any]):
            def append(self, entry: Any) -> None:
                super().append(entry)
                loop._wakeup = wakeup
                wakeup.inbox.extend(self)
                raise KeyboardInterrupt  # between the append and what follows it

        class Interrupted:
            inbox = Inbox()

        interrupted: Any = Interrupted()
        loop._wakeup = interrupted
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGUSR2)
        turn(loop)
        turn(loop)
    assert called == ["one", "two"]


# -- fork, and the end -------------------------------------------------------------------------------------------------


@on_epoll
def test_in_a_forked_child_the_watcher_goes_on_and_the_parent_hears_nothing_of_it(
    loop: Loop,
    usr2: list[int],
    make_child: Callable[..., int],
    from_thread: Callable[[Callable[[], None]], None],
) -> None:
    called: list[str] = []
    watcher = loop.signal(signal.SIGUSR2)
    watcher.start(called.append, "signal")

    def child() -> None:
        loop.reinit()
        watcher._forked()
        sender = threading.Thread(
            target=lambda: signal.pthread_kill(threading.get_ident(), signal.SIGUSR2)  # only the pipe tells
        )
        loop.run_callback(sender.start)
        while not called:
            loop.run(once=True)
        sender.join()
        watcher.close()
        loop.destroy()  # until then it listens while it sleeps
        ok = called == ["signal"] and signal.set_wakeup_fd(-1) == -1 and _signals._door is None
        os._exit(0 if ok else 1)

    assert os.waitpid(make_child(child), 0)[1] == 0
    assert loop._door is not None
    assert select.select([loop._door._reader], [], [], 0) == ([], [], [])
    turn(loop)
    assert called == []
    from_thread(lambda: signal.pthread_kill(threading.get_ident(), signal.SIGUSR2))
    while not called:  # the parent's pipe is still in the parent's poller
        loop.run(once=True)
    watcher.close()


def test_each_loop_of_a_forked_child_gets_the_childs_own_pipe(usr2: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    # Played within this process: what a child sees of its parent is that the number of the process is another.
    loops = [Loop(), Loop("poll")]
    watchers = [loop.signal(signal.SIGUSR2) for loop in loops]
    for watcher in watchers:
        watcher.start(print)
    parents = loops[0]._door
    monkeypatch.setattr(_signals, "getpid", lambda: os.getpid() + 1)
    watchers[0]._forked()
    childs = loops[0]._door
    assert parents is not None
    assert childs not in (None, parents)
    assert loops[1]._door is parents  # until it is this loop's turn
    watchers[1]._forked()
    assert {loop._door for loop in loops} == {childs}
    assert not parents.readers
    assert childs is not None
    assert signal.set_wakeup_fd(childs._writer) == childs._writer
    for loop in loops:
        loop.destroy()


def test_destroy_puts_handlers_back(loop: Loop, usr2: list[int]) -> None:
    watchers = [loop.signal(signal.SIGUSR2) for _ in range(3)]
    for watcher in watchers:
        watcher.start(print)
    loop.destroy()
    assert [watcher for watcher in watchers if watcher.active] == []
    signal.raise_signal(signal.SIGUSR2)
    assert usr2 == [signal.SIGUSR2]


def test_a_signal_may_destroy_the_loop(loop: Loop, usr2: list[int]) -> None:
    watcher = loop.signal(signal.SIGUSR2)
    watcher.start(loop.destroy)
    signal.raise_signal(signal.SIGUSR2)
    assert loop.run() is False
    assert "destroyed" in repr(loop)


def test_the_interpreter_ends_quietly_with_active_watchers() -> None:
    code = """
import os, signal
from hub_loop import Loop
loop = Loop()
pid = os.posix_spawn("/bin/sleep", ["sleep", "60"], {})
loop.signal(signal.SIGUSR1).start(print, "never")
loop.signal(signal.SIGINT).start(print, "never")
loop.child(pid).start(print, "never")
loop.child(pid, trace=True).start(print, "never")
loop.run(nowait=True)
os.kill(pid, signal.SIGKILL)
print("end")
"""
    ran = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", code], capture_output=True, text=True, timeout=30
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "end\n", "")


def test_nothing_of_it_is_imported_before_it_is_used() -> None:
    code = """
import sys
before = set(sys.modules)
import hub_loop
loop = hub_loop.Loop(default=False)  # a default one listens to signals while it sleeps
loop.timer(0).start(print)
loop.run()
unwanted = {"signal", "subprocess", "struct", "hub_loop._signals", "hub_loop._children"}
print(sorted(unwanted & (set(sys.modules) - before)))
loop.signal(10)
print("hub_loop._signals" in sys.modules)
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert ran.stdout.split("\n")[1:] == ["[]", "True", ""]
