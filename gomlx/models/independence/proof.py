"""The proof: a walk over the graph that keeps for each tensor what it is (state.py).

    feeds, which are ROWS ─► a rule an operation ─► fetches: all ROWS, axis 0?

Every operation has a rule, or makes what it puts out MIXED. The walk goes into the
functions that are called, and goes round loops until nothing changes.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from gomlx.models.dataflow.elements import split
from gomlx.models.dataflow.frames import Body
from gomlx.models.independence.partition import parts, places, splits
from gomlx.models.independence.sizes import WHOLE_BATCH, Size
from gomlx.models.independence.state import (
    State,
    StateKind,
    holding,
    mixed,
    rows,
    same,
)
from gomlx.models.independence.walk import Bodies, ProofWalk


@dataclass(frozen=True)
class Verdict:
    """What was proved. reason: the operation that stands in the way, or empty.

    is_listwise: that operation computes with floats of all rows, as a softmax over the
    batch: for a single row, the answer says nothing.
    same: the fetched tensors that depend neither on a row nor on the batch's size.
    """

    joins: bool
    reason: str = ""
    is_listwise: bool = False
    same: frozenset[str] = frozenset()


def prove(
    body: Body,
    bodies: Bodies,
    feeds: Mapping[str, State],
    fetches: Sequence[str],
    shared: Collection[str] = (),
    is_steady: bool = False,
) -> Verdict:
    """Prove that each row of the fetched tensors depends on its own row of the feeds.

    feeds: of `fed_rows` and its like. bodies: the body of a function of a name.
    shared: the fetched tensors that have no axis for rows, but one value for all.
    is_steady: it is proved that no random number makes a difference.
    """
    walk = ProofWalk(bodies, is_steady)
    found = walk.results(_reached(body, feeds, fetches), feeds)
    for state in found:
        if state.is_listwise:
            return Verdict(False, state.reason, is_listwise=True)
    pairs = list(zip(fetches, found, strict=True))
    same = frozenset(name for name, one in pairs if one.kind is StateKind.SAME)
    reason = walk.writes
    for name, state in pairs:
        if name not in same:
            reason = reason or _obstacle(name, state, name in shared)
    return Verdict(not reason, reason, same=same)


def _reached(body: Body, feeds: Collection[str], fetches: Sequence[str]) -> Body:
    """Return the part of a graph that runs: without what is above the feeds."""
    fed = {split(feed) for feed in feeds}
    todo = [*body.results]
    names: set[str] = set()
    while todo:
        tensor = todo.pop()
        name, _ = tensor
        if tensor not in fed and name not in names:
            names.add(name)
            sources = body.nodes[name].input
            todo.extend(split(source.lstrip("^")) for source in sources)
    nodes = [node for name, node in body.nodes.items() if name in names]
    return Body(nodes, body.arguments, fetches)


def _obstacle(name: str, state: State, is_shared: bool) -> str:
    """Return why a fetched tensor does not hold a row's own answer; "": it does."""
    if state.kind is not StateKind.ROWS:
        return state.reason or f"{name} has no row of its own"
    if state.axis or (state.shape and state.shape[0] != WHOLE_BATCH):
        return f"{name} has its rows along another axis"
    return f"{name} is one value for all rows, and depends on them" if is_shared else ""


def fed_rows(name: str, shape: Sequence[int | None] | None) -> State:
    """Return the state of an input that holds rows; shape: of one row.

    Rows of a run agree in the sizes that are open.
    """
    return rows(None) if shape is None else rows((WHOLE_BATCH, *_sizes(name, shape)))


def _sizes(name: str, shape: Sequence[int | None]) -> list[Size]:
    """Return the sizes of an input, with a symbol for each that is open."""
    return [
        Size(1, (f"{name} {i}",)) if size is None else Size(size)
        for i, size in enumerate(shape)
    ]


def fed_ragged(
    tensors: Sequence[str], levels: int, shape: Sequence[int | None] | None
) -> dict[str, State]:
    """Return the states of the elements of ragged rows, and of where each row ends.

    levels: of lists of any length, of which only one is followed. shape: of one row. A
    row without elements fits all inner sizes, so these must not be open.
    """
    inner = None if shape is None else shape[levels:]
    if levels != 1 or inner is None or None in inner:
        return dict.fromkeys(tensors, mixed("an input of ragged rows"))
    elements, bounds = tensors
    rest = tuple(_sizes(elements, inner))
    return {elements: parts(elements, rest), bounds: splits(elements)}


def fed_sparse(
    tensors: Sequence[str], shape: Sequence[int | None] | None
) -> dict[str, State]:
    """Return the states of the indices, the values and the shape of sparse rows."""
    if shape is None:
        return dict.fromkeys(tensors, mixed("an input of sparse rows"))
    indices, values, sizes = tensors
    rank = len(shape) + 1
    content = WHOLE_BATCH, *_sizes(values, shape)
    return {
        indices: places(values, rank),
        values: parts(values),
        sizes: holding(content, (Size(rank),)),
    }


def fed_shared(shape: Sequence[int | None] | None) -> State:
    """Return the state of an input in whose value all rows of a run agree."""
    if shape is None:
        return same(None)
    return same(tuple(None if size is None else Size(size) for size in shape))
