"""Values checked against a dtype and a shape: accepted, or an error that says why."""

import base64
import math
from typing import Any

import pytest

from gomlx.contract.tensor import Block
from tests.contract.conftest import one, refusal, value

INTS = {
    "int8": (-128, 127),
    "int16": (-32768, 32767),
    "int32": (-2147483648, 2147483647),
    "int64": (-9223372036854775808, 9223372036854775807),
    "uint8": (0, 255),
    "uint16": (0, 65535),
    "uint32": (0, 4294967295),
    "uint64": (0, 18446744073709551615),
}
FLOATS = {  # the last float64 that rounds to a finite float
    "float16": math.nextafter((2 - 2**-11) * 2.0**15, 0),
    "bfloat16": (2 - 2**-7) * 2.0**127,
    "float32": math.nextafter((2 - 2**-24) * 2.0**127, 0),
    "float64": (2 - 2**-52) * 2.0**1023,
}


@pytest.mark.parametrize("dtype", INTS)
def test_integers_are_accepted_up_to_their_exact_bounds(dtype: str) -> None:
    low, high = INTS[dtype]
    body = {"x": [low, high], "batch_size": 2}
    assert one(dtype).check(body).rows == [(low,), (high,)]
    for past in (low - 1, high + 1):
        assert f"from {low} to {high}" in str(refusal(one(dtype), {"x": past}))


@pytest.mark.parametrize("wrong", [2**63, -(2**63) - 1, 2**64, 10**100])
def test_an_integer_beyond_64_bits_is_the_clients_mistake(wrong: int) -> None:
    error = refusal(one("int64"), {"x": [1, wrong], "batch_size": 2})
    assert (error.status, error.name, error.row) == (400, "x", 1)


@pytest.mark.parametrize("dtype", INTS)
@pytest.mark.parametrize("wrong", [True, 1.5, "1", None, [1], {"b64": "MQ=="}])
def test_only_integers_are_integers(dtype: str, wrong: Any) -> None:
    refusal(one(dtype), {"x": wrong})
    assert refusal(one(dtype), {"x": [1, wrong], "batch_size": 2}).row == 1


@pytest.mark.parametrize("dtype", FLOATS)
def test_floats_are_accepted_up_to_the_largest_of_their_width(dtype: str) -> None:
    limit = FLOATS[dtype]
    for accepted in (limit, -limit, 0.0, 5e-324, 0.1):
        assert value(one(dtype), accepted) == accepted
    past = math.nextafter(limit, math.inf) if dtype != "float64" else 2**1024
    for wrong in (past, -past):
        refusal(one(dtype), {"x": wrong})


@pytest.mark.parametrize("dtype", FLOATS)
def test_integers_are_floats(dtype: str) -> None:
    assert value(one(dtype), -3) == -3
    (tensor,) = one(dtype, (2,)).inputs
    assert value(one(dtype, (2,)), [1, 2.5]) == tensor.block((2,), (1, 2.5))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(
    "wrong", [math.nan, math.inf, -math.inf, True, "1", "NaN", None, [1.0]]
)
def test_only_finite_numbers_are_floats(dtype: str, wrong: Any) -> None:
    refusal(one(dtype), {"x": wrong})
    assert refusal(one(dtype), {"x": [1.5, wrong], "batch_size": 2}).row == 1
    assert refusal(one(dtype), {"x": [wrong, 1.5], "batch_size": 2}).row == 0


@pytest.mark.parametrize("wrong", [0, 1, 0.0, "true", None, [True]])
def test_only_booleans_are_booleans(wrong: Any) -> None:
    assert value(one("bool"), False) is False
    assert "expected true or false" in str(refusal(one("bool"), {"x": wrong}))


@pytest.mark.parametrize("text", ["", "a", "ä€😀", "\0", '"', "a" * 10_000])
def test_strings_are_accepted_as_they_are(text: str) -> None:
    assert value(one("string"), text) == text


@pytest.mark.parametrize("wrong", [0, 1.5, True, None, ["a"]])
def test_only_strings_are_strings(wrong: Any) -> None:
    assert "expected a string" in str(refusal(one("string"), {"x": wrong}))


@pytest.mark.parametrize("text", ["", "a", "ä€😀"])
def test_base64_of_utf8_is_the_text(text: str) -> None:
    encoded = {"b64": base64.b64encode(text.encode()).decode()}
    assert value(one("string"), encoded) == text
    assert value(one("string", (2,)), ["z", encoded]) == Block((2,), ("z", text))


def test_base64_of_anything_else_is_bytes() -> None:
    body = {"x": [{"b64": "/wA="}, "a"], "batch_size": 2}
    assert one("string").check(body).rows == [(b"\xff\0",), ("a",)]


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({}, 'its one key must be "b64"'),
        ({"b64": 1}, "base64 is a string, not of type int"),
        ({"b64": None}, "base64 is a string, not of type NoneType"),
        ({"b64": ["YQ=="]}, "base64 is a string, not of type list"),
        ({"b64": "YQ"}, "expected 2 characters '=' of padding, got 0"),
        ({"b64": "YWE"}, "expected 1 characters '=' of padding, got 0"),
        ({"b64": "YQ==="}, "expected 2 characters '=' of padding, got 3"),
        ({"b64": "===="}, "expected 0 characters '=' of padding, got 4"),
        ({"b64": "YWJjZ"}, "5 characters without padding are one too many, or 3"),
        ({"b64": "Y Q=="}, "character 1 is ' ', which base64 does not have"),
        ({"b64": "ä"}, "character 0 is 'ä', which base64 does not have"),
        ({"b64": "ab-_"}, "character 2 is '-', of the URL-safe alphabet"),
        ({"b64": "YQ==YQ=="}, "character 2 is '=', which is padding and comes last"),
        ({"B64": "YQ=="}, 'its one key must be "b64"'),
        ({"b64": "YQ==", "more": 1}, 'its one key must be "b64"'),
    ],
)
def test_malformed_base64_is_refused(wrong: Any, reason: str) -> None:
    batch = {"x": ["a", wrong], "batch_size": 2}
    for body, place in (({"x": wrong}, ""), (batch, ", row 1")):
        error = str(refusal(one("string"), body))
        assert error.startswith(f"input 'x'{place}: expected a string")
        assert f'not {{"b64": "…"}}: {reason}' in error


@pytest.mark.parametrize(
    ("shape", "given", "expected"),
    [
        ((3,), [1, 2, 3], ((3,), (1, 2, 3))),
        ((2, 3), [[1, 2, 3], [4, 5, 6]], ((2, 3), (1, 2, 3, 4, 5, 6))),
        ((1, 2, 1), [[[1], [2]]], ((1, 2, 1), (1, 2))),
        ((None,), [1, 2], ((2,), (1, 2))),
        ((None,), [1], ((1,), (1,))),
        ((None, 2), [[1, 2], [3, 4]], ((2, 2), (1, 2, 3, 4))),
        (None, 7, ((), (7,))),
        (None, [7], ((1,), (7,))),
        (None, [[1, 2], [3, 4]], ((2, 2), (1, 2, 3, 4))),
        ((None,), [], ((0,), ())),
        ((2, None), [[], []], ((2, 0), ())),
        ((None, 3), [], ((0, 3), ())),
        ((None, None), [], ((0, 0), ())),
        (None, [], ((0,), ())),
        (None, [[], []], ((2, 0), ())),
        (None, [[[[[[[[7]]]]]]]], ((1,) * 8, (7,))),
    ],
)
def test_nested_lists_become_blocks(shape: Any, given: Any, expected: Any) -> None:
    (tensor,) = one("int64", shape).inputs
    block = value(one("int64", shape), given)
    assert (block.shape, tensor.elements(block)) == expected
    assert tensor.nested(block) == given or 0 in block.shape
    body = {"x": [given, given], "batch_size": 2}
    assert one("int64", shape).check(body).rows == [(block,)] * 2


@pytest.mark.parametrize(
    ("shape", "wrong"),
    [
        ((3,), [1, 2]),
        ((3,), 1),
        ((3,), [[1, 2, 3]]),
        ((3,), []),
        ((3,), {"0": 1}),
        ((2, 3), [[1, 2], [3, 4]]),
        ((2, 3), [1, 2, 3, 4, 5, 6]),
        ((2, 3), [[], []]),
        ((None, 2), [[1], [2]]),
        ((None,), None),
        ((2, 2), [[1, 2], [3]]),
        ((None, None), [[1, 2], [3]]),
        ((None,), [1, [2]]),
        (None, [[1], 2]),
        (None, [[1, 2], [3]]),
        (None, [[[1]], [1]]),
        (None, [None]),
        (None, [True]),
        ((), [1]),
        ((1,), []),
        ((1,), [1, 2]),
        ((1,), [[1]]),
    ],
)
def test_lists_of_another_shape_are_refused(shape: Any, wrong: Any) -> None:
    assert refusal(one("int64", shape), {"x": wrong}).name == "x"
    body = {"x": [wrong], "batch_size": 1}
    assert refusal(one("int64", shape), body).row == 0


def test_errors_say_the_expected_shape() -> None:
    error = refusal(one("int8", (2, None)), {"x": [1]})
    assert "in nested lists of shape [2, any], got a value of shape [1]" in str(error)


@pytest.mark.parametrize("given", [7, [7]])
def test_an_input_of_one_element_accepts_it_bare_and_in_a_list(given: Any) -> None:
    assert value(one("int64", (1,)), given) == 7
    body = {"x": [given, 8], "batch_size": 2}
    assert one("int64", (1,)).check(body).rows == [(7,), (8,)]
