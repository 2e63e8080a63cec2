"""Sequencer: numbered steps that greenlets pass in order, whoever comes first.

Receives: greenlets that enter steps.  Gives: each its turn, when the step before is over.
Rule 1: a number is passed once; the next opens when its block is left, by an exception too.
Rule 2: a step that is given up while it waits (killed, say) is never passed, so no higher one could be: those that wait
and those that come later are told so instead of hanging.  Lower ones pass as ever.
Rule 3: who waits names its step, and the step knows the greenlet that it waits for: a hang tells which step is missing.
"""

from __future__ import annotations

from greenlet import getcurrent

from hub_api import BlockingSwitchOutError
from hub_core._local import this_hub
from hub_core._waiter import Waiter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

    from greenlet import greenlet

    from hub_core._hub import Hub


class Sequencer:
    """Puts blocks of several greenlets into the order of their numbers, from 0.

    `with sequencer(3):` parks until the blocks of 0, 1 and 2 are over.  The greenlets may come in any order.
    Call from: greenlets of one hub, each number once.  Switches: if it is not the number's turn.
    Raises ValueError for what is no number of a step; RuntimeError for a number that was used before, and in the steps
    behind one that was given up while it waited; InvalidThreadUseError in another thread; BlockingSwitchOutError in a
    callback, if it is not the number's turn.
    """

    def __init__(self, hub: Hub | None = None) -> None:
        self._hub = this_hub() if hub is None else hub
        self._next = 0
        self._steps: dict[int, Step] = {}
        """Those that were entered: they wait, they run, or they are over."""
        self._given_up: Step | None = None

    def __call__(self, number: int) -> Step:
        """The step of this number, to be entered by `with`."""
        if not isinstance(number, int) or number < 0:
            raise ValueError(f"steps are numbered 0, 1, 2 and so on, got {number!r}")
        return Step(self, number)

    def __repr__(self) -> str:
        waiting = sorted(number for number in self._steps if number > self._next)
        given_up = "" if self._given_up is None else f" given up at {self._given_up._number}"
        return f"<Sequencer at {id(self):#x} next={self._next} waiting={waiting}{given_up}>"


class Step:
    """One numbered block of a Sequencer: what a greenlet waits for that comes before its turn."""

    __slots__ = ("_greenlet", "_number", "_sequencer", "_waiter")

    def __init__(self, sequencer: Sequencer, number: int) -> None:
        self._sequencer = sequencer
        self._number = number
        self._greenlet: greenlet | None = None
        self._waiter: Waiter | None = None

    @property
    def owner(self) -> greenlet | None:
        """The greenlet in the step before, which has to pass first; None if nobody has come for it."""
        before = self._sequencer._steps.get(self._number - 1)
        return None if before is None else before._greenlet

    def __enter__(self) -> Step:
        sequencer = self._sequencer
        sequencer._hub.check_thread(f"enter {self!r}")
        if self._number in sequencer._steps:
            raise RuntimeError(
                f"{getcurrent()!r} cannot enter {self!r}: each step is passed once, and this one is used"
            )
        self._refuse_if_given_up()
        sequencer._steps[self._number] = self
        self._greenlet = getcurrent()
        if self._number != sequencer._next:
            self._wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._greenlet = None
        sequencer = self._sequencer
        sequencer._next = self._number + 1
        after = sequencer._steps.get(sequencer._next)
        if after is not None and after._waiter is not None:
            after._waiter.switch(None)

    def _wait(self) -> None:
        sequencer = self._sequencer
        waiter = self._waiter = Waiter(sequencer._hub)
        waiter.reason = self
        try:
            waiter.get()
            self._refuse_if_given_up()
        except BlockingSwitchOutError:  # it cannot wait here; another greenlet may
            del sequencer._steps[self._number]
            raise
        except BaseException:
            self._give_up()
            raise
        finally:
            self._waiter = None

    def _give_up(self) -> None:
        sequencer = self._sequencer
        self._greenlet = None
        if sequencer._given_up is None or self._number < sequencer._given_up._number:
            sequencer._given_up = self
            for number, step in sequencer._steps.items():
                if number > self._number and step._waiter is not None:
                    step._waiter.switch(None)

    def _refuse_if_given_up(self) -> None:
        given_up = self._sequencer._given_up
        if given_up is not None and self._number > given_up._number:
            raise RuntimeError(
                f"{getcurrent()!r} cannot pass {self!r}: step {given_up._number} was given up while it waited, "
                "so no later one can come"
            )

    def __repr__(self) -> str:
        return f"<step {self._number} of Sequencer at {id(self._sequencer):#x}>"
