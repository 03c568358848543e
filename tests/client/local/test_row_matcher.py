"""Rows that are found as they came, and equal ones that must not be found."""

import math
from typing import Any

import pytest

from gomlx.client.answer import AnswerEntry, AnswerOrigin
from gomlx.client.columns import InputColumns
from gomlx.client.local.kept_answers import KeptAnswers, KeptLimits, Lifetimes
from gomlx.client.local.row_matcher import RowMatcher
from gomlx.contract.canonical import Auxiliary, Exact, Kind, Rounded
from gomlx.contract.dtypes import ANY
from gomlx.contract.signature import Signature
from gomlx.contract.tensor import Tensor

FETCHED = AnswerEntry(b"{}", {}, AnswerOrigin("v", "model", False))
WORD = Tensor("word", "string", (1,))
X = Tensor("x", "float32", (1,))
N = Tensor("n", "int64", (1,))
NOW = 1000.0


class Matched:
    """A matcher over answers that are kept until NOW + 60."""

    def __init__(
        self, *fields: tuple[Tensor, Kind], signature: Signature | None = None
    ) -> None:
        tensors = tuple(tensor for tensor, _ in fields)
        self.kept = KeptAnswers(
            "v", Lifetimes(60.0, 1.0), KeptLimits(1000, 1 << 20), clock=lambda: NOW
        )
        self.matcher = RowMatcher(
            signature or Signature(tensors, ()), [kind for _, kind in fields], self.kept
        )

    def keep(self, *row: Any, key: Any = None) -> None:
        """Keep the answer of a checked row, as it came and under its key."""
        key = row if key is None else key
        entry = self.kept.store(key, FETCHED)
        assert entry
        self.matcher.alias(row, key, entry)

    def finds(self, now: float = NOW, **row: Any) -> bool:
        return self.matcher.lookup(row, now) is not None


def exact(*tensors: Tensor) -> Matched:
    return Matched(*((tensor, Exact(tensor.dtype, "")) for tensor in tensors))


def test_a_row_with_nan_is_found_by_its_digest_only() -> None:
    x = Tensor("x", "float32", (1,), "nan")
    kinds: tuple[Kind, ...] = (Exact("float32", ""), Rounded("float32", 1, ""))
    for kind in kinds:
        model = Matched((x, kind))
        nan = math.nan
        assert model.matcher.is_key((1.5,))
        assert not model.matcher.is_key((nan,))
        model.keep(nan, key=b"key")
        assert not model.finds(x=nan)
        model.keep(1.5)
        assert model.finds(x=1.5)


def test_a_row_is_found_as_it_came() -> None:
    model = exact(WORD, X)
    model.keep("a", 1.5)
    assert model.finds(word="a", x=1.5)
    assert model.finds(x=1.5, word="a")
    assert not model.finds(word="b", x=1.5)
    assert not model.finds(word="a")
    assert not model.finds(word="a", x=1.5, more=1)
    assert not model.finds(word=["a"], x=1.5)


def test_an_expired_entry_is_not_found() -> None:
    model = exact(WORD)
    model.keep("a")
    assert model.finds(now=NOW + 60, word="a")
    assert not model.finds(now=NOW + 60.1, word="a")
    assert model.matcher.lookup_many(InputColumns({"word": ["a"]}, 1), NOW + 61) is None


@pytest.mark.parametrize(
    ("tensor", "value", "equal", "other"),
    [(X, 1.0, 1, True), (N, 1, 1, True), (N, 1, 1, 1.0)],
)
def test_equal_numbers_of_other_types_are_found_once_their_types_were_valid(
    tensor: Tensor, value: Any, equal: Any, other: Any
) -> None:
    """A float input takes 1 as 1.0, but True is no number, and an int input no 1.0."""
    model = exact(tensor)
    model.keep(value)
    model.keep(equal, key=(value,))
    assert model.finds(**{tensor.name: value})
    assert model.finds(**{tensor.name: equal})
    assert not model.finds(**{tensor.name: other})
    columns = InputColumns({tensor.name: [value, other]}, 2)
    assert model.matcher.lookup_many(columns, NOW) is None


def test_types_that_were_not_checked_yet_are_not_found() -> None:
    model = exact(X)
    model.keep(1.0)
    assert not model.finds(x=1)


def test_zeros_differ_where_the_model_can_tell_them_apart() -> None:
    model = exact(X)
    model.keep(0.0)
    assert model.finds(x=0.0)
    assert not model.finds(x=-0.0)
    model.keep(-0.0, key=b"digest")
    assert not model.finds(x=-0.0)
    assert not model.matcher.is_key((-0.0,))
    assert model.matcher.is_key((0.0,))
    batch = InputColumns({"x": [0.0, -0.0]}, 2)
    assert model.matcher.lookup_many(batch, NOW) is None


def test_zeros_that_are_rounded_are_equal() -> None:
    model = Matched((X, Rounded("float32", 2, "")))
    model.keep(0.0)
    assert model.finds(x=-0.0)
    assert model.matcher.is_key((-0.0,))


def test_many_rows_are_found_or_none() -> None:
    model = exact(WORD, X)
    for x in (1.0, 2.0, 3.0):
        model.keep("a", x)

    def count(word: list[Any], x: list[Any], size: int) -> int | None:
        columns = InputColumns({"word": word, "x": x}, size)
        found = model.matcher.lookup_many(columns, NOW)
        return None if found is None else len(found)

    assert count(["a"], [1.0, 2.0, 3.0], 3) == 3
    assert count(["a", "a"], [3.0, 3.0], 2) == 2
    assert count(["a"], [1.0, 2.0, 4.0], 3) is None
    assert count(["a"], [1.0, math.nan, 3.0], 3) is None
    assert count([["a"]], [1.0], 1) is None
    without = InputColumns({"word": ["a"]}, 1)
    assert model.matcher.lookup_many(without, NOW) is None


def test_text_without_a_hash_is_kept_under_its_digest_only() -> None:
    model = exact(WORD, N)
    model.keep({"b64": "/w=="}, 1, key=b"digest")
    assert not model.finds(word={"b64": "/w=="}, n=1)
    assert model.kept.get(b"digest")


BLOCKS = Tensor("v", "float32", (None,))
AUXILIARY = Signature((X,), (), (Tensor("who", ANY, ()),))


@pytest.mark.parametrize(
    "model",
    [
        exact(BLOCKS),
        Matched(
            (X, Exact("float32", "")),
            (AUXILIARY.auxiliaries[0], Auxiliary(True, "")),
            signature=AUXILIARY,
        ),
    ],
    ids=["blocks", "auxiliary"],
)
def test_rows_that_may_be_equal_and_yet_differ_are_never_found(model: Matched) -> None:
    assert not model.matcher.is_possible
    model.keep(1.0, 1, key=b"digest")
    assert not model.finds(x=1.0, who=1)
    columns = InputColumns({"x": [1.0], "who": [1]}, 1)
    assert model.matcher.lookup_many(columns, NOW) is None


def test_combinations_of_types_are_remembered_up_to_a_limit() -> None:
    """Beyond it rows are found by their keys: the set must not grow for ever."""
    fields = [Tensor(f"i{n}", "float32", ()) for n in range(8)]
    model = exact(*fields)
    rows = [tuple(float(k) if n >> k & 1 else k for k in range(8)) for n in range(2**8)]
    for row in rows:
        model.keep(*row)
    names = [tensor.name for tensor in fields]
    found = [model.finds(**dict(zip(names, row, strict=True))) for row in rows]
    assert found == [True] * 64 + [False] * 192


def test_a_newer_matcher_finds_what_an_older_one_did() -> None:
    older = exact(WORD, X)
    older.keep("a", 1)
    newer = exact(WORD, X)
    assert newer.kept.adopt(older.kept)
    newer.matcher.adopt(older.matcher)
    assert newer.finds(word="a", x=1)
    newer.keep("b", 2.0)
    assert newer.finds(word="b", x=2.0)
    assert older.finds(word="b", x=2.0)
