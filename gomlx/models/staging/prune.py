"""Reduces a SavedModel to the part that is served, so that workers load nothing else.

While TensorFlow imports a graph it holds the interpreter lock, and the event loop that
serves the older version stalls, for longer the larger the graph
(docs/internals/measurements.md). A SavedModel also holds other signatures, and what
saves, restores and trains it.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from gomlx.models.dataflow.elements import called_functions
from gomlx.models.graph import (
    INIT,
    OLDER_INITS,
    assets,
    init_op,
    needed_nodes,
    tensors_of,
)


def keep_graph(saved_model: Path, meta_graph: Any, tags: Sequence[str]) -> None:
    """Rewrite a SavedModel to one of its graphs, with these tags instead of its own."""
    del meta_graph.meta_info_def.tags[:]
    meta_graph.meta_info_def.tags.extend(tags)
    _write(saved_model, SavedModel(meta_graphs=[meta_graph]))


def prune(
    saved_model: Path, meta_graph: Any, signature: str, tensors: Sequence[str]
) -> None:
    """Rewrite a SavedModel to what a signature and the initialization depend on.

    tensors: those of the signature that are fed and fetched. Nothing restores its
    variables any more: their values must come from elsewhere.
    """
    kept = needed_nodes(meta_graph, [*tensors, *init_op(meta_graph)])
    new = SavedModel()
    pruned = new.meta_graphs.add()
    pruned.meta_info_def.CopyFrom(meta_graph.meta_info_def)
    _copy_graph(pruned.graph_def, meta_graph.graph_def, kept)
    _copy_entry_points(pruned, meta_graph, signature)
    outputs = pruned.signature_def[signature].outputs
    for name in [*outputs]:
        if any(t.partition(":")[0] not in kept for t in tensors_of(outputs[name])):
            del outputs[name]  # the config leaves it out
    for asset in assets(meta_graph):
        if asset.tensor_info.name.split(":")[0] in kept:
            pruned.asset_file_def.add().CopyFrom(asset)
    _write(saved_model, new)


def _write(saved_model: Path, new: Any) -> None:
    new.saved_model_schema_version = 1
    (saved_model / "saved_model.pbtxt").unlink(missing_ok=True)
    (saved_model / "saved_model.pb").write_bytes(new.SerializeToString())


def _copy_graph(pruned: Any, graph_def: Any, kept: set[str]) -> None:
    pruned.versions.CopyFrom(graph_def.versions)
    for node in graph_def.node:
        if node.name in kept:
            _copy_node(pruned.node.add(), node, kept)
    _add_functions(pruned, graph_def.library)


def _copy_entry_points(pruned: Any, meta_graph: Any, signature: str) -> None:
    """Copy the signature, and the definitions of what initializes the graph."""
    for name in {signature, INIT} & meta_graph.signature_def.keys():
        pruned.signature_def[name].CopyFrom(meta_graph.signature_def[name])
    for key in OLDER_INITS:
        if key in meta_graph.collection_def:
            pruned.collection_def[key].CopyFrom(meta_graph.collection_def[key])


def _copy_node(new: Any, node: Any, kept: set[str]) -> None:
    """Copy a node, without constraints to be placed on the device of removed nodes."""
    new.CopyFrom(node)
    if "_class" not in new.attr:
        return
    constraints = new.attr["_class"].list.s
    valid = [c for c in constraints if c.removeprefix(b"loc:@").decode() in kept]
    del constraints[:]
    constraints.extend(valid)
    if not valid:
        del new.attr["_class"]


def _add_functions(graph: Any, library: Any) -> None:
    """Add the functions that nodes call, and that those call, with their gradients."""
    names = reachable_functions(graph.node, library)
    for function in library.function:
        if function.signature.name in names:
            graph.library.function.add().CopyFrom(function)
    for gradient in library.gradient:
        if {gradient.function_name, gradient.gradient_func} <= names:
            graph.library.gradient.add().CopyFrom(gradient)


def reachable_functions(nodes: Iterable[Any], library: Any) -> set[str]:
    """Return the names of the functions that nodes call, directly or not."""
    functions = {function.signature.name: function for function in library.function}
    todo = list(nodes)
    names = set[str]()
    while todo:
        new = set(called_functions(todo.pop(), functions)) - names
        names |= new
        for name in new:
            todo += functions[name].node_def
    return names
