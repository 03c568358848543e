"""What a model answers when it is loaded the ordinary way: the measure for the mapped
one, and for whether rows may run together.
"""

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from gomlx.contract.signature import Signature
from gomlx.contract.tensor import Row, Value
from gomlx.errors import StageFailed
from gomlx.models import session as tf_session
from gomlx.models.servable import Feeds, Servable

log = logging.getLogger(__name__)


class Trial:
    """The outputs for an example row and for others like it. Raises StageFailed."""

    def __init__(self, signature: Signature, call: Any, row: Row) -> None:
        self._signature, self._call = signature, call
        self._feeds = Feeds(signature)
        try:
            self._alone = [self._run([row])]
        except tf_session.TensorFlowError as error:
            reason = tf_session.first_line(error)
            raise StageFailed(
                f"the trial run failed: {reason} (if it was the row that "
                "did not suit the model, give one that does: `example:`)"
            ) from None
        self._rows = [row]
        self._check_shapes(self._alone[0])
        for other in _others(row):
            try:
                self._alone.append(self._run([other]))
            except tf_session.TensorFlowError:
                continue  # not every row is one that the model takes
            self._rows.append(other)

    def joins_rows(self, choice: str) -> bool:
        """True when rows of different values answer among each other as alone.

        choice names what the elements of an input choose: rows then share a branch.
        """
        if choice:
            log.warning("rows run one by one: the values of one decide (%s)", choice)
            return False
        joins = len(self._rows) > 1 and self._agrees()
        if not joins:
            log.warning("rows run one by one: a batch changes, or may change, answers")
        return joins

    def compare(self, servable: Servable) -> None:
        """Raise StageFailed unless the mapped model gives the same."""
        for row, alone in zip(self._rows, self._alone, strict=True):
            mapped = servable.outputs([row])
            for tensor, theirs, our in zip(
                self._signature.outputs, alone, mapped, strict=True
            ):
                if not _alike(theirs, our):
                    what = f"output {tensor.name!r}"
                    raise StageFailed(f"{what} differs with mapped weights")

    def _agrees(self) -> bool:
        try:
            together = self._run(self._rows)
        except tf_session.TensorFlowError:
            return False
        return all(
            among.shape[:1] == (len(self._rows),)
            and _alike(among[i], single[output][0])
            for output, among in enumerate(together)
            for i, single in enumerate(self._alone)
        )

    def _check_shapes(self, arrays: Sequence[Any]) -> None:
        for tensor, array in zip(self._signature.outputs, arrays, strict=True):
            if not array.ndim or len(array) != 1:
                raise StageFailed(
                    f"output {tensor.name!r} has shape {list(array.shape)} for one "
                    "row: its first dimension must be the batch"
                )

    def _run(self, rows: Sequence[Row]) -> list[Any]:
        return self._call(*self._feeds(rows))  # type: ignore[no-any-return]


def _others(row: Row) -> Iterator[Row]:
    """Rows of the same shapes with other values."""
    for step in (1, -1, 3):
        yield tuple(_moved(value, step) for value in row)


def _moved(value: Value, step: int) -> Value:
    if value is None:
        return value
    if isinstance(value, bool):
        return value if step < 0 else not value
    if isinstance(value, str):
        return f"{value}{step}"
    if isinstance(value, bytes):
        return value + bytes([step % 256])
    if isinstance(value, tuple):
        leaves = (_moved(leaf, step) for leaf in value.leaves)
        return value._replace(leaves=tuple(leaves))  # type: ignore[arg-type]
    return max(value + step, 0) if isinstance(value, int) else value + step


def _alike(a: Any, b: Any) -> bool:
    """Equal, but for the last bits, which the order of a sum decides."""
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape:
        return False
    if a.dtype.kind == "f":
        return np.allclose(a, b, rtol=1e-4, atol=1e-6, equal_nan=True)
    return bool(np.array_equal(a, b))
