"""The models that hostile requests are for: each has an input of another kind."""

from pathlib import Path
from typing import Any

TEXTS = [f"t{i}" for i in range(10)]
HIT = "hit"
_WORDS = 1_000_000
_SIZE = 1_000_000  # of a row of the sparse input


def save_models(folder: Path) -> dict[str, Path]:
    """Save the models; return their paths by name."""
    import tensorflow as tf

    from tests.support.saved_models import lookup, save, scale, spec

    def total(x: Any) -> Any:
        return {"y": tf.reduce_sum(x, 1, keepdims=True)}

    def lengths(*texts: Any) -> Any:
        sizes = [tf.strings.length(text) for text in texts]
        return {"y": tf.cast(tf.add_n(sizes), tf.float32)}

    def length(x: Any) -> Any:
        return {"y": tf.reduce_sum(tf.strings.length(x), 1, keepdims=True)}

    def sparse_total(x: Any) -> Any:
        return {"y": tf.sparse.reduce_sum(x, 1, keepdims=True)}

    ragged = tf.RaggedTensorSpec([None, None, None], tf.float32)
    sparse = tf.SparseTensorSpec([None, _SIZE], tf.float32)
    texts = [spec(name, "string") for name in TEXTS]
    word = spec("x", "string", (None, None))
    words = [f"a-word-of-some-length-{n:07}" for n in range(_WORDS)]
    return {
        HIT: scale(folder / HIT, 2.0),
        "words": lookup(folder / "words", words),
        "texts": save(folder / "texts", lengths, texts),
        "floats": save(folder / "floats", total, [spec("x", shape=(None, None))]),
        "ints": save(folder / "ints", total, [spec("x", "int64", (None, None))]),
        "strings": save(folder / "strings", length, [word]),
        "ragged": save(folder / "ragged", lambda x: total(total(x)["y"]), [ragged]),
        "sparse": save(folder / "sparse", sparse_total, [sparse]),
    }
