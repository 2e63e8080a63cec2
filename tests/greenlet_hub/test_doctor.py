"""`greenlet-hub doctor`: what it finds when all is well, and what it says of each thing that is not."""

from __future__ import annotations

import importlib.metadata
import json
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from importlib.machinery import EXTENSION_SUFFIXES
from types import ModuleType
from typing import TYPE_CHECKING, Any

import greenlet
import pytest

import hub_resolver
from greenlet_hub import (
    BlockingResolver,
    ThreadPool,
    _cli,
    _defaults,
    _doctor_looks,
    _doctor_trials,
    get_hub,
    set_hub,
    set_loop,
    sleep,
)
from greenlet_hub._doctor_trials import Trials
from hub_loop import Loop, pollers

if TYPE_CHECKING:
    from tests.greenlet_hub.conftest import Command

SUBJECTS = {
    *("python", "packages", "extras", "environment", "files", "threads", "backlog", "clock", "signals", "strangers"),
    *("pollers", "name sources", "hub", "pool", "resolvers"),
}

try:
    import pycares
except ModuleNotFoundError:
    pass
else:
    # Its one thread starts with the first channel and never ends: it is no test's.
    pycares.Channel(sock_state_cb=lambda fd, read, write: None).close()


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in _defaults.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def trials() -> Iterator[Trials]:
    """Trials, on a hub that is gone afterwards, with its threads."""
    set_hub(None)
    set_loop(None)
    threads = set(threading.enumerate())
    made = Trials()
    yield made
    made.close()
    for worker in set(threading.enumerate()) - threads:
        if worker.name.startswith("hub-"):
            worker.join(30)


def only(found: Iterator[tuple[str, str]]) -> tuple[str, str]:
    findings = list(found)
    assert len(findings) == 1, findings
    return findings[0]


# -- the command ----------------------------------------------------------------------------------------------------


def test_where_all_is_well_it_says_so_in_lines_and_as_json(command: Command) -> None:
    ran = command("doctor")
    assert (ran.returncode, ran.stderr) == (0, ""), ran.stdout
    *lines, summary = ran.stdout.splitlines()
    assert summary.startswith("Everything works, ")
    assert {line[:6] for line in lines} <= {"ok    ", "note  ", "warn  "}
    told = json.loads(command("doctor", "--json").stdout)
    assert told["version"] == 1
    assert told["status"] in ("ok", "note", "warn")
    assert {each["subject"] for each in told["findings"]} == SUBJECTS
    assert [line[6:18].strip() for line in lines] == [each["subject"] for each in told["findings"]]
    text = "\n".join(each["text"] for each in told["findings"])
    for name in pollers.supported():
        assert f"{name}: a timer" in text or f"{name} (the default): a timer" in text
    assert "thread (the default): localhost is " in text
    assert "ThreadPool (the default), 10 threads at most" in text


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("HUB_LOOP", "hbu", "HUB_LOOP is 'hbu', but must be hub or package.module:Class"),
        ("HUB_LOOP_BACKEND", "epol", "HUB_LOOP_BACKEND is 'epol': unknown poller 'epol'"),
        ("HUB_THREADPOOL", "nowhere:Pool", "HUB_THREADPOOL=nowhere:Pool needs 'nowhere'"),
        ("HUB_THREADPOOL_IDLE_TASK_TIMEOUT", "soon", "HUB_THREADPOOL_IDLE_TASK_TIMEOUT is 'soon', but must be seconds"),
        ("HUB_RESOLVER", "aers", "HUB_RESOLVER is 'aers', but must be thread, ares"),
        ("HUB_REPORT_SIGNAL", "SIGWHAT", "HUB_REPORT_SIGNAL is 'SIGWHAT'"),
        ("HUB_WATCH", "often", "HUB_WATCH is 'often', but must be a number of seconds"),
    ],
)
def test_a_wrong_variable_fails_in_one_sentence_and_with_status_1(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    trials: Trials,
    variable: str,
    value: str,
    says: str,
) -> None:
    monkeypatch.setenv(variable, value)
    assert _cli.main(["doctor"]) == 1
    *lines, summary = capsys.readouterr().out.splitlines()
    failed = [line[20:] for line in lines if line.startswith("fail")]
    assert any(text.startswith(says) for text in failed), failed
    assert summary.startswith(f"{len(failed)} thing")


def test_without_a_hub_what_needs_one_is_not_tried(monkeypatch: pytest.MonkeyPatch, trials: Trials) -> None:
    monkeypatch.setenv("HUB_LOOP", "hbu")
    checks = {}
    with pytest.raises(ValueError, match="HUB_LOOP is 'hbu'"):
        for subject, check in trials.checks():
            checks[subject] = check
            if subject == "hub":
                list(check())
    left = {subject: only(check()) for subject, check in list(trials.checks())[3:]}
    assert left == dict.fromkeys(["pool", "resolvers"], ("note", "not tried: there is no hub"))


def test_a_check_that_raises_fails_and_the_others_are_made(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], trials: Trials
) -> None:
    def broken() -> Iterator[tuple[str, str]]:
        raise RuntimeError
        yield

    monkeypatch.setattr(_doctor_looks, "CHECKS", (("broken", broken),))
    assert _cli.main(["doctor", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["status"] == "fail"
    assert told["findings"][0] == {"subject": "broken", "mark": "fail", "text": "RuntimeError: no words"}
    assert {"hub", "pool"} < {each["subject"] for each in told["findings"]}


def test_ctrl_c_is_one_word_and_status_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], trials: Trials
) -> None:
    def interrupted() -> Iterator[tuple[str, str]]:
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(_doctor_looks, "CHECKS", (("broken", interrupted),))
    assert _cli.main(["doctor"]) == 130
    assert capsys.readouterr() == ("", "greenlet-hub doctor: interrupted\n")


SLOW = """
from greenlet_hub import BlockingResolver, ThreadPool, sleep
import sys
def wait(*args):
    print("waiting", file=sys.stderr, flush=True)
    sleep(40)
class Resolver(BlockingResolver):
    getaddrinfo = wait
class Pool(ThreadPool):
    apply = wait
"""


@pytest.mark.parametrize("part", ["Resolver", "Pool"])
def test_a_real_ctrl_c_in_a_trial_is_one_word_too(command: Command, part: str) -> None:
    command.script(SLOW, "slow.py")
    variable = {"Resolver": "HUB_RESOLVER", "Pool": "HUB_THREADPOOL"}[part]
    with command.start("doctor", environment={variable: f"slow:{part}"}) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "waiting\n"
        process.send_signal(signal.SIGINT)
        _, err = command.finish(process)
    assert (process.returncode, err) == (130, "greenlet-hub doctor: interrupted\n")


# -- looks ----------------------------------------------------------------------------------------------------------


def test_a_variable_of_ours_is_shown_and_a_misspelt_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"HUB_RESOLVER": "block", "HUB_RESOLVR": "ares", "HUB_AND_SPOKE": "1"}.items():
        monkeypatch.setenv(name, value)
    assert list(_doctor_looks.variables()) == [
        ("ok", "HUB_RESOLVER=block"),
        ("note", "HUB_AND_SPOKE is set and none of ours"),
        ("warn", "HUB_RESOLVR is set and nobody reads it; did you mean HUB_RESOLVER?"),
    ]


@pytest.mark.parametrize(
    ("limits", "mark", "says"),
    [
        ((256, 4096), "warn", "256 open files (soft limit), 4,096 (hard limit): each connection takes one"),
        ((1024, 4096), "ok", "1,024 open files (soft limit), 4,096 (hard limit)"),
        ((resource.RLIM_INFINITY,) * 2, "ok", "any number of open files"),
    ],
)
def test_few_open_files_are_a_warning(
    monkeypatch: pytest.MonkeyPatch, limits: tuple[int, int], mark: str, says: str
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: limits)
    found, text = only(_doctor_looks.files())
    assert found == mark
    assert text.startswith(says)


@pytest.mark.parametrize(
    ("read", "mark", "says"),
    [("64", "warn", "at most 64 "), ("4096", "ok", "at most 4,096 "), ("", "note", "the system does not tell")],
)
def test_a_short_backlog_is_a_warning(monkeypatch: pytest.MonkeyPatch, read: str, mark: str, says: str) -> None:
    monkeypatch.setattr(_doctor_looks, "_read", lambda path: read)
    found, text = only(_doctor_looks.backlog())
    assert (found, text.startswith(says)) == (mark, True)


def test_a_coarse_clock_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([1.0, 1.0, 1.015])
    monkeypatch.setattr(time, "monotonic", lambda: next(times))
    assert only(_doctor_looks.clock())[0] == "warn"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGCHLD, signal.SIGTERM])
def test_a_signal_that_is_ignored_is_a_warning(monkeypatch: pytest.MonkeyPatch, number: signal.Signals) -> None:
    ignored = {number: signal.SIG_IGN}
    monkeypatch.setattr(signal, "getsignal", lambda asked: ignored.get(asked, signal.SIG_DFL))
    mark, text = only(_doctor_looks.signals())
    assert mark == "warn"
    assert text.startswith(f"{number.name} is ignored: ")


def test_who_has_patched_or_traces_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    patched: Any = ModuleType("gevent.monkey")
    patched.saved = {"socket": {}}
    monkeypatch.setitem(sys.modules, "gevent.monkey", patched)
    former = greenlet.settrace(lambda *_: None)
    try:
        found = list(_doctor_looks.strangers())
    finally:
        greenlet.settrace(former)
    assert [mark for mark, _ in found if mark != "warn"] == []
    assert found[0][1].startswith("gevent has patched the standard library")
    assert found[1][1].startswith("somebody traces greenlets")


def test_a_part_that_is_not_installed_is_a_note_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    found = list(_doctor_looks.extras())
    assert [mark for mark, _ in found] == ["note"] * 3
    assert found[0][1].endswith("pip install 'hub-resolver[ares]'")


def test_packages_that_do_not_go_together_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_resolver.__about__, "__version__", "0.9.1")
    monkeypatch.setitem(sys.modules, "hub_threadpool.__about__", None)
    failed = [text for mark, text in _doctor_looks.family() if mark == "fail"]
    assert failed[0] == "hub-threadpool is not installed: pip install hub-threadpool"
    assert failed[1].startswith("hub-resolver is 0.9.1, and greenlet-hub 0.")


def test_compiled_modules_are_counted(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    (tmp_path / "compiled_here").mkdir()
    (tmp_path / "compiled_here" / "__init__.py").write_text("")
    (tmp_path / "compiled_here" / f"_fast{EXTENSION_SUFFIXES[0]}").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    assert _doctor_looks._build("compiled_here") == "1 compiled modules"
    assert _doctor_looks._build("greenlet_hub") == "pure Python"


# -- trials ---------------------------------------------------------------------------------------------------------


def test_a_poller_that_no_thread_can_wake_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_doctor_trials, "LIMIT", 0.05)
    monkeypatch.setattr(Loop, "run_callback_threadsafe", lambda *_: None)
    with pytest.raises(TimeoutError, match=r"^poll: a thread cannot wake the loop$"):
        _doctor_trials._try_poller("poll")


def test_a_poller_that_tells_of_no_fd_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_doctor_trials, "LIMIT", 0.05)
    monkeypatch.setattr("hub_loop._io.Registration.deliver", lambda *_: None)
    with pytest.raises(TimeoutError, match=r"^select: a socket that has data is not readable$"):
        _doctor_trials._try_poller("select")


def test_a_pool_that_runs_jobs_in_our_thread_fails(trials: Trials) -> None:
    class Here(ThreadPool):
        def apply(self, func: Callable[[], Any], *_: Any, **__: Any) -> Any:
            return func()

    hub = trials._need_hub()
    hub.threadpool = Here(2, hub=hub)
    mark, text = only(trials.try_pool())
    assert (mark, text.startswith("Here (the default) runs jobs in the hub's own thread")) == ("fail", True)


class Odd(BlockingResolver):
    """Never answers, or says no."""

    error: OSError | None = None

    def getaddrinfo(self, *_: Any, **__: Any) -> Any:
        if self.error is not None:
            raise self.error
        sleep(99)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (None, "localhost was not found: no answer within 0.05 s"),
        (OSError(5, "no such luck"), "not found: no such luck"),
    ],
)
@pytest.mark.parametrize("chosen", [True, False])
def test_a_resolver_that_does_not_answer_fails_if_it_is_the_chosen_one(
    monkeypatch: pytest.MonkeyPatch, trials: Trials, error: OSError | None, says: str, chosen: bool
) -> None:
    module: Any = ModuleType("an_odd_resolver")
    module.Odd = Odd
    monkeypatch.setitem(sys.modules, "an_odd_resolver", module)
    monkeypatch.setattr(Odd, "error", error)
    if error is None:
        monkeypatch.setattr(_doctor_trials, "LIMIT", 0.05)
    if chosen:
        monkeypatch.setenv("HUB_RESOLVER", "an_odd_resolver:Odd")
    mark, text = only(trials.try_resolver("an_odd_resolver:Odd"))
    assert mark == ("fail" if chosen else "warn")
    assert says in text


def test_a_resolver_that_is_not_installed_fails_if_it_is_the_chosen_one(
    monkeypatch: pytest.MonkeyPatch, trials: Trials
) -> None:
    monkeypatch.setitem(sys.modules, "pycares", None)
    assert only(trials.try_resolver("ares"))[0] == "note"
    monkeypatch.setenv("HUB_RESOLVER", "ares")
    mark, text = only(trials.try_resolver("ares"))
    assert mark == "fail"
    assert text.startswith("ares (HUB_RESOLVER=ares): ")
    assert text.endswith("pip install 'hub-resolver[ares]'")


def test_trials_leave_no_hub_behind(trials: Trials) -> None:
    hub = trials._need_hub()
    assert hub is get_hub()
    trials.close()
    assert hub.loop is None
