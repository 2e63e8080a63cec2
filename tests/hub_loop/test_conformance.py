"""The conformance kit, run on each of our pollers, and on a loop that only passes on what it is asked."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from hub_api import ILoopCore
from hub_loop import Loop, supported
from hub_loop.testing import FakePoller, ManualClock
from hub_loop.testing.conformance import CoreConformance, Counting, LoopConformance, LoopKit, Priorities, Running, Wire
from hub_loop.testing.conformance._kit import Child, in_child


@pytest.mark.skipif("epoll" not in supported(), reason="this system has no epoll")
class TestEpoll(LoopConformance, Counting):
    """On epoll."""

    def make_loop(self) -> Loop:
        return Loop("epoll")


@pytest.mark.skipif("poll" not in supported(), reason="this system has no poll")
class TestPoll(LoopConformance):
    """On poll."""

    def make_loop(self) -> Loop:
        return Loop("poll")


class TestSelect(LoopConformance, Counting):
    """On select."""

    def make_loop(self) -> Loop:
        return Loop("select")


class TestKqueue(LoopConformance):
    """On kqueue, where the system has it; elsewhere on a model of it."""

    @pytest.fixture(autouse=True)
    def some_kqueue(self, kqueue_or_model: None) -> None:
        """Make the back-end find a kqueue."""

    def make_loop(self) -> Loop:
        from hub_loop.pollers.kqueue import KqueuePoller

        return Loop(poller=KqueuePoller())


class TestFake(LoopConformance, Counting):
    """On the scripted poller, which moves a clock instead of sleeping; it asks the system about the loop's own fds."""

    def make_loop(self) -> Loop:
        if self.clock is None:
            self.clock = ManualClock()
        poller = FakePoller(self.clock, wait_for_threads=30.0, real_fds=True)
        self.fake = self.fake or poller
        return Loop(poller=poller, clock=self.clock)


class Wrapped:
    """A loop that passes everything on to one of ours: what somebody else's loop around ours would begin with."""

    def __init__(self) -> None:
        object.__setattr__(self, "inner", Loop())

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self.inner, name, value)


class TestWrapped(LoopConformance):
    """Around ours."""

    def make_loop(self) -> ILoopCore:
        made: Any = Wrapped()
        return made  # type: ignore[no-any-return]  # __getattr__ has no Protocol


class OnePriority(Loop):
    """A loop for which all priorities are one."""

    MINPRI = MAXPRI = 0


class TestOnePriority(Running):
    """A loop may know one priority only."""

    def make_loop(self) -> Loop:
        return OnePriority("select")


def test_a_loop_of_one_priority_is_not_asked_for_an_order() -> None:
    loop = OnePriority("select")
    with pytest.raises(pytest.skip.Exception, match="the loop knows only one priority"):
        Priorities().only_if_ranked(loop)
    loop.destroy()


def test_a_kit_that_does_not_say_how_its_loop_is_made_says_so() -> None:
    with pytest.raises(NotImplementedError, match="LoopKit must say how its loop is made: override make_loop"):
        LoopKit().make_loop()


def test_what_a_loop_lacks_is_skipped() -> None:
    kit, loop = CoreConformance(), Loop("select")
    for name in ("signal", "child", "fork", "stat"):
        with pytest.raises(pytest.skip.Exception, match=f"the loop offers no {name} watchers"):
            kit.offering(loop, name)
    loop.destroy()


@pytest.mark.parametrize("number", [None, "free", "the other end's", "taken"])
def test_a_wire_takes_the_number_that_it_is_told_to(number: str | None) -> None:
    old = Wire()
    wanted = None if number is None else old.fd
    if number in ("free", "the other end's"):
        old.close()
    between = os.open("/dev/null", os.O_RDONLY) if number == "the other end's" else -1
    if between >= 0:
        wanted = os.dup(between)  # the second lowest number that is free: the far end would get it
        os.close(wanted)
        os.close(between)
    wire = Wire(None, wanted)
    assert wanted in (None, wire.fd)
    wire.send(b"hello")
    assert wire.read() == b"hello"
    if number == "taken":
        old._near.detach()
    wire.close()
    old.close()


def test_a_child_that_has_not_been_told_to_end_is_ended_by_leaving_the_block() -> None:
    with Child() as child:
        assert os.waitpid(child.pid, os.WNOHANG) == (0, 0)
    with pytest.raises(ChildProcessError):
        os.waitpid(child.pid, 0)
    with Child() as child:
        child.end(7)
        assert os.waitpid(child.pid, 0) == (child.pid, 7 << 8)
        child.end_by_force()
    with Child() as child:
        child.kill(signal.SIGKILL)
        assert os.waitpid(child.pid, 0)[1] == signal.SIGKILL


def test_what_a_forked_child_returns_or_raises_comes_back() -> None:
    assert in_child(lambda: "said") == "said"

    def fail() -> str:
        raise ZeroDivisionError("on purpose")

    assert in_child(fail) == "raised ZeroDivisionError('on purpose')"
