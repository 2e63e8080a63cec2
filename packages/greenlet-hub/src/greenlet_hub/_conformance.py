"""That the parts fit together, for the type checker: each default is what `_defaults` takes it for."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    import hub_core
    import hub_loop
    import hub_resolver
    from greenlet_hub import _defaults
    from hub_api import ICountingLoop, IHub, ILoop, ILoopCore, ILoopFactory, IResolver, IThreadPool, IWaiter
    from hub_threadpool import ThreadPool

    _loop: ILoopFactory = hub_loop.Loop
    _made_loop: ILoopFactory = _defaults.make_loop
    _made_pool: Callable[[IHub], IThreadPool] = _defaults.make_threadpool
    _made_resolver: Callable[[IHub], IResolver] = _defaults.make_resolver
    _thread: Callable[[IHub], IResolver] = hub_resolver.ThreadResolver
    _block: Callable[[IHub], IResolver] = hub_resolver.BlockingResolver
    _core: ILoopCore = hub_loop.Loop()
    _whole: ILoop = hub_loop.Loop()
    _counting: ICountingLoop = hub_loop.Loop()
    _hub: IHub = hub_core.Hub()
    _waiter: IWaiter = hub_core.Waiter()
    _pool: IThreadPool = ThreadPool(10, hub=_hub)
