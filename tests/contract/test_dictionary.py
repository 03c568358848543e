"""Canonical rows and their keys."""

import math
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
)
from gomlx.contract.dictionary import Dictionary, digest
from gomlx.contract.dtypes import ANY
from gomlx.contract.signature import Signature
from gomlx.contract.tensor import Block, Row, Tensor
from gomlx.errors import InvalidInput

VERSION = "0123456789abcdef0123456789abcdef"
relaxed = settings(deadline=None)
WORDS = Vocabulary(frozenset({"a", "b", b"\xff", ""}), "[UNK]", "looked up")
FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


def dictionary(tensors: tuple[Tensor, ...], kinds: list[Kind]) -> Dictionary:
    own = tuple(t for t in tensors if t.dtype != ANY)
    signature = Signature(own, (), tuple(t for t in tensors if t.dtype == ANY))
    return Dictionary(VERSION, signature, kinds)


def test_blocks_collapse_element_by_element() -> None:
    tensors = (Tensor("w", "string", (2,)), Tensor("x", "float32", (None,)))
    made = dictionary(tensors, [WORDS, Rounded("float32", 0, "")])
    row: Row = (Block((2,), ("a", "z")), tensors[1].block((1,), (1.4,)))
    expected: Row = (Block((2,), ("a", "[UNK]")), tensors[1].block((1,), (1.0,)))
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


def test_rows_that_collapse_share_a_key() -> None:
    first, second = keys(("y", 0.5, 1, "p"), ("z", 0.75, 1, None))
    assert first == second


@pytest.mark.parametrize(
    "other", [("a", 0.5, 1, ""), ("y", 1.5, 1, ""), ("y", 0.5, 2, "")]
)
def test_rows_that_do_not_collapse_have_keys_of_their_own(other: Row) -> None:
    first, second = keys(("y", 0.5, 1, ""), other)
    assert first != second


def test_auxiliary_values_of_different_types_differ() -> None:
    values: list[Any] = [1, "1", 1.0, True, "true", None, "null", "", 0, False]
    assert len(set(keys(*(("y", 0.5, value, "") for value in values)))) == len(values)


SCALARS = st.none() | st.booleans() | st.text(max_size=2) | st.integers(0, 2) | FLOATS
ROWS = st.tuples(st.text("abc", max_size=1), FLOATS, SCALARS, SCALARS)


@given(st.lists(ROWS, min_size=1, max_size=5))
@relaxed
def test_a_canonical_row_is_its_own_canonical_row(rows: list[Row]) -> None:
    made = dictionary(MIXED, KINDS)
    canonical = made.canonical(rows)
    assert made.canonical(canonical) == canonical
    assert made.keys(made.canonical(canonical)) == made.keys(canonical)
    assert [made.canonical([row])[0] for row in rows] == canonical


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        (("\ud800", (), 1), "a"),
        (("a\udfff", (), 1), "a"),
        (("a", ("\ud83d", "\ude00"), 1), "b"),
        (("a", (), "\ud800"), "in_key"),
        ((b"\xff", ("\udc80",), 1), "b"),
    ],
)
def test_a_lone_surrogate_is_refused(wrong: Any, name: str) -> None:
    tensors = (
        Tensor("a", "string", ()),
        Tensor("b", "string", (None,)),
        Tensor("in_key", ANY, ()),
    )
    kinds: list[Kind] = [Exact("string", ""), Exact("string", ""), Auxiliary(True, "")]
    made = dictionary(tensors, kinds)
    row: Row = (wrong[0], Block((len(wrong[1]),), wrong[1]), wrong[2])
    good: Row = ("ä", Block((1,), ("😀",)), "😀")
    for rows, n in [([row], None), ([good, good, row], 2)]:
        with pytest.raises(InvalidInput, match="lone surrogate") as caught:
            made.keys(made.canonical(rows))
        assert (caught.value.name, caught.value.row) == (name, n)
    assert len(set(made.keys([good, ("a", *good[1:])]))) == 2


def test_any_json_scalar_is_an_auxiliary_value() -> None:
    signature = Signature((), (), (Tensor("aux", ANY, ()),))
    for value in (1, "1", 1.5, True, None, 2**63, -(2**63)):
        assert signature.check({"aux": value}).rows == [(value,)]
    for wrong in ([1], {"b64": "AA=="}, 2**64, math.nan):
        with pytest.raises(InvalidInput, match="'aux'"):
            signature.check({"aux": wrong})
    with pytest.raises(InvalidInput, match="missing"):
        signature.check({})
    assert signature.parse([("aux", "1")]) == {"aux": "1"}


def test_a_digest_keeps_its_parts_apart() -> None:
    cuts = [(b"ab", b"c"), (b"a", b"bc"), (b"abc",), (b"abc", b""), (b"c", b"ab")]
    assert len({digest(cut) for cut in cuts}) == len(cuts)
