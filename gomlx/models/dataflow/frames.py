"""The parts of a dataflow: bodies of functions, frames, places and their consumers.

A *place* is a tensor in a *frame*: the graph itself, or one call of a function.
"""

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, NamedTuple

from gomlx.models.dataflow.elements import NodeOutput, inputs, split


class FunctionCall(NamedTuple):
    """How a type of operation calls functions.

    roles are the attributes that name the functions; first is the number of the input
    that is the first argument.
    """

    roles: tuple[str, ...] = ()
    first: int = 0


CALLS = {
    "Case": FunctionCall(("branches",), 1),
    "If": FunctionCall(("then_branch", "else_branch"), 1),
    "PartitionedCall": FunctionCall(("f",)),
    "StatefulPartitionedCall": FunctionCall(("f",)),
    "StatelessCase": FunctionCall(("branches",), 1),
    "StatelessIf": FunctionCall(("then_branch", "else_branch"), 1),
    "StatelessWhile": FunctionCall(("cond", "body")),
    "While": FunctionCall(("cond", "body")),
}
LOOPS = ("While", "StatelessWhile")


class Body:
    """A graph or the body of a function: its nodes, and its edges in both directions.

    users: tensor → the nodes that consume it, each with the number of its input.
    outputs: node → those of its output tensors that something uses.
    """

    def __init__(
        self,
        nodes: Collection[Any],
        arguments: Collection[str],
        results: Collection[str],
    ) -> None:
        self.nodes = {node.name: node for node in nodes}
        self.arguments = tuple(arguments)
        self.results = [split(name) for name in results]
        self.users: dict[NodeOutput, list[tuple[Any, int]]] = defaultdict(list)
        for node in nodes:
            for slot, tensor in enumerate(inputs(node)):
                self.users[tensor].append((node, slot))
        self.outputs: dict[str, set[NodeOutput]] = defaultdict(set)
        for tensor in (*self.users, *self.results):
            self.outputs[tensor[0]].add(tensor)


@dataclass(frozen=True, eq=False)
class Frame:
    """The graph (caller is None), or one call of a function by a node of caller.

    role is the attribute of the node that names the function, first the number of the
    node's input that is the first argument.
    """

    body: Body
    caller: "Frame | None" = None
    node: Any = None
    role: str = ""
    first: int = 0
    depth: int = 0


class Place(NamedTuple):
    """A tensor in a frame: a value of the dataflow."""

    frame: Frame
    tensor: NodeOutput


class FunctionResult(NamedTuple):
    """The consumer of a tensor that is result number i of its function."""

    i: int
    op: str = "the condition of a loop"


class Use(NamedTuple):
    """A consumer of a place: a node whose input number `slot` is the tensor."""

    place: Place
    node: Any
    slot: int

    def input(self, slot: int) -> Place:
        """Return another input of the node."""
        return Place(self.place.frame, inputs(self.node)[slot])

    @property
    def label(self) -> str:
        """The operation and the name of the node, for people."""
        if isinstance(self.node, FunctionResult):
            return f"{self.node.op} ({self.place.frame.node.name})"
        return f"{self.node.op} ({self.node.name})"

    @property
    def is_loop_condition(self) -> bool:
        """True if the tensor is what decides whether a loop runs again."""
        return isinstance(self.node, FunctionResult) and self.place.frame.role == "cond"
