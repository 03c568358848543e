"""What is computed from the elements of inputs, all the way down."""

from collections.abc import Iterable

from gomlx.models.dataflow.elements import SHAPE_ONLY
from gomlx.models.dataflow.flow import Flow
from gomlx.models.dataflow.frames import Place, Use


def computed_from(flow: Flow, feeds: Iterable[str]) -> list[Use]:
    """Return all consumers of what is computed from the elements of some inputs."""
    ends = [use for feed in feeds for use in flow.ends(feed).uses]
    computing = [use for use in ends if use.node.op not in SHAPE_ONLY]
    return _downstream(flow, computing)


def _downstream(flow: Flow, uses: Iterable[Use]) -> list[Use]:
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
    return found
