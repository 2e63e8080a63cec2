"""The resolver that asks in a thread: the `socket` module's own functions, called by a worker of the hub's pool.

Receives: questions from greenlets.  Gives: the C library's answers and errors, unchanged, while the loop goes on.
Rule: the pool is the hub's, read at each lookup; whoever assigns another pool to the hub has lookups go there.
"""

from __future__ import annotations

import socket
from typing import Any

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hub_api import IHub


class ThreadResolver:
    """Looks names up in `hub.threadpool`: see `hub_api.IResolver`.

    Lookups take turns with everything else that the pool is given: behind a full pool they wait for a place.
    Call from: greenlets of the hub; elsewhere InvalidThreadUseError.  Switches: always.
    """

    def __init__(self, hub: IHub) -> None:
        self._hub = hub

    def gethostbyname(self, hostname: str, /) -> str:
        """See `socket.gethostbyname`."""
        return self._hub.threadpool.apply(socket.gethostbyname, (hostname,))

    def gethostbyname_ex(self, hostname: str, /) -> tuple[str, list[str], list[str]]:
        """See `socket.gethostbyname_ex`."""
        return self._hub.threadpool.apply(socket.gethostbyname_ex, (hostname,))

    def getaddrinfo(
        self,
        host: bytes | str | None,
        port: bytes | str | int | None,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> list[tuple[Any, ...]]:
        """See `socket.getaddrinfo`."""
        return list(self._hub.threadpool.apply(socket.getaddrinfo, (host, port, family, type, proto, flags)))

    def gethostbyaddr(self, ip_address: str, /) -> tuple[str, list[str], list[str]]:
        """See `socket.gethostbyaddr`."""
        return self._hub.threadpool.apply(socket.gethostbyaddr, (ip_address,))

    def getnameinfo(self, sockaddr: tuple[Any, ...], flags: int, /) -> tuple[str, str]:
        """See `socket.getnameinfo`."""
        return self._hub.threadpool.apply(socket.getnameinfo, (sockaddr, flags))

    def close(self) -> None:
        """Nothing is held: the pool is the hub's to end."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} at {id(self):#x}>"
