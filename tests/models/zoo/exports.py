"""What else is exported: compiled, by other frameworks, with side effects."""

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tests.models.zoo.situation import Build, Situation, of, rows
from tests.support.saved_models import save, spec

VECTORS = rows("x", [[1, 2, 3, 4], [0, 0, 0, 0], [9, -9, 0.5, 100]])
NUMBERS = rows("x", [1.0, -2.5, 3e8])
WEIGHTS = np.arange(8, dtype="float32").reshape(4, 2) / 10


def compiled(path: Path) -> Path:
    """A function that XLA compiles, anew for every number of rows."""
    module = tf.Module()
    module.w = tf.Variable(WEIGHTS)
    module.f = tf.function(
        lambda x: {"y": tf.nn.relu(x @ module.w)},
        input_signature=[spec("x", shape=(None, 4))],
        jit_compile=True,
    )
    tf.saved_model.save(module, str(path), signatures={"serving_default": module.f})
    return path


def of_jax(shape: str) -> Build:
    def build(path: Path) -> Path:
        import jax.numpy as jnp
        from jax.experimental import jax2tf

        def f(x: Any) -> Any:
            return {"y": jnp.tanh(x @ WEIGHTS)}

        module = tf.Module()
        rows = None if shape == "b, 4" else 1
        module.f = tf.function(
            jax2tf.convert(f, polymorphic_shapes=[shape]),
            input_signature=[spec("x", shape=(rows, 4))],
            autograph=False,
        )
        tf.saved_model.save(module, str(path), signatures={"serving_default": module.f})
        return path

    return build


def counted(path: Path) -> Path:
    """A model that counts its runs, which its answers do not show."""
    seen = tf.Variable([0.0])

    def f(x: Any) -> Any:
        return {"y": x * 2.0 + 0.0 * seen.assign_add([1.0])}

    return save(path, f, [spec("x")], seen)


def from_a_file(path: Path) -> Path:
    """A model that reads a file outside of its folder at every run."""
    number = path.with_suffix(".number")
    number.write_text("2.5")

    def f(x: Any) -> Any:
        return {"y": x * tf.strings.to_number(tf.io.read_file(str(number)))}

    return save(path, f, [spec("x")])


def vocabulary_file(path: Path) -> Path:
    """A table from an asset of the model."""
    words = path.with_suffix(".txt")
    words.write_text("rome\noslo\n")
    index = tf.lookup.TextFileIndex
    table = tf.lookup.StaticHashTable(
        tf.lookup.TextFileInitializer(
            str(words), tf.string, index.WHOLE_LINE, tf.int64, index.LINE_NUMBER
        ),
        -1,
    )
    save(path, lambda w: {"y": table.lookup(w)}, [spec("w", "string")], table)
    words.unlink()
    return path


def seeded(x: Any) -> Any:
    """Random numbers of a constant seed: the same at every run."""
    noise = tf.random.stateless_uniform([1], [3, 4])
    return {"y": x + noise}


def with_dataset(x: Any) -> Any:
    """A sum over a tf.data pipeline in the serving function."""
    numbers = tf.data.Dataset.range(4).map(lambda n: n * 2)
    total = numbers.reduce(np.int64(0), lambda a, b: a + b)
    return {"y": x + tf.cast(total, tf.float32)}


def two_signatures(path: Path) -> Path:
    module = tf.Module()
    module.f = tf.function(lambda x: {"y": x * 2.0}, input_signature=[spec("x")])
    module.g = tf.function(lambda x: {"z": x + 1.0}, input_signature=[spec("x")])
    signatures = {"serving_default": module.f, "shifted": module.g}
    tf.saved_model.save(module, str(path), signatures=signatures)
    return path


def numbered(path: Path) -> Path:
    """Versions in numbered folders, of which the greatest is served."""
    save(path / "9", lambda x: {"y": x}, [spec("x")])
    save(path / "10", lambda x: {"y": x * 3.0}, [spec("x")])
    return path


def noisy(x: Any) -> Any:
    return {"y": x * 2.0 + 0.0 * tf.random.uniform(tf.shape(x))}


def shuffled(x: Any) -> Any:
    return {"y": x * 2.0 + 0.0 * tf.random.shuffle(tf.range(3.0))[:1]}


def timed(x: Any) -> Any:
    return {"y": x * 2.0 + tf.cast(0.0 * tf.timestamp(), tf.float32)}


def printed(x: Any) -> Any:
    with tf.control_dependencies([tf.debugging.check_numerics(x, "x")]):
        return {"y": x * 2.0}


SITUATIONS = [
    Situation("compiled by XLA", compiled, VECTORS, rounds=True),
    Situation(
        "exported by JAX",
        of_jax("b, 4"),
        VECTORS,
        joins=False,
        rounds=True,
        needs="jax",
    ),
    Situation(
        "exported by JAX, for which the config vouches",
        of_jax("b, 4"),
        VECTORS,
        rounds=True,
        needs="jax",
        config={"batch": {"rows": "independent"}},
    ),
    Situation(
        "exported by JAX for rows of one",
        of_jax("1, 4"),
        VECTORS,
        joins=False,
        rounds=True,
        needs="jax",
    ),
    Situation(
        "a table from an asset", vocabulary_file, rows("w", ["rome", "oslo", "x"])
    ),
    Situation("random numbers of a constant seed", of(seeded, spec("x")), NUMBERS),
    Situation(
        "random numbers", of(noisy, spec("x")), NUMBERS, joins=False, steady=False
    ),
    Situation("a random order", of(shuffled, spec("x")), NUMBERS, steady=False),
    Situation("the time", of(timed, spec("x")), NUMBERS, steady=False),
    Situation("a count of the runs", counted, NUMBERS, joins=False, steady=False),
    Situation("a file that is read at every run", from_a_file, NUMBERS, steady=False),
    Situation("a tf.data pipeline of constants", of(with_dataset, spec("x")), NUMBERS),
    Situation("a check of the numbers", of(printed, spec("x")), NUMBERS),
    Situation(
        "the second of two signatures",
        two_signatures,
        NUMBERS,
        config={"signature": "shifted"},
    ),
    Situation("numbered folders", numbered, NUMBERS),
]
