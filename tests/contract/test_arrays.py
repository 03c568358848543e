"""Large arrays are decoded in pieces: to what the body holds, or not at all."""

import json
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gomlx.contract.signature import Signature
from gomlx.contract.tensor import Tensor
from gomlx.contract.values import arrays
from gomlx.contract.values.arrays import Array
from gomlx.contract.values.packing import nest

relaxed = settings(deadline=None)
NUMBER = st.floats(allow_nan=False, allow_infinity=False) | st.integers(
    -(2**63), 2**64 - 1
)


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Arrays of any size are cut, into pieces of a few numbers."""
    monkeypatch.setattr(arrays, "LEAST_BYTES", 3)
    monkeypatch.setattr(arrays, "_PIECE_BYTES", 7)
    yield


def plain(body: Any) -> Any:
    """A decoded body with its arrays as nested lists."""
    return {
        name: nest(value.shape, value.values) if isinstance(value, Array) else value
        for name, value in body.items()
    }


def decoded(text: bytes) -> Any:
    pauses: list[None] = []
    body = arrays.decoded(text, lambda: pauses.append(None))
    assert pauses or body is None
    return body


@st.composite
def nested(draw: st.DrawFn) -> Any:
    shape = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    values = [draw(NUMBER) for _ in range(nest_size(shape))]
    return nest(shape, values)


def nest_size(shape: list[int]) -> int:
    size = 1
    for length in shape:
        size *= length
    return size


OTHERS = st.none() | st.booleans() | st.text(max_size=5) | NUMBER
WRITERS = [orjson.dumps, lambda body: json.dumps(body).encode()]


@given(
    st.dictionaries(st.text(max_size=3), nested() | OTHERS, max_size=4),
    st.sampled_from(WRITERS),
)
@relaxed
def test_a_body_holds_the_same(body: dict[str, Any], write: Any) -> None:
    text = write(body)
    found = decoded(text)
    if found is not None:
        assert repr(plain(found)) == repr(orjson.loads(text))
        assert any(isinstance(value, Array) for value in found.values())


# Few letters, so that brackets, commas and numbers meet in every way.
@given(st.text("[],1-. ", max_size=12), st.sampled_from(["", ',"y":1', ',"y":[2,3]']))
@settings(deadline=None, max_examples=2000)
def test_no_malformed_array_is_accepted(array: str, rest: str) -> None:
    text = f'{{"x":[{array}]{rest}}}'.encode()
    found = decoded(text)
    if found is not None:
        assert repr(plain(found)) == repr(orjson.loads(text))


@given(nested(), st.data())
@settings(deadline=None, max_examples=1000)
def test_an_array_with_one_wrong_character_is_no_other(
    value: Any, data: st.DataObject
) -> None:
    text = orjson.dumps({"x": value}).decode()
    at = data.draw(st.integers(0, len(text) - 1))
    cut = data.draw(st.integers(0, 2))
    wrong = text[:at] + data.draw(st.text("[],1-. ", max_size=2)) + text[at + cut :]
    found = decoded(wrong.encode())
    if found is not None:
        assert repr(plain(found)) == repr(orjson.loads(wrong))


@pytest.mark.parametrize(
    "array",
    [
        "[[1,2],[3,4]]",
        "[1]",
        "[[[1]]]",
        "[[-1.5e3],[2]]",
        "[1, 2, 3]",
        "[[1, 2], [3, 4]]",
    ],
)
def test_arrays_are_cut_out(array: str) -> None:
    for text in (
        f'{{"x":{array}}}',
        f'{{"a":"b:[","x":{array},"y":"z"}}',
        f'{{"k":1,"x":{array},"y":{array}}}',
    ):
        found = decoded(text.encode())
        assert found is not None
        assert isinstance(found["x"], Array)
        assert plain(found) == json.loads(text)


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        '{"x":1}',
        '{"x":[1,2}',
        '{"x":[[1,2],[3]]}',
        '{"x":[1 2]}',
        '{"x":[[1]2,[3]]}',
        '{"x":[2[1],[3]]}',
        '{"x":[[1],2[]]}',
        '{"x":[1,2,]}',
        '{"x":[,1,2]}',
        '{"x":[1,,2]}',
        '{"x":[+1,02]}',
        '{"x":[1,2]]}',
        '{"x":[true,1]}',
        '{"x":{"y":[1,2,3]}}',
        '{"x:[1,2,3]":1}',
        '{"x":":[1,2,3]"}',
        '{"x":"\\u0000array 0","y":[1,2,3]}',
        '{"x":[1,2,3],"x":[1,2,4]}',
        '[{"x":[1,2,3]}]',
        '["a",:[1,2,3]]',
        '{"x":[1,2,3]',
        '{"x":[1,2,3]}}',
    ],
)
def test_the_rest_is_for_another_decoder(text: str) -> None:
    assert arrays.decoded(text.encode(), lambda: None) is None


@given(nested(), st.booleans())
@relaxed
def test_rows_of_an_array_are_the_rows_of_its_lists(value: Any, is_batch: bool) -> None:
    signature = Signature((Tensor("x", "float64", None),), ())
    body: dict[str, Any] = {"x": value}
    if is_batch:
        body["batch_size"] = len(value)
    text = orjson.dumps(body)
    found = decoded(text)
    assert found is not None
    assert signature.check(found) == signature.check(body)


@pytest.mark.parametrize(
    "array",
    [
        "[" * 33 + "1" + "]" * 33,
        "[" * 50_000 + "]" * 50_000,
        "[" + " " * 5000 + "1]",
        "[1,[2" * 5000 + "]" * 10_000,
    ],
    ids=["33 levels", "many levels", "blanks", "uneven"],
)
def test_no_array_is_looked_for_in_what_is_surely_none(array: str) -> None:
    assert arrays.decoded(f'{{"x":{array}}}'.encode(), lambda: None) is None
