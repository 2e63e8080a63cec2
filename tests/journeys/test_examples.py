"""Every example runs: as a process of its own, on a port that the system picks, driven over loopback."""

from __future__ import annotations

import hashlib
import importlib.util
import itertools
import os
import re
import resource
import runpy
import select
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from hub_loop import Loop

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
TESTED = {
    "hello_http.py",
    "echo.py",
    "thread_to_greenlet.py",
    "hash_files.py",
    "guest_of_asyncio.py",
    "guest_of_tk.py",
    "keys.py",  # by test_tutorial.py
}
REQUEST = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"
HELLO = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, world!"
POLLERS = ["epoll", "poll", "select"]

if not EXAMPLES.is_dir():
    pytest.skip("the examples are not here: this is not the whole tree", allow_module_level=True)


@contextmanager
def server(name: str, **environment: str) -> Iterator[tuple[int, int]]:
    """Run an example that serves; gives its port and its pid.  It must print nothing but its address, and not die."""
    command = [sys.executable, str(EXAMPLES / name), "0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, **environment}
    ) as process:
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            address = re.search(r"127\.0\.0\.1:(\d+)", line)
            assert address, line + process.stdout.read()
            yield int(address[1]), process.pid
            assert process.poll() is None, f"it ended: {process.stdout.read()}"
        finally:
            process.kill()
        assert process.stdout.read() == ""


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=20)


def read_exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        chunk = connection.recv(size - len(data))
        assert chunk, f"the server hung up after {data!r}"
        data += chunk
    return data


def test_every_example_has_a_test() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == TESTED


@pytest.mark.parametrize("name", ["hello_http.py", "echo.py"])
def test_a_server_on_kernel_calls_takes_less_than_60_lines(name: str) -> None:
    assert len((EXAMPLES / name).read_text().splitlines()) < 60


# -- hello_http -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("poller", POLLERS)
def test_hello_answers_one_request_after_the_other_on_one_connection(poller: str) -> None:
    with server("hello_http.py", HUB_LOOP_BACKEND=poller) as (port, _), connect(port) as client:
        for _ in range(100):
            client.sendall(REQUEST)
            assert read_exactly(client, len(HELLO)) == HELLO


@pytest.mark.parametrize("poller", POLLERS)
def test_hello_answers_requests_that_come_together_and_requests_that_come_in_pieces(poller: str) -> None:
    with server("hello_http.py", HUB_LOOP_BACKEND=poller) as (port, _), connect(port) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in REQUEST * 2:
            client.sendall(bytes([byte]))
        client.sendall(REQUEST * 98 + REQUEST[:10])
        assert read_exactly(client, 100 * len(HELLO)) == HELLO * 100
        client.sendall(REQUEST[10:])
        assert read_exactly(client, len(HELLO)) == HELLO


def test_hello_sends_a_flood_of_answers_to_a_client_that_reads_late() -> None:
    requests = 50_000
    with server("hello_http.py") as (port, _), connect(port) as client:
        sender = threading.Thread(target=client.sendall, args=(REQUEST * requests,))
        sender.start()
        sender.join(0.3)  # by now the server cannot get rid of its answers
        with connect(port) as other:  # and still serves others
            other.sendall(REQUEST)
            assert read_exactly(other, len(HELLO)) == HELLO
        assert read_exactly(client, requests * len(HELLO)) == HELLO * requests
        sender.join(20)


def test_hello_hangs_up_when_asked_to() -> None:
    with server("hello_http.py") as (port, _), connect(port) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
        assert read_exactly(client, len(HELLO)) == HELLO
        assert client.recv(1) == b""


def test_hello_survives_clients_that_hang_up_in_the_middle() -> None:
    with server("hello_http.py") as (port, _):
        for number in range(200):
            with connect(port) as client:
                client.sendall(REQUEST[: number % len(REQUEST)])
                if number % 2:  # a reset instead of an orderly end
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        with connect(port) as client:
            client.sendall(REQUEST)
            assert read_exactly(client, len(HELLO)) == HELLO


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="needs prlimit, which is Linux's")
def test_hello_out_of_file_descriptors_keeps_connections_waiting_and_loses_none() -> None:
    with server("hello_http.py") as (port, pid), ExitStack() as stack:
        in_use = len(os.listdir(f"/proc/{pid}/fd"))
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (in_use + 8, in_use + 8))
        clients = [stack.enter_context(connect(port)) for _ in range(40)]
        for client in clients:
            client.sendall(REQUEST)
        for client in clients:  # those that were accepted first must go before the next ones are
            assert read_exactly(client, len(HELLO)) == HELLO
            client.close()


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
@pytest.mark.parametrize("connections", [1, 100, 1_000, 10_000])
def test_wrk_gets_no_error_out_of_hello(connections: int) -> None:
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < connections + 100:
        pytest.skip(f"the system allows too few open files for {connections:,} connections")
    threads = min(connections, 2)
    with server("hello_http.py") as (port, _):
        # 10,000 connections fill the backlog; the kernel then tries again after 1 s, 3 s ...: late, and no error.
        for seconds in (2, 10, 30):  # under load, wrk may need 2 for the connections alone
            if ask_by_wrk(port, connections, threads, seconds) > 0:
                return
    pytest.fail("wrk got no answer in 30 s")


def ask_by_wrk(port: int, connections: int, threads: int, seconds: int) -> int:
    """The number of requests that were answered; each of them rightly."""
    raised = ["sh", "-c", 'ulimit -n "$(ulimit -Hn)"; exec "$@"', "sh"]
    load = [f"-t{threads}", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s"]
    command = [*raised, "wrk", *load, f"http://127.0.0.1:{port}/"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 50, check=True)
    assert "Socket errors" not in ran.stdout, ran.stdout
    assert "Non-2xx" not in ran.stdout, ran.stdout
    requests = re.search(r"(\d+) requests in", ran.stdout)
    assert requests, ran.stdout
    return int(requests[1])


# -- echo -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("poller", POLLERS)
def test_echo_gives_back_to_each_what_it_said(poller: str) -> None:
    with server("echo.py", HUB_LOOP_BACKEND=poller) as (port, _), ExitStack() as stack:
        clients = [stack.enter_context(connect(port)) for _ in range(50)]
        for turn in range(3):
            for number, client in enumerate(clients):
                client.sendall(b"%d said in turn %d\n" % (number, turn))
            for number, client in enumerate(clients):
                said = b"%d said in turn %d\n" % (number, turn)
                assert read_exactly(client, len(said)) == said


def test_echo_gives_back_megabytes_to_a_client_that_reads_late_and_then_the_end() -> None:
    said = os.urandom(1 << 20) * 16
    with server("echo.py") as (port, _), connect(port) as client:

        def speak() -> None:
            client.sendall(said)
            client.shutdown(socket.SHUT_WR)

        speaker = threading.Thread(target=speak)
        speaker.start()
        speaker.join(0.3)
        assert read_exactly(client, len(said)) == said
        assert client.recv(1) == b""
        speaker.join(20)


# -- thread_to_greenlet ---------------------------------------------------------------------------------------------


def test_the_thread_example_hears_from_each_thread_and_ticks_meanwhile() -> None:
    ran = subprocess.run(
        [sys.executable, str(EXAMPLES / "thread_to_greenlet.py")],
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
    )
    assert ran.stderr == ""
    lines = ran.stdout.splitlines()
    assert [line.split(":")[0] for line in lines] == [f"thread {number}" for number in range(10)]
    ticks = re.search(r"; (\d+) ticks", lines[-1])
    assert ticks
    assert int(ticks[1]) > 0


# -- hash_files -----------------------------------------------------------------------------------------------------


def test_the_hashes_of_all_files_are_right_and_the_beat_goes_on(tmp_path: Path) -> None:
    contents = {f"file {number}": os.urandom(number * 997) for number in range(120)}
    contents["large"] = os.urandom(1 << 20) * 20
    for number, (name, content) in enumerate(contents.items()):
        directory = tmp_path / str(number % 5)
        directory.mkdir(exist_ok=True)
        (directory / name).write_bytes(content)
    (tmp_path / "link").symlink_to(tmp_path / "0")
    command = [sys.executable, str(EXAMPLES / "hash_files.py"), str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=50, check=True)
    found = {Path(path).name: digest for digest, path in (line.split("  ", 1) for line in ran.stdout.splitlines())}
    assert found == {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    progress, last = ran.stderr.splitlines()
    assert re.fullmatch(r"100 of 121 files, \d+\.\d MB so far", progress)
    said = re.fullmatch(r"121 files, (\d+) bytes; (\d+) beats, the longest took \d+\.\d ms", last)
    assert said, last
    assert int(said[1]) == sum(map(len, contents.values()))
    assert int(said[2]) > 0


def test_a_file_that_cannot_be_read_ends_the_hashing_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "gone").write_bytes(b"")
    code = (
        "import runpy, sys, pathlib; sys.argv[1:] = [sys.argv[1]]\n"
        "opened = pathlib.Path.open\n"
        "def fail(path, *args):\n"
        "    path.unlink()\n"
        "    return opened(path, *args)\n"
        "pathlib.Path.open = fail\n"
        f"runpy.run_path({str(EXAMPLES / 'hash_files.py')!r}, run_name='__main__')"
    )
    ran = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=50)
    assert ran.returncode == 1
    assert "FileNotFoundError" in ran.stderr
    assert "gone" in ran.stderr


# -- guests ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("poller", POLLERS)
def test_a_guest_of_asyncio_and_its_host_both_go_on(poller: str) -> None:
    command = [sys.executable, str(EXAMPLES / "guest_of_asyncio.py")]
    environment = {**os.environ, "HUB_LOOP_BACKEND": poller}
    ran = subprocess.run(command, capture_output=True, text=True, timeout=50, check=True, env=environment)
    assert ran.stderr == ""
    lines = ran.stdout.splitlines()
    assert sorted(lines) == sorted(
        ["the guest: posted by a thread"]
        + [f"the {who}: {number}" for who in ("guest", "host") for number in (1, 2, 3)]
    )
    for who in ("guest", "host"):
        assert [line for line in lines if re.match(rf"the {who}: \d", line)] == [f"the {who}: {n}" for n in (1, 2, 3)]


class Window:
    """A stand-in for `tkinter.Tk`: the calls that the example makes, on `select`, for machines without a display."""

    def __init__(self, filehandlers: bool) -> None:
        self.tk = self if filehandlers else object()
        self._handlers: dict[int, Callable[[int, int], object]] = {}
        self._timers: dict[str, tuple[float, Callable[[], object]]] = {}
        self._names = itertools.count()
        self._quit = False

    def after(self, ms: int, func: Any = None) -> str:
        name = f"after#{next(self._names)}"
        self._timers[name] = (time.monotonic() + ms / 1000, func)
        return name

    def after_cancel(self, id: str) -> None:
        self._timers.pop(id, None)

    def createfilehandler(self, fd: int, mask: int, func: Callable[[int, int], object]) -> None:
        self._handlers[fd] = func

    def deletefilehandler(self, fd: int) -> None:
        del self._handlers[fd]

    def quit(self) -> None:
        self._quit = True

    def mainloop(self) -> None:
        while not self._quit:
            due = min((when for when, _ in self._timers.values()), default=None)
            ready, _, _ = select.select([*self._handlers], [], [], due and max(due - time.monotonic(), 0.0))
            for fd in ready:
                self._handlers[fd](fd, 2)
            for name, (when, func) in list(self._timers.items()):
                if name in self._timers and when <= time.monotonic():
                    del self._timers[name]
                    func()


@pytest.mark.parametrize("filehandlers", [True, False])
@pytest.mark.parametrize("poller", POLLERS)
def test_a_guest_of_tk_counts_in_a_stand_in_for_a_window(poller: str, filehandlers: bool) -> None:
    # Not Tk itself: that is the next test, where there is a display.  Here the host's two calls are played.
    example = runpy.run_path(str(EXAMPLES / "guest_of_tk.py"))
    window, loop, shown = Window(filehandlers), Loop(poller, default=False), list[str]()
    example["count"](loop, shown.append, 0.3)
    example["Guest"](loop, window)
    loop.run_callback(shown.append, "by a callback")
    poster = threading.Thread(target=loop.run_callback_threadsafe, args=(shown.append, "by a thread"))
    poster.start()
    window.mainloop()
    poster.join()
    loop.destroy()
    assert [text for text in shown if text.endswith(" s")] == ["0.0 s", "0.1 s", "0.2 s", "0.3 s"]
    assert {"by a callback", "by a thread"} < set(shown)


@pytest.mark.skipif(importlib.util.find_spec("_tkinter") is None, reason="this Python has no tkinter")
@pytest.mark.skipif(shutil.which("xvfb-run") is None, reason="there is no X server to run: install xvfb")
def test_a_guest_of_tk_counts_in_a_window() -> None:
    command = ["xvfb-run", "-a", sys.executable, str(EXAMPLES / "guest_of_tk.py"), "0.3"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=50, check=True)
    assert ran.stdout.splitlines() == ["0.0 s", "0.1 s", "0.2 s", "0.3 s"], ran.stderr
