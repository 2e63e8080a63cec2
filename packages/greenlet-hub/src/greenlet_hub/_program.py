"""Running a program as `python` does: its `__main__`, `sys.argv`, `sys.path[0]`, its traceback and its end.

Receives: the path of a script, directory or zip file, or the name of a module, and the program's arguments.  Gives: the
program, run in this process.

It gets a `__main__` module of its own, which stays until the process has ended, for threads, pickles and `atexit`
functions look there.  (`runpy` takes its module back as soon as the program's last line has run.)

Rule 1: nothing that the program raises is caught.  It goes through, and the interpreter does with it what it always
does: SystemExit gives the status, a KeyboardInterrupt ends the process by SIGINT, anything else is status 1.
Rule 2: a traceback begins with the program's own first frame.
"""

from __future__ import annotations

import builtins
import importlib.util
import os
import sys
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader, SourcelessFileLoader
from types import CodeType, ModuleType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any


class NoProgram(Exception):
    """There is nothing to run; the text says why."""


def run_script(path: str, arguments: list[str]) -> None:
    """Run a file, or the `__main__` of a directory or zip file.  Raises NoProgram, and whatever the program raises."""
    if not os.path.exists(path):
        raise NoProgram(f"cannot run {path!r}: there is no such file")
    sys.argv[:] = [path, *arguments]
    _execute(lambda: _find_script(path))


def run_module(name: str, arguments: list[str]) -> None:
    """Run a module, or the `__main__` of a package.  Raises NoProgram, and whatever the program raises."""
    sys.argv[:] = ["-m", *arguments]
    _put_first(os.getcwd())
    _execute(lambda: _find_module(name))


def _execute(find: Any) -> None:
    """Find the code and run it.  All frames down to this one are ours."""
    try:
        code, attributes = find()
        main = _new_main(attributes)
        sys.modules["__main__"] = main
        exec(code, vars(main))
    except (NoProgram, SystemExit):
        raise
    except BaseException as error:
        _show_without_ours(error)
        raise


def _new_main(attributes: dict[str, Any]) -> ModuleType:
    """A `__main__` with the names that python gives it (test_run.py)."""
    main = ModuleType("__main__")
    # In modules that are imported it is the dict of that module, in this one the module itself.
    vars(main).update(attributes, __builtins__=builtins)
    if "__annotations__" in vars(
        sys.modules["__main__"]
    ):  # some interpreters make it at once, others when it is asked for
        vars(main)["__annotations__"] = {}
    return main


def _find_script(given: str) -> tuple[CodeType, dict[str, Any]]:
    path = os.path.abspath(given)
    if os.path.isdir(path) or _is_archive(path):
        _put_first(path)
        spec = PathFinder.find_spec("__main__", [path])
        if spec is None:
            raise NoProgram(f"cannot run {given!r}: there is no '__main__' module in it")
        return _of_spec(spec, "")
    _put_first(os.path.dirname(os.path.realpath(path)))
    attributes: dict[str, Any] = {"__file__": path, "__spec__": None, "__package__": None, "__cached__": None}
    if path.endswith(".pyc"):
        loader = SourcelessFileLoader("__main__", path)
        compiled = loader.get_code("__main__")
        assert compiled is not None, "a loader of compiled files gives code or raises"
        return compiled, attributes | {"__loader__": loader}
    try:
        with open(path, "rb") as file:
            source = file.read()
    except OSError as error:
        raise NoProgram(f"cannot run {given!r}: {error.strerror}") from None
    # Not by the loader, which would leave a compiled file behind.
    code = compile(source, path, "exec", dont_inherit=True)
    return code, attributes | {"__loader__": SourceFileLoader("__main__", path)}


def _is_archive(path: str) -> bool:
    if path.endswith((".py", ".pyc")):
        return False
    import zipfile

    return zipfile.is_zipfile(path)


def _find_module(name: str) -> tuple[CodeType, dict[str, Any]]:
    spec = _spec_of(name)
    if spec is not None and spec.submodule_search_locations is not None:
        package, spec = name, _spec_of(f"{name}.__main__")
        if spec is None:
            raise NoProgram(f"cannot run {package!r}: it is a package without a '__main__' module")
    if spec is None:
        raise NoProgram(f"cannot run {name!r}: there is no module of that name")
    found = _of_spec(spec, spec.parent or "")
    sys.argv[0] = spec.origin or name
    return found


def _spec_of(name: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            return None  # a package above it is not there; another one would be missing to that package
        raise
    except ValueError:  # an empty part of the name, or a module that was made by hand
        return None


def _of_spec(spec: ModuleSpec, package: str) -> tuple[CodeType, dict[str, Any]]:
    get_code = getattr(spec.loader, "get_code", None)
    code = None if get_code is None else get_code(spec.name)
    if code is None:
        raise NoProgram(f"cannot run {spec.name!r}: it has no Python code ({spec.origin})")
    attributes = {
        "__file__": spec.origin,
        "__cached__": spec.cached,
        "__loader__": spec.loader,
        "__package__": package,
        "__spec__": spec,
    }
    return code, attributes


def _put_first(directory: str) -> None:
    """Make it `sys.path[0]`, in place of where this command line was started from."""
    if not sys.flags.safe_path:  # else there is no such place, neither for us nor for the program
        sys.path[0:1] = [directory]


def _show_without_ours(error: BaseException) -> None:
    """Have the interpreter's hook get a traceback that begins with the program's first frame."""
    trace = _behind_ours(error.__traceback__)
    hook = sys.excepthook

    def show(kind: type[BaseException], value: BaseException, _: TracebackType | None) -> None:
        sys.excepthook = hook
        hook(kind, value.with_traceback(trace), trace)

    sys.excepthook = show


def _behind_ours(trace: TracebackType | None) -> TracebackType | None:
    """What is behind our own frames, and behind those of the import system that the search went through."""
    while trace is not None and (
        trace.tb_frame.f_globals.get("__name__") == __name__ or trace.tb_frame.f_code.co_filename.startswith("<frozen ")
    ):
        trace = trace.tb_next
    return trace
