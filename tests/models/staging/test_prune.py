"""Workers load what is served, and nothing else."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf

from gomlx.models.serving import session
from gomlx.models.serving.servable import Servable
from gomlx.models.version import ModelVersion

Stage = Callable[..., ModelVersion]


class Scored(tf.Module):  # type: ignore[misc]  # TensorFlow has no types
    """A look-up whose words are also read directly, a branch, and unserved parts."""

    def __init__(self) -> None:
        super().__init__()
        self.words = tf.constant(["red", "green"])
        initializer = tf.lookup.KeyValueTensorInitializer(
            self.words, tf.constant([1, 2], tf.int64)
        )
        self.table = tf.lookup.StaticHashTable(initializer, 0)
        self.factors = tf.Variable([1.0, 2.0, 3.0])
        self.unserved = tf.Variable([1.0, 2.0])

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, "color")])  # type: ignore[untyped-decorator]
    def score(self, color: Any) -> dict[str, Any]:
        factor = tf.gather(self.factors, self.table.lookup(color))
        return {"y": tf.cond(tf.size(self.words) > 1, lambda: factor, lambda: -factor)}

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.float32, "x")])  # type: ignore[untyped-decorator]
    def other(self, x: Any) -> dict[str, Any]:
        return {"z": tf.math.erf(x) * self.unserved[0]}


def test_only_what_is_served_is_loaded(tmp_path: Path, staged: Stage) -> None:
    module = Scored()
    source = tmp_path / "model"
    signatures = {"serving_default": module.score, "other": module.other}
    tf.saved_model.save(module, str(source), signatures)
    version = staged(source)
    original = session.parse(source)
    pruned = session.parse(version.directory / "saved_model")
    assert set(pruned.signature_def) == {"serving_default", "__saved_model_init_op"}
    for operation in ("Erf", "RestoreV2"):
        assert operation in str(original.graph_def)
        assert operation not in str(pruned.graph_def)
    assert pruned.ByteSize() < original.ByteSize() / 2
    servable = Servable(version)
    rows = [("red",), ("green",), ("blue",)]
    assert servable.run(rows) == [b'{"y":2.0}', b'{"y":3.0}', b'{"y":1.0}']
    servable.close()
