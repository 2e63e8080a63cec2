"""A thread of one's own hands a value to a greenlet; `hub.threadpool` does the same with threads that it keeps.

The one call that is legal from another thread is `run_callback_threadsafe`.  The loop does not know that a thread is at
work: `ref` tells it that something is still to come, and without it the wait would end in LoopExit.
"""

import threading
import time

from greenlet_hub import Waiter, get_hub, sleep, spawn_raw


def measure(waiter: Waiter) -> None:
    time.sleep(0.02)  # blocks this thread and nobody else
    waiter.hub.loop.run_callback_threadsafe(waiter.switch, time.thread_time())


def tick(ticks: list[float]) -> None:
    while True:
        sleep(0.005)
        ticks.append(time.monotonic())


if __name__ == "__main__":
    loop, ticks = get_hub().loop, list[float]()
    spawn_raw(tick, ticks)
    for number in range(10):
        waiter = Waiter()
        threading.Thread(target=measure, args=(waiter,)).start()
        loop.ref()
        try:
            used = waiter.get()
        finally:
            loop.unref()
        print(f"thread {number}: {used * 1e6:.0f} us of processor time; {len(ticks)} ticks so far")
