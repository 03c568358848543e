"""Whether the values of a request decide how much a model computes for it.

The rows of a request have a size, and a run of so many rows of such sizes takes about
as long as the last one did. That says nothing where a value is a size, as in
`tf.range(x)`, or ends a loop.
"""

from collections.abc import Container, Mapping

from gomlx.models.dataflow.elements import SHAPE_ONLY, split
from gomlx.models.dataflow.flow import Flow
from gomlx.models.dataflow.frames import CALLS, LOOPS, Place, Use
from gomlx.models.dataflow.sizing import Level, level_of_output, sizing_slots

# A branch with nothing else takes no time.
_CHECKS = frozenset(
    """
    Assert Const Identity IdentityN NoOp Placeholder Print PrintV2 StringFormat
    """.split()
)


def decided_by(flow: Flow, feeds: Mapping[str, Level], known: Container[str]) -> str:
    """Return the operation by which values decide what a run takes, or "".

    feeds: what is known of each tensor that is fed. known: operations of which it is
    known that they compute as much as their inputs are large, but for those of
    sizing.py. The graph must be TensorFlow's default graph.
    """
    walk = _Walk(flow, known)
    for name, level in feeds.items():
        walk.reach(Place(flow.root, split(name)), level)
    return walk.run()


class _Walk:
    """Follows values to whatever is computed from them; levels only rise."""

    def __init__(self, flow: Flow, known: Container[str]) -> None:
        self._flow = flow
        self._known = known
        self._levels: dict[Place, Level] = {}
        self._todo: list[Place] = []

    def reach(self, place: Place, level: Level) -> None:
        before = self._levels.get(place)
        if before is None or before < level:
            self._levels[place] = level
            self._todo.append(place)

    def run(self) -> str:
        """Return the first operation found that values make larger, or ""."""
        while self._todo:
            place = self._todo.pop()
            level = self._levels[place]
            for use in self._flow.uses(place):
                if self._decides(use, level):
                    return use.label
                self._pass_on(use, level)
        return ""

    def _decides(self, use: Use, level: Level) -> bool:
        node = use.node
        if level is Level.BOUNDED:
            return False
        if use.is_loop_condition or node.op == "LoopCond":
            return True
        if self._flow.onward(use) is not None:
            return False
        if node.op in CALLS:  # the input that chooses a branch, or recursion
            return node.op in LOOPS or self._has_work(use)
        if level is Level.VALUES and use.slot in sizing_slots(node):
            return True
        return bool(self._flow.outputs(use)) and node.op not in self._known

    def _has_work(self, use: Use) -> bool:
        frames = self._flow.called(use.place.frame, use.node)
        nodes = [node for frame in frames for node in frame.body.nodes.values()]
        return any(node.op not in _CHECKS for node in nodes) or not frames

    def _pass_on(self, use: Use, level: Level) -> None:
        onward = self._flow.onward(use)
        if onward is not None:
            for place in onward:
                self.reach(place, level)
        elif use.node.op not in SHAPE_ONLY and not use.is_loop_condition:
            for place in self._flow.outputs(use):
                output = place.tensor[1]
                self.reach(place, level_of_output(use.node, use.slot, level, output))
