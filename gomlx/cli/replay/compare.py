"""Whether an answer is the one that was logged."""

import math
from collections.abc import Mapping
from enum import IntEnum
from typing import Any


class Difference(IntEnum):
    """How far an answer is from the logged one; the greatest of its parts counts."""

    equal = 0
    close = 1
    different = 2


def difference(logged: Any, answer: Any, tolerance: float) -> Difference:
    """Compare values as JSON has them.

    Outputs that were not logged are not compared. tolerance: of numbers, relative, and
    absolute below 1.
    """
    if isinstance(logged, Mapping) and isinstance(answer, Mapping):
        if logged.keys() - answer.keys():
            return Difference.different
        pairs = [(one, answer[name]) for name, one in logged.items()]
    elif isinstance(logged, list) and isinstance(answer, list):
        if len(logged) != len(answer):
            return Difference.different
        pairs = [*zip(logged, answer, strict=True)]
    else:
        return _of_scalars(logged, answer, tolerance)
    found = (difference(one, other, tolerance) for one, other in pairs)
    return max(found, default=Difference.equal)


def _of_scalars(logged: Any, answer: Any, tolerance: float) -> Difference:
    if isinstance(logged, bool) or isinstance(answer, bool):
        return Difference.equal if logged is answer else Difference.different
    if logged == answer:
        return Difference.equal
    if isinstance(logged, int | float) and isinstance(answer, int | float):
        scale = max(1.0, abs(logged), abs(answer))
        if math.isfinite(scale) and abs(logged - answer) <= tolerance * scale:
            return Difference.close
    return Difference.different
