"""The exceptions: what they are kinds of, and what they carry."""

from __future__ import annotations

import pytest

import hub_api
from hub_api import LoopExit

KINDS = [
    (hub_api.LoopExit, Exception),
    (hub_api.ConcurrentObjectUseError, AssertionError),
    (hub_api.BlockingSwitchOutError, AssertionError),
    (hub_api.InvalidSwitchError, AssertionError),
    (hub_api.InvalidThreadUseError, RuntimeError),
    (hub_api.ForkedError, RuntimeError),
    (hub_api.JobCancelledError, RuntimeError),
    (hub_api.PoolFullError, RuntimeError),
    (hub_api.PoolKilledError, RuntimeError),
    (hub_api.WorkerLostError, RuntimeError),
    (hub_api.HubDestroyed, BaseException),
]


@pytest.mark.parametrize(("error", "kind"), KINDS)
def test_each_exception_is_of_the_kind_that_people_catch(error: type[BaseException], kind: type[BaseException]) -> None:
    assert error.__bases__ == (kind,)
    with pytest.raises(kind, match="why"):
        raise error("why")


def test_no_except_exception_keeps_a_dying_hub_alive() -> None:
    assert not issubclass(hub_api.HubDestroyed, Exception)


def test_every_exception_of_the_package_is_public() -> None:
    from hub_api import _errors

    defined = {
        name for name, value in vars(_errors).items() if isinstance(value, type) and issubclass(value, BaseException)
    }
    assert defined == {error.__name__ for error, _ in KINDS}
    assert defined <= set(hub_api.__all__)


def test_a_loop_exit_knows_the_hub_that_ran_dry() -> None:
    hub = object()
    error = LoopExit("This operation would block forever", hub, ["a handle"])
    assert error.hub is hub
    assert error.args == ("This operation would block forever", hub, ["a handle"])


def test_a_loop_exit_prints_the_hub_and_its_handles() -> None:
    error = LoopExit("This operation would block forever", "<Hub>", ["a handle"])
    assert str(error) == repr(error) == "This operation would block forever\n\tHub: <Hub>\n\tHandles:\n['a handle']"


@pytest.mark.parametrize("arguments", [(), ("message",), ("message", "two"), (1, 2, 3, 4)])
def test_a_loop_exit_with_other_arguments_is_a_plain_exception(arguments: tuple[object, ...]) -> None:
    error, plain = LoopExit(*arguments), Exception(*arguments)
    assert error.hub is None
    assert str(error) == str(plain)
    assert repr(error) == repr(plain).replace("Exception", "LoopExit", 1)
