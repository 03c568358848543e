"""Dtypes and their edges: NaN, infinities, zeros, very large and narrow numbers."""

from typing import Any

import tensorflow as tf

from tests.models.zoo.situation import Build, Situation, of, rows
from tests.support.saved_models import echo, spec


def imputed(x: Any) -> Any:
    return {"y": tf.where(tf.math.is_nan(x), 5.0, x)}


def passed_on(dtype: str, shape: Any = (None, 1)) -> Build:
    return lambda path: echo(path, dtype, shape)


SITUATIONS = [
    Situation(
        "missing numbers, for which the graph has a value",
        of(imputed, spec("x", shape=(None,))),
        rows("x", ["NaN", 1.5, float("nan"), -2]),
    ),
    Situation(
        "missing numbers, which the config admits",
        of(lambda x: {"y": x * 2.0}, spec("x")),
        rows("x", ["NaN", 1.5, None, -2]),
        config={"inputs": [{"name": "x", "missing": "nan"}]},
    ),
    Situation(
        "vectors with missing numbers",
        of(lambda x: {"y": x * 2.0}, spec("x", shape=(None, 3))),
        rows("x", [[1, None, 3], ["NaN", 0, -0.0], [1.5, 2, 3]]),
        config={"inputs": [{"name": "x", "missing": "nan"}]},
    ),
    Situation(
        "whole floats for integers",
        of(lambda n: {"y": n + 1}, spec("n", "int64")),
        rows("n", [30.0, 30, 3e1, -0.0]),
    ),
    Situation(
        "answers that are infinite or no number",
        of(lambda x: {"inverse": 1.0 / x, "root": tf.sqrt(x)}, spec("x")),
        rows("x", [0.0, -0.0, -1.0, 4.0]),
        rounds=True,
    ),
    Situation(
        "the two zeros",
        of(lambda x: {"y": tf.math.atan2(x, -1.0)}, spec("x")),
        rows("x", [0.0, -0.0, 0]),
    ),
    Situation(
        "integers beyond a float's",
        passed_on("int64"),
        rows("x", [2**63 - 1, -(2**63), 2**53 + 1]),
    ),
    Situation("unsigned integers", passed_on("uint64"), rows("x", [2**64 - 1, 0, 7])),
    Situation("small integers", passed_on("int8"), rows("x", [-128, 127, 0])),
    Situation("doubles", passed_on("float64"), rows("x", [0.1, -1e-300, 1.7e308])),
    Situation("halves", passed_on("float16"), rows("x", [0.1, -2.0, 65504.0])),
    Situation("bfloat16", passed_on("bfloat16"), rows("x", [0.1, -2.0, 3e38])),
    Situation("truths", passed_on("bool"), rows("x", [True, False])),
    Situation("a scalar a row", passed_on("int32", (None,)), rows("x", [1, -5, 0])),
    Situation(
        "a tensor a row",
        passed_on("float32", (None, 2, 2)),
        rows("x", [[[1, 2], [3, 4]], [[0, 0], [0, 0]]]),
    ),
    Situation(
        "of any rank",
        passed_on("string", None),
        rows("x", [[["a", "b"]], ["c"], [["d"]]]),
    ),
    Situation(
        "keyed by two decimals",
        of(lambda x: {"y": tf.floor(x * 4.0)}, spec("x")),
        rows("x", [1.25, -0.5, 7]),
        config={"inputs": [{"name": "x", "precision": 2}]},
    ),
    Situation(
        "keyed as it is",
        of(lambda x: {"y": tf.raw_ops.Bucketize(input=x, boundaries=[1.0])}, spec("x")),
        rows("x", [1.25, -0.5, 7]),
        config={"inputs": [{"name": "x", "wildcard": True}]},
    ),
]
