"""The elements of a block as contiguous memory, and as the numbers that they are.

Numbers and booleans are packed little-endian and without padding, each as its dtype
holds it (bfloat16 as float32): what keys digest, and what arrays are made of. Texts
stay a tuple of str and bytes. Large tensors are why: 150,000 pixels are packed in a
millisecond, and a tuple of them takes five megabytes.

PERF: each function is a few passes in C over all elements, and never a call of ours an
element (loadtests/parts/images.py).
"""

import math
import struct
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, cast

from gomlx.contract.dtypes import FLOAT_LIMITS, STRUCT_CODES, plain_types

Elements = bytes | tuple[str | bytes, ...]
_SLICE = 1 << 14


def pack(values: Sequence[Any], dtype: str) -> Elements:
    """Return checked values as a block holds them."""
    code = STRUCT_CODES.get(dtype)
    if code is None:
        return tuple(values)
    if len(values) > _SLICE:  # a pass in C holds the interpreter until it is done
        parts = [pack(part, dtype) for part in _cut(values, _SLICE)]
        return b"".join(cast(list[bytes], parts))
    return struct.pack(f"<{len(values)}{code}", *values)


def pack_plain(values: Sequence[Any], dtype: str) -> Elements | None:
    """Return values as a block holds them; None unless all are plain."""
    if len(values) > _SLICE and dtype in STRUCT_CODES:  # as in `pack`
        parts = []
        for part in _cut(values, _SLICE):
            packed = pack_plain(part, dtype)
            if packed is None:
                return None
            parts.append(cast(bytes, packed))
        return b"".join(parts)
    if not set(map(type, values)).issubset(plain_types(dtype)):
        return None
    try:
        if dtype in FLOAT_LIMITS and not _are_floats(values, dtype):
            return None
        return pack(values, dtype)
    except (struct.error, OverflowError):  # beyond the range of the dtype
        return None


def unpack(elements: Elements, dtype: str) -> tuple[Any, ...]:
    """Return the values that `pack` was given, as the dtype holds them."""
    if isinstance(elements, tuple):
        return elements
    code = STRUCT_CODES[dtype]
    return struct.unpack(
        f"<{len(elements) // struct.calcsize(f'<{code}')}{code}", elements
    )


def flatten(lists: Sequence[Any]) -> list[Any]:
    """Return the elements of lists, in order."""
    return list(chain.from_iterable(lists))


def nest(shape: Sequence[int], values: Sequence[Any]) -> Any:
    """Return values as nested lists of a shape; of shape [], the value itself."""
    nested = list(values)
    for size in reversed(shape[1:]):
        nested = list(_cut(nested, size)) if size else []
    if 0 in shape:
        return _empty(shape)
    return nested if shape else nested[0]


def _cut(values: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]


def _empty(shape: Sequence[int]) -> Any:
    """Return nested lists of a shape with a 0 in it."""
    return [_empty(shape[1:]) for _ in range(shape[0])]


def _are_floats(values: Sequence[Any], dtype: str) -> bool:
    """True if numbers are finite, and within the range that packing does not check."""
    # A sum of finite numbers may overflow, but no sum hides a NaN or an infinity.
    if not math.isfinite(sum(values)) and not all(map(math.isfinite, values)):
        return False
    if dtype != "bfloat16" or not values:
        return True
    limit = FLOAT_LIMITS[dtype]
    return bool(-limit <= min(values) and max(values) <= limit)
