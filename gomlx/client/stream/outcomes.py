"""The outcomes of a batch's rows: the error of one row must not fail the others."""

from collections.abc import Sequence
from typing import Any

from gomlx.client.answer import RowOutcome
from gomlx.client.columns import columns_of_batch, columns_of_row
from gomlx.client.core import Core
from gomlx.contract.halving import halves
from gomlx.errors import GomlxError, InvalidInput, RunFailed, TooLarge

ROW_ERRORS = (InvalidInput, TooLarge, RunFailed)  # all others are the service's


async def outcomes(
    core: Core, rows: Sequence[Any], timeout_seconds: float | None
) -> list[RowOutcome]:
    """Return each row's answer, or the error in its place.

    Raises ValueError if the model answers the rows of a request together: how rows are
    batched here must not decide what is requested.
    """
    if core.answers_together:
        raise ValueError(
            f"model {core.address.model!r} answers the rows of a request together, and "
            "a stream has no requests: use predict_batch, once a request"
        )
    try:
        inputs = columns_of_row(rows[0]) if len(rows) == 1 else columns_of_batch(rows)
        return list(await core.answers(inputs, timeout_seconds))
    except ROW_ERRORS as error:
        if len(rows) == 1:
            return [error]
    except GomlxError as error:
        return [error] * len(rows)
    # Some row failed them all: the parts are requested again.
    found: dict[int, RowOutcome] = {}
    for part in _parts(core, rows):
        part_outcomes = await outcomes(core, [rows[i] for i in part], timeout_seconds)
        found.update(zip(part, part_outcomes, strict=True))
    return [found[i] for i in range(len(rows))]


def _parts(core: Core, rows: Sequence[Any]) -> list[list[int]]:
    """Split rows, by index: invalid ones off; if that splits none, in halves."""
    valid = list[int]()
    invalid = list[int]()
    for i, row in enumerate(rows):
        (valid if core.is_valid(row) else invalid).append(i)
    if valid and invalid:
        return [valid, *([i] for i in invalid)]
    return list(halves(list(range(len(rows)))))
