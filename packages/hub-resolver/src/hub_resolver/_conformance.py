"""What this package promises of hub-api's Protocols, for the type checker: nothing here runs."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import cast

    from hub_api import IHub, IResolver
    from hub_resolver import AresResolver, BlockingResolver, DnspythonResolver, ThreadResolver
    from hub_resolver._answers import IAsker
    from hub_resolver._ares import AresAsker
    from hub_resolver._dnspython import DnspythonAsker
    from hub_resolver._servers import Told

    _blocking: IResolver = BlockingResolver()
    _thread: IResolver = ThreadResolver(cast(IHub, None))
    _ares: IResolver = AresResolver(cast(IHub, None))
    _dnspython: IResolver = DnspythonResolver(cast(IHub, None))
    _askers: list[IAsker] = [AresAsker(cast(IHub, None), Told()), DnspythonAsker(cast(IHub, None), Told())]
