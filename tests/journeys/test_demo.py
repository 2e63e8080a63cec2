"""The command line: what it serves, what it says, how it ends.  Always `--quick`, as a process of its own."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys
from typing import Any

import pytest

from greenlet_hub import _demo

UTF8 = {"PYTHONIOENCODING": "utf-8"}
COMMAND = [sys.executable, "-m", "greenlet_hub"]


def run(
    *arguments: str, ulimit: str = "", environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command; `ulimit` is what a shell does first."""
    command = ["sh", "-c", f'{ulimit or ":"}; exec "$@"', "sh", *COMMAND, *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=50, env={**os.environ, **UTF8, **(environment or {})}
    )


def table(text: str) -> dict[str, str]:
    """The rows of the table, by their first column."""
    rows = [line.strip("│ \n").split("│") for line in text.splitlines() if line.startswith("│")]
    return {key.strip(): value.strip() for key, value in rows}


def number(text: str) -> int:
    return int(text.split()[0].replace(",", ""))


@pytest.mark.parametrize("poller", ["epoll", "poll", "select"])
def test_the_show_loses_nothing_and_says_so(poller: str) -> None:
    ran = run("--quick", environment={"HUB_LOOP_BACKEND": poller})
    assert (ran.returncode, ran.stderr) == (0, ""), ran.stdout + ran.stderr
    assert "All is well" in ran.stdout
    rows = table(ran.stdout)
    assert number(rows["requests"]) >= 100
    assert number(rows["timers"]) > 0
    assert (rows["errors"], rows["timers early"]) == ("0", "0")
    assert number(rows["wake-ups posted"]) > 0
    assert rows["wake-ups posted"] == rows["wake-ups delivered"]
    for timed in ("latency p50 / p99", "timer lateness p50 / p99 / max"):
        values = [float(value) for value in re.findall(r"[\d.]+(?= )", rows[timed])]
        assert values == sorted(values)


def test_ctrl_c_ends_it_early_with_the_table_so_far() -> None:
    with subprocess.Popen(
        [*COMMAND, "--quick", "--seconds", "40"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **UTF8, "PYTHONUNBUFFERED": "1"},
    ) as process:
        assert process.stdout is not None
        try:
            while not re.match(r" +1\.\d s: ", line := process.stdout.readline()):
                assert line
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=30)
        finally:
            process.kill()
    assert (process.returncode, err) == (130, "")
    assert "Interrupted." in out
    assert table(out)["errors"] == "0"


def test_too_few_open_files_mean_fewer_clients_and_it_says_so() -> None:
    ran = run("--quick", "--clients", "500", ulimit="ulimit -n 200")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "500 clients need 1,064 open files and the system allows 200 (ulimit -Hn): going on with 68" in ran.stdout


def test_a_poller_that_takes_few_files_means_fewer_clients_and_it_says_so() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if 0 < hard < 1024:
        pytest.skip("the hard limit is too low for this")
    ran = run("--quick", "--clients", "500", environment={"HUB_LOOP_BACKEND": "select"})
    assert (ran.returncode, ran.stderr) == (0, ""), ran.stdout + ran.stderr
    assert (
        "500 clients need 1,064 open files and select takes 1,024 (HUB_LOOP_BACKEND): going on with 480" in ran.stdout
    )


def test_a_soft_limit_is_raised_in_silence() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if 0 < hard < 1024:
        pytest.skip("the hard limit is too low for this")
    ran = run("--quick", ulimit="ulimit -Sn 128")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "open files" not in ran.stdout


@pytest.mark.parametrize("wrong", [["--clients", "0"], ["--seconds", "-1"], ["--timers", "many"], ["--what"]])
def test_wrong_arguments_are_refused_with_the_usage(wrong: list[str]) -> None:
    ran = run(*wrong)
    assert ran.returncode == 2
    assert ran.stderr.startswith("usage: greenlet-hub")


def test_the_help_tells_the_options_and_the_exit_status() -> None:
    ran = run("--help")
    assert ran.returncode == 0
    for word in ("--seconds", "--clients", "--timers", "--quick", "Exit status", "HUB_LOOP_BACKEND"):
        assert word in ran.stdout


def _good() -> _demo.Report:
    return _demo.Report(latencies=[0.1], lateness=[0.0], posted=3, delivered=3)


def test_a_report_without_faults_has_no_problems() -> None:
    assert _good().problems() == []


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ({"failures": ["client: broken"]}, "1 requests or connections failed, the first: ['client: broken']"),
        ({"latencies": []}, "no request was answered"),
        ({"lateness": [0.1, -0.001]}, "1 timers fired early"),
        ({"overslept": 2}, "2 sleeping greenlets were not woken"),
        ({"delivered": 1}, "2 wake-ups were lost"),
        ({"misdelivered": 1}, "1 wake-ups came twice or out of order"),
    ],
)
def test_each_fault_is_a_problem_and_thus_an_exit_status(fault: dict[str, Any], says: str) -> None:
    report = _good()
    for name, value in fault.items():
        setattr(report, name, value)
    assert [says in problem for problem in report.problems()] == [True]
