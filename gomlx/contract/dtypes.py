"""The dtypes of inputs and outputs: their ranges, and the values that they hold.

Names are TensorFlow's (`tf.DType.name`). A value is *plain* if the model can be fed it
as it is: an int within the range of an integer dtype, a finite float or int within the
range of a float dtype, a str, a bool. Everything else is converted or refused: a whole
float stands for an integer, and NaN, "NaN" and null for a missing number where an input
admits those.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

INT_RANGES = {
    f"{sign}int{bits}": (
        0 if sign else -(2 ** (bits - 1)),
        2 ** (bits if sign else bits - 1) - 1,
    )
    for sign in ("", "u")
    for bits in (8, 16, 32, 64)
}
# The greatest float64 that rounds to a finite float of each width: the shortest digits
# of its greatest float may be a little more than it. Of bfloat16, the greatest itself:
# it is rounded from float32, which may round up first.
FLOAT_LIMITS = {
    "float16": 65519.99999999999,
    "bfloat16": 3.3895313892515355e38,
    "float32": 3.4028235677973362e38,
    "float64": 1.7976931348623157e308,
}
DTYPES = frozenset({"string", "bool", *INT_RANGES, *FLOAT_LIMITS})
_SLICE = 1 << 14
NAN = "nan"  # how an input may say that a number is missing
ANY = "any"  # the dtype of auxiliary inputs: any JSON scalar
STRUCT_CODES = {  # of Python's struct module; it has no bfloat16, float32 holds it
    "bool": "?",
    "int8": "b",
    "uint8": "B",
    "int16": "h",
    "uint16": "H",
    "int32": "i",
    "uint32": "I",
    "int64": "q",
    "uint64": "Q",
    "float16": "e",
    "bfloat16": "f",
    "float32": "f",
    "float64": "d",
}
# Up to here each float is one integer; beyond, it is the nearest to several.
_LAST_WHOLE = 2**53
_EXPECTED = {
    "bool": "true or false",
    "string": "a string",
    ANY: "a string, a finite number of 64 bits, true, false or null",
}

PlainTest = Callable[[Sequence[Any]], bool]


def expected(dtype: str, missing: str = "") -> str:
    """Say which JSON values a dtype takes, for error messages."""
    if missing:
        return f'{dtype} (a finite number; null or "NaN" if it is missing)'
    if dtype in INT_RANGES:
        low, high = INT_RANGES[dtype]
        return f"{dtype} (an integer from {low} to {high})"
    if dtype in FLOAT_LIMITS:
        return f"{dtype} (a finite number)"
    return _EXPECTED[dtype]


def bounds(dtype: str) -> tuple[float, float] | None:
    """Return the least and the greatest number; None where a value is not a number."""
    if dtype in FLOAT_LIMITS:
        return -FLOAT_LIMITS[dtype], FLOAT_LIMITS[dtype]
    return INT_RANGES.get(dtype)


def plain_types(dtype: str) -> tuple[type, ...]:
    """Return the Python types of plain values; none for ANY, which has too many."""
    if dtype in FLOAT_LIMITS:
        return float, int
    if dtype in INT_RANGES:
        return (int,)
    return {"string": (str,), "bool": (bool,)}.get(dtype, ())


def converted(values: Sequence[Any], dtype: str, missing: str) -> Sequence[Any] | None:
    """Return the plain values that values stand for; None unless all stand for one.

    NaN is the only value of the result that is not plain, and comes only with missing.
    """
    if len(values) > _SLICE:  # a pass in C holds the interpreter until it is done
        found: list[Any] = []
        for at in range(0, len(values), _SLICE):
            part = converted(values[at : at + _SLICE], dtype, missing)
            if part is None:
                return None
            found += part
        return found
    if dtype in INT_RANGES:
        whole = _whole(values)
        return whole if whole is not None and plain_test(dtype)(whole) else None
    if missing and dtype in FLOAT_LIMITS:
        present = [value for value in values if not _is_missing(value)]
        if plain_test(dtype)(present):
            return [math.nan if _is_missing(value) else value for value in values]
    return None


def advice(value: Any, dtype: str) -> str:
    """Say what to do about a value that is refused, if that is not obvious."""
    if dtype in INT_RANGES and type(value) is float and value.is_integer():
        return ", a float beyond 2**53: without a point and an exponent it is exact"
    if dtype in FLOAT_LIMITS and _is_missing(value):
        return "; `missing: nan` in the service's config admits missing numbers"
    return ""


def _is_missing(value: Any) -> bool:
    """True for what stands for a missing number: NaN, and its forms in JSON."""
    return value is None or value == "NaN" or _is_nan(value)


def _is_nan(value: Any) -> bool:
    return type(value) is float and math.isnan(value)


def _whole(values: Sequence[Any]) -> list[int] | None:
    """Return numbers as integers; None unless each says which integer it is."""
    if not {float, int}.issuperset(map(type, values)):
        return None
    try:
        integers = list(map(int, values))
    except (ValueError, OverflowError):  # NaN, infinity
        return None
    if integers != list(values):
        return None
    floats = [value for value in values if type(value) is float]
    return integers if max(map(abs, floats), default=0) <= _LAST_WHOLE else None


def plain_test(dtype: str) -> PlainTest:
    """Return a fast test that every value of a column is plain."""
    if dtype in INT_RANGES:
        return _int_test(*INT_RANGES[dtype])
    if dtype in FLOAT_LIMITS:
        return _float_test(FLOAT_LIMITS[dtype])
    if dtype == ANY:
        return lambda values: all(map(_is_json_scalar, values))
    is_all_plain = frozenset(plain_types(dtype)).issuperset
    return lambda values: is_all_plain(map(type, values))


def _int_test(low: int, high: int) -> PlainTest:
    only_ints = frozenset({int}).issuperset
    return lambda values: (
        only_ints(map(type, values))
        and (not values or (low <= min(values) and max(values) <= high))
    )


def _float_test(limit: float) -> PlainTest:
    only_numbers = frozenset({float, int}).issuperset
    return lambda values: (
        only_numbers(map(type, values))
        and (not values or (-limit <= min(values) and max(values) <= limit))
        and all(map(math.isfinite, values))  # min and max may skip a NaN
    )


def _is_json_scalar(value: Any) -> bool:
    if type(value) is int:
        return -(2**63) <= value < 2**64
    if type(value) is float:
        return math.isfinite(value)
    return value is None or type(value) in (str, bool)
