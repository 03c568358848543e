"""What a model answers when it is loaded the ordinary way: the measure for the mapped
one, and for whether rows may run together.
"""

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from gomlx.contract.signature import Signature
from gomlx.contract.tensor import Row
from gomlx.errors import StageFailed
from gomlx.models.serving import session as tf_session
from gomlx.models.serving.servable import Feeds, Servable
from gomlx.models.staging.samples import Samples

log = logging.getLogger(__name__)


class Trial:
    """The outputs for an example row and for others like it. Raises StageFailed."""

    def __init__(self, signature: Signature, call: Any, samples: Samples) -> None:
        self._signature, self._call, self._samples = signature, call, samples
        self._feeds = Feeds(signature)
        row = samples.example
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
        for other in samples.rows():
            if not self._takes(other):
                for half in _halves(row, other):
                    self._takes(half)

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
        for i, (row, alone) in enumerate(zip(self._rows, self._alone, strict=True)):
            mapped = servable.outputs([row])
            for tensor, theirs, our in zip(
                self._signature.outputs, alone, mapped, strict=True
            ):
                if not self._is_alike(i, theirs, our):
                    what = f"output {tensor.name!r}"
                    raise StageFailed(f"{what} differs with mapped weights")

    def _takes(self, row: Row) -> bool:
        """Run a row alone and keep it, unless it is one that the model refuses."""
        if row in self._rows:
            return True
        try:
            self._alone.append(self._run([row]))
        except tf_session.TensorFlowError:
            return False
        self._rows.append(row)
        return True

    def _agrees(self) -> bool:
        """True when rows answer as alone in each of several batches.

        All of them, each twice and far apart; then each in front of another one, since
        what two rows do to a third may cancel; then all among a crowd.
        """
        order = range(len(self._rows))
        groups = [[*order, *reversed(order)], *([i, i - 1] for i in order)]
        crowd = self._samples.crowd()
        return all(map(self._agree, groups)) and self._agree(order, crowd)

    def _agree(self, group: Sequence[int], crowd: Sequence[Row] = ()) -> bool:
        rows = [self._rows[i] for i in group]
        try:
            together = self._run([*rows, *crowd])
        except tf_session.TensorFlowError:
            return bool(crowd)  # a row of it may be one that the model does not take
        size = len(rows) + len(crowd)
        return all(
            among.shape[:1] == (size,)
            and self._is_alike(i, self._alone[i][output], among[place : place + 1])
            for output, among in enumerate(together)
            for place, i in enumerate(group)
        )

    def _is_alike(self, i: int, a: Any, b: Any) -> bool:
        return _alike(a, b, self._samples.scale(self._rows[i]))

    def _check_shapes(self, arrays: Sequence[Any]) -> None:
        for tensor, array in zip(self._signature.outputs, arrays, strict=True):
            if not array.ndim or len(array) != 1:
                raise StageFailed(
                    f"output {tensor.name!r} has shape {list(array.shape)} for one "
                    "row: its first dimension must be the batch"
                )

    def _run(self, rows: Sequence[Row]) -> list[Any]:
        return self._call(*self._feeds(rows))  # type: ignore[no-any-return]


def _halves(row: Row, other: Row) -> Iterator[Row]:
    """Rows of which one half of the values is another row's."""
    for rest in (0, 1):
        pairs = enumerate(zip(row, other, strict=True))
        yield tuple(b if i % 2 == rest else a for i, (a, b) in pairs)


def _alike(a: Any, b: Any, scale: float) -> bool:
    """Equal, but for the last bits, which the order of a sum decides.

    scale: of the numbers that were summed. They may cancel, their last bits do not.
    """
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape:
        return False
    if a.dtype.kind == "f":
        return np.allclose(a, b, rtol=1e-4, atol=1e-6 * scale, equal_nan=True)
    return bool(np.array_equal(a, b))
