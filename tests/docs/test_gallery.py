"""The gallery shows what the examples say: each session on its pages is run, line by line.

A session is a block `console`: a line that begins with `$ ` is a command for one bash, what follows is what it says, in
any order.  Figures that nobody can foretell, as milliseconds, may be others.  The port 7007 is another one here, too.
`curl` and `nc` are played by this file, so that no machine needs them.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = {path.stem: path for path in (ROOT / "docs/examples").glob("*.md") if path.stem != "index"}
SESSION = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FIGURES = re.compile(r"\d+(?:\.\d+)?(?= (?:us|ms|ticks|beats)\b)")
SAID = "-- and that was all --"

NC = """
import socket, sys
with socket.create_connection((sys.argv[2], int(sys.argv[3])), timeout=30) as peer:
    peer.sendall(sys.stdin.buffer.read())
    peer.shutdown(socket.SHUT_WR)  # -N
    while data := peer.recv(65536):
        sys.stdout.buffer.write(data)
"""
CURL = """
import sys, urllib.request
with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(sys.argv[-1], timeout=30) as answer:
    print("HTTP/1.1", answer.status, answer.reason)
    print(answer.headers.as_string() + answer.read().decode())
"""


def steps(page: Path) -> list[tuple[str, list[str]]]:
    """The commands of a page's sessions, each with the lines that it is answered with."""
    found: list[tuple[str, list[str]]] = []
    for session in SESSION.findall(page.read_text()):
        for line in session.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            else:
                found[-1][1].append(line)
    return found


def free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return str(listener.getsockname()[1])


@contextmanager
def bash(directory: Path) -> Iterator[subprocess.Popen[str]]:
    """A bash in a directory with the examples, in which `python` is this Python, and `curl` and `nc` are there."""
    (directory / "examples").symlink_to(ROOT / "examples")
    tools = directory / "bin"
    tools.mkdir()
    display = "xvfb-run -a " if shutil.which("xvfb-run") else ""
    for name, source in {"curl": CURL, "nc": NC}.items():
        (tools / f"{name}.py").write_text(source)
        (tools / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" "{tools}/{name}.py" "$@"\n')
    (tools / "python").write_text(
        f'#!/bin/sh\ncase "$1" in *_tk.py) exec {display}"{sys.executable}" "$@";; esac\nexec "{sys.executable}" "$@"\n'
    )
    for tool in tools.iterdir():
        tool.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        ["bash", "--norc", "--noprofile"],
        cwd=directory,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as shell:
        try:
            yield shell
        finally:
            os.killpg(shell.pid, signal.SIGKILL)  # with whatever it has in the background


def say(shell: subprocess.Popen[str], command: str, lines: int) -> list[str]:
    """Have a command run; what it says.  Of one in the background, as many lines as are to come."""
    assert shell.stdin
    assert shell.stdout
    shell.stdin.write(command + "\n" + ("" if command.endswith("&") else f"echo '{SAID}'\n"))
    shell.stdin.flush()
    heard: list[str] = []
    while not (command.endswith("&") and len(heard) == lines):
        line = shell.stdout.readline()
        assert line, f"{command!r} ended the shell, after {heard}"
        text, ended, _ = line.rstrip("\n").partition(SAID)
        if text or not ended:
            heard.append(text.rstrip("\r"))
        if ended:
            break
    return heard


def test_each_example_has_its_page_and_each_page_its_example_and_a_session() -> None:
    assert PAGES.keys() == {path.stem for path in (ROOT / "examples").glob("*.py")}
    for name, page in PAGES.items():
        text = page.read_text()
        assert f"```{{literalinclude}} ../../examples/{name}.py\n" in text
        assert any(f"python examples/{name}.py" in command for command, _ in steps(page))
        assert f"]({name}.md)" in (ROOT / "docs/examples/index.md").read_text()


@pytest.mark.parametrize("name", sorted(PAGES))
def test_an_example_says_what_its_page_shows(name: str, tmp_path: Path) -> None:
    if name == "guest_of_tk" and (
        importlib.util.find_spec("_tkinter") is None
        or (shutil.which("xvfb-run") is None and not os.environ.get("DISPLAY"))
    ):
        pytest.skip("there is no Tk, or no display: install xvfb")
    port = free_port()
    with bash(tmp_path) as shell:
        for command, shown in steps(PAGES[name]):
            heard = [line.replace(port, "7007") for line in say(shell, command.replace("7007", port), len(shown))]
            assert sorted(FIGURES.sub("#", line) for line in heard) == sorted(
                FIGURES.sub("#", line) for line in shown
            ), command
