"""A SavedModel in a folder of numbered versions: gomlx, TensorFlow Serving."""

import shutil
from pathlib import Path
from typing import Any

from gomlx.conformance.recipe import DTYPES, INPUTS, MATRICES, Recipe


def write(folder: Path, number: int, recipe: Recipe, runs: Path) -> None:
    """Write folder/NUMBER; it appears whole. An earlier one is replaced.

    Raises ModuleNotFoundError without TensorFlow. Nothing is written to `runs`: a graph
    cannot.
    """
    import tensorflow as tf

    module = tf.Module()
    parts = _Parts(tf, recipe)
    module.state = [parts.table, parts.weights, parts.mark]
    specs = [_spec(tf, name) for name in INPUTS[recipe.kind]]
    module.f = tf.function(getattr(parts, recipe.kind), input_signature=specs)
    folder.mkdir(parents=True, exist_ok=True)
    # Beside the folder: a watcher would take what is in it for a version.
    new = folder.with_name(f".{folder.name}-new")
    old = folder.with_name(f".{folder.name}-old")
    tf.saved_model.save(module, str(new), signatures={"serving_default": module.f})
    here = folder / str(number)
    if here.exists():
        here.rename(old)
    new.rename(here)
    shutil.rmtree(old, ignore_errors=True)


def _spec(tf: Any, name: str) -> Any:
    shape = (None, None, None) if name in MATRICES else (None, 1)
    return tf.TensorSpec(shape, tf.as_dtype(DTYPES[name]), name=name)


class _Parts:
    """The state of a module, and the formulas over it."""

    def __init__(self, tf: Any, recipe: Recipe) -> None:
        self._tf = tf
        words = tf.constant(recipe.vocabulary or ("none",))
        places = tf.range(1, tf.size(words, tf.int64) + 1, dtype=tf.int64)
        pairs = tf.lookup.KeyValueTensorInitializer(words, places)
        self.table = tf.lookup.StaticHashTable(pairs, default_value=0)
        self.weights = tf.Variable(recipe.weights or (0.0,), dtype=tf.float32)
        self.mark = tf.Variable(recipe.mark, dtype=tf.int64)

    def words(self, a: Any, b: Any, n: Any) -> dict[str, Any]:
        """See formulas.words; all tensors are of shape [rows, 1]."""
        tf = self._tf
        first = tf.gather(self.weights, self.table.lookup(a))
        second = tf.gather(self.weights, self.table.lookup(b))
        return {"score": first + 100.0 * second, "stamp": n * 1000 + self.mark}

    def cube(self, x: Any) -> dict[str, Any]:
        """See formulas.cube; x is of shape [rows, lines, columns]."""
        tf = self._tf
        return {"total": tf.reduce_sum(tf.reduce_max(x, axis=2), axis=1)}

    def fragile(self, n: Any) -> dict[str, Any]:
        """See formulas.fragile; n is of shape [rows, 1]."""
        return {"quotient": 1000 // (n - 13)}
