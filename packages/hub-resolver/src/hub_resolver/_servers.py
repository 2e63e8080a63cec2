"""What a resolver on name servers is told: who is asked, how patiently, and what else it goes by.

Receives: options of who makes a resolver.  Gives: `ServerResolver` and `ServerAsker`, the bases of `_ares` and of
`_dnspython`, so that both take the same options and understand the same by them.

Rule: what was not told is what resolv.conf(5) says, read again when that changes.
"""

from __future__ import annotations

from typing import NamedTuple

from hub_resolver import _files
from hub_resolver._files import RESOLV_CONF, ResolvConf, Watched
from hub_resolver._lookups import LookupResolver

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Unpack

    from hub_api import IHub
    from hub_resolver._answers import IAsker
    from hub_resolver._lookups import LookupOptions


class Told(NamedTuple):
    """Which name servers are asked, and how patiently: see `ServerResolver`."""

    servers: tuple[str, ...] | None = None
    timeout: float | None = None
    tries: int | None = None
    resolv_conf: str = RESOLV_CONF


class ServerAsker:
    """Has the options of who puts questions to name servers: the base of the two `IAsker` that do."""

    def __init__(self, hub: IHub, told: Told) -> None:
        self._hub = hub
        self._loop = hub.loop
        self._told = told
        self._conf = Watched(told.resolv_conf, _files.resolv_conf)

    def _patience(self, conf: ResolvConf) -> tuple[float, int]:
        """Seconds for the first try of a server, and how often each is tried."""
        _, timeout, tries, _ = self._told
        return conf.timeout if timeout is None else timeout, conf.attempts if tries is None else tries


class ServerResolver(LookupResolver):
    """Looks names up by a library that asks name servers: the base of `AresResolver` and `DnspythonResolver`."""

    def __init__(
        self,
        hub: IHub,
        *,
        servers: tuple[str, ...] | list[str] | None = None,
        timeout: float | None = None,
        tries: int | None = None,
        resolv_conf: str = RESOLV_CONF,
        **options: Unpack[LookupOptions],
    ) -> None:
        """Make a resolver for greenlets of `hub`.

        `servers`: addresses, with a port as `127.0.0.1:5353` or `[::1]:5353`; without it those of resolv.conf(5), which
        is read again when it changes.  `timeout`: seconds for the first try of a server.  `tries`: how often each is
        tried.  `cache`: how many answers are kept for their TTL (1,000; 0 for none).  `stale`: seconds after its TTL
        for which an answer is still better than an error (0).  `deadline`: seconds that a lookup may take in all (None:
        as many as the tries take).  `resolv_conf`, `hosts`, `nsswitch`: paths of the files.
        Raises ModuleNotFoundError if the library that asks is not installed.
        """
        own = None if servers is None else tuple(servers)  # the caller's list may change
        asker = self._make_asker(hub, Told(own, timeout, tries, resolv_conf))
        super().__init__(hub, asker, resolv_conf=resolv_conf, **options)

    def _make_asker(self, hub: IHub, told: Told) -> IAsker:
        """Who asks the servers."""
        raise NotImplementedError
