"""Small SavedModels of many kinds, built with TensorFlow and Keras for the tests."""

import os
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf


def save(
    path: Path, function: Callable[..., Any], specs: list[Any], state: Any = None
) -> Path:
    """Save a function of tensors as a SavedModel's serving_default."""
    module = tf.Module()
    module.state = state
    module.f = tf.function(function, input_signature=specs)
    tf.saved_model.save(module, str(path), signatures={"serving_default": module.f})
    return path


def spec(name: str, dtype: str = "float32", shape: Any = (None, 1)) -> Any:
    return tf.TensorSpec(shape, tf.as_dtype(dtype), name=name)


def scale(path: Path, factor: float) -> Path:
    """y = x * factor: the answer identifies the version."""
    weight = tf.Variable([factor], name="factor")
    return save(path, lambda x: {"y": x * weight}, [spec("x")], weight)


def lookup(path: Path, words: list[str], shift: float = 0.0) -> Path:
    """y = the index of a word + shift; -1 + shift for an unknown word."""
    keys = tf.constant(words)
    values = tf.range(len(words), dtype=tf.int64)
    table = tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(keys, values), default_value=-1
    )

    def f(word: Any) -> Any:
        return {"y": tf.cast(table.lookup(word), tf.float32) + shift}

    return save(path, f, [spec("word", "string")], table)


def echo(path: Path, dtype: str, shape: Any) -> Path:
    """y = x, for any dtype and shape."""
    return save(path, lambda x: {"y": tf.identity(x)}, [spec("x", dtype, shape)])


def embedded(path: Path) -> Path:
    """emb = x, 2x, 3x; label = a word for 2, for others bytes that are not UTF-8."""

    def f(x: Any) -> Any:
        emb = tf.reshape(x, [-1, 1]) * tf.constant([[1.0, 2.0, 3.0]])
        label = tf.where(tf.reshape(x, [-1]) == 2.0, b"two", b"\xff")
        return {"emb": emb, "label": label}

    return save(path, f, [spec("x")])


def embedding(path: Path, megabytes: int, seed: int = 7) -> Path:
    """y = the mean of row x of a variable of so many megabytes."""
    rows = megabytes * 2**20 // (64 * 4)
    generator = np.random.default_rng(seed)
    table = tf.Variable(generator.random((rows, 64), np.float32), name="table")

    def f(x: Any) -> Any:
        found = tf.gather(table, tf.reshape(x, [-1]) % rows)
        return {"y": tf.reduce_mean(found, axis=1, keepdims=True)}

    return save(path, f, [spec("x", "int64")], table)


def dense(path: Path, units: int = 8, seed: int = 1) -> Path:
    """Two inputs through two layers: as expensive as a small ranking model."""
    rng = np.random.default_rng(seed)
    a = tf.Variable(rng.standard_normal((2, units)).astype("float32"))
    b = tf.Variable(rng.standard_normal((units, 1)).astype("float32"))

    def f(p: Any, q: Any) -> Any:
        return {"y": tf.nn.relu(tf.concat([p, q], 1) @ a) @ b}

    return save(path, f, [spec("p"), spec("q")], [a, b])


def dice(path: Path) -> Path:
    """A model that draws random numbers."""
    return save(path, lambda x: {"y": x + tf.random.uniform(tf.shape(x))}, [spec("x")])


def counter(path: Path) -> Path:
    """A model that writes to its own variable."""
    seen = tf.Variable([0.0])

    def f(x: Any) -> Any:
        return {"y": x + seen.assign_add([1.0])}

    return save(path, f, [spec("x")], seen)


def pick(path: Path) -> Path:
    """A model that fails for an x other than 0, 1 and 2."""
    table = tf.constant([10.0, 11.0, 12.0])

    def f(x: Any) -> Any:
        with tf.control_dependencies(
            [tf.debugging.assert_less(x, tf.constant(3, x.dtype))]
        ):
            return {"y": tf.gather(table, x)}

    return save(path, f, [spec("x", "int64")])


def sleeper(path: Path, size: int = 1500) -> Path:
    """A slow model: tens of milliseconds a row."""
    matrix = tf.Variable(tf.eye(size))

    def f(x: Any) -> Any:
        return {"y": x + 0.0 * tf.reduce_sum(matrix @ matrix)}

    return save(path, f, [spec("x")], matrix)


def keras(path: Path) -> Path:
    """A Keras 3 model with a given and an adapted vocabulary, and a Discretization."""
    for name, content in _keras_files().items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


@cache
def _keras_files() -> dict[Path, bytes]:
    """Return its files. Building it takes half a second, and many tests need it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _export_keras(folder)
        files = [path for path in folder.rglob("*") if path.is_file()]
        return {path.relative_to(folder): path.read_bytes() for path in files}


def _export_keras(path: Path) -> None:
    import keras as k

    k.utils.set_random_seed(3)
    city = k.Input((1,), name="city", dtype="string")
    day = k.Input((1,), name="day", dtype="int64")
    price = k.Input((1,), name="price", dtype="float32")
    cities = k.layers.StringLookup()
    cities.adapt(np.array(["rome", "oslo", "lima"]))
    days = k.layers.IntegerLookup(vocabulary=[1, 2, 3])
    bins = k.layers.Discretization(bin_boundaries=[1.0, 5.0])
    parts = [
        k.layers.Embedding(4, 3)(cities(city)),
        k.layers.Embedding(4, 3)(days(day)),
        k.layers.Embedding(3, 3)(bins(price)),
    ]
    hidden = k.layers.Flatten()(k.layers.Concatenate()(parts))
    score = k.layers.Dense(1, name="score")(hidden)
    k.Model([city, day, price], {"score": score}).export(str(path), verbose=False)


def saved_keras(path: Path, lookup: Any, trained: bool = False) -> Path:
    """A Keras 3 model as tf.saved_model.save writes it: every weight twice.

    Inputs: `inputs`, for a lookup layer of two values, and `inputs_1`, two floats.
    """
    import keras as k

    k.utils.set_random_seed(5)
    word = k.Input((1,), name="word", dtype=lookup.vocabulary_dtype)
    x = k.Input((2,), name="x")
    found = k.layers.Flatten()(k.layers.Embedding(3, 2)(lookup(word)))
    hidden = k.layers.Concatenate()([found, x])
    for name in ("first", "second", "third"):  # of one shape: guesses would mix them up
        hidden = k.layers.Dense(4, activation="tanh", name=name)(hidden)
    model = k.Model([word, x], k.layers.Dense(1)(hidden))
    if trained:
        model.compile("adam", "mse")
        words = tf.constant([["a"], ["b"]])
        model.fit([words, np.ones((2, 2))], np.ones((2, 1)), verbose=0)
    tf.saved_model.save(model, str(path))
    return path
