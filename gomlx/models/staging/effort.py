"""What the graph says of how long runs take.

XLA compiles its part of a model anew for every shape that it has not seen. And there
are models whose values decide how much they compute (models/dataflow/effort.py).
"""

from collections.abc import Iterable, Iterator
from typing import Any

from gomlx.contract.tensor import Tensor
from gomlx.models.dataflow.effort import decided_by
from gomlx.models.dataflow.flow import Flow
from gomlx.models.dataflow.sizing import Level
from gomlx.models.graph import dependencies
from gomlx.models.serving.binding import Bound, Layout
from gomlx.models.serving.servable import Description
from gomlx.models.staging.prune import reachable_functions
from gomlx.models.steadiness.pure import PURE
from gomlx.models.steadiness.stateful import PER_RUN, RANDOM, STEADY_READERS

_PROGRAMS = frozenset({"XlaCallModule", "XlaLaunch", "XlaLaunchV2"})
# What they compute depends on functions that are not followed, or on data sets.
_OPAQUE = ("For", "MapDefun")
KNOWN = frozenset(
    op
    for op in PURE | STEADY_READERS | PER_RUN | RANDOM | _PROGRAMS
    if "Dataset" not in op and op not in _OPAQUE
)
_MARK = "_XlaMustCompile"  # of functions with jit_compile=True, and of their calls


def is_compiled(meta_graph: Any, fetches: Iterable[str]) -> bool:
    """True if the fetched tensors depend on what XLA compiles."""
    nodes = {node.name: node for node in meta_graph.graph_def.node}
    needed = list(dependencies(nodes, fetches))
    library = meta_graph.graph_def.library
    names = reachable_functions(needed, library)
    functions = [f for f in library.function if f.signature.name in names]
    bodies = [node for function in functions for node in function.node_def]
    return any(map(_is_marked, functions)) or any(
        node.op in _PROGRAMS or _is_marked(node) for node in (*needed, *bodies)
    )


def deciding_operation(flow: Flow, description: Description) -> str:
    """Return the operation by which values decide what a run takes, or "".

    The graph must be TensorFlow's default graph.
    """
    pairs = zip(description.signature.inputs, description.binding.inputs, strict=True)
    fed = {
        name: level for tensor, bound in pairs for name, level in _levels(tensor, bound)
    }
    return decided_by(flow, fed, KNOWN)


def _levels(tensor: Tensor, bound: Bound) -> Iterator[tuple[str, Level]]:
    """Yield what is known of each tensor of an input.

    Where the lists of ragged rows end is counted. A sparse row brings its own shape.
    """
    for name in bound.tensors:
        is_elements = name == bound.elements
        if bound.layout is Layout.RAGGED and not is_elements:
            yield name, Level.BOUNDED
        else:
            is_bool = is_elements and tensor.dtype == "bool"
            yield name, Level.DECIDED if is_bool else Level.VALUES


def _is_marked(definition: Any) -> bool:
    return _MARK in definition.attr and bool(definition.attr[_MARK].b)
