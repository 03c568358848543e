"""Outputs that are an input of the same row, unchanged, whatever the row is."""

from dataclasses import replace

from gomlx.contract.signature import Echo
from gomlx.contract.tensor import Tensor
from gomlx.models.dataflow.elements import split
from gomlx.models.dataflow.flow import Flow
from gomlx.models.serving.binding import Bound, Layout
from gomlx.models.staging.signature.bind import BoundSignature


def without_echoes(flow: Flow, bound: BoundSignature) -> BoundSignature:
    """Return a signature whose echoes are not fetched.

    Numbers that the model would round, such as floats, stay outputs of the graph, and
    so does everything if nothing else would be fetched. The graph must be TensorFlow's
    default graph.
    """
    found: list[Echo] = []
    kept: list[tuple[Tensor, Bound, str]] = []
    inputs = _echoed(flow, bound)
    binding = bound.binding
    signature = bound.signature
    for output in zip(signature.outputs, binding.outputs, bound.results, strict=True):
        tensor, one, _ = output
        name = inputs.get(split(one.tensors[0])) if one.layout is Layout.ROWS else None
        if name is None:
            kept.append(output)
        else:
            found.append(Echo(tensor, name))
    if not found or not kept:
        return bound
    tensors, bounds, results = zip(*kept, strict=True)
    return replace(
        bound,
        signature=replace(signature, outputs=tensors, echoes=tuple(found)),
        binding=replace(binding, outputs=bounds),
        results=results,
    )


def _echoed(flow: Flow, bound: BoundSignature) -> dict[tuple[str, int], str]:
    """Return the tensors that are copies of an input, and its name."""
    found = {}
    inputs = zip(bound.signature.inputs, bound.binding.inputs, strict=True)
    for tensor, one in inputs:
        is_exact = tensor.dtype == "bool" or "int" in tensor.dtype
        is_exact |= tensor.dtype == "string"
        if one.layout is Layout.ROWS and tensor.is_scalar and is_exact:
            found.update(dict.fromkeys(flow.copies(one.tensors[0]), tensor.name))
    return found
