"""What the tensors of a graph depend on; what initializes it."""

import pytest
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow.core.protobuf.meta_graph_pb2 import MetaGraphDef
from tensorflow.python.framework import tensor_util

from gomlx.models.graph import (
    INIT,
    OLDER_INITS,
    extract_init_constants,
    init_op,
    needed_nodes,
    restore_op,
)


def graph(**nodes: list[str]) -> MetaGraphDef:
    """A graph of nodes without operations: name → inputs."""
    meta_graph = MetaGraphDef()
    for name, inputs in nodes.items():
        meta_graph.graph_def.node.add(name=name, input=inputs)
    return meta_graph


def add_constant(meta_graph: MetaGraphDef, name: str, size: int) -> None:
    node = meta_graph.graph_def.node.add(name=name, op="Const")
    value = tensor_util.make_tensor_proto([b"x" * size])
    node.attr["value"].tensor.CopyFrom(value)


def constant(meta_graph: MetaGraphDef, name: str) -> TensorProto:
    (node,) = [node for node in meta_graph.graph_def.node if node.name == name]
    return node.attr["value"].tensor


def set_init(meta_graph: MetaGraphDef, name: str) -> None:
    meta_graph.signature_def[INIT].outputs[INIT].name = f"{name}:0"


def test_a_tensor_needs_its_inputs_and_its_control_inputs() -> None:
    meta_graph = graph(a=[], b=["a:1"], c=["^b"], other=["a"], y=["c", "b"])
    assert needed_nodes(meta_graph, ["y:0"]) == {"y", "c", "b", "a"}
    assert needed_nodes(meta_graph, []) == set()


def test_a_loop_ends() -> None:
    meta_graph = graph(enter=[], merge=["enter", "next"], next=["merge"])
    assert needed_nodes(meta_graph, ["merge"]) == {"enter", "merge", "next"}


def test_the_initialization_has_a_signature() -> None:
    meta_graph = graph(fill=[])
    assert init_op(meta_graph) == []
    set_init(meta_graph, "fill")
    assert init_op(meta_graph) == ["fill"]


@pytest.mark.parametrize("key", OLDER_INITS)
def test_older_models_have_a_collection(key: str) -> None:
    meta_graph = graph(fill=[])
    meta_graph.collection_def[key].node_list.value.append("fill")
    assert init_op(meta_graph) == ["fill"]


def test_the_restore_operation() -> None:
    meta_graph = graph()
    assert restore_op(meta_graph) == []
    meta_graph.saver_def.restore_op_name = "save/restore_all"
    assert restore_op(meta_graph) == ["save/restore_all"]


def test_large_constants_of_the_initialization_alone_become_placeholders() -> None:
    meta_graph = graph(fill=["words", "few", "shared"], y=["shared"])
    set_init(meta_graph, "fill")
    meta_graph.signature_def["serving_default"].outputs["y"].name = "y:0"
    add_constant(meta_graph, "words", 2**17)
    add_constant(meta_graph, "few", 10)
    add_constant(meta_graph, "shared", 2**17)
    words = TensorProto()
    words.CopyFrom(constant(meta_graph, "words"))
    assert extract_init_constants(meta_graph) == {"words:0": words}
    operations = {node.name: node.op for node in meta_graph.graph_def.node}
    assert operations["words"] == "Placeholder"
    assert operations["few"] == operations["shared"] == "Const"
