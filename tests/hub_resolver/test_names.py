"""The public names: those that api.txt says; test_without_extras.py has each of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.conftest import PublicNames


def test_the_public_names_are_those_of_api_txt(public_names: PublicNames) -> None:
    public_names.check()
