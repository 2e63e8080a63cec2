"""Prepare, check and idle: called at their moment of the turn, and in which order."""

from __future__ import annotations

import pytest

from hub_loop import Loop
from hub_loop._phases import Phase


def test_a_phase_has_to_say_in_which_table_it_stands(loop: Loop) -> None:
    with pytest.raises(NotImplementedError):
        Phase(loop).start(print)
    assert loop.activecnt == 0
