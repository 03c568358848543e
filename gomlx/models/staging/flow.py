"""Where a tensor's elements go: through a graph, its functions and its branches.

A place is a tensor in a frame; a frame is the graph, or one call of a function. All
that follows from where elements end does not ask how often a function runs or which
branch is taken.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from tensorflow.python.framework.function_def_to_graph import function_def_to_graph_def

from gomlx.models.staging.elements import (
    Tensor,
    carrying_slots,
    inputs,
    is_handed_on,
    split,
)

_CALLS = {
    **dict.fromkeys(("PartitionedCall", "StatefulPartitionedCall"), (("f",), 0)),
    **dict.fromkeys(("If", "StatelessIf"), (("then_branch", "else_branch"), 1)),
    **dict.fromkeys(("Case", "StatelessCase"), (("branches",), 1)),
    **dict.fromkeys(("While", "StatelessWhile"), (("cond", "body"), 0)),
}
_LOOPS = ("While", "StatelessWhile")
_MAX_DEPTH = 100  # calls within calls; more is recursion


class Body:
    """A graph, or the body of a function, with its edges both ways."""

    def __init__(
        self,
        nodes: Collection[Any],
        arguments: Collection[str],
        results: Collection[str],
    ) -> None:
        self.nodes = {node.name: node for node in nodes}
        self.arguments = tuple(arguments)
        self.results = [split(name) for name in results]
        self.users: dict[Tensor, list[tuple[Any, int]]] = defaultdict(list)
        for node in nodes:
            for slot, tensor in enumerate(inputs(node)):
                self.users[tensor].append((node, slot))
        self.outputs: dict[str, set[Tensor]] = defaultdict(set)  # those in use
        for tensor in (*self.users, *self.results):
            self.outputs[tensor[0]].add(tensor)


@dataclass(frozen=True, eq=False)
class Frame:
    """The graph (caller is None), or one call of a function by a node of caller."""

    body: Body
    caller: "Frame | None" = None
    node: Any = None
    role: str = ""  # the attribute of the node that names the function
    first: int = 0  # the input of the node that is the first argument
    depth: int = 0


class Place(NamedTuple):
    """A tensor in a frame."""

    frame: Frame
    tensor: Tensor


class Use(NamedTuple):
    """A node that takes the tensor of a place, as its input number `slot`."""

    place: Place
    node: Any
    slot: int

    def input(self, slot: int) -> Place:
        """Another input of the node."""
        return Place(self.place.frame, inputs(self.node)[slot])

    @property
    def is_loop_condition(self) -> bool:
        """True when it is the result of the function that ends a loop."""
        return isinstance(self.node, _Result) and self.place.frame.role == "cond"


class Flow:
    """The flow of elements through the needed part of a graph.

    Made within the graph whose functions it follows. feeds are the tensors that a
    caller replaces, fetches those that it is given.
    """

    def __init__(
        self,
        graph_def: Any,
        needed: Collection[str],
        feeds: Collection[str],
        fetches: Collection[str],
    ) -> None:
        self._library = {f.signature.name: f for f in graph_def.library.function}
        self._bodies: dict[str, Body] = {}
        self._frames: dict[tuple[Frame, str, str, str], Frame] = {}
        self._feeds = {split(feed) for feed in feeds}
        nodes = [node for node in graph_def.node if node.name in needed]
        self._root = Frame(Body(nodes, (), fetches))

    def ends(self, feed: str) -> tuple[list[Use], bool]:
        """Follow a tensor of the graph to the uses that hand its elements on no more.

        The second value is true when such elements are fetched.
        """
        start = Place(self._root, split(feed))
        seen, todo = {start}, [start]
        found: list[Use] = []
        while todo:
            place = todo.pop()
            for use in self.uses(place):
                onward = self.onward(use)
                if onward is None:
                    found.append(use)
                    continue
                todo.extend(set(onward) - seen)
                seen.update(onward)
        return found, self.is_fetched(seen)

    def is_fetched(self, places: Collection[Place]) -> bool:
        """True when one of these places is what a caller is given."""
        return any(Place(self._root, t) in places for t in self._root.body.results)

    def source(self, place: Place) -> Place:
        """Return where elements come from, as far back as one place is the answer."""
        while (before := self._before(place)) is not None:
            place = before
        return place

    def node(self, place: Place) -> Any:
        """Return the node that makes a tensor; None when a caller may replace it."""
        if place.frame is self._root and place.tensor in self._feeds:
            return None
        return place.frame.body.nodes.get(place.tensor[0])

    def uses(self, place: Place) -> Iterator[Use]:
        """Yield the uses of a tensor as data."""
        frame = place.frame
        for node, slot in frame.body.users.get(place.tensor, ()):
            yield Use(place, node, slot)
        for i, result in enumerate(frame.body.results):
            if frame.caller and result == place.tensor:
                yield Use(place, _Result(i), i)

    def outputs(self, use: Use) -> list[Place]:
        """Return what a node puts out; a loop's condition: what the loop does."""
        frame, node = use.place.frame, use.node
        if isinstance(node, _Result):
            assert frame.caller is not None
            frame, node = frame.caller, frame.node
        return [Place(frame, tensor) for tensor in frame.body.outputs[node.name]]

    def onward(self, use: Use) -> list[Place] | None:
        """Return the places that take the elements on; None: they end here."""
        frame, node, slot = use.place.frame, use.node, use.slot
        if isinstance(node, _Result):
            return self._leave(frame, slot)
        if node.op == "IdentityN":
            return [Place(frame, (node.name, slot))]
        if slot in carrying_slots(node):
            return [Place(frame, tensor) for tensor in frame.body.outputs[node.name]]
        return self._enter(frame, node, slot)

    def _enter(self, frame: Frame, node: Any, slot: int) -> list[Place] | None:
        """Follow an input of a call into the functions that are called."""
        called = self._called(frame, node)
        if not called or slot < called[0].first:
            return None  # no call of ours, or the choice of a branch
        places = [
            Place(inner, (inner.body.arguments[slot - inner.first], 0))
            for inner in called
        ]
        if node.op in _LOOPS:
            places.append(Place(frame, (node.name, slot)))
        return places

    def _leave(self, frame: Frame, i: int) -> list[Place] | None:
        """Follow result number i of a function to the output of its call."""
        assert frame.caller is not None
        if frame.node.op in _LOOPS:
            if frame.role == "cond":
                return None
            return self._enter(frame.caller, frame.node, i)
        return [Place(frame.caller, (frame.node.name, i))]

    def _before(self, place: Place) -> Place | None:
        """Return the one place that a place has its elements from."""
        frame, (name, i) = place
        node = self.node(place)
        if frame.caller and name in frame.body.arguments:
            slot = frame.body.arguments.index(name) + frame.first
            if frame.node.op in _LOOPS and not self._is_steady(frame, slot):
                return None
            return Place(frame.caller, inputs(frame.node)[slot])
        if node is None or not (is_handed_on(node) or node.op == "IdentityN"):
            return None
        return Place(frame, inputs(node)[i if node.op == "IdentityN" else 0])

    def _is_steady(self, frame: Frame, i: int) -> bool:
        """True when every turn of a loop gives variable number i to the next as is."""
        assert frame.caller is not None
        turn = next(
            f for f in self._called(frame.caller, frame.node) if f.role == "body"
        )
        tensor = turn.body.results[i]
        while tensor[0] not in turn.body.arguments:
            node = turn.body.nodes[tensor[0]]
            if not is_handed_on(node):
                return False
            tensor = inputs(node)[0]
        return tensor[0] == turn.body.arguments[i]

    def _called(self, frame: Frame, node: Any) -> list[Frame]:
        """Return the frames of the functions that a node calls; none if unknown."""
        if frame.depth > _MAX_DEPTH:
            return []
        if node.op in self._library:
            return [self._frame(frame, node, "", node.op, 0)]
        roles, first = _CALLS.get(node.op, ((), 0))
        return [
            self._frame(frame, node, role, function.name, first)
            for role in roles
            for function in _functions(node.attr[role])
        ]

    def _frame(
        self, caller: Frame, node: Any, role: str, function: str, first: int
    ) -> Frame:
        key = caller, node.name, role, function
        if key not in self._frames:
            body, depth = self._body(function), caller.depth + 1
            self._frames[key] = Frame(body, caller, node, role, first, depth)
        return self._frames[key]

    def _body(self, function: str) -> Body:
        if function not in self._bodies:
            definition = self._library[function]
            graph_def, flat = function_def_to_graph_def(definition)
            signature = definition.signature
            self._bodies[function] = Body(
                graph_def.node,
                [argument.name for argument in signature.input_arg],
                [flat[definition.ret[result.name]] for result in signature.output_arg],
            )
        return self._bodies[function]


class _Result(NamedTuple):
    """The use of a tensor as result number i of its function."""

    i: int
    op: str = "the condition of a loop"


def _functions(attribute: Any) -> list[Any]:
    return list(attribute.list.func) or [attribute.func]
