"""Products of all rows with all rows, of which only each row's with itself is used.

Two towers that were trained with the others of a batch as negatives compute so. Such a
matrix mixes rows, as any other does: but what lies on its diagonal is of rows again.
"""

from dataclasses import replace

from gomlx.models.independence.operation import GraphOperation, Outcome, Rule, number
from gomlx.models.independence.sizes import WHOLE_BATCH
from gomlx.models.independence.state import State, StateKind, rows

_ROW = State(StateKind.ROW)  # the element of such a matrix


def paired(a: State, b: State, mixed: State) -> State:
    """Return MIXED of a product whose element (i, j) depends on rows i and j alone."""
    heights = [one.shape[one.axis] for one in (a, b) if one.shape]
    if heights != [WHOLE_BATCH, WHOLE_BATCH]:
        return mixed
    return replace(mixed, shape=(WHOLE_BATCH, WHOLE_BATCH), element=_ROW)


def are_pairs(one: State) -> bool:
    return one.kind is StateKind.MIXED and one.element == _ROW


def element_of_pairs(operation: GraphOperation) -> State | None:
    """Return what is computed of each element of such matrices by itself."""
    pairs = [one for one in operation.inputs if are_pairs(one)]
    others = [one for one in operation.inputs if not are_pairs(one)]
    are_same = all(one.kind is StateKind.SAME and one.rank == 0 for one in others)
    return pairs[0] if pairs and are_same else None


def diagonal(operation: GraphOperation) -> Outcome:
    """DiagPart, MatrixDiagPart and its like: of the main diagonal, what is of rows."""
    one, *others = operation.inputs
    if operation.worst is StateKind.SAME:
        return State(StateKind.SAME)
    is_main = not others or number(others[0]) == 0
    are_same = all(other.kind is StateKind.SAME for other in others)
    operation.require(are_pairs(one) and is_main and are_same)
    return rows((WHOLE_BATCH,))


RULES: dict[str, Rule] = dict.fromkeys(
    ("DiagPart", "MatrixDiagPart", "MatrixDiagPartV2", "MatrixDiagPartV3"), diagonal
)
