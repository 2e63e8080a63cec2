"""The public names: those that api.txt says, each is there, and exceptions are those of hub_api."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import hub_api
import hub_core

if TYPE_CHECKING:
    from tests.conftest import PublicNames


def test_the_public_names_are_those_of_api_txt(public_names: PublicNames) -> None:
    public_names.check()


@pytest.mark.parametrize("name", hub_core.__all__)
def test_each_public_name_is_there(name: str) -> None:
    assert getattr(hub_core, name) is not None


def test_every_exception_that_crosses_packages_is_found_here_too() -> None:
    for name in (
        "BlockingSwitchOutError",
        "ConcurrentObjectUseError",
        "HubDestroyed",
        "InvalidSwitchError",
        "LoopExit",
    ):
        assert getattr(hub_core, name) is getattr(hub_api, name)
