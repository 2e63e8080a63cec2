"""What the doctor looks at: versions, limits, clocks, signals, the environment.  Nothing is tried here.

Receives: the system.  Gives: marks and texts, see `_doctor`.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.metadata
import importlib.util
import os
import platform
import resource
import signal
import sys
import time
from importlib.machinery import EXTENSION_SUFFIXES

import greenlet

from greenlet_hub import _defaults
from greenlet_hub.__about__ import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from greenlet_hub._doctor import Check, Found

FAMILY = ("hub_api", "hub_loop", "hub_core", "hub_threadpool", "hub_resolver", "greenlet_hub")
EXTRAS = {
    "pycares": ("hub-resolver[ares]", "the resolver `ares`"),
    "dnspython": ("hub-resolver[dnspython]", "the resolver `dnspython`"),
    "inotify_simple": ("hub-loop[inotify]", "paths are watched by looking, not by inotify"),
}
FEW_FILES = 1024
SHORT_BACKLOG = 128
COARSE = 0.001
"""Seconds: a clock that steps wider than that is coarser than the loop's timers."""


def python() -> Found:
    """The interpreter."""
    where = f"{sys.executable}, {platform.system()} {platform.release()} {platform.machine()}"
    yield "ok", f"{platform.python_implementation()} {platform.python_version()}, {where}"
    has_gil = getattr(sys, "_is_gil_enabled", None)
    if has_gil is not None and not has_gil():
        yield "warn", "free-threaded, without the GIL: greenlet and the family are not tested on it"
    yield "ok", f"greenlet {greenlet.__version__}"


def family() -> Found:
    """The packages of the family, which go together by their first two numbers."""
    series = __version__.rsplit(".", 1)[0]
    for name in FAMILY:
        distribution = name.replace("_", "-")
        try:
            version: str = importlib.import_module(f"{name}.__about__").__version__
        except ModuleNotFoundError:
            yield "fail", f"{distribution} is not installed: pip install {distribution}"
            continue
        if version.rsplit(".", 1)[0] == series:
            yield "ok", f"{distribution} {version}, {_build(name)}"
        else:
            yield "fail", f"{distribution} is {version}, and greenlet-hub {__version__} needs {series}.*"


def _build(package: str) -> str:
    """Whether it has compiled modules beside its sources."""
    spec = importlib.util.find_spec(package)
    places = () if spec is None or spec.submodule_search_locations is None else spec.submodule_search_locations
    found = sum(
        name.endswith(tuple(EXTENSION_SUFFIXES)) for place in places for _, _, names in os.walk(place) for name in names
    )
    return f"{found} compiled modules" if found else "pure Python"


def extras() -> Found:
    """What may be missing."""
    for name, (extra, what) in EXTRAS.items():
        try:
            yield "ok", f"{name} {importlib.metadata.version(name)}"
        except importlib.metadata.PackageNotFoundError:
            without = f"without it, {what}" if name == "inotify_simple" else f"for {what}"
            yield "note", f"{name} is not installed ({without}): pip install '{extra}'"


def files() -> Found:
    """How many file descriptors there can be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    told = f"{_number(soft)} open files (soft limit), {_number(hard)} (hard limit)"
    if soft != resource.RLIM_INFINITY and soft < FEW_FILES:
        yield "warn", f"{told}: each connection takes one; raise the soft limit with `ulimit -n`"
    else:
        yield "ok", told


def threads() -> Found:
    """How many threads there can be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    told = f"{_number(soft)} processes and threads of this user (soft limit), {_number(hard)} (hard limit)"
    most = _read("/proc/sys/kernel/threads-max")
    yield "ok", f"{told}, {int(most):,} in the system" if most.isdigit() else told


def backlog() -> Found:
    """How many connections the kernel keeps for a server that has not accepted them yet."""
    most = _read("/proc/sys/net/core/somaxconn")
    if not most.isdigit():
        yield "note", "the system does not tell how long a backlog of `listen` may be"
    elif int(most) < SHORT_BACKLOG:
        yield "warn", f"at most {most} connections wait to be accepted: raise net.core.somaxconn"
    else:
        yield "ok", f"at most {int(most):,} connections wait to be accepted (net.core.somaxconn)"


def clock() -> Found:
    """How fine the loop's clock is."""
    told = time.get_clock_info("monotonic")
    before = after = time.monotonic()
    while after == before:
        after = time.monotonic()
    step = max(after - before, told.resolution)
    text = f"{told.implementation}, resolution {told.resolution:g} s, step {step:.1e} s"
    yield ("warn", f"{text}: timers are as coarse as that") if step > COARSE else ("ok", text)


def variables() -> Found:
    """The environment: what is ours, and what looks as if it should be."""
    given = _defaults.given()
    for name, value in given.items():
        yield "ok", f"{name}={value}"
    try:
        _defaults.choose_threshold()
    except ValueError as error:
        yield "fail", str(error)
    strangers = sorted(name for name in os.environ if name.startswith("HUB_") and name not in _defaults.VARIABLES)
    for name in strangers:
        near = difflib.get_close_matches(name, _defaults.VARIABLES, 1, 0.8)
        if near:
            yield "warn", f"{name} is set and nobody reads it; did you mean {near[0]}?"
        else:
            yield "note", f"{name} is set and none of ours"
    if not given and not strangers:
        yield "ok", "no variable is set that begins with HUB_"


def signals() -> Found:
    """Signals that somebody has set for us, and that make a program behave oddly."""
    odd = [
        (signal.SIGINT, "Ctrl-C does nothing (so it is with `nohup` and with `&` in scripts)"),
        (signal.SIGCHLD, "the kernel drops the statuses of children that no child watcher waits for"),
        (signal.SIGTERM, "the process cannot be ended in the usual way"),
    ]
    ignored = [(number, why) for number, why in odd if signal.getsignal(number) is signal.SIG_IGN]
    for number, why in ignored:
        yield "warn", f"{number.name} is ignored: {why}"
    if not ignored:
        yield "ok", f"{', '.join(number.name for number, _ in odd)} are not ignored"


def strangers() -> Found:
    """Others who have put their hands on this interpreter before us."""
    patched = [
        name
        for name, module, attribute in (
            ("gevent", "gevent.monkey", "saved"),
            ("eventlet", "eventlet.patcher", "already_patched"),
        )
        if getattr(sys.modules.get(module), attribute, None)
    ]
    for name in patched:
        yield "warn", f"{name} has patched the standard library: what blocks there waits on its hub, and not on ours"
    if greenlet.gettrace() is not None:
        yield "warn", "somebody traces greenlets: each switch takes longer, and none is carried"
    if sys.gettrace() is not None:
        yield "warn", "a trace function is set (a debugger, or coverage): everything takes longer"
    if not patched and greenlet.gettrace() is None and sys.gettrace() is None:
        yield "ok", "nobody has patched the standard library, and nobody traces"


def _number(limit: int) -> str:
    return "any number of" if limit == resource.RLIM_INFINITY else f"{limit:,}"


def _read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read().strip()
    except OSError:
        return ""


CHECKS: tuple[Check, ...] = (
    ("python", python),
    ("packages", family),
    ("extras", extras),
    ("environment", variables),
    ("files", files),
    ("threads", threads),
    ("backlog", backlog),
    ("clock", clock),
    ("signals", signals),
    ("strangers", strangers),
)
