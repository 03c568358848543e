"""Rows that are made from a contract: shapes, dtypes, and repeatable."""

import random
from typing import Any

import pytest

from gomlx.cli.sample_rows import SampleRows
from gomlx.contract.canonical import Auxiliary, Buckets, Exact, Kind, Vocabulary
from gomlx.contract.document import Contract
from gomlx.contract.dtypes import ANY, DTYPES
from gomlx.contract.signature import Signature
from gomlx.contract.tensor import Tensor


def contract(tensors: list[Tensor], kinds: list[Kind]) -> Contract:
    own = tuple(t for t in tensors if t.dtype != ANY)
    auxiliaries = tuple(t for t in tensors if t.dtype == ANY)
    signature = Signature(own, (), auxiliaries)
    return Contract("m", "0" * 32, signature, tuple(kinds), False, 1.0, 100, 1 << 20)


def columns(tensor: Tensor, kind: Kind, size: int = 50) -> list[Any]:
    made = SampleRows(contract([tensor], [kind]), random.Random(1)).columns(size)
    return made[tensor.name]


@pytest.mark.parametrize("dtype", sorted(DTYPES))
@pytest.mark.parametrize("shape", [(), (1,), (3,), (None, 2), None])
def test_sample_rows_fit_the_signature(dtype: str, shape: Any) -> None:
    tensor = Tensor("x", dtype, shape)
    signature = Signature((tensor,), ())
    column = columns(tensor, Exact(dtype, ""))
    checked = signature.check({"x": column, "batch_size": 50})
    assert len(checked.rows) == 50


def test_values_are_those_that_the_kind_tells_apart() -> None:
    words = Vocabulary(frozenset({"a", b"\xff"}), "UNK", "")
    made = columns(Tensor("w", "string", ()), words)
    assert {str(value) for value in made} == {"a", str({"b64": "/w=="})}
    buckets = Buckets("int32", (10.0, 20.0), 9.0, "")
    made = columns(Tensor("n", "int32", ()), buckets)
    assert set(made) == {10, 20}
    assert {type(value) for value in made} == {int}


def test_the_same_randomness_makes_the_same_rows() -> None:
    tensors = [Tensor("a", "float32", (2,)), Tensor("b", ANY, ())]
    kinds: list[Kind] = [Exact("float32", ""), Auxiliary(True, "")]
    made = contract(tensors, kinds)
    first, second = (SampleRows(made, random.Random(7)).endless(9) for _ in range(2))
    for _ in range(3):
        columns = next(first)
        assert columns == next(second)
        assert {name: len(column) for name, column in columns.items()} == {
            "a": 9,
            "b": 9,
        }
