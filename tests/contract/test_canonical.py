"""Canonical values, kind by kind."""

import math
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gomlx.contract.canonical import (
    Auxiliary,
    Buckets,
    Exact,
    Kind,
    Rounded,
    Vocabulary,
    dump,
    parse,
)

relaxed = settings(deadline=None)
WORDS = Vocabulary(frozenset({"a", "b", b"\xff", ""}), "[UNK]", "looked up")
BUCKETS = Buckets("float32", (0.0, 1.0), -1.0, "")
FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


def f32(x: float) -> float:
    value: float = struct.unpack("<f", struct.pack("<f", x))[0]
    return value


def test_values_out_of_vocabulary_are_one_and_known_values_themselves() -> None:
    column: list[Any] = ["a", "c", b"\xff", b"\xfe", "", "[UNK]"]
    expected = ["a", "[UNK]", b"\xff", "[UNK]", "", "[UNK]"]
    assert WORDS.canonical_column(column) == expected
    assert WORDS.distinct == 5


# Captured from mly; -0.0 is 0.0 here.
ROUNDED = {
    1.00054: "1.0005",
    1.2: "1.2",
    0.00005: "0",
    -0.00005: "0",
    -0.00001: "0",
    1.00005: "1",
    1.00015: "1.0001",
    1.00025: "1.0002",
    0.00015: "0.0002",
    0.00025: "0.0003",
    2.5: "2.5",
    -1.23456: "-1.2346",
    123456.789: "123456.79",
    16777217: "16777216",
    3e9: "3000000000",
}


@pytest.mark.parametrize(("given", "sent"), ROUNDED.items())
def test_floats_are_rounded_as_mly_does(given: float, sent: str) -> None:
    (value,) = Rounded("float32", 4, "").canonical_column([given])
    assert value == f32(float(sent))
    assert math.copysign(1, value) == (-1 if sent.startswith("-") else 1)


@pytest.mark.parametrize(
    ("value", "precision", "expected"),
    [
        (2.5, 0, 3.0),
        (-2.5, 0, -3.0),
        (0.49999999999999994, 0, 0.0),
        (1.235, 2, 1.24),
        (2.345, 2, 2.35),
        (1.7e308, 15, 1.7e308),
        (-1e300, 15, -1e300),
    ],
)
def test_halves_go_away_from_zero(
    value: float, precision: int, expected: float
) -> None:
    assert Rounded("float64", precision, "").canonical_column([value])[0] == expected


@given(FLOATS, st.integers(0, 8))
@relaxed
def test_rounding_is_off_by_half_a_step_at_most(x: float, precision: int) -> None:
    (value,) = Rounded("float32", precision, "").canonical_column([x])
    assert isinstance(value, float)
    assert abs(value - x) <= 0.5 * 10.0**-precision + abs(x) * 2**-23
    assert str(value) != "-0.0"


@given(
    st.lists(FLOATS.filter(lambda x: x != 0), min_size=1, max_size=6, unique=True),
    st.lists(FLOATS | st.floats(-1e38, 1e38), min_size=1, max_size=10),
)
@relaxed
def test_values_between_two_thresholds_are_one(
    edges: list[float], column: list[float]
) -> None:
    edges.sort()
    kind = Buckets("float32", tuple(edges), -3.4028234663852886e38, "")
    for x, value in zip(column, kind.canonical_column(column), strict=True):
        assert isinstance(value, float)
        same = [edge <= f32(x) for edge in edges]
        assert same == [edge <= value for edge in edges] or edges[0] == value


def test_a_float_is_compared_as_its_dtype_holds_it() -> None:
    edge = f32(0.1)
    kind = Buckets("float32", (edge,), -1.0, "")
    # 0.1 is less than the threshold, and float32 holds it as the threshold.
    assert kind.canonical_column([0.1, math.nextafter(edge, 0), 0.0999]) == [
        edge,
        edge,
        -1.0,
    ]
    wide = Buckets("float64", (edge,), -1.0, "")
    assert wide.canonical_column([0.1, edge]) == [-1.0, edge]


def test_exact_is_what_the_dtype_holds() -> None:
    assert list(Exact("float32", "").canonical_column([0.1, 1])) == [f32(0.1), 1.0]
    assert list(Exact("float64", "").canonical_column([0.1])) == [0.1]
    assert list(Exact("float16", "").canonical_column([0.1])) == [0.0999755859375]
    assert list(Exact("string", "").canonical_column(["a", b"\xff"])) == ["a", b"\xff"]
    assert (
        str(Exact("float32", "").canonical_column([-0.0])[0]) == "-0.0"
    )  # 1 / x tells


def test_kinds_survive_serialization() -> None:
    kinds: list[Kind] = [
        WORDS,
        BUCKETS,
        Auxiliary(True, ""),
        Vocabulary(frozenset({1, -5}), None, "p"),
        Rounded("float32", 3, "q"),
        Exact("int64", "r"),
    ]
    assert parse(dump(kinds)) == kinds


@pytest.mark.parametrize("value", ["c", 0.5, 0.123, 0.1])
def test_why_a_value_collapses(value: Any) -> None:
    said: dict[Any, tuple[Kind, str]] = {
        "c": (WORDS, "not among the 4 values that the model knows"),
        0.5: (BUCKETS, "in bucket 1 of 3, from 0.0 to below 1.0"),
        0.123: (Rounded("float32", 2, ""), "rounded to 2 decimals"),
        0.1: (Exact("float32", ""), "as float32 holds it"),
    }
    kind, expected = said[value]
    assert kind.why(value) == expected
