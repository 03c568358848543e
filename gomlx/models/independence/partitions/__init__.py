"""Rules for the parts of rows, which come before those for rows.

Each returns None for inputs that it does not know: then the other rules decide.
"""

from collections.abc import Callable

from gomlx.models.independence.operation import GraphOperation, Outcome
from gomlx.models.independence.partitions import grids, places, segments, sparse
from gomlx.models.independence.partitions.contents import with_varying_sizes
from gomlx.models.independence.partitions.items import by_item

RULES: dict[str, Callable[[GraphOperation], Outcome | None]] = {
    **grids.RULES,
    **places.RULES,
    **segments.RULES,
    **sparse.RULES,
}


def of_parts(operation: GraphOperation) -> Outcome | None:
    """Return what an operation makes of parts of rows, if it takes any."""
    rule = RULES.get(operation.op)
    found = rule(operation) if rule else None
    return found or by_item(operation) or with_varying_sizes(operation)
