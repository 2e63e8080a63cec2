"""What this package promises of hub-api's Protocols, for the type checker: nothing here runs."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import cast

    from hub_api import IHub, IJob, ILane, ILanes, IThreadPool
    from hub_threadpool import ThreadPool

    _pool: IThreadPool = ThreadPool(hub=cast(IHub, None))
    _lanes: ILanes = ThreadPool(hub=cast(IHub, None))
    _lane: ILane = ThreadPool(hub=cast(IHub, None)).lane("dns")
    _job: IJob[int] = ThreadPool(hub=cast(IHub, None)).spawn(int, "7")
