"""The functions of the `socket` module, all made as calls of the C library: what `_thread` and `_blocking` share.

Receives: the arguments of callers.  Gives: them, with the module's function, to `_call`, which says where that is run.
"""

from __future__ import annotations

import socket
from typing import Any

from hub_resolver._steps import Traceable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    T = TypeVar("T")


class LibraryResolver(Traceable):
    """The functions of an `IResolver` for which the C library is asked."""

    def gethostbyname(self, hostname: str, /) -> str:
        """See `socket.gethostbyname`."""
        return self._call(socket.gethostbyname, hostname)

    def gethostbyname_ex(self, hostname: str, /) -> tuple[str, list[str], list[str]]:
        """See `socket.gethostbyname_ex`."""
        return self._call(socket.gethostbyname_ex, hostname)

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
        return list(self._call(socket.getaddrinfo, host, port, family, type, proto, flags))

    def gethostbyaddr(self, ip_address: str, /) -> tuple[str, list[str], list[str]]:
        """See `socket.gethostbyaddr`."""
        return self._call(socket.gethostbyaddr, ip_address)

    def getnameinfo(self, sockaddr: tuple[Any, ...], flags: int, /) -> tuple[str, str]:
        """See `socket.getnameinfo`."""
        return self._call(socket.getnameinfo, sockaddr, flags)

    def _call(self, function: Callable[..., T], *args: Any) -> T:
        """Have `function(*args)` run, and return or raise what comes of it."""
        raise NotImplementedError
