"""Whether one row can decide which branch another one takes.

Rows that run together share every branch and every loop of the graph: a condition on
the elements of one is a condition for all. A trial finds that out only for the values
that it tries; the graph tells for all of them.
"""

from collections.abc import Iterable

from gomlx.models.staging.elements import BLIND
from gomlx.models.staging.flow import Flow, Place, Use

# Operations that choose, and which of their inputs tells what.
_CHOOSES = {
    **dict.fromkeys(("If", "StatelessIf", "Case", "StatelessCase"), 0),
    **dict.fromkeys(("Switch", "RefSwitch", "_SwitchN"), 1),
}


def choice(flow: Flow, feeds: Iterable[str]) -> str:
    """Name something that the elements of an input choose, or return "".

    A choice that no output is computed from, such as that to raise an error, is none:
    when a batch fails, its rows run again alone. Nor are sizes elements.
    """
    for use in filter(_chooses, computed_from(flow, feeds)):
        # In TensorFlow 1 what depends on a choice need not take anything from it.
        if "Switch" in use.node.op or flow.is_fetched(_downstream(flow, [use])[1]):
            return str(use.node.op)
    return ""


def computed_from(flow: Flow, feeds: Iterable[str]) -> list[Use]:
    """Return all uses of what is computed from the elements of some inputs."""
    ends = [use for feed in feeds for use in flow.ends(feed)[0]]
    return _downstream(flow, [use for use in ends if use.node.op not in BLIND])[0]


def _chooses(use: Use) -> bool:
    return use.is_loop_condition or _CHOOSES.get(use.node.op) == use.slot


def _downstream(flow: Flow, uses: Iterable[Use]) -> tuple[list[Use], set[Place]]:
    """Return all that is computed from what some uses take: uses and places."""
    found, todo, seen = list(uses), list(uses), set[Place]()
    while todo:
        use = todo.pop()
        onward = flow.onward(use)
        for place in set(flow.outputs(use) if onward is None else onward) - seen:
            seen.add(place)
            following = list(flow.uses(place))
            found += following
            todo += following
    return found, seen
