"""How docstrings, which are plain text, become fields on the pages: the hook of docs/conf.py."""

from __future__ import annotations

import runpy
from inspect import cleandoc
from pathlib import Path
from typing import Any

import pytest

CONF = runpy.run_path(str(Path(__file__).parents[2] / "docs/conf.py"))


def shown(docstring: str) -> str:
    lines = cleandoc(docstring).splitlines()
    nothing: Any = None
    CONF["fields"](nothing, "function", "name", nothing, nothing, lines)
    return "\n".join(lines).strip()


@pytest.mark.parametrize(
    ("docstring", "page"),
    [
        ("Only a sentence.", "Only a sentence."),
        (
            "Wait.  Call from: any greenlet but the hub.  Switches: always.",
            "Wait.\n\n:Call from: any greenlet but the hub.\n:Switches: always.",
        ),
        (
            """
            Wait.

            Idempotent.  Call from: the loop's thread, and from
            nowhere else.  Switches: never.  Raises ValueError after `close`,
            TypeError if it is none.
            """,
            "Wait.\n\nIdempotent.\n\n:Call from: the loop's thread, and from\n    nowhere else.\n:Switches: never.\n"
            ":Raises: ValueError after `close`,\n    TypeError if it is none.",
        ),
        ("As it.\n\nCall from, switches, raises: as `switch`.", "As it.\n\n:Call from, switches, raises: as `switch`."),
        ("It Raises nothing: the word is in a sentence.", "It Raises nothing: the word is in a sentence."),
        ("See:\n\n    Raises a block.\n\nEnd.", "See:\n\n    Raises a block.\n\nEnd."),
        ("- Switches: in a list, it stays.", "- Switches: in a list, it stays."),
    ],
)
def test_who_may_call_what_switches_and_what_is_raised_become_fields(docstring: str, page: str) -> None:
    assert shown(docstring) == page
