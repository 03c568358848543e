"""Fills state that a SavedModel's graph does not restore, from the saved objects.

TensorFlow 2 saves objects, and a graph made from them. Keras 3 models that were saved
with `tf.saved_model.save` have every variable twice in that graph: restoring fills one
handle, and serving reads the other. Which object serving reads is recorded: the values
that a signature's function captures are listed in the same order as the inputs of the
node that calls the function.
"""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import tensorflow as tf

from gomlx.errors import StageFailed
from gomlx.models.dataflow.elements import inputs
from gomlx.models.graph import init_op, needed_nodes, restore_op
from gomlx.models.serving import session as tf_session
from gomlx.models.staging.signature.bind import BoundSignature
from gomlx.models.staging.variables.restoring import FILLED


def unfilled_nodes(meta_graph: Any, needed: Collection[str]) -> list[Any]:
    """Return the needed nodes whose state neither restoring nor initializing fills.

    There are none unless the SavedModel has objects, which hold the values.
    """
    if not meta_graph.object_graph_def.nodes:
        return []
    nodes = {node.name: node for node in meta_graph.graph_def.node}
    filled = needed_nodes(meta_graph, [*restore_op(meta_graph), *init_op(meta_graph)])
    return [
        nodes[name] for name in sorted(set(needed) - filled) if nodes[name].op in FILLED
    ]


class _Captured(NamedTuple):
    """A handle that a function captures: its position among them, and its object."""

    position: int
    saved: Any


class Objects:
    """A signature as TensorFlow 2's own loader restores it. Raises StageFailed."""

    def __init__(
        self, saved_model: Path, meta_graph: Any, bound: BoundSignature, name: str
    ) -> None:
        self._meta_graph = meta_graph
        self._bound = bound
        self._name = name
        # The function holds no reference to what it captures: keep the model alive.
        self._model = tf_session.load_objects(saved_model)
        self._function = self._model.signatures[name]

    def call(self, *arrays: Any) -> list[Any]:
        """Run the signature on one array per feed; return one array per fetch."""
        fed = zip(self._bound.arguments, arrays, strict=True)
        found = self._function(**{name: tf.constant(array) for name, array in fed})
        results = [found[name] for name in self._bound.results]
        return [one.numpy() for one in tf.nest.flatten(results, expand_composites=True)]

    def fill(self, session: Any, unfilled: Sequence[Any]) -> None:
        """Give nodes of the session's graph the values of their objects.

        Raises StageFailed if it is not certain which object belongs to a node.
        """
        captured = dict(self._captured())
        for node in unfilled:
            found = captured.get(node.name)
            if found is None or not _is_for(node, found.saved):
                raise StageFailed(
                    f"restoring the graph gives {node.name} no value, and no object "
                    "of the SavedModel certainly holds it: export the model with "
                    "model.export, whose graphs can be restored"
                )
            handle = self._function.captured_inputs[found.position]
            _assign(session, node, handle)

    def _captured(self) -> Iterator[tuple[str, _Captured]]:
        """Yield the name of each captured handle's node, and what it stands for."""
        objects = self._meta_graph.object_graph_def
        function = _function_name(objects, self._name)
        bound = objects.concrete_functions[function].bound_inputs
        calls = [
            node
            for node in self._meta_graph.graph_def.node
            if "f" in node.attr and node.attr["f"].func.name == function
        ]
        if len(calls) != 1 or len(bound) != len(self._function.captured_inputs):
            raise StageFailed(
                f"the graph does not call {function} exactly once with all that it "
                "captures: export the model with model.export"
            )
        handles = inputs(calls[0])[-len(bound) :]
        for position, ((name, _), child) in enumerate(zip(handles, bound, strict=True)):
            yield name, _Captured(position, objects.nodes[child])


def _function_name(objects: Any, signature: str) -> str:
    """Return the name of a signature's function, from the root of the objects."""
    signatures = _child(objects, objects.nodes[0], "signatures")
    function = _child(objects, signatures, signature).bare_concrete_function
    return str(function.concrete_function_name)


def _child(objects: Any, node: Any, name: str) -> Any:
    return next(objects.nodes[c.node_id] for c in node.children if c.local_name == name)


def _is_for(node: Any, saved: Any) -> bool:
    """True if a node holds a variable of the dtype and shape of the saved one."""
    if node.op != "VarHandleOp" or saved.WhichOneof("kind") != "variable":
        return False
    dtype = node.attr["dtype"].type
    shape = node.attr["shape"].shape
    return bool(saved.variable.dtype == dtype and saved.variable.shape == shape)


def _assign(session: Any, node: Any, handle: Any) -> None:
    """Copy a value from a handle of TensorFlow 2 to a variable of the session."""
    dtype = tf.as_dtype(node.attr["dtype"].type)
    value = tf.raw_ops.ReadVariableOp(resource=handle, dtype=dtype).numpy()
    graph = session.graph
    with graph.as_default():
        fed = tf.compat.v1.placeholder(dtype, value.shape)
        target = graph.get_operation_by_name(node.name).outputs[0]
        assign = tf.raw_ops.AssignVariableOp(resource=target, value=fed)
    session.run(assign, {fed: value})
