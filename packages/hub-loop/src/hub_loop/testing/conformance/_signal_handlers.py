"""Python's own signal handlers: what they do to a sleeping loop is noticed at once, and what they raise gets out.

The subject is not the signal watcher.  A handler set with `signal.signal` runs in the main thread, between two
bytecodes or inside the poll; PEP 475 has the poll go on afterwards, so a loop must wake itself.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial

import pytest

from hub_api import WRITE, ILoopCore
from hub_loop.testing.conformance._kit import TICK, LoopKit, Wire

Interrupting = Callable[[Callable[[], object]], AbstractContextManager[None]]


@contextmanager
def interrupting(loop: ILoopCore, func: Callable[[], object]) -> Iterator[None]:
    """Call a function once from a signal handler that interrupts the poll of `loop`."""
    done = threading.Event()
    main = threading.get_ident()

    def handler(signum: int, frame: object) -> None:
        if not done.is_set():
            done.set()
            func()

    def send() -> None:
        # Again and again: a signal between the last look of the interpreter and the system call is not seen.
        while not done.is_set():
            if loop.sleeping:
                signal.pthread_kill(main, signal.SIGUSR1)
            done.wait(0.001)

    before = signal.signal(signal.SIGUSR1, handler)
    sender = threading.Thread(target=send)
    sender.start()
    try:
        yield
    finally:
        done.set()
        sender.join()
        signal.signal(signal.SIGUSR1, before)


class SignalHandlers(LoopKit):
    """`run_callback`, `start`, `send` and exceptions, out of a signal handler that interrupts the poll."""

    @pytest.fixture(name="interrupting")
    def _interrupting(self, loop: ILoopCore) -> Interrupting:
        """Within `with interrupting(func)`, call a function once from a signal handler that interrupts the poll."""

        return partial(interrupting, loop)

    def test_a_callback_queued_by_a_signal_handler_ends_the_poll(
        self, loop: ILoopCore, interrupting: Interrupting
    ) -> None:
        ran: list[str] = []
        loop.ref()
        with interrupting(lambda: loop.run_callback(ran.append, "queued")):
            loop.run(once=True)
        loop.unref()
        assert ran == ["queued"]

    def test_a_threadsafe_callback_queued_by_a_signal_handler_ends_the_poll(
        self, loop: ILoopCore, interrupting: Interrupting
    ) -> None:
        ran: list[str] = []
        loop.ref()
        with interrupting(lambda: loop.run_callback_threadsafe(ran.append, "queued")):
            loop.run(once=True)
        loop.unref()
        assert ran == ["queued"]

    def test_a_timer_started_by_a_signal_handler_is_in_time(self, loop: ILoopCore, interrupting: Interrupting) -> None:
        fired: list[str] = []
        timer = loop.timer(TICK)
        loop.ref()
        with interrupting(lambda: timer.start(fired.append, "fired")):
            while not fired:
                loop.run(once=True)
        loop.unref()
        assert fired == ["fired"]

    def test_an_io_watcher_started_by_a_signal_handler_is_called(
        self, loop: ILoopCore, wire: Wire, interrupting: Interrupting
    ) -> None:
        called: list[str] = []
        loop.ref()
        with loop.io(wire.fd, WRITE) as writer, interrupting(lambda: writer.start(called.append, "writable")):
            while not called:
                loop.run(once=True)
        loop.unref()
        assert "writable" in called

    def test_an_idle_watcher_started_by_a_signal_handler_ends_the_poll(
        self, loop: ILoopCore, interrupting: Interrupting
    ) -> None:
        called: list[str] = []
        loop.ref()
        with loop.idle() as idle, interrupting(lambda: idle.start(called.append, "idle")):
            while not called:
                loop.run(once=True)
        loop.unref()
        assert "idle" in called

    def test_an_async_watcher_can_be_sent_to_by_a_signal_handler(
        self, loop: ILoopCore, interrupting: Interrupting
    ) -> None:
        called: list[str] = []
        with loop.async_() as watcher:
            watcher.start(called.append, "sent")
            with interrupting(watcher.send):
                loop.run(once=True)
        assert called == ["sent"]

    def test_after_a_signal_handler_that_does_nothing_to_the_loop_it_sleeps_as_well_as_before(
        self, loop: ILoopCore, interrupting: Interrupting
    ) -> None:
        ran: list[str] = []
        threads: list[threading.Thread] = []
        gone_on = threading.Event()

        def post_later() -> None:
            gone_on.wait(0.02)
            loop.run_callback_threadsafe(ran.append, "posted")

        def start_a_thread() -> None:
            threads.append(threading.Thread(target=post_later))
            threads[0].start()

        loop.ref()
        with interrupting(start_a_thread):
            loop.run(once=True)  # which the signal may end, so that none is slept over
            if not ran:
                loop.run(once=True)  # and this one only the post
        seen = list(ran)
        gone_on.set()
        for thread in threads:
            thread.join()
        loop.unref()
        loop.run()
        assert seen == ["posted"]

    def test_a_keyboard_interrupt_leaves_run_out_of_the_poll(self, loop: ILoopCore, interrupting: Interrupting) -> None:
        loop.ref()
        with interrupting(_interrupt), pytest.raises(KeyboardInterrupt):
            loop.run()
        assert not loop.sleeping
        loop.unref()
        ran: list[str] = []
        loop.run_callback(ran.append, "usable")
        loop.run()
        assert ran == ["usable"]

    def test_with_a_handler_a_keyboard_interrupt_out_of_the_poll_is_reported_for_the_loop_itself(
        self, loop: ILoopCore, interrupting: Interrupting
    ) -> None:
        seen: list[tuple[object, type[BaseException]]] = []

        class Handler:
            def handle_error(
                self, context: object, type: type[BaseException], value: BaseException, tb: object, /
            ) -> None:
                seen.append((context, type))
                loop.break_()

        loop.error_handler = Handler()
        loop.ref()
        with interrupting(_interrupt):
            assert loop.run() is True
        loop.unref()
        assert seen == [(None, KeyboardInterrupt)]

    def test_a_keyboard_interrupt_in_a_callback_leaves_run_and_what_is_behind_it_is_not_lost(
        self, loop: ILoopCore
    ) -> None:
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        ran: list[str] = []
        try:
            loop.run_callback(signal.raise_signal, signal.SIGINT)
            loop.run_callback(ran.append, "next")
            with pytest.raises(KeyboardInterrupt):
                loop.run()
            loop.run()
        finally:
            signal.signal(signal.SIGINT, before)
        assert ran == ["next"]


def _interrupt() -> None:
    raise KeyboardInterrupt
