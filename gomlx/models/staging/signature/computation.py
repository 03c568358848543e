"""What a signature computes, as a digest that does not depend on names.

Exporters write one function under several names, each with placeholders, calls and
functions of its own: Keras, `serve` and `serving_default`. Equal digests are of equal
computations; different ones may be, too.
"""

from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any

from gomlx.models.staging.signature.bind import BoundSignature

_NAMELESS = ("_class", "_user_specified_name")


def computation(meta_graph: Any, bound: BoundSignature) -> bytes | None:
    """Return the digest; None where the graph has loops of TensorFlow 1."""
    binding = bound.binding
    graph = meta_graph.graph_def
    digests = _Digests(graph, binding.feeds)
    outputs = [digests.of_tensor(name) for name in binding.fetches]
    if None in outputs:
        return None
    contract = (bound.signature, binding.rows, [one.layout for one in binding.inputs])
    return _digest(repr(contract).encode(), *(one or b"" for one in outputs))


class _Digests:
    """The digests of a graph's tensors, of which some are fed."""

    def __init__(self, graph: Any, feeds: Sequence[str]) -> None:
        self._nodes = {node.name: node for node in graph.node}
        self._feeds = {_full(name): i for i, name in enumerate(feeds)}
        self._functions = _Functions(graph.library)
        self._known: dict[str, bytes] = {}  # node → digest

    def of_tensor(self, name: str) -> bytes | None:
        """Return the digest of what a tensor is computed from; None: of itself."""
        name = _full(name)
        if name not in self._feeds and not self._visit(name):
            return None
        return self._of_source(name)

    def _visit(self, tensor: str) -> bool:
        """Digest the nodes below a tensor; return False if there is a cycle."""
        todo = [_node(tensor)]
        begun = set[str]()
        while todo:
            name = todo[-1]
            waiting = [source for source in self._sources(name) if source not in begun]
            if name in self._known:
                todo.pop()
            elif name not in begun:
                begun.add(name)
                todo += waiting
            elif any(source not in self._known for source in self._sources(name)):
                return False
            else:
                self._known[todo.pop()] = self._of_node(self._nodes[name])
        return True

    def _sources(self, name: str) -> Iterator[str]:
        """Yield the nodes that a node reads and that are computed, too."""
        for source in self._nodes[name].input:
            if _full(source) not in self._feeds:
                yield _node(source)

    def _of_node(self, node: Any) -> bytes:
        sources = [self._of_source(_full(source)) for source in node.input]
        reads = any(source[:1] != "^" for source in node.input)
        # What begins a graph is a variable, a table: two of them are never the same.
        name = "" if reads or node.op in ("Const", "NoOp") else node.name
        attributes = self._functions.of_attributes(node)
        return _digest(name.encode(), node.op.encode(), attributes, *sources)

    def _of_source(self, name: str) -> bytes:
        if name in self._feeds:
            return b"fed %d" % self._feeds[name]
        return _digest(self._known[_node(name)], name.partition(":")[2].encode())


class _Functions:
    """The digests of a library's functions, without the names of functions."""

    def __init__(self, library: Any) -> None:
        self._functions = {one.signature.name: one for one in library.function}
        self._known: dict[str, bytes] = {}

    def of_attributes(self, node: Any) -> bytes:
        """Return the digest of a node's attributes."""
        return _digest(*self._attributes(node.attr))

    def _attributes(self, attributes: Mapping[str, Any]) -> Iterator[bytes]:
        for name, value in sorted(attributes.items()):
            if name not in _NAMELESS:
                yield name.encode()
                bare = type(value)()
                bare.CopyFrom(value)
                for called in (bare.func, *bare.list.func):
                    if called.name in self._functions:
                        yield self._of_function(called.name)
                        called.name = ""
                yield bare.SerializeToString(deterministic=True)

    def _of_function(self, name: str) -> bytes:
        if name not in self._known:
            self._known[name] = name.encode()  # where it calls itself
            self._known[name] = self._digest(self._functions[name])
        return self._known[name]

    def _digest(self, function: Any) -> bytes:
        parts = [_without(function.signature, "name")]
        for node in function.node_def:
            parts.append(_without(node, "attr", "experimental_debug_info"))
            parts.append(self.of_attributes(node))
        returned = sorted(function.ret.items()), sorted(function.control_ret.items())
        return _digest(*parts, repr(returned).encode())


def _without(message: Any, *fields: str) -> bytes:
    """Return a message as bytes, without some of its fields."""
    bare = type(message)()
    bare.CopyFrom(message)
    for field in fields:
        bare.ClearField(field)
    return bytes(bare.SerializeToString(deterministic=True))


def _node(tensor: str) -> str:
    return tensor.lstrip("^").partition(":")[0]


def _full(tensor: str) -> str:
    """Return the name of a tensor with its number, as signatures have it."""
    return tensor if ":" in tensor or tensor[:1] == "^" else f"{tensor}:0"


def _digest(*parts: bytes) -> bytes:
    state = blake2b(digest_size=16)
    for part in parts:
        state.update(b"%d:%b" % (len(part), part))
    return state.digest()
