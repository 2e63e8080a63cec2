"""`greenlet-hub resolve`: what it prints, where, and with which exit status.  What it asks is on this machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from greenlet_hub import BlockingResolver, _cli, get_hub, set_hub, set_loop

if TYPE_CHECKING:
    from tests.greenlet_hub.conftest import Command

try:
    import pycares
except ModuleNotFoundError:
    pass
else:
    # Its one thread starts with the first channel and never ends: it is no test's.
    pycares.Channel(sock_state_cb=lambda fd, read, write: None).close()

NAMED = "a_resolver_of_mine:Mine"


class Mine(BlockingResolver):
    """Knows two names, and no server."""

    closed = 0
    interrupts = False

    def getaddrinfo(self, host: Any, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0) -> Any:
        if self.interrupts:
            raise KeyboardInterrupt
        if host not in ("two.test", "one.test"):
            return super().getaddrinfo("name with spaces", port, family, type, proto, flags)
        found = [*super().getaddrinfo("192.0.2.1", port, 0, type), *super().getaddrinfo("2001:db8::1", port, 0, type)]
        return [entry for entry in found if family in (0, entry[0])]

    def close(self) -> None:
        Mine.closed += 1


@pytest.fixture(autouse=True)
def own_hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A hub for each test, no environment, and a module that has `Mine`."""
    monkeypatch.delenv("HUB_RESOLVER", raising=False)
    module = ModuleType("a_resolver_of_mine")
    module.Mine = Mine  # type: ignore[attr-defined]  # made for the test
    monkeypatch.setitem(sys.modules, "a_resolver_of_mine", module)
    set_hub(None)
    set_loop(None)
    threads = set(threading.enumerate())
    yield
    get_hub().destroy(destroy_loop=True)
    for worker in set(threading.enumerate()) - threads:
        if worker.name.startswith("hub-"):  # told to end, and a moment from it
            worker.join(30)


def run(*arguments: str) -> int:
    return _cli.main(["resolve", *arguments])


def test_it_prints_the_addresses_one_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    before = Mine.closed
    assert run("two.test", "--resolver", NAMED) == 0
    assert capsys.readouterr() == ("192.0.2.1\n2001:db8::1\n", "")
    assert Mine.closed == before + 1


@pytest.mark.parametrize(("family", "address"), [("4", "192.0.2.1"), ("6", "2001:db8::1")])
def test_family_and_port_are_passed_on(capsys: pytest.CaptureFixture[str], family: str, address: str) -> None:
    assert run("two.test", "--resolver", NAMED, "--family", family, "--service", "http") == 0
    assert capsys.readouterr().out == f"{address} 80\n"
    assert run("two.test", "--resolver", NAMED, "--family", family, "--port", "8080") == 0
    assert capsys.readouterr().out == f"{address} 8080\n"


@pytest.mark.parametrize("name", ["thread", "block", "ares", "dnspython"])
def test_each_resolver_has_its_name(capsys: pytest.CaptureFixture[str], name: str) -> None:
    pytest.importorskip({"ares": "pycares", "dnspython": "dns"}.get(name, "socket"))
    assert run("127.0.0.1", "--resolver", name, "--trace") == 0
    head = capsys.readouterr().out.splitlines()[0].lower()
    assert head.startswith(f"127.0.0.1, by {name}"), head


def test_without_the_option_the_environment_decides_and_the_option_goes_before(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUB_RESOLVER", NAMED)
    assert run("one.test") == 0
    assert run("one.test", "--resolver", "block") == 1
    assert "one.test" in capsys.readouterr().err


@pytest.mark.parametrize("more", [[], ["--trace"], ["--json"], ["--json", "--trace"]])
def test_a_name_that_is_not_found_is_one_sentence_and_status_1(
    capsys: pytest.CaptureFixture[str], more: list[str]
) -> None:
    assert run("three.test", "--resolver", NAMED, *more) == 1
    out, err = capsys.readouterr()
    assert err == "greenlet-hub resolve: three.test: Name or service not known\n"
    assert bool(out) is bool(more)


def test_the_trace_is_printed_with_its_steps(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("127.0.0.1", "--resolver", "block", "--trace") == 0
    lines = capsys.readouterr().out.splitlines()
    assert "libc      getaddrinfo: returned" in lines[2]
    assert lines[-1].endswith("in all: 127.0.0.1")


@pytest.mark.parametrize("steps", [False, True])
def test_json_is_one_object_and_has_the_steps_if_they_are_asked_for(
    capsys: pytest.CaptureFixture[str], steps: bool
) -> None:
    assert run("127.0.0.1", "--resolver", "block", "--json", *(["--trace"] if steps else [])) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["addresses"] == ["127.0.0.1"]
    assert ("steps" in told) is steps


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ("aers", "--resolver is 'aers', but must be thread, ares, dnspython, block or package.module:Class"),
        ("no_such_package:Mine", "--resolver=no_such_package:Mine needs 'no_such_package': install the distribution"),
        ("hub_resolver:Mine", "--resolver=hub_resolver:Mine needs 'Mine', which 'hub_resolver' does not have"),
    ],
)
def test_a_resolver_that_cannot_be_had_is_one_sentence_and_status_2(
    capsys: pytest.CaptureFixture[str], asked: str, says: str
) -> None:
    assert run("127.0.0.1", "--resolver", asked) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"greenlet-hub resolve: {says}")
    assert err.count("\n") == 1


def test_a_missing_extra_is_one_sentence_and_status_2(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pycares", None)
    assert run("127.0.0.1", "--resolver", "ares") == 2
    assert capsys.readouterr().err.endswith("pip install 'hub-resolver[ares]'\n")


@pytest.mark.parametrize("wrong", [[], ["one.test", "--family", "5"], ["one.test", "two.test"], ["one.test", "--what"]])
def test_wrong_arguments_are_refused_with_the_usage(capsys: pytest.CaptureFixture[str], wrong: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(*wrong)
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("usage: greenlet-hub")


def test_ctrl_c_ends_it_and_closes_the_resolver(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Mine, "interrupts", True)
    before = Mine.closed
    assert run("one.test", "--resolver", NAMED) == 130
    assert capsys.readouterr() == ("", "greenlet-hub resolve: interrupted\n")
    assert Mine.closed == before + 1


@pytest.mark.parametrize("resolver", ["AresResolver", "DnspythonResolver"])
def test_the_queries_to_a_real_server_are_told(capsys: pytest.CaptureFixture[str], resolver: str) -> None:
    pytest.importorskip({"AresResolver": "pycares", "DnspythonResolver": "dns"}[resolver])
    testing = pytest.importorskip("hub_resolver.testing", reason="needs the extra hub-resolver[dnspython]")
    import hub_resolver

    with testing.NameServer("www.example.test A 192.0.2.1") as server:
        kind = getattr(hub_resolver, resolver)
        mine: Any = sys.modules["a_resolver_of_mine"]
        mine.Asks = lambda hub: kind(hub, servers=[server.server])
        assert run("www.example.test.", "--resolver", "a_resolver_of_mine:Asks", "--trace", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    kinds = [step["kind"] for step in told["steps"]]
    assert told["resolver"] == resolver
    assert kinds.count("question") == kinds.count("query") == 2
    assert {step["subject"].replace("#", ":") for step in told["steps"] if step["kind"] == "query"} == {server.server}
    assert told["addresses"] == ["192.0.2.1"]


def test_as_a_process_it_ends_with_its_status_and_leaves_nothing_running() -> None:
    command = [sys.executable, "-m", "greenlet_hub", "resolve"]
    environment = {name: value for name, value in os.environ.items() if name != "HUB_RESOLVER"}
    for arguments, status, out in (
        (["127.0.0.1"], 0, "127.0.0.1\n"),
        (["name with spaces", "--resolver", "block"], 1, ""),
        (["--help"], 0, None),
    ):
        ran = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=50, env=environment)
        assert ran.returncode == status, ran.stderr
        assert ran.stdout == out if out is not None else "Exit status" in ran.stdout


def test_a_name_that_the_terminal_cannot_show_is_escaped() -> None:
    ran = subprocess.run(
        [
            sys.executable,
            "-m",
            "greenlet_hub",
            "resolve",
            b"m\xc3\xbcnchen.invalid\xff",
            "--trace",
            "--resolver",
            "block",
        ],
        capture_output=True,
        timeout=50,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    assert ran.returncode == 1, ran.stderr
    assert ran.stdout.startswith(b"m\\xfcnchen.invalid\\udcff, by BlockingResolver\n")


def test_a_real_ctrl_c_ends_a_lookup_that_waits(command: Command) -> None:
    command.script(
        "from greenlet_hub import BlockingResolver, sleep\n"
        "class Slow(BlockingResolver):\n"
        "    def getaddrinfo(self, *args):\n"
        "        print('waiting', flush=True)\n"
        "        sleep(40)\n",
        "a_slow_resolver.py",
    )
    with command.start("resolve", "one.test", "--resolver", "a_slow_resolver:Slow") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        process.send_signal(signal.SIGINT)
        out, err = command.finish(process)
    assert (process.returncode, out, err) == (130, "", "greenlet-hub resolve: interrupted\n")
