"""What the graph of a model proves about it."""

from collections import deque
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from tensorflow.python.framework import op_def_registry

from gomlx.models.graph import dependencies, init_op, needed_nodes, restore_op

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


def may_write(unsteady: Iterable[str]) -> bool:
    """True when one of these operations may write to a variable.

    Mapped weights are read-only memory: writing to one ends the process.
    """
    return not _DRAWING.issuperset(unsteady)


def unfilled(meta_graph: Any, needed: Collection[str]) -> list[Any]:
    """Return needed nodes whose state neither restoring nor initialising reaches.

    Only what TensorFlow 2 saved has any: its objects hold the values.
    """
    if not meta_graph.object_graph_def.nodes:
        return []
    nodes = {node.name: node for node in meta_graph.graph_def.node}
    reached = needed_nodes(meta_graph, [*restore_op(meta_graph), *init_op(meta_graph)])
    return [
        nodes[name]
        for name in sorted(set(needed) - reached)
        if nodes[name].op in _FILLED
    ]


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
    todo = deque(dependencies(nodes, fetches))
    while todo:
        node = todo.popleft()
        if node.op not in functions and _is_unsteady(node.op):
            found.add(node.op)
        for name in called(node):
            if name in functions and name not in seen:
                seen.add(name)
                todo.extend(functions[name].node_def)
    return found


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
