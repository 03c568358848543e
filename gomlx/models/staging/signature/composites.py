"""Ragged and sparse tensors in a signature, of which TensorFlow feeds the parts.

TensorFlow 2 writes the parts of such an input into the signature as inputs of their
own, `r` and `r_1`, and what they are parts of is only written to the function that the
signature's function calls:

    SignatureDef.inputs ─► placeholder ─► call of the signature's function
                                          └► call of the function: its argument specs

TensorFlow 1 has SPARSE inputs in the signature itself (TensorInfo.coo_sparse).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf
from tensorflow.core.protobuf.struct_pb2 import StructuredValue
from tensorflow.python.saved_model import nested_structure_coder

from gomlx.errors import StageFailed
from gomlx.models.dataflow.elements import inputs
from gomlx.models.serving.binding import Layout

_CALLS = ("PartitionedCall", "StatefulPartitionedCall")


@dataclass(frozen=True)
class Composite:
    """A ragged or sparse input or output.

    dims: of the dense tensor, the batch first. ragged: how many dimensions after it
    have lists of any lengths; splits: the dtype of where they end.
    """

    layout: Layout
    dtype: str
    dims: tuple[int | None, ...]
    ragged: int = 0
    splits: str = "int64"


@dataclass(frozen=True)
class CompositeInput:
    """A composite input, and the names of the signature's inputs that are its parts."""

    composite: Composite
    parts: tuple[str, ...]


def composite_of(spec: Any) -> Composite | None:
    """Return what a RaggedTensorSpec or SparseTensorSpec says; None of others."""
    if isinstance(spec, tf.RaggedTensorSpec):
        dims = tuple(spec.shape.as_list())
        splits = spec.row_splits_dtype.name
        return Composite(Layout.RAGGED, spec.dtype.name, dims, spec.ragged_rank, splits)
    if isinstance(spec, tf.SparseTensorSpec) and _has_elements(spec.shape):
        dims = tuple(spec.shape.as_list())
        return Composite(Layout.SPARSE, spec.dtype.name, dims)
    return None


def _has_elements(shape: Any) -> bool:
    """True for a sparse tensor with a dimension beside the batch."""
    return shape.rank is not None and shape.rank > 1


def output_spec(info: Any) -> Any:
    """Return the specification of an output that is a composite tensor."""
    value = StructuredValue(type_spec_value=info.composite_tensor.type_spec)
    return nested_structure_coder.decode_proto(value)


def composite_inputs(meta_graph: Any, definition: Any) -> list[CompositeInput]:
    """Return the composite inputs whose parts a signature lists."""
    if not meta_graph.object_graph_def.concrete_functions:
        return []
    by_node = {
        info.name.partition(":")[0]: name for name, info in definition.inputs.items()
    }
    for node in meta_graph.graph_def.node:
        if node.op in _CALLS and any(name in by_node for name, _ in inputs(node)):
            names = [by_node.get(name, "") for name, _ in inputs(node)]
            found = list(_found(meta_graph, node.attr["f"].func.name, names))
            if found:
                return found
    return []


def _found(
    meta_graph: Any, function: str, names: Sequence[str]
) -> Iterator[CompositeInput]:
    """Yield the composite inputs of a function, or of one that it calls.

    names: of the signature's inputs that are its arguments; "" for others.
    """
    library = {f.signature.name: f for f in meta_graph.graph_def.library.function}
    functions = meta_graph.object_graph_def.concrete_functions
    definition = library.get(function)
    if definition is None:
        return
    arguments = [argument.name for argument in definition.signature.input_arg]
    by_argument = dict(zip(arguments, names, strict=True))
    for node in definition.node_def:
        called = node.attr["f"].func.name if node.op in _CALLS else ""
        if called in functions:
            given = [by_argument.get(name, "") for name, _ in inputs(node)]
            yield from _grouped(functions[called].canonicalized_input_signature, given)


def _grouped(signature: Any, names: Sequence[str]) -> Iterator[CompositeInput]:
    """Yield the composite arguments of a function with the names of their parts.

    Raises StageFailed for a sparse one without a dimension beside the batch.
    """
    start = 0
    for spec in tf.nest.flatten(nested_structure_coder.decode_proto(signature)):
        if not isinstance(spec, tf.TypeSpec):
            continue  # a Python value
        count = len(tf.nest.flatten(spec, expand_composites=True))
        parts = tuple(names[start : start + count])
        composite = composite_of(spec)
        if composite is not None and all(parts):
            yield CompositeInput(composite, parts)
        elif isinstance(spec, tf.SparseTensorSpec) and all(parts):
            raise StageFailed(
                f"input {parts[0]!r}: a sparse tensor of shape {spec.shape} is not "
                "supported: declare a first dimension for the batch and at least one "
                "for the elements of a row"
            )
        start += count
