"""Whether rows may share a run: what was proved, what the config says, and a trial."""

import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from gomlx.contract.tensor import Tensor
from gomlx.errors import StageFailed
from gomlx.models.dataflow.flow import Flow
from gomlx.models.independence.proof import (
    Verdict,
    fed_ragged,
    fed_rows,
    fed_shared,
    fed_sparse,
    prove,
)
from gomlx.models.independence.state import State
from gomlx.models.serving.binding import Bound, Layout
from gomlx.models.serving.servable import Description
from gomlx.models.version import TOGETHER

log = logging.getLogger(__name__)


def examine_rows(flow: Flow, description: Description) -> Verdict:
    """Return whether rows may join, which cannot be where a run has only one.

    The graph must be TensorFlow's default graph.
    """
    signature = description.signature
    binding = description.binding
    if not binding.has_rows:
        return Verdict(False, "the model takes one row at a time")
    fed: dict[str, State] = {}
    for tensor, bound in zip(signature.inputs, binding.inputs, strict=True):
        fed.update(_fed(tensor, bound))
    shared = [
        name
        for bound in binding.outputs
        for name in bound.tensors
        if bound.layout.is_shared
    ]
    is_steady = not description.unsteady
    return prove(flow.body, flow.function, fed, binding.fetches, shared, is_steady)


def _fed(tensor: Tensor, bound: Bound) -> Iterator[tuple[str, State]]:
    """Yield what each tensor of an input is with respect to the batch."""
    name = bound.tensors[0]
    if bound.layout is Layout.ROWS:
        yield name, fed_rows(name, tensor.shape)
    elif bound.layout is Layout.RAGGED:
        yield from fed_ragged(bound.tensors, tensor.ragged, tensor.shape).items()
    elif bound.layout is Layout.SPARSE:
        yield from fed_sparse(bound.tensors, tensor.shape).items()
    elif bound.layout is Layout.ONE and tensor.shape is not None:
        yield name, fed_shared((1, *tensor.shape))
    else:
        yield name, fed_shared(tensor.shape)


def without_rows(
    description: Description, same: Collection[str], values: Sequence[Any]
) -> Description:
    """Return a description in which outputs that are the same for all rows say so.

    same: the fetched tensors for which that is proved. values: of all fetched tensors,
    for any row. Where runs have a fixed number of rows, an output that is the same has
    as many parts: if they are equal, each row has one; else all of them are its value,
    since it cannot matter at which place of a run a row is.
    """
    same = {*same}
    if description.binding.rows:
        pairs = zip(description.binding.fetches, values, strict=True)
        same -= {name for name, value in pairs if _has_equal_parts(value)}
    signature = description.signature
    binding = description.binding
    outputs = []
    tensors = []
    for tensor, bound in zip(signature.outputs, binding.outputs, strict=True):
        is_same = bound.layout is Layout.ROWS and {*bound.tensors} <= {*same}
        if is_same:
            shape = None if tensor.shape is None else (None, *tensor.shape)
            tensors.append(replace(tensor, shape=shape, is_shared=True))
            outputs.append(Bound(Layout.WHOLE, bound.tensors))
        else:
            tensors.append(tensor)
            outputs.append(bound)
    return replace(
        description,
        signature=replace(signature, outputs=tuple(tensors)),
        binding=replace(binding, outputs=tuple(outputs)),
    )


def _has_equal_parts(value: Any) -> bool:
    """True if what lies at each place of the first axis is equal, to the last bit."""
    array = np.asarray(value)
    if not array.ndim:
        return False
    if array.dtype == object:
        parts = array.tolist()
    else:
        parts = [part.tobytes() for part in array]
    return all(part == parts[0] for part in parts)


def rows_apart(
    name: str, setting: str, verdict: Verdict, agrees: Callable[[], bool]
) -> str:
    """Return why rows of different requests may not run together; "": they may.

    setting: what the config says of the model's rows. agrees: a trial, the second lock
    on what was proved: it cannot show that rows are independent, only that they are
    not. Raises StageFailed for a listwise model of which the config says nothing: its
    rows can run neither alone, which gives answers without meaning, nor with those of
    other requests.
    """
    if setting == "independent":
        log.warning("model %s joins rows because the config vouches for it", name)
        return ""
    if setting in ("alone", TOGETHER):
        return f"the config says `rows: {setting}`"
    if verdict.is_listwise:
        raise _listwise(verdict)
    if not verdict.joins:
        log.warning("model %s runs rows one at a time: %s", name, verdict.reason)
        return verdict.reason
    if agrees():
        return ""
    log.error(
        "model %s runs rows one at a time: a batch changed the answer to a row, "
        "although the graph proves that it cannot: please report this bug of gomlx",
        name,
    )
    return "a batch changed the answer to a row"


def _listwise(verdict: Verdict) -> StageFailed:
    return StageFailed(
        f"its answer to a row depends on all rows of the request: {verdict.reason}. "
        "Configure `batch: {rows: together}`, and a whole request is the question, or "
        "`batch: {rows: alone}`, if each row is a question of its own"
    )
