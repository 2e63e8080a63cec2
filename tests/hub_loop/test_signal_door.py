"""The pipe that CPython's C handler writes to: whose it is after forks, failures, and while loops come and go."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
from tests.conftest import Kin
from tests.hub_loop.conftest import on_epoll, on_real_ones, rest

from hub_loop import Loop, _io, _signals

pytestmark = pytest.mark.usefixtures("no_signal_stays_watched")


# -- forks -------------------------------------------------------------------------------------------------------------


@on_real_ones
def test_a_forked_child_that_has_not_slept_yet_leaves_its_parents_bytes_where_they_are(loop: Loop, kin: Kin) -> None:
    rest(loop)
    door = loop._door
    assert door is not None
    reader, writer = door._reader, door._writer
    ours, theirs = os.pipe()
    if kin.fork():
        loop.run_callback(lambda: None)
        os.read(ours, 1)  # when the byte of a signal is in the pipe
        loop.run(nowait=True)
        loop.run_callback(lambda: None)
        loop.run(nowait=True)
    else:
        os.write(writer, b"!")
        os.write(theirs, b"!")
    kin.child_ends()
    assert os.read(reader, 2) == b"!"
    os.close(ours)
    os.close(theirs)


@on_real_ones
def test_a_forked_child_that_has_closed_all_it_inherited_keeps_what_it_opened_since(loop: Loop, kin: Kin) -> None:
    rest(loop)
    door = loop._door
    assert door is not None
    highest = door._writer

    def check() -> None:
        keep = kin._ends[1]
        os.closerange(3, keep)
        os.closerange(keep + 1, highest + 64)
        pipes = [os.pipe()]
        while pipes[-1][0] <= highest:
            pipes.append(os.pipe())
        for reader, writer in pipes:
            os.set_blocking(reader, False)
            os.write(writer, b"of the child")
        loop.run_callback(lambda: None)
        loop.run(nowait=True)
        rest(loop)
        loop.destroy()
        assert [os.read(reader, 100) for reader, _ in pipes] == [b"of the child"] * len(pipes)

    kin.run(check)


def test_a_child_of_a_thread_parts_with_the_pipe_of_the_loops_that_it_has_left_behind(kin: Kin) -> None:
    loop = Loop()
    rest(loop)
    door = loop._door
    assert door is not None
    numbers = door._reader, door._writer
    ends: list[bool] = []

    def fork() -> None:
        def check() -> None:
            for number in numbers:
                with pytest.raises(OSError, match="Bad file descriptor"):
                    os.fstat(number)
            assert (loop._door, _signals._door) == (None, None)
            assert signal.set_wakeup_fd(-1) == -1
            mine = Loop()
            rest(mine)
            mine.destroy()

        kin.run(check)
        ends.append(True)

    thread = threading.Thread(target=fork)
    thread.start()
    thread.join(60)
    assert ends
    assert loop._door is door
    loop.destroy()


# -- where it cannot be ------------------------------------------------------------------------------------------------


ELSEWHERE = """
import _thread
def main():
    from hub_loop import Loop, _signals  # who imports `threading` first is taken for the main thread
    loop = Loop()
    for _ in range(2):
        loop.timer(0.001).start(lambda: None)
        loop.run()
    assert loop._door is None and _signals._door is None, loop._door
    loop.destroy()
    import os
    print("slept", len(os.listdir("/proc/self/fd")))
done = _thread.allocate_lock()
done.acquire()
def run():
    try:
        main()
    finally:
        done.release()
_thread.start_new_thread(run, ())
done.acquire()
"""

INSIDE = """
from hub_loop import Loop, _signals
loop = Loop()
loop.timer(0.001).start(lambda: None)
loop.run()
assert loop._door is None and _signals._door is None, loop._door
loop.destroy()
print("slept")
"""

SUBINTERPRETER = f"""
try:
    import _xxsubinterpreters as interpreters
except ImportError:
    import _interpreters as interpreters
inner = interpreters.create("legacy") if hasattr(interpreters, "new_config") else interpreters.create()
failure = interpreters.run_string(inner, {INSIDE!r})
assert not failure, failure
interpreters.destroy(inner)
"""


@pytest.mark.parametrize(
    "program", [ELSEWHERE, SUBINTERPRETER], ids=["a thread taken for the main one", "an interpreter"]
)
def test_where_cpython_takes_no_wake_up_fd_a_default_loop_sleeps_without(program: str) -> None:
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert ran.stdout.startswith("slept"), ran.stderr


def test_where_the_poller_cannot_take_the_pipe_a_default_loop_sleeps_without(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = Loop("select")
    pipe = os.pipe

    def high() -> tuple[int, ...]:
        ends = pipe()
        numbers = tuple(os.dup2(end, 1100 + index) for index, end in enumerate(ends))
        for end in ends:
            os.close(end)
        return numbers

    monkeypatch.setattr(_signals, "pipe", high)
    rest(loop)
    assert (loop._door, _signals._door) == (None, None)
    for number in (1100, 1101):
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(number)
    loop.destroy()


# -- failures and interrupts -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["hold", "open", "add", "InternalFd"])
@pytest.mark.parametrize("late", [False, True])
def test_an_interrupt_before_the_first_sleep_leaves_nothing_that_a_destroyed_loop_would_need(
    step: str, late: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def struck(real: Callable[..., object]) -> Callable[..., object]:
        def call(*args: Any) -> object:
            if late:
                real(*args)
            raise KeyboardInterrupt

        return call

    class StruckFd(_io.InternalFd):
        __slots__ = ()
        __init__ = struck(_io.InternalFd.__init__)

    loop = Loop()
    owner: Any = _signals if step == "InternalFd" else _signals.Door
    with monkeypatch.context() as patch:
        patch.setattr(owner, step, StruckFd if step == "InternalFd" else struck(getattr(owner, step)))
        with pytest.raises(KeyboardInterrupt):
            rest(loop)
    assert (loop._door, _signals._door) == (None, None)
    assert not any(isinstance(each, _io.InternalFd) for each in loop._registrations.values())
    rest(loop)
    assert loop._door is not None
    loop.destroy()


@pytest.mark.parametrize("step", ["_this_process_door", "getpid"])
def test_a_loop_may_be_dropped_while_another_is_about_to_share_its_pipe(
    step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    dropped: list[Loop] = [Loop()]
    rest(dropped[0])
    loop = Loop()
    real: Any = getattr(_signals, step)

    def drop() -> object:
        result: object = real()
        dropped.clear()
        gc.collect()
        return result

    monkeypatch.setattr(_signals, step, drop)
    rest(loop)
    assert loop._door is not None
    assert signal.set_wakeup_fd(loop._door._writer) == loop._door._writer
    loop.destroy()


@on_epoll
def test_a_start_takes_the_wake_up_fd_again_that_a_stranger_has_taken_and_given_back(
    loop: Loop, usr2: list[int]
) -> None:
    rest(loop)
    door = loop._door
    assert door is not None
    signal.set_wakeup_fd(-1)  # as asyncio does with its last signal handler
    with loop.signal(signal.SIGUSR2) as watcher:
        watcher.start(print)
        assert signal.set_wakeup_fd(door._writer) == door._writer
