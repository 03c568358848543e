"""Which tensor of its checkpoint each variable and table of a graph is restored from.

A SavedModel's graph has an operation that restores it. It is followed, into the
functions that it calls: what it assigns to which handle, and what it reads of the
checkpoint for it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import tensorflow as tf

from gomlx.models.graph import dependencies, init_op, needed_nodes, restore_op

_CALLS = frozenset({"PartitionedCall", "StatefulPartitionedCall"})
TABLES = frozenset(
    {
        "MutableHashTableV2",
        "MutableHashTable",
        "MutableDenseHashTableV2",
        "MutableHashTableOfTensorsV2",
    }
)
FILLED = TABLES | {"VarHandleOp"}  # what a checkpoint fills


class Saved(NamedTuple):
    """A tensor of a checkpoint, or a slice of one. dtype: TensorFlow's name."""

    key: str
    slice: str
    dtype: str


class SavedTable(NamedTuple):
    """The keys and values of a mutable table."""

    keys: Saved
    values: Saved


@dataclass(frozen=True)
class Restored:
    """What restoring fills: name of an operation → what of the checkpoint it gets.

    reached: the names of all that restoring depends on. initialized: of all that the
    initialization does.
    """

    variables: dict[str, Saved]
    tables: dict[str, SavedTable]
    reached: frozenset[str]
    initialized: frozenset[str]


class _Output(NamedTuple):
    """An output of a node. scope: the graph, or the call of a function, it is in."""

    scope: "_Scope"
    node: Any
    place: int


@dataclass(frozen=True)
class _Scope:
    """The nodes of a graph, or of one call of a function, and its arguments."""

    nodes: dict[str, Any]
    arguments: dict[str, _Output | None] = field(default_factory=dict)
    is_call: bool = False

    def output(self, name: str) -> _Output | None:
        """Return where an input comes from, beyond identities; None: not known."""
        if name in self.arguments:
            return self.arguments[name]
        node_name, *rest = name.split(":")
        node = self.nodes.get(node_name)
        if node is None:
            return None
        if node.op == "Identity":
            return self.output(node.input[0])
        return _Output(self, node, int(rest[-1]) if rest else 0)

    def outputs(self, node: Any) -> list[_Output | None]:
        """Return where each input of a node comes from."""
        return [self.output(name) for name in node.input if not name.startswith("^")]


def restored(meta_graph: Any) -> Restored:
    """Return what restoring a graph fills, wherever both sides are known."""
    library = meta_graph.graph_def.library
    functions = {one.signature.name: one for one in library.function}
    graph = _Scope({node.name: node for node in meta_graph.graph_def.node})
    reached = list(dependencies(graph.nodes, restore_op(meta_graph)))
    file = meta_graph.saver_def.filename_tensor_name.partition(":")[0]
    uses: dict[str, list[Saved | SavedTable | None]] = {}
    for scope, node in _all_nodes(graph, reached, functions):
        sources = scope.outputs(node)
        for handle in sources if node.op not in _CALLS else ():
            if handle and not handle.scope.is_call and handle.node.op in FILLED:
                uses.setdefault(handle.node.name, []).append(
                    _assigned(node, sources, file)
                )
    known = {name: of[0] for name, of in uses.items() if len(of) == 1}
    return Restored(
        {name: one for name, one in known.items() if isinstance(one, Saved)},
        {name: one for name, one in known.items() if isinstance(one, SavedTable)},
        frozenset(node.name for node in reached),
        frozenset(needed_nodes(meta_graph, init_op(meta_graph))),
    )


def _all_nodes(
    scope: _Scope, nodes: Iterable[Any], functions: dict[str, Any]
) -> Iterator[tuple[_Scope, Any]]:
    """Yield nodes, and those of the functions that they call, with their scopes."""
    for node in nodes:
        yield scope, node
        if node.op in _CALLS:
            function = functions[node.attr["f"].func.name]
            names = [argument.name for argument in function.signature.input_arg]
            arguments = dict(zip(names, scope.outputs(node), strict=True))
            nodes_of = {one.name: one for one in function.node_def}
            inner = _Scope(nodes_of, arguments, is_call=True)
            yield from _all_nodes(inner, function.node_def, functions)


def _assigned(
    node: Any, sources: list[_Output | None], file: str
) -> Saved | SavedTable | None:
    """Return what an operation assigns to its handle, if that is known.

    file: the node that names the checkpoint.
    """
    found = (_saved(source, file) for source in sources[1:])
    saved = [one for one in found if one]
    if node.op == "AssignVariableOp" and len(saved) == 1:
        return saved[0]
    if node.op == "LookupTableImportV2" and len(saved) == 2:
        return SavedTable(*saved)
    return None


def _saved(output: _Output | None, file: str) -> Saved | None:
    """Return which tensor of the checkpoint an output is, if it is one."""
    if output is None or output.node.op != "RestoreV2":
        return None
    prefix, *constants = output.scope.outputs(output.node)
    if prefix is None or prefix.scope.is_call or prefix.node.name != file:
        return None  # of another checkpoint
    keys, slices = map(_constant, constants)
    if keys is None or slices is None:
        return None
    dtype = tf.as_dtype(output.node.attr["dtypes"].list.type[output.place]).name
    return Saved(keys[output.place].decode(), slices[output.place].decode(), dtype)


def _constant(output: _Output | None) -> Any:
    if output is None or output.node.op != "Const":
        return None
    return tf.make_ndarray(output.node.attr["value"].tensor)
