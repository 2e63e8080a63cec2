"""Ctrl-C at any moment: it surfaces in the main greenlet, and no other greenlet is lost on the way."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING

import pytest

from hub_core import Hub, sleep, spawn_raw

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.hub_core.conftest import Reports

    from hub_loop.testing import FakePoller


@pytest.fixture(autouse=True)
def ctrl_c() -> Iterator[None]:
    """Python's own handler, whatever the test runner has installed."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interrupt_in_the_poll_surfaces_in_main_and_the_sleepers_sleep_on(
    clocked_hub: Hub, poller: FakePoller, reports: Reports
) -> None:
    order: list[str] = []

    def run() -> None:
        sleep(5)
        order.append("slept")

    spawn_raw(run)
    poller.when_blocking(signal.raise_signal, signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        clocked_hub.join()
    assert "KeyboardInterrupt" in reports.take()
    assert clocked_hub.join()
    assert order == ["slept"]


def test_interrupts_at_arbitrary_moments_lose_no_greenlet(hub: Hub, reports: Reports) -> None:
    # A thread interrupts a ring of greenlets again and again, wherever they and the hub happen to be.  Each greenlet
    # goes on after an interrupt of its own; had one been lost between two lines of the hub, it would never finish.
    wanted, interrupts = 3000, 200
    done = [0] * 10
    finished: list[int] = []

    def run(number: int) -> None:
        while True:
            try:
                while done[number] < wanted:
                    done[number] += 1
                    sleep(0)
                finished.append(number)
                return
            except KeyboardInterrupt:
                pass

    caught = 0

    def interrupt() -> None:
        for _ in range(interrupts):
            before = sum(done)
            while sum(done) < before + 100 and len(finished) < len(done):
                pass
            if len(finished) == len(done):
                return
            signal.pthread_kill(hub.thread_ident, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    for number in range(len(done)):
        spawn_raw(run, number)
    thread.start()
    while thread.is_alive() or len(finished) < len(done):
        try:
            hub.join(timeout=0.05)
        except KeyboardInterrupt:
            caught += 1
    thread.join()
    reports.take()
    assert sorted(finished) == list(range(len(done)))
    assert hub.join()
