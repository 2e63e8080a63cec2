"""The public names: those that api.txt says, and each is there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import hub_threadpool

if TYPE_CHECKING:
    from tests.conftest import PublicNames


def test_the_public_names_are_those_of_api_txt(public_names: PublicNames) -> None:
    public_names.check()


@pytest.mark.parametrize("name", hub_threadpool.__all__)
def test_each_public_name_is_there(name: str) -> None:
    assert getattr(hub_threadpool, name) is not None
