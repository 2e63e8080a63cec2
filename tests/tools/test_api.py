"""What `tools/api.py` reads from a package's sources: every way in which a name is made, told by its interface."""

from __future__ import annotations

from pathlib import Path

import pytest

SOURCES = {
    "__init__.py": """
from other import Thing
from pack._inner import Made as Known, make, Row, beside
TYPE_CHECKING = False
if TYPE_CHECKING:
    from pack._later import later
VERSION = "1.0"
__all__ = ["Known", "Row", "Thing", "VERSION", "beside", "later", "make"]
""",
    "_inner.py": """
from typing import NamedTuple
from pack import _base, beside
DEFAULT = object()
class Made(_base.Base, Exception):
    limit = 3
    def __init__(self, name: str, size: int = 0) -> None:
        self.name = name
        self.sizes: list[int] = [size]
        self._own = 1
    @property
    def state(self) -> str: ...
    @state.setter
    def state(self, value: str) -> None: ...
    @overload
    def get(self) -> int: ...
    @overload
    def get(self, other: T) -> T: ...
    def get(self, other=None): ...
    def _inside(self) -> None: ...
class Row(NamedTuple):
    second: int
    first: int
def make(a: int, /, *more: str, default: object = DEFAULT) -> Made: ...
""",
    "_base.py": """
class Base:
    __slots__ = ('_a', 'b')
    def run(self) -> None: ...
    def get(self) -> None: ...
""",
    "_later.py": "async def later() -> None: ...\n",
    "beside.py": "import os\nfrom other import x\nLIMIT = 3\nother.limit = 4\ndef call(): ...\ndef _own(): ...\n",
    "__main__.py": "def main(): ...\n",
}
LINES = """\
pack.Known: class (_base.Base, Exception)
pack.Known.__init__: method (self, name: str, size: int=0) -> None
pack.Known.b: attribute
pack.Known.get: method (self) -> int
pack.Known.get: method (self, other: T) -> T
pack.Known.limit: attribute: int
pack.Known.name: attribute: str
pack.Known.run: method (self) -> None
pack.Known.sizes: attribute: list[int]
pack.Known.state: property, settable: str
pack.Row: class (NamedTuple)
pack.Row.second: attribute: int
pack.Row.first: attribute: int
pack.Thing: is other.Thing
pack.VERSION: attribute: str
pack.beside: module
pack.later: async function () -> None
pack.make: function (a: int, /, *more: str, default: object=DEFAULT) -> Made
pack.beside.LIMIT: attribute: int
pack.beside.call: function ()
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for name, text in SOURCES.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def lines(source: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "tools")
    import api

    return api.lines("pack", source)


def test_each_public_name_is_told_by_its_interface(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert lines(source, monkeypatch) == LINES.splitlines()


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("_inner.py", "size: int = 0", "size: int = 1"),
        ("_inner.py", "second: int\n    first: int", "first: int\n    second: int"),
        ("_inner.py", "default: object", "given: object"),
        ("_base.py", "def run(self) -> None", "def run(self) -> int"),
        ("_base.py", "'b'", "'c'"),
        ("_later.py", "async def", "def"),
        ("__init__.py", 'VERSION = "1.0"', "VERSION = 1.0"),
        ("__init__.py", '"make"', ""),
    ],
)
def test_whatever_a_caller_would_notice_changes_a_line(
    source: Path, monkeypatch: pytest.MonkeyPatch, file: str, old: str, new: str
) -> None:
    assert old in SOURCES[file]
    (source / file).write_text(SOURCES[file].replace(old, new))
    assert lines(source, monkeypatch) != LINES.splitlines()


def test_a_name_that_is_promised_and_not_made_is_told(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (source / "__init__.py").write_text("__all__ = ['lost']\n")
    with pytest.raises(AssertionError, match=r"pack\.lost is promised, and nothing defines it"):
        lines(source, monkeypatch)
