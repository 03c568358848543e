"""Values that stand for others: whole floats for integers, NaN for a missing number."""

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gomlx.contract.canonical import Buckets, Exact, Kind, Rounded
from gomlx.contract.dictionary import Dictionary
from gomlx.contract.dtypes import FLOAT_LIMITS, INT_RANGES, converted
from gomlx.contract.signature import Signature
from gomlx.contract.tensor import Tensor
from tests.contract.conftest import one, refusal, value

relaxed = settings(deadline=None)
MISSING: Any = [None, "NaN", math.nan, -math.nan, float(np.float32("nan"))]


def optional(dtype: str, shape: Any = ()) -> Signature:
    return Signature((Tensor("x", dtype, shape, "nan"),), ())


def key(signature: Signature, kind: Kind, given: Any) -> bytes:
    made = Dictionary("v", signature, [kind])
    (row,) = made.canonical(signature.check({"x": given}).rows)
    return made.keys([row])[0]


@pytest.mark.parametrize("dtype", INT_RANGES)
@given(st.data())
@relaxed
def test_a_whole_float_is_the_integer(dtype: str, data: st.DataObject) -> None:
    low, high = INT_RANGES[dtype]
    n = data.draw(st.integers(max(low, -(2**53)), min(high, 2**53)))
    text = data.draw(st.sampled_from([f"{n}.0", f"{n}e0", f"{n * 10}e-1"]))
    as_float = json.loads(text)
    if as_float != n:  # the product has more digits than a float
        return
    found = value(one(dtype), as_float)
    assert found == n
    assert type(found) is int
    assert one(dtype).check({"x": [n, as_float], "batch_size": 2}).rows == [(n,)] * 2
    as_block = value(one(dtype, (2,)), [as_float, n])
    assert as_block == value(one(dtype, (2,)), [n, n])
    assert key(one(dtype), Exact(dtype, ""), as_float) == key(
        one(dtype), Exact(dtype, ""), n
    )


@pytest.mark.parametrize("wrong", [0.5, 1e300, math.nan, math.inf, 300.0, -129.0])
def test_other_floats_are_no_integers(wrong: float) -> None:
    assert refusal(one("int8"), {"x": wrong}).name == "x"
    assert refusal(one("int8"), {"x": [1, wrong], "batch_size": 2}).row == 1
    refusal(one("int8", (2,)), {"x": [1, wrong]})


def test_a_float_beyond_53_bits_may_be_several_integers() -> None:
    assert value(one("int64"), 2.0**53) == 2**53
    assert value(one("int64"), -(2.0**53)) == -(2**53)
    for wrong in (2.0**53 + 2, -(2.0**60)):
        error = str(refusal(one("int64"), {"x": wrong}))
        assert "a float beyond 2**53: without a point and an exponent it is" in error
        refusal(one("int64", (1, 1)), {"x": [[wrong]]})
    assert value(one("int64"), 2**53 + 1) == 2**53 + 1
    mixed = [2**62, 3.0]  # an integer may be beyond
    assert one("int64").check({"x": mixed, "batch_size": 2}).rows == [(2**62,), (3,)]


@pytest.mark.parametrize("dtype", FLOAT_LIMITS)
@pytest.mark.parametrize("shape", [(), (1,), (2,), (None,)])
def test_all_that_is_missing_is_one_row(dtype: str, shape: Any) -> None:
    signature = optional(dtype, shape)
    (tensor,) = signature.inputs
    kinds: list[Kind] = [Exact(dtype, ""), Rounded(dtype, 2, "")]
    for kind in kinds:
        given = MISSING if tensor.is_scalar else [[m, 1.5] for m in MISSING]
        keys = {key(signature, kind, one) for one in given}
        assert len(keys) == 1
        assert keys.isdisjoint(
            {key(signature, kind, x if tensor.is_scalar else [x, 1.5]) for x in (0, 1)}
        )
        made = Dictionary("v", signature, [kind])
        rows = signature.check({"x": given, "batch_size": len(given)}).rows
        assert set(made.keys(made.canonical(rows))) == keys
        ((found,),) = made.canonical(rows[:1])
        assert math.isnan(tensor.elements(found)[0])


@pytest.mark.parametrize("shape", [(), (3,)])
def test_a_missing_number_is_in_no_bucket(shape: Any) -> None:
    kind = Buckets("float32", (0.0, 1.0), -1.0, "")
    signature = optional("float32", shape)
    (tensor,) = signature.inputs
    made = Dictionary("v", signature, [kind])
    given = [-5, None, 0.5] if shape else None
    rows = signature.check({"x": given}).rows
    for canonical in (made.canonical(rows), made.canonical(rows * 2)):
        found = tensor.elements(canonical[0][0])
        assert list(map(str, found)) == (["-1.0", "nan", "0.0"] if shape else ["nan"])


@pytest.mark.parametrize("wrong", [math.inf, -math.inf, "nan", "", True, [None], 1e39])
def test_an_input_that_admits_nan_refuses_the_rest(wrong: Any) -> None:
    signature = optional("float32")
    error = refusal(signature, {"x": wrong})
    assert 'a finite number; null or "NaN" if it is missing' in str(error)
    assert refusal(signature, {"x": [None, wrong], "batch_size": 2}).row == 1
    refusal(optional("float32", (2,)), {"x": [None, wrong]})


@pytest.mark.parametrize("missing", MISSING)
def test_the_error_names_the_setting(missing: Any) -> None:
    for shape, x in [((), missing), ((2,), [1, missing])]:
        error = str(refusal(one("float32", shape), {"x": x}))
        assert "`missing: nan` in the service's config admits missing numbers" in error
    assert "missing: nan" not in str(refusal(one("int8"), {"x": missing}))


@pytest.mark.parametrize("text", ["NaN", "null", '"NaN"'])
def test_a_number_may_be_missing_in_a_query(text: str) -> None:
    (row,) = optional("float32").check(optional("float32").parse([("x", text)])).rows
    assert str(row[0]) == "nan"
    block = optional("float32", (2,))
    (row,) = block.check(block.parse([("x", f"[1,{text}]")])).rows
    assert row == block.check({"x": [1, None]}).rows[0]


def test_documents_without_the_field_are_read() -> None:
    tensor = Tensor("x", "float32", (None, 2))
    assert tensor.to_json() == {"name": "x", "dtype": "float32", "shape": (None, 2)}
    assert Tensor.from_json(tensor.to_json()) == tensor
    signature = optional("float32")
    assert Signature.from_json(json.loads(json.dumps(signature.to_json()))) == signature


def test_many_floats_are_converted_as_few_are() -> None:
    values = [float(n) for n in range(40_000)]
    found = converted(values, "int64", "")
    assert found == list(range(40_000))
    assert set(map(type, found)) == {int}
    for wrong in (0.5, 2.0**60, "1", math.inf):
        assert converted([*values, wrong], "int64", "") is None
