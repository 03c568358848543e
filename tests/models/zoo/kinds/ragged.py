"""Models that take and give lists of any length: ragged and sparse tensors."""

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from tests.models.zoo.situation import Body, Situation, of, rows
from tests.support.saved_models import spec

LISTS = rows("r", [[1, 2, 3], [4], [], [0.5] * 7])
SPARSE = [
    {"s": {"indices": indices, "values": values, "shape": [10]}}
    for indices, values in (
        ([[0], [3]], [1.0, 2.0]),
        ([], []),
        ([[9]], [-0.5]),
        ([[1], [2], [3]], [1.0, 10.0, 100.0]),
    )
]


def of_ragged(name: str, dtype: Any, *others: str) -> Callable[[Body], Any]:
    """Return what makes the parts of a ragged input, of one row."""

    def feed(body: Body) -> Mapping[str, Any]:
        given = tf.ragged.constant([body[name]], dtype)
        parts = [given.flat_values, *given.nested_row_splits]
        names = [name, *(f"{name}_{i + 1}" for i in range(len(parts) - 1))]
        rest = {other: tf.constant([body[other]]) for other in others}
        return dict(zip(names, parts, strict=True)) | rest

    return feed


def of_sparse(body: Body) -> Mapping[str, Any]:
    """Make the parts of a sparse input of one row."""
    given = body["s"]
    indices = [[0, *place] for place in given["indices"]]
    parts = {
        "s": tf.constant(indices, tf.int64, (len(indices), 2)),
        "s_1": tf.constant(given["values"], tf.float32, (len(indices),)),
        "s_2": tf.constant([1, *given["shape"]], tf.int64),
    }
    return parts | {n: tf.constant([body[n]]) for n in body if n != "s"}


def ragged(dtype: str = "float32", depth: int = 1) -> Any:
    return tf.RaggedTensorSpec([None] * (depth + 1), tf.as_dtype(dtype))


SITUATIONS = [
    Situation(
        "a ragged row, summed",
        of(lambda r: {"sum": tf.reduce_sum(r, 1)}, ragged()),
        LISTS,
        rounds=True,
        feed=of_ragged("r", tf.float32),
    ),
    Situation(
        "ragged words, joined, beside a number",
        of(
            lambda words, x: {"y": tf.strings.reduce_join(words, 1), "z": x * 2.0},
            ragged("string"),
            spec("x", shape=(None,)),
        ),
        [{"words": w, "x": 1.5} for w in (["a", "b"], [], ["ü"] * 3)],
        feed=of_ragged("words", tf.string, "x"),
    ),
    Situation(
        "ragged lists of ragged lists",
        of(lambda r: {"sum": tf.reduce_sum(r, [1, 2])}, ragged("float32", 2)),
        rows("r", [[[1, 2], [3]], [[]], [[4], [5], [6, 7]]]),
        joins=False,
        rounds=True,
        feed=of_ragged("r", tf.float32),
    ),
    Situation(
        "a ragged answer",
        of(lambda r: {"y": r * 2.0}, ragged()),
        LISTS,
        joins=False,
        feed=of_ragged("r", tf.float32),
    ),
    Situation(
        "a text split into a ragged answer",
        of(lambda w: {"words": tf.strings.split(w, "|")}, spec("w", "string", (None,))),
        rows("w", ["a|b|c", "rome", ""]),
        joins=False,
    ),
    Situation(
        "a sparse row, summed",
        of(
            lambda s: {"sum": tf.sparse.sparse_dense_matmul(s, tf.ones([10, 2]))},
            tf.SparseTensorSpec([None, 10], tf.float32),
        ),
        SPARSE,
        rounds=True,
        feed=of_sparse,
    ),
    Situation(
        "a sparse row beside a dense one",
        of(
            lambda s, x: {"y": tf.sparse.to_dense(s)[:, :3] * x[:, None]},
            tf.SparseTensorSpec([None, 10], tf.float32),
            spec("x", shape=(None,)),
        ),
        [row | {"x": 2.5} for row in SPARSE],
        feed=of_sparse,
    ),
]
