"""In what the rows of one run agree: the sizes of their values, and what they share."""

from collections.abc import Hashable, Sequence

from gomlx.contract.signature import Signature
from gomlx.contract.tensor import Block, Row, Tensor, Value
from gomlx.contract.values.composite import inner_sizes
from gomlx.errors import InvalidInput


def identity(value: Value) -> Hashable:
    """Return a key of a value: -0.0 is not 0.0 to a model, and 1 is not True."""
    return (type(value), str(value) if isinstance(value, float) else value)


def check_agreement(signature: Signature, rows: Sequence[Row]) -> None:
    """Raise InvalidInput unless canonical rows can share one run.

    There is one value of each input that rows share. Of others, the values have the
    same sizes: the dimensions of a sparse tensor; of ragged lists, only the sizes that
    are not those of lists of any length.
    """
    columns = zip(*rows, strict=True)
    for tensor, column in zip(signature.fields, columns, strict=True):
        if tensor.is_shared and len(set(map(identity, column))) > 1:
            raise InvalidInput("expected one value for all rows", tensor.name)
        if not tensor.is_scalar:
            _check_sizes(tensor, column)


def _check_sizes(tensor: Tensor, column: Sequence[Value]) -> None:
    first: Sequence[int] | None = None
    for i, value in enumerate(column):
        sizes = _sizes(tensor, value)
        first = sizes if first is None else first
        if sizes is not None and sizes != first:
            reason = (
                f"expected a value of shape {list(first or ())}, as in the rows before "
                f"it, got one of shape {list(sizes)}: the rows of a request run "
                "together"
            )
            raise InvalidInput(reason, tensor.name, i)


def _sizes(tensor: Tensor, value: Value) -> Sequence[int] | None:
    """Return the sizes of a value that all of a run have; None if it fits any."""
    if not isinstance(value, Block):
        return ()
    if tensor.ragged:
        return inner_sizes(value.shape, tensor.ragged)
    if tensor.is_sparse:
        return value.shape[: len(tensor.shape or ())]
    return value.shape
