"""The public names: each is there, each has one home, and importing them costs next to nothing."""

from __future__ import annotations

import ast
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import hub_api

if TYPE_CHECKING:
    from tests.conftest import PublicNames

SOURCE = Path(hub_api.__path__[0])
MODULES = sorted(path.stem for path in SOURCE.glob("_*.py") if path.stem not in ("__init__", "__about__"))


def python(code: str, text: str = "") -> str:
    """Run code in a fresh interpreter that has hub_api and the standard library only; what it printed of `text`."""
    environment = {**os.environ, "PYTHONPATH": str(SOURCE.parent)}
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], input=text, env=environment, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


EACH_FIRST = """
import os, sys
for name in sys.stdin.read().split():
    child = os.fork()  # a process for each, in which it is the first
    if not child:
        try:
            exec(f"from hub_api import {name}\\nassert {name} is not None")
            os._exit(0)
        except BaseException as error:
            os.write(1, f"{name}: {error!r}\\n".encode())
        finally:
            os._exit(1)
    if os.waitpid(child, 0)[1] == 0:
        os.write(1, f"{name}: fine\\n".encode())
assert "hub_api" not in sys.modules
"""


def test_the_public_names_are_those_of_api_txt(public_names: PublicNames) -> None:
    public_names.check()


def test_every_public_name_can_be_imported_first() -> None:
    told = python(EACH_FIRST, " ".join(hub_api.__all__)).splitlines()
    assert told == [f"{name}: fine" for name in hub_api.__all__]


def test_every_public_name_is_named_once_and_has_one_home() -> None:
    assert len(set(hub_api.__all__)) == len(hub_api.__all__)
    homes: dict[str, list[str]] = {}
    for module in MODULES:
        for node in ast.parse((SOURCE / f"{module}.py").read_text("utf-8")).body:
            if isinstance(node, ast.ClassDef):
                homes.setdefault(node.name, []).append(module)
    assert {name: where for name, where in homes.items() if len(where) > 1} == {}
    for name, (module,) in homes.items():
        value = getattr(importlib.import_module(f"hub_api.{module}"), name)
        assert getattr(hub_api, name) is value
        assert value.__module__ == f"hub_api.{module}"


def test_every_class_of_the_package_is_public() -> None:
    classes = {
        node.name
        for module in MODULES
        for node in ast.parse((SOURCE / f"{module}.py").read_text("utf-8")).body
        if isinstance(node, ast.ClassDef)
    }
    assert {name for name in classes if not name.startswith("_")} <= set(hub_api.__all__)


def test_a_star_import_gives_all_of_them() -> None:
    assert python("from hub_api import *; print(READ, WRITE, NONE, IWatcher.__name__)") == "1 2 0 IWatcher\n"


def test_dir_lists_the_names_that_are_not_in_memory_yet() -> None:
    assert python("import hub_api; print(sorted(set(hub_api.__all__) - set(dir(hub_api))))") == "[]\n"
    assert dir(hub_api) == sorted(hub_api.__all__)


def test_the_version_is_a_version() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.\w+)?", hub_api.__version__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'hub_api' has no attribute 'ILop'"):
        _ = getattr(hub_api, "ILop")  # noqa: B009  # written out, the type checker would refuse it
    with pytest.raises(ImportError):
        exec("from hub_api import ILop")


def test_importing_hub_api_imports_neither_greenlet_nor_typing() -> None:
    printed = python(
        "import sys; bare = set(sys.modules)\n"
        "import hub_api; hub_api.LoopExit, hub_api.READ\n"
        "print(*sorted(set(sys.modules) - bare))\n"
    )
    assert set(printed.split()) <= {"hub_api", "hub_api._errors", "hub_api.__about__", "__future__"}


def test_even_the_protocols_import_no_greenlet() -> None:
    code = "import sys, hub_api\nfor name in hub_api.__all__: getattr(hub_api, name)\nprint('greenlet' in sys.modules)"
    assert python(code) == "False\n"


def test_the_masks_are_the_bits_that_the_field_knows() -> None:
    assert (hub_api.NONE, hub_api.READ, hub_api.WRITE) == (0, 1, 2)


def test_the_package_says_that_it_is_typed() -> None:
    assert (SOURCE / "py.typed").is_file()
