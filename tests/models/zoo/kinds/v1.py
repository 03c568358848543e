"""Exports of TensorFlow 1: placeholders, phases, queues, feature columns."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tests.models.staging import test_tensorflow_1 as estimators
from tests.models.zoo.situation import Build, Situation, rows
from tests.support.families import control_flow

v1 = tf.compat.v1
TRAINING = "training"  # a collection of operations that give variables values
VECTORS = rows("x", [[1, 2, 3, 4], [0, 0, 0, 0], [9, -9, 0.5, 100]])
Graph = Callable[[], tuple[dict[str, Any], dict[str, Any]]]  # inputs and outputs


def exported(graph: Graph) -> Build:
    """Return what saves a graph of TensorFlow 1 as simple_save does."""

    def build(path: Path) -> Path:
        with tf.Graph().as_default(), v1.Session() as session:
            v1.set_random_seed(1)
            inputs, outputs = graph()
            tables = v1.tables_initializer()
            session.run([v1.global_variables_initializer(), tables])
            session.run(v1.get_collection(TRAINING))
            v1.saved_model.simple_save(session, str(path), inputs, outputs, tables)
        return path

    return build


def layer(x: Any) -> Any:
    start = v1.ones_initializer()
    return tf.matmul(x, v1.get_variable("w", [4, 2], initializer=start))


def vector(name: str = "x") -> Any:
    return v1.placeholder(tf.float32, [None, 4], name)


def phase() -> Any:
    """Dropout behind a phase that is no input."""
    x = vector()
    training = v1.placeholder_with_default(False, [], "training")
    kept = tf.cond(training, lambda: tf.nn.dropout(x, 0.5), lambda: tf.identity(x))
    return {"x": x}, {"y": layer(kept)}


def keep_prob() -> Any:
    """Dropout that keeps all, as long as nothing else is fed."""
    x = vector()
    keep = v1.placeholder_with_default(1.0, [], "keep_prob")
    return {"x": x}, {"y": layer(v1.nn.dropout(x, rate=1 - keep))}


def iterator() -> Any:
    """The input is what an iterator gave in training."""
    data = tf.data.Dataset.from_tensor_slices(np.ones((8, 4), "float32")).batch(2)
    x = v1.data.make_one_shot_iterator(data).get_next()
    return {"x": x}, {"y": layer(x)}


def queue() -> Any:
    """The input is what a queue gave in training."""
    waiting = v1.FIFOQueue(10, [tf.float32], [[4]])
    x = v1.placeholder_with_default(waiting.dequeue_many(2), [None, 4], "x")
    return {"x": x}, {"y": layer(x)}


def dropout() -> Any:
    """Dropout that was exported as it trains: every answer differs."""
    x = vector()
    return {"x": x}, {"y": layer(0.0 * v1.nn.dropout(x, rate=0.5) + x)}


def key_through() -> Any:
    """An id that is an input and an output."""
    key = v1.placeholder(tf.string, [None], "key")
    x = v1.placeholder(tf.float32, [None], "x")
    return {"key": key, "x": x}, {"key": key, "y": x * 2}


def of_unknown_rank() -> Any:
    x = v1.placeholder(tf.float32, [None, None], "x")
    return {"x": x}, {"y": v1.placeholder_with_default(x * 2, None)}


def references() -> Any:
    """Variables of the older form, in parts."""
    x = vector()
    parts = v1.get_variable(
        "parts",
        [4, 2],
        initializer=v1.random_normal_initializer(seed=1),
        use_resource=False,
        partitioner=v1.fixed_size_partitioner(2),
    )
    return {"x": x}, {"y": tf.matmul(x, tf.convert_to_tensor(parts))}


def estimator(path: Path) -> Path:
    folder = path.with_suffix(".export")
    folder.mkdir()
    return estimators.export(folder, estimators.built).rename(path)


ESTIMATOR_ROWS = [
    dict(zip(("city", "color", "size", "price"), row, strict=True))
    for row in (
        ("rome", "red", "S", 0.5),
        ("nowhere", "blue", "XL", 3.0),
        ("oslo", "green", "M", -1.0),
    )
]

SITUATIONS = [
    Situation(
        "an estimator's feature columns",
        estimator,
        ESTIMATOR_ROWS,
        rounds=True,
        config={"signature": "predict"},
    ),
    Situation(
        "conditions and a table file of TensorFlow 1",
        control_flow.tensorflow_1,
        rows("w", ["rome", "oslo", "", "x"]),
        joins=False,
    ),
    Situation("variables in parts", exported(references), VECTORS, rounds=True),
    Situation("dropout behind a phase", exported(phase), VECTORS, rounds=True),
    Situation("dropout that keeps all", exported(keep_prob), VECTORS, rounds=True),
    Situation(
        "dropout as it trains",
        exported(dropout),
        VECTORS,
        joins=False,
        steady=False,
        rounds=True,
    ),
    Situation("fed where an iterator was", exported(iterator), VECTORS, rounds=True),
    Situation("fed where a queue was", exported(queue), VECTORS, rounds=True),
    Situation(
        "an id that goes through",
        exported(key_through),
        [{"key": key, "x": x} for key, x in (("a", 1.5), ("b", 1.5), ("c", -2))],
    ),
    Situation(
        "an output of unknown rank",
        exported(of_unknown_rank),
        rows("x", [[1, 2], [1], [5], []]),
    ),
]
