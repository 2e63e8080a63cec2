"""A loop as a guest in an asyncio program: both have timers, neither blocks the other.

    python examples/guest_of_asyncio.py

asyncio does the sleeping.  It polls the guest's fd beside its own, or comes back after a while if there is none.
"""

import asyncio

from hub_loop import Loop

TICK = 0.02  # seconds between two turns of a guest whose poller has no fd


class Guest:
    """Turns a loop inside an asyncio loop until nothing is left in it."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.done = asyncio.Event()
        self._host = asyncio.get_running_loop()
        self._fd = loop.fileno()
        self._timer: asyncio.TimerHandle | None = None
        if self._fd is not None:
            self._host.add_reader(self._fd, self.turn)
        self.turn()

    def turn(self) -> None:
        """One turn that does not block; then sleep until the next."""
        if self._timer is not None:
            self._timer.cancel()
        if self.loop.run(nowait=True):
            seconds = self.loop.poll_elsewhere()
            self._timer = self._host.call_later(seconds if self._fd is not None else min(seconds, TICK), self.turn)
        else:
            if self._fd is not None:
                self._host.remove_reader(self._fd)
            self.done.set()


async def main() -> None:
    loop = Loop(default=False)
    said = iter(range(1, 4))
    timer = loop.timer(0.1, 0.1)

    def speak() -> None:
        number = next(said)
        print(f"the guest: {number}")
        if number == 3:
            timer.close()

    timer.start(speak)
    guest = Guest(loop)
    await asyncio.to_thread(loop.run_callback_threadsafe, print, "the guest: posted by a thread")
    for number in range(1, 4):
        await asyncio.sleep(0.08)
        print(f"the host: {number}")
    await guest.done.wait()
    loop.destroy()


if __name__ == "__main__":
    asyncio.run(main())
