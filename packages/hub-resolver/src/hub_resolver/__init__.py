"""Host name lookups for a hub, with the functions, the results and the errors of the standard `socket` module."""

from __future__ import annotations

from hub_resolver.__about__ import __version__
from hub_resolver._blocking import BlockingResolver
from hub_resolver._thread import ThreadResolver

__all__ = ["BlockingResolver", "ThreadResolver", "__version__"]
