"""All situations, by the families that they belong to."""

from tests.models.zoo.kinds import (
    batches,
    columns,
    effects,
    exports,
    fixed,
    images,
    numbers,
    ragged,
    sequences,
    tabular,
    text,
    v1,
)
from tests.models.zoo.situation import Situation

FAMILIES: dict[str, list[Situation]] = {
    "Columns of numbers and words": tabular.SITUATIONS,
    "Feature columns and look-ups": columns.SITUATIONS,
    "Texts": text.SITUATIONS,
    "Sequences": sequences.SITUATIONS,
    "Images": images.SITUATIONS,
    "Ragged and sparse tensors": ragged.SITUATIONS,
    "What the whole batch decides": batches.SITUATIONS,
    "Dimensions and names": fixed.SITUATIONS,
    "Numbers": numbers.SITUATIONS,
    "TensorFlow 1": v1.SITUATIONS,
    "Side effects": effects.SITUATIONS,
    "Exports and files": exports.SITUATIONS,
}
SITUATIONS = {one.name: one for family in FAMILIES.values() for one in family}
