"""The loop under load: nothing is lost, nothing comes twice, nothing grows."""

from __future__ import annotations

import random
import socket
import threading
from collections import Counter

import pytest

from hub_loop import READ, WRITE, Loop, supported

BACKENDS = [name for name in ("epoll", "poll", "select") if name in supported()]


@pytest.mark.parametrize("backend", BACKENDS)
def test_eight_threads_post_a_hundred_thousand_callbacks_each_and_none_is_lost_none_comes_twice(backend: str) -> None:
    threads_count, each = 8, 100_000
    loop = Loop(backend)
    next_expected = [0] * threads_count
    disorder: list[tuple[int, int]] = []
    left = threads_count * each

    def arrived(thread: int, number: int) -> None:
        nonlocal left
        left -= 1
        if next_expected[thread] != number:
            disorder.append((thread, number))
        next_expected[thread] = number + 1
        if not left:
            loop.unref()

    def post(thread: int) -> None:
        for number in range(each):
            loop.run_callback_threadsafe(arrived, thread, number)

    threads = [threading.Thread(target=post, args=(number,)) for number in range(threads_count)]
    loop.ref()  # only the last arrival takes it back: a lost one would be a hang, not a wrong sum
    for thread in threads:
        thread.start()
    loop.run()
    for thread in threads:
        thread.join()
    loop.destroy()
    assert disorder == []
    assert next_expected == [each] * threads_count
    assert left == 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_thread_and_the_loop_that_wait_for_each_other_never_miss_a_wake_up(backend: str) -> None:
    # Each round the loop has gone, or is just going, to sleep when the post comes: the window that the protocol closes.
    rounds = 20_000
    loop = Loop(backend)
    handed = threading.Semaphore(0)
    arrived = 0

    def arrive() -> None:
        nonlocal arrived
        arrived += 1
        handed.release()
        if arrived == rounds:
            loop.unref()

    def post() -> None:
        for _ in range(rounds):
            loop.run_callback_threadsafe(arrive)
            handed.acquire()

    thread = threading.Thread(target=post)
    loop.ref()
    thread.start()
    loop.run()
    thread.join()
    loop.destroy()
    assert arrived == rounds


def test_async_watchers_sent_to_by_many_threads_are_called_after_the_last_send() -> None:
    loop = Loop()
    watchers = [loop.async_() for _ in range(10)]
    sent, seen = Counter[int](), Counter[int]()
    lock = threading.Lock()

    def look(number: int) -> None:
        seen[number] = sent[number]
        if sum(seen.values()) == 8 * 10_000:
            loop.break_()

    def send(seed: int) -> None:
        order = random.Random(seed)
        for _ in range(10_000):
            number = order.randrange(10)
            with lock:
                sent[number] += 1
            watchers[number].send()

    for number, watcher in enumerate(watchers):
        watcher.start(look, number)
    threads = [threading.Thread(target=send, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    loop.run()
    for thread in threads:
        thread.join()
    loop.destroy()
    assert seen == sent


@pytest.mark.parametrize("backend", BACKENDS)
def test_bytes_sent_around_a_ring_of_sockets_all_come_back(backend: str) -> None:
    loop = Loop(backend)
    size, rounds = 100, 50
    pairs = [socket.socketpair() for _ in range(size)]
    hops = 0

    def pass_on(number: int) -> None:
        nonlocal hops
        hops += 1
        data = pairs[number][0].recv(10)
        if hops == size * rounds:
            loop.break_()
        else:
            pairs[(number + 1) % size][1].send(data)

    watchers = [loop.io(near.fileno(), READ) for near, _ in pairs]
    for number, watcher in enumerate(watchers):
        watcher.start(pass_on, number)
    pairs[0][1].send(b"token")
    loop.run()
    loop.destroy()
    for pair in pairs:
        for end in pair:
            end.close()
    assert hops == size * rounds


@pytest.mark.parametrize("backend", BACKENDS)
def test_fds_closed_and_reused_at_random_never_give_a_stale_event(backend: str) -> None:
    order = random.Random(2)
    loop = Loop(backend)
    stale: list[str] = []
    live: dict[int, tuple[socket.socket, socket.socket, list[bytes]]] = {}

    def read(near: socket.socket, got: list[bytes], number: int, events: int = READ) -> None:
        if near.fileno() != number:
            return  # told that it is being closed
        try:
            got.append(near.recv(100))
        except BlockingIOError:
            stale.append(f"fd {number} was not readable")

    for _ in range(5000):
        if len(live) > 20 or (live and order.random() < 0.4):
            number = order.choice(list(live))
            near, far, got = live.pop(number)
            if order.random() < 0.5:
                far.send(b"too late")
            loop.closing_fd(number)
            near.close()
            far.close()
        else:
            near, far = socket.socketpair()
            near.setblocking(False)
            number, got = near.fileno(), []
            live[number] = near, far, got
            if order.random() < 0.5:
                loop.io(number, READ).start(read, near, got, number)
            else:
                owner = loop.register(number, lambda events: None)
                owner.want(READ)
                loop.io(number, READ | WRITE).start(lambda: None)
        if order.random() < 0.7 and live:
            order.choice(list(live.values()))[1].send(b"x")
        if order.random() < 0.3:
            loop.run(nowait=True)
    for number, (near, far, _) in live.items():
        loop.closing_fd(number)
        near.close()
        far.close()
    loop.run(nowait=True)
    assert loop._registrations == {}
    loop.destroy()
    assert stale == []


def test_loops_in_many_threads_do_not_know_of_each_other() -> None:
    ran: list[int] = []

    def live() -> None:
        loop = Loop(default=False)
        for number in range(100):
            loop.timer(0.0).start(ran.append, number)
        loop.run()
        loop.destroy()

    threads = [threading.Thread(target=live) for _ in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ran) == 100 * 100
