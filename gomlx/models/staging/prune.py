"""The part of a SavedModel that is served, so that workers load nothing else.

While a graph is imported TensorFlow keeps the interpreter, and the event loop that
serves the older version waits: in proportion to the graph (ARCHITECTURE.md). A
SavedModel also holds what saves, restores and trains it, and other signatures.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tensorflow.core.protobuf.meta_graph_pb2 import AssetFileDef
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from gomlx.models.graph import INIT, OLDER_INITS, init_op, needed_nodes
from gomlx.models.staging.graph import called

_OLDER_ASSETS = "saved_model_assets"  # a collection


def prune(saved_model: Path, meta_graph: Any, signature: str) -> None:
    """Rewrite a SavedModel: what a signature and the initialisation depend on stays.

    Its variables must come from elsewhere: nothing restores them any more.
    """
    fetches = [t.name for t in meta_graph.signature_def[signature].outputs.values()]
    kept = needed_nodes(meta_graph, [*fetches, *init_op(meta_graph)])
    new = SavedModel(saved_model_schema_version=1)
    graph = new.meta_graphs.add()
    graph.meta_info_def.CopyFrom(meta_graph.meta_info_def)
    graph.graph_def.versions.CopyFrom(meta_graph.graph_def.versions)
    for node in meta_graph.graph_def.node:
        if node.name in kept:
            _free(graph.graph_def.node.add(), node, kept)
    _add_functions(graph.graph_def, meta_graph.graph_def.library)
    for name in {signature, INIT} & meta_graph.signature_def.keys():
        graph.signature_def[name].CopyFrom(meta_graph.signature_def[name])
    for key in OLDER_INITS:
        if key in meta_graph.collection_def:
            graph.collection_def[key].CopyFrom(meta_graph.collection_def[key])
    for asset in _assets(meta_graph):
        if asset.tensor_info.name.split(":")[0] in kept:
            graph.asset_file_def.add().CopyFrom(asset)
    (saved_model / "saved_model.pbtxt").unlink(missing_ok=True)
    (saved_model / "saved_model.pb").write_bytes(new.SerializeToString())


def _assets(meta_graph: Any) -> Iterator[Any]:
    """Yield the definition of each asset file; TensorFlow 1 keeps them elsewhere."""
    yield from meta_graph.asset_file_def
    if _OLDER_ASSETS in meta_graph.collection_def and not meta_graph.asset_file_def:
        for packed in meta_graph.collection_def[_OLDER_ASSETS].any_list.value:
            asset = AssetFileDef()
            packed.Unpack(asset)
            yield asset


def _free(new: Any, node: Any, kept: set[str]) -> None:
    """Copy a node, without its wish to be placed beside nodes that are gone."""
    new.CopyFrom(node)
    if "_class" in new.attr:
        wishes = new.attr["_class"].list.s
        there = [w for w in wishes if w.removeprefix(b"loc:@").decode() in kept]
        del wishes[:]
        wishes.extend(there)
        if not there:
            del new.attr["_class"]


def _add_functions(graph: Any, library: Any) -> None:
    """Add the functions that nodes call, and that those call, with their gradients."""
    known = {function.signature.name: function for function in library.function}
    names = dict.fromkeys(_called_in(graph.node, known))
    todo = list(names)
    while todo:
        found = _called_in(known[todo.pop()].node_def, known)
        new = [name for name in found if name not in names]
        names.update(dict.fromkeys(new))
        todo += new
    for function in library.function:
        if function.signature.name in names:
            graph.library.function.add().CopyFrom(function)
    for gradient in library.gradient:
        if {gradient.function_name, gradient.gradient_func} <= names.keys():
            graph.library.gradient.add().CopyFrom(gradient)


def _called_in(nodes: Iterable[Any], known: dict[str, Any]) -> Iterator[str]:
    return (name for node in nodes for name in called(node) if name in known)
