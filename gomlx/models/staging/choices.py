"""Whether the elements of one row can decide which branch runs for another row.

Rows that run together share every branch and every loop of the graph: a condition that
depends on the elements of one row holds for all. A trial run would notice it only for
the values that it tries. The graph shows it for all values.
"""

from collections.abc import Iterable
from typing import NamedTuple

from gomlx.models.staging.elements import SHAPE_ONLY
from gomlx.models.staging.flow import Flow
from gomlx.models.staging.frames import Place, Use

# Operations that select a branch → the number of the input that decides which.
_DECIDING_SLOTS = {
    "Case": 0,
    "If": 0,
    "RefSwitch": 1,
    "StatelessCase": 0,
    "StatelessIf": 0,
    "Switch": 1,
    "_SwitchN": 1,
}


class Downstream(NamedTuple):
    """All that is computed from some elements: its consumers, and the tensors."""

    uses: list[Use]
    places: set[Place]


def choice(flow: Flow, feeds: Iterable[str]) -> str:
    """Return the type of an operation that elements of an input decide, or "".

    A choice that no output depends on does not count, such as whether to raise an
    error: when a batch fails, its rows run again alone. Nor does a choice by sizes.
    """
    for use in filter(_decides, computed_from(flow, feeds)):
        # In TensorFlow 1 what depends on a choice may have no data edge from it.
        if "Switch" in use.node.op or flow.is_fetched(_downstream(flow, [use]).places):
            return str(use.node.op)
    return ""


def computed_from(flow: Flow, feeds: Iterable[str]) -> list[Use]:
    """Return all consumers of what is computed from the elements of some inputs."""
    ends = [use for feed in feeds for use in flow.ends(feed)[0]]
    computing = [use for use in ends if use.node.op not in SHAPE_ONLY]
    return _downstream(flow, computing).uses


def _decides(use: Use) -> bool:
    return use.is_loop_condition or _DECIDING_SLOTS.get(use.node.op) == use.slot


def _downstream(flow: Flow, uses: Iterable[Use]) -> Downstream:
    """Follow the outputs of some consumers, and of theirs, to the end."""
    found = list(uses)
    todo = list(found)
    seen = set[Place]()
    while todo:
        use = todo.pop()
        onward = flow.onward(use)
        for place in set(flow.outputs(use) if onward is None else onward) - seen:
            seen.add(place)
            following = list(flow.uses(place))
            found += following
            todo += following
    return Downstream(found, seen)
