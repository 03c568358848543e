"""Models that do more than compute: they draw, count, read, or look as if they did."""

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tests.models.zoo.situation import Situation, of, rows
from tests.support.saved_models import save, spec

NUMBERS = rows("x", [1.0, -2.5, 3e8])


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


def seeded(x: Any) -> Any:
    """Random numbers of a constant seed: the same at every run."""
    noise = tf.random.stateless_uniform([1], [3, 4])
    return {"y": x + noise}


def with_dataset(x: Any) -> Any:
    """A sum over a tf.data pipeline in the serving function."""
    numbers = tf.data.Dataset.range(4).map(lambda n: n * 2)
    total = numbers.reduce(np.int64(0), lambda a, b: a + b)
    return {"y": x + tf.cast(total, tf.float32)}


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
    Situation("random numbers of a constant seed", of(seeded, spec("x")), NUMBERS),
    Situation(
        "random numbers", of(noisy, spec("x")), NUMBERS, joins=False, steady=False
    ),
    Situation("a random order", of(shuffled, spec("x")), NUMBERS, steady=False),
    Situation("the time", of(timed, spec("x")), NUMBERS, steady=False),
    Situation("a count of the runs", counted, NUMBERS, joins=False, steady=False),
    Situation(
        "a file that is read at every run",
        from_a_file,
        NUMBERS,
        steady=False,
        config={"allow_operations": ["ReadFile"]},
    ),
    Situation("a tf.data pipeline of constants", of(with_dataset, spec("x")), NUMBERS),
    Situation("a check of the numbers", of(printed, spec("x")), NUMBERS),
]
