"""What TensorFlow answers for files of a model, in the two ways in which it loads them.

Imports TensorFlow, and is imported in children only.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import tensorflow as tf

from loadtests.fuzz.models.answers import FAILED
from tests.models.zoo.reference import Reference
from tests.models.zoo.situation import Situation

Options = Mapping[str, Any]


def by_objects(config: Options, path: Path, rows: Sequence[Any]) -> list[Any]:
    """Return the answers of a model as tf.saved_model.load gives it."""
    return _answers(Reference(_situation(config), path).answer, rows)


def by_graph(config: Options, path: Path, rows: Sequence[Any]) -> list[Any]:
    """Return the answers of a model as TensorFlow 1 loads it: of its graph alone.

    So do services. What is wrong with its objects makes no difference.
    """
    return _answers(_OfGraph(_situation(config), path).answer, rows)


def _situation(config: Options) -> Situation:
    return Situation("damaged", lambda path: path, [], config=config)


def _answers(answer: Callable[[Any], Any], rows: Sequence[Any]) -> list[Any]:
    found = []
    for row in rows:
        try:
            found.append(answer(row))
        except Exception as error:  # a damaged model raises anything
            found.append(f"{FAILED}{error}")
    return found


class _OfGraph(Reference):
    """Answers of a graph in a session."""

    def __init__(self, situation: Situation, path: Path) -> None:
        self._situation = situation
        tags = situation.config.get("tags", ["serve"])
        self._session = tf.compat.v1.Session(graph=tf.Graph())
        with self._session.graph.as_default():
            loaded = tf.compat.v1.saved_model.load(self._session, tags, str(path))
        name = situation.config.get("signature", "serving_default")
        self._definition = loaded.signature_def[name]
        self._names = sorted(self._definition.outputs)
        specs = {
            name: tf.TensorSpec(
                tf.TensorShape(info.tensor_shape), tf.as_dtype(info.dtype), name
            )
            for name, info in self._definition.inputs.items()
        }
        self._function = _Signature(self._run, ((), specs))

    def _run(self, **feeds: Any) -> dict[str, Any]:
        inputs = self._definition.inputs
        fed = {inputs[name].name: value.numpy() for name, value in feeds.items()}
        outputs = {n: info.name for n, info in self._definition.outputs.items()}
        found = self._session.run(outputs, fed)
        return {n: SimpleNamespace(numpy=lambda v=v: v) for n, v in found.items()}


class _Signature:
    def __init__(self, function: Any, signature: Any) -> None:
        self.structured_input_signature = signature
        self._function = function

    def __call__(self, **feeds: Any) -> Any:
        return self._function(**feeds)
