"""Which class by default: the one place that names every default, and joins the parts.

Receives: the environment, and hubs that need a part.  Gives: loops, thread pools and resolvers.

| part | variable | names | is called |
|---|---|---|---|
| loop | HUB_LOOP | `hub` | `(default=True or False)` |
| poller of the loop | HUB_LOOP_BACKEND | `epoll`, `kqueue`, `poll`, `select` | by `hub_loop` itself |
| thread pool | HUB_THREADPOOL | `thread` | `(maxsize, hub=hub)` |
| its idle threads | HUB_THREADPOOL_IDLE_TASK_TIMEOUT | seconds, or `never` | with `idle_task_timeout=` |
| resolver | HUB_RESOLVER | `thread`, `ares`, `dnspython`, `block` | `(hub)` |

HUB_REPORT_SIGNAL names a signal, as in `SIGUSR2`, at which the main thread's hub prints a report.
HUB_WATCH holds the seconds after which a hub counts as blocked: see `Hub.watch`.

Each other variable holds one of its names, or `package.module:Class`.  The first name is the default.
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
_IDLE = "HUB_THREADPOOL_IDLE_TASK_TIMEOUT"
REPORT_SIGNAL = "HUB_REPORT_SIGNAL"
WATCH = "HUB_WATCH"
VARIABLES = ("HUB_LOOP", "HUB_LOOP_BACKEND", "HUB_THREADPOOL", _IDLE, "HUB_RESOLVER", REPORT_SIGNAL, WATCH)
"""All that are read."""
RESOLVERS = {
    "thread": "hub_resolver:ThreadResolver",
    "ares": "hub_resolver:AresResolver",
    "dnspython": "hub_resolver:DnspythonResolver",
    "block": "hub_resolver:BlockingResolver",
}


def join() -> None:
    """Tell hub-core where hubs get their parts from.  Starts, opens and imports nothing."""
    hub_core.set_defaults(loop=make_loop, threadpool=make_threadpool, resolver=make_resolver, watch=choose_threshold)


def given() -> dict[str, str]:
    """Those of our variables that are set, and not to nothing."""
    return {name: value for name in VARIABLES if (value := os.environ.get(name, "").strip())}


def new_loop(*, default: bool | None = None) -> ILoopCore:
    """A loop of the class that HUB_LOOP asks for; `default` says whether it is the main thread's."""
    loop: ILoopCore = _choose("HUB_LOOP", _LOOPS)(default=default)
    return loop


def make_loop(*, default: bool | None = None) -> ILoopCore:
    """The loop of a new hub: the same, with the reports that HUB_REPORT_SIGNAL asks for."""
    loop = new_loop(default=default)
    asked = os.environ.get(REPORT_SIGNAL, "").strip()
    if default and asked:
        try:
            hub_core.report_on_signal(loop, int(asked) if asked.isdigit() else asked)
        except BaseException as error:
            loop.destroy()
            if isinstance(error, (ValueError, NotImplementedError)):
                raise ValueError(f"{REPORT_SIGNAL} is {asked!r}: {error}") from None
            raise
    return loop


def make_threadpool(hub: IHub) -> IThreadPool:
    """The thread pool of a hub, with at most `hub.threadpool_size` threads."""
    options: dict[str, float | None] = {}
    asked = os.environ.get(_IDLE, "").strip()
    if asked:
        options["idle_task_timeout"] = _seconds(asked)
    threadpool: IThreadPool = _choose("HUB_THREADPOOL", _THREADPOOLS)(hub.threadpool_size, hub=hub, **options)
    return threadpool


def _seconds(asked: str) -> float | None:
    """What the variable for idle threads says; None for never."""
    if asked == "never":
        return None
    try:
        seconds = float(asked)
    except ValueError:
        seconds = -1.0
    if not seconds >= 0.0:
        raise ValueError(f"{_IDLE} is {asked!r}, but must be seconds, or never")
    return seconds


def make_resolver(hub: IHub, asked: str = "", who: str = "HUB_RESOLVER") -> IResolver:
    """The resolver of a hub; `asked`, by `who`, goes before what the environment says."""
    kind = _named(who, asked, RESOLVERS) if asked else _choose("HUB_RESOLVER", RESOLVERS)
    resolver: IResolver = kind(hub)
    return resolver


def choose_threshold() -> float | None:
    """The seconds of HUB_WATCH, with which each new hub is watched; None without it, or if it is 0."""
    asked = os.environ.get(WATCH, "").strip()
    if not asked:
        return None
    try:
        threshold = float(asked)
    except ValueError:
        threshold = -1.0
    if threshold != 0.0 and not 0.01 <= threshold < float("inf"):
        raise ValueError(f"{WATCH} is {asked!r}, but must be a number of seconds, 0.01 or more, or 0 for no watch")
    return threshold or None


def _choose(variable: str, names: dict[str, str]) -> Any:
    """The class that `variable` asks for, else the first of `names`.  Raises ValueError or ImportError."""
    asked = os.environ.get(variable, "").strip()
    return _named(variable, asked, names)


def _named(variable: str, asked: str, names: dict[str, str]) -> Any:
    """The class that is asked for, by that variable or option, else the first of `names`."""
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
