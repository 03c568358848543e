"""Models whose first dimension is not the batch, in one or all of what they take."""

from pathlib import Path
from typing import Any

import tensorflow as tf

from tests.models.zoo.kinds.images import pixels
from tests.models.zoo.situation import Body, Situation, of, rows
from tests.support.saved_models import spec

VECTORS = rows("x", [[1, 2, 3, 4], [0, 0, 0, 0], [9, -9, 0.5, 1e6]])


def detected(image: Any) -> Any:
    """What detection exports give for one image."""
    bright = tf.reduce_mean(tf.cast(image, tf.float32), 3)
    best = tf.math.top_k(tf.reshape(bright, [1, -1]), 2)
    return {"scores": best.values, "places": best.indices, "count": tf.ones([1])}


def for_training(x: Any, training: Any) -> Any:
    return {"y": tf.cond(training, lambda: x * 0.5, lambda: x + 1.0)}


def one_user(user: Any, items: Any) -> Any:
    return {"score": tf.linalg.matvec(items, user[0])}


TWO = tf.constant([2.0])


class _WithScalarDefault(tf.Module):  # type: ignore[misc]  # TensorFlow has no types
    @tf.function(input_signature=[spec("x"), spec("k", shape=())])  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def f(self, x: Any, k: Any = TWO[0]) -> Any:
        return {"y": x * k}


class _WithDefault(tf.Module):  # type: ignore[misc]  # TensorFlow has no types
    @tf.function(input_signature=[spec("x", shape=(None,)), spec("k", shape=(None,))])  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def f(self, x: Any, k: Any = TWO) -> Any:
        return {"y": x * k}


def saved(path: Path, model: Any) -> Path:
    tf.saved_model.save(model, str(path), signatures={"serving_default": model.f})
    return path


def with_default(path: Path) -> Path:
    """An argument with a default, which TensorFlow writes to the signature."""
    return saved(path, _WithDefault())


def with_scalar_default(path: Path) -> Path:
    return saved(path, _WithScalarDefault())


def scaled(batch_size: Any, size: Any) -> Any:
    return {"y": batch_size * 10.0 + size}


def whole(name: str) -> Any:
    """Return what feeds an input as it comes, without a batch dimension."""
    return lambda body: {name: tf.constant(body[name], tf.float32)}


def users(*values: Any) -> list[Body]:
    return [{"user": user, "items": items} for user, items in values]


SITUATIONS = [
    Situation(
        "rows of one, by the signature",
        of(lambda x: {"y": x * 2}, spec("x", shape=(1, 4))),
        VECTORS,
        joins=False,
    ),
    Situation(
        "rows of eight, by the signature",
        of(lambda x: {"y": x * 2}, spec("x", shape=(8, 4))),
        VECTORS,
    ),
    Situation(
        "detection in one image of any size",
        of(detected, spec("image", "uint8", (1, None, None, 3))),
        [{"image": pixels(s, 3, 2 + s, 3)} for s in range(3)],
        joins=False,
        rounds=True,
        config={"example": {"image": pixels(0, 1, 2, 3)}},
    ),
    Situation(
        "a single text",
        of(lambda text: {"n": tf.strings.length(text)}, spec("text", "string", ())),
        rows("text", ["rome", "", "東京"]),
        joins=False,
    ),
    Situation(
        "a single image",
        of(
            lambda image: {"mean": tf.reduce_mean(image, [0, 1])},
            spec("image", "float32", (None, None, 3)),
        ),
        [{"image": pixels(s, 2, 2 + s, 3)} for s in range(3)],
        joins=False,
        rounds=True,
        feed=whole("image"),
    ),
    Situation(
        "a threshold for the request",
        of(
            lambda x, threshold: {"hit": tf.reduce_sum(x, 1) > threshold},
            spec("x", shape=(None, 4)),
            spec("threshold", shape=()),
        ),
        [row | {"threshold": t} for row in VECTORS for t in (0.5, 10)],
    ),
    Situation(
        "a training flag for the request",
        of(for_training, spec("x"), spec("training", "bool", ())),
        [{"x": x, "training": t} for x in (1.5, -2) for t in (True, False)],
    ),
    Situation(
        "one user and many items",
        of(one_user, spec("user", shape=(1, 4)), spec("items", shape=(None, 4))),
        users(
            ([1, 2, 3, 4], [1, 1, 1, 1]),
            ([1, 2, 3, 4], [0, 5, 0, 2]),
            ([9, 0, 0, 0.5], [1, 1, 1, 1]),
        ),
        rounds=True,
    ),
    Situation(
        "a matrix for the request",
        of(
            lambda x, weights: {"y": tf.matmul(x, weights, transpose_b=True)},
            spec("x", shape=(None, 4)),
            spec("weights", shape=(2, 4)),
        ),
        [
            {"x": row["x"], "weights": [[1, 0, 0, w], [0, w, 1, 0]]}
            for row in VECTORS
            for w in (1, 2)
        ],
        rounds=True,
    ),
    Situation(
        "a scalar for the request, with a default",
        with_scalar_default,
        [{"x": 3.0}, {"x": -1.5}, {"x": 3.0, "k": 5.0}, {"x": 3.0, "k": 2.0}],
    ),
    Situation(
        "an argument with a default",
        with_default,
        [{"x": 3.0}, {"x": -1.5}, {"x": 3.0, "k": 5.0}, {"x": 3.0, "k": 2.0}],
    ),
    Situation(
        "class names beside scores",
        of(
            lambda x: {
                "scores": tf.nn.softmax(x),
                "classes": tf.constant(["no", "yes"]),
            },
            spec("x", shape=(None, 2)),
        ),
        rows("x", [[1, 2], [0, 0], [50, -50]]),
        rounds=True,
    ),
    Situation(
        "a temperature beside scores",
        of(
            lambda x: {"scores": x / 1.5, "temperature": tf.constant(1.5)},
            spec("x", shape=(None, 2)),
        ),
        rows("x", [[1, 2], [0, 0], [50, -50]]),
    ),
    Situation(
        "an output of what the request has",
        of(
            lambda x, scale: {"y": x * scale, "unit": scale * 2.0},
            spec("x"),
            spec("scale", shape=()),
        ),
        [{"x": x, "scale": s} for x in (1.5, -2.0) for s in (1.0, 3.0)],
    ),
    Situation(
        "an output that counts the rows",
        of(lambda x: {"y": x * 2.0, "count": tf.shape(x)[0]}, spec("x")),
        rows("x", [1.0, 2.5, -3.0]),
        joins=False,
    ),
    Situation(
        "an output of the distinct values of all rows",
        of(lambda n: {"y": n * 2, "seen": tf.unique(n).y}, spec("n", "int32", (None,))),
        rows("n", [1, 2, 2]),
        joins=False,
    ),
    Situation(
        "rows of eight that look at each other",
        of(
            lambda n: {"y": n - tf.reduce_max(n, 0, keepdims=True)},
            spec("n", "int32", (8, 2)),
        ),
        rows("n", [[1, 2], [5, 0], [9, 9]]),
        joins=False,
    ),
    Situation(
        "rows of eight, backwards",
        of(lambda x: {"y": x[::-1] * 2.0}, spec("x", shape=(8, 2))),
        rows("x", [[1, 2], [5, 0], [9, 9]]),
        joins=False,
    ),
    Situation(
        "rows of eight, beside a threshold",
        of(
            lambda x, threshold: {"y": tf.cast(x > threshold, tf.int32)},
            spec("x", shape=(8, 2)),
            spec("threshold", shape=()),
        ),
        [{"x": x, "threshold": t} for x in ([1, 2], [5, 0]) for t in (0.5, 3)],
    ),
    Situation(
        "rows of eight, beside what is the same for all",
        of(
            lambda x: {
                "y": x[:, 0] * 2,
                "scale": tf.fill([8], 0.5),
                "names": tf.constant([["low", "high"]] * 8),
                "model": tf.constant(["first"] * 8),
            },
            spec("x", shape=(8, 2)),
        ),
        rows("x", [[1, 2], [5, 0], [9, 9]]),
    ),
    Situation(
        "an input named as ours",
        of(scaled, spec("batch_size", shape=(None,)), spec("size", shape=(None,))),
        [{"count": c, "size": s} for c, s in ((1.0, 2.0), (0.5, -1), (3, 3))],
        config={"inputs": [{"name": "batch_size", "rename": "count"}]},
    ),
    Situation(
        "an input named as ours, and no other name for it",
        of(scaled, spec("batch_size", shape=(None,)), spec("size", shape=(None,))),
        [],
        refused="may not be named 'batch_size'",
    ),
    Situation(
        "an output that cannot be answered, beside others",
        of(
            lambda x: {
                "y": x * 2,
                "spectrum": tf.signal.fft(tf.cast(x, tf.complex64)),
            },
            spec("x", shape=(None, 4)),
        ),
        VECTORS,
        config={"outputs": ["y"]},
    ),
    Situation(
        "an output that cannot be answered",
        of(
            lambda x: {"spectrum": tf.signal.fft(tf.cast(x, tf.complex64))},
            spec("x", shape=(None, 4)),
        ),
        [],
        refused="output 'spectrum': dtype complex64 is not supported",
    ),
]
