"""A project that depends on hub-api alone: its type checker accepts right uses and refuses wrong ones, line by line."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import hub_api

RIGHT = '''
"""A library that is written against the interfaces."""

import functools

from hub_api import (
    READ,
    WRITE,
    IErrorHandler,
    IHub,
    ILoopCore,
    IResolver,
    ISwitchable,
    IThreadPool,
    IWaiter,
    IWatcher,
    LoopExit,
)


def add(one: int, two: str, three: float = 1.0) -> str:
    return f"{one}{two}{three}"


def note(*args: object) -> None: ...


def told(events: int, name: str) -> None: ...


def use(loop: ILoopCore, greenlet: ISwitchable) -> None:
    callback = loop.run_callback(add, 1, "two")
    loop.run_callback(add, 1, "two", 3.0)
    loop.run_callback(note)
    loop.run_callback(note, 1, "two", None)
    loop.run_callback(functools.partial(add, 1), "two")
    loop.run_callback(lambda: None)
    loop.run_callback(print, "anything", 1)
    loop.run_callback(greenlet.switch, "anything")
    loop.run_callback_threadsafe(greenlet.throw, LoopExit)
    if callback and callback.pending:
        callback.stop()
    with loop.timer(1.5, ref=False) as timer:
        timer.start(add, 1, "two", update=True)
        timer.again(note)
        timer.ref = True
        timer.priority = None
    reader = loop.io(0, READ | WRITE)
    reader.start(note)
    reader.start(told, "name", pass_events=True)
    reader.start(add, 1, "two", pass_events=False)
    loop.async_().send_ignoring_arg(reader)
    watchers: list[IWatcher] = [timer, reader, loop.idle(), loop.prepare(), loop.check()]
    for watcher in watchers:
        watcher.start(note, watcher)
        watcher.close()
    registration = loop.register(0, note)
    registration.want(READ)
    registration.close()
    done: bool = loop.run(nowait=True)
    number: int | None = loop.fileno()
    print(done, number, loop.now() + 1.0)


class Handler:
    """Conforms without importing what it conforms to."""

    def handle_error(self, context: object, type: object, value: BaseException, tb: object, /) -> None: ...


def install(loop: ILoopCore) -> None:
    handler: IErrorHandler = Handler()
    loop.error_handler = handler
    loop.error_handler = None


def park(hub: IHub, watcher: IWatcher) -> None:
    hub.wait(watcher)
    waiter: IWaiter = hub.waiter()
    hub.loop.run_callback(waiter.switch, "value")
    waiter.get()
    hub.cancel_wait(watcher, TimeoutError)


def work(pool: IThreadPool, resolver: IResolver) -> tuple[str, str]:
    job = pool.spawn(add, 1, two="2", three=3.0)
    address: str = resolver.gethostbyname("localhost")
    return job.get(), address
'''

WRONG = '''
"""The same library, written in haste."""

from hub_api import READ, IErrorHandler, IHub, IJob, ILoopCore, IThreadPool, IWatcher
from hub_api import ILoup  # wrong: attr-defined


def add(one: int, two: str) -> str:
    return f"{one}{two}"


def told(events: int, name: str) -> None: ...


def use(loop: ILoopCore, watcher: IWatcher, pool: IThreadPool, hub: IHub) -> None:
    loop.run_callback(add, 1)  # wrong: arg-type
    loop.run_callback(add, "one", "two")  # wrong: arg-type
    loop.run_callback(add, 1, "two", 3)  # wrong: arg-type
    loop.run_callback(add, 1, two="two")  # wrong: call-arg
    loop.run_callback("add")  # wrong: arg-type
    loop.run_callback()  # wrong: call-arg
    loop.run_callback_threadsafe(add)  # wrong: arg-type
    watcher.start(add, 1)  # wrong: arg-type
    watcher.start(None)  # wrong: arg-type
    watcher.start(add(1, "two"))  # wrong: arg-type
    loop.timer(1.0).start(add, 1, 2)  # wrong: arg-type
    loop.timer("soon")  # wrong: arg-type
    loop.timer(1.0, update=True)  # wrong: call-arg
    loop.io(0, READ).start(told, "name")  # wrong: any
    loop.io(0, READ).start(told, 1, pass_events=True)  # wrong: any
    loop.io("0", READ)  # wrong: arg-type
    watcher.active = True  # wrong: misc
    watcher.callback = 3  # wrong: assignment
    watcher.send()  # wrong: attr-defined
    loop.signal(2)  # wrong: attr-defined
    pool.spawn(add, 1)  # wrong: call-arg
    pool.spawn(add, 1, two=2)  # wrong: arg-type
    job: IJob[int] = pool.spawn(add, 1, two="2")  # wrong: arg-type
    number: int = loop.fileno()  # wrong: assignment
    hub.wait(None)  # wrong: arg-type
    print(job, number)


class WithoutMember:
    def handle_errors(self, context: object, type: object, value: object, tb: object, /) -> None: ...


class WithOtherSignature:
    def handle_error(self, context: object) -> None: ...


class Halfway:
    callback = None
    args = None
    ref = True
    priority = 0
    loop = None
    active = pending = closed = False

    def stop(self) -> None: ...


one: IErrorHandler = WithoutMember()  # wrong: assignment
two: IErrorHandler = WithOtherSignature()  # wrong: assignment
three: IWatcher = Halfway()  # wrong: assignment
'''


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a copy of hub_api as its only library."""
    root = tmp_path_factory.mktemp("consumer")
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(hub_api.__path__[0]), root / "site" / "hub_api", ignore=ignore)
    (root / "right.py").write_text(RIGHT)
    (root / "wrong.py").write_text(WRONG)
    return root


@pytest.fixture(scope="module")
def findings(project: Path) -> list[str]:
    """What `mypy --strict` says of the two files, with nothing on its path but hub_api."""
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--hide-error-context", "--no-pretty"]
    command += [
        "--no-site-packages",
        "--config-file",
        "",
        "--cache-dir",
        str(project / "cache"),
        "right.py",
        "wrong.py",
    ]
    done = subprocess.run(
        command, cwd=project, env={"MYPYPATH": str(project / "site")}, capture_output=True, text=True, timeout=55
    )
    assert done.stderr == ""
    return [line for line in done.stdout.splitlines() if ": error: " in line]


def test_right_uses_are_accepted(findings: list[str]) -> None:
    assert [line for line in findings if not line.startswith("wrong.py:")] == []


def test_each_wrong_use_is_refused_in_its_line_and_nothing_else_is(findings: list[str]) -> None:
    expected = {
        (number, code)
        for number, line in enumerate(WRONG.splitlines(), 1)
        for code in re.findall(r"# wrong: ([a-z-]+)$", line)
    }
    found = set()
    for line in findings:
        match = re.fullmatch(r"wrong\.py:(\d+): error: .* \[([a-z-]+)\]", line)
        assert match is not None, line
        found.add((int(match[1]), match[2]))
    assert {number for number, _ in found} == {number for number, _ in expected}
    # mypy may have more than one thing to say of a line; and of overloads it says now this, now that.
    assert {(number, code) for number, code in expected if code != "any"} <= found


def test_a_missing_member_is_named(findings: list[str], project: Path) -> None:
    [line] = [line for line in findings if line.startswith("wrong.py:") and '"Halfway"' in line]
    assert "IWatcher" in line


def test_the_right_file_runs_without_greenlet(project: Path) -> None:
    code = "import sys, right; assert 'greenlet' not in sys.modules"
    environment = {"PYTHONPATH": f"{project}:{project / 'site'}"}
    subprocess.run([sys.executable, "-S", "-c", code], check=True, env=environment, timeout=30)
