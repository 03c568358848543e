"""Which tensors of a graph a row's values become, and which ones hold its answer."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Layout(StrEnum):
    """Where a tensor of the graph, or several, hold what belongs to a row.

    ROWS     [rows, …]: one row after the other along the first axis
    ONE      [1, …]: the one value of all rows of a run
    WHOLE    […]: likewise, without a first axis of its own
    RAGGED   the elements of all rows, and, for each level of lists, where each ends
    SPARSE   the indices, the values and the shape of all rows
    """

    ROWS = "rows"
    ONE = "one"
    WHOLE = "whole"
    RAGGED = "ragged"
    SPARSE = "sparse"

    @property
    def is_shared(self) -> bool:
        """True when the rows of a run have one value for all of them."""
        return self in (Layout.ONE, Layout.WHOLE)


@dataclass(frozen=True)
class Bound:
    """The tensors of one input or output: one, or the parts of a composite tensor.

    splits: the dtype of those that say where ragged lists end.
    """

    layout: Layout
    tensors: tuple[str, ...]
    splits: str = "int64"

    @property
    def elements(self) -> str:
        """The tensor that holds the elements."""
        return self.tensors[1 if self.layout is Layout.SPARSE else 0]

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Bound":
        tensors = tuple(document["tensors"])
        return cls(Layout(document["layout"]), tensors, document["splits"])


@dataclass(frozen=True)
class Binding:
    """The tensors of all inputs and outputs, in the order of the signature.

    rows: how many rows each run has, or 0 for any number. A graph of a fixed number is
    fed the last row repeatedly.
    """

    inputs: tuple[Bound, ...]
    outputs: tuple[Bound, ...]
    rows: int = 0

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Binding":
        """Read what dataclasses.asdict returned."""
        inputs = tuple(map(Bound.from_json, document["inputs"]))
        outputs = tuple(map(Bound.from_json, document["outputs"]))
        return cls(inputs, outputs, document["rows"])

    @property
    def feeds(self) -> tuple[str, ...]:
        """The names of the tensors that are fed, in the order of `Feeds`."""
        return tuple(name for bound in self.inputs for name in bound.tensors)

    @property
    def fetches(self) -> tuple[str, ...]:
        """The names of the tensors that are fetched, in the order of `Answers`."""
        return tuple(name for bound in self.outputs for name in bound.tensors)

    @property
    def has_rows(self) -> bool:
        """False when a run is of one row only: nothing has a first axis for rows."""
        return not all(bound.layout.is_shared for bound in self.inputs)
