"""The hub that a journey runs on: made as users make theirs, and gone at the end, with all threads that it brought."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from greenlet_hub import Hub, get_hub, set_hub, set_loop
from hub_api import InvalidThreadUseError

PATIENCE = 30.0  # seconds for threads that were told to end

pytest.register_assert_rewrite("tests.journeys.gevent_programs")  # its assertions are those of tests, too


@pytest.fixture
def hub() -> Iterator[Hub]:
    """This thread's hub, made for the test; the threads that came meanwhile, its pool's, are waited for.

    A file that wants it otherwise, with a pool of two, say, has a fixture of the same name that asks for this one.
    """
    set_hub(None)
    set_loop(None)
    before = set(threading.enumerate())
    made = get_hub()
    yield made
    made.destroy(destroy_loop=True)
    for thread in set(threading.enumerate()) - before:
        thread.join(PATIENCE)
        assert not thread.is_alive(), thread


def assert_refused_in_another_thread(hub: Hub, *uses: Callable[[], object]) -> None:
    """Each of uses, called in a thread with a hub of its own, is refused, and the error names both threads and hubs."""
    hub.name = "the first"
    told: list[str] = []

    def stranger() -> None:
        with Hub() as own:
            own.name = "the second"
            for use in uses:
                with pytest.raises(InvalidThreadUseError) as caught:
                    use()
                told.append(str(caught.value))

    thread = threading.Thread(target=stranger, name="a stranger")
    thread.start()
    thread.join()
    assert len(told) == len(uses)
    for message in told:
        for words in ("'MainThread'", "'a stranger'", "<Hub 'the first'", "<Hub 'the second'", "threadsafe"):
            assert words in message, message
