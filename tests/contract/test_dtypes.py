"""Tests of columns against a dtype: may every value be used as it is?"""

import math
from typing import Any

import pytest

from gomlx.contract import dtypes
from gomlx.contract.dtypes import ANY, DTYPES, STRUCT_CODES


@pytest.mark.parametrize("dtype", [*sorted(DTYPES), ANY])
def test_a_column_without_values_is_plain(dtype: str) -> None:
    assert dtypes.plain_test(dtype)(())


@pytest.mark.parametrize(
    ("dtype", "plain", "other"),
    [
        ("int8", [-128, 0, 127], [128, -129, 1.0, True, "1", None]),
        ("uint64", [0, 2**64 - 1], [-1, 2**64]),
        ("float16", [0, -65504.0, 65504], [65520, math.nan, math.inf, True, "1"]),
        ("bool", [True, False], [0, 1, "true", None]),
        ("string", ["", "a"], [b"a", 1, None]),
        (ANY, [None, True, "a", 1.5, 2**64 - 1, -(2**63)], [2**64, math.nan, b"a", []]),
    ],
)
def test_one_value_that_is_not_plain_is_found(
    dtype: str, plain: list[Any], other: list[Any]
) -> None:
    is_plain = dtypes.plain_test(dtype)
    assert is_plain(plain)
    for wrong in other:
        assert not is_plain([*plain, wrong])
        assert not is_plain([wrong, *plain])


@pytest.mark.parametrize("dtype", sorted(DTYPES))
def test_plain_values_have_plain_types_within_the_bounds(dtype: str) -> None:
    bounds = dtypes.bounds(dtype)
    values: Any = bounds or {"string": ("a",), "bool": (True, False)}[dtype]
    assert dtypes.plain_test(dtype)(values)
    assert set(map(type, values)) <= set(dtypes.plain_types(dtype))


def test_every_dtype_but_text_has_an_encoding() -> None:
    assert STRUCT_CODES.keys() == DTYPES - {"string"}
