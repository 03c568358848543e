"""Sizes among which are some that the values of several rows decide.

They are computed with as sizes that are open, whose values nothing says. Where one of
them is lost, what comes out is not known.
"""

from collections.abc import Sequence

from gomlx.models.independence.operation import GraphOperation, Mixes
from gomlx.models.independence.rules import RULES
from gomlx.models.independence.sizes import VARYING, Size
from gomlx.models.independence.state import Content, State, StateKind, holding

_TAKEN = frozenset(
    """
    Cast ConcatV2 ExpandDims Gather GatherV2 Mul Pack Prod Reshape Slice Squeeze
    StridedSlice
    """.split()
)
_OPEN = "!"  # begins the symbol of a size while it counts as open


def with_varying_sizes(operation: GraphOperation) -> Sequence[State] | None:
    """Return what an operation makes of sizes; None if it does not take such."""
    inputs = operation.inputs
    if operation.op not in _TAKEN or operation.worst is not StateKind.MIXED:
        return None
    if any(one.content is None or _is_other(one) for one in inputs):
        return None
    given = [_opened(one) for one in inputs]
    try:
        outcome = RULES[operation.op](GraphOperation(operation.node, given))
    except Mixes:
        return None
    if not isinstance(outcome, State) or outcome.content is None:
        return None
    is_of_open = any(size is None or size.symbols for size in outcome.shape or ())
    if None in outcome.content or is_of_open:
        return None
    return [holding(_marked(outcome.content, _OPEN, VARYING), outcome.shape)]


def _is_other(one: State) -> bool:
    return StateKind.SIZE < one.kind < StateKind.MIXED


def _opened(one: State) -> State:
    return holding(_marked(one.content or (), VARYING, _OPEN), one.shape)


def _marked(content: Content, old: str, new: str) -> Content:
    return tuple(_with_mark(size, old, new) for size in content)


def _with_mark(size: Size | None, old: str, new: str) -> Size | None:
    if size is None:
        return None
    symbols = [
        f"{new}{symbol.removeprefix(old)}" if symbol.startswith(old) else symbol
        for symbol in size.symbols
    ]
    return Size(size.number, tuple(sorted(symbols)))
