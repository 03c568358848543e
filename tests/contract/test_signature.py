"""Request bodies checked against a signature: rows, or an error that says why not."""

from itertools import permutations
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gomlx.contract.dtypes import DTYPES
from gomlx.contract.signature import Signature
from gomlx.contract.tensor import Tensor
from gomlx.errors import InvalidInput, TooLarge
from tests.contract.conftest import one, refusal

PLACE_PRICE = Signature(
    (Tensor("place", "string", ()), Tensor("price", "float32", ())), ()
)


def test_a_request_without_batch_size_is_one_row() -> None:
    checked = PLACE_PRICE.check({"price": 1.5, "place": "a"})
    assert checked == ([("a", 1.5)], False)


@pytest.mark.parametrize(
    "items",
    list(permutations([("place", ["a", "b"]), ("price", [1.5, 2]), ("batch_size", 2)])),
)
def test_batch_size_may_stand_anywhere(items: tuple[tuple[str, Any], ...]) -> None:
    assert PLACE_PRICE.check(dict(items)) == ([("a", 1.5), ("b", 2)], True)


def test_a_batch_of_one_is_a_batch() -> None:
    body = {"place": ["a"], "price": [1], "batch_size": 1}
    assert PLACE_PRICE.check(body) == ([("a", 1)], True)


def test_a_column_of_one_value_is_that_value_in_every_row() -> None:
    body = {"batch_size": 3, "place": ["a"], "price": [1, 2, 3]}
    assert PLACE_PRICE.check(body).rows == [("a", 1), ("a", 2), ("a", 3)]


def test_cache_key_is_not_an_input() -> None:
    body = {"place": "a", "price": 1, "cache_key": "k"}
    assert PLACE_PRICE.check(body).rows == [("a", 1)]


@pytest.mark.parametrize("column", [[], ["a", "b"], ["a"] * 4, "abc", None, {}])
def test_a_column_of_another_length_is_refused(column: Any) -> None:
    error = refusal(one("string"), {"x": column, "batch_size": 3})
    assert error.name == "x"
    assert "expected a list of 3 values (batch_size) or of 1" in str(error)


@pytest.mark.parametrize("size", [0, -1, True, False, "2", 2.0, [2], {}])
def test_a_wrong_batch_size_is_refused(size: Any) -> None:
    error = refusal(one("string"), {"x": ["a", "b"], "batch_size": size})
    assert "batch_size: expected an integer of 1 or more" in str(error)


@pytest.mark.parametrize("column", [["a"], None])
def test_too_many_rows_are_refused_before_a_column_is_checked(column: Any) -> None:
    with pytest.raises(TooLarge, match="at most 8 rows in a request, got 9"):
        one("string").check({"x": column, "batch_size": 9}, 8)
    with pytest.raises(TooLarge):
        one("string").check({"x": column, "batch_size": 10**15}, 10**9)


def test_as_many_rows_as_allowed_are_accepted() -> None:
    body = {"x": ["a"], "batch_size": 8}
    assert len(one("string").check(body, 8).rows) == 8


@pytest.mark.parametrize("body", [None, 1, "x", [], [{"x": 1}]])
def test_only_an_object_is_a_request(body: Any) -> None:
    assert "expected a JSON object" in str(refusal(one("int8"), body))


def test_an_unknown_input_is_named_with_those_that_exist() -> None:
    error = refusal(PLACE_PRICE, {"place": "a", "price": 1, "prize": 1})
    assert str(error) == "input 'prize': no such input; the model has: place, price"


def test_a_missing_input_is_named_with_those_that_exist() -> None:
    error = refusal(PLACE_PRICE, {"place": "a"})
    assert str(error) == "input 'price': missing; the model takes: place, price"


def test_an_error_names_input_row_and_what_was_expected() -> None:
    body = {"place": ["a", "b"], "price": [1, "x"], "batch_size": 2}
    error = refusal(PLACE_PRICE, body)
    assert (error.name, error.row) == ("price", 1)
    assert str(error) == (
        "input 'price', row 1: expected float32 (a finite number), got \"x\""
    )


def test_an_error_in_a_single_row_has_no_row_number() -> None:
    error = refusal(PLACE_PRICE, {"place": 5, "price": 1})
    assert str(error) == "input 'place': expected a string, got 5"


@pytest.mark.parametrize(
    "body",
    [
        {"x": "v" * 1000},
        {"x": ["v" * 1000] * 1000},
        {"x": {"v" * 1000: 1}},
        {"x": {"b64": "v" * 1000}},
        {"x": ["v" * 1000], "batch_size": 2},
        {"x": "v" * 1000, "batch_size": 2},
        {"x": 1, "batch_size": "v" * 1000},
        {"v" * 1000: 1},
        "v" * 1000,
    ],
)
@pytest.mark.parametrize("shape", [(), (2,), None])
def test_an_error_never_echoes_a_long_value(body: Any, shape: Any) -> None:
    assert "v" * 61 not in str(refusal(one("int8", shape), body))


@pytest.mark.parametrize("shape", [(), (1,), (2,), None])
def test_a_value_of_any_depth_is_refused(shape: Any) -> None:
    nested = orjson.loads("[" * 1000 + "]" * 1000)
    refusal(one("int8", shape), {"x": nested})
    refusal(one("string", shape), {"x": {"b64": nested}})


@pytest.mark.parametrize(
    "body", [{"x": 10**5000}, {"x": [1], "batch_size": -(10**5000)}]
)
def test_an_integer_of_any_size_is_refused(body: Any) -> None:
    refusal(one("int8"), body)


def test_a_batch_size_of_any_size_is_too_large() -> None:
    with pytest.raises(TooLarge):
        one("int8").check({"x": [1], "batch_size": 10**5000})


@pytest.mark.parametrize(
    ("dtype", "shape", "text", "expected"),
    [
        ("string", (), "a", "a"),
        ("string", (), "", ""),
        ("string", (), "17", "17"),
        ("string", (2,), '["a","b"]', ["a", "b"]),
        ("int32", (), "-17", -17),
        ("float32", (), "1.5", 1.5),
        ("float32", (), "3", 3),
        ("float32", (2, 1), "[[1],[2.5]]", [[1], [2.5]]),
        ("bool", (), "1", True),
        ("bool", (), "t", True),
        ("bool", (), "T", True),
        ("bool", (), "TRUE", True),
        ("bool", (), "0", False),
        ("bool", (), "f", False),
        ("bool", (), "False", False),
        ("bool", (2,), "[true,False]", [True, False]),
    ],
)
def test_query_text_is_read_as_its_dtype(
    dtype: str, shape: Any, text: str, expected: Any
) -> None:
    body = one(dtype, shape).parse([("x", text)])
    assert body == {"x": expected}
    assert type(body["x"]) is type(expected)
    one(dtype, shape).check(body)


@pytest.mark.parametrize(
    ("dtype", "text"),
    [("int32", "1x"), ("int32", ""), ("float32", "NaN"), ("bool", "yes"), ("bool", "")],
)
def test_query_text_of_another_dtype_is_refused(dtype: str, text: str) -> None:
    with pytest.raises(InvalidInput, match="input 'x': expected ") as caught:
        one(dtype).parse([("x", text)])
    assert f'got "{text}"' in str(caught.value)


def test_a_repeated_query_parameter_is_refused() -> None:
    with pytest.raises(InvalidInput, match="input 'place': given more than once"):
        PLACE_PRICE.parse([("place", "a"), ("price", "1"), ("place", "a")])


def test_reserved_query_parameters_are_ignored() -> None:
    pairs = [("batch_size", "x"), ("x", "1"), ("cache_key", "1"), ("cache_key", "2")]
    assert one("int8").parse(pairs) == {"x": 1}


def test_an_unknown_query_parameter_is_left_to_the_check() -> None:
    body = one("int8").parse([("x", "1"), ("y", "2")])
    assert refusal(one("int8"), body).name == "y"


@pytest.mark.parametrize("name", ["x", "v" * 1000])
def test_query_errors_never_echo_a_long_value(name: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        one("int8").check(one("int8").parse([(name, "v" * 1000)]))
    assert "v" * 61 not in str(caught.value)


@pytest.mark.parametrize("auxiliaries", [(), (Tensor("who", "any", ()),)])
def test_a_signature_reads_back_from_json(auxiliaries: tuple[Tensor, ...]) -> None:
    outputs = (Tensor("y", "float32", None), Tensor("z", "string", (None, 2)))
    signature = Signature(PLACE_PRICE.inputs, outputs, auxiliaries)
    document = orjson.loads(orjson.dumps(signature.to_json()))
    assert Signature.from_json(document) == signature


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["b64", "x"]), inner, max_size=2)
    ),
    max_leaves=8,
)
SHAPES = st.none() | st.lists(st.none() | st.integers(0, 3), max_size=3).map(tuple)
TENSORS = st.tuples(
    *(
        st.builds(Tensor, st.just(name), st.sampled_from(sorted(DTYPES)), SHAPES)
        for name in "ab"
    )
)
LIKELY = (
    st.integers(-2, 300)
    | st.booleans()
    | st.floats(width=16)
    | st.just({"b64": "/w=="})
    | st.text(max_size=2)
)
COLUMNS = JSON | LIKELY | st.lists(LIKELY | st.lists(LIKELY, max_size=3), max_size=3)
BODIES = JSON | st.fixed_dictionaries(
    {"a": COLUMNS, "b": COLUMNS},
    optional={"batch_size": st.integers(0, 4) | JSON, "cache_key": JSON},
)


@given(TENSORS, BODIES)
@settings(deadline=None, max_examples=500, suppress_health_check=[HealthCheck.too_slow])
def test_any_request_gives_plain_rows_or_is_refused(
    tensors: tuple[Tensor, ...], body: Any
) -> None:
    try:
        rows = Signature(tensors, ()).check(body, 3).rows
    except (InvalidInput, TooLarge):
        return
    for row in rows:
        for tensor, value in zip(tensors, row, strict=True):
            assert tensor.is_plain(_leaves(tensor, value))


def _leaves(tensor: Tensor, value: Any) -> list[Any]:
    """The elements of a value, without the bytes that came as base64."""
    leaves = tensor.elements(value)
    return [e for e in leaves if tensor.dtype != "string" or type(e) is not bytes]


def test_values_for_all_rows_are_bounded_together() -> None:
    texts = Signature(tuple(Tensor(name, "string", ()) for name in "abc"), ())
    body: dict[str, Any] = {
        "a": ["x" * 3000],
        "b": ["x" * 2000],
        "c": ["x"],
        "batch_size": 3000,
    }
    assert len(texts.check(body).rows) == 3000
    body["b"] = ["x" * 2900]
    with pytest.raises(TooLarge, match=r"input 'a': .* 5901 bytes, 5592 at most"):
        texts.check(body)
    body["a"] *= 3000  # they are sent, not repeated
    assert len(texts.check(body).rows) == 3000


@pytest.mark.parametrize("key", ["", "k", None, [1]])
def test_a_default_may_be_left_out_beside_all_that_is_no_input(key: Any) -> None:
    """A name of ours each took the place of a name that is there."""
    scale = Tensor("scale", "float32", (), is_shared=True, default=2.0)
    signature = Signature((Tensor("x", "float32", ()), scale), ())
    body = {"batch_size": 2, "cache_key": key, "x": [1, 3]}
    assert signature.check(body).rows == [(1, 2.0), (3, 2.0)]
    assert signature.check({"cache_key": key, "x": 1}).rows == [(1, 2.0)]
