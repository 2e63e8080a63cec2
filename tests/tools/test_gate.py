"""The gate tells what it could not do for want of something on the machine, and does not call it done."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

GATE = Path(__file__).parents[2] / ".ci/run"
# What the gate calls; nothing that could install what is missing.
TOOLS = [
    "awk",
    "bash",
    "cat",
    "dirname",
    "env",
    "grep",
    "id",
    "mktemp",
    "nproc",
    "rm",
    "sed",
    "sleep",
    "tail",
    "timeout",
]


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """The gate in a tree of its own, in which whatever builds and checks has nothing to say."""
    (tmp_path / ".ci").mkdir()
    shutil.copy(GATE, tmp_path / ".ci/run")
    fakes, machine = tmp_path / ".venv/bin", tmp_path / "machine"
    fakes.mkdir(parents=True)
    machine.mkdir()
    for name, text in {"hatch": "exit 0", "uv": "exit 0", "python": "[[ $1 != -c ]]"}.items():
        program(fakes / name, text)
    program(machine / "python3", f'exec "{sys.executable}" "$@"')  # a link to it might not find its library
    for tool in TOOLS:
        if (found := shutil.which(tool)) is None:
            pytest.skip(f"{tool} is not on this machine")
        (machine / tool).symlink_to(found)
    return tmp_path


def program(path: Path, text: str) -> None:
    path.write_text(f"#!/usr/bin/env bash\n{text}\n")
    path.chmod(0o755)


def run(gate: Path, step: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": str(gate / "machine"), "HOME": str(gate), "PYENV_ROOT": str(gate / "none")}
    command = ["bash", str(gate / ".ci/run"), step]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=50)


@pytest.mark.parametrize(
    ("step", "why"),
    [
        ("docs", "nobody looked at the pages: no chromium-headless-shell"),
        ("python3.12", "Python 3.12: not on this machine"),
    ],
)
def test_what_the_machine_lacks_is_skipped_and_not_ok(gate: Path, step: str, why: str) -> None:
    ran = run(gate, step)
    assert f"{step:<10} skipped: {why}\n" in ran.stdout
    assert "1 of them skipped" in ran.stdout
    assert ran.returncode == 0


def test_what_fails_is_not_skipped(gate: Path) -> None:
    program(gate / ".venv/bin/hatch", "exit 3")
    ran = run(gate, "docs")
    assert "docs       FAILED (status 3)\n" in ran.stdout
    assert ran.returncode == 1
