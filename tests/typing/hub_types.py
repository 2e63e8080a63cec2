"""What a type checker makes of the hub's surface: `mypy --strict tests` checks this file, nothing runs it.

Each ignore is a refusal that is checked: one that ignores nothing is an error.
"""

from __future__ import annotations

from typing import assert_type

from greenlet import greenlet

from hub_api import IHub, ILoopCore, IThreadPool, IWaiter
from hub_core import Hub, Waiter, get_hub, get_hub_if_exists, kill, sleep, spawn_raw, wait_read


def join(number: int, text: str, *, weight: float = 1.0) -> str:
    return f"{number}{text}{weight}"


def what_the_functions_give() -> None:
    assert_type(get_hub(), Hub)
    assert_type(get_hub_if_exists(), Hub | None)
    assert_type(get_hub().loop, ILoopCore)
    assert_type(spawn_raw(join, 1, text="two", weight=2.0), greenlet)
    assert_type(sleep(1), None)
    assert_type(wait_read(0, timeout=1.0, timeout_exc=TimeoutError), None)
    kill(spawn_raw(join, 1, "two"), KeyError("gone"))


def spawn_refuses_what_the_function_does_not_take() -> None:
    spawn_raw(join, 1)  # type: ignore[call-arg]
    spawn_raw(join, 1, 2)  # type: ignore[arg-type]
    spawn_raw(join, 1, "two", weigth=2.0)  # type: ignore[call-arg]
    spawn_raw("join")  # type: ignore[arg-type]
    sleep("a while")  # type: ignore[arg-type]


def what_a_pool_gives(pool: IThreadPool) -> None:
    assert_type(pool.spawn(join, 1, text="two").get(), str)
    assert_type(pool.apply(join, (1, "two")), str)
    pool.spawn(join, 1)  # type: ignore[call-arg]


hub: IHub = get_hub()
waiter: IWaiter = Waiter()
