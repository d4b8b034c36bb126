"""Memory that is given back when it is worth a walk over every object."""

import gc
import weakref

from xopt.host import WORTH_COLLECTING, collect_cycles


class Circle:
    def __init__(self) -> None:
        self.itself = self


def test_circles_are_freed_where_they_hold_much() -> None:
    gc.disable()
    try:
        seen = weakref.ref(Circle())
        collect_cycles(WORTH_COLLECTING - 1)
        assert seen() is not None
        collect_cycles(WORTH_COLLECTING)
        assert seen() is None
    finally:
        gc.enable()
