"""Models that compare their inputs with constants, variables and each other."""

from pathlib import Path
from typing import Any

import tensorflow as tf

from tests.support.families.parts import WORDS, number, static_table, text
from tests.support.saved_models import save, spec


def masked(path: Path) -> Path:
    """A lookup, and mask tokens: equalities with constants."""
    table = static_table(WORDS[:2])

    def f(w: Any, n: Any) -> Any:
        found = tf.where(tf.equal(w, "mask"), tf.constant(0, tf.int64), table.lookup(w))
        is_other = tf.not_equal(n, tf.constant([[7]]))
        return {"y": number(found) + tf.where(is_other, 0.5, 0.0)}

    return save(path, f, [text(), spec("n", "int32")], table)


def compared_with_another(path: Path) -> Path:
    table = static_table(WORDS)

    def f(a: Any, b: Any) -> Any:
        found = number(table.lookup(a) + table.lookup(b))
        return {"y": found + number(tf.equal(a, b))}

    return save(path, f, [text("a"), text("b")], table)


def joined_and_compared(path: Path) -> Path:
    def f(a: Any, b: Any) -> Any:
        joined = tf.concat([a, b], 1)
        swapped = tf.concat([b, a], 1)
        return {"y": number(tf.reduce_any(joined == swapped, 1, keepdims=True))}

    return save(path, f, [text("a"), text("b")])


def counted_in_the_row(path: Path) -> Path:
    """How many words of a row equal its first."""

    def f(w: Any) -> Any:
        shared = tf.reduce_sum(tf.cast(w[:, :1] == w, tf.int32), 1, keepdims=True)
        return {"y": shared}

    return save(path, f, [spec("w", "string", (None, 3))])


def shared_variable(path: Path) -> Path:
    """An equality with a variable, which only seems to be a constant."""
    word = tf.Variable("rome")

    def f(w: Any) -> Any:
        return {"y": number(tf.equal(w, word))}

    return save(path, f, [text()], word)
