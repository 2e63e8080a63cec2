"""Lookups: what one costs, alone and in a crowd, per kind of resolver; and `localhost` behind a pool that is full.

"lookups": so many greenlets look distinct names up, one after the other each, by `getaddrinfo` for IPv4; timed from
before the first of them is started until the last one is done.  Unit: us per lookup, of all together.
"localhost behind ten busy workers": the thread resolver is asked for it while ten jobs of the pool, all that it runs at
a time, sleep for a second.  Unit: ms.
Each kind is compared with gevent's own of that kind: `thread` asks the C library in threads, `ares` is c-ares in the
loop, `dnspython` is that package.  gevent's own of the last kind is left out: in gevent 26.9 its `getaddrinfo` fails
for every name, with dnspython 2.2, 2.7, 2.8 and 2.9 ("_DualResolver has no attribute resolve_name").
The server answers from a template, in a process on the other core, and is reached as any other: the process has a
network and an /etc/resolv.conf of its own (namespaces of Linux), so that the C library, which takes servers from
nowhere else and knows no port but 53, asks it too.
Caches do not come into it: every name is asked for once, a first one to warm up not counted.
"""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

from harness import Case, Measure, Row, microseconds, pin

CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWNET = 0x00020000, 0x10000000, 0x40000000
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
BUSY, NAP = 10, 1.0
Spawn = Callable[[Callable[[], None]], object]

# -- a world with one name server -----------------------------------------------------------------------------------


def enter_world() -> None:
    """Give this process a network with nothing but a loopback, and a name server on it."""
    user, group = os.getuid(), os.getgid()
    unshare(CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWNS)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {user} 1")
    Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    turn_loopback_on()
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    files = {"resolv.conf": "nameserver 127.0.0.1\n", "hosts": "127.0.0.1 localhost\n"}
    for name, text in {**files, "nsswitch.conf": "hosts: files dns\n"}.items():
        with tempfile.NamedTemporaryFile("w", suffix=name) as file:  # the mount outlives the name
            file.write(text)
            file.flush()
            os.chmod(file.name, 0o644)
            subprocess.run(["mount", "--bind", file.name, os.path.realpath(f"/etc/{name}")], check=True)
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 53))
    if not os.fork():  # ended with the session of this process, by the runner
        serve(server)
    server.close()


def unshare(flags: int) -> None:
    """Leave namespaces: unshare(2)."""
    if sys.version_info >= (3, 12):
        os.unshare(flags)
        return
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(flags):
        number = ctypes.get_errno()
        raise OSError(number, f"no namespaces can be made here: {os.strerror(number)}")


def turn_loopback_on() -> None:
    """A new network has it, and has it off: netdevice(7)."""
    import fcntl

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("16sH14x", b"lo", 0)
        flags = struct.unpack_from("16sH", fcntl.ioctl(sock, SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(sock, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | IFF_UP))


def serve(sock: socket.socket) -> None:
    """Answer every question of one name with one address, until killed."""
    os.closerange(0, sock.fileno())  # the runner reads from our stdout until the last who has it is gone
    os.closerange(sock.fileno() + 1, os.sysconf("SC_OPEN_MAX"))
    cores = os.environ.get("BENCH_CORES")
    pin(int(cores.split(",")[1]) if cores else None)
    data = {b"\0\1": b"\0\4" + socket.inet_aton("192.0.2.1"), b"\0\x1c": b"\0\x10" + bytes(15) + b"\1"}
    try:
        while True:
            query, client = sock.recvfrom(512)
            end = query.index(0, 12) + 5
            kind = query[end - 4 : end - 2]
            head = query[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + query[12:end]
            sock.sendto(head + b"\xc0\x0c" + kind + b"\0\1\0\0\0\x3c" + data[kind], client)
    finally:
        os._exit(1)


# -- the crowd --------------------------------------------------------------------------------------------------------


def crowd(resolver: Any, spawn: Spawn, wait: Callable[[], object], greenlets: int, each: int) -> float:
    """Have `greenlets` look `each` names up, and `wait` until all are done."""

    def ask(name: str) -> None:
        found = resolver.getaddrinfo(name, 80, socket.AF_INET, socket.SOCK_STREAM)
        assert [entry[4] for entry in found] == [("192.0.2.1", 80)], found

    def body(number: int) -> Callable[[], None]:
        def run() -> None:
            for i in range(each):
                ask(f"n{number}-{i}.bench.test")

        return run

    ask("warm-up.bench.test")
    started = perf_counter()
    for number in range(greenlets):
        spawn(body(number))
    wait()
    return microseconds(perf_counter() - started, greenlets * each)


def ours(kind: str, greenlets: int, each: int) -> float:
    """Our resolver of that kind."""
    enter_world()
    os.environ["HUB_RESOLVER"] = kind
    from greenlet_hub import get_hub, spawn_raw

    hub: Any = get_hub()
    failures: list[Any] = []
    hub.handle_error = lambda context, kind, error, tb: failures.append(error)
    figure = crowd(hub.resolver, spawn_raw, hub.join, greenlets, each)
    if failures:
        raise failures[0]
    return figure


def gevents(kind: str, greenlets: int, each: int) -> float:
    """Gevent's resolver of that kind."""
    enter_world()
    os.environ["GEVENT_RESOLVER"] = kind
    import gevent

    spawned: list[Any] = []
    return crowd(
        gevent.get_hub().resolver,
        lambda body: spawned.append(gevent.spawn(body)),
        lambda: gevent.joinall(spawned, raise_error=True),
        greenlets,
        each,
    )


def our_localhost(seconds: float) -> float:
    """The default resolver, behind the pool's ten workers."""
    import time

    from greenlet_hub import get_hub

    hub = get_hub()
    return behind(hub.threadpool, hub.resolver, lambda: time.sleep(seconds))


def gevent_localhost(seconds: float) -> float:
    """The same of gevent's."""
    import time

    import gevent

    hub = gevent.get_hub()
    return behind(hub.threadpool, hub.resolver, lambda: time.sleep(seconds))


def behind(pool: Any, resolver: Any, job: Callable[[], None]) -> float:
    """How long `localhost` takes while all workers are busy."""
    resolver.getaddrinfo("localhost", 80)  # what starts with the first lookup is not timed
    for _ in range(BUSY):
        pool.spawn(job)
    started = perf_counter()
    resolver.getaddrinfo("localhost", 80)
    return (perf_counter() - started) * 1000


def _lookups(kind: str, greenlets: int, each: int, quick: int) -> Case:
    contenders: dict[str, Measure] = {"ours": ours}
    if kind != "dnspython":
        contenders["gevent"] = gevents
    row = Row(
        f"lookups, {kind}, {greenlets:,} concurrent", "us", goals=dict.fromkeys(contenders.keys() - {"ours"}, 1.0)
    )
    return Case((row,), contenders, {"kind": kind, "greenlets": greenlets, "each": each}, {"each": quick})


CASES = [
    *(
        _lookups(kind, greenlets, each, quick)
        for kind in ("thread", "ares", "dnspython")
        for greenlets, each, quick in ((1, 1_000, 200), (100, 20, 5), (1_000, 2, 1))
    ),
    Case(
        (Row("localhost behind ten busy workers", "ms", goals={"gevent": 1.0}, at_most=5.0),),
        {"ours": our_localhost, "gevent": gevent_localhost},
        {"seconds": NAP},
    ),
]
