"""What operations make of rows: a rule for each."""

from gomlx.models.independence import pairs
from gomlx.models.independence.operation import Rule
from gomlx.models.independence.rules import (
    elementwise,
    gather,
    joining,
    layout,
    linear,
    lists,
    parts,
    passing,
    reductions,
    repeats,
    shapes,
    slices,
    transforms,
)

RULES: dict[str, Rule] = {
    **elementwise.RULES,
    **gather.RULES,
    **joining.RULES,
    **layout.RULES,
    **linear.RULES,
    **lists.RULES,
    **pairs.RULES,
    **parts.RULES,
    **passing.RULES,
    **reductions.RULES,
    **repeats.RULES,
    **shapes.RULES,
    **slices.RULES,
    **transforms.RULES,
}
