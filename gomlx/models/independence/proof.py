"""The proof: a walk over the graph that keeps for each tensor what it is (state.py).

    feeds, which are ROWS ─► a rule an operation ─► fetches: all ROWS, axis 0?

Every operation has a rule, or makes what it puts out MIXED. The walk goes into the
functions that are called, and goes round loops until nothing changes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gomlx.models.dataflow.frames import Body
from gomlx.models.independence.sizes import WHOLE_BATCH, Size
from gomlx.models.independence.state import Shape, State, StateKind, rows
from gomlx.models.independence.walk import Bodies, ProofWalk


@dataclass(frozen=True)
class Verdict:
    """What was proved. reason: the operation that stands in the way, or empty.

    is_listwise: that operation computes with floats of all rows, as a softmax over the
    batch: for a single row, the answer says nothing.
    """

    joins: bool
    reason: str = ""
    is_listwise: bool = False


def prove(
    body: Body,
    bodies: Bodies,
    feeds: Mapping[str, Shape | None],
    fetches: Sequence[str],
) -> Verdict:
    """Prove that each row of the fetched tensors depends on its own row of the feeds.

    feeds: tensor → the shape of one row. bodies: the body of a function of a name.
    """
    inputs = {name: _fed(name, shape) for name, shape in feeds.items()}
    walk = ProofWalk(bodies)
    found = walk.results(body, inputs)
    for state in found:
        if state.is_listwise:
            return Verdict(False, state.reason, is_listwise=True)
    if walk.writes:
        return Verdict(False, walk.writes)
    for name, state in zip(fetches, found, strict=True):
        if state.kind is not StateKind.ROWS:
            return Verdict(False, state.reason or f"{name} has no row of its own")
        if state.axis or (state.shape and state.shape[0] != WHOLE_BATCH):
            return Verdict(False, f"{name} has its rows along another axis")
    return Verdict(True)


def _fed(name: str, shape: Shape | None) -> State:
    """Return the state of an input. Rows of a run agree in the sizes that are open."""
    if shape is None:
        return rows(None)
    sizes = [Size(1, (f"{name} {i}",)) if s is None else s for i, s in enumerate(shape)]
    return rows((WHOLE_BATCH, *sizes))
