"""What TensorFlow itself answers to a request, as JSON says it."""

import base64
import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.saved_model import loader_impl

from tests.models.zoo.situation import Body, Situation

Answer = dict[str, Any]


class Reference:
    """The SavedModel of a situation, as tf.saved_model.load gives it."""

    def __init__(self, situation: Situation, path: Path) -> None:
        config = situation.config
        self._situation = situation
        name = config.get("signature", "serving_default")
        tags = config.get("tags", ["serve"])
        source = str(_exported(_newest(path)))
        self._model = tf.saved_model.load(source, tags)
        self._function = self._model.signatures[name]
        graphs = loader_impl.parse_saved_model(source).meta_graphs
        (graph,) = (g for g in graphs if set(g.meta_info_def.tags) == set(tags))
        self._definition = graph.signature_def[name]
        self._names = sorted(config.get("outputs", self._definition.outputs))

    @cached_property
    def inputs(self) -> Mapping[str, tf.TensorSpec]:
        """The inputs, by the names that requests have for them."""
        given = self._situation.config.get("inputs", [])
        renamed = {one["name"]: one["rename"] for one in given if "rename" in one}
        specs = self._function.structured_input_signature[1]
        return {renamed.get(name, name): spec for name, spec in specs.items()}

    @property
    def of_requests(self) -> set[str]:
        """The inputs without a batch dimension beside some that have it."""
        specs = self.inputs.values()
        if self._situation.feed or not any(map(_is_open, specs)):
            return set()
        return {name for name, spec in self.inputs.items() if not _is_open(spec)}

    def answer(self, body: Body) -> Answer:
        """Return the answer to a row alone. Raises tf.errors.OpError."""
        if self._situation.feed:
            feeds = self._situation.feed(body)
        else:
            feeds = self._feeds([body])
        return self._read(self._function(**feeds))[0]

    def answer_together(self, bodies: Sequence[Body]) -> list[Answer]:
        """Return the answers to rows that are one question."""
        return self._read(self._function(**self._feeds(bodies)))

    def _feeds(self, bodies: Sequence[Body]) -> dict[str, Any]:
        defaults = self._definition.defaults
        fed = {name: tf.make_ndarray(value) for name, value in defaults.items()}
        for name in self.inputs:
            if name in bodies[0]:
                values = [body[name] for body in bodies]
                fed[self.inputs[name].name] = self._fed(name, values)
        return {name: tf.constant(value) for name, value in fed.items()}

    def _fed(self, name: str, values: list[Any]) -> Any:
        spec = self.inputs[name]
        if name in self.of_requests or spec.shape.rank == 0:
            return tf.reshape(_constant(values[0], spec.dtype), spec.shape)
        dims = None if spec.shape.rank is None else spec.shape.as_list()
        if dims and dims[0]:
            values = values * dims[0]
        array = _constant(values, spec.dtype)
        if dims and len(dims) > array.shape.rank:
            array = array[:, None]
        return array

    def _read(self, outputs: Mapping[str, Any]) -> list[Answer]:
        columns = {name: self._column(name, outputs[name]) for name in self._names}
        count = max(len(column) for column, _ in columns.values())
        return [
            {
                name: c[i] if is_by_row else c[0]
                for name, (c, is_by_row) in columns.items()
            }
            for i in range(count)
        ]

    def _column(self, name: str, output: Any) -> tuple[list[Any], bool]:
        """Return an output's JSON, and whether there is one for each row."""
        if isinstance(output, tf.RaggedTensor):
            return [_json(row) for row in output.to_list()], True
        array = output.numpy()
        shape = tf.TensorShape(self._definition.outputs[name].tensor_shape)
        if shape.rank is not None and not self._is_by_row(shape):
            return [_json_of(array)], False
        is_scalar = shape.rank is not None and shape.as_list()[1:] in ([], [1])
        rest = () if is_scalar else array.shape[1:]
        rows = [array[i : i + 1].reshape(rest) for i in range(len(array))]
        return [*map(_json_of, rows)], True

    def _is_by_row(self, shape: Any) -> bool:
        firsts = {spec.shape[0] for spec in self.inputs.values() if spec.shape.rank}
        return shape.rank > 0 and (shape[0] is None or shape[0] in firsts)


def _newest(path: Path) -> Path:
    numbered = [folder for folder in path.iterdir() if folder.name.isdecimal()]
    return max(numbered, key=lambda folder: int(folder.name), default=path)


def _exported(folder: Path) -> Path:
    """Export the .keras file of a folder, if there is one."""
    files = [*folder.glob("*.keras")]
    if not files:
        return folder
    import keras

    exported = folder.with_suffix(".exported")
    keras.saving.load_model(files[0]).export(str(exported), verbose=False)
    return exported


def _is_open(spec: Any) -> bool:
    return spec.shape.rank is None or (spec.shape.rank > 0 and spec.shape[0] is None)


def _constant(value: Any, dtype: Any) -> Any:
    value = _leaves(value, dtype)
    if dtype.is_integer:  # a whole float is an integer
        value = np.array(value).astype(dtype.as_numpy_dtype)
    return tf.constant(value, dtype)


def _leaves(value: Any, dtype: Any) -> Any:
    """Return a JSON value as TensorFlow takes it: bytes; NaN where it is missing."""
    if isinstance(value, list):
        return [_leaves(one, dtype) for one in value]
    if isinstance(value, dict):
        return base64.b64decode(value["b64"])
    if dtype == tf.string:
        return value
    if value in ("NaN", None):
        return math.nan
    return float(value) if dtype.is_floating else value


def _json_of(array: Any) -> Any:
    """Return an array's JSON: floats have the digits that their dtype needs."""
    if array.dtype.kind == "V":  # bfloat16
        array = array.astype(np.float32)
    leaves = list(array.reshape(-1))
    if array.dtype.kind == "f":
        leaves = [float(str(leaf)) for leaf in leaves]
    objects = np.empty(len(leaves), object)
    objects[:] = [
        leaf.item() if isinstance(leaf, np.generic) else leaf for leaf in leaves
    ]
    return _json(objects.reshape(array.shape).tolist())


def _json(value: Any) -> Any:
    if isinstance(value, list):
        return [_json(one) for one in value]
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return {"b64": base64.b64encode(value).decode()}
    if isinstance(value, float) and not math.isfinite(value):
        return {math.inf: "Infinity", -math.inf: "-Infinity"}.get(value, "NaN")
    return value
