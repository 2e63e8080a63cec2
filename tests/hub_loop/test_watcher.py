"""The life that watchers of all kinds share: idle, active, pending, closed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hub_loop import Loop
from hub_loop._watcher import Watcher

if TYPE_CHECKING:
    pass


def test_a_kind_has_to_say_how_it_is_armed(loop: Loop) -> None:
    watcher = Watcher(loop)
    with pytest.raises(NotImplementedError):
        watcher.start(print)
    with pytest.raises(NotImplementedError):
        watcher.stop()
    assert not watcher.active
    assert loop.activecnt == 0
