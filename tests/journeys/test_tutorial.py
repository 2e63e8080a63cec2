"""The tutorial's server: its pages and its file are one program, and that runs, as a process of its own."""

from __future__ import annotations

import ast
import errno
import itertools
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs/tutorial").glob("*.md"))
PROGRAM = ROOT / "examples/keys.py"
BLOCK = re.compile(r"^```\{code-block\} python\n:caption: keys\.py\n\n(.*?)^```$", re.MULTILINE | re.DOTALL)

if not PROGRAM.is_file():
    pytest.skip("the examples are not here: this is not the whole tree", allow_module_level=True)


# -- the pages and the file -----------------------------------------------------------------------------------------


def parts(sources: list[str]) -> dict[str, str]:
    """What a program defines at its top, by name; of two definitions of one name the later.  Imports, one by one."""
    found: dict[str, str] = {}
    for statement in (each for source in sources for each in ast.parse(source).body):
        match statement:
            case ast.Import(names) | ast.ImportFrom(names=names):
                module = f"{statement.module}." if isinstance(statement, ast.ImportFrom) else ""
                found |= {f"import {module}{each.name}": "" for each in names}
            case ast.FunctionDef(name) | ast.ClassDef(name):
                found[name] = ast.unparse(statement)
            case ast.Assign(targets=[ast.Name(name)]) | ast.AnnAssign(target=ast.Name(name)):
                found[name] = ast.unparse(statement)
            case _:
                found["statements"] = ast.unparse(statement)
    return found


def test_the_program_of_the_tutorials_last_page_is_the_file_in_examples() -> None:
    source = PROGRAM.read_text()
    text = ast.get_docstring(ast.parse(source), clean=False)
    assert text
    told = parts([block for page in PAGES for block in BLOCK.findall(page.read_text())])
    written = parts([source.replace(f'"""{text}"""', "")])
    assert told == written


def test_each_page_goes_on_from_the_one_before_and_leads_to_the_next() -> None:
    pages = [page for page in PAGES if page.name[0].isdigit()]
    assert len(pages) == 6
    for before, page in itertools.pairwise(pages):
        assert f'go_on("tutorial/{before.name}")' in page.read_text()
        assert f"]({page.name}).\n" in before.read_text()


# -- the program ----------------------------------------------------------------------------------------------------


class Client:
    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self._lines = self._socket.makefile("rw", newline="\n")

    def say(self, line: str) -> None:
        self._lines.write(line + "\n")
        self._lines.flush()

    def hear(self) -> str:
        return self._lines.readline().rstrip("\n")

    def ask(self, line: str) -> str:
        self.say(line)
        return self.hear()

    def close(self) -> None:
        self._lines.close()
        self._socket.close()


@contextmanager
def keys(*journal: Path, stderr: int | IO[str] = subprocess.PIPE) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """Run the server; gives its port and process.  It may end in the block, and is ended after it."""
    command = [sys.executable, str(PROGRAM), "0", *map(str, journal)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True) as process:
        assert process.stdout
        try:
            yield int(process.stdout.readline().rpartition(":")[2]), process
        finally:
            process.kill()


def ended_by(signum: int, process: subprocess.Popen[str]) -> tuple[str, str]:
    """What it says to its end, and on stderr."""
    process.send_signal(signum)
    said = process.communicate(timeout=30)
    assert process.returncode == 0, said
    return said


def test_keys_answers_many_clients_and_tells_each_its_mistakes() -> None:
    with keys() as (port, _):
        clients = [Client(port) for _ in range(50)]
        for number, client in enumerate(clients):
            client.say(f"set key{number} value of {number}")
        assert [client.hear() for client in clients] == ["ok"] * 50
        assert clients[7].ask("get key31") == "value of 31"
        assert clients[7].ask("") == "error: '' is none of copy, expire, free, get, hold, set"
        assert clients[7].ask("get") == "error: get: missing a required argument: 'key'"
        assert clients[7].ask("expire key31 soon") == "error: could not convert string to float: 'soon'"
        assert clients[7].ask("free key31") == "error: you do not hold it"
        for client in clients:
            client.close()


def test_what_keys_has_said_ok_to_is_there_after_it_was_killed(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    with keys(journal) as (port, process):
        client = Client(port)
        assert [client.ask(f"set key{number} {number}") for number in range(20)] == ["ok"] * 20
        assert client.ask("expire key3 0.01") == "ok"
        while client.ask("get key3") != "nothing":  # each round is a turn of the server
            pass
        process.kill()
        client.close()
    with keys(journal) as (port, process):
        client = Client(port)
        assert [client.ask(f"get key{number}") for number in (2, 3, 19)] == ["2", "nothing", "19"]
        client.close()
        said, complaints = ended_by(signal.SIGTERM, process)
    assert said == "SIGTERM: the end\n19 keys\n"
    assert complaints == ""


def test_keys_copies_a_key_to_another_server_by_its_name() -> None:
    with keys() as (port, _), keys() as (other_port, _):
        client, other = Client(port), Client(other_port)
        client.ask("set colour sea green")
        assert client.ask(f"copy colour localhost:{other_port}") == "ok"
        assert other.ask("get colour") == "sea green"
        assert client.ask("copy colour 127.0.0.1:nothing").startswith("error: invalid literal for int()")
        with socket.create_server(("127.0.0.1", 0)) as closed:
            nobody = closed.getsockname()[1]
        assert (
            client.ask(f"copy colour 127.0.0.1:{nobody}") == f"error: [Errno {errno.ECONNREFUSED}] Connection refused"
        )
        client.close()
        other.close()


def test_a_client_that_holds_a_key_keeps_others_waiting_until_it_frees_it_or_goes() -> None:
    with keys() as (port, _):
        ann, bob, eve = (Client(port) for _ in range(3))
        assert ann.ask("hold soup") == "ok"
        assert ann.ask("hold soup") == "error: you hold it already"
        bob.say("hold soup")
        assert eve.ask("get soup") == "nothing"  # to read needs no hold; and by now bob waits, or will
        assert ann.ask("set soup warm") == "ok"
        assert ann.ask("free soup") == "ok"
        assert bob.hear() == "ok"
        eve.say("set soup cold")
        bob.close()  # its hold goes with it
        assert eve.hear() == "ok"
        ann.close()
        eve.close()


def test_clients_that_wait_for_each_other_are_named_by_the_report(tmp_path: Path) -> None:
    told = tmp_path / "stderr"
    with told.open("w") as stderr, keys(stderr=stderr) as (port, process):
        ann = Client(port)
        assert ann.ask("hold soup") == "ok"
        bob = Client(port)
        assert bob.ask("hold bread") == "ok"
        bob.say("set soup cold")
        ann.say("hold bread")
        eve = Client(port)
        while "Deadlock" not in told.read_text():  # they are patient for five seconds
            assert eve.ask("get soup") == "nothing"
            process.send_signal(signal.SIGUSR1)
        for client in (ann, bob, eve):
            client.close()
    for name, key in ("client 1", "bread"), ("client 2", "soup"):  # which of them is named first, nobody says
        assert re.search(rf"'{name}'\n +\| waits for <Hold of '{key}'>, which belongs to\n", told.read_text())


def test_keys_ends_in_order_while_clients_are_connected() -> None:
    with keys() as (port, process):
        clients = [Client(port) for _ in range(10)]
        assert [client.ask("set colour green") for client in clients] == ["ok"] * 10
        said, complaints = ended_by(signal.SIGTERM, process)
        assert [client.hear() for client in clients] == [""] * 10
        for client in clients:
            client.close()
    assert said == "SIGTERM: the end\n1 keys\n"
    assert complaints == ""
