"""Requests that are answered as a whole, whose rows have lists of any lengths."""

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import tensorflow as tf

from gomlx import Client
from gomlx.errors import InvalidInput
from tests.client.fake import QUIET
from tests.support.saved_models import save, spec
from tests.support.service import Service, running

Function = Callable[..., dict[str, Any]]


def shares(scores: Any) -> dict[str, Any]:
    return {"p": tf.nn.softmax(scores, axis=0)}


def of_lists(r: Any, t: Any) -> dict[str, Any]:
    return shares(tf.reduce_sum(r, 1) / t)


def of_bags(s: Any) -> dict[str, Any]:
    return shares(tf.reshape(tf.sparse.reduce_sum(s, 1), [-1]))


def of_vectors(v: Any) -> dict[str, Any]:
    """Lists of vectors: of any number, and of a size that all of a request have."""
    sizes = tf.cast(tf.shape(v.values)[1], tf.float32)
    return shares(
        tf.reduce_sum(v, [1, 2]) + sizes * tf.cast(v.row_lengths(), "float32")
    )


LISTS = tf.RaggedTensorSpec([None, None], tf.float32)
BAGS = tf.SparseTensorSpec([None, 10], tf.float32)
VECTORS = tf.RaggedTensorSpec([None, None, None], tf.float32, ragged_rank=1)


def bag(*indices: int) -> dict[str, Any]:
    return {"indices": list(indices), "values": [0.5 * i for i in indices]}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("lists")
    save(folder / "lists", of_lists, [LISTS, spec("t", shape=())])
    save(folder / "bags", of_bags, [BAGS])
    save(folder / "vectors", of_vectors, [VECTORS])
    common = {"datastore": "store", "batch": {"rows": "together"}}
    examples = {"lists": {"t": 1}, "bags": {}, "vectors": {}}
    config = {
        "models": [
            {"id": name, "url": f"./{name}", "example": example, **common}
            for name, example in examples.items()
        ],
        "datastores": [{"id": "store", "memory_mb": 16}],
    }
    with running(folder, config) as started:
        yield started


def post(service: Service, model: str, rows: list[Any], **once: Any) -> httpx.Response:
    name = {"lists": "r", "bags": "s", "vectors": "v"}[model]
    return service.post(model, {"batch_size": len(rows), name: rows, **once})


def check(reply: httpx.Response, expected: dict[str, Any]) -> None:
    assert reply.status_code == 200, reply.text
    found = [row["p"] for row in reply.json()["data"]]
    assert found == pytest.approx(expected["p"].numpy().tolist(), rel=1e-6)


@pytest.mark.parametrize(
    "rows", [[[1, 2], [3]], [[3], [1, 2]], [[], [0.5, 0.5], [7]], [[]], [[], []]]
)
def test_lists_of_any_lengths(service: Service, rows: list[Any]) -> None:
    expected = of_lists(tf.ragged.constant(rows, tf.float32, 1), 2.0)
    for outcome in ("miss; stored", "hit; detail=L1"):
        reply = post(service, "lists", rows, t=2)
        check(reply, expected)
        assert outcome in reply.headers["cache-status"]


def test_bags_of_any_sizes(service: Service) -> None:
    rows = [bag(1), bag(1, 2), bag(), bag(9)]
    places = [[i, index] for i, row in enumerate(rows) for index in row["indices"]]
    values = [value for row in rows for value in row["values"]]
    for _ in range(2):
        check(
            post(service, "bags", rows),
            of_bags(tf.SparseTensor(places, values, [4, 10])),
        )


def test_lists_of_any_lengths_of_vectors_of_one_size(service: Service) -> None:
    rows = [[], [[1.0, 2.0]], [[3.0, 4.0], [0.5, 0.5]]]
    values = tf.constant([[1.0, 2.0], [3.0, 4.0], [0.5, 0.5]])
    expected = of_vectors(tf.RaggedTensor.from_row_splits(values, [0, 0, 1, 3]))
    check(post(service, "vectors", rows), expected)
    refused = post(service, "vectors", [[], [[1, 2]], [[1, 2, 3]]])
    assert refused.status_code == 400
    assert "input 'v', row 2" in refused.json()["error"]
    assert "shape [2], as in the rows before it" in refused.json()["error"]


@pytest.mark.parametrize("t", [2, [2], [2, 2.0], [2.0, 2]])
def test_equal_values_are_one_value_of_the_request(service: Service, t: Any) -> None:
    rows = [[1, 2], [3]]
    expected = of_lists(tf.ragged.constant(rows, tf.float32), 2.0)
    check(post(service, "lists", rows, t=t), expected)


def test_the_client_sends_lists_of_any_lengths(service: Service) -> None:
    rows = [[1.5], [], [1, 2, 3]]
    expected = of_lists(tf.ragged.constant(rows, tf.float32, 1), 1.0)["p"].numpy()
    with Client("lists", service.url, options=QUIET) as client:
        for _ in range(2):
            answers = client.predict_batch({"r": rows, "t": 1})
            found = [answer["p"] for answer in answers]
            assert found == pytest.approx(expected.tolist(), rel=1e-6)
        with pytest.raises(InvalidInput, match="'t': expected one value for all rows"):
            client.predict_batch({"r": rows, "t": [1, 2, 3]})
