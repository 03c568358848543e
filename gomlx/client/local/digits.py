"""Numbers for float32 inputs, in the fewest digits that read back to the same float32.

A float32 that Python holds as a float64 has 17 digits: 0.10000000149011612 for 0.1. A
body of them is two to three times as large as it needs to be.
"""

import struct
import sys
from collections.abc import Sequence
from typing import Any

from gomlx.contract.tensor import Tensor

_FLOAT32 = struct.Struct("<f")
# 6 digits are enough for what was written by hand, and 9 for every float32.
_DIGITS = ("%.6g", "%.7g", "%.8g", "%.9g")


def sent(tensor: Tensor, values: Sequence[Any]) -> Any:
    """Return a column of checked values as orjson writes it in few digits.

    An array of numpy, if the program has imported it: orjson then writes the digits of
    a float32. Else the values, each with the nearest float64 of few digits.
    """
    if tensor.dtype != "float32":
        return values
    numpy: Any = sys.modules.get("numpy")
    if numpy is not None:
        try:
            return numpy.array(values, numpy.float32)
        except (TypeError, ValueError):
            pass  # lists of several lengths, or "NaN"
    return [_shortened(value) for value in values]


def _shortened(value: Any) -> Any:
    if type(value) is float:
        return _shortest(value)
    if isinstance(value, list | tuple):
        return [_shortened(element) for element in value]
    return value


def _shortest(number: float) -> float:
    """Return the float64 of the fewest digits that rounds to the same float32."""
    held = _FLOAT32.pack(number)
    (nearest,) = _FLOAT32.unpack(held)
    for digits in _DIGITS:
        short = float(digits % nearest)
        try:
            if _FLOAT32.pack(short) == held:
                return short
        except OverflowError:  # rounded up from the greatest float32
            continue
    return number  # NaN, which is not shorter
