"""An echo server on hub_loop alone, run as a process by the fault tests: `bare_loop_server.py`, port on the first line.

Every answer takes the long way, through another thread and back by `run_callback_threadsafe`, so that a wake-up that
is lost is an answer that does not come.
"""

from __future__ import annotations

import errno
import queue
import socket
import threading
import time
from collections.abc import Callable

from hub_loop import READ, WRITE, Loop

SHORT = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.ENOSPC}
REST = 0.01

Answer = Callable[[bytes], None]


def insist(loop: Loop, act: Callable[[], object]) -> None:
    """Do it, now or, while the system is short of something, a little later."""
    try:
        act()
    except OSError as error:
        if error.errno not in SHORT:
            raise
        loop.timer(REST).start(insist, loop, act)


class Connection:
    """One client: what it says goes to the thread, what the thread answers goes back."""

    def __init__(self, loop: Loop, client: socket.socket, thread: queue.SimpleQueue[tuple[Answer, bytes]]) -> None:
        client.setblocking(False)
        self._loop, self._client, self._thread = loop, client, thread
        self._reader, self._writer = loop.io(client.fileno(), READ), loop.io(client.fileno(), WRITE)
        self._unsent = b""
        insist(loop, lambda: self._reader.start(self._read))

    def _read(self) -> None:
        try:
            data = self._client.recv(65536)
        except OSError as error:
            if error.errno not in SHORT:  # else the watcher calls again; it never calls when there is nothing
                self._close()
            return
        if data:
            self._thread.put((self.answer, data))
        else:
            self._close()

    def answer(self, data: bytes) -> None:
        """Send, after what waits to be sent already."""
        self._unsent += data
        if self._client.fileno() >= 0 and not self._writer.active:
            self._write()

    def _write(self) -> None:
        try:
            self._unsent = self._unsent[self._client.send(self._unsent) :]
        except OSError as error:
            if error.errno not in SHORT and not isinstance(error, BlockingIOError):
                self._close()
                return
        if not self._unsent:
            self._writer.stop()
        elif not self._writer.active:
            insist(self._loop, lambda: self._writer.start(self._write))

    def _close(self) -> None:
        self._reader.close()
        self._writer.close()
        self._loop.closing_fd(self._client.fileno())
        self._client.close()


class Listener:
    """Accepts; out of file descriptors it looks away for a moment, because a ready fd calls back in every turn."""

    def __init__(self, loop: Loop, thread: queue.SimpleQueue[tuple[Answer, bytes]]) -> None:
        self._loop, self._thread = loop, thread
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self._listener.setblocking(False)
        self._watcher = loop.io(self._listener.fileno(), READ)
        self._open()
        print("{}:{}".format(*self._listener.getsockname()), flush=True)

    def _open(self) -> None:
        insist(self._loop, lambda: self._watcher.start(self._accept))

    def _accept(self) -> None:
        try:
            client, _ = self._listener.accept()
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno in SHORT:
                self._watcher.stop()
                self._loop.timer(REST).start(self._open)
            elif not isinstance(error, ConnectionAbortedError):
                raise
            return
        Connection(self._loop, client, self._thread)


def main() -> None:
    """Serve for ever."""
    loop = Loop()
    jobs: queue.SimpleQueue[tuple[Answer, bytes]] = queue.SimpleQueue()

    def work() -> None:
        while True:
            answer, data = jobs.get()
            while not loop.sleeping:
                time.sleep(0)  # so that each answer has to wake it
            loop.run_callback_threadsafe(answer, data)

    threading.Thread(target=work, daemon=True).start()
    Listener(loop, jobs)
    loop.run()


if __name__ == "__main__":
    main()
