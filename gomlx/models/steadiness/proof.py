"""The proof that a model is steady: that it always gives the same answer to a row.

Only answers of steady models are cached. Whatever a run reaches (reach.py) must be
known to be a function of its inputs, or to read what nothing writes (pure.py,
stateful.py); so must what fills the model's tables and variables when it is loaded, for
each worker loads it, and at another time.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import PurePosixPath
from typing import Any

from gomlx.models.dataflow.elements import NodeOutput, split
from gomlx.models.dataflow.frames import Body
from gomlx.models.graph import assets, init_op, needed_nodes
from gomlx.models.steadiness.pure import PURE
from gomlx.models.steadiness.reach import Reach, Reached
from gomlx.models.steadiness.stablehlo import is_pure
from gomlx.models.steadiness.stateful import (
    INITIALIZERS,
    OUTSIDE,
    PER_RUN,
    RANDOM,
    STEADY_READERS,
)
from gomlx.models.steadiness.values import Bounds, Fact, Mark

_STEADY = PURE | STEADY_READERS | PER_RUN
# Operations that read a file, and the input that is its path.
_PATHS = {
    "InitializeTableFromTextFile": 1,
    "InitializeTableFromTextFileV2": 1,
    "ReadFile": 0,
    "TextLineDataset": 0,
}


def unsteady_ops(
    meta_graph: Any,
    served: Body,
    functions: Callable[[str], Body],
    feeds: Collection[str],
) -> set[str]:
    """Return the types of operation that may give two answers to the same row.

    If there are none, the model is a function of its inputs, and its answers may be
    cached. served: the nodes that the fetched tensors, its results, depend on.
    functions: the body of a function of a name.
    """
    graph = meta_graph.graph_def
    library = {function.signature.name for function in graph.library.function}
    run = _Examined(graph, library, frozenset())
    fetches = [f"{name}:{i}" for name, i in served.results]
    fed = dict.fromkeys(map(split, feeds))
    Reach(functions, library, run.visit).walk(served, fed, fetches)
    load = _Examined(graph, library, INITIALIZERS)
    init = init_op(meta_graph)
    needed = needed_nodes(meta_graph, init)
    loaded = Body([node for node in graph.node if node.name in needed], (), ())
    Reach(functions, library, load.visit).walk(loaded, _files(meta_graph), init)
    return run.unsteady | load.unsteady


def may_write(unsteady: Iterable[str]) -> bool:
    """True if one of these operations may write to a variable.

    Mapped weights are read-only memory: a write to one would crash the process.
    """
    return not (RANDOM | OUTSIDE).issuperset(unsteady)


def _files(meta_graph: Any) -> dict[NodeOutput, Fact]:
    """Return the tensors that are paths of the version's files while it is loaded."""
    functions = meta_graph.graph_def.library.function
    if any(node.op == "VarHandleOp" for f in functions for node in f.node_def):
        return {}  # a second way to a variable, which may hold such a path
    return {
        split(asset.tensor_info.name): Mark.ASSET
        for asset in assets(meta_graph)
        if not {"..", "/"} & set(PurePosixPath(asset.filename).parts)
    }


def _is_compiled(graph: Any) -> bool:
    """True if XLA compiles a part of a graph, and draws numbers in its own way."""
    bodies = [graph.node, *(f.node_def for f in graph.library.function)]
    marked = [node.attr for nodes in bodies for node in nodes]
    marked += [function.attr for function in graph.library.function]
    return any("_XlaMustCompile" in a and a["_XlaMustCompile"].b for a in marked)


class _Examined:
    """The operations that were reached, as far as they are not known to be steady.

    allowed: others that may run.
    """

    def __init__(
        self, graph: Any, library: Collection[str], allowed: frozenset[str]
    ) -> None:
        self._is_compiled = _is_compiled(graph)
        self._library = library
        self._allowed = allowed
        self.unsteady: set[str] = set()

    def visit(self, reached: Reached) -> None:
        op = reached.node.op
        if op in self.unsteady or self._is_steady(reached):
            return
        if op not in RANDOM or self._is_compiled or reached.matters():
            self.unsteady.add(op)

    def _is_steady(self, reached: Reached) -> bool:
        node = reached.node
        if any(attribute.placeholder for attribute in node.attr.values()):
            return False  # of a function that each call completes
        if node.op in _CONDITIONS:
            return _CONDITIONS[node.op](node, reached.values)
        if node.op in _PATHS:
            return reached.values[_PATHS[node.op]] is Mark.ASSET
        return (
            node.op in _STEADY or node.op in self._library or node.op in self._allowed
        )


def _keeps_order(node: Any, _: Sequence[Fact]) -> bool:
    """True if a data set that computes in parallel puts its elements in order."""
    if "sloppy" in node.attr and node.attr["sloppy"].b:
        return False
    return _text(node, "deterministic", b"default") in (b"default", b"true")


def _has_own_description(node: Any, _: Sequence[Fact]) -> bool:
    """True if no file describes a protocol buffer's message."""
    return _text(node, "descriptor_source", b"").startswith(b"bytes://")


def _prints_to_the_log(node: Any, _: Sequence[Fact]) -> bool:
    """True if what is printed goes to no file."""
    return not _text(node, "output_stream", b"stderr").startswith(b"file:")


def _text(node: Any, name: str, default: bytes) -> bytes:
    """Return an attribute. To ask for one that is missing would add it, empty."""
    return bytes(node.attr[name].s) if name in node.attr else default


def _is_sure(_: Any, values: Sequence[Fact]) -> bool:
    """True if SentencePiece takes the best pieces instead of drawing some."""
    drawn = values[2]
    return isinstance(drawn, Bounds) and drawn.low == drawn.high and drawn.low in (0, 1)


_CONDITIONS: dict[str, Callable[[Any, Sequence[Fact]], bool]] = {
    "DecodeProtoV2": _has_own_description,
    "EncodeProto": _has_own_description,
    "ParallelBatchDataset": _keeps_order,
    "ParallelFilterDataset": _keeps_order,
    "ParallelInterleaveDatasetV2": _keeps_order,
    "ParallelInterleaveDatasetV3": _keeps_order,
    "ParallelInterleaveDatasetV4": _keeps_order,
    "ParallelMapDataset": _keeps_order,
    "ParallelMapDatasetV2": _keeps_order,
    "ParseExampleDataset": _keeps_order,
    "ParseExampleDatasetV2": _keeps_order,
    "PrintV2": _prints_to_the_log,
    "SentencepieceTokenizeOp": _is_sure,
    "SentencepieceTokenizeWithOffsetsOp": _is_sure,
    "XlaCallModule": lambda node, values: is_pure(node),
}
