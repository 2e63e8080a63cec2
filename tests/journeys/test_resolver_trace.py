"""Traces under a real hub: each greenlet has its own, and a thread's part in a lookup is told."""

from __future__ import annotations

import socket
import threading

import pytest

from greenlet_hub import Hub, ThreadResolver, sleep, spawn_raw
from hub_resolver import Trace

try:
    import pycares
except ModuleNotFoundError:
    pass
else:
    pycares.Channel(sock_state_cb=lambda fd, read, write: None).close()  # its one thread never ends, and is no test's


@pytest.mark.parametrize("kind", ["AresResolver", "DnspythonResolver"])
def test_each_greenlet_has_a_trace_of_its_own_lookup_and_of_no_other(kind: str, hub: Hub) -> None:
    pytest.importorskip({"AresResolver": "pycares", "DnspythonResolver": "dns"}[kind])
    testing = pytest.importorskip("hub_resolver.testing", reason="needs the extra hub-resolver[dnspython]")
    import hub_resolver

    traces: dict[str, Trace] = {}

    def body(name: str) -> None:
        traces[name] = resolver.trace(name, None, socket.AF_INET)

    def untraced(name: str) -> None:
        resolver.gethostbyname(name)

    with testing.NameServer("\n".join(f"n{i}.example.test A 192.0.2.{i}" for i in range(8))) as server:
        resolver = getattr(hub_resolver, kind)(hub, servers=[server.server], timeout=20)
        for i in range(8):
            spawn_raw(untraced if i % 2 else body, f"n{i}.example.test.")
        hub.join()
        resolver.close()
    assert len(traces) == 4
    for name, traced in traces.items():
        questions = [step.subject for step in traced.steps if step.kind == "question"]
        assert questions == [f"{name.rstrip('.')} A"]
        assert traced.addresses == (f"192.0.2.{name[1]}",)
        (query,) = (step for step in traced.steps if step.kind == "query")
        assert 0 < query.elapsed <= traced.elapsed


def test_of_the_thread_resolver_a_trace_tells_the_wait_for_a_worker_the_call_and_its_result(hub: Hub) -> None:
    resolver = ThreadResolver(hub, threads=1)
    release = threading.Event()
    traces: list[Trace] = []
    busy = hub.threadpool.lane("dns", 1).submit(release.wait, 30)
    spawn_raw(lambda: traces.append(resolver.trace("127.0.0.1", 80, 0, socket.SOCK_STREAM)))
    while "asking=1" not in repr(resolver):
        sleep(0)
    sleep(0.02)  # for so long the lookup waits for the one thread that lookups have
    release.set()
    while not traces:
        sleep(0.001)
    assert busy.get() is True
    assert [step.kind for step in traces[0].steps] == ["queue", "libc", "question"]
    queue, call, question = traces[0].steps
    assert queue.elapsed >= 0.02
    assert call.outcome == "returned"
    assert question.subject.startswith("getaddrinfo('127.0.0.1', 80")
    assert question.outcome == "found"
    assert queue.elapsed + call.elapsed <= question.elapsed


def test_a_lookup_of_the_thread_resolver_that_is_joined_to_another_says_so(hub: Hub) -> None:
    resolver = ThreadResolver(hub, threads=1)
    release = threading.Event()
    traces: list[Trace] = []
    busy = hub.threadpool.lane("dns", 1).submit(release.wait, 30)  # else the first may be answered before the second
    for _ in range(2):
        spawn_raw(lambda: traces.append(resolver.trace("127.0.0.1", 80)))
    sleep(0)  # both have asked
    release.set()
    while len(traces) < 2:
        sleep(0.001)
    assert busy.get() is True
    assert sorted([step.kind for step in traced.steps] for traced in traces) == [
        ["question"],
        ["queue", "libc", "question"],
    ]
    joined = min(traces, key=lambda traced: len(traced.steps))
    assert joined.steps[0].outcome == "found, asked by another lookup"
    assert joined.entries == max(traces, key=lambda traced: len(traced.steps)).entries
