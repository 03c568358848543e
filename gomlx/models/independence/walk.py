"""The walk over a graph, into the functions that it calls and round its loops."""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from gomlx.models.dataflow.elements import inputs, split
from gomlx.models.dataflow.frames import Body
from gomlx.models.independence import turns
from gomlx.models.independence.operation import GraphOperation, Mixes
from gomlx.models.independence.partition import renamed
from gomlx.models.independence.partitions import of_parts
from gomlx.models.independence.rules import RULES
from gomlx.models.independence.rules.passing import declared
from gomlx.models.independence.state import (
    SAME,
    State,
    StateKind,
    all_joined,
    joined,
    mixed,
    of_shape,
)

log = logging.getLogger(__name__)

Bodies = Callable[[str], Body]

_CALLS = frozenset({"PartitionedCall", "StatefulPartitionedCall"})
_BRANCHES = {
    **dict.fromkeys(("If", "StatelessIf"), ("then_branch", "else_branch")),
    **dict.fromkeys(("Case", "StatelessCase"), ("branches",)),
}
_LOOPS = frozenset({"While", "StatelessWhile"})
_WRITES = (
    "Assign",
    "Barrier",
    "LookupTableI",
    "LookupTableRemove",
    "MutexLock",
    "Queue",
    "ResourceApply",
    "ResourceScatter",
    "Scatter",
    "Stack",
    "Write",
)
_WRITING = ("Enqueue", "Dequeue", "Push", "Pop")
_DRAWS = frozenset({"RandomStandardNormal", "RandomUniform", "TruncatedNormal"})
_OUTSIDE = "^"  # begins the name of a partition that a function is given
# Rows that these put out may be the numbers of a partition's parts.
_COUNTING = frozenset(
    """
    BroadcastTo Cast DenseBincount ExpandDims Identity IdentityN Sub
    """.split()
)
_MOST_VISITS = 40  # of a node, of a loop; states only get worse, so few are needed
_UNFIT = (AssertionError, IndexError, KeyError, TypeError, ValueError)
_MOST_OUTPUTS = 64  # of an operation, as far as states are kept
_MOST_DEPTH = 100  # calls within calls


class ProofWalk:
    """Evaluates bodies; what a function makes of given states is computed once."""

    def __init__(self, bodies: Bodies, is_steady: bool = False) -> None:
        """is_steady: it is proved that random numbers make no difference."""
        self._bodies = bodies
        self._is_steady = is_steady
        self._called: dict[tuple[str, tuple[State, ...]], list[State]] = {}
        self._depth = 0
        self.writes = ""  # an operation that changes what others read

    def results(self, body: Body, inputs: Mapping[str, State]) -> list[State]:
        """Return the states of a body's results, from those of tensors that are fed."""
        states = _States(body, {split(name): s for name, s in inputs.items()})
        todo = deque(body.nodes.values())
        visits: dict[str, int] = {}
        before: dict[str, Sequence[State]] = {}
        while todo:
            node = todo.popleft()
            given = states.inputs(node)
            # Each of its inputs sends it here, at the start all with the same states.
            if given is None or before.get(node.name) == given:
                continue
            before[node.name] = given
            visits[node.name] = visits.get(node.name, 0) + 1
            if visits[node.name] > _MOST_VISITS:
                found: Sequence[State] = [
                    mixed(f"{node.op}: a loop without end")
                ] * _MOST_OUTPUTS
            else:
                found = self._outputs(GraphOperation(node, given))
            if states.put(node, found):
                todo.extend(user for user, _ in states.users(node))
        return [states.get(tensor) for tensor in body.results]

    def call(self, site: str, function: str, arguments: Sequence[State]) -> list[State]:
        """Return the states of a function's results. site: the node that calls it.

        What the same function splits elsewhere is not the same, and gets another name.
        """
        found = self._results_of(function, list(map(_outside, arguments)))
        return [_named_by(site, one) for one in found]

    def _results_of(self, function: str, arguments: Sequence[State]) -> list[State]:
        key = function, tuple(arguments)
        if key not in self._called:
            if self._depth > _MOST_DEPTH:
                return [mixed("recursion")] * _MOST_OUTPUTS
            self._depth += 1
            body = self._bodies(function)
            named = dict(zip(body.arguments, arguments, strict=True))
            self._called[key] = self.results(body, named)
            self._depth -= 1
        return self._called[key]

    def _outputs(self, operation: GraphOperation) -> Sequence[State]:
        """Return the states of what an operation puts out."""
        if turns.is_of_a_row(operation):
            found = self._outputs(turns.as_same(operation))
            return [turns.of_a_row(operation, one) for one in found]
        try:
            return self._known_outputs(operation) or self._other_outputs(operation)
        except Mixes as error:
            return [error.state] * _MOST_OUTPUTS
        except _UNFIT as error:
            # Inputs that the operation would refuse, or a form that no rule knows.
            log.debug("%s: %r", operation.node.name, error)
            return [operation.mixed("of an unknown form")] * _MOST_OUTPUTS

    def _known_outputs(self, operation: GraphOperation) -> Sequence[State]:
        """Apply what is known of an operation; nothing is known of some."""
        node = operation.node
        if node.op in _CALLS:
            return self.call(node.name, node.attr["f"].func.name, operation.inputs)
        if self._is_steady and node.op in _DRAWS:
            return [_drawn(operation)]
        if node.op in _BRANCHES:
            return self._branches(operation)
        if node.op in _LOOPS:
            return self._loop(operation)
        outcome = turns.of_a_turn(operation) or of_parts(operation)
        if outcome is None:
            rule = RULES.get(node.op)
            outcome = rule(operation) if rule else ()
        states = [outcome] if isinstance(outcome, State) else outcome
        return states if node.op in _COUNTING else list(map(_without_lengths, states))

    def _other_outputs(self, operation: GraphOperation) -> Sequence[State]:
        self.writes = self.writes or _written_by(operation.node)
        if operation.worst is not StateKind.SAME:
            return [operation.mixed()] * _MOST_OUTPUTS
        return [declared(operation.node), *[SAME] * (_MOST_OUTPUTS - 1)]

    def _branches(self, operation: GraphOperation) -> Sequence[State]:
        choice, *arguments = operation.inputs
        attributes = [operation.node.attr[a] for a in _BRANCHES[operation.op]]
        names = [f.name for a in attributes for f in (a.list.func or [a.func])]
        found = [self.call(operation.node.name, name, arguments) for name in names]
        if choice.kind is not StateKind.SAME:
            return [operation.mixed("the values of a row choose")] * len(found[0])
        return [all_joined(states) for states in zip(*found, strict=True)]

    def _loop(self, operation: GraphOperation) -> Sequence[State]:
        node = operation.node
        variables = [one.without_content() for one in operation.inputs]
        for _ in range(_MOST_VISITS):
            cond = node.attr["cond"].func.name
            (condition,) = self.call(node.name, cond, variables)
            if condition.kind is StateKind.SIZE:
                return self._mapped(operation)
            if condition.kind is not StateKind.SAME:
                reason = operation.mixed("the values of a row end the loop")
                return [reason] * len(variables)
            turn = self.call(node.name, node.attr["body"].func.name, variables)
            after = [
                joined(a, b.without_content())
                for a, b in zip(variables, turn, strict=True)
            ]
            if after == variables:
                return variables
            variables = after
        return [operation.mixed("a loop without end")] * len(variables)

    def _mapped(self, operation: GraphOperation) -> Sequence[State]:
        attributes = operation.node.attr
        call = partial(self.call, operation.node.name)
        condition = partial(call, attributes["cond"].func.name)
        name = attributes["body"].func.name
        kept = turns.origins(self._bodies(name))
        return turns.mapped(operation, condition, partial(call, name), kept)


class _States:
    """The states of one body's tensors, as far as the walk has come."""

    def __init__(self, body: Body, fed: Mapping[tuple[str, int], State]) -> None:
        self._body, self._fed = body, fed
        self._found: dict[tuple[str, int], State] = dict(fed)

    def inputs(self, node: Any) -> list[State] | None:
        """Return the states of a node's inputs; None if one is still to come."""
        found = [self._found.get(tensor) for tensor in inputs(node)]
        if node.op in ("Merge", "RefMerge"):
            known = [state for state in found if state is not None]
            return known or None
        return None if None in found else found  # type: ignore[return-value]

    def put(self, node: Any, states: Sequence[State]) -> bool:
        """Keep what a node puts out; True when that has changed."""
        changed = False
        for i in {tensor[1] for tensor in self._body.outputs[node.name]}:
            tensor = node.name, i
            if tensor in self._fed:
                continue
            state = states[i] if i < len(states) else mixed(node.op)
            if self._found.get(tensor) != state:
                self._found[tensor] = state
                changed = True
        return changed

    def users(self, node: Any) -> Iterable[tuple[Any, int]]:
        for tensor in self._body.outputs[node.name]:
            yield from self._body.users.get(tensor, ())

    def get(self, tensor: tuple[str, int]) -> State:
        return self._found.get(tensor) or mixed(f"{tensor[0]} is not computed")


def _without_lengths(state: State) -> State:
    """Return a state that is not taken for the numbers of a partition's parts."""
    if state.kind is StateKind.ROWS and state.partition:
        return replace(state, partition="")
    return state


def _outside(state: State) -> State:
    """Mark the partitions of an argument: no name within the function is the same."""
    return renamed(state, lambda partition: f"{_OUTSIDE}{partition}")


def _named_by(call: str, state: State) -> State:
    """Name a partition that a function has made by the call of the function, which may
    be called for several texts."""

    def rename(partition: str) -> str:
        if partition.startswith(_OUTSIDE):
            return partition.removeprefix(_OUTSIDE)
        return f"{call}:{partition}"

    return renamed(state, rename)


def _drawn(operation: GraphOperation) -> State:
    """Return the state of random numbers of a steady model, which make no difference:
    the answer would be the same if each row drew its own."""
    (shape, *_) = operation.inputs
    operation.require(shape.kind <= StateKind.SIZE and shape.content is not None)
    assert shape.content is not None
    return of_shape(shape.content, operation.mixed("of the batch").reason)


def _written_by(node: Any) -> str:
    """Name an operation that writes to a variable, a table or a queue; else ""."""
    if not node.op.startswith(_WRITES) and not node.op.endswith(_WRITING):
        return ""
    return f"{node.op} ({node.name}): what it writes, other rows read"
