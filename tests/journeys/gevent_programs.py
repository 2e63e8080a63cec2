"""gevent's programs, unmodified, on this family's loop: each is a process of its own that GEVENT_LOOP points at it.

What a program prints is its result.  Before it starts, and at its end, it looks whether the loop is ours indeed.
Where gevent is not installed, the files that import this one are skipped.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from importlib.util import find_spec

import pytest

if find_spec("gevent") is None:
    pytest.skip("gevent is not installed: it is in the dependency group `host`", allow_module_level=True)

POLLERS = ["epoll", "poll", "select"]

PLAIN = "import os, sys, time, gevent"
PATCHED = "import gevent.monkey; gevent.monkey.patch_all(); import os, sys, time, gevent"
CHECK = """
import hub_loop.gevent
assert type(gevent.get_hub().loop) is hub_loop.gevent.Loop, gevent.get_hub()
assert gevent.get_hub().loop.backend == os.environ.get("HUB_LOOP_BACKEND", gevent.get_hub().loop.backend)
"""


def start(program: str, *, first: str = PLAIN, poller: str = "") -> subprocess.Popen[str]:
    """Start a gevent program on our loop."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("GEVENT", "HUB_LOOP"))}
    environment["GEVENT_LOOP"] = "hub_loop.gevent.Loop"
    if poller:
        environment["HUB_LOOP_BACKEND"] = poller
    text = f"{first}\n{CHECK}\n{textwrap.dedent(program)}\n{CHECK}"
    return subprocess.Popen(
        [sys.executable, "-c", text], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def finish(process: subprocess.Popen[str]) -> tuple[str, str]:
    """What it printed, and what it complained of; it is ended if it takes far too long."""
    with process:
        try:
            return process.communicate(timeout=50)
        except subprocess.TimeoutExpired:
            process.kill()
            printed, complaints = process.communicate()
            pytest.fail(f"the program does not end; it printed {printed!r} and {complaints!r}")


def run(program: str, *, first: str = PLAIN, poller: str = "") -> list[str]:
    """Run a gevent program to its end.  It must not complain.  Gives the lines that it printed."""
    process = start(program, first=first, poller=poller)
    printed, complaints = finish(process)
    assert (process.returncode, complaints) == (0, ""), complaints
    return printed.splitlines()
