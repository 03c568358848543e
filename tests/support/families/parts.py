"""Parts of the families: words, tables, inputs."""

from typing import Any

import tensorflow as tf

from tests.support.saved_models import spec

WORDS = ["rome", "oslo", "", "Zürich", "[UNK]"]


def static_table(keys: Any, default: int = -1, values: Any = None) -> Any:
    """Return a table of keys, whose values count from 10 unless they are given."""
    keys = tf.constant(keys)
    values = tf.range(10, 10 + len(keys), dtype=tf.int64) if values is None else values
    return tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(keys, values), default
    )


def text(name: str = "w") -> Any:
    return spec(name, "string")


def number(value: Any) -> Any:
    return tf.cast(value, tf.float32)
