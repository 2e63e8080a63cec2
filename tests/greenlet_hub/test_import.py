"""What importing the family costs, counted in a fresh interpreter.  The time it takes is a benchmark: bench_import."""

from __future__ import annotations

import json
import subprocess
import sys

MOST_MODULES = 25
REPORT = """
import sys
bare = set(sys.modules)
{code}
added = sorted(set(sys.modules) - bare)
import json, os, _thread  # only now: what these bring does not count as there already
print(json.dumps([added, _thread._count(), len(os.listdir("/proc/self/fd"))]))
"""
EVERYDAY = "from greenlet_hub import get_hub, Hub, Waiter, sleep, spawn_raw, kill, wait_read, LoopExit"


def run(code: str) -> tuple[list[str], int, int]:
    """Run `code`; returns the modules that it added, the threads beside the main one, and the number of open fds."""
    ran = subprocess.run(
        [sys.executable, "-c", REPORT.format(code=code)], capture_output=True, text=True, timeout=30, check=True
    )
    modules, threads, fds = json.loads(ran.stdout)
    return modules, threads, fds


def test_the_import_stays_within_its_budget_of_modules() -> None:
    modules, _, _ = run(EVERYDAY)
    assert len(modules) <= MOST_MODULES, f"{len(modules)} modules: {' '.join(modules)}"


def test_the_import_leaves_out_what_not_every_program_needs() -> None:
    modules, _, _ = run(EVERYDAY)
    unwanted = {
        "typing",
        "hub_loop",
        "hub_threadpool",
        "hub_resolver",
        "socket",
        "asyncio",
        "rich",
        "importlib.metadata",
    }
    assert not unwanted & set(modules)


def test_the_import_starts_no_thread_and_opens_no_file() -> None:
    _, threads_before, fds_before = run("")
    _, threads, fds = run(EVERYDAY)
    assert (threads, fds) == (threads_before, fds_before)


def test_the_first_hub_brings_the_loop_and_no_pool_and_no_resolver() -> None:
    modules, _, _ = run("import greenlet_hub; greenlet_hub.sleep(0.001)")
    assert "hub_loop" in modules
    assert not {"hub_threadpool", "hub_resolver", "rich", "asyncio"} & set(modules)
