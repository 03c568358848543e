"""One body of a run: the order of its nodes, and what is known of its tensors."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from gomlx.models.dataflow.elements import NodeOutput, inputs, split
from gomlx.models.dataflow.frames import Body
from gomlx.models.steadiness.values import Bounds, Fact, Mark, computes_with

MERGES = frozenset({"Merge", "RefMerge"})
_TURNS = frozenset({"NextIteration", "RefNextIteration"})  # edges back, in a loop
_ACCESSES = frozenset({"AssignVariableOp", "ReadVariableOp"})

Known = Mapping[NodeOutput, Fact]


class RunFrame:
    """One body, and what is known of its tensors. fed: those it does not compute."""

    def __init__(self, body: Body, fed: Known) -> None:
        self._body = body
        self._fed = fed
        self._values: dict[NodeOutput, Fact] = dict(fed)
        self._dead: set[str] = set()

    def in_order(self, roots: Iterable[str]) -> Iterator[Any]:
        """Yield the nodes that others need, after those that they need themselves.

        The edges back of a loop are not waited for: nothing is known of them.
        """
        nodes = self._body.nodes
        seen: set[str] = set()
        starts = list(roots)
        while starts:
            todo = [(starts.pop(), False)]
            while todo:
                name, is_ready = todo.pop()
                if is_ready:
                    yield nodes[name]
                elif name not in seen:
                    seen.add(name)
                    todo.append((name, True))
                    needed = self._needed(nodes[name])
                    if nodes[name].op in _TURNS:
                        starts.extend(needed)
                    else:
                        todo.extend((other, False) for other in needed)

    def _needed(self, node: Any) -> list[str]:
        """Return the names of the nodes that run before a node.

        Even one whose output is fed runs, if something only waits for it.
        """
        return [
            node_name(source)
            for source in node.input
            if source.startswith("^") or split(source) not in self._fed
        ]

    def inputs(self, node: Any) -> list[Fact]:
        return [self.value(tensor) for tensor in inputs(node)]

    def value(self, tensor: NodeOutput) -> Fact:
        if tensor not in self._values and tensor[0] in self._dead:
            return Mark.DEAD
        return self._values.get(tensor)

    def assigned(self, read: Any) -> Fact:
        """Return what is known of a variable that this run assigns before it reads.

        TensorFlow 2 keeps the path of a vocabulary's file in a variable.
        """
        handle = inputs(read)[0]
        variable = self._body.nodes[handle[0]]
        users = [user for user, _ in self._body.users[handle]]
        writes = [user for user in users if user.op == "AssignVariableOp"]
        is_alone = len(writes) == 1 and all(u.op in _ACCESSES for u in users)
        if variable.op != "VarHandleOp" or not is_alone or self._has_double(variable):
            return None
        if f"^{writes[0].name}" not in read.input:
            return None
        return self.value(inputs(writes[0])[1])

    def _has_double(self, variable: Any) -> bool:
        """True if another node stands for the same variable."""
        name = _shared_name(variable)
        nodes = (n for n in self._body.nodes.values() if n.op == "VarHandleOp")
        return sum(_shared_name(node) == name for node in nodes) > 1

    def put(self, node: Any, values: Sequence[Fact]) -> None:
        for i, value in enumerate(values):
            self._values.setdefault((node.name, i), value)

    def is_dead(self, node: Any, values: Sequence[Fact]) -> bool:
        """True if a node never runs, because something that it needs does not."""
        if node.op in MERGES:
            return all(value is Mark.DEAD for value in values)
        waits = (node_name(s) for s in node.input if s.startswith("^"))
        return Mark.DEAD in values or not self._dead.isdisjoint(waits)

    def kill(self, node: Any) -> None:
        self._dead.add(node.name)

    def matters(self, node: Any) -> bool:
        """False if whatever uses a node's output gives the same for all its values."""
        todo = [node]
        while todo:
            tensors = self._body.outputs[todo.pop().name]
            if not tensors.isdisjoint(self._body.results):
                return True
            for user, slot in self._users(tensors):
                value = self.value((user.name, 0))
                if not isinstance(value, Bounds) or not computes_with(user.op, slot):
                    return True
                if not value.is_one_value:
                    todo.append(user)
        return False

    def _users(self, tensors: Iterable[NodeOutput]) -> list[tuple[Any, int]]:
        found = [use for tensor in tensors for use in self._body.users.get(tensor, ())]
        return [(user, slot) for user, slot in found if user.name not in self._dead]


def node_name(source: str) -> str:
    """Return the node that an input of a node names, as a tensor or to wait for it."""
    return split(source.removeprefix("^"))[0]


def _shared_name(variable: Any) -> str:
    given = variable.attr["shared_name"].s if "shared_name" in variable.attr else b""
    return given.decode() or str(variable.name)
