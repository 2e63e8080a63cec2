"""What this package promises of hub-api's Protocols, for the type checker: nothing here runs."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import cast

    from hub_api import IHub, IResolver
    from hub_resolver import BlockingResolver, ThreadResolver

    _blocking: IResolver = BlockingResolver()
    _thread: IResolver = ThreadResolver(cast(IHub, None))
