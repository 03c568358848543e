"""Whether XLA compiles a part of a model: anew for every shape that it has not seen."""

from collections.abc import Iterable
from typing import Any

from gomlx.models.graph import dependencies
from gomlx.models.staging.prune import reachable_functions

_PROGRAMS = frozenset({"XlaCallModule", "XlaLaunch", "XlaLaunchV2"})
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


def _is_marked(definition: Any) -> bool:
    return _MARK in definition.attr and bool(definition.attr[_MARK].b)
