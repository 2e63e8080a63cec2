"""A lookup with its steps: why it gave what it gave, and where the time went.

Receives: a resolver and the arguments of `getaddrinfo`.  Gives: a `Trace`, as data and as text.

The lookup is the resolver's own `getaddrinfo`, with its cache, its files and its servers; it is made as for anybody
else, and the rooms that it goes through write down what they do (`_steps`).  Of a resolver that is not of this package
there are no steps but the call itself.

Rule: what a lookup ends with (`OSError`, `UnicodeError`) is part of the trace; everything else (a wrong argument, a
timeout, the end of the greenlet) is raised.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Any

from hub_resolver import _steps
from hub_resolver._steps import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hub_api import IResolver

__all__ = ["Step", "Trace", "trace"]

_INDENT = {"question": 1, "query": 2}


@dataclass(frozen=True)
class Trace:
    """One lookup: what was asked, its steps, and what it gave.  `str` of it is a table for people."""

    resolver: str
    """The resolver's class."""
    host: bytes | str | None
    port: bytes | str | int | None
    family: int
    steps: tuple[Step, ...]
    """In the order of their ends; the queries of a question stand behind it."""
    entries: tuple[tuple[Any, ...], ...]
    """What `getaddrinfo` returned; empty if it raised."""
    error: OSError | UnicodeError | None
    """What it raised, or None."""
    elapsed: float
    """Seconds that it took in all."""

    @property
    def addresses(self) -> tuple[str, ...]:
        """The addresses that were found, each once, the best first."""
        return _steps.addresses(self.entries)

    @property
    def reason(self) -> str:
        """Why there is no address, in words; empty if there is one."""
        error = self.error
        if error is None:
            return ""
        return (error.strerror if isinstance(error, OSError) else None) or str(error)

    def as_dict(self) -> dict[str, Any]:
        """The same of what `json.dumps` takes: strings, numbers, lists, None."""
        return {
            "resolver": self.resolver,
            "host": _text(self.host),
            "port": _text(self.port),
            "family": _family(self.family),
            "addresses": list(self.addresses),
            "entries": [
                {
                    "family": _family(family),
                    "type": int(type),
                    "proto": int(proto),
                    "canonical": canonical,
                    "sockaddr": list(sockaddr),
                }
                for family, type, proto, canonical, sockaddr in self.entries
            ],
            "error": None if self.error is None else self._error(self.error),
            "elapsed": self.elapsed,
            "steps": [{**step._asdict(), "data": list(step.data)} for step in self.steps],
        }

    def _error(self, error: OSError | UnicodeError) -> dict[str, Any]:
        number = error.errno if isinstance(error, OSError) else None
        return {"class": type(error).__name__, "number": number, "text": self.reason}

    def __str__(self) -> str:
        what = str(_text(self.host)) + (f", port {_text(self.port)}" if self.port is not None else "")
        kind = f", {_family(self.family)} only" if self.family else ""
        lines = [f"{what}{kind}, by {self.resolver}", "    at ms   took ms"]
        lines += [_line(step) for step in self.steps]
        end = ", ".join(self.addresses) if self.error is None else f"{type(self.error).__name__}: {self.error}"
        lines.append(f"{self.elapsed * 1000:19.1f}  in all: {end}")
        return "\n".join(lines)


def trace(
    resolver: IResolver,
    host: bytes | str | None,
    port: bytes | str | int | None = None,
    family: int = 0,
    type: int = 0,
    proto: int = 0,
    flags: int = 0,
) -> Trace:
    """Make a lookup by `resolver.getaddrinfo` and return it with its steps.

    Of any resolver; those of this package tell every step, others the call alone.
    Call from, Switches: as `getaddrinfo` of the resolver.
    Raises what `getaddrinfo` raises for a wrong argument; that a name is not found, or no name, is part of the trace.
    """
    notes = _steps.Notes()
    entries: list[tuple[Any, ...]] = []
    error: OSError | UnicodeError | None = None
    with _steps.written(notes):
        try:
            entries = resolver.getaddrinfo(host, port, family, type, proto, flags)
        except (OSError, UnicodeError) as raised:
            error = raised.with_traceback(None)  # which would keep the frames of the lookup for as long as the trace
    elapsed = notes.now()
    name = resolver.__class__.__name__
    return Trace(name, host, port, int(family), tuple(notes.steps), tuple(entries), error, elapsed)


def _line(step: Step) -> str:
    took = f"{step.elapsed * 1000:9.1f}" if step.elapsed else " " * 9
    found = f": {', '.join(step.data)}" if step.data else ""
    indent = "  " * _INDENT.get(step.kind, 0)
    return f"{step.began * 1000:9.1f} {took}  {indent}{step.kind:9} {step.subject}: {step.outcome}{found}"


def _text(value: bytes | str | int | None) -> str | int | None:
    return value.decode("ascii", "backslashreplace") if isinstance(value, (bytes, bytearray)) else value


def _family(number: int) -> str | int:
    names: dict[int, str] = {socket.AF_UNSPEC: "any", socket.AF_INET: "IPv4", socket.AF_INET6: "IPv6"}
    return names.get(number, int(number))
