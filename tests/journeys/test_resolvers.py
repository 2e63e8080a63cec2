"""The resolvers on c-ares and dnspython under a real hub: greenlets park, go on, are killed; the process forks."""

from __future__ import annotations

import gc
import os
import socket
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pycares", reason="needs the extra hub-resolver[ares]")
pytest.importorskip("dns", reason="needs the extra hub-resolver[dnspython]")

import pycares
from greenlet import getcurrent
from tests.journeys.conftest import assert_refused_in_another_thread

from greenlet_hub import (
    AresResolver,
    BlockingSwitchOutError,
    DnspythonResolver,
    GreenletExit,
    Hub,
    kill,
    sleep,
    spawn_raw,
)
from hub_resolver.testing import NameServer

pycares.Channel(sock_state_cb=lambda fd, read, write: None).close()  # its one thread never ends, and is no test's

ZONE = "\n".join(f"n{i}.example.test A 192.0.2.{i}\nn{i}.example.test AAAA 2001:db8::{i:x}" for i in range(1, 50))
Resolver = AresResolver | DnspythonResolver
MANY = int(os.environ.get("HUB_MANY_LOOKUPS", "400"))
"""Lookups that are created and cancelled: 10,000 to see what it is about."""


@pytest.fixture
def server() -> Iterator[NameServer]:
    with NameServer(ZONE) as made:
        yield made


@pytest.fixture(params=[AresResolver, DnspythonResolver])
def resolver(request: pytest.FixtureRequest, hub: Hub, server: NameServer, tmp_path: Path) -> Iterator[Resolver]:
    """A resolver that asks the server, and goes by no file of this machine."""
    for name, text in (("resolv.conf", ""), ("hosts", ""), ("nsswitch.conf", "hosts: files dns\n")):
        (tmp_path / name).write_text(text)
    files = {"resolv_conf": "resolv.conf", "hosts": "hosts", "nsswitch": "nsswitch.conf"}
    paths = {key: str(tmp_path / name) for key, name in files.items()}
    made: Resolver = request.param(hub, servers=[server.server], timeout=20, tries=1, **paths)
    hub.resolver = made
    yield made
    made.close()


def looking_up(resolver: Resolver, name: str, outcomes: list[Any]) -> Callable[[], None]:
    """The body of a greenlet that looks `name` up."""

    def body() -> None:
        try:
            outcomes.append(resolver.gethostbyname(name))
        except BaseException as error:
            outcomes.append(error)

    return body


def test_others_run_while_a_greenlet_waits_for_an_answer(resolver: Resolver) -> None:
    ticks: list[int] = []

    def tick() -> None:
        while True:
            ticks.append(1)
            sleep(0.001)

    ticker = spawn_raw(tick)
    assert resolver.gethostbyname("slow-50.example.test") == "198.51.0.1"
    kill(ticker)
    sleep(0)
    assert len(ticks) > 5


def test_many_greenlets_get_each_its_own_answer(resolver: Resolver) -> None:
    answers: dict[int, str] = {}

    def ask(i: int) -> None:
        answers[i] = resolver.gethostbyname(f"n{i}.example.test")

    for i in range(1, 50):
        spawn_raw(ask, i)
    while len(answers) < 49:
        sleep(0.001)
    assert answers == {i: f"192.0.2.{i}" for i in range(1, 50)}


def test_a_killed_greenlet_leaves_no_question_and_is_never_called_back(resolver: Resolver) -> None:
    outcomes: list[Any] = []
    killed = spawn_raw(looking_up(resolver, "slow-30.example.test", outcomes))
    sleep(0)
    sleep(0)
    kill(killed)
    sleep(0)
    assert killed.dead
    assert "asking=0" in repr(resolver)
    assert resolver.gethostbyname("slow-60.example.test") == "198.51.0.1"  # by now the other answer would have come
    assert [type(outcome) for outcome in outcomes] == [GreenletExit]


def test_closing_ends_every_lookup_under_way_with_an_error_that_says_why(resolver: Resolver) -> None:
    outcomes: list[Any] = []
    for _ in range(5):
        spawn_raw(looking_up(resolver, "drop.example.test", outcomes))
    sleep(0)
    sleep(0)
    resolver.close()
    while len(outcomes) < 5:
        sleep(0)
    assert {type(outcome) for outcome in outcomes} == {socket.gaierror}
    assert all("was closed while this lookup was under way" in str(outcome) for outcome in outcomes)
    assert resolver.gethostbyname("n1.example.test") == "192.0.2.1"


def test_thousands_created_and_killed_leave_nothing(resolver: Resolver) -> None:
    outcomes: list[Any] = []
    watched: list[weakref.ref[Any]] = []
    for _ in range(0, MANY, 50):
        batch = [spawn_raw(looking_up(resolver, "drop.example.test", outcomes)) for _ in range(50)]
        sleep(0)
        sleep(0)
        watched += [weakref.ref(each) for each in batch]
        for each in batch:
            kill(each)
        batch.clear()
        del each
        sleep(0)
    while len(outcomes) < len(watched):
        sleep(0)
    assert {type(outcome) for outcome in outcomes} == {GreenletExit}
    outcomes.clear()
    sleep(0)
    gc.collect()
    assert [reference for reference in watched if reference() is not None] == []
    assert "asking=0" in repr(resolver)


def test_a_lookup_in_a_callback_is_refused_and_leaves_no_question(hub: Hub, resolver: Resolver) -> None:
    refused: list[BaseException] = []

    def callback() -> None:
        try:
            resolver.gethostbyname("n1.example.test")
        except BlockingSwitchOutError as error:
            refused.append(error)

    hub.loop.run_callback(callback)
    sleep(0.001)
    assert len(refused) == 1
    assert "asking=0" in repr(resolver)


def test_in_a_forked_child_lookups_under_way_end_and_new_ones_are_answered(resolver: Resolver, kin: Any) -> None:
    outcomes: list[Any] = []
    waiting = spawn_raw(looking_up(resolver, "slow-200.example.test", outcomes))
    sleep(0)
    sleep(0)
    kin.fork()

    def check() -> None:
        assert resolver.gethostbyname("n2.example.test") == "192.0.2.2"
        assert outcomes == []  # who asked in the parent waits there, and nowhere else

    kin.child_ends(check)
    while not waiting.dead:
        sleep(0.001)
    assert outcomes == ["198.51.0.1"]


def test_a_loop_with_a_lookup_under_way_does_not_end_and_without_one_does(hub: Hub, resolver: Resolver) -> None:
    outcomes: list[Any] = []
    spawn_raw(looking_up(resolver, "slow-30.example.test", outcomes))
    assert hub.join(20) is True
    assert outcomes == ["198.51.0.1"]


@pytest.mark.parametrize(("name", "kind"), [("ares", "AresResolver"), ("dnspython", "DnspythonResolver")])
def test_the_environment_chooses_the_resolver(name: str, kind: str) -> None:
    code = (
        "from greenlet_hub import get_hub\nresolver = get_hub().resolver\n"
        "print(type(resolver).__name__, resolver.gethostbyname('127.0.0.1'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "HUB_RESOLVER": name},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert (done.returncode, done.stdout) == (0, f"{kind} 127.0.0.1\n"), done.stderr


def test_a_hub_that_is_destroyed_takes_its_resolver_and_the_lookups_with_it(hub: Hub, resolver: Resolver) -> None:
    outcomes: list[Any] = []
    waiting = spawn_raw(looking_up(resolver, "drop.example.test", outcomes))
    sleep(0)
    sleep(0)
    assert "asking=1" in repr(resolver)
    hub.destroy(destroy_loop=True)
    assert "asking=1" not in repr(resolver)
    waiting.parent = getcurrent()  # its hub is gone, so nobody but we can end it
    waiting.throw(GreenletExit)
    assert [type(outcome) for outcome in outcomes] == [GreenletExit]


def test_a_chain_of_lookups_in_one_greenlet_leaves_no_watcher(hub: Hub, resolver: Resolver) -> None:
    from hub_loop import Loop
    from hub_loop.testing import active_watchers

    assert isinstance(hub.loop, Loop)
    before = len(active_watchers(hub.loop))
    for i in range(1, 20):
        resolver.gethostbyname(f"n{i}.example.test")
    sleep(0)
    assert len(active_watchers(hub.loop)) == before


@pytest.mark.parametrize("kind", [AresResolver, DnspythonResolver])
def test_another_thread_is_refused_with_both_threads_and_both_hubs(hub: Hub, kind: type[Resolver]) -> None:
    resolver = kind(hub)
    assert_refused_in_another_thread(hub, lambda: resolver.gethostbyname("n1.example.test"), resolver.close)
    resolver.close()
