"""Signal watchers beside other users of `signal`: whose handler is installed when, and whose wake-up fd.

The fixture `usr2` has put a stranger's handler there for SIGUSR2, and looks that it is there again in the end.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import gc
import operator
import os
import select
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from tests.hub_loop.conftest import on_epoll, on_fake, on_real_ones, rest, turn

from hub_loop import Loop, _signals
from hub_loop.testing import active_watchers

pytestmark = pytest.mark.usefixtures("no_signal_stays_watched")


# -- whose handler it is -----------------------------------------------------------------------------------------------


@on_fake
@pytest.mark.parametrize("before", [signal.SIG_DFL, signal.SIG_IGN])
def test_the_last_stop_puts_the_previous_handler_back_and_no_stop_before_it(loop: Loop, before: Any) -> None:
    really = signal.signal(signal.SIGUSR2, before)
    try:
        with loop.signal(signal.SIGUSR2) as one, loop.signal(signal.SIGUSR2) as two:
            assert signal.getsignal(signal.SIGUSR2) is before  # an idle watcher takes nothing
            one.start(print)
            two.start(print)
            one.stop()
            assert signal.getsignal(signal.SIGUSR2) is not before
            one.start(print)
            two.stop()
            assert signal.getsignal(signal.SIGUSR2) is not before
            one.stop()
            assert signal.getsignal(signal.SIGUSR2) is before
            one.start(print)
        assert signal.getsignal(signal.SIGUSR2) is before
    finally:
        signal.signal(signal.SIGUSR2, really)


@on_fake
def test_the_previous_handler_is_not_called_while_we_watch_and_is_called_again_after(
    loop: Loop, usr2: list[int]
) -> None:
    with loop.signal(signal.SIGUSR2) as watcher:
        watcher.start(print)
        signal.raise_signal(signal.SIGUSR2)
        assert usr2 == []
    signal.raise_signal(signal.SIGUSR2)
    assert usr2 == [signal.SIGUSR2]


@on_fake
def test_a_handler_that_was_set_after_ours_stays(loop: Loop, usr2: list[int]) -> None:
    called: list[str] = []

    def mine(signum: int, frame: object) -> None:
        called.append("mine")

    stranger = signal.getsignal(signal.SIGUSR2)
    with loop.signal(signal.SIGUSR2) as watcher:
        watcher.start(called.append, "watcher")
        signal.signal(signal.SIGUSR2, mine)
        signal.raise_signal(signal.SIGUSR2)
        turn(loop)
        watcher.stop()
        assert signal.getsignal(signal.SIGUSR2) is mine
        assert called == ["mine"]
        watcher.start(called.append, "watcher")  # who starts last is heard; and gives back what was there
        signal.raise_signal(signal.SIGUSR2)
        turn(loop)
        assert called == ["mine", "watcher"]
        watcher.stop()
        assert signal.getsignal(signal.SIGUSR2) is mine
    signal.signal(signal.SIGUSR2, stranger)


@on_fake
def test_a_second_watcher_brings_the_bridge_back_that_a_stranger_has_replaced(loop: Loop, usr2: list[int]) -> None:
    called: list[str] = []

    def mine(signum: int, frame: object) -> None:
        called.append("mine")

    stranger = signal.getsignal(signal.SIGUSR2)
    with loop.signal(signal.SIGUSR2) as one, loop.signal(signal.SIGUSR2) as two:
        one.start(called.append, "one")
        signal.signal(signal.SIGUSR2, mine)
        two.start(called.append, "two")
        signal.raise_signal(signal.SIGUSR2)
        turn(loop)
    assert called == ["one", "two"]
    assert signal.getsignal(signal.SIGUSR2) is mine
    signal.signal(signal.SIGUSR2, stranger)


@on_fake
def test_a_handler_that_replaced_ours_may_call_it_as_long_as_it_likes(loop: Loop, usr2: list[int]) -> None:
    called: list[str] = []
    stranger = signal.getsignal(signal.SIGUSR2)
    with loop.signal(signal.SIGUSR2) as watcher:
        watcher.start(called.append, "watcher")
        ours = signal.getsignal(signal.SIGUSR2)
        assert callable(ours)

        def mine(signum: int, frame: Any) -> None:
            called.append("mine")
            ours(signum, frame)

        signal.signal(signal.SIGUSR2, mine)
        signal.raise_signal(signal.SIGUSR2)
        turn(loop)
        assert called == ["mine", "watcher"]
        watcher.stop()
        signal.raise_signal(signal.SIGUSR2)
        assert called == ["mine", "watcher", "mine"]
        assert usr2 == [signal.SIGUSR2]
        signal.signal(signal.SIGUSR2, ours)  # put back when nobody watches any more: it steps aside
        signal.raise_signal(signal.SIGUSR2)
        assert usr2 == [signal.SIGUSR2] * 2
        assert signal.getsignal(signal.SIGUSR2) is stranger


class Chained:
    """A handler that calls the one that it has replaced, as polite ones do."""

    def __init__(self, called: list[str], name: str) -> None:
        self._called = called
        self._name = name
        self.replaced: Any = signal.signal(signal.SIGUSR2, self)

    def __call__(self, signum: int, frame: object) -> None:
        self._called.append(self._name)
        self.replaced(signum, frame)


@on_fake
def test_handlers_that_call_ours_are_put_back_and_lead_to_the_one_before_all_of_them(
    loop: Loop, usr2: list[int]
) -> None:
    called: list[str] = []
    stranger = signal.getsignal(signal.SIGUSR2)
    with loop.signal(signal.SIGUSR2) as one, loop.signal(signal.SIGUSR2) as two, loop.signal(signal.SIGUSR2) as three:
        one.start(called.append, "one")
        Chained(called, "inner")
        two.start(called.append, "two")
        outer = Chained(called, "outer")
        signal.raise_signal(signal.SIGUSR2)
        turn(loop)
        assert called == ["outer", "one", "two"]  # a bridge tells all watchers, be it an old one
        three.start(called.append, "three")
        signal.raise_signal(signal.SIGUSR2)
        turn(loop)
        assert called[3:] == ["one", "two", "three"]
    assert signal.getsignal(signal.SIGUSR2) is outer
    del called[:]
    signal.raise_signal(signal.SIGUSR2)
    assert called == ["outer", "inner"]
    assert usr2 == [signal.SIGUSR2]
    signal.signal(signal.SIGUSR2, stranger)


@on_fake
def test_a_handler_that_puts_ours_back_leaves_it_to_those_who_have_started_meanwhile(
    loop: Loop, usr2: list[int]
) -> None:
    called: list[str] = []
    stranger = signal.getsignal(signal.SIGUSR2)
    with loop.signal(signal.SIGUSR2) as one, loop.signal(signal.SIGUSR2) as two:
        one.start(called.append, "one")
        passing = Chained(called, "passing")
        two.start(called.append, "two")
        signal.signal(signal.SIGUSR2, passing.replaced)
        signal.raise_signal(signal.SIGUSR2)
        turn(loop)
    assert called == ["one", "two"]
    assert signal.getsignal(signal.SIGUSR2) is stranger  # and not the one that has gone


def test_a_handler_that_c_code_has_set_is_not_taken(usr2: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    loop = Loop()
    with loop.signal(signal.SIGUSR2) as watcher:
        monkeypatch.setattr(_signals, "getsignal", lambda signum: None)  # as `signal.getsignal` tells it
        with pytest.raises(ValueError, match="was not set by Python code, and so could not be put back"):
            watcher.start(print)
        monkeypatch.undo()
        assert not watcher.active
    assert active_watchers(loop) == []
    loop.destroy()


def test_several_loops_of_the_main_thread_watch_one_signal(usr2: list[int]) -> None:
    called: list[str] = []
    one, two = Loop(), Loop("poll")
    one.signal(signal.SIGUSR2).start(called.append, "one")
    two.signal(signal.SIGUSR2).start(called.append, "two")
    signal.raise_signal(signal.SIGUSR2)
    turn(two)
    assert called == ["two"]
    turn(one)
    assert called == ["two", "one"]
    one.destroy()
    signal.raise_signal(signal.SIGUSR2)
    turn(two)
    assert called == ["two", "one", "two"]
    assert usr2 == []
    two.destroy()
    signal.raise_signal(signal.SIGUSR2)
    assert usr2 == [signal.SIGUSR2]


@on_real_ones
def test_of_several_loops_the_one_that_sleeps_is_woken(
    loop: Loop, usr2: list[int], from_thread: Callable[[Callable[[], None]], None]
) -> None:
    other = Loop()
    with loop.signal(signal.SIGUSR2) as watcher:
        watcher.start(watcher.stop)
        other.signal(signal.SIGUSR2).start(print)
        from_thread(lambda: signal.pthread_kill(threading.get_ident(), signal.SIGUSR2))
        loop.run()
    other.destroy()


# -- the wake-up fd ----------------------------------------------------------------------------------------------------


@on_real_ones
def test_the_wake_up_fd_of_a_stranger_stays_and_signals_to_the_main_thread_are_still_noticed_at_once(
    loop: Loop, usr2: list[int], from_thread: Callable[[Callable[[], None]], None]
) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    main = threading.get_ident()
    signal.set_wakeup_fd(writer)
    called: list[int] = []
    with loop.signal(signal.SIGUSR2) as watcher:
        watcher.start(called.append, 1)

        def send() -> None:
            # Again and again: a signal between the last look of the interpreter and the system call is not seen.
            while not called:
                signal.pthread_kill(main, signal.SIGUSR2)
                time.sleep(0.001)

        from_thread(send)
        while not called:
            loop.run(once=True)
        assert loop._door is None
    assert signal.set_wakeup_fd(-1) == writer
    assert os.read(reader, 1) == bytes([signal.SIGUSR2])
    os.close(reader)
    os.close(writer)


@on_epoll
def test_a_wake_up_fd_that_was_set_after_ours_stays(loop: Loop, usr2: list[int]) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with loop.signal(signal.SIGUSR2) as watcher:
        watcher.start(print)
        signal.set_wakeup_fd(writer)
    assert signal.set_wakeup_fd(-1) == writer
    os.close(reader)
    os.close(writer)


@on_epoll
def test_a_wake_up_fd_that_was_closed_is_nobodys(loop: Loop, usr2: list[int]) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    number = os.dup2(writer, 200)
    signal.set_wakeup_fd(number)
    os.close(reader)
    os.close(writer)
    os.close(number)
    with loop.signal(signal.SIGUSR2) as watcher:
        watcher.start(print)
        assert loop._door is not None


# -- a signal that nobody watches ends a sleep, too --------------------------------------------------------------------


@on_epoll
def test_a_signal_that_nobody_watches_is_not_slept_over(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(signum: int, frame: object) -> None:
        raise KeyboardInterrupt

    strike = functools.partial(ctypes.CDLL(None).kill, os.getpid(), int(signal.SIGUSR2))
    to_come = 0

    def poll_late(timeout: float, most: int) -> Any:
        """A signal comes when the interpreter has looked for the last time, just before the system call."""
        nonlocal to_come
        calls = [functools.partial(poll, timeout, most)]
        if timeout and to_come:
            to_come -= 1
            calls.insert(0, strike)
        return list(map(operator.call, calls))[-1]  # all in C: the handler's turn comes when both are done

    poller: Any = loop._poller
    poll = poller._wait
    monkeypatch.setattr(poller, "_wait", poll_late)
    before = signal.signal(signal.SIGUSR2, interrupt)
    slept: list[str] = []
    try:
        with loop.timer(20) as timer:
            timer.start(slept.append, "over it")
            for to_come in (1, 1):  # the second time with what came first read
                with pytest.raises(KeyboardInterrupt):
                    loop.run(once=True)
                assert to_come == 0
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert slept == []


@on_real_ones
def test_a_default_loop_listens_from_its_first_sleep_until_its_end(loop: Loop, usr2: list[int]) -> None:
    loop.run(nowait=True)
    assert loop._door is None
    rest(loop)
    door = loop._door
    assert door is not None
    assert signal.set_wakeup_fd(door._writer) == door._writer
    with loop.signal(signal.SIGUSR2) as watcher:
        watcher.start(print)
    assert loop._door is door
    reader = door._reader
    loop.destroy()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(reader)


def test_other_loops_listen_only_while_they_watch_signals(usr2: list[int]) -> None:
    loop = Loop(default=False)
    rest(loop)
    assert loop._door is None
    with loop.signal(signal.SIGUSR2) as watcher:
        watcher.start(print)
        rest(loop)
        assert loop._door is not None
    assert (loop._door, _signals._door) == (None, None)
    loop.destroy()


def test_a_default_loop_of_another_thread_cannot_listen() -> None:
    doors: list[object] = []

    def sleep() -> None:
        loop = Loop()
        rest(loop)
        doors.append(loop._door)
        loop.destroy()

    thread = threading.Thread(target=sleep)
    thread.start()
    thread.join(30)
    assert doors == [None]


def test_a_default_loop_that_is_dropped_gives_the_pipe_back() -> None:
    loop = Loop()
    rest(loop)
    assert loop._door is not None
    reader = loop._door._reader
    del loop
    gc.collect()
    assert _signals._door is None
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(reader)


@pytest.mark.parametrize("loop", ["epoll"], indirect=True)
@pytest.mark.parametrize("number", [errno.EMFILE, errno.EIO])
def test_for_want_of_fds_a_loop_sleeps_without_listening_and_tries_again(
    loop: Loop, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> tuple[int, int]:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(_signals, "pipe", refuse)
        if number == errno.EMFILE:
            rest(loop)
        else:
            with pytest.raises(OSError, match=os.strerror(number)):
                rest(loop)
    assert loop._door is None
    rest(loop)
    assert loop._door is not None


@on_epoll
def test_a_forked_child_keeps_its_signals_from_its_parents_pipe(
    loop: Loop, usr2: list[int], make_child: Callable[..., int]
) -> None:
    rest(loop)
    parents = loop._door
    assert parents is not None

    def child() -> None:
        ok = signal.set_wakeup_fd(-1) == -1  # before the child has done anything with the loop
        signal.raise_signal(signal.SIGUSR2)
        rest(loop)
        mine = loop._door
        ok = ok and mine not in (None, parents) and signal.set_wakeup_fd(-1) == mine._writer
        os._exit(0 if ok and usr2 == [signal.SIGUSR2] else 1)

    assert os.waitpid(make_child(child), 0)[1] == 0
    assert select.select([parents._reader], [], [], 0) == ([], [], [])
    assert signal.set_wakeup_fd(parents._writer) == parents._writer
