"""Run the Python blocks of the documentation and of the README: `pytest docs README.md`.

A ```python block runs as it stands, with >>> and without; the blocks of one page share their names, from top to bottom.
`<!-- skip: next "reason" -->` before a block leaves it out, and says why in the report.
"""

from pathlib import Path

import pytest
from sybil import Sybil
from sybil.parsers.myst import PythonCodeBlockParser, SkipParser

_root = Path(__file__).resolve().parent.parent
_markdown = Sybil(parsers=[PythonCodeBlockParser(), SkipParser()], patterns=["*.md"], path=str(_root))


class _CodeBlocks:
    """A plugin, because a conftest's own hook is asked only about files below its directory: not the README."""

    pytest_collect_file = staticmethod(_markdown.pytest())


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(_CodeBlocks(), "markdown-code-blocks")
