"""Models of columns: numbers and words, one value of each a row."""

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tests.models.zoo.situation import Situation, rows
from tests.support import saved_models
from tests.support.families import buckets, comparisons, keras_models, tables
from tests.support.saved_models import save, spec

KERAS_ROWS: list[dict[str, Any]] = [
    {"city": "rome", "day": 1, "price": 2.5},
    {"city": "oslo", "day": 3, "price": 9},
    {"city": "nowhere", "day": 8, "price": -1.0},
    {"city": "", "day": 2, "price": 0.1},
]


def normalised(path: Path) -> Path:
    """Normalization with stored moments, layers, and BatchNormalization."""
    import keras as k

    k.utils.set_random_seed(2)
    x = k.Input((3,), name="x")
    hidden = k.layers.Normalization(mean=[1.0, 2.0, 3.0], variance=[1.0, 4.0, 9.0])(x)
    hidden = k.layers.BatchNormalization()(k.layers.Dense(8, "relu")(hidden))
    y = k.layers.Dense(2, "softmax")(k.layers.Dropout(0.5)(hidden))
    k.Model(x, {"y": y}).export(str(path), verbose=False)
    return path


def many_words(path: Path) -> Path:
    import keras as k

    k.utils.set_random_seed(5)
    tags = k.Input((None,), name="tags", dtype="string")
    found = [
        k.layers.StringLookup(vocabulary=["x", "y"], output_mode=mode)(tags)
        for mode in ("multi_hot", "count")
    ]
    y = k.layers.Dense(2)(k.layers.Concatenate()(found))
    k.Model(tags, {"y": y}).export(str(path), verbose=False)
    return path


def factorized(path: Path) -> Path:
    """A factorization machine over hashed words, and a cross of them."""
    generator = np.random.default_rng(3)
    factors = tf.Variable(generator.standard_normal((50, 4)).astype("float32"))

    def f(user: Any, item: Any) -> Any:
        crossed = tf.strings.join([user, item], "_X_")
        hashed = [tf.strings.to_hash_bucket_fast(w, 50) for w in (user, item, crossed)]
        found = tf.nn.embedding_lookup(factors, tf.stack(hashed, 1))
        squared = tf.square(tf.reduce_sum(found, 1))
        squares = tf.reduce_sum(tf.square(found), 1)
        return {"y": tf.nn.sigmoid(0.5 * tf.reduce_sum(squared - squares, 1))}

    specs = [spec("user", "string", (None,)), spec("item", "string", (None,))]
    return save(path, f, specs, factors)


def experts(path: Path) -> Path:
    """Three experts, weighed by a softmax of each row."""
    generator = np.random.default_rng(4)
    gates = tf.Variable(generator.standard_normal((4, 3)).astype("float32"))
    layers = tf.Variable(generator.standard_normal((3, 4, 2)).astype("float32"))

    def f(x: Any) -> Any:
        opinions = tf.einsum("bi,eij->bej", x, layers)
        weights = tf.nn.softmax(x @ gates)
        return {"y": tf.einsum("be,bej->bj", weights, opinions)}

    return save(path, f, [spec("x", shape=(None, 4))], [gates, layers])


def trees(path: Path) -> Path:
    """A decision tree of depth three: gathers in a loop."""
    columns = tf.constant([0, 1, 2, 0, 2, 1, 1])
    thresholds = tf.constant([0.5, -1.0, 3.0, 0.1, 0.2, 2.0, 7.0])
    leaves = tf.constant([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])

    def f(x: Any) -> Any:
        def turn(depth: Any, node: Any) -> Any:
            column = tf.gather(columns, node)
            value = tf.gather(x, column[:, None], batch_dims=1)[:, 0]
            right = tf.cast(value > tf.gather(thresholds, node), tf.int32)
            return depth + 1, 2 * node + 1 + right

        start = (0, tf.zeros_like(x[:, 0], tf.int32))
        node = tf.while_loop(lambda depth, _: depth < 3, turn, start)[1]
        return {"y": tf.gather(leaves, node - 7), "leaf": node}

    return save(path, f, [spec("x", shape=(None, 3))])


def of_many_outputs(path: Path) -> Path:
    """Outputs of every kind beside each other."""

    def f(x: Any) -> Any:
        best = tf.math.top_k(x, 2)
        labels = tf.gather(tf.constant(["low", "middle", "high"]), best.indices)
        return {
            "scores": best.values,
            "labels": labels,
            "first": best.indices[:, 0],
            "is_high": x[:, 2] > 0.0,
            "double": tf.cast(x, tf.float64)[:, :1] / 3,
            "half": tf.cast(x[:, 1], tf.float16) / 3,
        }

    return save(path, f, [spec("x", shape=(None, 3))])


def mapped_words(path: Path) -> Path:
    """Words to ids and back to words, and a weight for each id."""
    import keras as k

    words = ["rome", "oslo", "lima"]
    there = k.layers.StringLookup(vocabulary=words)
    back = k.layers.StringLookup(vocabulary=words, invert=True)

    def f(w: Any) -> Any:
        ids = there(w)
        return {"id": ids, "word": back(ids), "hot": tf.one_hot(ids[:, 0], 4)}

    return save(path, f, [spec("w", "string")], [there, back])


def saved_keras(path: Path) -> Path:
    import keras as k

    return saved_models.saved_keras(path, k.layers.StringLookup(vocabulary=["a", "b"]))


def linear(path: Path) -> Path:
    weights = tf.Variable([[0.25], [-1.5], [3.0], [0.1]])
    return save(
        path, lambda x: {"y": x @ weights + 1.0}, [spec("x", shape=(None, 4))], weights
    )


SITUATIONS = [
    Situation(
        "a linear model of a vector",
        linear,
        rows("x", [[1, 2, 3, 4], [0, 0, 0, 0], [1e6, -1e6, 0.5, 1e-6]]),
        rounds=True,
    ),
    Situation(
        "two numbers through dense layers",
        saved_models.dense,
        [{"p": 1.5, "q": 2.0}, {"p": -3, "q": 0.1}, {"p": 1e5, "q": 1e-5}],
        rounds=True,
    ),
    Situation(
        "Keras preprocessing of words, integers and prices",
        saved_models.keras,
        KERAS_ROWS,
        rounds=True,
    ),
    Situation(
        "Keras look-ups with a mask token, of one input in two layers",
        keras_models.keras_lookups,
        [*KERAS_ROWS, {"city": "none", "day": 0, "price": 5.0}],
        rounds=True,
    ),
    Situation(
        "Keras look-ups with several out-of-vocabulary indices",
        keras_models.keras_oov,
        [{"city": c, "day": d} for c, d in (("rome", 1), ("x", 77), ("y", -3))],
    ),
    Situation(
        "Keras look-ups of any number of words, as a multi-hot and as counts",
        many_words,
        [{"tags": ["x"]}, {"tags": ["y", "y", "none"]}, {"tags": ["x", "y"]}],
        rounds=True,
    ),
    Situation(
        "a Keras model that tf.saved_model.save wrote",
        saved_keras,
        [
            {"inputs": "a", "inputs_1": [1, 2]},
            {"inputs": "b", "inputs_1": [0.5, -2]},
            {"inputs": "c", "inputs_1": [100.0, 0]},
        ],
        rounds=True,
    ),
    Situation(
        "Keras moments, BatchNormalization and Dropout as they serve",
        normalised,
        rows("x", [[1, 2, 3], [0, 0, 0], [1e4, -1e4, 7.5]]),
        rounds=True,
    ),
    Situation(
        "words to ids and back", mapped_words, rows("w", ["rome", "lima", "", "x"])
    ),
    Situation(
        "one word in two tables", tables.two_tables, rows("w", ["rome", "Zürich", "x"])
    ),
    Situation(
        "a table that was filled before it was saved",
        tables.mutable_table,
        rows("w", ["oslo", "", "x"]),
    ),
    Situation(
        "a mask token, and an integer that is compared",
        comparisons.masked,
        [{"w": w, "n": n} for w, n in (("mask", 7), ("rome", 1), ("x", 7))],
    ),
    Situation(
        "buckets of floats and of large integers",
        buckets.buckets,
        [{"x": x, "n": n} for x, n in ((0.1, -3), (-1.5, 16777219), (1e9, 2**40))],
    ),
    Situation(
        "one out-of-vocabulary bucket",
        tables.one_hash_bucket,
        rows("w", ["rome", "x", "y"]),
    ),
    Situation(
        "two out-of-vocabulary buckets",
        tables.oov_buckets,
        rows("w", ["rome", "x", "y"]),
    ),
    Situation(
        "integers that are widened and looked up",
        tables.integers,
        [{"n": n, "b": b} for n, b in ((5, 1), (-1, 100), (7, -128))],
    ),
    Situation(
        "several words a row, joined with another input",
        tables.vectors,
        [
            {"a": ["rome", "oslo"], "b": ["x", "Zürich"]},
            {"a": ["", "y"], "b": ["oslo", "rome"]},
        ],
        rounds=True,
    ),
    Situation(
        "words that are compared with each other",
        comparisons.compared_with_another,
        [{"a": a, "b": b} for a, b in (("rome", "rome"), ("x", "y"), ("x", "x"))],
    ),
    Situation(
        "a factorization machine over hashed words and their cross",
        factorized,
        [{"user": u, "item": i} for u, i in (("ann", "tea"), ("bob", ""), ("", "ü"))],
        rounds=True,
    ),
    Situation(
        "experts weighed by a softmax of each row",
        experts,
        rows("x", [[1, 2, 3, 4], [0, 0, 0, 0], [50, -50, 1, 1]]),
        rounds=True,
    ),
    Situation(
        "a decision tree: gathers in a loop",
        trees,
        rows("x", [[0, 0, 0], [1, 5, 9], [0.5, -1, 3], [9, 9, -9]]),
    ),
    Situation(
        "outputs of every kind beside each other",
        of_many_outputs,
        rows("x", [[1, 2, 3], [0, 0, 0], [5, -1, 0.25]]),
    ),
    Situation(
        "ids of which some are out of range, and fail alone",
        saved_models.pick,
        rows("x", [0, 7, 1, 2]),
    ),
    Situation(
        "the mean of a row of a large embedding",
        lambda path: saved_models.embedding(path, 1),
        rows("x", [0, 7, 2**33, -1]),
        rounds=True,
    ),
]
