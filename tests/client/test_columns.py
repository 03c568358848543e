"""The forms that rows and columns may have, and those that are refused."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest

from gomlx import Client, FakeTransport
from gomlx.contract.canonical import Exact
from gomlx.contract.document import Contract
from gomlx.contract.signature import Signature
from gomlx.contract.tensor import Tensor
from gomlx.errors import InvalidInput
from tests.client.fake import QUIET, VERSION, doubling


@pytest.fixture
def transport() -> FakeTransport:
    return doubling()


@pytest.fixture
def client(transport: FakeTransport) -> Iterator[Client]:
    with Client("m", "http://fake", transport=transport, options=QUIET) as client:
        yield client


@pytest.mark.parametrize(
    "columns",
    [
        {"word": ["a", "b"], "x": (1, 2.5)},
        {"word": np.array(["a", "b"]), "x": np.array([1, 2.5], np.float32)},
        {"word": np.array(["a", "b"], object), "x": np.array([1, 2.5], object)},
        pd.DataFrame({"word": ["a", "b"], "x": [1, 2.5]}),
        {"word": pd.Series(["a", "b"]), "x": iter([1, 2.5])},
        [{"word": "a", "x": 1}, {"x": np.float64(2.5), "word": np.str_("b")}],
        {"word": [b"a", memoryview(b"b")], "x": [np.float32(1), np.int8(2) + 0.5]},
        {"word": pd.Categorical(["a", "b"]), "x": pd.array([1, 2.5], "Float64")},
        ({"word": word, "x": x} for word, x in (("a", 1), ("b", 2.5))),
    ],
    ids=[
        "lists",
        "arrays",
        "objects",
        "frame",
        "series",
        "rows",
        "scalars",
        "extensions",
        "generator",
    ],
)
def test_columns_come_in_many_forms(
    client: Client, transport: FakeTransport, columns: Any
) -> None:
    assert client.predict_batch(columns) == [{"y": 2}, {"y": 5}]
    assert client.predict_batch({"word": ["a", "b"], "x": [1.0, 2.5]}) == [
        {"y": 2},
        {"y": 5},
    ]
    assert len(transport.rows) == 2


def test_a_column_of_one_stands_for_all(
    client: Client, transport: FakeTransport
) -> None:
    assert client.predict_batch({"word": "a", "x": [1, 2]}) == [{"y": 2}, {"y": 4}]
    assert client.predict_batch({"word": ["a", "b"], "x": np.array([3.0])}) == [
        {"y": 6},
        {"y": 6},
    ]
    assert b'"word":["a"]' in (transport.requests[1].body or b"")
    assert client.predict_batch({"word": "a", "x": 7}) == [{"y": 14}]
    nothing: Any
    for nothing in ([], {}, {"word": [], "x": []}, {"word": "a", "x": []}):
        assert client.predict_batch(nothing) == []


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"word": "a", "x": [1, True]}, "'x', row 1"),
        ({"word": "a", "x": [1, math.nan]}, "'x', row 1"),
        ({"word": ["a", "b"], "x": [1, 2, 3]}, "one length"),
        ({"word": "a"}, "missing"),
        ({"word": "a", "x": [1, 2], "more": 1}, "'more'"),
        ({"word": None, "x": 1}, "'word'"),
        ([{"word": "a"}, {"x": 1}], "row 1"),
        ([{"word": "a", "x": 1}, 7], "row 1: .* got a int"),
        ({"word": "a", "x": pd.array([1, None], "Int64")}, "'x', row 1"),
        ({"word": pd.Categorical(["a", None]), "x": 1}, "'word', row 1"),
        ("word", "expected columns"),
    ],
)
def test_invalid_columns_are_refused_before_a_request(
    client: Client, transport: FakeTransport, columns: Any, message: str
) -> None:
    client.predict_batch({"word": "a", "x": [1, 2]})  # which equals True
    requested = len(transport.rows)
    with pytest.raises(InvalidInput, match=message):
        client.predict_batch(columns)
    assert len(transport.rows) == requested


@pytest.mark.parametrize("wrong", [True, "1", None, math.inf, [1, 2], 1j])
def test_an_equal_row_of_invalid_types_is_no_hit(client: Client, wrong: Any) -> None:
    client.predict(word="a", x=1)
    with pytest.raises(InvalidInput, match="'x'"):
        client.predict(word="a", x=wrong)
    with pytest.raises(InvalidInput, match="expected a row"):
        client.predict([1])  # type: ignore[arg-type]


@pytest.fixture
def forgiving(transport: FakeTransport) -> Iterator[Client]:
    """A client of a model of an integer and of a number that may be missing."""
    inputs = (Tensor("n", "int64", ()), Tensor("x", "float32", (1,), "nan"))
    kinds = (Exact("int64", ""), Exact("float32", ""))
    given = Contract(
        "m", VERSION, Signature(inputs, ()), kinds, True, 60.0, 10, 1 << 20
    )
    transport.answer = lambda row: {"n": row["n"], "x": row["x"]}
    with Client("m", "http://f", contract=given, transport=transport) as client:
        yield client


@pytest.mark.parametrize("missing", [None, math.nan, "NaN", np.float32("nan"), pd.NA])
def test_a_missing_number_is_one_row(
    forgiving: Client, transport: FakeTransport, missing: Any
) -> None:
    assert forgiving.predict(n=1, x=None)["x"] is None
    for _ in range(2):
        forgiving.predict(n=1, x=missing)
        forgiving.predict_batch([{"n": 1, "x": missing}, {"n": 1.0, "x": None}])
    assert len(transport.rows) == 1
    forgiving.predict(n=2, x=missing)
    assert len(transport.rows) == 2
    with pytest.raises(InvalidInput, match="null or"):
        forgiving.predict(n=1, x=math.inf)


def test_a_column_with_gaps_is_of_integers(
    forgiving: Client, transport: FakeTransport
) -> None:
    """pandas makes floats of integers where some are missing."""
    frame = pd.DataFrame({"n": [1, 2, None], "x": [0.5, None, 1.5]})
    assert frame.n.dtype == float
    found = forgiving.predict_batch(frame[:2])
    assert [answer["n"] for answer in found] == [1, 2]
    forgiving.predict(n=1, x=0.5)
    forgiving.predict_batch({"n": pd.array([1, 2], "Int64"), "x": [0.5, pd.NA]})
    assert len(transport.rows) == 2
    for wrong in (1.5, 2.0**53 + 2, None):
        with pytest.raises(InvalidInput, match="'n'"):
            forgiving.predict(n=wrong, x=0.5)


def test_blocks_are_rows_too(transport: FakeTransport) -> None:
    signature = Signature((Tensor("v", "float32", (None,)),), ())
    kinds = (Exact("float32", ""),)
    given = Contract("m", VERSION, signature, kinds, True, 60.0, 10, 1 << 20)
    transport.answer = lambda row: {"y": len(row["v"])}
    with Client("m", "http://f", contract=given, transport=transport) as client:
        for value in ([1, 2], np.array([1.0, 2.0]), (1, 2.0)):
            assert client.predict(v=value) == {"y": 2}
        assert client.predict_batch({"v": [[1.0, 2], [1]]}) == [{"y": 2}, {"y": 1}]
    assert len(transport.rows) == 2


def test_values_that_json_has_no_form_for(transport: FakeTransport) -> None:
    outputs = (Tensor("f", "float32", (2,)), Tensor("s", "string", ()))
    signature = Signature((Tensor("x", "int64", ()),), outputs)
    kinds = (Exact("int64", ""),)
    given = Contract("m", VERSION, signature, kinds, False, 60.0, 10, 1 << 20)
    transport.answer = lambda row: {"f": ["NaN", "-Infinity"], "s": {"b64": "/w=="}}
    with Client("m", "http://f", contract=given, transport=transport) as client:
        for _ in range(2):
            answer = client.predict(x=2**63 - 1)
            assert math.isnan(answer["f"][0])
            assert answer["f"][1] == -math.inf
            assert answer["s"] == b"\xff"


def test_a_lone_surrogate_is_refused_before_a_request() -> None:
    with Client("m", "http://x", transport=doubling(), options=QUIET) as client:
        for _ in range(2):
            with pytest.raises(InvalidInput, match="'word'"):
                client.predict(word="\udc80", x=1.0)
        with pytest.raises(InvalidInput, match="'word'"):
            client.predict_batch({"word": ["a", "\udc80"], "x": 1.0})


def test_frames_of_polars(client: Client, transport: FakeTransport) -> None:
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame({"word": ["a", "b"], "x": [1.0, 2.5]})
    enum = frame.with_columns(word=frame["word"].cast(polars.Enum(["a", "b"])))
    columns = {"word": frame["word"], "x": frame["x"]}
    for given in (frame, enum, columns, list(frame.iter_rows(named=True))):
        assert client.predict_batch(given) == [{"y": 2}, {"y": 5}]
    assert client.predict_batch(frame.head(0)) == []
    assert len(transport.rows) == 2
    with pytest.raises(InvalidInput, match="'x', row 1"):
        client.predict_batch(polars.DataFrame({"word": "a", "x": [1.0, None]}))


def test_columns_of_arrow(client: Client, transport: FakeTransport) -> None:
    arrow = pytest.importorskip("pyarrow")
    table = arrow.table({"word": ["a", "b"], "x": [1.0, 2.5]})
    columns = {"word": table["word"].dictionary_encode(), "x": table["x"]}
    for given in (table, *table.to_batches(), columns):
        assert client.predict_batch(given) == [{"y": 2}, {"y": 5}]
    assert client.predict(word=arrow.scalar("a"), x=arrow.scalar(1.0)) == {"y": 2}
    assert len(transport.rows) == 2


def test_a_row_may_be_given_in_two_parts(client: Client) -> None:
    row = {"word": "a", "x": 1}
    assert client.predict(row, x=2) == {"y": 4}
    assert client.predict({"word": "a"}, x=1) == {"y": 2}
    assert row == {"word": "a", "x": 1}


def test_stream_refuses_columns(client: Client) -> None:
    columns: Any
    for columns in (pd.DataFrame({"word": ["a"], "x": [1]}), {"word": ["a"], "x": [1]}):
        with pytest.raises(TypeError, match="one row after the other"):
            client.stream(columns)


@pytest.mark.parametrize("word", [b"\xff", bytearray(b"\xff"), ["\xe9"], [b"\xff"]])
def test_values_without_a_hash(
    client: Client, transport: FakeTransport, word: Any
) -> None:
    for _ in range(2):
        assert client.predict(word=word, x=1) == {"y": 2}
        assert client.predict_batch({"word": [word, "a"], "x": 1}) == [{"y": 2}] * 2
    assert len(transport.rows) == 2
