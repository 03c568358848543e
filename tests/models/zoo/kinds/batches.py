"""Models that look at the whole batch, and those that only seem to."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf

from tests.models.zoo.situation import Body, Build, Situation, of, rows
from tests.support.families import control_flow, tables
from tests.support.saved_models import save, spec

NUMBERS = rows("x", [1.0, -2.0, 3e8, 0.5])


def of_floats(function: Callable[[Any], Any]) -> Build:
    return of(lambda x: {"y": function(x)}, spec("x"))


def by_the_greatest(x: Any) -> Any:
    return x / tf.maximum(tf.reduce_max(x), 1e6)


def pairs(u: Any, v: Any) -> Any:
    """The scores of two towers, trained with the others of a batch as negatives."""
    return {"y": tf.linalg.diag_part(tf.matmul(u, v, transpose_b=True))}


def masked_pairs(u: Any, v: Any) -> Any:
    """The same by a mask, which adds up a row's scores with all others, as zeros."""
    scores = tf.matmul(u, v, transpose_b=True)
    return {"y": tf.reduce_sum(scores * tf.eye(tf.shape(u)[0]), 1)}


def deduplicated(x: Any) -> Any:
    """Each value is computed once, and handed to all rows that have it."""
    found = tf.unique(tf.reshape(x, [-1]))
    return {"y": tf.gather(tf.square(found.y) + 1.0, found.idx)}


def until_all_have_ended(x: Any) -> Any:
    """A loop that a single row may prolong for all, and that others do not notice."""

    def turn(y: Any, steps: Any) -> Any:
        is_open = y > 1.0
        half = tf.where(is_open, y / 2, y)
        return half, steps + tf.cast(is_open, tf.int32)

    start = (x, tf.zeros_like(x, tf.int32))
    y, steps = tf.while_loop(lambda y, _: tf.reduce_any(y > 1.0), turn, start)
    return {"y": y, "steps": steps}


def batch_moments(path: Path) -> Path:
    """Normalisation that was exported as it trains: with the moments of the batch."""

    def f(x: Any) -> Any:
        mean, variance = tf.nn.moments(x, [0])
        z = tf.nn.batch_normalization(x, mean, variance, 0.0, 1.0, 1e-3)
        return {"y": x + tf.clip_by_value(z, -1.0, 1.0)}

    return save(path, f, [spec("x", shape=(None, 2))])


TOWERS = [spec("u", shape=(None, 3)), spec("v", shape=(None, 3))]
PAIRS: list[Body] = [
    {"u": [1, 2, 3], "v": [4, 5, 6]},
    {"u": [0, 0, 1], "v": [9, 9, 0.5]},
    {"u": [1e4, -1, 0], "v": [1, 1e4, 3]},
]

SITUATIONS = [
    Situation(
        "by the greatest number of the batch",
        of_floats(by_the_greatest),
        NUMBERS,
        refused=r"depends on all rows of the request: Max .*`batch: {rows: together}`",
    ),
    Situation(
        "by the greatest number of the batch, each row alone",
        of_floats(by_the_greatest),
        NUMBERS,
        joins=False,
        config={"batch": {"rows": "alone"}},
    ),
    Situation(
        "by the size of the batch",
        of_floats(lambda x: x / tf.cast(tf.shape(x)[0], tf.float32)),
        NUMBERS,
        joins=False,
    ),
    Situation(
        "by the place in the batch",
        of_floats(
            lambda x: x + tf.cast(tf.range(tf.shape(x)[0]) // 3, tf.float32)[:, None]
        ),
        NUMBERS,
        joins=False,
    ),
    Situation(
        "backwards: the answers of a batch in another order",
        of_floats(lambda x: x[::-1]),
        NUMBERS,
        joins=False,
    ),
    Situation(
        "twice backwards, which is in order",
        of_floats(lambda x: tf.tanh(x[::-1])[::-1]),
        NUMBERS,
        joins=False,
    ),
    Situation(
        "with the moments of the batch",
        batch_moments,
        rows("x", [[1, 2], [0, 0], [1e6, 3]]),
        joins=False,
        rounds=True,
        config={"batch": {"rows": "alone"}},
    ),
    Situation(
        "with the words and numbers of the whole batch",
        tables.of_the_batch,
        [{"w": w, "n": n} for w, n in (("rome", 1), ("Zürich", 7), ("x", 2))],
        joins=False,
    ),
    Situation(
        "two towers, a row's score on the diagonal",
        of(pairs, *TOWERS),
        PAIRS,
        rounds=True,
    ),
    Situation(
        "two towers, a row's score by a mask",
        of(masked_pairs, *TOWERS),
        PAIRS,
        refused="depends on all rows of the request: MatMul",
    ),
    Situation(
        "two towers, for which the config vouches",
        of(masked_pairs, *TOWERS),
        PAIRS,
        rounds=True,
        config={"batch": {"rows": "independent"}},
    ),
    Situation(
        "rows that the config keeps apart",
        of_floats(lambda x: x * 2),
        NUMBERS,
        joins=False,
        config={"batch": {"rows": "alone"}},
    ),
    Situation(
        "equal rows are computed once in the graph",
        of(deduplicated, spec("x")),
        rows("x", [1.0, 1.0, -2.0, 3.5]),
        joins=False,
    ),
    Situation(
        "a loop until every row has ended",
        of(until_all_have_ended, spec("x")),
        rows("x", [0.5, 3.0, 1e9]),
        joins=False,
    ),
    Situation(
        "a branch that any row may decide",
        of_floats(
            lambda x: tf.cond(tf.reduce_any(x > 2.0), lambda: -x, lambda: x + 1.0)
        ),
        NUMBERS,
        joins=False,
    ),
    Situation(
        "branches over look-ups",
        control_flow.branches,
        [{"w": w, "n": n} for w, n in (("rome", 2), ("Zürich", 1), ("x", 3))],
        joins=False,
    ),
    Situation(
        "an assertion: a bad row must not fail its neighbours",
        control_flow.asserted,
        rows("w", ["rome", "too long", "x", "lima"]),
    ),
    Situation(
        "softmax over the batch",
        of_floats(lambda x: tf.nn.softmax(x, 0)),
        NUMBERS,
        refused=r"depends on all rows of the request: Softmax .*`batch: {rows: alone}`",
    ),
    Situation(
        "softmax over the batch, a request as a whole",
        of_floats(lambda x: tf.nn.softmax(x, 0)),
        rows("x", [1.0, 2.0, 0.5]),
        joins=False,
        rounds=True,
        config={"batch": {"rows": "together"}},
    ),
    Situation(
        "softmax over the batch, each row alone",
        of_floats(lambda x: tf.nn.softmax(x, 0)),
        NUMBERS,
        joins=False,
        config={"batch": {"rows": "alone"}},
    ),
]
