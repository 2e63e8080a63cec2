"""The family under load: one thread of greenlets that serve, ask, sleep and are woken, all at the same time.

Receives: how many, for how long.  Gives: counts and times, in a `Report`.

Three loads share one hub.  `Web`: an HTTP server and its clients, keep-alive, over loopback.  `Sleepers`: greenlets
that sleep, each for a time of its own, and look at the clock when they wake.  `Posts`: a native thread that posts
callbacks.  Each load counts what it asked for and what it got, so that nothing can be lost unseen.

Rule 1: sockets are non-blocking and wait by FdWaiter; the kernel is asked once about each.
Rule 2: the end is bounded.  Whoever has no answer by then is counted as lost, and not waited for.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from greenlet import greenlet

from greenlet_hub import FdWaiter, GreenletExit, Hub, Waiter, get_hub, kill, sleep, spawn_raw

BODY = b"Hello from a greenlet!"
REQUEST = b"GET / HTTP/1.1\r\nHost: loopback\r\n\r\n"
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
CHUNK = 65536
BACKLOG = 128  # fewer than the clients, on purpose: a full backlog makes a connection late, and must not lose it
GRACE = 10.0  # seconds after the end for what is under way
POSTS_AT_ONCE = 10
PAUSE = 0.001  # seconds between two bursts of posts


@dataclass
class Report:
    """What happened."""

    seconds: float = 0.0
    clients: int = 0
    latencies: list[float] = field(default_factory=list)
    """Seconds from a request to its whole response, one for each response."""
    failures: list[str] = field(default_factory=list)
    """What went wrong with a client or a connection, one for each."""
    sleepers: int = 0
    lateness: list[float] = field(default_factory=list)
    """Seconds from a deadline to the moment when its greenlet ran, one for each sleep; below 0 is early."""
    overslept: int = 0
    """Greenlets whose deadline had passed long before the end and that had not run."""
    posted: int = 0
    delivered: int = 0
    misdelivered: int = 0
    """Callbacks that came twice or out of order."""
    bytes_per_sleeper: float | None = None
    interrupted: bool = False

    def problems(self) -> list[str]:
        """What must not have happened, in words; empty if all is well."""
        early = sum(late < 0 for late in self.lateness)
        found = [
            (len(self.failures), f"requests or connections failed, the first: {self.failures[:1]}"),
            (not self.latencies, "no request was answered"),
            (early, "timers fired early"),
            (self.overslept, "sleeping greenlets were not woken"),
            (self.posted - self.delivered, "wake-ups were lost"),
            (self.misdelivered, "wake-ups came twice or out of order"),
        ]
        return [f"{int(count):,} {what}" for count, what in found if count]


class Web:
    """An HTTP server on loopback and its clients."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._stopping = False
        self._left: set[greenlet] = set()
        self._all_gone = Waiter()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
        self._listener.setblocking(False)

    def start(self) -> None:
        """Start the server, and all clients at once."""
        self._accepting = spawn_raw(self._accept)
        self._left.update(spawn_raw(self._ask) for _ in range(self._report.clients))

    def stop(self) -> None:
        """Let each client have the answer it waits for, then hang up; for at most GRACE seconds.  Switches: always."""
        self._stopping = True
        timer = get_hub().loop.timer(GRACE)
        with timer:
            timer.start(self._all_gone.switch, None)
            if self._left:
                self._all_gone.get()
        self._report.failures += [f"{client!r} has waited for an answer since" for client in self._left]
        for lost in (*self._left, self._accepting):
            kill(lost)
        sleep(0)

    def _accept(self) -> None:
        ready = FdWaiter(self._listener.fileno())
        try:
            while True:
                ready.wait_read()
                try:
                    connection, _ = self._listener.accept()
                    connection.setblocking(False)
                    spawn_raw(self._serve, connection)
                except BlockingIOError:
                    ready.clear_read()
                except OSError:
                    sleep(0.01)  # out of file descriptors: the connection waits in the backlog until another one ends
        finally:
            ready.close()
            self._listener.close()

    def _serve(self, connection: socket.socket) -> None:
        ready, rest = FdWaiter(connection.fileno()), b""
        try:
            while chunk := receive(connection, ready):
                *requests, rest = (rest + chunk).split(b"\r\n\r\n")
                send(connection, ready, RESPONSE * len(requests))
        except OSError as error:
            self._report.failures.append(f"server: {error!r}")
        finally:
            ready.close()
            connection.close()

    def _ask(self) -> None:
        try:
            with socket.socket() as connection:
                connection.setblocking(False)
                connection.connect_ex(self._listener.getsockname())
                # Not before connect: epoll calls a socket that was never connected hung up.
                ready = FdWaiter(connection.fileno())
                try:
                    self._converse(connection, ready)
                finally:
                    ready.close()
        except OSError as error:
            self._report.failures.append(f"client: {error!r}")
        finally:
            self._left.discard(greenlet.getcurrent())
            if not self._left:
                self._all_gone.switch(None)

    def _converse(self, connection: socket.socket, ready: FdWaiter) -> None:
        ready.wait_write()
        error = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise OSError(error, os.strerror(error))
        while True:
            asked = time.perf_counter()
            send(connection, ready, REQUEST)
            response = b""
            while len(response) < len(RESPONSE):
                chunk = receive(connection, ready)
                if not chunk:
                    raise ConnectionResetError("the server hung up before its answer was complete")
                response += chunk
            self._report.latencies.append(time.perf_counter() - asked)
            if response != RESPONSE:
                raise ConnectionError(f"the answer was {response!r}")
            if self._stopping:
                return


def receive(connection: socket.socket, ready: FdWaiter) -> bytes:
    """What has come, at least a byte; empty at the end of the stream.  Switches: if nothing has come yet."""
    while True:
        ready.wait_read()
        try:
            chunk = connection.recv(CHUNK)
        except BlockingIOError:
            ready.clear_read()
            continue
        if len(chunk) < CHUNK:
            ready.clear_read()
        return chunk


def send(connection: socket.socket, ready: FdWaiter, data: bytes) -> None:
    """Send all of it.  Switches: if the kernel does not take all of it at once."""
    while data:
        try:
            data = data[connection.send(data) :]
        except BlockingIOError:
            ready.clear_write()
            ready.wait_write()


class Sleepers:
    """Greenlets that sleep, again and again."""

    def __init__(self, report: Report, longest: float) -> None:
        self._report = report
        self._longest = longest
        self._deadlines = [0.0] * report.sleepers
        self._sleepers: list[greenlet] = []

    def start(self) -> None:
        """Start them all, and see what they weigh once they sleep.  Switches: always."""
        before = resident_bytes()
        self._sleepers = [spawn_raw(self._sleep, number) for number in range(self._report.sleepers)]
        while not all(self._deadlines):
            sleep(0)
        after = resident_bytes()
        if before is not None and after is not None and self._sleepers:
            self._report.bytes_per_sleeper = (after - before) / len(self._sleepers)

    def stop(self) -> None:
        """Count who should have woken long ago, and end them all.  Switches: always."""
        long_ago = time.monotonic() - 1.0
        self._report.overslept = sum(deadline < long_ago for deadline in self._deadlines)
        for sleeper in self._sleepers:
            kill(sleeper)
        while not all(sleeper.dead for sleeper in self._sleepers):
            sleep(0)

    def _sleep(self, number: int) -> None:
        delay = self._longest * (0.2 + 0.8 * (number * 7919 % 9973) / 9973)  # each its own, none near another
        try:
            while True:
                deadline = self._deadlines[number] = time.monotonic() + delay
                sleep(delay)
                self._report.lateness.append(time.monotonic() - deadline)
        except GreenletExit:
            pass  # the end


class Posts:
    """A native thread that posts callbacks to the loop, each with its number."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._loop = get_hub().loop
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._post, name="posts wake-ups", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Have the thread end, and wait until its last post has come; for at most GRACE seconds.  Switches: always."""
        self._stopping.set()
        give_up = time.monotonic() + GRACE
        while self._thread.is_alive() or self._report.delivered < self._report.posted:
            if time.monotonic() > give_up:
                return
            sleep(PAUSE)

    def _post(self) -> None:
        post, number = self._loop.run_callback_threadsafe, 0
        while not self._stopping.wait(PAUSE):
            for _ in range(POSTS_AT_ONCE):
                post(self._deliver, number)
                number += 1
        self._report.posted = number

    def _deliver(self, number: int) -> None:
        if number != self._report.delivered:
            self._report.misdelivered += 1
        self._report.delivered += 1


def run(
    report: Report, seconds: float, interrupted: Callable[[], bool], progress: Callable[[float, Report], None]
) -> None:
    """Run all loads for `seconds`, or until `interrupted()`; fills the report and shows it to `progress` as it grows.

    Call from: the main greenlet of a thread whose hub nobody else uses.  Switches: always.  Destroys that hub.
    """
    hub: Hub = get_hub()
    try:
        web, sleepers, posts = Web(report), Sleepers(report, longest=seconds / 2), Posts(report)
        sleepers.start()
        started = time.monotonic()
        posts.start()
        web.start()
        while (elapsed := time.monotonic() - started) < seconds and not interrupted():
            progress(elapsed, report)
            sleep(min(0.1, seconds - elapsed))
        report.seconds = time.monotonic() - started
        report.interrupted = interrupted()
        web.stop()
        posts.stop()
        sleepers.stop()
    finally:
        hub.destroy(destroy_loop=True)


def resident_bytes() -> int | None:
    """The memory that this process has now, or None where the system does not tell."""
    try:
        with open("/proc/self/statm") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return None
