"""What is sorted and dumped in slices is as Python and orjson have it."""

import random
from collections.abc import Collection

import orjson
import pytest

from gomlx.contract.values.slices import as_json, in_order

RANDOM = random.Random(5)


def text(n: int) -> str:
    return "".join(RANDOM.choices("az é€\U00010000\uffff", k=n % 7))


@pytest.mark.parametrize(
    "values",
    [
        [3, 1, 2],
        frozenset(range(-30_000, 30_000)),
        frozenset(RANDOM.randrange(-(2**63), 2**63) for _ in range(50_000)),
        frozenset(f"{text(n)}{n}" for n in range(50_000)),
        [*range(20_000, 0, -1)],
    ],
    ids=["few", "dense", "sparse", "texts", "falling"],
)
def test_values_are_sorted(values: Collection[int | str]) -> None:
    assert in_order(values) == sorted(values)


def test_texts_are_in_the_order_of_their_bytes() -> None:
    values = {f"{text(n)}{n}" for n in range(20_000)}
    assert in_order(values) == sorted(values, key=str.encode)


@pytest.mark.parametrize("count", [0, 1, 8192, 8193, 30_000])
def test_a_list_is_dumped(count: int) -> None:
    values = [text(n) for n in range(count)]
    assert orjson.dumps({"a": as_json(values)}) == orjson.dumps({"a": values})
