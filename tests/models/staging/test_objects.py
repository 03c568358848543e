"""SavedModels whose graph cannot restore itself: Keras 3 by tf.saved_model.save."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from gomlx.errors import StageFailed
from gomlx.models.serving.servable import Servable
from gomlx.models.version import ModelVersion
from tests.support import saved_models

Stage = Callable[..., ModelVersion]
WORDS = ["rome", "oslo"]
NUMBERS = [5, 6]


def given(layers: Any, _: Path) -> Any:
    return layers.StringLookup(vocabulary=WORDS)


def adapted(layers: Any, _: Path) -> Any:
    lookup = layers.StringLookup()
    lookup.adapt(np.array(WORDS))
    return lookup


def from_a_file(layers: Any, folder: Path) -> Any:
    words = folder / "words.txt"
    words.write_text("\n".join(WORDS))
    return layers.StringLookup(vocabulary=str(words))


def given_numbers(layers: Any, _: Path) -> Any:
    return layers.IntegerLookup(vocabulary=NUMBERS)


def adapted_numbers(layers: Any, _: Path) -> Any:
    lookup = layers.IntegerLookup()
    lookup.adapt(np.array(NUMBERS))
    return lookup


LOOKUPS = [given, adapted, from_a_file, given_numbers, adapted_numbers]


def build(folder: Path, make: Any = given, trained: bool = False) -> Path:
    import keras

    return saved_models.saved_keras(folder / "m", make(keras.layers, folder), trained)


@pytest.mark.parametrize("make", LOOKUPS)
def test_saved_keras_answers_as_tensorflow_does(
    tmp_path: Path, staged: Stage, make: Any
) -> None:
    source = build(tmp_path, make, trained=make is given)
    servable = Servable(staged(source))
    assert [kind.kind for kind in servable.dictionary.kinds] == ["vocabulary", "exact"]
    ordinary = tf.saved_model.load(str(source)).signatures["serving_default"]
    dtype = servable.signature.inputs[0].dtype
    for value in [*WORDS, "nowhere"] if dtype == "string" else [*NUMBERS, 99]:
        row = servable.signature.check({"inputs": value, "inputs_1": [0.5, -2.0]})
        (answer,) = servable.run(servable.dictionary.canonical(row.rows))
        x = tf.constant([[0.5, -2.0]])
        theirs = ordinary(inputs=tf.constant([[value]], dtype), inputs_1=x)
        expected = theirs["output_0"].numpy()[0, 0]
        assert json.loads(answer)["output_0"] == pytest.approx(expected, rel=1e-5)
    assert not (servable.version.directory / "saved_model" / "variables").exists()


def rename_the_function(graph_def: Any) -> None:
    """No node calls the signature's function any more."""
    for node in graph_def.node:
        if "signature_wrapper" in node.attr["f"].func.name:
            function = node.attr["f"].func.name
            node.attr["f"].func.name = f"{function}_2"
            copied = next(
                f for f in graph_def.library.function if f.signature.name == function
            )
            graph_def.library.function.add().CopyFrom(copied)
            graph_def.library.function[-1].signature.name = f"{function}_2"


def not_captured(graph_def: Any) -> None:
    """Serving reads a variable that belongs to no object."""
    kernel = next(node for node in graph_def.node if node.name == "first/kernel")
    graph_def.node.add().CopyFrom(kernel)
    graph_def.node[-1].name = "stray"
    call = next(n for n in graph_def.node if n.name == "StatefulPartitionedCall")
    call.input.append("^stray")


def other_shape(graph_def: Any) -> None:
    """The graph's variable has any shape, and the object's has one."""
    for node in graph_def.node:
        if node.name == "first/kernel":
            node.attr["shape"].shape.Clear()
            node.attr["shape"].shape.unknown_rank = True


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("sound"))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (rename_the_function, "does not call __inference_signature_wrapper"),
        (not_captured, "gives stray no value"),
        (other_shape, "gives first/kernel no value"),
    ],
)
def test_values_are_never_guessed(
    tmp_path: Path, staged: Stage, sound: Path, spoil: Any, message: str
) -> None:
    source = shutil.copytree(sound, tmp_path / "m")
    file = source / "saved_model.pb"
    model = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    (meta_graph,) = model.meta_graphs
    spoil(meta_graph.graph_def)
    file.write_bytes(model.SerializeToString())
    with pytest.raises(StageFailed, match=message):
        staged(source)
