"""One operation as a rule sees it, and what many rules need."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from tensorflow.python.framework import op_def_registry
from tensorflow.python.framework.dtypes import as_dtype

from gomlx.models.independence.sizes import Size
from gomlx.models.independence.state import State, StateKind, anything, mixed, worst

Outcome = State | Sequence[State]
Rule = Callable[["GraphOperation"], Outcome]


class Mixes(Exception):  # it is no error
    """What a rule says of an operation whose outputs depend on several rows."""

    def __init__(self, state: State) -> None:
        super().__init__(state.reason)
        self.state = state


@dataclass(frozen=True)
class GraphOperation:
    """A node of the graph with the states of its inputs."""

    node: Any  # a NodeDef
    inputs: Sequence[State]

    @property
    def op(self) -> str:
        return str(self.node.op)

    @property
    def worst(self) -> StateKind:
        """The worst kind among the inputs."""
        return max((one.kind for one in self.inputs), default=StateKind.SAME)

    def mixed(self, why: str = "") -> State:
        """Return MIXED by this operation, unless an input is already.

        A size that varies is so for no reason, as long as it is used as a shape.
        """
        found = worst(self.inputs) if self.inputs else None
        if found and found.kind is StateKind.MIXED and found.reason:
            return anything(found)
        return mixed(self._reason(why))

    def mixed_scalar(self, why: str = "") -> State:
        """Return MIXED of a tensor that has one element, whatever the rows are."""
        return replace(self.mixed(why), shape=())

    def over_rows(self, why: str = "over the batch") -> State:
        """Return MIXED by this operation, which computes with the values of all rows.

        That makes a model listwise if they are floats: integers may be lengths, whose
        greatest only says how far rows are padded.
        """
        if self.worst is StateKind.MIXED:
            return anything(worst(self.inputs))
        found = [self.node.attr[a].type for a in ("T", "Ta") if a in self.node.attr]
        is_float = any(as_dtype(one).is_floating for one in found)
        return mixed(self._reason(why), is_float)

    def require(self, condition: object, why: str = "") -> None:
        """Raise Mixes unless a condition of the rule holds."""
        if not condition:
            raise Mixes(self.mixed(why))

    def _reason(self, why: str) -> str:
        return f"{self.op} ({self.node.name}){why and ': '}{why}"

    def attribute(self, name: str) -> Any:
        """Return an AttrValue: the node's own, or the default of the operation."""
        if name in self.node.attr:
            return self.node.attr[name]
        return _defaults(self.op)[name]

    def flag(self, name: str) -> bool:
        return bool(self.attribute(name).b)

    def integer(self, name: str) -> int:
        return int(self.attribute(name).i)

    def text(self, name: str) -> str:
        return str(self.attribute(name).s.decode())

    def integers(self, name: str) -> list[int]:
        return [int(i) for i in self.attribute(name).list.i]

    def are_same(self, *slots: int) -> bool:
        """True when these inputs are the same for every batch."""
        return all(self.inputs[slot].kind is StateKind.SAME for slot in slots)


@cache
def _defaults(op: str) -> dict[str, Any]:
    """Return the attributes that a SavedModel leaves out, by their names."""
    definition = op_def_registry.get(op)
    attributes = [] if definition is None else definition.attr
    return {one.name: one.default_value for one in attributes}


def numbers(state: State) -> list[int] | None:
    """Return the integers that a tensor holds, if all are known numbers."""
    if state.content is None:
        return None
    found = []
    for size in state.content:
        if size is None or not size.is_number:
            return None
        found.append(size.number)
    return found


def number(state: State) -> int | None:
    """Return the one integer that a tensor holds, if it is known."""
    found = numbers(state)
    return found[0] if found and len(found) == 1 else None


def place(axis: int, rank: int) -> int:
    """Return an axis counted from the first, if it was counted from the last."""
    return axis + rank if axis < 0 else axis


def size_of(value: int) -> Size:
    return Size(value)
