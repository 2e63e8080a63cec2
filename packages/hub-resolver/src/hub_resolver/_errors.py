"""The errors of lookups, with the numbers and the texts of the C library.

Receives: numbers.  Gives: `socket.gaierror` and `socket.herror` as the `socket` module raises them.
Rule: the texts are the C library's own, asked of it when the first error is made; they differ between systems.
"""

from __future__ import annotations

import socket
from functools import cache

UNTOLD, HOST_NOT_FOUND, TRY_AGAIN, NO_RECOVERY, NO_DATA = range(5)
"""What `h_errno` can be (gethostbyname(3)); 0 where glibc fails and leaves it as it was."""

_GAI_TEXTS = {  # of glibc, for where the library cannot be asked
    socket.EAI_NONAME: "Name or service not known",
    socket.EAI_AGAIN: "Temporary failure in name resolution",
    socket.EAI_FAIL: "Non-recoverable failure in name resolution",
    socket.EAI_NODATA: "No address associated with hostname",
    socket.EAI_ADDRFAMILY: "Address family for hostname not supported",
}
_HOST_TEXTS = {
    HOST_NOT_FOUND: "Unknown host",
    TRY_AGAIN: "Host name lookup failure",
    NO_RECOVERY: "Unknown server error",
    NO_DATA: "No address associated with name",
}


def gaierror(number: int) -> socket.gaierror:
    """What getaddrinfo(3) fails with; `number` is one of `socket.EAI_*`."""
    return socket.gaierror(number, _text("gai_strerror", number) or _GAI_TEXTS.get(number, "Unknown error"))


def herror(number: int) -> socket.herror:
    """What gethostbyname(3) fails with."""
    return socket.herror(number, _text("hstrerror", number) or _HOST_TEXTS.get(number, "Unknown resolver error"))


@cache
def _text(function: str, number: int) -> str | None:
    try:
        import ctypes

        strerror = getattr(ctypes.CDLL(None), function)
        strerror.restype = ctypes.c_char_p
        text: bytes | None = strerror(number)
    except (ImportError, OSError, AttributeError):  # a Python without ctypes; a C library without the function
        return None
    return text.decode("utf-8", "replace") if text else None
