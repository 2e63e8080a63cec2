"""Run the Python blocks of the documentation and of the READMEs: `pytest docs README.md packages/*/README.md`.

A ```python block runs as it stands, with >>> and without; the blocks of one page share their names, from top to bottom.
`<!-- skip: next "reason" -->` before a block leaves it out, and says why in the report.

A page of the tutorial goes on where another has ended: `go_on(page)` in a block that nobody sees runs what that page,
and those before it, have of the program.  These are the blocks with a caption, `:caption: keys.py`.
"""

import re
from pathlib import Path

import pytest
from sybil import Sybil
from sybil.parsers.myst import PythonCodeBlockParser, SkipParser

_docs = Path(__file__).resolve().parent
_go_on = re.compile(r'^go_on\("(.+)"\)$', re.MULTILINE)
_program = re.compile(r"^```\{code-block\} python\n:caption: [^\n]*\n\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def program(page: str) -> list[str]:
    """The blocks of the program that a page has, after those of the pages that it goes on from."""
    text = (_docs / page).read_text()
    before = [block for earlier in _go_on.findall(text) for block in program(earlier)]
    return before + _program.findall(text)


def _names(namespace: dict[str, object]) -> None:
    def go_on(page: str) -> None:
        for block in program(page):
            exec(compile(block, page, "exec"), namespace)

    namespace["go_on"] = go_on


_markdown = Sybil(
    parsers=[PythonCodeBlockParser(), SkipParser()], patterns=["*.md"], path=str(_docs.parent), setup=_names
)


class _CodeBlocks:
    """A plugin, because a conftest's own hook is asked only about files below its directory: not the README."""

    pytest_collect_file = staticmethod(_markdown.pytest())


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(_CodeBlocks(), "markdown-code-blocks")
