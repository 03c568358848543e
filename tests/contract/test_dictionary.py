"""Canonical values, kind by kind; rows and their keys."""

import math
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gomlx.contract.dictionary import (
    Auxiliary,
    Buckets,
    Dictionary,
    Exact,
    Kind,
    Rounded,
    Vocabulary,
    digest,
    dump,
    parse,
)
from gomlx.contract.signature import ANY, Block, Row, Signature, Tensor
from gomlx.errors import InvalidInput

VERSION = "0123456789abcdef0123456789abcdef"
relaxed = settings(deadline=None)
WORDS = Vocabulary(frozenset({"a", "b", b"\xff", ""}), "[UNK]", "looked up")
FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


def f32(x: float) -> float:
    value: float = struct.unpack("<f", struct.pack("<f", x))[0]
    return value


def dictionary(tensors: tuple[Tensor, ...], kinds: list[Kind]) -> Dictionary:
    own = tuple(t for t in tensors if t.dtype != ANY)
    signature = Signature(own, (), tuple(t for t in tensors if t.dtype == ANY))
    return Dictionary(VERSION, signature, kinds)


def test_unknown_values_are_one_and_known_ones_themselves() -> None:
    column: list[Any] = ["a", "c", b"\xff", b"\xfe", "", "[UNK]"]
    expected = ["a", "[UNK]", b"\xff", "[UNK]", "", "[UNK]"]
    assert WORDS.canonical(column) == expected
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
    (value,) = Rounded("float32", 4, "").canonical([given])
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
    assert Rounded("float64", precision, "").canonical([value])[0] == expected


@given(FLOATS, st.integers(0, 8))
@relaxed
def test_rounding_is_at_most_half_a_step_off(x: float, precision: int) -> None:
    (value,) = Rounded("float32", precision, "").canonical([x])
    assert isinstance(value, float)
    assert abs(value - x) <= 0.5 * 10.0**-precision + abs(x) * 2**-23
    assert str(value) != "-0.0"


@given(
    st.lists(FLOATS.filter(lambda x: x != 0), min_size=1, max_size=6, unique=True),
    st.lists(FLOATS | st.floats(-1e38, 1e38), min_size=1, max_size=10),
)
@relaxed
def test_a_bucket_is_what_lies_between_two_thresholds(
    edges: list[float], column: list[float]
) -> None:
    edges.sort()
    kind = Buckets("float32", tuple(edges), -3.4028234663852886e38, "")
    for x, value in zip(column, kind.canonical(column), strict=True):
        assert isinstance(value, float)
        same = [edge <= f32(x) for edge in edges]
        assert same == [edge <= value for edge in edges] or edges[0] == value


def test_a_float_is_compared_as_its_dtype_holds_it() -> None:
    edge = f32(0.1)
    kind = Buckets("float32", (edge,), -1.0, "")
    # 0.1 is less than the threshold, and float32 holds it as the threshold.
    assert kind.canonical([0.1, math.nextafter(edge, 0), 0.0999]) == [edge, edge, -1.0]
    wide = Buckets("float64", (edge,), -1.0, "")
    assert wide.canonical([0.1, edge]) == [-1.0, edge]


def test_exact_is_what_the_dtype_holds() -> None:
    assert list(Exact("float32", "").canonical([0.1, 1])) == [f32(0.1), 1.0]
    assert list(Exact("float64", "").canonical([0.1])) == [0.1]
    assert list(Exact("float16", "").canonical([0.1])) == [0.0999755859375]
    assert list(Exact("string", "").canonical(["a", b"\xff"])) == ["a", b"\xff"]
    assert str(Exact("float32", "").canonical([-0.0])[0]) == "-0.0"  # 1 / x tells


def test_blocks_collapse_element_by_element() -> None:
    tensors = (Tensor("w", "string", (2,)), Tensor("x", "float32", (None,)))
    made = dictionary(tensors, [WORDS, Rounded("float32", 0, "")])
    row: Row = (Block((2,), ("a", "z")), Block((1,), (1.4,)))
    expected: Row = (Block((2,), ("a", "[UNK]")), Block((1,), (1.0,)))
    assert made.canonical([row]) == [expected]


MIXED = (
    Tensor("w", "string", ()),
    Tensor("x", "float32", (1,)),
    Tensor("in_key", ANY, ()),
    Tensor("out", ANY, ()),
)
KINDS: list[Kind] = [
    WORDS,
    Buckets("float32", (0.0, 1.0), -1.0, ""),
    Auxiliary(True, ""),
    Auxiliary(False, ""),
]


def keys(*rows: Row) -> list[bytes]:
    made = dictionary(MIXED, KINDS)
    return made.keys(made.canonical(rows))


def test_what_collapses_shares_a_key() -> None:
    first, second = keys(("y", 0.5, 1, "p"), ("z", 0.75, 1, None))
    assert first == second


@pytest.mark.parametrize(
    "other", [("a", 0.5, 1, ""), ("y", 1.5, 1, ""), ("y", 0.5, 2, "")]
)
def test_what_does_not_collapse_has_a_key_of_its_own(other: Row) -> None:
    first, second = keys(("y", 0.5, 1, ""), other)
    assert first != second


def test_auxiliary_values_of_different_types_differ() -> None:
    values: list[Any] = [1, "1", 1.0, True, "true", None, "null", "", 0, False]
    assert len(set(keys(*(("y", 0.5, value, "") for value in values)))) == len(values)


SCALARS = st.none() | st.booleans() | st.text(max_size=2) | st.integers(0, 2) | FLOATS
ROWS = st.tuples(st.text("abc", max_size=1), FLOATS, SCALARS, SCALARS)


@given(st.lists(ROWS, min_size=1, max_size=5))
@relaxed
def test_canonical_rows_are_their_own(rows: list[Row]) -> None:
    made = dictionary(MIXED, KINDS)
    canonical = made.canonical(rows)
    assert made.canonical(canonical) == canonical
    assert made.keys(made.canonical(canonical)) == made.keys(canonical)
    assert [made.canonical([row])[0] for row in rows] == canonical


def test_any_json_scalar_is_an_auxiliary_value() -> None:
    signature = Signature((), (), (Tensor("aux", ANY, ()),))
    for value in (1, "1", 1.5, True, None, 2**63, -(2**63)):
        assert signature.question({"aux": value}).rows == [(value,)]
    for wrong in ([1], {"b64": "AA=="}, 2**64, math.nan):
        with pytest.raises(InvalidInput, match="'aux'"):
            signature.question({"aux": wrong})
    with pytest.raises(InvalidInput, match="missing"):
        signature.question({})
    assert signature.parse([("aux", "1")]) == {"aux": "1"}


def test_kinds_survive_being_written() -> None:
    kinds: list[Kind] = [
        *KINDS,
        Vocabulary(frozenset({1, -5}), None, "p"),
        Rounded("float32", 3, "q"),
        Exact("int64", "r"),
    ]
    assert parse(dump(kinds)) == kinds


@pytest.mark.parametrize("value", ["c", 0.5, 0.123, 0.1])
def test_why_is_said(value: Any) -> None:
    said = {
        "c": (WORDS, "not among the 4 values that the model knows"),
        0.5: (KINDS[1], "in bucket 1 of 3, from 0.0 to below 1.0"),
        0.123: (Rounded("float32", 2, ""), "rounded to 2 decimals"),
        0.1: (Exact("float32", ""), "as float32 holds it"),
    }
    kind, expected = said[value]
    assert kind.why(value) == expected


def test_a_digest_keeps_its_parts_apart() -> None:
    cuts = [(b"ab", b"c"), (b"a", b"bc"), (b"abc",), (b"abc", b""), (b"c", b"ab")]
    assert len({digest(cut) for cut in cuts}) == len(cuts)
