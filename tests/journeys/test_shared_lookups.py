"""Lookups that share what they ask, under a real hub: joined, kept, limited in time, in a lane of their own."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("pycares", reason="needs the extra hub-resolver[ares]")
pytest.importorskip("dns", reason="needs the extra hub-resolver[dnspython]")

import pycares

from greenlet_hub import (
    AresResolver,
    DnspythonResolver,
    GreenletExit,
    Hub,
    ThreadPool,
    ThreadResolver,
    kill,
    left_behind,
    sleep,
    spawn_raw,
)
from hub_api import InvalidThreadUseError
from hub_resolver.testing import NameServer

if TYPE_CHECKING:
    from tests.conftest import Kin

pycares.Channel(sock_state_cb=lambda fd, read, write: None).close()  # its one thread never ends, and is no test's

ZONE = """
example.test SOA ns.example.test. mail.example.test. 1 3600 600 86400 1
www.example.test A 192.0.2.1
www.example.test AAAA 2001:db8::1
"""
MANY = int(os.environ.get("HUB_MANY_LOOKUPS", "1000"))
"""Lookups that are created and cancelled: 10,000 to see what it is about."""
CROWD = 1000


@pytest.fixture
def hub(hub: Hub) -> Hub:
    """This thread's hub, with a pool of two."""
    hub.threadpool_size = 2
    return hub


@pytest.fixture
def server() -> Iterator[NameServer]:
    with NameServer(ZONE) as made:
        yield made


@pytest.fixture(params=[AresResolver, DnspythonResolver])
def make(request: pytest.FixtureRequest, hub: Hub, server: NameServer, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Makes resolvers that ask the server and go by no file of this machine, and closes them."""
    for name, text in (("resolv.conf", ""), ("hosts", ""), ("nsswitch.conf", "hosts: files dns\n")):
        (tmp_path / name).write_text(text)
    files = {"resolv_conf": "resolv.conf", "hosts": "hosts", "nsswitch": "nsswitch.conf"}
    paths = {key: str(tmp_path / name) for key, name in files.items()}
    made: list[Any] = []

    def maker(**options: Any) -> Any:
        made.append(request.param(hub, servers=[server.server], timeout=20, tries=1, **paths, **options))
        return made[-1]

    yield maker
    for each in made:
        each.close()


class Gate:
    """Stands for a function of the C library: it lets callers wait, in their threads, until it is opened."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.asked: list[str] = []

    def __call__(self, name: str) -> str:
        self.asked.append(name)
        assert self.opened.wait(30)
        return "192.0.2.1"

    __name__ = "gethostbyname"


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    made = Gate()
    monkeypatch.setattr(socket, "gethostbyname", made)
    yield made
    made.opened.set()


def looking_up(resolver: Any, name: str, outcomes: list[Any]) -> Callable[[], None]:
    """The body of a greenlet that looks `name` up."""

    def body() -> None:
        try:
            outcomes.append(resolver.gethostbyname(name))
        except BaseException as error:
            outcomes.append(error)

    return body


def until(condition: Callable[[], object]) -> None:
    while not condition():
        sleep(0.001)


# -- on name servers -------------------------------------------------------------------------------------------------


def test_a_crowd_that_looks_up_one_name_is_one_query_on_the_wire(make: Callable[..., Any], server: NameServer) -> None:
    resolver, outcomes, began = make(cache=0), list[Any](), list[int]()

    def look_up() -> None:
        began.append(1)
        looking_up(resolver, "held.example.test", outcomes)()

    for _ in range(CROWD):
        spawn_raw(look_up)
    until(lambda: len(began) == CROWD and server.asked)
    server.release()
    until(lambda: len(outcomes) == CROWD)
    assert set(outcomes) == {"198.51.0.1"}
    assert [name for name, *_ in server.asked] == ["held.example.test"]


def test_a_crowd_shares_an_error_and_each_gets_one_of_his_own(make: Callable[..., Any], server: NameServer) -> None:
    resolver, outcomes = make(), list[Any]()
    for _ in range(10):
        spawn_raw(looking_up(resolver, "nodata.example.test", outcomes))
    until(lambda: len(outcomes) == 10)
    assert {(type(each), each.errno) for each in outcomes} == {(socket.gaierror, socket.EAI_NODATA)}
    assert len({id(each) for each in outcomes}) == 10
    assert len(server.asked) == 1


def test_the_greenlet_that_asked_is_killed_and_those_who_joined_are_answered(
    make: Callable[..., Any], server: NameServer
) -> None:
    resolver, outcomes, killed = make(), list[Any](), list[Any]()
    first = spawn_raw(looking_up(resolver, "held.example.test", killed))
    for _ in range(5):
        spawn_raw(looking_up(resolver, "held.example.test", outcomes))
    until(lambda: server.asked)
    kill(first)
    until(lambda: first.dead)
    server.release()
    until(lambda: len(outcomes) == 5)
    assert [type(each) for each in killed] == [GreenletExit]
    assert set(outcomes) == {"198.51.0.1"}
    assert len(server.asked) == 1


def test_when_all_who_wait_are_killed_nothing_is_left_under_way(make: Callable[..., Any]) -> None:
    resolver, outcomes = make(), list[Any]()
    waiting = [spawn_raw(looking_up(resolver, "drop.example.test", outcomes)) for _ in range(5)]
    until(lambda: "asking=1" in repr(resolver))
    for each in waiting:
        kill(each)
    until(lambda: len(outcomes) == 5)
    assert "under_way=0" in repr(resolver)
    assert "asking=0" in repr(resolver)


def test_an_answer_is_asked_for_once_while_it_holds(make: Callable[..., Any], server: NameServer) -> None:
    resolver = make()
    for _ in range(3):
        assert resolver.gethostbyname("www.example.test") == "192.0.2.1"
    assert len(server.asked) == 1
    assert resolver.cache_info()[:2] == (2, 1)


def test_after_the_cache_was_emptied_the_servers_are_asked_again(make: Callable[..., Any], server: NameServer) -> None:
    resolver, outcomes = make(), list[Any]()
    resolver.gethostbyname("www.example.test")
    spawn_raw(looking_up(resolver, "held.example.test", outcomes))
    until(lambda: len(server.asked) == 2)
    resolver.cache_clear()  # what is under way is not disturbed, not by the next question either
    assert resolver.gethostbyname("chain-1.example.test") == "198.51.100.7"
    server.release()
    until(lambda: outcomes)
    assert outcomes == ["198.51.0.1"]
    assert resolver.cache_info().currsize == 1  # without that which was under way
    assert resolver.gethostbyname("www.example.test") == "192.0.2.1"
    assert len(server.asked) == 4


def test_a_lookup_ends_at_its_deadline_as_with_silent_servers(make: Callable[..., Any]) -> None:
    resolver = make(deadline=0.05)
    with pytest.raises(socket.gaierror) as caught:
        resolver.gethostbyname("drop.example.test")
    assert caught.value.errno == socket.EAI_AGAIN
    assert "asking=0" in repr(resolver)


def test_a_forked_child_knows_what_its_parent_knew_and_joins_nothing_of_its(
    make: Callable[..., Any], server: NameServer, kin: Kin
) -> None:
    resolver, outcomes, others = make(), list[Any](), list[Any]()
    resolver.gethostbyname("www.example.test")
    waiting = spawn_raw(looking_up(resolver, "held.example.test", outcomes))
    until(lambda: len(server.asked) == 2)
    reader, ready = os.pipe()
    kin.fork()

    def check() -> None:
        spawn_raw(looking_up(resolver, "held.example.test", others))
        assert resolver.gethostbyname("www.example.test") == "192.0.2.1"
        assert resolver.cache_info().hits == 1
        assert others == []
        os.write(ready, b"x")
        until(lambda: others)
        assert others == ["198.51.0.1"]
        assert left_behind(waiting)
        assert outcomes == []  # who asked in the parent waits there, and nowhere else

    if kin.is_child:
        kin.child_ends(check)
    until(lambda: len(server.asked) == 3)  # the child asks for itself
    os.read(reader, 1)
    server.release()
    kin.child_ends()
    os.close(reader)
    os.close(ready)
    until(lambda: waiting.dead)
    assert outcomes == ["198.51.0.1"]
    assert [name for name, *_ in server.asked] == ["www.example.test", "held.example.test", "held.example.test"]


# -- in threads ------------------------------------------------------------------------------------------------------


def test_localhost_waits_for_no_worker_that_is_busy_with_something_else(hub: Hub) -> None:
    opened, outcomes = threading.Event(), list[Any]()
    users = [spawn_raw(hub.threadpool.apply, opened.wait, (30,)) for _ in range(10)]
    until(lambda: len(hub.threadpool) == 10)
    spawn_raw(looking_up(hub.resolver, "localhost", outcomes))
    until(lambda: outcomes)
    assert outcomes == ["127.0.0.1"]
    assert hub.threadpool.size == 3  # two are busy, and the lookup had a third
    opened.set()
    until(lambda: all(each.dead for each in users))


def test_a_crowd_that_looks_up_one_name_is_one_job(hub: Hub, gate: Gate) -> None:
    outcomes: list[Any] = []
    for _ in range(CROWD):
        spawn_raw(looking_up(hub.resolver, "www", outcomes))
    until(lambda: gate.asked)
    sleep(0)
    assert len(hub.threadpool) == 1
    gate.opened.set()
    until(lambda: len(outcomes) == CROWD)
    assert set(outcomes) == {"192.0.2.1"}
    assert gate.asked == ["www"]


def test_the_greenlet_of_a_job_is_killed_and_those_who_joined_are_answered(hub: Hub, gate: Gate) -> None:
    killed, outcomes = list[Any](), list[Any]()
    first = spawn_raw(looking_up(hub.resolver, "www", killed))
    spawn_raw(looking_up(hub.resolver, "www", outcomes))
    until(lambda: gate.asked)
    kill(first)
    until(lambda: first.dead)
    gate.opened.set()
    until(lambda: outcomes)
    assert ([type(each) for each in killed], outcomes, gate.asked) == ([GreenletExit], ["192.0.2.1"], ["www"])


def test_lookups_that_are_given_up_again_and_again_take_one_thread(hub: Hub, gate: Gate) -> None:
    resolver = ThreadResolver(hub, deadline=0.002)
    for _ in range(10):
        with pytest.raises(socket.gaierror):
            resolver.gethostbyname("www")
    assert len(hub.threadpool) == 1
    gate.opened.set()
    resolver.deadline = None
    assert resolver.gethostbyname("www") == "192.0.2.1"


def test_closing_ends_lookups_in_threads_with_an_error_that_says_why(hub: Hub, gate: Gate) -> None:
    outcomes: list[Any] = []
    for i in range(5):
        spawn_raw(looking_up(hub.resolver, f"n{i}", outcomes))
    until(lambda: len(gate.asked) == 2)
    hub.resolver.close()
    until(lambda: len(outcomes) == 5)
    assert {type(each) for each in outcomes} == {socket.gaierror}
    assert all("was closed while this lookup was under way" in str(each) for each in outcomes)
    assert len(hub.threadpool) == 2  # what has begun cannot be stopped; the rest never runs
    gate.opened.set()
    until(lambda: len(hub.threadpool) == 0)
    assert hub.resolver.gethostbyname("again") == "192.0.2.1"


def test_thousands_in_threads_created_and_killed_leave_nothing(hub: Hub, gate: Gate) -> None:
    outcomes: list[Any] = []
    for start in range(0, MANY, 100):
        batch = [spawn_raw(looking_up(hub.resolver, f"n{start + i}", outcomes)) for i in range(100)]
        sleep(0)
        for each in batch:
            kill(each)
        until(lambda: all(each.dead for each in batch))  # noqa: B023  # it is called in this round
    assert len(hub.threadpool) <= 2
    gate.opened.set()
    until(lambda: len(hub.threadpool) == 0)
    assert {type(each) for each in outcomes} <= {GreenletExit}
    assert len(gate.asked) <= 2
    assert "under_way=0" in repr(hub.resolver)
    assert "asking=0" in repr(hub.resolver)


def test_in_a_forked_child_a_lookup_in_a_thread_ends_and_the_same_is_asked_anew(hub: Hub, gate: Gate, kin: Kin) -> None:
    outcomes: list[Any] = []
    waiting = spawn_raw(looking_up(hub.resolver, "www", outcomes))
    until(lambda: gate.asked)
    kin.fork()

    def check() -> None:
        gate.opened = threading.Event()
        gate.opened.set()
        assert hub.resolver.gethostbyname("www") == "192.0.2.1"
        assert hub.threadpool.join(10)
        assert hub.join(10)  # nothing of the parent's keeps the loop running
        assert gate.asked == ["www", "www"]
        assert left_behind(waiting)
        assert outcomes == []  # who asked in the parent waits there, and nowhere else

    kin.child_ends(check)
    gate.opened.set()
    until(lambda: waiting.dead)
    assert outcomes == ["192.0.2.1"]


def test_how_many_threads_look_names_up_can_be_set(hub: Hub, gate: Gate) -> None:
    hub.resolver = resolver = ThreadResolver(hub, threads=3)
    outcomes: list[Any] = []
    for i in range(7):
        spawn_raw(looking_up(resolver, f"n{i}", outcomes))
    until(lambda: len(gate.asked) == 3)
    assert isinstance(hub.threadpool, ThreadPool)
    assert hub.threadpool.lane("dns").size == 3
    hub.threadpool.lane("dns", 5)
    until(lambda: len(gate.asked) == 5)
    gate.opened.set()
    until(lambda: len(outcomes) == 7)


def test_a_job_of_the_pool_looks_names_up_on_the_spot_and_another_thread_is_refused(hub: Hub, gate: Gate) -> None:
    gate.opened.set()
    resolver = hub.resolver
    assert hub.threadpool.apply(resolver.gethostbyname, ("www",)) == "192.0.2.1"
    refused: list[Any] = []
    thread = threading.Thread(target=looking_up(resolver, "www", refused))
    thread.start()
    thread.join()
    assert [type(each) for each in refused] == [InvalidThreadUseError]


# -- by name ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("thread", "ThreadResolver"),
        ("ares", "AresResolver"),
        ("dnspython", "DnspythonResolver"),
        ("block", "BlockingResolver"),
    ],
)
def test_each_resolver_is_chosen_by_its_short_and_by_its_dotted_name(name: str, kind: str) -> None:
    code = (
        "import os, sys\nfrom greenlet_hub import get_hub\n"
        "for name in sys.argv[1:]:\n"
        "    os.environ['HUB_RESOLVER'] = name\n"
        "    del get_hub().resolver\n"
        "    resolver = get_hub().resolver\n"
        "    print(type(resolver).__name__, resolver.gethostbyname('127.0.0.1'))\n"
        "    resolver.close()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, name, f"hub_resolver:{kind}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert (done.returncode, done.stdout) == (0, f"{kind} 127.0.0.1\n" * 2), done.stderr


def test_an_error_that_was_joined_holds_no_frames_of_who_raised_it(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = threading.Event()

    def fails(name: str) -> str:
        opened.wait(30)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "gethostbyname", fails)
    outcomes: list[Any] = []
    for _ in range(3):
        spawn_raw(looking_up(hub.resolver, "www", outcomes))
    sleep(0)
    opened.set()
    until(lambda: len(outcomes) == 3)
    assert [each.errno for each in outcomes] == [socket.EAI_NONAME] * 3
    assert len({id(each) for each in outcomes}) == 3
    with contextlib.suppress(socket.gaierror):
        raise outcomes[0]
    assert all(each.__context__ is None for each in outcomes[1:])
