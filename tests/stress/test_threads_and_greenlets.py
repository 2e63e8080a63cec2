"""Native threads beside a loop and its greenlets: nobody waits for ever, and nobody is starved."""

from __future__ import annotations

import queue
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from hub_core import Hub, Waiter, set_hub, spawn_raw
from hub_loop import READ, Loop, supported

BACKENDS = [name for name in ("epoll", "poll", "select") if name in supported()]
THREADS = 8
AHEAD = 10_000
"""How many posts of one thread may wait to run: without a bound this is a test of how much memory there is."""


@pytest.fixture
def hub() -> Iterator[Hub]:
    """This thread's hub, on a fresh loop in real time."""
    hub = Hub(Loop(default=False))
    set_hub(hub)
    yield hub
    hub.destroy()
    set_hub(None)


@pytest.mark.parametrize("backend", BACKENDS)
def test_threads_that_post_for_ever_starve_neither_timers_nor_sockets_nor_one_another(backend: str) -> None:
    loop = Loop(backend)
    near, far = socket.socketpair()
    ended = threading.Event()
    posts = [0] * THREADS
    beats, reads = 0, 0

    def count(number: int) -> None:
        posts[number] += 1

    def post(number: int) -> None:
        posted = 0
        while not ended.is_set():
            if posted < posts[number] + AHEAD:
                posted += 1
                loop.run_callback_threadsafe(count, number)
            else:
                time.sleep(0)

    def post_oneself() -> None:
        if not ended.is_set():
            loop.run_callback_threadsafe(post_oneself)

    def beat() -> None:
        nonlocal beats
        beats += 1
        far.send(b"x")

    def read() -> None:
        nonlocal reads
        reads += len(near.recv(100))
        if reads >= 20 and beats >= 20 and min(posts) >= 20:
            loop.break_()  # a starved one would keep us here until the time limit

    threads = [threading.Thread(target=post, args=(number,)) for number in range(THREADS)]
    with loop.timer(0.001, 0.001) as timer, loop.io(near.fileno(), READ) as reader:
        timer.start(beat)
        reader.start(read)
        loop.run_callback(post_oneself)
        for thread in threads:
            thread.start()
        try:
            loop.run()
        finally:
            ended.set()
            for thread in threads:
                thread.join()
    loop.closing_fd(near.fileno())
    loop.run(nowait=True)
    loop.destroy()
    near.close()
    far.close()
    assert min(beats, reads, *posts) >= 20


def test_greenlets_woken_by_eight_threads_miss_no_wake_up_and_mix_up_none(hub: Hub) -> None:
    # Each thread goes on only when its greenlet has answered: one lost wake-up, and this does not end.
    rounds = 5_000
    heard: list[list[int]] = [[] for _ in range(THREADS)]

    def listen(number: int, answers: queue.SimpleQueue[Waiter | None]) -> None:
        waiter = Waiter(hub)
        for _ in range(rounds):
            answers.put(waiter)
            heard[number].append(waiter.get())
        answers.put(None)
        done.append(number)
        if len(done) == THREADS:
            all_done.switch(None)

    def speak(answers: queue.SimpleQueue[Waiter | None]) -> None:
        said = 0
        while (waiter := answers.get()) is not None:
            hub.loop.run_callback_threadsafe(waiter.switch, said)
            said += 1

    done: list[int] = []
    all_done = Waiter(hub)
    threads = []
    for number in range(THREADS):
        answers: queue.SimpleQueue[Waiter | None] = queue.SimpleQueue()
        threads.append(threading.Thread(target=speak, args=(answers,)))
        spawn_raw(listen, number, answers)
    for thread in threads:
        thread.start()
    hub.loop.ref()  # that a thread is going to wake somebody is nothing that the loop could know
    all_done.get()
    hub.loop.unref()
    for thread in threads:
        thread.join()
    assert heard == [list(range(rounds))] * THREADS
