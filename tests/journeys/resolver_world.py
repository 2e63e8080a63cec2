"""Asks the C library and our resolvers the same questions in worlds of their own: `resolver_world.py DIR`.

To be run under `unshare --map-root-user --net --mount --uts`: a network with nothing in it but a loopback, and files
that can be laid over those in /etc without anybody else seeing it.  DIR has `worlds.json` (what each world is like, and
the questions); `etc/` is made there, and its files are written anew for each world: the C library notices, as ours do.
The outcomes go to standard output, as JSON: for each world and resolver what was said to each question.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
READY = 10.0  # seconds for the server to come up
FUNCTIONS = ("getaddrinfo", "gethostbyname", "gethostbyname_ex", "gethostbyaddr", "getnameinfo")


def loopback_up() -> None:
    """Turn the loopback on."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("16sH14x", b"lo", 0)
        flags = struct.unpack_from("16sH", fcntl.ioctl(sock, SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(sock, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | IFF_UP))


def add_address(address: str, bits: int) -> None:
    """Give the loopback one more address, in a network of so many bits: RTM_NEWADDR of rtnetlink(7)."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    packed = socket.inet_pton(family, address)
    attributes = b"".join(struct.pack("=HH", 4 + len(packed), kind) + packed for kind in (1, 2))
    body = struct.pack("=BBBBI", family, bits, 0x02, 0, socket.if_nametoindex("lo")) + attributes  # IFA_F_NODAD
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as link:
        link.send(struct.pack("=IHHII", 16 + len(body), 20, 0x605, 1, 0) + body)
        code = struct.unpack_from("=i", link.recv(4096), 16)[0]
        if code:
            raise OSError(-code, f"cannot give the loopback {address}: {os.strerror(-code)}")


def lay_over(etc: Path, names: list[str]) -> None:
    """Have the files of `etc` seen in /etc."""
    etc.mkdir()
    for name in names:
        target = Path("/etc", name)
        if not target.exists():
            raise FileNotFoundError(f"{target} is not there, so nothing can be laid over it")
        (etc / name).touch()
        subprocess.run(["mount", "--bind", str(etc / name), str(target.resolve())], check=True)


def start_server(world: dict[str, Any], where: Path, stack: ExitStack) -> None:
    """Start the world's server, and wait until it answers."""
    if world["knot"]:
        knot = where / "knot"
        knot.mkdir()
        for name, text in world["knot"].items():
            (knot / name).write_text(text.replace("{where}", str(knot)))
        process = subprocess.Popen(
            ["knotd", "-c", str(knot / "knot.conf")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        stack.callback(process.wait)
        stack.callback(process.kill)
        until = time.monotonic() + READY
        while not listens():
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"knotd does not come up: {process.poll()}")
            time.sleep(0.01)
    elif world["server"]:
        ready, tells = os.pipe()
        pid = os.fork()  # a process of its own: one that shares the interpreter with all who ask would be slow
        if not pid:
            serve(world["server"], tells)
        stack.callback(os.waitpid, pid, 0)
        stack.callback(os.kill, pid, signal.SIGKILL)
        os.close(tells)
        if os.read(ready, 1) != b"!":
            raise RuntimeError("the name server does not come up")
        os.close(ready)


def serve(records: dict[str, str], tells: int) -> None:
    """Serve in this process until it is killed."""
    try:
        from hub_resolver.testing import NameServer

        with ExitStack() as stack:
            for address, text in records.items():
                stack.enter_context(NameServer(text, address, 53))
            os.write(tells, b"!")
            while True:
                signal.pause()
    finally:
        os._exit(1)


def listens() -> bool:
    """Whether somebody listens on TCP port 53."""
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", 53)) == 0


def plain(value: Any) -> Any:
    """Without the enums of the socket module, and as JSON gives it back."""
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    return int(value) if isinstance(value, int) else value


def argument(value: Any) -> Any:
    """What JSON has no form for: bytes, tuples."""
    if isinstance(value, dict):
        if "bytes" in value:
            return value["bytes"].encode("latin-1")
        return tuple(argument(one) for one in value["tuple"])
    return value


def outcome(function: Callable[..., Any], args: list[Any]) -> Any:
    """What it returns, or the class and the arguments of what it raises."""
    try:
        return plain(function(*(argument(one) for one in args)))
    except Exception as error:
        text = [str(one) for one in error.args] if not isinstance(error, OSError) else plain(error.args)
        return {"raises": type(error).__name__, "args": text}


def ask_libc(questions: list[list[Any]]) -> list[Any]:
    """Ask the socket module, 32 questions at a time."""
    with ThreadPoolExecutor(32) as pool:
        return list(pool.map(lambda one: outcome(getattr(socket, one[1]), one[2]), questions))


def ask_ours(name: str, questions: list[list[Any]]) -> list[Any]:
    """Ask one of our resolvers, 32 questions at a time."""
    import hub_resolver
    from greenlet_hub import get_hub, spawn_raw

    resolver = getattr(hub_resolver, name)(get_hub())
    outcomes: list[Any] = [None] * len(questions)
    left = list(enumerate(questions))

    def ask() -> None:
        while left:
            index, (_, function, args) = left.pop(0)
            outcomes[index] = outcome(getattr(resolver, function), args)

    for _ in range(32):
        spawn_raw(ask)
    get_hub().join()
    resolver.close()
    return outcomes


def visit(world: dict[str, Any], where: Path, etc: Path) -> dict[str, list[Any]]:
    """Make one world, and ask in it."""
    where.mkdir()
    socket.sethostname(world["hostname"])
    for address, bits in world["addresses"]:
        add_address(address, bits)
    for name, text in world["etc"].items():
        (etc / name).write_text(text)
    questions = world["questions"]
    with ExitStack() as stack:
        start_server(world, where, stack)
        told = {resolver: ask_ours(resolver, questions) for resolver in world["resolvers"]}
        return {"libc": ask_libc(questions), **told}


def main(where: Path) -> None:
    """Visit the worlds one after the other, and tell."""
    worlds = json.loads((where / "worlds.json").read_text())
    loopback_up()
    lay_over(where / "etc", sorted({name for world in worlds.values() for name in world["etc"]}))
    told = {name: visit(world, where / name.replace(" ", "-"), where / "etc") for name, world in worlds.items()}
    json.dump(told, sys.stdout)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
