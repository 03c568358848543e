"""What else is exported: compiled, by other frameworks, as files of other forms."""

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

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


def keras_model() -> Any:
    import keras as k

    k.utils.set_random_seed(11)
    x = k.Input((4,), name="x")
    return k.Model(x, {"y": k.layers.Dense(2)(k.layers.Dense(3, "tanh")(x))})


def keras_file(path: Path) -> Path:
    path.mkdir()
    keras_model().save(path / "model.keras")
    return path


def older_keras_file(path: Path) -> Path:
    path.mkdir()
    (path / "model.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    return path


def frozen(path: Path) -> Path:
    """A graph whose variables are constants, and that has no signature."""
    path.mkdir()
    with tf.Graph().as_default() as graph:
        tf.compat.v1.placeholder(tf.float32, [None], "x")
    tf.io.write_graph(graph, str(path), "frozen.pb", as_text=False)
    return path


def for_a_gpu(path: Path) -> Path:
    """Two graphs over the same weights, each with tags of its own."""
    v1 = tf.compat.v1
    builder = v1.saved_model.Builder(str(path))
    with tf.Graph().as_default(), v1.Session() as session:
        signatures = scaled(2.0)
        session.run(v1.global_variables_initializer())
        builder.add_meta_graph_and_variables(session, ["serve"], signatures)
    with tf.Graph().as_default():
        builder.add_meta_graph(["serve", "gpu"], scaled(2.5))
    builder.save()
    return path


def scaled(factor: float) -> dict[str, Any]:
    v1 = tf.compat.v1
    x = v1.placeholder(tf.float32, [None, 1], "x")
    y = x * v1.get_variable("w", initializer=2.0) * factor
    signature = v1.saved_model.predict_signature_def({"x": x}, {"y": y})
    return {"serving_default": signature}


def of_a_library(path: Path) -> Path:
    """A graph with an operation that TensorFlow itself does not have."""
    save(path, lambda w: {"y": tf.strings.lower(w)}, [spec("w", "string")])
    model = saved_model_pb2.SavedModel()
    file = path / "saved_model.pb"
    model.ParseFromString(file.read_bytes())
    for function in model.meta_graphs[0].graph_def.library.function:
        for node in function.node_def:
            if node.op == "StringLower":
                node.op = "CaseFoldUTF8"
    file.write_bytes(model.SerializeToString())
    return path


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
    Situation(
        "the second of two signatures",
        two_signatures,
        NUMBERS,
        config={"signature": "shifted"},
    ),
    Situation("numbered folders", numbered, NUMBERS),
    Situation(
        "a graph with tags of its own",
        for_a_gpu,
        NUMBERS,
        config={"tags": ["serve", "gpu"]},
    ),
    Situation("a .keras file", keras_file, VECTORS, rounds=True),
    Situation("an .h5 file", older_keras_file, [], refused="is an older file of Keras"),
    Situation("a frozen graph", frozen, [], refused="seems to be a frozen graph"),
    Situation(
        "an operation of tensorflow-text",
        of_a_library,
        [],
        refused="pip install tensorflow-text",
    ),
    Situation(
        "a library that is not installed",
        of(lambda x: {"y": x}, spec("x")),
        [],
        config={"libraries": ["no_such_library"]},
        refused="no_such_library",
    ),
]
