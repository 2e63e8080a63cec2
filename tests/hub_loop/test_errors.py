"""Errors: what callbacks, handlers and pollers raise, and what of it leaves `run`."""

from __future__ import annotations

from typing import Any

import pytest

from hub_loop import Loop


class Errors:
    """An error handler that keeps what it is told."""

    def __init__(self) -> None:
        self.seen: list[tuple[object, BaseException]] = []

    def handle_error(self, context: object, type: type[BaseException], value: BaseException, tb: object, /) -> None:
        assert isinstance(value, type)
        assert tb is value.__traceback__
        self.seen.append((context, value))


# -- errors -----------------------------------------------------------------------------------------------------------


def test_an_exception_of_the_poller_is_reported_for_the_loop_itself(loop: Loop) -> None:
    class Broken:
        name = "broken"
        edge = False

        def poll(self, timeout: float | None) -> list[tuple[int, int]]:
            raise OSError("the poller is broken")

    class Leaving(Errors):
        def handle_error(self, *args: Any) -> None:
            super().handle_error(*args)
            loop.break_()

    loop._attend()  # as before its first sleep
    errors, poller, broken = Leaving(), loop._poller, Broken()
    loop._poller = broken  # type: ignore[assignment]  # all of it that is used
    loop.ref()
    with pytest.raises(OSError, match="the poller is broken"):
        loop.run()
    loop.error_handler = errors
    assert loop.run() is True
    assert [(context, str(error)) for context, error in errors.seen] == [(None, "the poller is broken")]
    loop._poller = poller
    loop.unref()
