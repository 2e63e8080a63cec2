"""The command line as a process of its own, started the same way whoever runs the tests."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PATIENCE = 50
"""Seconds: a child that takes longer hangs."""


@contextmanager
def _signals_as_a_shell_gives_them() -> Iterator[None]:
    """A child inherits what its parent ignores: so for a moment we ignore nothing."""
    handlers = {signal.SIGINT: signal.default_int_handler, signal.SIGUSR2: lambda *_: None}
    former = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


class Command:
    """Runs `greenlet-hub`, or python, in a directory of its own, with none of our variables but those given."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.hub = [sys.executable, "-m", "greenlet_hub"]

    def script(self, source: str, name: str = "program.py") -> str:
        """Write a file, and return its name."""
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
        return name

    def start(
        self, *arguments: str, program: list[str] | None = None, environment: dict[str, str] | None = None
    ) -> subprocess.Popen[str]:
        """Start it; its output is piped."""
        ours = ("HUB_", "NO_COLOR", "FORCE_COLOR")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        with _signals_as_a_shell_gives_them():
            return subprocess.Popen(
                [*(self.hub if program is None else program), *arguments],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                cwd=self.directory,
                env={**inherited, "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8", **(environment or {})},
            )

    def __call__(
        self, *arguments: str, program: list[str] | None = None, environment: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        with self.start(*arguments, program=program, environment=environment) as process:
            out, err = self.finish(process)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def finish(self, process: subprocess.Popen[str]) -> tuple[str, str]:
        """What it has left to say."""
        try:
            return process.communicate(timeout=PATIENCE)
        finally:
            process.kill()


@pytest.fixture
def command(tmp_path: Path) -> Command:
    return Command(tmp_path)
