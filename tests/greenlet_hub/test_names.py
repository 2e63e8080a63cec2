"""The public names: all there, typed and lazy alike, and no others."""

from __future__ import annotations

import pytest

import greenlet_hub
import hub_api
import hub_core
import hub_loop
import hub_resolver
import hub_threadpool

HOMES = (hub_api, hub_core, hub_loop, hub_resolver, hub_threadpool)


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
