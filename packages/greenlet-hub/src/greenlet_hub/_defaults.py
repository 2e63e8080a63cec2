"""Which class by default: the one place that names every default, and joins the parts.

Receives: the environment, and hubs that need a part.  Gives: loops, thread pools and resolvers.

| part | variable | names | is called |
|---|---|---|---|
| loop | HUB_LOOP | `hub` | `(default=True or False)` |
| poller of the loop | HUB_LOOP_BACKEND | `epoll`, `kqueue`, `poll`, `select` | by `hub_loop` itself |
| thread pool | HUB_THREADPOOL | `thread` | `(maxsize, hub=hub)` |
| resolver | HUB_RESOLVER | `thread`, `block` | `(hub)` |

A variable holds one of its names, or `package.module:Class`.  The first name is the default.
Rule 1: a variable is read, and a part imported, when a hub needs the part; so a part that is never used may be missing.
Rule 2: who passes a part to `Hub(...)` or assigns it to a hub never comes here.
"""

from __future__ import annotations

import os

import hub_core

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from hub_api import IHub, ILoopCore, IResolver, IThreadPool

_LOOPS = {"hub": "hub_loop:Loop"}
_THREADPOOLS = {"thread": "hub_threadpool:ThreadPool"}
_RESOLVERS = {"thread": "hub_resolver:ThreadResolver", "block": "hub_resolver:BlockingResolver"}


def join() -> None:
    """Tell hub-core where hubs get their parts from.  Starts, opens and imports nothing."""
    hub_core.set_defaults(loop=make_loop, threadpool=make_threadpool, resolver=make_resolver)


def make_loop(*, default: bool | None = None) -> ILoopCore:
    """The loop of a new hub; `default` says whether it is the main thread's."""
    loop: ILoopCore = _choose("HUB_LOOP", _LOOPS)(default=default)
    return loop


def make_threadpool(hub: IHub) -> IThreadPool:
    """The thread pool of a hub, with at most `hub.threadpool_size` threads."""
    threadpool: IThreadPool = _choose("HUB_THREADPOOL", _THREADPOOLS)(hub.threadpool_size, hub=hub)
    return threadpool


def make_resolver(hub: IHub) -> IResolver:
    """The resolver of a hub."""
    resolver: IResolver = _choose("HUB_RESOLVER", _RESOLVERS)(hub)
    return resolver


def _choose(variable: str, names: dict[str, str]) -> Any:
    """The class that `variable` asks for, else the first of `names`.  Raises ValueError or ImportError."""
    asked = os.environ.get(variable, "").strip()
    where = names.get(asked, asked) if asked else next(iter(names.values()))
    module, colon, name = where.partition(":")
    if not (colon and module and name):
        hint = "; a poller is chosen by HUB_LOOP_BACKEND" if variable == "HUB_LOOP" else ""
        raise ValueError(f"{variable} is {asked!r}, but must be {', '.join(names)} or package.module:Class{hint}")
    return find(where, f"{variable}={asked}" if asked else f"the default of {variable}, {where},")


def find(where: str, who: str) -> Any:
    """Import `package.module:Class`; `who` asks for it.

    Raises ModuleNotFoundError that names the distribution to install, ImportError if the module has no such class.
    """
    import importlib

    path, _, name = where.partition(":")
    try:
        module = importlib.import_module(path)
    except ModuleNotFoundError as error:
        missing = error.name or path
        raise ModuleNotFoundError(f"{who} needs {missing!r}: {_advice(missing)}", name=missing) from error
    try:
        return getattr(module, name)
    except AttributeError:
        raise ImportError(f"{who} needs {name!r}, which {path!r} does not have: correct the name", name=path) from None


def _advice(missing: str) -> str:
    package = missing.partition(".")[0]
    if package.startswith("hub_"):
        return f"install it with `pip install {package.replace('_', '-')}`"
    return "install the distribution that has it, or correct the name"
