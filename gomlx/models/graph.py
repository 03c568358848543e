"""What the tensors of a graph depend on, and what initializes it.

Staging and every worker read graphs; this is what both need.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow.core.protobuf.meta_graph_pb2 import AssetFileDef

INIT = "__saved_model_init_op"  # the name of its signature, and of its output
OLDER_INITS = ("saved_model_main_op", "legacy_init_op")  # collections
_OLDER_ASSETS = "saved_model_assets"  # a collection
_LARGE_BYTES = 2**16


def needed_nodes(meta_graph: Any, fetches: Iterable[str]) -> set[str]:
    """Return the names of the graph's nodes that the fetched tensors depend on."""
    nodes = {node.name: node for node in meta_graph.graph_def.node}
    return {node.name for node in dependencies(nodes, fetches)}


def dependencies(nodes: dict[str, Any], fetches: Iterable[str]) -> Iterator[Any]:
    """Yield the nodes that the fetched tensors depend on. nodes: by their names."""
    todo = [_node_name(fetch) for fetch in fetches]
    seen = set(todo)
    while todo:
        node = nodes[todo.pop()]
        yield node
        new = {_node_name(source) for source in node.input} - seen
        seen |= new
        todo.extend(new)


def init_op(meta_graph: Any) -> list[str]:
    """Return the name of the operation that fills tables, if there is one."""
    if INIT in meta_graph.signature_def:
        return [_node_name(meta_graph.signature_def[INIT].outputs[INIT].name)]
    for key in OLDER_INITS:
        if key in meta_graph.collection_def:
            return [*meta_graph.collection_def[key].node_list.value]
    return []


def restore_op(meta_graph: Any) -> list[str]:
    """Return the name of the operation that reads the checkpoint, if there is one."""
    name = meta_graph.saver_def.restore_op_name
    return [name] if name else []


def assets(meta_graph: Any) -> Iterator[Any]:
    """Yield the definition of each asset file, which TensorFlow 1 packs elsewhere."""
    yield from meta_graph.asset_file_def
    if _OLDER_ASSETS in meta_graph.collection_def and not meta_graph.asset_file_def:
        for packed in meta_graph.collection_def[_OLDER_ASSETS].any_list.value:
            asset = AssetFileDef()
            packed.Unpack(asset)
            yield asset


def tensors_of(info: Any) -> list[str]:
    """Return the names of the tensors of a TensorInfo, which may be a composite one."""
    if info.WhichOneof("encoding") == "coo_sparse":
        sparse = info.coo_sparse
        return [
            sparse.indices_tensor_name,
            sparse.values_tensor_name,
            sparse.dense_shape_tensor_name,
        ]
    parts = info.composite_tensor.components
    return [part.name for part in parts] or [info.name]


def extract_init_constants(meta_graph: Any) -> dict[str, Any]:
    """Turn the large constants that only the initialization reads into placeholders.

    Returns tensor name → TensorProto, to be fed when the initialization runs. A
    vocabulary is such a constant: TensorFlow's optimizer copies it some thirty times,
    which takes longer than all else.
    """
    names = _init_only(meta_graph)
    constants = {}
    for node in meta_graph.graph_def.node:
        if node.name in names and _is_large_constant(node):
            value = TensorProto()
            value.CopyFrom(node.attr["value"].tensor)
            constants[f"{node.name}:0"] = value
            del node.attr["value"]
            node.op = "Placeholder"
            node.attr["shape"].shape.CopyFrom(value.tensor_shape)
    return constants


def _init_only(meta_graph: Any) -> set[str]:
    """Return the nodes that only the initialization depends on."""
    served = [
        tensor
        for name, signature in meta_graph.signature_def.items()
        if name != INIT
        for output in signature.outputs.values()
        for tensor in tensors_of(output)
    ]
    others = needed_nodes(meta_graph, [*served, *restore_op(meta_graph)])
    return needed_nodes(meta_graph, init_op(meta_graph)) - others


def _is_large_constant(node: Any) -> bool:
    return bool(node.op == "Const" and node.ByteSize() > _LARGE_BYTES)


def _node_name(tensor: str) -> str:
    return tensor.lstrip("^").split(":")[0]
