"""Faults of the system while a real server serves real clients: it goes on, says what was wrong once, and loses nobody.

strace puts the errors where the kernel would: into the calls that CPython makes for the loop and for the server.  It
runs detached (-D), so the process that a test starts is the server itself and is ended by its pid; the tracer ends with
it, and the test waits for that.
"""

from __future__ import annotations

import os
import re
import resource
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
SERVERS = {
    "hello": HERE.parents[1] / "examples" / "hello_http.py",
    "echo": HERE.parents[1] / "examples" / "echo.py",
    "bare": HERE / "bare_loop_server.py",
}
REQUEST = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"
HELLO = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, world!"
EVENTFD = ("-P", "anon_inode:[eventfd]")
POLL = {"epoll": "epoll_wait,epoll_pwait", "poll": "poll,ppoll", "select": "select,pselect6"}

if not SERVERS["echo"].exists():
    pytest.skip("the examples are not here: this is not the whole tree", allow_module_level=True)


def _why_not() -> str:
    if shutil.which("strace") is None:
        return "strace is not installed"
    ran = subprocess.run(["strace", "-f", "-o", "/dev/null", "true"], capture_output=True, text=True, timeout=20)
    return "" if ran.returncode == 0 else f"strace may not trace here: {ran.stderr.strip()}"


WHY_NOT = _why_not()
pytestmark = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT or "strace works")


@dataclass
class Server:
    """A server that is running, and what the tracer has seen of it."""

    port: int
    pid: int
    log: Path
    said: str = ""
    started: float = field(default_factory=time.monotonic)
    seconds: float = 0.0

    def calls(self, name: str) -> list[str]:
        """The traced calls of that name, as strace tells them."""
        return re.findall(rf"^\d+ +({name}\(.*)$", self.log.read_text(), re.MULTILINE)

    def injected(self) -> int:
        """How many calls were made to fail, or were held up."""
        return self.log.read_text().count("INJECTED") + self.log.read_text().count("DELAYED")

    @property
    def reports(self) -> list[str]:
        """The last lines of the tracebacks that it has printed, with what was noted."""
        return re.findall(r"^(?:\w+\.)*(\w+(?:Error|Exception)\b.*)$", self.said, re.MULTILINE)


@contextmanager
def traced(kind: str, tmp_path: Path, inject: str, *filters: str, poller: str = "epoll") -> Iterator[Server]:
    """Run a server whose calls are traced, and fail as `inject` says: `CALLS[:error=NAME:when=FIRST..LAST]`."""
    log = tmp_path / "strace.log"
    calls, colon, _ = inject.partition(":")
    tracer = ["strace", "-D", "-f", "-q", "-o", str(log), "-e", f"trace={calls}", *filters]
    if colon:
        tracer += ["-e", f"inject={inject}"]
    environment = {**os.environ, "HUB_LOOP_BACKEND": poller, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [*tracer, sys.executable, str(SERVERS[kind]), "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    ) as process:
        assert process.stdout is not None
        server = Server(0, process.pid, log)
        try:
            line = process.stdout.readline()
            address = re.search(r"127\.0\.0\.1:(\d+)", line)
            assert address, line + process.stdout.read()
            server.port = int(address[1])
            yield server
            assert process.poll() is None, f"it ended: {process.stdout.read()}"
        finally:
            server.seconds = time.monotonic() - server.started
            process.kill()
            # strace shares the server's stderr, and warns there of its own confusion about delays.
            server.said = re.sub(r"^strace: .*\n", "", process.stdout.read(), flags=re.MULTILINE)
            process.wait()
            _wait_for_the_tracer(log, process.pid)


def _wait_for_the_tracer(log: Path, pid: int) -> None:
    """The tracer writes its last line when the server has ended, and ends itself."""
    end = re.compile(rf"^{pid} +\+\+\+ (killed|exited)", re.MULTILINE)
    wait_until(lambda: log.exists() and end.search(log.read_text()) is not None)


def wait_until(come_true: Callable[[], bool]) -> None:
    """Wait for another process, for ten seconds at most."""
    for _ in range(1000):
        if come_true():
            return
        time.sleep(0.01)
    raise AssertionError("it did not come true in ten seconds")


def connect(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=20)


def read_exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        chunk = connection.recv(size - len(data))
        assert chunk, f"the server hung up after {data!r}"
        data += chunk
    return data


def drive(server: Server, kind: str, clients: int = 12, rounds: int = 3) -> None:
    """Clients that come together and talk in turns; each must get each answer."""
    with ExitStack() as stack:
        connected = [stack.enter_context(connect(server)) for _ in range(clients)]
        for turn in range(rounds):
            for number, client in enumerate(connected):
                client.sendall(REQUEST if kind == "hello" else b"%d said in turn %d\n" % (number, turn))
            for number, client in enumerate(connected):
                answer = HELLO if kind == "hello" else b"%d said in turn %d\n" % (number, turn)
                assert read_exactly(client, len(answer)) == answer


# -- faults that nobody hears of ------------------------------------------------------------------------------------


SILENT = [
    # A signal that comes inside a call: CPython and the loop call again.
    ("hello", "epoll", "epoll_wait,epoll_pwait:error=EINTR:when=2..20", ()),
    ("bare", "poll", "poll,ppoll:error=EINTR:when=2..20", ()),
    ("bare", "select", "select,pselect6:error=EINTR:when=2..20", ()),
    ("echo", "epoll", "accept4:error=EINTR:when=1..8", ()),
    ("echo", "epoll", "recvfrom:error=EINTR:when=1..8", ()),
    ("hello", "epoll", "sendto:error=EINTR:when=1..8", ()),
    ("bare", "epoll", "write:error=EINTR:when=1..8", EVENTFD),
    ("bare", "poll", "read:error=EINTR:when=1..8", EVENTFD),
    # Short of file descriptors or memory: the server waits, and so do its clients.
    ("hello", "epoll", "accept4:error=EMFILE:when=2..9", ()),
    ("echo", "epoll", "accept4:error=ENFILE:when=1..5", ()),
    ("bare", "epoll", "accept4:error=ENOMEM:when=3..9", ()),
    ("bare", "select", "accept4:error=EMFILE:when=3..9", ()),
    ("hello", "epoll", "epoll_ctl:error=ENOMEM:when=4..9", ()),
    ("echo", "epoll", "epoll_ctl:error=ENOSPC:when=3..9", ()),
    ("bare", "epoll", "epoll_ctl:error=ENOMEM:when=4..9", ()),
    ("echo", "epoll", "recvfrom:error=ENOMEM:when=1..6", ()),
    ("hello", "epoll", "recvfrom:error=ENOMEM:when=1..6", ()),
    ("hello", "epoll", "sendto:error=ENOBUFS:when=1..6", ()),
    ("bare", "poll", "recvfrom,sendto:error=ENOMEM:when=2..9", ()),
    # What is no fault of ours at all.
    ("hello", "epoll", "accept4:error=ECONNABORTED:when=1..6", ()),
    ("bare", "epoll", "accept4:error=ECONNABORTED:when=1..6", ()),
    ("bare", "poll", "read:error=EAGAIN:when=1..4", EVENTFD),  # a forked child has emptied it
    # A set with a closed number in it: select is asked which, and there is none.
    ("bare", "select", "select,pselect6:error=EBADF:when=2..5", ()),
    # Everything takes longer.
    ("hello", "epoll", "epoll_wait,accept4,recvfrom,epoll_ctl:delay_enter=3ms:when=3+", ()),
    ("bare", "epoll", "epoll_wait,accept4,write,epoll_ctl:delay_enter=3ms:when=3+", ()),
    ("bare", "poll", "poll,read:delay_enter=3ms:when=3+", ()),
]


@pytest.mark.parametrize(("kind", "poller", "inject", "filters"), SILENT, ids=lambda value: str(value))
def test_every_client_gets_every_answer_and_nothing_is_said(
    kind: str, poller: str, inject: str, filters: tuple[str, ...], tmp_path: Path
) -> None:
    with traced(kind, tmp_path, inject, *filters, poller=poller) as server:
        drive(server, kind)
    assert server.injected() > 0
    assert server.said == ""


# -- faults that are told -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["hello", "echo", "bare"])
@pytest.mark.parametrize("poller", ["epoll", "poll", "select"])
def test_a_poll_that_the_system_has_no_memory_for_is_told_once_and_the_server_goes_on(
    kind: str, poller: str, tmp_path: Path
) -> None:
    with traced(kind, tmp_path, f"{POLL[poller]}:error=ENOMEM:when=2..21", poller=poller) as server:
        drive(server, kind)
    assert server.injected() == 20
    # Told at most once in a second; all twenty take a fifth of one, where the machine has nothing else to do.
    assert 1 <= len(server.reports) <= 1 + server.seconds
    assert "Cannot allocate memory" in server.reports[0]
    assert "the loop tries again every 0.01 s" in server.said


def test_a_wake_fd_that_cannot_be_read_is_told_once_and_no_wake_up_is_lost(tmp_path: Path) -> None:
    with traced("bare", tmp_path, "read:error=ENOMEM:when=1..9", *EVENTFD, poller="poll") as server:
        drive(server, "bare")
    assert server.injected() == 9
    assert 1 <= len(server.reports) <= 1 + server.seconds
    assert "Cannot allocate memory" in server.reports[0]


@pytest.mark.parametrize("kind", ["hello", "bare"])
def test_a_poller_that_fails_for_good_is_one_clear_error_and_the_end(kind: str, tmp_path: Path) -> None:
    log, calls = tmp_path / "log", POLL["epoll"]
    tracer = ["strace", "-f", "-qq", "-o", str(log), "-e", f"trace={calls}"]
    ran = subprocess.run(
        [*tracer, "-e", f"inject={calls}:error=EBADF:when=1+", sys.executable, str(SERVERS[kind]), "0"],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert ran.returncode == 1
    assert "OSError: [Errno 9] Bad file descriptor" in ran.stderr.splitlines()
    assert log.read_text().count("INJECTED") <= 3


@pytest.mark.parametrize("call", ["eventfd2", "epoll_create1"])
@pytest.mark.parametrize("kind", ["hello", "bare"])
def test_a_loop_that_cannot_be_made_is_one_clear_error(kind: str, call: str) -> None:
    tracer = ["strace", "-f", "-qq", "-o", "/dev/null"]
    ran = subprocess.run(
        [*tracer, "-e", f"inject={call}:error=EMFILE:when=1+", sys.executable, str(SERVERS[kind]), "0"],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert ran.returncode == 1
    assert ran.stderr.count("Traceback") == 1
    assert ran.stderr.rstrip().endswith("OSError: [Errno 24] Too many open files")


@pytest.mark.parametrize("kind", ["hello", "echo"])
def test_a_listener_that_is_gone_is_one_clear_error_and_the_end(kind: str) -> None:
    tracer = ["strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", "inject=accept4:error=EBADF:when=1+"]
    with subprocess.Popen(
        [*tracer, sys.executable, str(SERVERS[kind]), "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as process:
        try:
            assert process.stdout is not None
            address = re.search(r"127\.0\.0\.1:(\d+)", process.stdout.readline())
            assert address
            with socket.create_connection(("127.0.0.1", int(address[1])), timeout=20):
                _, said = process.communicate(timeout=30)  # to the end of stderr, which the tracer holds too
        finally:
            process.kill()
    assert process.returncode == 1
    assert said.count("Traceback") == 1
    assert said.rstrip().endswith("OSError: [Errno 9] Bad file descriptor")


@pytest.mark.parametrize("error", ["ECONNRESET", "EPIPE"])
@pytest.mark.parametrize("kind", ["hello", "echo"])
def test_a_connection_that_broke_is_closed_in_silence_and_the_others_are_served(
    kind: str, error: str, tmp_path: Path
) -> None:
    with traced(kind, tmp_path, f"sendto:error={error}:when=1") as server:
        with connect(server) as broken:
            broken.sendall(REQUEST)
            assert broken.recv(1) == b""
        drive(server, kind)
    assert server.injected() == 1
    assert server.said == ""


# -- faults that stay -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["hello", "echo", "bare"])
def test_out_of_file_descriptors_for_long_accept_is_not_called_in_a_spin(kind: str, tmp_path: Path) -> None:
    with traced(kind, tmp_path, "accept4:error=EMFILE:when=3+") as server, ExitStack() as stack:
        served = [stack.enter_context(connect(server)) for _ in range(2)]
        for turn in range(50):  # who was accepted is served as ever, while the third one waits
            if turn == 1:
                stack.enter_context(connect(server))
            for client in served:
                client.sendall(REQUEST)
                answer = HELLO if kind == "hello" else REQUEST
                assert read_exactly(client, len(answer)) == answer
        wait_until(lambda: server.injected() > 0)
        time.sleep(0.2)  # idle but for the connection in the backlog: this is where a server would spin
    assert len(server.calls("accept4")) <= 5 + server.seconds / 0.01
    assert server.said == ""


@pytest.mark.parametrize("poller", ["epoll", "poll", "select"])
def test_a_poll_that_fails_for_long_is_not_called_in_a_spin(poller: str, tmp_path: Path) -> None:
    with traced("bare", tmp_path, f"{POLL[poller]}:error=ENOMEM:when=2+", poller=poller) as server:
        client = connect(server)
        wait_until(lambda: server.injected() >= 20)
        client.close()
    assert server.injected() <= 5 + server.seconds / 0.01
    assert 1 <= len(server.reports) <= 1 + server.seconds


@pytest.mark.parametrize("kind", ["hello", "echo", "bare"])
def test_really_out_of_file_descriptors_nobody_is_lost_and_accept_is_called_in_moderation(
    kind: str, tmp_path: Path
) -> None:
    with traced(kind, tmp_path, "accept4") as server, ExitStack() as stack:
        answer = HELLO if kind == "hello" else REQUEST
        with connect(server) as client:
            client.sendall(REQUEST)
            assert read_exactly(client, len(answer)) == answer  # so the server has by now what it needs for itself
        in_use = len(os.listdir(f"/proc/{server.pid}/fd"))
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (in_use + 4, in_use + 4))
        clients = [stack.enter_context(connect(server)) for _ in range(20)]
        for client in clients:
            client.sendall(REQUEST)
        wait_until(lambda: "EMFILE" in server.log.read_text())
        for client in clients:  # those that were accepted first must go before the next ones are
            assert read_exactly(client, len(answer)) == answer
            client.close()
    # Each is accepted once, or is found to be the last; each refusal is followed by a rest.
    assert len(server.calls("accept4")) <= 2 * (1 + len(clients)) + 5 + server.seconds / 0.01
    assert server.said == ""


# -- and what a wait costs when nothing is wrong --------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["hello", "bare"])
def test_waiting_costs_no_epoll_ctl_and_an_owner_never_reads_in_vain(kind: str, tmp_path: Path) -> None:
    clients, rounds = 5, 50
    with traced(kind, tmp_path, "epoll_ctl,recvfrom") as server:
        drive(server, kind, clients, rounds)
    asked, received = server.calls("epoll_ctl"), server.calls("recvfrom")
    # The wake fd, the pipe of signals, the listener, and each client once; those that have hung up are deleted, as far
    # as it came to that.
    assert len([call for call in asked if "EPOLL_CTL_DEL" not in call]) == 3 + clients
    assert clients * rounds <= len(received) <= clients * (rounds + 1)
    assert not [call for call in received if "EAGAIN" in call]
