"""One version of a little model: what it is made of, and the right answers."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from gomlx.conformance import formulas

NamedRow = Mapping[str, Any]
RowAnswers = list[dict[str, Any]]  # the outputs of each row, by name

# The dtype of each input and output. A row's value is a scalar, or for some a matrix.
DTYPES = {
    "a": "string",
    "b": "string",
    "n": "int64",
    "x": "float32",
    "score": "float32",
    "stamp": "int64",
    "total": "float32",
    "quotient": "int64",
}
MATRICES = {"x"}
INPUTS = {"words": ("a", "b", "n"), "cube": ("x",), "fragile": ("n",)}
OUTPUTS = {
    "words": ("score", "stamp"),
    "cube": ("total",),
    "fragile": ("quotient",),
}
SEPARATORS = "/,|: "
VOCABULARY = (
    *("red", "green", "blue", "x", "z", "xz", ""),
    *(word for mark in SEPARATORS for word in (f"x{mark}y", f"y{mark}z")),
)


class ModelName(StrEnum):
    """The models that the suite deploys; the server's config must name each."""

    words = "conformance_words"
    twin = "conformance_twin"
    cube = "conformance_cube"
    fragile = "conformance_fragile"


@dataclass(frozen=True)
class Recipe:
    """A version. weights[0] is an unknown word's; mark (1 to 999) is in each stamp."""

    kind: str
    vocabulary: tuple[str, ...] = ()
    weights: tuple[float, ...] = ()
    mark: int = 0

    def answers(self, rows: Sequence[NamedRow]) -> RowAnswers:
        """Return the right answers to rows. Raises ZeroDivisionError (`fragile`)."""
        return [formulas.answer(asdict(self), dict(row)) for row in rows]

    def document(self) -> dict[str, Any]:
        """Return what a model in Python reads, for JSON."""
        return asdict(self)


def first_words(mark: int) -> Recipe:
    """Return the first version of a model of words."""
    weights = tuple(float(place) for place in range(len(VOCABULARY) + 1))
    return Recipe("words", VOCABULARY, weights, mark)
