"""What the graph of a model proves about it."""

from collections import deque
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow.python.framework import op_def_registry

# Stateful by TensorFlow's book, yet they give the same for the same input as long as
# nobody writes: variables, tables, and calls (whose bodies are looked at too).
_STEADY = frozenset(
    {
        *("VarHandleOp", "ReadVariableOp", "ResourceGather", "ResourceGatherNd"),
        *("VariableV2", "Variable", "VarIsInitializedOp", "ImmutableConst"),
        *("HashTableV2", "HashTable", "MutableHashTableV2", "MutableHashTable"),
        *("MutableDenseHashTableV2", "MutableHashTableOfTensorsV2"),
        *("LookupTableFindV2", "LookupTableFind", "LookupTableSizeV2"),
        *("LookupTableExportV2", "StatefulPartitionedCall", "If", "While", "Case"),
        *("Assert", "Print", "PrintV2", "Placeholder", "PlaceholderWithDefault"),
        *("CheckNumerics", "CheckNumericsV2", "VariableShape"),
        # These take a reference, through which others write, and only read.
        *("RefIdentity", "RefSwitch", "RefMerge", "RefSelect"),
        *("RefEnter", "RefExit", "RefNextIteration"),
        *("IsVariableInitialized", "LookupTableSize", "LookupTableExport"),
    }
)
_OF_ONE_RUN = "TensorArray"  # begins the names of those whose state ends with the run


# Of the unsteady ones, those that leave variables alone.
_DRAWING = frozenset(
    {
        *("RandomUniform", "RandomUniformInt", "RandomStandardNormal"),
        *("TruncatedNormal", "ParameterizedTruncatedNormal", "RandomShuffle"),
        *("Multinomial", "RandomGamma", "RandomPoisson", "RandomPoissonV2"),
    }
)


# State that a checkpoint fills. Static tables are filled by the graph itself.
_FILLED = frozenset(
    {
        *("VarHandleOp", "MutableHashTableV2", "MutableHashTableOfTensorsV2"),
        "MutableDenseHashTableV2",
    }
)
INIT = "__saved_model_init_op"  # the name of its signature, and of its output
OLDER_INITS = ("saved_model_main_op", "legacy_init_op")  # collections
_LARGE = 2**16  # bytes


def may_write(unsteady: Iterable[str]) -> bool:
    """True when one of these operations may write to a variable.

    Mapped weights are read-only memory: writing to one ends the process.
    """
    return not _DRAWING.issuperset(unsteady)


def needed_nodes(meta_graph: Any, fetches: Iterable[str]) -> set[str]:
    """Return the names of the graph's nodes that the fetched tensors depend on."""
    nodes = {node.name: node for node in meta_graph.graph_def.node}
    return {node.name for node in _needed(nodes, fetches)}


def unfilled(meta_graph: Any, needed: Collection[str]) -> list[Any]:
    """Return needed nodes whose state neither restoring nor initialising reaches.

    Only what TensorFlow 2 saved has any: its objects hold the values.
    """
    if not meta_graph.object_graph_def.nodes:
        return []
    nodes = {node.name: node for node in meta_graph.graph_def.node}
    reached = needed_nodes(meta_graph, [*_restore_op(meta_graph), *init_op(meta_graph)])
    return [
        nodes[name]
        for name in sorted(set(needed) - reached)
        if nodes[name].op in _FILLED
    ]


def init_op(meta_graph: Any) -> list[str]:
    """Return the name of the operation that fills tables, if there is one."""
    if INIT in meta_graph.signature_def:
        return [_node_name(meta_graph.signature_def[INIT].outputs[INIT].name)]
    for key in OLDER_INITS:
        if key in meta_graph.collection_def:
            return [*meta_graph.collection_def[key].node_list.value]
    return []


def take_constants(meta_graph: Any) -> dict[str, Any]:
    """Make placeholders of the large constants that only the initialisation reads.

    Returns tensor → TensorProto. A vocabulary is such a constant: TensorFlow's
    optimizer copies it some thirty times, which takes longer than all else.
    """
    served = [
        output.name
        for name, signature in meta_graph.signature_def.items()
        if name != INIT
        for output in signature.outputs.values()
        if output.name
    ]
    others = needed_nodes(meta_graph, [*served, *_restore_op(meta_graph)])
    only = needed_nodes(meta_graph, init_op(meta_graph)) - others
    taken = {}
    for node in meta_graph.graph_def.node:
        if node.name in only and node.op == "Const" and node.ByteSize() > _LARGE:
            value = TensorProto()
            value.CopyFrom(node.attr["value"].tensor)
            taken[f"{node.name}:0"] = value
            del node.attr["value"]
            node.op = "Placeholder"
            node.attr["shape"].shape.CopyFrom(value.tensor_shape)
    return taken


def _restore_op(meta_graph: Any) -> list[str]:
    name = meta_graph.saver_def.restore_op_name
    return [name] if name else []


def unsteady_ops(meta_graph: Any, fetches: Iterable[str]) -> set[str]:
    """Return the kinds of operation that may answer one question in two ways.

    Randomness, writes to variables, counters, Python functions, … found in what the
    fetched tensors depend on, in functions and branches too. Empty: the model is a
    function of its inputs, and may be cached.
    """
    functions = {f.signature.name: f for f in meta_graph.graph_def.library.function}
    nodes = {node.name: node for node in meta_graph.graph_def.node}
    found: set[str] = set()
    seen: set[str] = set()
    todo = deque(_needed(nodes, fetches))
    while todo:
        node = todo.popleft()
        if node.op not in functions and _is_unsteady(node.op):
            found.add(node.op)
        for name in called(node):
            if name in functions and name not in seen:
                seen.add(name)
                todo.extend(functions[name].node_def)
    return found


def _needed(nodes: dict[str, Any], fetches: Iterable[str]) -> Iterator[Any]:
    """The nodes that the fetches depend on."""
    todo = [_node_name(fetch) for fetch in fetches]
    seen = set(todo)
    while todo:
        node = nodes[todo.pop()]
        yield node
        new = {_node_name(source) for source in node.input} - seen
        seen |= new
        todo.extend(new)


def _node_name(tensor: str) -> str:
    return tensor.lstrip("^").split(":")[0]


def called(node: Any) -> Iterator[str]:
    """Yield the names of the operation and of the functions that a node may call."""
    yield node.op
    for attribute in node.attr.values():
        if attribute.HasField("func"):
            yield attribute.func.name
        yield from (function.name for function in attribute.list.func)


def _is_unsteady(op: str) -> bool:
    definition = op_def_registry.get(op)
    if definition is None:
        return True
    if op in _STEADY or op.startswith(_OF_ONE_RUN):
        return False
    # What writes through a reference, as TensorFlow 1 does, does not count as stateful.
    return definition.is_stateful or any(a.is_ref for a in definition.input_arg)
