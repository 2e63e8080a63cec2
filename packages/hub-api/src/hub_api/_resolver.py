"""What a DNS resolver promises: the functions of the standard `socket` module, with their results and their errors."""

from __future__ import annotations

from typing import Any, Protocol


class IResolver(Protocol):
    """Looks names up without stopping the loop, unless it says that it does.

    Arguments, results and exceptions are those of the function of the same name in the standard `socket` module.
    Call from: greenlets of the hub that the resolver belongs to.  Switches: while it waits for an answer.
    """

    def gethostbyname(self, hostname: str, /) -> str:
        """See `socket.gethostbyname`."""
        ...

    def gethostbyname_ex(self, hostname: str, /) -> tuple[str, list[str], list[str]]:
        """See `socket.gethostbyname_ex`."""
        ...

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
        ...

    def gethostbyaddr(self, ip_address: str, /) -> tuple[str, list[str], list[str]]:
        """See `socket.gethostbyaddr`."""
        ...

    def getnameinfo(self, sockaddr: tuple[Any, ...], flags: int, /) -> tuple[str, str]:
        """See `socket.getnameinfo`."""
        ...

    def close(self) -> None:
        """Give back what it holds.  Idempotent."""
        ...
