"""A KeyboardInterrupt at each single moment of lookups: nobody waits for ever, and neither does who asks next.

CPython looks for signals as a Python function is entered, behind a call of one in C, and where a loop jumps back.  The
first two are provoked here one by one.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests import interrupts

import hub_resolver
from greenlet_hub import DnspythonResolver, Hub, ThreadResolver, spawn_raw
from hub_api import IHub

if TYPE_CHECKING:
    from types import FrameType

_SOURCES = str(Path(hub_resolver.__file__ or "").parent / "_")  # but not what stands in for name servers
NAME = "www.example.test."
GREENLETS = 3


def _is_moment(frame: FrameType, event: str, arg: Any) -> bool:
    return (
        event in ("call", "c_return")
        and frame.f_code.co_filename.startswith(_SOURCES)
        and not interrupts.is_a_finalizers(frame)
    )


Resolver = ThreadResolver | DnspythonResolver


def by_thread(hub: IHub) -> Iterator[Resolver]:
    yield ThreadResolver(hub)


def by_the_cache(hub: IHub) -> Iterator[Resolver]:
    yield ThreadResolver(hub, ttl=60)


def by_the_cache_that_has_forgotten(hub: IHub) -> Iterator[Resolver]:
    yield ThreadResolver(hub, ttl=1e-9)


def by_dnspython(hub: IHub) -> Iterator[Resolver]:
    pytest.importorskip("dns", reason="needs the extra hub-resolver[dnspython]")
    from hub_resolver.testing import NameServer

    with NameServer("www.example.test A 192.0.2.1") as server:
        yield DnspythonResolver(hub, servers=[server.server], timeout=20, tries=1, cache=0)


@pytest.fixture(params=[by_thread, by_the_cache, by_the_cache_that_has_forgotten, by_dnspython])
def resolver(request: pytest.FixtureRequest, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Iterator[Resolver]:
    def gethostbyname(name: str) -> str:
        return "192.0.2.1"

    monkeypatch.setattr(socket, "gethostbyname", gethostbyname)
    hub.exception_stream = None
    for made in request.param(hub):
        yield made
        made.close()


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # one that was just made closes as it is freed
def test_an_interrupt_at_any_moment_of_lookups_strands_nobody(resolver: Resolver, hub: Hub) -> None:
    ended: list[str] = []

    def look_up() -> None:
        try:
            ended.append(resolver.gethostbyname(NAME))
        except KeyboardInterrupt:
            ended.append("was struck itself")

    def look_up_together() -> None:
        for _ in range(GREENLETS):
            spawn_raw(look_up)
        hub.join()

    moment, interrupted = 0, True
    while interrupted:
        moment += 1
        ended.clear()
        interrupted = interrupts.interrupt_at(moment, look_up_together, _is_moment)
        assert hub.join(5), f"at moment {moment} somebody was stranded: {ended}"
        assert len(ended) == GREENLETS, f"at moment {moment}: {ended}"
        assert ended.count("192.0.2.1") >= GREENLETS - 1, f"at moment {moment}: {ended}"
        spawn_raw(look_up)
        assert hub.join(5), f"at moment {moment} the next to ask was"
        assert (len(ended), ended[-1]) == (GREENLETS + 1, "192.0.2.1")
        assert "under_way=0" in repr(resolver), f"at moment {moment}: {resolver!r}"
        assert "asking=0" in repr(resolver), f"at moment {moment}: {resolver!r}"
    assert moment > 100
