"""Models that look their inputs up in tables."""

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tests.support.families.parts import WORDS, number, static_table, text
from tests.support.saved_models import save, spec


def two_tables(path: Path) -> Path:
    """One input, two tables that hold different words and have different defaults."""
    first = static_table(WORDS[:3], -1)
    second = static_table(WORDS[2:], -7)

    def f(w: Any) -> Any:
        return {"y": number(first.lookup(w) * 100 + second.lookup(w))}

    return save(path, f, [text()], [first, second])


def mutable_table(path: Path) -> Path:
    """A mutable table, filled before it is saved, behind shapes and identities."""
    table = tf.lookup.experimental.MutableHashTable(tf.string, tf.int64, -5)
    table.insert(tf.constant(WORDS), tf.range(len(WORDS), dtype=tf.int64))

    def f(w: Any) -> Any:
        flat = tf.squeeze(tf.identity_n([tf.reshape(w, [-1, 1, 1])])[0], [1, 2])
        return {"y": number(table.lookup(tf.expand_dims(flat, 1)))}

    return save(path, f, [text()], table)


def integers(path: Path) -> Path:
    """Integers that are widened and looked up: few are known; all but one are."""
    table = static_table(np.array([0, 5, -1, 2**40], np.int64))
    known = [n for n in range(-128, 128) if n != 100]
    small = static_table(np.array(known, np.int64))

    def f(n: Any, b: Any) -> Any:
        found = table.lookup(tf.cast(n, tf.int64))
        return {"y": number(found * 1000 + small.lookup(tf.cast(b, tf.int64)))}

    return save(path, f, [spec("n", "int32"), spec("b", "int8")], [table, small])


def vectors(path: Path) -> Path:
    """Several words per row, joined with another input, and gathered."""
    table = static_table(WORDS)

    def f(a: Any, b: Any) -> Any:
        joined = tf.transpose(tf.concat([a, b[:, 1:]], 1))
        found = number(table.lookup(tf.gather(joined, [2, 0, 1])))
        weights = tf.constant([[1.0], [10.0], [100.0]])
        return {"y": tf.reduce_sum(found * weights, 0)}

    specs = [spec("a", "string", (None, 2)), spec("b", "string", (None, 2))]
    return save(path, f, specs, table)


def one_hash_bucket(path: Path) -> Path:
    """TensorFlow 1's way to one out-of-vocabulary bucket."""
    table = tf.lookup.StaticVocabularyTable(
        tf.lookup.KeyValueTensorInitializer(
            tf.constant(WORDS), tf.range(len(WORDS), dtype=tf.int64)
        ),
        num_oov_buckets=1,
    )
    return save(path, lambda w: {"y": number(table.lookup(w))}, [text()], table)


def of_the_batch(path: Path) -> Path:
    """One row's known values change the answers to all rows that run with it."""
    table = static_table(WORDS)

    def f(w: Any, n: Any) -> Any:
        found = table.lookup(w)
        is_any = tf.reduce_any(tf.equal(n, 7))
        greatest = number(tf.reduce_max(found))
        return {"y": number(found) - greatest + tf.where(is_any, 0.5, 0.0)}

    return save(path, f, [text(), spec("n", "int64")], table)


def oov_buckets(path: Path) -> Path:
    table = tf.lookup.StaticVocabularyTable(
        tf.lookup.KeyValueTensorInitializer(
            tf.constant(WORDS), tf.range(len(WORDS), dtype=tf.int64)
        ),
        num_oov_buckets=2,
    )
    return save(path, lambda w: {"y": number(table.lookup(w))}, [text()], table)


def of_text(op: Any) -> Any:
    """Return a function that saves a model which looks words up, and computes op."""

    def build(path: Path) -> Path:
        table = static_table(WORDS)

        def f(w: Any) -> Any:
            return {"y": number(table.lookup(w)) + number(op(w))}

        return save(path, f, [text()], table)

    return build


def lowered(path: Path) -> Path:
    table = static_table(WORDS)

    def f(w: Any) -> Any:
        return {"y": number(table.lookup(tf.strings.lower(w)))}

    return save(path, f, [text()], table)


def fetched(path: Path) -> Path:
    table = static_table(WORDS)

    def f(w: Any) -> Any:
        return {"y": number(table.lookup(w)), "z": tf.identity(w)}

    return save(path, f, [text()], table)


def default_of_another(path: Path) -> Path:
    """The other input is what a mutable table gives for an unknown number."""
    table = tf.lookup.experimental.MutableHashTable(tf.int64, tf.int64, -1)
    table.insert(tf.constant([1, 2], tf.int64), tf.constant([5, 6], tf.int64))

    def f(n: Any, other: Any) -> Any:
        return {"y": table.lookup(n, dynamic_default_values=other)}

    return save(path, f, [spec("n", "int64"), spec("other", "int64")], table)


def dense_table(path: Path) -> Path:
    """A dense table fails for two keys."""
    table = tf.lookup.experimental.DenseHashTable(tf.int64, tf.int64, -1, -2, -3)
    table.insert(tf.constant([1, 2], tf.int64), tf.constant([5, 6], tf.int64))
    return save(path, lambda n: {"y": table.lookup(n)}, [spec("n", "int64")], table)


def written_table(path: Path) -> Path:
    """A table that a request writes to."""
    table = tf.lookup.experimental.MutableHashTable(tf.string, tf.int64, -1)
    table.insert(tf.constant(WORDS), tf.range(len(WORDS), dtype=tf.int64))

    def f(w: Any) -> Any:
        found = table.lookup(w)
        table.insert(w, found + 1)
        return {"y": found}

    return save(path, f, [text()], table)


def narrowed_to_table(path: Path) -> Path:
    """Integers that a Cast wraps around before they are looked up."""
    table = tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(
            tf.constant([1, 2], tf.int32), tf.constant([5, 6], tf.int32)
        ),
        -1,
    )

    def f(n: Any) -> Any:
        return {"y": table.lookup(tf.cast(n, tf.int32))}

    return save(path, f, [spec("n", "int64")], table)
