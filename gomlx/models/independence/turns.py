"""Loops over the rows of the batch, one row a turn, such as map_fn's.

What a turn computes of its own row depends on that row only, whatever it computes. So a
loop maps rows if it counts from 0 in steps of 1 to the size of the batch, if it reads
and writes lists at its count alone, and if nothing else passes from turn to turn.
"""

from collections.abc import Callable, Sequence

from gomlx.models.dataflow.elements import inputs
from gomlx.models.dataflow.frames import Body
from gomlx.models.independence.operation import GraphOperation, Mixes, number
from gomlx.models.independence.sizes import WHOLE_BATCH, Size
from gomlx.models.independence.state import State, StateKind, mixed, same

# The condition of such a loop: there are more rows.
MORE = State(StateKind.SIZE, (), partition="more rows")


def of_a_turn(operation: GraphOperation) -> State | None:
    """Return what an operation makes of the count; None if it does not take it."""
    kinds = [one.kind for one in operation.inputs]
    if operation.op == "LogicalAnd" and all(one == MORE for one in operation.inputs):
        return MORE
    if StateKind.INDEX not in kinds or operation.op.startswith("TensorList"):
        return None
    first, *others = operation.inputs
    if operation.op in ("AddV2", "Add") and first.kind is StateKind.INDEX:
        operation.require(others[0].kind is StateKind.SAME and number(others[0]) == 1)
        return State(StateKind.NEXT, ())
    is_compared = operation.op == "Less" and first.kind is StateKind.INDEX
    operation.require(is_compared, "a row is identified by its place")
    operation.require(others[0].content == (WHOLE_BATCH,), "not every row")
    return MORE


def is_of_a_row(operation: GraphOperation) -> bool:
    """True for what a turn computes of its own row, and of what is the same for all."""
    kinds = {one.kind for one in operation.inputs}
    return StateKind.ROW in kinds and kinds <= {StateKind.SAME, StateKind.ROW}


def of_a_row(operation: GraphOperation, one: State) -> State:
    """Return the state of what a turn has computed as if it were the same for all."""
    return (
        State(StateKind.ROW, one.shape)
        if one.kind is StateKind.SAME
        else operation.mixed()
    )


def as_same(operation: GraphOperation) -> GraphOperation:
    """The operation on tensors that are the same for all: a row is, to its own turn."""
    inputs = [same(one.shape) for one in operation.inputs]
    return GraphOperation(operation.node, inputs)


def origins(body: Body) -> list[int | None]:
    """Return which argument each result of a loop's body is, if it is one unchanged.

    A list whose elements were set is the list that it was before.
    """
    return [_origin(body, name) for name, _ in body.results]


def _origin(body: Body, name: str) -> int | None:
    while name not in body.arguments:
        node = body.nodes[name]
        if node.op not in ("Identity", "TensorListSetItem"):
            return None
        name, _ = inputs(node)[0]
    return body.arguments.index(name)


def mapped(
    operation: GraphOperation,
    condition: Callable[[Sequence[State]], Sequence[State]],
    body: Callable[[Sequence[State]], Sequence[State]],
    kept: Sequence[int | None],
) -> list[State]:
    """Return the outputs of a loop over the rows. Raises Mixes if it is none.

    kept: the `origins` of the body.
    """
    variables = [
        one if kept[i] == i else _at_start(one)
        for i, one in enumerate(operation.inputs)
    ]
    if condition(variables)[0] != MORE:
        raise Mixes(operation.mixed("the size of the batch ends the loop"))
    for _ in range(len(variables) + 2):
        turn = body(variables)
        after = [
            _after(before, one, kept[i] == i)
            for i, (before, one) in enumerate(zip(variables, turn, strict=True))
        ]
        if after == variables:
            return [_at_end(one) for one in variables]
        variables = after
    raise Mixes(operation.mixed("a loop without end"))


def _at_start(one: State) -> State:
    is_count = (
        one.kind is StateKind.SAME and one.content == (Size(0),) and one.rank == 0
    )
    return State(StateKind.INDEX, ()) if is_count else one


def _after(before: State, turn: State, is_kept: bool) -> State:
    """Return what a variable is in all turns, if none passes anything to the next."""
    if before.kind is StateKind.INDEX and turn.kind is StateKind.NEXT:
        return before
    if is_kept:  # unchanged, or a list that has one more element
        return turn
    return turn if turn.kind is StateKind.MIXED else mixed("passes from row to row")


def _at_end(one: State) -> State:
    return State(StateKind.SIZE, ()) if one.kind is StateKind.INDEX else one
