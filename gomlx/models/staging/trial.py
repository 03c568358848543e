"""Trial runs of a model as TensorFlow loads it: the reference for what workers load.

They also show whether a row gets the same answer in a batch as alone.
"""

import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import repeat
from typing import Any

import numpy as np

from gomlx.contract.tensor import Row
from gomlx.errors import StageFailed
from gomlx.models.serving import session as tf_session
from gomlx.models.serving.answers import Answers
from gomlx.models.serving.feeds import Feeds
from gomlx.models.serving.servable import Description, Servable
from gomlx.models.staging.samples import Samples

Call = Callable[..., list[Any]]  # from one array per input
# The shares of a trial's time after which no more rows are tried alone, and together.
_ALONE = 0.4
_TOGETHER = 0.7


def example_values(description: Description, call: Call, example: Row) -> list[Any]:
    """Return the fetched tensors of a run of the example. Raises StageFailed."""
    feeds = Feeds(description.signature.inputs, description.binding)
    try:
        return call(*feeds([example]))
    except tf_session.TensorFlowError as error:
        reason = tf_session.first_line(error)
        raise StageFailed(
            f"the trial run failed: {reason} (if the model does not accept this "
            "row, configure one that it accepts: `example:`)"
        ) from None


class TrialTime:
    """How long rows are tried for. seconds: 0 for as long as that takes.

    What is proved does not depend on a trial, so a slow model has a shorter one: the
    example is always tried, and others while there is time.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds or math.inf
        self._started = time.monotonic()
        self.is_cut = False  # until something is left out

    def is_over(self, share: float) -> bool:
        """Whether this share of the time has passed, and something is left out."""
        is_over = time.monotonic() - self._started > share * self._seconds
        self.is_cut = self.is_cut or is_over
        return is_over


class Trial:
    """The outputs for an example row, and for others that the model accepts.

    values: of `example_values`. Raises StageFailed if they are not those of one row.
    """

    def __init__(
        self,
        description: Description,
        call: Call,
        samples: Samples,
        values: Sequence[Any],
        time: TrialTime,
    ) -> None:
        self._time = time
        self._outputs = description.signature.outputs
        self._call = call
        self._samples = samples
        self._feeds = Feeds(description.signature.inputs, description.binding)
        self._answers = Answers(self._outputs, description.binding)
        self._most = description.binding.rows or sys.maxsize
        self._rows = [samples.example]
        self._alone = [self._of_example(values)]  # the outputs of each row, run alone
        for other in samples.rows():
            if time.is_over(_ALONE):
                break
            if not self._accepts(other):
                for half in _halves(samples.example, other):
                    self._accepts(half)

    @property
    def count(self) -> int:
        """How many rows are tried."""
        return len(self._rows)

    def agrees(self) -> bool:
        """False if a row of the trial gets another answer in a batch than alone.

        The batches: all rows, each twice and far apart; then each row in front of
        another one, since the effects of two rows on a third may cancel out; then all
        rows in a crowd.
        """
        order = range(len(self._rows))
        groups = [[*order, *reversed(order)]]
        groups += [[i, i - 1] for i in order]
        if self._most < 2 * len(order):
            return self._all_agree([group[: self._most] for group in groups])
        if not self._all_agree(groups):
            return False
        return self._time.is_over(_TOGETHER) or self._agree(
            order, self._samples.crowd()
        )

    def compare(self, servable: Servable) -> None:
        """Raise StageFailed unless the mapped model gives the same outputs."""
        for i, (row, alone) in enumerate(zip(self._rows, self._alone, strict=True)):
            if i and self._time.is_over(1.0):
                return
            mapped = servable.outputs([row])
            for tensor, theirs, our in zip(self._outputs, alone, mapped, strict=True):
                if not self._is_alike(i, theirs, our):
                    raise StageFailed(
                        f"output {tensor.name!r} differs from that of the unmodified "
                        "SavedModel once weights are mapped"
                    )

    def compare_together(self, servable: Servable) -> None:
        """Do what `compare` does, for rows that are answered together.

        Alone, they say nothing: the softmax of one row is 1, whatever the weights are.
        """
        rows = self._rows
        try:
            theirs = self._run(rows)
        except tf_session.TensorFlowError:
            return  # the model refuses what it accepts row by row
        scales = repeat(max(map(self._samples.scale, rows)))
        if not all(map(_alike, theirs, servable.outputs(rows), scales)):
            raise StageFailed(
                "rows that run together have other outputs than with the unmodified "
                "SavedModel once weights are mapped"
            )

    def _of_example(self, values: Sequence[Any]) -> list[Any]:
        outputs = self._answers.by_row(values, 1)
        for tensor, array in zip(self._outputs, outputs, strict=True):
            if not array.ndim or len(array) != 1:
                raise StageFailed(
                    f"output {tensor.name!r} has shape {list(array.shape)} for one "
                    "row, though the model declares its first dimension to be open as "
                    "that of the batch: if no dimension is for the batch, declare all "
                    "of its shape, or leave the output out (`outputs:`)"
                )
        return outputs

    def _accepts(self, row: Row) -> bool:
        """Run a row alone and keep it, unless the model refuses it."""
        if row in self._rows:
            return True
        try:
            self._alone.append(self._run([row]))
        except tf_session.TensorFlowError:
            return False
        self._rows.append(row)
        return True

    def _all_agree(self, groups: Sequence[Sequence[int]]) -> bool:
        """True if the first group agrees, and each other for which there is time."""
        return all(
            (place and self._time.is_over(_TOGETHER)) or self._agree(group)
            for place, group in enumerate(groups)
        )

    def _agree(self, group: Sequence[int], crowd: Sequence[Row] = ()) -> bool:
        """True if the rows of a group get the same answers in one batch as alone."""
        rows = [self._rows[i] for i in group]
        try:
            together = self._run([*rows, *crowd])
        except tf_session.TensorFlowError:
            return bool(crowd)  # which may hold rows that the model refuses
        size = len(rows) + len(crowd)
        return all(
            among.shape[:1] == (size,)
            and self._is_alike(i, self._alone[i][output], among[place : place + 1])
            for output, among in enumerate(together)
            for place, i in enumerate(group)
        )

    def _is_alike(self, i: int, a: Any, b: Any) -> bool:
        return _alike(a, b, self._samples.scale(self._rows[i]))

    def _run(self, rows: Sequence[Row]) -> list[Any]:
        """Return one array of shape [rows, …] per output."""
        return self._answers.by_row(self._call(*self._feeds(rows)), len(rows))


def _halves(row: Row, other: Row) -> Iterator[Row]:
    """Yield two rows of which every second value is the other row's."""
    for rest in (0, 1):
        pairs = enumerate(zip(row, other, strict=True))
        yield tuple(b if i % 2 == rest else a for i, (a, b) in pairs)


def _alike(a: Any, b: Any, scale: float) -> bool:
    """True if arrays are equal, except for last bits that the order of a sum decides.

    scale is the magnitude of what was summed: terms may cancel, their last bits do not.
    """
    a = np.asarray(a)
    b = np.asarray(b)
    if a.shape != b.shape:
        return False
    if a.dtype.kind == "f":
        return np.allclose(a, b, rtol=1e-4, atol=1e-6 * scale, equal_nan=True)
    return bool(np.array_equal(a, b))
