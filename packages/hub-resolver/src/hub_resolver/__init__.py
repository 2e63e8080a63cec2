"""Host name lookups for a hub, with the functions, the results and the errors of the standard `socket` module."""

from __future__ import annotations

from hub_resolver.__about__ import __version__
from hub_resolver._blocking import BlockingResolver
from hub_resolver._cache import CacheInfo
from hub_resolver._thread import ThreadResolver

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hub_resolver._ares import AresResolver
    from hub_resolver._dnspython import DnspythonResolver
    from hub_resolver._sources import Sources, sources
    from hub_resolver._trace import Step, Trace, trace

__all__ = [
    "AresResolver",
    "BlockingResolver",
    "CacheInfo",
    "DnspythonResolver",
    "Sources",
    "Step",
    "ThreadResolver",
    "Trace",
    "__version__",
    "sources",
    "trace",
]

_LATER = {
    "AresResolver": "hub_resolver._ares",
    "DnspythonResolver": "hub_resolver._dnspython",
    "Sources": "hub_resolver._sources",
    "Step": "hub_resolver._trace",
    "Trace": "hub_resolver._trace",
    "sources": "hub_resolver._sources",
    "trace": "hub_resolver._trace",
}


if not TYPE_CHECKING:  # a type checker that sees a module's __getattr__ takes every misspelt name for granted

    def __getattr__(name: str) -> object:
        """Import what the default resolvers do not need when it is first asked for."""
        if name not in _LATER:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        import importlib

        found = globals()[name] = getattr(importlib.import_module(_LATER[name]), name)
        return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
