"""Sorting and dumping of a million values, in slices.

A sort and an encoder hold the interpreter until they are done: 100 ms and more for a
million texts, in which no other thread runs. Of a slice it is a millisecond.
"""

from bisect import bisect_right
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import orjson

_SLICE = 1 << 13
_STEP = 1 << 7


def in_order(values: Collection[Any]) -> list[Any]:
    """Return different values in their order: texts by their characters' numbers."""
    if len(values) <= _SLICE:
        return sorted(values)
    sample = [value for i, value in enumerate(values) if not i % _STEP]
    ends = sorted(sample)[_SLICE // _STEP :: _SLICE // _STEP]  # of buckets
    buckets: list[list[Any]] = [[] for _ in range(len(ends) + 1)]
    for value in values:
        buckets[bisect_right(ends, value)].append(value)
    found: list[Any] = []
    for bucket in buckets:
        bucket.sort()
        found += bucket
    return found


def as_json(values: Sequence[Any]) -> orjson.Fragment:
    """Return a JSON list of values, for `orjson.dumps` of what contains it."""
    return orjson.Fragment(b"[" + b",".join(_dumped(values)) + b"]")


def _dumped(values: Sequence[Any]) -> Iterator[bytes]:
    for at in range(0, len(values), _SLICE):
        yield orjson.dumps(values[at : at + _SLICE])[1:-1]
