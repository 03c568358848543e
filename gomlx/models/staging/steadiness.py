"""Whether a model is steady: whether it always gives the same answer to the same row.

Only answers of steady models are cached. What is unsteady draws random numbers, writes
to variables or tables, counts, calls Python, … : TensorFlow calls that stateful, but it
calls reads of state stateful too.
"""

from collections import deque
from collections.abc import Iterable
from typing import Any

from tensorflow.python.framework import op_def_registry

from gomlx.models.dataflow.elements import called_functions
from gomlx.models.graph import dependencies
from gomlx.models.staging.stablehlo import is_pure

# TensorFlow registers these as stateful, or they take a reference to a variable. They
# give the same for the same input as long as nothing writes: they read variables and
# tables, or call functions, whose bodies are examined too.
_STEADY = frozenset(
    {
        "Assert",
        "Case",
        "CheckNumerics",
        "CheckNumericsV2",
        "HashTable",
        "HashTableV2",
        "If",
        "ImmutableConst",
        "IsVariableInitialized",
        "LookupTableExport",
        "LookupTableExportV2",
        "LookupTableFind",
        "LookupTableFindV2",
        "LookupTableSize",
        "LookupTableSizeV2",
        "MutableDenseHashTableV2",
        "MutableHashTable",
        "MutableHashTableOfTensorsV2",
        "MutableHashTableV2",
        "Placeholder",
        "PlaceholderWithDefault",
        "Print",
        "PrintV2",
        "ReadVariableOp",
        "RefEnter",
        "RefExit",
        "RefIdentity",
        "RefMerge",
        "RefNextIteration",
        "RefSelect",
        "RefSwitch",
        "ResourceGather",
        "ResourceGatherNd",
        "StatefulPartitionedCall",
        "VarHandleOp",
        "VarIsInitializedOp",
        "Variable",
        "VariableShape",
        "VariableV2",
        "While",
    }
)
_PER_RUN_PREFIX = "TensorArray"  # of operations whose state ends with the run

# Unsteady operations that do not write to variables: they draw random numbers.
_RANDOM = frozenset(
    {
        "Multinomial",
        "ParameterizedTruncatedNormal",
        "RandomGamma",
        "RandomPoisson",
        "RandomPoissonV2",
        "RandomShuffle",
        "RandomStandardNormal",
        "RandomUniform",
        "RandomUniformInt",
        "TruncatedNormal",
    }
)


def unsteady_ops(meta_graph: Any, fetches: Iterable[str]) -> set[str]:
    """Return the types of operation that may give two answers to the same row.

    They are searched for in all that the fetched tensors depend on, functions and
    branches included. If there are none, the model is a function of its inputs, and
    its answers may be cached.
    """
    functions = {f.signature.name: f for f in meta_graph.graph_def.library.function}
    nodes = {node.name: node for node in meta_graph.graph_def.node}
    found: set[str] = set()
    seen: set[str] = set()
    todo = deque(dependencies(nodes, fetches))
    while todo:
        node = todo.popleft()
        if node.op not in functions and _is_unsteady(node):
            found.add(node.op)
        new = {name for name in called_functions(node, functions) if name not in seen}
        seen |= new
        for name in new:
            todo.extend(functions[name].node_def)
    return found


def may_write(unsteady: Iterable[str]) -> bool:
    """True if one of these operations may write to a variable.

    Mapped weights are read-only memory: a write to one would crash the process.
    """
    return not _RANDOM.issuperset(unsteady)


def _is_unsteady(node: Any) -> bool:
    op = node.op
    if op == "XlaCallModule":
        return not is_pure(node)
    definition = op_def_registry.get(op)
    if definition is None:
        return True
    if op in _STEADY or op.startswith(_PER_RUN_PREFIX):
        return False
    # TensorFlow 1 writes through references, by operations not registered as stateful.
    return definition.is_stateful or any(a.is_ref for a in definition.input_arg)
