"""The public names: all there, typed and lazy alike, and no others."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import greenlet_hub
import hub_api
import hub_core
import hub_loop
import hub_resolver
import hub_threadpool

if TYPE_CHECKING:
    from tests.conftest import PublicNames

HOMES = (hub_api, hub_core, hub_loop, hub_resolver, hub_threadpool)


def test_the_public_names_are_those_of_api_txt(public_names: PublicNames) -> None:
    public_names.check()


@pytest.mark.parametrize("name", greenlet_hub.__all__)
def test_each_name_is_the_very_object_of_the_package_that_it_comes_from(name: str) -> None:
    found = getattr(greenlet_hub, name)
    if name not in ("GreenletExit", "__version__"):
        assert any(getattr(home, name, None) is found for home in HOMES)


def test_every_public_name_of_hub_core_is_re_exported() -> None:
    assert set(hub_core.__all__) <= set(greenlet_hub.__all__)


def test_dir_shows_the_names_that_are_imported_later() -> None:
    assert set(greenlet_hub.__all__) <= set(dir(greenlet_hub))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Lopo'"):
        _ = greenlet_hub.Lopo  # type: ignore[attr-defined]  # the type checker knows it too


FAMILY = {home.__name__ for home in HOMES}
SOURCES = Path(__file__).resolve().parents[2] / "packages/greenlet-hub/src/greenlet_hub"


def test_of_its_siblings_the_package_names_what_they_offer_and_the_trace_alone_looks_behind() -> None:
    """The words of a trace are read from frames of hub_core, at each switch, so from its very code."""
    behind = set()
    for path in SOURCES.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            imported = []
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                imported = [f"{node.module}.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.Import):
                imported = [alias.name for alias in node.names]
            for name in imported:
                package, _, rest = name.partition(".")
                private = any(part.startswith("_") and part != "__about__" for part in rest.split("."))
                if package in FAMILY and private:
                    behind.add((path.name, name))
    assert behind == {("_trace_words.py", "hub_core._hub.PARKS")}
