"""Keys: one for every row that a model can tell from another."""

import math
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from gomlx.contract.key import KEY_BYTES, KeyMaker, request_key
from gomlx.contract.signature import Signature
from gomlx.contract.tensor import Block, Row, Tensor

VERSION = "0123456789abcdef0123456789abcdef"
TEXTS = (Tensor("a", "string", ()), Tensor("b", "string", ()))
MIXED = (
    *TEXTS,
    Tensor("c", "int64", ()),
    Tensor("d", "float32", ()),
    Tensor("e", "bool", ()),
    Tensor("f", "string", (None,)),
    Tensor("g", "int8", None),
)
relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def keys(inputs: tuple[Tensor, ...], *rows: Row, version: str = VERSION) -> list[bytes]:
    return KeyMaker(version, Signature(inputs, ())).keys(rows)


@pytest.mark.parametrize(
    "rows",
    [
        [("a/b", "c"), ("a", "b/c")],
        [("ab", "c"), ("a", "bc")],
        [("abc", ""), ("", "abc"), ("ab", "c")],
        [("a\0", "b"), ("a", "\0b")],
        [("", ""), ("\0", ""), ("", "\0")],
        [("a", b"\xff"), ("a", b"\xfe")],
    ],
)
def test_no_separator_can_be_forged(rows: list[Row]) -> None:
    assert len(set(keys(TEXTS, *rows))) == len(rows)


def test_blocks_of_different_shapes_differ() -> None:
    inputs = (Tensor("x", "int32", None),)
    shapes = [(4,), (2, 2), (1, 4), (4, 1), (1, 2, 2)]
    rows = [(inputs[0].block(shape, (1, 2, 3, 4)),) for shape in shapes]
    assert len(set(keys(inputs, *rows))) == len(rows)
    empty = [(Block(shape, b""),) for shape in [(0,), (0, 2), (2, 0)]]
    assert len(set(keys(inputs, *empty))) == len(empty)


def test_blocks_of_texts_cut_elsewhere_differ() -> None:
    inputs = (Tensor("x", "string", (2,)),)
    cuts: list[Row] = [(Block((2,), (a, "abc"[len(a) :])),) for a in ("", "a", "ab")]
    assert len(set(keys(inputs, *cuts))) == 3


def test_elements_do_not_move_between_blocks() -> None:
    inputs = (Tensor("x", "int8", (None,)), Tensor("y", "int8", (None,)))
    one: Row = (Block((1,), b"\1"), Block((2,), b"\2\3"))
    other: Row = (Block((2,), b"\1\2"), Block((1,), b"\3"))
    assert len(set(keys(inputs, one, other))) == 2


@pytest.mark.parametrize("first", [0, 1])
def test_equal_values_of_different_dtypes_differ(first: int) -> None:
    values: dict[str, Any] = {"string": str(first), "bool": bool(first)}
    values |= dict.fromkeys(("int8", "uint8", "int64", "uint64"), first)
    values |= dict.fromkeys(("float16", "bfloat16", "float32", "float64"), float(first))
    made = {keys((Tensor("x", dtype, ()),), (v,))[0] for dtype, v in values.items()}
    assert len(made) == len(values)


def test_zero_and_negative_zero_differ() -> None:
    # A model can tell them apart: 1 / x.
    inputs = (Tensor("x", "float32", ()),)
    assert len(set(keys(inputs, (0.0,), (-0.0,)))) == 2


def test_another_version_has_other_keys() -> None:
    row = ("a", "b")
    assert keys(TEXTS, row) != keys(TEXTS, row, version=VERSION[::-1])


def test_a_renamed_input_has_other_keys() -> None:
    renamed = (TEXTS[0], Tensor("z", "string", ()))
    assert keys(TEXTS, ("a", "b")) != keys(renamed, ("a", "b"))


def test_names_do_not_run_into_each_other() -> None:
    first = (Tensor("ab", "int8", ()), Tensor("c", "int8", ()))
    second = (Tensor("a", "int8", ()), Tensor("bc", "int8", ()))
    assert keys(first, (1, 2)) != keys(second, (1, 2))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_an_integer_for_a_float_has_the_key_of_that_float(dtype: str) -> None:
    scalar = (Tensor("x", dtype, ()),)
    block = Tensor("x", dtype, (2,))
    assert keys(scalar, (3,)) == keys(scalar, (3.0,))
    assert block.block((2,), (3, 4)) == block.block((2,), (3.0, 4))


def test_floats_that_the_model_cannot_tell_apart_share_a_key() -> None:
    inputs = (Tensor("x", "float32", ()),)
    assert keys(inputs, (0.1,)) == keys(inputs, (0.10000000149011612,))


def test_bytes_that_are_text_have_the_key_of_the_text() -> None:
    assert keys(TEXTS, ("ä", "b")) == keys(TEXTS, ("ä".encode(), b"b"))


def test_keys_are_16_bytes_in_row_order() -> None:
    first, second = keys(TEXTS, ("a", "b"), ("c", "d"))
    assert keys(TEXTS, ("c", "d"), ("a", "b")) == [second, first]
    assert len(first) == len(second) == 16


def test_no_rows_have_no_keys() -> None:
    assert keys(TEXTS) == []


# Few letters, so that rows are often each other's letters cut elsewhere.
TEXT = st.text("ab\0", max_size=3) | st.binary(max_size=2).map(b"\xff".__add__)
NUMBER_BLOCKS = st.sampled_from([(), (1,), (2,), (1, 2), (2, 1), (0,), (0, 2)]).flatmap(
    lambda shape: st.builds(
        MIXED[-1].block,
        st.just(shape),
        st.tuples(*[st.integers(0, 1)] * math.prod(shape)),
    )
)
TEXT_BLOCKS = st.lists(TEXT, max_size=3).map(lambda t: Block((len(t),), tuple(t)))
ROWS = st.tuples(
    TEXT,
    TEXT,
    st.integers(-(2**63), 2**63 - 1),
    st.floats(width=32, allow_nan=False, allow_infinity=False),
    st.booleans(),
    TEXT_BLOCKS,
    NUMBER_BLOCKS,
)


@given(st.lists(ROWS, min_size=1, max_size=5))
@relaxed
def test_a_batch_has_the_keys_of_its_rows(rows: list[Row]) -> None:
    assert keys(MIXED, *rows) == [key for row in rows for key in keys(MIXED, row)]


@given(ROWS, st.data())
@relaxed
def test_distinct_rows_have_distinct_keys(row: Row, data: st.DataObject) -> None:
    # Only some values are drawn anew: rows that differ a little are the hard ones.
    fresh = data.draw(ROWS)
    is_fresh = data.draw(st.tuples(*[st.booleans()] * len(row)))
    other = tuple(
        b if new else a for a, b, new in zip(row, fresh, is_fresh, strict=True)
    )
    assume(other != row)
    assert len(set(keys(MIXED, row, other))) == 2


@given(st.integers(-(2**24), 2**24))
@relaxed
def test_any_integer_for_a_float_has_the_key_of_that_float(number: int) -> None:
    inputs = (Tensor("x", "float32", ()),)
    assert keys(inputs, (number,)) == keys(inputs, (float(number),))


def test_the_key_of_rows_that_are_answered_together() -> None:
    a, b = b"a" * KEY_BYTES, b"b" * KEY_BYTES
    keys = [request_key(one) for one in ([a], [b], [a, b], [b, a], [a, b, a])]
    assert len({*keys, a, b}) == 7
    assert request_key([a, b]).hex() == "23d7b7bf7ac46c76e2395c9daa96a35e"  # pinned
