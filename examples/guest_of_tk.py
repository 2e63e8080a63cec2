"""A loop as a guest in a Tk program: a window that counts, by a timer of the loop.

    python examples/guest_of_tk.py [SECONDS]

Tk does the sleeping.  It watches the guest's fd by `createfilehandler`, where there is such a thing, and else comes
back after a while.
"""

import sys
from collections.abc import Callable
from typing import Any, Protocol

from hub_loop import Loop

TICK = 0.02  # seconds between two turns of a guest whose fd Tk does not watch
TK_READABLE = 2  # tkinter.READABLE


class Window(Protocol):
    """What the guest needs of `tkinter.Tk`."""

    tk: Any

    @property
    def after(self) -> Callable[..., str]: ...
    def after_cancel(self, id: str) -> None: ...
    def quit(self) -> None: ...


class Guest:
    """Turns a loop inside Tk's main loop until nothing is left in it; then that ends, too."""

    def __init__(self, loop: Loop, window: Window) -> None:
        self.loop = loop
        self._window = window
        self._fd = loop.fileno() if hasattr(window.tk, "createfilehandler") else None
        self._timer: str | None = None
        if self._fd is not None:
            window.tk.createfilehandler(self._fd, TK_READABLE, lambda fd, mask: self.turn())
        self._timer = window.after(0, self.turn)

    def turn(self) -> None:
        """One turn that does not block; then sleep until the next."""
        if self._timer is not None:
            self._window.after_cancel(self._timer)
        if self.loop.run(nowait=True):
            seconds = self.loop.poll_elsewhere()
            if self._fd is None:
                seconds = min(seconds, TICK)
            self._timer = self._window.after(int(seconds * 1000) + 1, self.turn)
        else:
            if self._fd is not None:
                self._window.tk.deletefilehandler(self._fd)
            self._window.quit()


def count(loop: Loop, show: Any, seconds: float) -> None:
    """Show a number ten times a second, for so many seconds."""
    number = 0
    timer = loop.timer(0.0, 0.1)

    def tick() -> None:
        nonlocal number
        show(f"{number / 10:.1f} s")
        number += 1
        if number > seconds * 10:
            timer.close()

    timer.start(tick)


def main(seconds: float) -> None:
    import tkinter

    window = tkinter.Tk()
    label = tkinter.Label(window, width=20)
    label.pack()
    loop = Loop(default=False)
    count(loop, lambda text: (label.config(text=text), print(text, flush=True)), seconds)
    Guest(loop, window)
    window.mainloop()
    loop.destroy()
    window.destroy()


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 5.0)
