"""The dataflow of a graph: which consumers an input's elements reach.

The analysis follows elements through operations that forward them (elements.py), into
functions, branches and loops (frames.py). What is concluded from it must not depend on
how often a function runs, or on which branch runs.
"""

from collections.abc import Collection, Iterator
from copy import deepcopy
from typing import Any, NamedTuple

from tensorflow.python.framework.function_def_to_graph import function_def_to_graph_def

from gomlx.models.dataflow.elements import (
    NodeOutput,
    forwarded_slots,
    forwards_first_input,
    inputs,
    split,
)
from gomlx.models.dataflow.frames import (
    CALLS,
    LOOPS,
    Body,
    Frame,
    FunctionCall,
    FunctionResult,
    Place,
    Use,
)

_PLAIN_CALLS = frozenset({"PartitionedCall", "StatefulPartitionedCall"})
_COPYING = _PLAIN_CALLS | {"Identity", "IdentityN", "Snapshot", "StopGradient"}
_MAX_DEPTH = 100  # calls within calls; deeper ones are recursion


class Ends(NamedTuple):
    """Where the paths of a feed's elements end.

    uses: the consumers that compute with the elements instead of forwarding them.
    is_fetched: true if elements are fetched as they are.
    """

    uses: list[Use]
    is_fetched: bool


class Flow:
    """The dataflow through the needed part of a graph.

    feeds are the tensors that a request replaces, fetches those of its answer. Its
    methods need the graph as TensorFlow's default graph, where functions are found.
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

    @property
    def root(self) -> Frame:
        """The frame of the graph itself."""
        return self._root

    @property
    def body(self) -> Body:
        """The graph itself."""
        return self._root.body

    def ends(self, feed: str) -> Ends:
        """Follow the elements of a feed downstream to where their paths end."""
        start = Place(self._root, split(feed))
        seen = {start}
        todo = [start]
        found: list[Use] = []
        while todo:
            for use in self.uses(todo.pop()):
                onward = self.onward(use)
                if onward is None:
                    found.append(use)
                    continue
                todo.extend(set(onward) - seen)
                seen.update(onward)
        return Ends(found, self.is_fetched(seen))

    def is_fetched(self, places: Collection[Place]) -> bool:
        """True if one of these places is part of the answer."""
        return any(Place(self._root, t) in places for t in self._root.body.results)

    def copies(self, feed: str) -> set[NodeOutput]:
        """Return the tensors of the graph that are always equal to a feed."""
        todo = [Place(self._root, split(feed))]
        seen = set(todo)
        while todo:
            for use in self.uses(todo.pop()):
                if _copies(use):
                    onward = set(self.onward(use) or ()) - seen
                    seen |= onward
                    todo.extend(onward)
        return {place.tensor for place in seen if place.frame is self._root}

    def source(self, place: Place) -> Place:
        """Follow elements upstream, as long as they have exactly one origin."""
        while (before := self._before(place)) is not None:
            place = before
        return place

    def node(self, place: Place) -> Any:
        """Return the node that produces a tensor; None if a request replaces it."""
        if place.frame is self._root and place.tensor in self._feeds:
            return None
        return place.frame.body.nodes.get(place.tensor[0])

    def uses(self, place: Place) -> Iterator[Use]:
        """Yield the consumers of a tensor, without control dependencies."""
        frame = place.frame
        for node, slot in frame.body.users.get(place.tensor, ()):
            yield Use(place, node, slot)
        for i, result in enumerate(frame.body.results):
            if frame.caller and result == place.tensor:
                yield Use(place, FunctionResult(i), i)

    def outputs(self, use: Use) -> list[Place]:
        """Return the outputs of a consumer. A loop's condition has the loop's."""
        frame = use.place.frame
        node = use.node
        if isinstance(node, FunctionResult):
            assert frame.caller is not None
            node = frame.node
            frame = frame.caller
        return _outputs(frame, node)

    def onward(self, use: Use) -> list[Place] | None:
        """Return the places one step downstream that hold the same elements.

        None: the consumer does not forward them.
        """
        frame = use.place.frame
        node = use.node
        slot = use.slot
        if isinstance(node, FunctionResult):
            return self._leave(frame, slot)
        if node.op == "IdentityN":
            return [Place(frame, (node.name, slot))]
        if slot in forwarded_slots(node):
            return _outputs(frame, node)
        return self._enter(frame, node, slot)

    def _enter(self, frame: Frame, node: Any, slot: int) -> list[Place] | None:
        """Follow an input of a call into the functions that it calls."""
        called = self.called(frame, node)
        if not called or slot < called[0].first:
            return None  # not a known call, or the input that selects a branch
        places = [
            Place(inner, (inner.body.arguments[slot - inner.first], 0))
            for inner in called
        ]
        if node.op in LOOPS:
            places.append(Place(frame, (node.name, slot)))
        return places

    def _leave(self, frame: Frame, i: int) -> list[Place] | None:
        """Follow result number i of a function to the output of its call."""
        assert frame.caller is not None
        if frame.node.op in LOOPS:
            if frame.role == "cond":
                return None
            return self._enter(frame.caller, frame.node, i)
        return [Place(frame.caller, (frame.node.name, i))]

    def _before(self, place: Place) -> Place | None:
        """Return the place one step upstream, if all elements come from one place."""
        frame = place.frame
        name, i = place.tensor
        node = self.node(place)
        if frame.caller and name in frame.body.arguments:
            slot = frame.body.arguments.index(name) + frame.first
            if frame.node.op in LOOPS and not self._is_invariant(frame, slot):
                return None
            return Place(frame.caller, inputs(frame.node)[slot])
        if node is None:
            return None
        if node.op == "IdentityN":
            return Place(frame, inputs(node)[i])
        if forwards_first_input(node):
            return Place(frame, inputs(node)[0])
        return None

    def _is_invariant(self, frame: Frame, i: int) -> bool:
        """True if every iteration of a loop passes variable number i on unchanged."""
        assert frame.caller is not None
        calls = self.called(frame.caller, frame.node)
        body = next(call.body for call in calls if call.role == "body")
        tensor = body.results[i]
        while tensor[0] not in body.arguments:
            node = body.nodes[tensor[0]]
            if not forwards_first_input(node):
                return False
            tensor = inputs(node)[0]
        return tensor[0] == body.arguments[i]

    def called(self, frame: Frame, node: Any) -> list[Frame]:
        """Return the frames of the functions that a node calls; none if unknown."""
        if frame.depth > _MAX_DEPTH:
            return []
        if node.op in self._library:
            return [self._frame(frame, node, "", node.op)]
        return [
            self._frame(frame, node, role, function.name)
            for role in CALLS.get(node.op, FunctionCall()).roles
            for function in _functions(node.attr[role])
        ]

    def _frame(self, caller: Frame, node: Any, role: str, function: str) -> Frame:
        key = caller, node.name, role, function
        if key not in self._frames:
            first = CALLS.get(node.op, FunctionCall()).first
            body = self.function(function)
            depth = caller.depth + 1
            self._frames[key] = Frame(body, caller, node, role, first, depth)
        return self._frames[key]

    def function(self, function: str) -> Body:
        """Return the body of a function of the library."""
        if function not in self._bodies:
            # A copy: the conversion adds attributes without a value to what it reads,
            # and no graph can be imported with those.
            definition = deepcopy(self._library[function])
            graph_def, flat = function_def_to_graph_def(definition)
            signature = definition.signature
            self._bodies[function] = Body(
                graph_def.node,
                [argument.name for argument in signature.input_arg],
                [flat[definition.ret[result.name]] for result in signature.output_arg],
            )
        return self._bodies[function]


def _copies(use: Use) -> bool:
    """True if a consumer hands on its input as it is, whatever the values are."""
    if isinstance(use.node, FunctionResult):
        return use.place.frame.node.op in _PLAIN_CALLS
    return use.node.op in _COPYING


def _outputs(frame: Frame, node: Any) -> list[Place]:
    return [Place(frame, tensor) for tensor in frame.body.outputs[node.name]]


def _functions(attribute: Any) -> list[Any]:
    return list(attribute.list.func) or [attribute.func]
