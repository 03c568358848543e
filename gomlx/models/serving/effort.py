"""What staging knows of how long a run of a version takes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Effort:
    """What decides how long runs take.

    row_seconds: CPU time of the example on one thread, or 0 if it varies. decided_by:
    the operation by which the values of a row decide it, or empty: rows of equal sizes
    take about as long. pads: a new number of rows is compiled, and so runs are padded
    to numbers that were warmed.
    """

    row_seconds: float = 0.0
    decided_by: str = ""
    pads: bool = False

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Effort":
        """Read what dataclasses.asdict returned."""
        return cls(**document)
