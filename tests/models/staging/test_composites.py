"""Ragged and sparse inputs and outputs are served as TensorFlow answers them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from gomlx.errors import InvalidInput, StageFailed
from gomlx.models.serving.servable import Servable
from gomlx.models.version import ModelVersion, Settings
from tests.support.saved_models import save

Stage = Callable[..., ModelVersion]
RAGGED = tf.RaggedTensorSpec([None, None], tf.float32)
WORDS = tf.RaggedTensorSpec([None, None], tf.string)
SHORT = tf.RaggedTensorSpec([None, None], tf.float32, row_splits_dtype=tf.int32)
DEEP = tf.RaggedTensorSpec([None, None, None], tf.float32)
PAIRS = tf.RaggedTensorSpec([None, None, 2], tf.float32, ragged_rank=1)
SPARSE = tf.SparseTensorSpec([None, 10], tf.float32)
SPARSE_TEXTS = tf.SparseTensorSpec([None, 2, 3], tf.string)
DENSE = tf.TensorSpec([None], tf.float32, name="x")


def sparse(indices: list[Any], values: list[Any], shape: list[int]) -> dict[str, Any]:
    return {"indices": indices, "values": values, "shape": shape}


# name → the function, its inputs, rows.
MODELS: dict[str, tuple[Callable[..., Any], list[Any], list[dict[str, Any]]]] = {
    "a sum": (
        lambda r: {"y": tf.reduce_sum(r, 1)},
        [RAGGED],
        [{"r": [1.0, 2.0, 3.0]}, {"r": []}, {"r": [4.5]}],
    ),
    "padded to the longest": (
        lambda r: {"y": tf.reduce_max(r.to_tensor(), 1)},
        [RAGGED],
        [{"r": [-1.0, -2.0, -3.0]}, {"r": [-4.0]}],
    ),
    "ragged itself": (
        lambda r: {"y": r * 2.0},
        [RAGGED],
        [{"r": [1.0, 2.0]}, {"r": []}, {"r": [4.5]}],
    ),
    "texts": (
        lambda r: {"y": tf.strings.upper(r), "n": r.row_lengths()},
        [WORDS],
        [{"r": ["a", "bc"]}, {"r": []}],
    ),
    "splits of 32 bits": (
        lambda r: {"y": tf.reduce_sum(r, 1), "z": r * 2.0},
        [SHORT],
        [{"r": [1.0, 2.0]}, {"r": []}, {"r": [4.5]}],
    ),
    "two levels": (
        lambda r: {"y": tf.reduce_sum(tf.reduce_sum(r, 2), 1), "z": r + 1.0},
        [DEEP],
        [{"r": [[1.0, 2.0], [3.0]]}, {"r": []}, {"r": [[], [4.0]]}],
    ),
    "pairs": (
        lambda r: {"y": tf.reduce_sum(r, 1), "z": r * 2.0},
        [PAIRS],
        [{"r": [[1.0, 2.0], [3.0, 4.0]]}, {"r": []}],
    ),
    "beside a column": (
        lambda r, x: {"y": tf.reduce_sum(r, 1) * x},
        [RAGGED, DENSE],
        [{"r": [1.0, 2.0], "x": 3.0}, {"r": [5.0], "x": 4.0}],
    ),
    "sparse": (
        lambda s: {"y": tf.sparse.reduce_sum(s, 1), "z": s * 2.0},
        [SPARSE],
        [
            {"s": sparse([[3], [7]], [1.0, 0.5], [10])},
            {"s": sparse([], [], [10])},
        ],
    ),
    "sparse texts": (
        lambda s: {"y": tf.sparse.to_dense(s, "-")},
        [SPARSE_TEXTS],
        [{"s": sparse([[0, 2], [1, 0]], ["a", "b"], [2, 3])}],
    ),
}


# Those of which each row is proved to depend on its own lists only.
JOINED = {"a sum", "beside a column", "sparse texts"}


def theirs(source: Path, row: dict[str, Any], specs: list[Any]) -> dict[str, Any]:
    """Return TensorFlow's answer to one row, as JSON has it."""
    loaded = tf.saved_model.load(str(source))
    found = loaded.f(
        *[_tensor(row[name], spec) for name, spec in zip(row, specs, strict=True)]
    )
    return {name: _json(value) for name, value in found.items()}


def _tensor(value: Any, spec: Any) -> Any:
    if isinstance(spec, tf.SparseTensorSpec):
        shape = [1, *value["shape"]]
        indices = tf.constant([[0, *i] for i in value["indices"]], tf.int64)
        values = tf.constant(value["values"], spec.dtype)
        return tf.SparseTensor(tf.reshape(indices, [-1, len(shape)]), values, shape)
    if isinstance(spec, tf.RaggedTensorSpec):
        inner = tuple(spec.shape[spec.ragged_rank + 1 :])
        return tf.ragged.constant(
            [value], spec.dtype, spec.ragged_rank, inner, None, spec.row_splits_dtype
        )
    return tf.constant([value], spec.dtype)


def _json(value: Any) -> Any:
    if isinstance(value, tf.RaggedTensor):
        return _texts(value.to_list()[0])
    if isinstance(value, tf.SparseTensor):
        indices = value.indices.numpy()[:, 1:].tolist()
        texts = _texts(value.values.numpy().tolist())
        return sparse(indices, texts, value.dense_shape.numpy()[1:].tolist())
    return _texts(value.numpy().tolist()[0])


def _texts(value: Any) -> Any:
    if isinstance(value, list):
        return [_texts(one) for one in value]
    return value.decode() if isinstance(value, bytes) else value


@pytest.mark.parametrize("name", MODELS)
def test_rows_are_answered_as_by_tensorflow(
    tmp_path: Path, staged: Stage, name: str
) -> None:
    function, specs, rows = MODELS[name]
    source = save(tmp_path / "m", function, specs)
    servable = Servable(staged(source))
    signature = servable.signature
    assert signature.names == tuple(rows[0])
    assert servable.description.joins_rows is (name in JOINED)
    checked = [signature.check(row).rows[0] for row in rows]
    answers = servable.run(checked * 2)
    assert [json.loads(a) for a in answers] == 2 * [
        theirs(source, row, specs) for row in rows
    ]
    shared = servable.dictionary.canonical(checked)
    assert len(set(servable.dictionary.keys(shared))) == len(rows)
    for row, values in zip(rows, checked, strict=True):
        given = zip(signature.inputs, values, strict=True)
        assert {t.name: t.nested(value) for t, value in given} == row


def test_an_operator_may_vouch_for_rows_of_equal_lengths(
    tmp_path: Path, staged: Stage
) -> None:
    function, specs, _ = MODELS["padded to the longest"]
    source = save(tmp_path / "m", function, specs)
    servable = Servable(staged(source, settings=Settings(rows="independent")))
    rows = [[-1.0], [-2.0, -3.0], [-4.0], [-5.0, -6.0]]
    checked = [servable.signature.check({"r": row}).rows[0] for row in rows]
    found = [json.loads(answer)["y"] for answer in servable.run(checked)]
    assert found == [max(row) for row in rows]


def test_sparse_values_are_equal_in_any_order(tmp_path: Path, staged: Stage) -> None:
    function, specs, _ = MODELS["sparse"]
    servable = Servable(staged(save(tmp_path / "m", function, specs)))
    forms = [
        sparse([[3], [7]], [1, 0.5], [10]),
        sparse([[7], [3]], [0.5, 1.0], [10]),
        {"indices": [3, 7], "values": [1.0, 0.5]},
    ]
    rows = [servable.signature.check({"s": form}).rows[0] for form in forms]
    assert len({*servable.dictionary.keys(servable.dictionary.canonical(rows))}) == 1


@pytest.mark.parametrize(
    ("value", "got"),
    [
        (3, "got another value"),
        ({"indices": [[1]]}, "got another value"),
        (sparse([[1]], [1.0, 2.0], [10]), "1 indices and other values"),
        (sparse([[1], [1]], [1.0, 2.0], [10]), "an index that comes twice"),
        (sparse([[10]], [1.0], [10]), r"an index \[10\] beyond the shape \[10\]"),
        (sparse([[-1]], [1.0], [10]), r"an index \[-1\] beyond the shape \[10\]"),
        (sparse([[1, 2]], [1.0], [10]), "an index that is not 1 integers"),
        (sparse([[True]], [1.0], [10]), "an index that is not 1 integers"),
        (sparse([[1]], [1.0], [11]), r"the shape \[11\]"),
        (sparse([[1]], [1.0], [10, 2]), "no shape of 1 integers"),
        (sparse([[1]], ["a"], [10]), 'got "a"'),
    ],
)
def test_what_is_no_sparse_value_is_refused(
    tmp_path: Path, staged: Stage, value: Any, got: str
) -> None:
    function, specs, _ = MODELS["sparse"]
    servable = Servable(staged(save(tmp_path / "m", function, specs)))
    with pytest.raises(InvalidInput, match=got):
        servable.signature.check({"s": value})


@pytest.mark.parametrize("value", [1.0, [[1.0]], ["a"], {"r": 1}])
def test_what_is_no_ragged_value_is_refused(
    tmp_path: Path, staged: Stage, value: Any
) -> None:
    function, specs, _ = MODELS["a sum"]
    servable = Servable(staged(save(tmp_path / "m", function, specs)))
    with pytest.raises(InvalidInput, match="in lists of any length, nested 1 deep"):
        servable.signature.check({"r": value})


@pytest.mark.parametrize("shape", [[None], None])
def test_a_sparse_input_without_elements_of_a_row(
    tmp_path: Path, staged: Stage, shape: list[int | None] | None
) -> None:
    spec = tf.SparseTensorSpec(shape, tf.float32)
    source = save(tmp_path / "m", lambda s: {"y": tf.sparse.reduce_sum(s)}, [spec])
    with pytest.raises(StageFailed, match="input 's': a sparse tensor of shape"):
        staged(source)


def test_the_error_names_the_length_that_does_not_fit(
    tmp_path: Path, staged: Stage
) -> None:
    function, specs, _ = MODELS["pairs"]
    servable = Servable(staged(save(tmp_path / "m", function, specs)))
    with pytest.raises(InvalidInput, match="got a list of length 3"):
        servable.signature.check({"r": [[1.0, 2.0], [1.0, 2.0, 3.0]]})


def test_a_sparse_input_of_tensorflow_1(tmp_path: Path, staged: Stage) -> None:
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        s = v1.sparse_placeholder(tf.float32, [None, 4], "s")
        y = v1.sparse_reduce_sum(s, 1)
        y.set_shape([None])
        v1.saved_model.simple_save(session, str(tmp_path / "m"), {"s": s}, {"y": y})
    servable = Servable(staged(tmp_path / "m"))
    rows = servable.signature.check({"s": sparse([[1], [2]], [3.0, 4.0], [4])}).rows
    assert servable.run(rows) == [b'{"y":7.0}']
