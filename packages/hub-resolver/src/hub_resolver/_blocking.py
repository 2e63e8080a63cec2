"""The resolver that blocks: the `socket` module's own functions, called where they stand.

Receives: questions from greenlets.  Gives: the C library's answers and errors, unchanged.
Rule: nothing here waits for a hub; the whole thread, with all its greenlets and timers, stands still during a lookup.
"""

from __future__ import annotations

import socket
from typing import Any

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hub_api import IHub


class BlockingResolver:
    """Looks names up in the calling thread and so stops the loop meanwhile: see `hub_api.IResolver`.

    For scripts, for tests, and where the C library answers from memory.  A timeout around a lookup cannot fire.
    Call from: any thread.  Switches: never.  `hub` is taken as by every resolver, and not used.
    """

    def __init__(self, hub: IHub | None = None) -> None:
        pass

    def gethostbyname(self, hostname: str, /) -> str:
        """See `socket.gethostbyname`."""
        return socket.gethostbyname(hostname)

    def gethostbyname_ex(self, hostname: str, /) -> tuple[str, list[str], list[str]]:
        """See `socket.gethostbyname_ex`."""
        return socket.gethostbyname_ex(hostname)

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
        return list(socket.getaddrinfo(host, port, family, type, proto, flags))

    def gethostbyaddr(self, ip_address: str, /) -> tuple[str, list[str], list[str]]:
        """See `socket.gethostbyaddr`."""
        return socket.gethostbyaddr(ip_address)

    def getnameinfo(self, sockaddr: tuple[Any, ...], flags: int, /) -> tuple[str, str]:
        """See `socket.getnameinfo`."""
        return socket.getnameinfo(sockaddr, flags)

    def close(self) -> None:
        """Nothing is held, so nothing is given back."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} at {id(self):#x}>"
