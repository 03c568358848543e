"""What a run of a graph reaches: a walk from what is fed to what is fetched.

Not reached is what lies above a tensor that a request replaces, and what lies behind a
branch that constants decide. Everything else counts as reached, whether or not its
outputs matter.
"""

from collections.abc import Callable, Container, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

from gomlx.models.dataflow.elements import (
    called_functions,
    inputs,
    split,
)
from gomlx.models.dataflow.frames import LOOPS, Body
from gomlx.models.steadiness.run import MERGES, Known, RunFrame, node_name
from gomlx.models.steadiness.values import Bounds, Fact, Mark, outcome

_BRANCHES = {
    **dict.fromkeys(("If", "StatelessIf"), ("then_branch", "else_branch")),
    **dict.fromkeys(("Case", "StatelessCase"), ("branches",)),
}
_CALLS = frozenset({"PartitionedCall", "StatefulPartitionedCall"})
_SWITCHES = frozenset({"Switch", "RefSwitch"})
_MOST_DEPTH = 30  # of calls within calls for which arguments are distinguished


class Reached(NamedTuple):
    """A node that a run reaches, with what is known of its inputs.

    matters: false if no value of its outputs makes a difference to any other node.
    """

    node: Any
    values: list[Fact]
    matters: Callable[[], bool]


class Reach:
    """Walks a graph and the functions that it calls, and shows each node to `visit`.

    functions: the body of a function of a name; library: their names.
    """

    def __init__(
        self,
        functions: Callable[[str], Body],
        library: Container[str],
        visit: Callable[[Reached], None],
    ) -> None:
        self._functions = functions
        self._library = library
        self._visit = visit
        self._called: dict[tuple[str, tuple[Fact, ...]], list[Fact]] = {}
        self._depth = 0

    def walk(self, body: Body, known: Known, fetches: Iterable[str]) -> None:
        """Visit what fetched tensors need. known: what of the tensors that are fed."""
        frame = RunFrame(body, known)
        self._run(
            frame, [node_name(fetch) for fetch in fetches if split(fetch) not in known]
        )

    def _run(self, frame: "RunFrame", roots: Iterable[str]) -> None:
        reached = []
        for node in frame.in_order(roots):
            values = frame.inputs(node)
            if frame.is_dead(node, values):
                frame.kill(node)
                continue
            if node.op == "ReadVariableOp":
                frame.put(node, [frame.assigned(node)])
            else:
                frame.put(node, self._outputs(node, values))
            reached.append((node, values))
        for node, values in reached:
            self._visit(Reached(node, values, partial(frame.matters, node)))

    def _outputs(self, node: Any, values: Sequence[Fact]) -> Sequence[Fact]:
        """Return what is known of a node's outputs, those of functions included."""
        if node.op in _SWITCHES:
            return _switched(*values)
        if node.op in MERGES:
            alive = [value for value in values if value is not Mark.DEAD]
            return alive if len(alive) == 1 else []
        if node.op in _CALLS:
            return self._call(node.attr["f"].func.name, values)
        if node.op in _BRANCHES:
            return self._branch(node, values)
        if node.op in LOOPS:
            return self._loop(node, values)
        for name in called_functions(node, self._library):
            self._call(name, values if name == node.op else None)
        return [outcome(node, values)]

    def _call(self, function: str, values: Sequence[Fact] | None) -> list[Fact]:
        """Visit a function's nodes. values: of its arguments, None for any."""
        body = self._functions(function)
        if values is None or self._depth > _MOST_DEPTH:
            values = [None] * len(body.arguments)
        key = function, tuple(values)
        if key not in self._called:
            self._called[key] = []  # should it call itself
            self._depth += 1
            arguments = zip(body.arguments, values, strict=True)
            frame = RunFrame(body, {(name, 0): value for name, value in arguments})
            self._run(frame, body.nodes)
            self._depth -= 1
            self._called[key] = [frame.value(result) for result in body.results]
        return self._called[key]

    def _branch(self, node: Any, values: Sequence[Fact]) -> Sequence[Fact]:
        choice, *arguments = values
        attributes = [node.attr[name] for name in _BRANCHES[node.op]]
        names = [f.name for a in attributes for f in (a.list.func or [a.func])]
        taken = _taken(node.op, choice, len(names))
        if taken is not None:
            return self._call(names[taken], arguments)
        for name in names:
            self._call(name, arguments)
        return []

    def _loop(self, node: Any, values: Sequence[Fact]) -> Sequence[Fact]:
        condition = node.attr["cond"].func.name
        body = node.attr["body"].func.name
        first = self._call(condition, values)
        if first and _taken("If", first[0], 2) == 1:
            return values
        kept = [
            value if origin == i else None
            for i, (value, origin) in enumerate(
                zip(values, _origins(self._functions(body)), strict=True)
            )
        ]
        self._call(condition, kept)
        self._call(body, kept)
        return kept


def _switched(data: Fact, choice: Fact) -> list[Fact]:
    """Return the outputs of a Switch: the first is taken if the choice is false."""
    taken = _taken("If", choice, 2)
    if taken is None:
        return [data, data]
    return [Mark.DEAD, data] if taken == 0 else [data, Mark.DEAD]


def _taken(op: str, choice: Fact, count: int) -> int | None:
    """Return the number of the branch that is always taken; None if that varies."""
    if (
        not isinstance(choice, Bounds)
        or not choice.is_one_value
        or not choice.is_scalar
    ):
        return None
    if op in ("If", "StatelessIf"):
        return 0 if choice.low else 1
    number = int(choice.low)
    return number if 0 <= number < count else count - 1


def _origins(body: Body) -> list[int | None]:
    """Return for each result of a function which argument it is, unchanged."""
    positions = {name: i for i, name in enumerate(body.arguments)}
    found: list[int | None] = []
    for result in body.results:
        tensor = result
        while tensor[0] not in positions and body.nodes[tensor[0]].op == "Identity":
            tensor = inputs(body.nodes[tensor[0]])[0]
        found.append(positions.get(tensor[0]))
    return found
