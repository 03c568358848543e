"""Answers: arrays of outputs → JSON, and the validation of others' answers."""

import base64
import json
import math
from decimal import Decimal
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gomlx.contract.answer import (
    AnswerFormat,
    SharedAnswers,
    SharedLists,
    joined,
)
from gomlx.contract.dtypes import DTYPES
from gomlx.contract.tensor import Tensor

relaxed = settings(
    deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow]
)
INTS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
HARD_FLOATS = [
    *(0.0, -0.0, 0.1, 1 / 3, 1.0, 1e7, 16777216.0, 1e10, 1e15, 1e16, 1e17, 1e38),
    *(1e-4, 1e-5, 1e-6, 1e-7, 1.1754944e-38, 1e-45, 3.4028234663852886e38),
]


def answers(*arrays: Any, names: str = "abc") -> list[bytes]:
    # Only the outputs' names matter: dtypes and shapes are the arrays'.
    outputs = [Tensor(name, "float32", None) for name in names[: len(arrays)]]
    return AnswerFormat(outputs).encode(arrays)


def value(array: Any) -> Any:
    """The first row's value, through JSON and back."""
    return json.loads(answers(array)[0])["a"]


def text(number: Any) -> str:
    """How a numpy number is written."""
    (answer,) = answers(np.array([number]))
    return answer.decode().removeprefix('{"a":').removesuffix("}")


def texts(*values: bytes | str) -> Any:
    return np.array(values, object)


@pytest.mark.parametrize("declared", [(), (1,)])
@pytest.mark.parametrize("shape", [(3,), (3, 1)])
def test_one_element_a_row_is_a_scalar(
    declared: tuple[int, ...], shape: tuple[int, ...]
) -> None:
    array = np.array([1, 2, 3], np.int64).reshape(shape)
    found = AnswerFormat([Tensor("a", "int64", declared)]).encode([array])
    assert found == [b'{"a":1}', b'{"a":2}', b'{"a":3}']


@pytest.mark.parametrize("dims", [(None,), (None, None), (1, None)])
def test_a_list_that_happens_to_have_one_element_stays_a_list(dims: Any) -> None:
    array = np.full((1,) * (len(dims) + 1), 7)
    (answer,) = AnswerFormat([Tensor("a", "int64", dims)]).encode([array])
    assert json.loads(answer) == {"a": array[0].tolist()}


@pytest.mark.parametrize(
    "shape", [(2, 3), (2, 1, 1), (2, 1, 3), (2, 3, 1), (1, 2, 3, 4), (2, 0), (2, 2, 0)]
)
@pytest.mark.parametrize("dtype", ["float32", "int64", "bool", "object"])
def test_wider_rows_are_nested_lists(shape: tuple[int, ...], dtype: str) -> None:
    numbers = np.arange(math.prod(shape)).reshape(shape)
    array = numbers.astype("str" if dtype == "object" else dtype).astype(dtype)
    assert [json.loads(a)["a"] for a in answers(array)] == array.tolist()


@pytest.mark.parametrize("shape", [(0,), (0, 1), (0, 3)])
def test_no_rows_have_no_answers(shape: tuple[int, ...]) -> None:
    assert answers(np.zeros(shape, np.float32)) == []
    assert answers(np.zeros(shape, np.float32), np.zeros(shape, object)) == []


@pytest.mark.parametrize("dtype", INTS)
def test_integers_are_exact_at_their_bounds(dtype: str) -> None:
    bounds = np.iinfo(dtype)
    array = np.array([bounds.min, bounds.max], dtype)
    assert [json.loads(a)["a"] for a in answers(array)] == [bounds.min, bounds.max]


def test_booleans_are_true_and_false() -> None:
    assert answers(np.array([True, False])) == [b'{"a":true}', b'{"a":false}']


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("number", HARD_FLOATS)
def test_floats_read_back_to_themselves_without_exponents(
    kind: Any, number: float
) -> None:
    with np.errstate(over="ignore"):
        written = kind(number)
    if np.isfinite(written):
        assert "e" not in text(written).lower()
        assert same(kind(json.loads(text(written))), written)


def same(a: Any, b: Any) -> bool:
    """Equal, and both or none negative: zero has a sign."""
    return bool(a == b and np.signbit(a) == np.signbit(b))


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (np.float32(3.5714285), "3.5714285"),
        (np.float32(0.1), "0.1"),
        (np.float64(0.1), "0.1"),
        (np.float64(0.1) + np.float64(0.2), "0.30000000000000004"),
        (np.float32(1), "1.0"),
        (np.float32(-0.0), "-0.0"),
        (np.float32(1e-7), "0.0000001"),
        (np.float64(1e22), "10000000000000000000000.0"),
        (np.float32(-1e16), "-10000000000000000.0"),
        (np.float16(0.1), "0.1"),
    ],
)
def test_floats_have_the_shortest_digits_of_their_width(
    number: Any, expected: str
) -> None:
    assert text(number) == expected


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1))
@relaxed
def test_any_float32_reads_back_to_itself(numbers: list[float]) -> None:
    array = np.array(numbers, np.float32)
    for written, answer in zip(array, answers(array), strict=True):
        token = answer.decode().removeprefix('{"a":').removesuffix("}")
        assert "e" not in token.lower()
        assert same(np.float32(json.loads(token)), written)
        assert _digits(token) <= _digits(np.format_float_positional(written))


def _digits(token: str) -> int:
    return len(Decimal(token).normalize().as_tuple().digits)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
@relaxed
def test_any_float64_reads_back_to_itself(numbers: list[float]) -> None:
    found = answers(np.array(numbers, np.float64))
    assert not any(b"e" in answer for answer in found)
    for number, answer in zip(numbers, found, strict=True):
        assert same(float(json.loads(answer)["a"]), number)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_non_finite_floats_are_strings(dtype: str) -> None:
    numbers = np.array([math.nan, math.inf, -math.inf, 1.5], dtype)
    expected = ["NaN", "Infinity", "-Infinity", 1.5]
    assert [json.loads(a)["a"] for a in answers(numbers)] == expected
    assert value(numbers.reshape(1, 2, 2)) == [expected[:2], expected[2:]]


@pytest.mark.parametrize(
    "given", ["", "a", 'say "hi"', "back\\slash", "ä€😀", "\n\t\0\x7f", "a,b", "[1]"]
)
def test_text_is_escaped(given: str) -> None:
    assert value(texts(given.encode(), b"z")) == given
    assert value(texts(given, "z")) == given
    assert value(texts("z", given).reshape(1, 2)) == ["z", given]


def test_text_that_is_not_utf8_is_base64() -> None:
    assert value(texts(b"\xff\0")) == {"b64": "/wA="}
    assert value(texts(b"\xff\0", b"a").reshape(1, 2)) == [{"b64": "/wA="}, "a"]


@pytest.mark.parametrize("name", ['say "hi"', "back\\slash", "ä€😀", "a:b,c", "\n"])
def test_names_are_escaped(name: str) -> None:
    outputs = [Tensor(name, "int8", ()), Tensor("z" + name, "int8", ())]
    arrays = [np.array([1], np.int8), np.array([2], np.int8)]
    (answer,) = AnswerFormat(outputs).encode(arrays)
    assert json.loads(answer) == {name: 1, "z" + name: 2}
    (alone,) = AnswerFormat(outputs[:1]).encode(arrays[:1])
    assert json.loads(alone) == {name: 1}


def test_outputs_are_in_the_order_of_the_signature() -> None:
    numbers = np.array([1.5, 2.5], np.float32)
    wide = np.array([[1, 2], [3, 4]])
    found = answers(wide, texts(b"x", b"y"), numbers, names="zya")
    assert found == [b'{"z":[1,2],"y":"x","a":1.5}', b'{"z":[3,4],"y":"y","a":2.5}']


def test_outputs_of_different_lengths_are_never_paired() -> None:
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        answers(np.array([1, 2]), np.array([1]))


def test_the_answers_of_a_batch_are_a_list() -> None:
    assert joined([b'{"a":1}']) == b'[{"a":1}]'
    assert joined([b'{"a":1}', b'{"a":2}']) == b'[{"a":1},{"a":2}]'


@given(
    st.lists(
        st.tuples(
            st.floats(width=32),
            st.lists(
                st.binary(max_size=3) | st.text(max_size=3), min_size=2, max_size=2
            ),
            st.integers(-(2**63), 2**63 - 1),
        ),
        min_size=1,
        max_size=4,
    )
)
@relaxed
def test_any_answer_is_json(rows: list[tuple[float, list[bytes | str], int]]) -> None:
    numbers, words, integers = zip(*rows, strict=True)
    found = answers(
        np.array(numbers, np.float32),
        texts(*(word for pair in words for word in pair)).reshape(-1, 2),
        np.array(integers, np.int64),
    )
    parsed = json.loads(joined(found))
    assert [list(row) for row in parsed] == [["a", "b", "c"]] * len(rows)
    assert [row["c"] for row in parsed] == list(integers)


def is_answer(tensor: Tensor, value: bytes) -> bool:
    return SharedAnswers("m", "0" * 32, [tensor]).is_answer(value)


def has_answer(dtype: str, shape: Any, value: bytes) -> bool:
    return is_answer(Tensor("y", dtype, shape), b'{"y":' + value + b"}")


@pytest.mark.parametrize("dtype", sorted(DTYPES))
@pytest.mark.parametrize("shape", [(), (1,), (3,), (None, 2), None])
def test_every_answer_that_is_written_is_valid(dtype: str, shape: Any) -> None:
    dims = [d or 2 for d in shape or ()]
    numbers = np.arange(2 * int(np.prod(dims))).reshape(2, *dims)
    if dtype == "string":
        array = numbers.astype(str).astype(object)
        array.reshape(-1)[-1] = b"\xff"
    else:
        array = numbers.astype("float32" if dtype == "bfloat16" else dtype)
        if "float" in dtype:
            array.reshape(-1)[:2] = np.nan, -np.inf
    tensor = Tensor("y", dtype, shape)
    answers = AnswerFormat([tensor]).encode([array])
    assert all(is_answer(tensor, answer) for answer in answers)


@pytest.mark.parametrize(
    ("dtype", "shape", "value"),
    [
        ("float32", (), b'"1.0"'),
        ("float32", (), b"null"),
        ("float32", (), b"true"),
        ("float32", (), b"[1.0]"),
        ("float32", (), b"{}"),
        ("float32", (3,), b"1.0"),
        ("float32", (3,), b"{}"),
        ("int64", (), b"1.5"),
        ("int64", (), b"true"),
        ("bool", (), b"1"),
        ("string", (), b"1"),
        ("string", None, b"null"),
    ],
)
def test_a_value_of_another_type_is_invalid(
    dtype: str, shape: Any, value: bytes
) -> None:
    assert not is_answer(Tensor("y", dtype, shape), b'{"y":' + value + b"}")


@pytest.mark.parametrize(
    ("dtype", "shape", "value"),
    [
        ("float32", (3,), b"[]"),
        ("float32", (3,), b"[1.0,2.0]"),
        ("float32", (3,), b"[1.0,2.0,3.0,4.0]"),
        ("float32", (3,), b"[[1.0],[2.0],[3.0]]"),
        ("float32", (3,), b"[1.0,2.0,[3.0]]"),
        ("float32", (1, 3), b"[1.0,2.0,3.0]"),
        ("float32", (None,), b"[[]]"),
        ("float32", (None, 2), b"[[1.0,2.0],[1.0]]"),
        ("float32", (None, 2), b"[[1.0,2.0],3.0]"),
        ("float32", (None, 2), b"[[]]"),
        ("float32", (2, None), b"[[1.0],[1.0,2.0]]"),
        ("float32", (2, None), b"[]"),
        ("float32", None, b"[[1.0],[1.0,2.0]]"),
        ("float32", None, b"[[1.0],2.0]"),
        ("float32", None, b"{}"),
    ],
)
def test_a_value_of_another_shape_is_invalid(
    dtype: str, shape: Any, value: bytes
) -> None:
    assert not has_answer(dtype, shape, value)


@pytest.mark.parametrize(
    ("dtype", "leaf"),
    [
        ("float32", b'"x"'),
        ("float32", b'"nan"'),
        ("float32", b"true"),
        ("float32", b"null"),
        ("float32", b'{"b64":"eA=="}'),
        ("float32", b"3.5e38"),
        ("float32", b"-3.5e38"),
        ("float16", b"65520"),
        ("float16", b"18446744073709551615"),
        ("bfloat16", b"3.4e38"),
        ("float64", b"1e999"),
        ("int64", b"9223372036854775808"),
        ("int64", b"18446744073709551615"),
        ("int64", b"-9223372036854775809"),
        ("uint64", b"-1"),
        ("uint64", b"18446744073709551616"),
        ("int8", b"128"),
        ("int8", b"true"),
        ("bool", b"1"),
        ("bool", b'"true"'),
        ("string", b"1"),
        ("string", b"null"),
        ("string", b"{}"),
        ("string", b'{"evil":1}'),
        ("string", b'{"b64":1}'),
        ("string", b'{"b64":"!!"}'),
        ("string", b'{"b64":"eA"}'),
        ("string", b'{"b64":"\\u00e4"}'),
        ("string", b'{"b64":["eA=="]}'),
        ("string", b'{"b64":"eA==","evil":1}'),
        ("string", b'"\\ud800"'),
    ],
)
def test_an_invalid_leaf_is_invalid_in_any_shape(dtype: str, leaf: bytes) -> None:
    assert not has_answer(dtype, (), leaf)
    assert not has_answer(dtype, (2,), b"[" + leaf + b"," + leaf + b"]")
    assert not has_answer(dtype, (None, 1), b"[[" + leaf + b"]]")
    assert not has_answer(dtype, None, leaf)
    assert not has_answer(dtype, None, b"[[" + leaf + b"]]")


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", *INTS])
def test_the_greatest_and_the_least_value_are_valid(dtype: str) -> None:
    bounds: Any = np.finfo(dtype) if "float" in dtype else np.iinfo(dtype)
    array = np.array([[bounds.min, bounds.max]], dtype)
    (answer,) = AnswerFormat([Tensor("y", dtype, (2,))]).encode([array])
    assert is_answer(Tensor("y", dtype, (2,)), answer)
    (answer,) = AnswerFormat([Tensor("y", dtype, ())]).encode([array[:, 1]])
    assert is_answer(Tensor("y", dtype, ()), answer)


@pytest.mark.parametrize(
    ("shape", "value"),
    [
        ((None,), b"[]"),
        ((0, 2), b"[]"),
        ((None, 2), b"[]"),
        ((2, None), b"[[],[]]"),
        ((2, 0), b"[[],[]]"),
        ((2, None, 3), b"[[],[]]"),
        (None, b"[]"),
        (None, b"[[],[]]"),
        (None, b"[[[1.0]]]"),
    ],
)
def test_empty_lists_have_the_shape_that_they_may_have(
    shape: Any, value: bytes
) -> None:
    assert has_answer("float32", shape, value)


def test_lists_as_deep_as_those_of_tensors_are_validated() -> None:
    deep = b"[" * 250 + b"1.0" + b"]" * 250
    assert has_answer("float32", None, deep)
    assert not has_answer("float32", (1, 1), deep)
    for depth in (900, 2000):
        deeper = b"[" * depth + b"1.0" + b"]" * depth
        assert not has_answer("float32", None, deeper)


@pytest.mark.parametrize(
    "value",
    [b"", b"{", b"null", b"[]", b"{}", b'{"z":1}', b'{"y":1,"z":2}', b'{"y":1}\n'],
)
def test_other_outputs_are_invalid(value: bytes) -> None:
    assert not is_answer(Tensor("y", "int64", ()), value)


def test_a_transformer_may_answer_with_any_json() -> None:
    shared = SharedAnswers("m", "0" * 32, ())
    assert shared.is_answer(b'"cheap"')
    assert not shared.is_answer(b"cheap")
    assert not shared.is_answer(b'"a"\n"b"')


OUTPUTS = [
    Tensor("f", "float32", (1,)),
    Tensor("n", "int64", ()),
    Tensor("s", "string", (1,)),
    Tensor("v", "float32", (2,)),
]


@pytest.mark.parametrize(
    ("value", "is_one"),
    [
        (b'{"f":0.5,"n":1,"s":"a","v":[1.0,2.0]}', True),
        (b'{"f":1.0,"n":-1,"s":{"b64":"/w=="},"v":["NaN",2.0]}', True),
        (b'{"f":"-Infinity","n":1,"s":"","v":[1.0,2.0]}', True),
        (b'{"f":"text","n":1,"s":"a","v":[1.0,2.0]}', False),
        (b'{"f":null,"n":1,"s":"a","v":[1.0,2.0]}', False),
        (b'{"f":true,"n":1,"s":"a","v":[1.0,2.0]}', False),
        (b'{"f":0.5,"n":1.5,"s":"a","v":[1.0,2.0]}', False),
        (b'{"f":0.5,"n":1,"s":2,"v":[1.0,2.0]}', False),
        (b'{"f":0.5,"n":1,"s":"a","v":1.0}', False),
        (b'{"n":1,"f":0.5,"s":"a","v":[1.0,2.0]}', False),
        (b'{"f":0.5,"n":1,"s":"a"}', False),
        (b'{"f":0.5,"n":1,"s":"a","v":[1.0,2.0]', False),
        (b"[]", False),
    ],
)
def test_values_of_a_shared_tier_are_validated(value: bytes, is_one: bool) -> None:
    assert SharedAnswers("m", "v", OUTPUTS).is_answer(value) is is_one


STRICT = [Tensor("f", "float64", (1,)), Tensor("v", "float64", (2,))]
STRICT += [Tensor("s", "string", (1,)), Tensor("n", "int64", ())]


@st.composite
def written(draw: st.DrawFn) -> bytes:
    """Draw an answer that is written for the outputs STRICT."""
    number = st.floats() | st.floats(-1e-5, 1e-5) | st.integers(-99, 99).map(float)
    text = st.text(max_size=4) | st.binary(max_size=4) | st.just('e":1e5,"')
    arrays = [
        np.array([draw(number)]),
        np.array([[draw(number), draw(number)]]),
        texts(draw(text)),
        np.array([draw(st.integers(-(2**63), 2**63 - 1))]),
    ]
    (answer,) = AnswerFormat(STRICT).encode(arrays)
    return answer


def written_again(value: bytes) -> bytes:
    """Return what is written for the answer that a value is parsed as."""
    answer = orjson.loads(value)
    label = answer["s"]
    arrays = [
        np.array([float(answer["f"])]),
        np.array([list(map(float, answer["v"]))]),
        texts(label if type(label) is str else base64.b64decode(label["b64"])),
        np.array([answer["n"]]),
    ]
    (again,) = AnswerFormat(STRICT).encode(arrays)
    return again


@given(written())
@relaxed
def test_what_is_written_is_an_answer_but_with_no_space_in_it(value: bytes) -> None:
    shared = SharedAnswers("m", "v", STRICT)
    assert shared.is_answer(value)
    for space in (b" ", b"\n", b"\t", b"\r"):
        assert not shared.is_answer(value + space)
        assert not shared.is_answer(space + value)
        assert not shared.is_answer(value.replace(b":", b":" + space, 1))
    assert not shared.is_answer(b'{"f":0.5,' + value[1:])


@given(written(), st.integers(0), st.integers(0, 255), st.integers(0, 1))
@relaxed
def test_a_changed_byte_is_refused_or_another_answer_that_would_be_written(
    value: bytes, place: int, byte: int, kept: int
) -> None:
    """kept: whether the byte comes before the one at its place, or replaces it."""
    at = place % len(value)
    changed = value[:at] + bytes([byte]) + value[at + 1 - kept :]
    if SharedAnswers("m", "v", STRICT).is_answer(changed):
        assert changed == written_again(changed)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@given(st.data())
@relaxed
def test_floats_of_any_width_are_written_as_they_are_read(
    dtype: str, data: st.DataObject
) -> None:
    width = np.dtype(dtype).itemsize
    raw = data.draw(st.binary(min_size=3 * width, max_size=3 * width))
    tensor = Tensor("e", dtype, (3,))
    (answer,) = AnswerFormat([tensor]).encode([np.frombuffer(raw, dtype)[None]])
    assert is_answer(tensor, answer)
    lists = SharedLists("m", "v", [tensor])
    assert lists.is_answer(joined([answer, answer]))
    assert not lists.is_answer(b"[%b, %b]" % (answer, answer))


@given(st.lists(st.floats(-1e-4, 1e-4) | st.floats(1e14), min_size=3))
@relaxed
def test_long_lists_of_small_and_large_numbers_are_answers(found: list[float]) -> None:
    for name in ("e", "e,1e-7", 'e"'):
        tensor = Tensor(name, "float64", (None,))
        (answer,) = AnswerFormat([tensor]).encode([np.array([found])])
        assert is_answer(tensor, answer)
        assert not is_answer(tensor, answer.replace(b"]", b"0]"))


VALUES: list[Any] = [{"x": [1e-9, 1e300, -0.0]}, "1e5", [], None, 2**64 - 1]


def test_a_transformer_writes_floats_as_json_libraries_do() -> None:
    shared = SharedAnswers("m", "v", ())
    for value in VALUES:
        assert shared.is_answer(orjson.dumps(value))
        assert not shared.is_answer(orjson.dumps(value) + b" ")
    assert not shared.is_answer(b'{"a":1,"a":2}')
    assert not shared.is_answer(b'{"b":0.10}')
