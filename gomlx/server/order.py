"""What is done first, if more waits than there is time for."""

from collections.abc import Callable, Sequence
from typing import TypeVar

_OTHERS = 1 / 4  # of what there is time for

One = TypeVar("One")


def preferred_first(
    waiting: Sequence[One], is_preferred: Callable[[One], bool], most: int
) -> list[One]:
    """Return all that wait: in front `most`, for which there is time now.

    A quarter of these is for others than preferred ones, if so many wait, so that they
    go on. Both keep their order.
    """
    preferred: list[One] = []
    others: list[One] = []
    for one in waiting:
        (preferred if is_preferred(one) else others).append(one)
    first = most - min(len(others), int(most * _OTHERS))
    then = most - min(len(preferred), first)
    return [*preferred[:first], *others[:then], *preferred[first:], *others[then:]]
