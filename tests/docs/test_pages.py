"""The pages under docs/ say what is there: each test that they name exists, and each public name has its place."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROW = re.compile(r"^\| *(?P<name>[^|]*)\| *(?:`(?P<file>[\w/]+\.py)`)? *\| *`(?P<test>test_\w+)` *\|$", re.MULTILINE)


KIT = ROOT / "packages/hub-loop/src/hub_loop/testing"
"""The tests of the conformance kit are methods, in `conformance/` below this."""


def names_of_tests(file: str) -> set[str]:
    tree = ast.parse(((KIT if file.startswith("conformance/") else ROOT / "tests") / file).read_text())
    bodies = [tree.body, *(node.body for node in tree.body if isinstance(node, ast.ClassDef))]
    return {node.name for body in bodies for node in body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize(
    "page",
    ["architecture.md", "reference/surface.md", "explain/edge-triggered.md", "explain/what-goes-wrong-elsewhere.md"],
)
def test_each_test_that_a_page_names_exists(page: str) -> None:
    text = (ROOT / "docs" / page).read_text()
    file, named, missing = "", 0, list[str]()
    for row in ROW.finditer(text):
        file = row["file"] or file
        named += 1
        if row["test"] not in names_of_tests(file):
            missing.append(f"{file}::{row['test']}")
    assert named == text.count("| `test_") + text.count("|`test_")
    assert named > 8
    assert not missing


@pytest.mark.parametrize(
    "package",
    [
        "hub_api",
        "hub_loop",
        "hub_core",
        "hub_threadpool",
        "hub_resolver",
        "greenlet_hub",
        "hub_loop.testing",
        "hub_loop.testing.conformance",
        "hub_core.testing",
        "hub_resolver.testing",
    ],
)
def test_each_public_name_is_on_its_packages_page(package: str) -> None:
    page = (ROOT / "docs/reference" / f"{package.partition('.')[0].replace('_', '-')}.md").read_text()
    names = set(importlib.import_module(package).__all__) - {"__version__"}
    missing = {name for name in names if not re.search(rf"(?<![\w.]){name}\b", page)}
    assert not missing


def test_the_blocks_of_each_readme_are_run() -> None:
    with_blocks = [path for path in ROOT.glob("packages/*/README.md") if "```python" in path.read_text()]
    assert with_blocks
    for where in ("pyproject.toml", ".ci/run"):
        (command,) = re.findall(r"docs README\.md [^}\n;]*", (ROOT / where).read_text())
        assert {*with_blocks} <= {path for pattern in command.split() for path in ROOT.glob(pattern)}


def test_what_the_readme_has_hatch_do_is_found_on_a_fresh_clone() -> None:
    text = (ROOT / "README.md").read_text()
    assert ".venv/bin/hatch run greenlet-hub doctor" in text
    assert not re.findall(r"(?<!\.venv/bin/)\bhatch (?:run|test)\b.*", text)


def test_the_readme_has_each_package_with_its_version() -> None:
    named = dict(
        re.findall(r"^\| \[`([\w-]+)`\]\(packages/\1\) \| ([\w.]+) \|", (ROOT / "README.md").read_text(), re.MULTILINE)
    )
    packages = [path.name for path in (ROOT / "packages").iterdir() if path.is_dir()]
    assert named == {
        name: importlib.import_module(f"{name.replace('-', '_')}.__about__").__version__ for name in packages
    }
