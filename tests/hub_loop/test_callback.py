"""Callbacks: what `run_callback` returns, and in which order what was queued runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hub_loop import Loop

if TYPE_CHECKING:
    from hub_loop.testing import ManualClock


def test_the_arguments_of_a_queued_callback_can_be_replaced(loop: Loop) -> None:
    ran: list[str] = []
    callback = loop.run_callback(ran.append, "before")
    callback.args = ("after",)
    loop.run()
    assert ran == ["after"]


@pytest.mark.parametrize("loop", ["fake"], indirect=True)
def test_a_batch_that_feeds_itself_ends_after_its_share_of_time_so_that_the_loop_polls(
    loop: Loop, clock: ManualClock
) -> None:
    ran = 0
    turns: list[int] = []

    def burn() -> None:
        nonlocal ran
        ran += 1
        clock.advance(0.0005)
        if len(turns) < 4:
            loop.run_callback(burn)

    with loop.check() as polled:
        polled.start(lambda: turns.append(ran))
        loop.run_callback(burn)
        while loop.pendingcnt or loop.iteration == 0:
            loop.run(nowait=True)
    # A batch looks at the clock after every 50 calls, which take 25 ms here, and has 5 ms.
    assert turns[:3] == [0, 50, 100]
