"""A KeyboardInterrupt at one chosen moment of the code under test: what the files about interrupts share."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tests.conftest import Kin

if TYPE_CHECKING:
    from types import FrameType

Moments = Callable[["FrameType", str, Any], bool]
"""Whether this is a moment, told as a profile function is (`sys.setprofile`): frame, event and argument.

CPython looks whether a signal has come when a function of Python is entered ("call"), and when one in C has returned
("c_return"), whose result is lost then.
"""


def interrupt_at(moment: int, func: Callable[[], object], is_moment: Moments) -> bool:
    """Call `func`, and have a KeyboardInterrupt arise at a moment, counted from 1; False if it has fewer."""
    seen = 0

    def profile(frame: FrameType, event: str, arg: Any) -> None:
        nonlocal seen
        if is_moment(frame, event, arg):
            seen += 1
            if seen == moment:
                sys.setprofile(before)
                raise KeyboardInterrupt

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        func()
    except KeyboardInterrupt:
        assert seen >= moment, "it is somebody else's"
    finally:
        sys.setprofile(before)
    return seen >= moment


def strike_forks(
    sources: tuple[str, ...], check: Callable[[], object], in_parent: Callable[[], object] = lambda: None
) -> int:
    """Fork again and again, each time with an interrupt at the next moment of what `sources` do in the child inside it.

    `check` is called in each child, `in_parent` in the parent behind each.  Returns how many moments there are.
    """

    def check_and_say_when() -> None:
        try:
            check()
        except BaseException as error:
            error.add_note(f"The interrupt came at moment {moment}.")
            raise

    def fork(kin: Kin, moment: int) -> bool:
        def is_moment(frame: FrameType, event: str, arg: Any) -> bool:
            return event in ("call", "c_return") and kin.is_child and frame.f_code.co_filename.startswith(sources)

        return interrupt_at(moment, kin.fork, is_moment)

    answer, tell = os.pipe()
    moment, struck = 0, True
    while struck:
        moment += 1
        kin = Kin()
        struck = fork(kin, moment)
        if kin.is_child:
            os.write(tell, b"x" if struck else b"-")
        kin.child_ends(check_and_say_when)
        struck = os.read(answer, 1) == b"x"
        in_parent()
    for end in (answer, tell):
        os.close(end)
    return moment - 1


def is_a_finalizers(frame: FrameType | None) -> bool:
    """Whether it is part of a finalizer, perhaps of another test's object: CPython prints what is raised there."""
    while frame is not None and frame.f_code.co_name != "__del__":
        frame = frame.f_back
    return frame is not None
