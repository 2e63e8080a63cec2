"""A key-value server that speaks in lines: `python examples/keys.py [PORT [JOURNAL]]`, then `nc 127.0.0.1 PORT`.

docs/tutorial builds it step by step: a greenlet per client, timers, a journal on disk that a thread writes, copies to
other servers, an orderly end, and keys that clients hold, with what is done about clients that wait for each other.
"""

import errno
import os
import signal
import socket
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from inspect import signature
from pathlib import Path
from typing import Any, cast

from greenlet import getcurrent, greenlet

from greenlet_hub import FdWaiter, ThreadPool, Waiter, get_hub, kill, sleep, spawn_raw
from hub_api import ILoop, ITimerWatcher

CHUNK = 65536
LONGEST = 1 << 20


class Connection:
    """A socket that is read line by line, and written whole.  Whoever has to wait for it parks."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.ready = FdWaiter(sock.fileno())
        self._unread = b""

    def read_line(self, timeout: float | None = None) -> str | None:
        """The next line, without its end; None when there is none any more."""
        while b"\n" not in self._unread:
            if len(self._unread) > LONGEST:
                raise ConnectionError(f"a line of more than {LONGEST} bytes")
            self.ready.wait_read(timeout)
            try:
                data = self.sock.recv(CHUNK)
            except BlockingIOError:
                self.ready.clear_read()  # nothing there after all: the next wait parks
                continue
            if len(data) < CHUNK:
                self.ready.clear_read()  # a short read: no more for now
            if not data:
                return None
            self._unread += data
        line, self._unread = self._unread.split(b"\n", 1)
        return line.decode(errors="replace")

    def write_line(self, line: str) -> None:
        data = line.encode() + b"\n"
        while data:
            try:
                data = data[self.sock.send(data) :]
            except BlockingIOError:
                self.ready.clear_write()  # the buffer is full: who talks to somebody slow waits
                self.ready.wait_write()

    def close(self) -> None:
        self.ready.close()  # before the socket: its number may soon be another connection's
        self.sock.close()


class Journal:
    """A file with a line for each change.  One thread writes it, so lines stand in the order of their writes."""

    def __init__(self, path: Path) -> None:
        self._pool = ThreadPool(1, hub=get_hub(), name="journal")
        self._file = self._pool.apply(path.open, ("a+",))

    def read(self) -> list[str]:
        def lines() -> list[str]:
            self._file.seek(0)
            return self._file.read().splitlines()

        return self._pool.apply(lines)

    def write(self, line: str) -> None:
        """Returns when the line is on the disk.  Only the greenlet that asks waits for it."""

        def append() -> None:
            self._file.write(line + "\n")
            self._file.flush()
            os.fsync(self._file.fileno())

        self._pool.apply(append)

    def close(self) -> None:
        self._pool.apply(self._file.close)
        self._pool.kill()


class Hold:
    """A key that one client has for itself; others park until it is free, first come, first served."""

    def __init__(self, key: str, holds: "dict[str, Hold]") -> None:
        self.key = key
        self.owner: greenlet | None = None  # a report follows this name
        self.waiters: deque[Waiter] = deque()
        self.holds = holds
        holds[key] = self

    def acquire(self, patience: float | None) -> None:
        if self.owner is None:
            self.owner = getcurrent()
            return
        waiter = Waiter()
        waiter.reason = self  # a report shows this instead of the waiter
        self.waiters.append(waiter)
        with get_hub().loop.timer(patience or 0.0) as timer:
            if patience is not None:
                timer.start(waiter.throw, TimeoutError(f"{self.key} was not free for {patience} s"))
            try:
                waiter.get()
            except BaseException:
                if waiter in self.waiters:
                    self.waiters.remove(waiter)
                else:
                    self.release()  # it was ours by then
                raise

    def release(self) -> None:
        self.owner = None
        if self.waiters:
            waiter = self.waiters.popleft()
            self.owner = waiter.greenlet
            waiter.switch()
        else:
            del self.holds[self.key]

    def __repr__(self) -> str:
        return f"<Hold of {self.key!r}>"


@dataclass(eq=False)
class Store:
    """What all clients share.  It needs no native lock: between two parks nobody else runs."""

    values: dict[str, str] = field(default_factory=dict)
    idle: float | None = None
    deadlines: dict[str, ITimerWatcher] = field(default_factory=dict)
    journal: Journal | None = None
    clients: set[greenlet] = field(default_factory=set)
    listening: set[greenlet] = field(default_factory=set)
    ending: bool = False
    ended: Waiter = field(default_factory=Waiter)
    holds: dict[str, Hold] = field(default_factory=dict)
    patience: float | None = None


def load(store: Store, journal: Journal) -> None:
    """Make all changes that a journal has, and write into it from now on."""
    for line in journal.read():
        apply(store, line)
    store.journal = journal


def apply(store: Store, change: str) -> None:
    """Change the values as a line says: `set KEY VALUE` or `drop KEY`."""
    verb, key, value = (*change.split(" ", 2), "")[:3]
    if key in store.deadlines:
        store.deadlines.pop(key).close()
    if verb == "set":
        store.values[key] = value
    else:
        store.values.pop(key, None)


def hold_of(store: Store, key: str) -> Hold:
    return store.holds.get(key) or Hold(key, store.holds)


@contextmanager
def held(store: Store, key: str) -> Iterator[None]:
    """Hold a key for a moment, unless this greenlet does already."""
    hold = hold_of(store, key)
    if hold.owner is getcurrent():
        yield
        return
    hold.acquire(store.patience)
    try:
        yield
    finally:
        hold.release()


def change(store: Store, verb: str, key: str, value: str = "") -> None:
    """Make a change, once the key is free and the change is on the disk."""
    with held(store, key):
        if store.journal:
            store.journal.write(f"{verb} {key} {value}")
        apply(store, f"{verb} {key} {value}")


COMMANDS: dict[str, Callable[..., str]] = {}


def command(function: Callable[..., str]) -> Callable[..., str]:
    """Make a function a command: `do_get` answers `get`."""
    COMMANDS[function.__name__.removeprefix("do_")] = function
    return function


@command
def do_set(store: Store, key: str, *words: str) -> str:
    change(store, "set", key, " ".join(words))
    return "ok"


@command
def do_get(store: Store, key: str) -> str:
    return store.values.get(key, "nothing")


@command
def do_expire(store: Store, key: str, seconds: str) -> str:
    if key not in store.values:
        return "nothing"
    timer = get_hub().loop.timer(float(seconds))
    if key in store.deadlines:
        store.deadlines[key].close()
    store.deadlines[key] = timer
    timer.start(spawn_raw, change, store, "drop", key)  # a callback cannot park: it spawns who can
    return "ok"


@command
def do_copy(store: Store, key: str, target: str) -> str:
    host, _, port = target.rpartition(":")
    if key not in store.values:
        return "nothing"
    with closing(connect(host, int(port))) as other:
        other.write_line(f"set {key} {store.values[key]}")
        return other.read_line(timeout=5.0) or "error: the other server hung up"


@command
def do_hold(store: Store, key: str) -> str:
    hold = hold_of(store, key)
    if hold.owner is getcurrent():
        return "error: you hold it already"
    hold.acquire(store.patience)
    return "ok"


@command
def do_free(store: Store, key: str) -> str:
    if key not in store.holds or store.holds[key].owner is not getcurrent():
        return "error: you do not hold it"
    store.holds[key].release()
    return "ok"


def answer(store: Store, line: str) -> str:
    """What a line is answered with.  A mistake of the client's is an answer, too."""
    verb, *words = line.split() or [""]
    if verb not in COMMANDS:
        return f"error: {verb!r} is none of {', '.join(sorted(COMMANDS))}"
    try:
        signature(COMMANDS[verb]).bind(store, *words)
    except TypeError as error:
        return f"error: {verb}: {error}"
    try:
        return COMMANDS[verb](store, *words)
    except (ValueError, OSError) as error:
        return f"error: {error}"


def talk(store: Store, client: Connection) -> None:
    """Answer a client line by line, until it hangs up, has been silent for too long, or the server ends."""
    me = getcurrent()
    while not store.ending:
        store.listening.add(me)
        line = client.read_line(store.idle)
        store.listening.discard(me)
        if line is None:
            break
        client.write_line(answer(store, line))


def serve(store: Store, sock: socket.socket, number: int) -> None:
    """One client, from its first line to its last."""
    me: Any = getcurrent()
    me.name = f"client {number}"  # for reports
    store.clients.add(me)
    try:
        with suppress(ConnectionError, TimeoutError), closing(Connection(sock)) as client:
            talk(store, client)
    finally:
        for hold in [hold for hold in store.holds.values() if hold.owner is me]:
            hold.release()
        store.listening.discard(me)
        store.clients.discard(me)
        if store.ending and not store.clients:
            store.ended.switch()


def accept(store: Store, listener: socket.socket) -> None:
    """Give each client a greenlet of its own."""
    number = 0
    with closing(FdWaiter(listener.fileno())) as ready:
        while True:
            ready.wait_read()
            try:
                sock, _ = listener.accept()
            except BlockingIOError:
                ready.clear_read()  # nobody is waiting any more
            except OSError:
                sleep(0.05)  # no more fds, say: clients wait in the backlog until there are
            else:
                number += 1
                spawn_raw(serve, store, sock, number)


def listen(port: int = 0) -> socket.socket:
    listener = socket.create_server(("127.0.0.1", port), backlog=1024)
    listener.setblocking(False)
    return listener


def connect(host: str, port: int, timeout: float = 5.0) -> Connection:
    """A connection to the first of the host's addresses that takes it."""
    failure: OSError = ConnectionError(f"{host} has no address")
    for family, kind, protocol, _, address in get_hub().resolver.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        sock = socket.socket(family, kind, protocol)
        sock.setblocking(False)
        code = sock.connect_ex(address)
        connection = Connection(sock)  # not before: to the poller, a socket that nobody connects has hung up
        try:
            if code == errno.EINPROGRESS:
                connection.ready.wait_write(timeout)
                code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code == 0:
                return connection
            failure = OSError(code, os.strerror(code))
        except TimeoutError as error:
            failure = error
        except BaseException:
            connection.close()
            raise
        connection.close()
    raise failure


def end(store: Store, acceptor: greenlet, seconds: float) -> None:
    """Take no more clients, let commands under way come to their end, and after some seconds end them, too."""
    kill(acceptor)
    store.ending = True
    for each in list(store.listening):
        kill(each)
    if store.clients:
        with get_hub().loop.timer(seconds) as deadline:
            deadline.start(store.ended.switch)
            store.ended.get()
    for each in list(store.clients):
        kill(each)
    sleep(0)  # they run, and are gone
    for timer in store.deadlines.values():
        timer.close()
    if store.journal:
        store.journal.close()


def main(port: int, path: Path | None) -> None:
    store = Store(idle=60.0, patience=5.0)
    if path:
        load(store, Journal(path))
    with listen(port) as listener, get_hub().report_on_signal("SIGUSR1"):
        print("{}:{}".format(*listener.getsockname()), flush=True)
        acceptor = spawn_raw(accept, store, listener)
        print(f"{wait_for_signal()}: the end", flush=True)
        end(store, acceptor, seconds=3.0)
    print(f"{len(store.values)} keys", flush=True)


def wait_for_signal() -> str:
    stop = Waiter()
    loop = cast(ILoop, get_hub().loop)
    with loop.signal(signal.SIGTERM) as terminated, loop.signal(signal.SIGINT) as interrupted:
        terminated.start(stop.switch, "SIGTERM")
        interrupted.start(stop.switch, "SIGINT")
        return str(stop.get())


if __name__ == "__main__":
    main(int([*sys.argv, "0"][1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
