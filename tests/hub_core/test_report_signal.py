"""Reports on a signal: while the loop polls, while a greenlet spins, and while everything is parked."""

from __future__ import annotations

import io
import os
import signal
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from hub_core import Hub, Waiter, get_hub_if_exists, report_on_signal, set_hub, sleep, spawn_raw
from hub_loop import Loop

if TYPE_CHECKING:
    from tests.hub_core.conftest import Elsewhere, Reports

    from hub_loop.testing import FakePoller


@pytest.fixture(autouse=True)
def untouched_handler() -> Iterator[None]:
    """SIGUSR2 is as it was after each test."""
    before = signal.getsignal(signal.SIGUSR2)
    yield
    assert signal.getsignal(signal.SIGUSR2) is before


def send() -> None:
    """Have the process receive the signal."""
    os.kill(os.getpid(), signal.SIGUSR2)


def test_while_the_loop_polls(clocked_hub: Hub, poller: FakePoller) -> None:
    stream = io.StringIO()
    with clocked_hub.report_on_signal(file=stream):
        poller.when_blocking(signal.raise_signal, signal.SIGUSR2)
        sleep(60)
    assert "1 parked, 0 ready" in stream.getvalue()
    assert "(the main greenlet), parked for" in stream.getvalue()
    assert "sleep(60)" in stream.getvalue()


def test_while_a_real_poll_sleeps_and_another_thread_gets_the_signal(each_hub: Hub) -> None:
    class Stream(io.StringIO):
        def flush(self) -> None:
            waiter.switch()

    waiter = Waiter()
    stream = Stream()
    loop = each_hub.loop
    loop.ref()

    def other() -> None:
        while not loop.sleeping:
            pass
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR2)

    with each_hub.report_on_signal(file=stream):
        thread = threading.Thread(target=other)
        thread.start()
        waiter.get()
        thread.join()
    loop.unref()
    assert "1 parked" in stream.getvalue()


def test_while_a_greenlet_runs_and_runs(hub: Hub) -> None:
    stream = io.StringIO()

    def spin() -> None:
        send()
        while not stream.getvalue():
            pass

    with hub.report_on_signal(signal.SIGUSR2, stream):
        spawn_raw(spin)
        sleep(0)
    assert "'test_while_a_greenlet_runs_and_runs.<locals>.spin', running" in stream.getvalue()
    assert "in test_while_a_greenlet_runs_and_runs.<locals>.spin" in stream.getvalue()


def test_closing_puts_the_old_handler_back(hub: Hub) -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGUSR2, lambda signum, frame: heard.append(signum))
    stream = io.StringIO()
    watcher = hub.report_on_signal(file=stream)
    send()
    assert heard == []
    watcher.close()
    written = stream.getvalue()
    assert written
    send()
    assert heard == [signal.SIGUSR2]
    assert stream.getvalue() == written
    signal.signal(signal.SIGUSR2, before)


def test_by_default_it_is_printed_where_the_hub_prints(hub: Hub, reports: Reports) -> None:
    with hub.report_on_signal():
        send()
    assert reports.take().startswith("Report of <Hub")


def test_a_hub_that_prints_nothing_prints_no_report(hub: Hub) -> None:
    hub.exception_stream = None
    with hub.report_on_signal():
        send()


def test_it_keeps_no_loop_running(hub: Hub) -> None:
    with hub.report_on_signal():
        assert hub.join()


def test_a_broken_stream_is_reported_and_what_was_interrupted_goes_on(hub: Hub, reports: Reports) -> None:
    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError("no space left")

    with hub.report_on_signal(file=Broken()):
        send()
    assert "OSError: no space left" in reports.take()


def test_a_signal_in_the_middle_of_a_write_to_the_stream_has_it_written_later(hub: Hub) -> None:
    class Busy(io.StringIO):
        busy = True

        def write(self, text: str) -> int:
            if self.busy:
                raise RuntimeError("reentrant call inside <_io.BufferedWriter>")
            return super().write(text)

    stream = Busy()
    with hub.report_on_signal(file=stream):
        send()
        stream.busy = False
        assert stream.getvalue() == ""
        sleep(0.001)
    assert "1 parked" not in stream.getvalue(), "it is of the moment of the signal"
    assert "Report of" in stream.getvalue()


def test_after_destroy_the_next_hub_of_the_thread_is_told_of(hub: Hub) -> None:
    stream = io.StringIO()
    loop = hub.loop
    watcher = hub.report_on_signal(file=stream)
    hub.destroy(destroy_loop=False)
    set_hub(None)
    send()
    assert stream.getvalue() == ""
    made = Hub(loop)
    made.name = "the next"
    set_hub(made)
    send()
    assert "'the next'" in stream.getvalue()
    watcher.close()
    made.destroy(destroy_loop=True)
    assert get_hub_if_exists() is None


def test_other_threads_and_unknown_signals_are_refused_at_the_call(hub: Hub, elsewhere: Elsewhere) -> None:
    with pytest.raises(ValueError, match="must name a signal of this system"):
        hub.report_on_signal("SIGNOTHING")
    with pytest.raises(ValueError, match="no process can catch"):
        hub.report_on_signal(signal.SIGKILL)
    with pytest.raises(Exception, match="cannot report on a signal of"):
        elsewhere(hub.report_on_signal)

    def in_a_thread() -> None:
        theirs = Hub(Loop())
        try:
            theirs.report_on_signal()
        finally:
            theirs.destroy(destroy_loop=True)

    with pytest.raises(ValueError, match="CPython calls signal handlers in the main thread only"):
        elsewhere(in_a_thread)


def test_a_loop_without_interrupts_says_what_to_do_instead() -> None:
    loop: Any = object()
    with pytest.raises(NotImplementedError, match=r"print\(hub\.report\(\)\)"):
        report_on_signal(loop)
