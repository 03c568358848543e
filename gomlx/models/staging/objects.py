"""State that a SavedModel's graph does not restore, from the objects saved beside it.

TensorFlow 2 writes objects, and a graph made of them. Keras 3 models that
`tf.saved_model.save` wrote have every variable twice in that graph: restoring fills one
handle, and serving reads the other. Which object serving means is on record: what the
function of a signature captures is listed in the order in which the node that calls
the function takes it.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from gomlx.contract.signature import Signature
from gomlx.errors import StageFailed
from gomlx.models.serving import session as tf_session
from gomlx.models.staging.elements import inputs


class Objects:
    """A signature as TensorFlow 2's own loader restores it. Raises StageFailed."""

    def __init__(
        self, saved_model: Path, meta_graph: Any, signature: Signature, name: str
    ) -> None:
        self._meta_graph, self._signature, self._name = meta_graph, signature, name
        # The function does not keep alive what it captures.
        self._model = tf_session.load_objects(saved_model)
        self._function = self._model.signatures[name]

    def call(self, *arrays: Any) -> list[Any]:
        """Run the signature on an array per input; return one per output."""
        fed = zip(self._signature.inputs, arrays, strict=True)
        found = self._function(**{t.name: tf.constant(array) for t, array in fed})
        return [found[tensor.name].numpy() for tensor in self._signature.outputs]

    def fill(self, session: Any, unfilled: Sequence[Any]) -> None:
        """Give nodes of the session's graph the values of the objects they stand for.

        Raises StageFailed when it is not certain which these are.
        """
        captured = dict(self._captured())
        for node in unfilled:
            position, saved = captured.get(node.name, (-1, None))
            if saved is None or not _is_for(node, saved):
                raise StageFailed(
                    f"restoring the graph gives {node.name} no value, and no object "
                    "of the SavedModel is known to belong there (model.export writes "
                    "a graph that can be restored)"
                )
            handle = self._function.captured_inputs[position]
            _assign(session, node, handle)

    def _captured(self) -> Iterator[tuple[str, tuple[int, Any]]]:
        """Yield handle → its place among the captured, and the object it stands for."""
        objects = self._meta_graph.object_graph_def
        function = _function_name(objects, self._name)
        bound = objects.concrete_functions[function].bound_inputs
        calls = [
            node
            for node in self._meta_graph.graph_def.node
            if "f" in node.attr and node.attr["f"].func.name == function
        ]
        if len(calls) != 1 or len(bound) != len(self._function.captured_inputs):
            raise StageFailed(f"the graph does not call {function} in the known way")
        taken = inputs(calls[0])[-len(bound) :]
        for position, ((name, _), child) in enumerate(zip(taken, bound, strict=True)):
            yield name, (position, objects.nodes[child])


def _function_name(objects: Any, signature: str) -> str:
    """Walk from the root of the objects to the function of a signature."""
    signatures = _child(objects, objects.nodes[0], "signatures")
    function = _child(objects, signatures, signature).bare_concrete_function
    return str(function.concrete_function_name)


def _child(objects: Any, node: Any, name: str) -> Any:
    return next(objects.nodes[c.node_id] for c in node.children if c.local_name == name)


def _is_for(node: Any, saved: Any) -> bool:
    """True when a node holds a variable of the dtype and shape of a saved one."""
    if node.op != "VarHandleOp" or saved.WhichOneof("kind") != "variable":
        return False
    dtype, shape = node.attr["dtype"].type, node.attr["shape"].shape
    return bool(saved.variable.dtype == dtype and saved.variable.shape == shape)


def _assign(session: Any, node: Any, handle: Any) -> None:
    dtype = tf.as_dtype(node.attr["dtype"].type)
    value = tf.raw_ops.ReadVariableOp(resource=handle, dtype=dtype).numpy()
    graph = session.graph
    with graph.as_default():
        fed = tf.compat.v1.placeholder(dtype, value.shape)
        target = graph.get_operation_by_name(node.name).outputs[0]
        assign = tf.raw_ops.AssignVariableOp(resource=target, value=fed)
    session.run(assign, {fed: value})
