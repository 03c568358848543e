"""What a model answers when it is loaded the ordinary way, and whether the mapped one
answers the same.
"""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from gomlx.contract.signature import Row, Signature
from gomlx.errors import StageFailed
from gomlx.models import session as tf_session
from gomlx.models.servable import Servable, feeds_of

log = logging.getLogger(__name__)


class Trial:
    """The outputs for one example row, alone and three times in a batch."""

    def __init__(
        self,
        signature: Signature,
        call: Any,
        row: Row,
    ) -> None:
        self._signature, self._call, self._row = signature, call, row
        self._alone = self._run(1)
        self._among = self._run(3) if self._alone else None

    def check_shapes(self) -> None:
        """Raise StageFailed unless every output has one row a question."""
        for tensor, array in self._outputs(self._alone):
            if not array.ndim or len(array) != 1:
                raise StageFailed(
                    f"output {tensor.name!r} has shape {list(array.shape)} for one "
                    "row: its first dimension must be the batch"
                )

    def joins_rows(self) -> bool:
        """True when a row's answer is the same alone and among others."""
        if self._alone is None:
            return True
        joins = self._among is not None and all(
            among.shape == (3, *alone.shape[1:])
            and all(_alike(alone[0], row) for row in among)
            for alone, among in zip(self._alone, self._among, strict=True)
        )
        if not joins:
            log.warning("rows run one by one: a batch changes their answers")
        return joins

    def compare(self, servable: Servable) -> None:
        """Raise StageFailed unless the mapped model gives the same."""
        if self._alone is None:
            return
        ours = servable.outputs([self._row])
        for (tensor, array), our in zip(self._outputs(self._alone), ours, strict=True):
            if not _alike(array, our):
                raise StageFailed(f"output {tensor.name!r} differs with mapped weights")

    def _outputs(self, arrays: Sequence[Any] | None) -> list[tuple[Any, Any]]:
        if arrays is None:
            return []
        return list(zip(self._signature.outputs, arrays, strict=True))

    def _run(self, size: int) -> list[Any] | None:
        try:
            return self._call(*feeds_of(self._signature, [self._row] * size))  # type: ignore[no-any-return]
        except tf_session.InvalidArgument as error:
            if size > 1:
                return None
            # An empty string is no picture: what a model takes may need an example.
            reason = first_line(error)
            log.warning("the trial row does not suit the model: %s", reason)
            log.warning("give the model an `example:` in the config")
            return None
        except tf_session.TensorFlowError as error:
            raise StageFailed(f"the trial run failed: {first_line(error)}") from None


def first_line(error: BaseException) -> str:
    """The first line that says something: TensorFlow's messages run on and on."""
    lines = (line.strip() for line in str(error).splitlines())
    return next((line[:500] for line in lines if line), repr(error))


def _alike(a: Any, b: Any) -> bool:
    """Equal, but for the last bits, which the order of a sum decides."""
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape:
        return False
    if a.dtype.kind == "f":
        return np.allclose(a, b, rtol=1e-4, atol=1e-6, equal_nan=True)
    return bool(np.array_equal(a, b))
