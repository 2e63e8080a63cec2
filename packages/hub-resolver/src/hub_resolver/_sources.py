"""What lookups go by on this machine, for people who ask: name servers, search list, the order of sources.

Receives: the paths of files.  Gives: what stands in them now, as `AresResolver` and `DnspythonResolver` understand it.
Rule: nobody is asked, and nothing is kept.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from hub_resolver import _files
from hub_resolver._files import NSSWITCH_CONF, RESOLV_CONF, Watched
from hub_resolver._hosts import HOSTS, Hosts


class Sources(NamedTuple):
    """What the files say that lookups without the C library go by."""

    servers: tuple[str, ...]
    """The name servers, in the order in which they are asked."""
    search: tuple[str, ...]
    """The search list: domains that are put behind a name."""
    timeout: int
    """Seconds until a server is given up for a first try."""
    attempts: int
    """How often each server is tried."""
    order: tuple[str, ...]
    """`files` and `dns`, in the order in which they are asked; others are the C library's alone."""
    localhost: bool
    """Whether the hosts file has `localhost`."""
    unread: tuple[str, ...]
    """The files that are missing or may not be read; they count as empty."""


def sources(*, resolv_conf: str = RESOLV_CONF, hosts: str = HOSTS, nsswitch: str = NSSWITCH_CONF) -> Sources:
    """Return what lookups go by at this moment; `resolv_conf`, `hosts` and `nsswitch` are paths, as of the resolvers.

    Call from: anywhere.  Switches: never; files are read.
    Raises gaierror (EAI_AGAIN) if one cannot be read for now, as where file descriptors have run out.
    """
    conf = Watched(resolv_conf, _files.resolv_conf).value()
    return Sources(
        servers=conf.servers,
        search=conf.search,
        timeout=conf.timeout,
        attempts=conf.attempts,
        order=tuple(source.name for source in Watched(nsswitch, _files.nsswitch_conf).value()),
        localhost=Hosts(hosts).by_name("localhost") is not None,
        unread=tuple(path for path in (resolv_conf, nsswitch, hosts) if not os.access(path, os.R_OK)),
    )
