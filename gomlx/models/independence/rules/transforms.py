"""Operations on vectors and matrices of the last axes: Fourier transforms, algebra."""

from functools import partial

from gomlx.models.independence.operation import GraphOperation, Outcome, Rule
from gomlx.models.independence.state import State, StateKind, rows, same

_OUTPUTS = 3  # of an operation at most
_OF_VECTORS = "FFT IFFT IRFFT RFFT"
_OF_IMAGES = "FFT2D IFFT2D IRFFT2D RFFT2D"
_OF_MATRICES = """
Cholesky MatrixDeterminant LogMatrixDeterminant MatrixExponential MatrixInverse
MatrixLogarithm MatrixSolve MatrixSquareRoot MatrixTriangularSolve Qr SelfAdjointEigV2
Svd
"""


def transformed(axes: int, operation: GraphOperation) -> Outcome:
    """Transform what lies along the last axes, of each row by itself."""
    first = operation.inputs[0]
    if operation.worst is StateKind.SAME:
        return [same(None)] * _OUTPUTS
    operation.require(operation.worst is StateKind.ROWS and first.shape is not None)
    assert first.shape is not None
    lead = first.shape[: len(first.shape) - axes]
    operation.require(first.axis < len(lead), "along the batch")
    are_beside = all(_is_beside(one, first) for one in operation.inputs)
    operation.require(are_beside, "matrices of other rows")
    if operation.op == "MatrixDeterminant":
        return rows(lead, first.axis)
    if operation.op == "LogMatrixDeterminant":
        return [rows(lead, first.axis)] * 2
    # The singular values of a matrix, and its eigenvalues, are a vector.
    has_vector = operation.op in ("SelfAdjointEigV2", "Svd")
    vector = rows((*lead, None), first.axis)
    whole = rows((*lead, *[None] * axes), first.axis)
    return [vector if has_vector else whole, whole, whole]


def _is_beside(one: State, first: State) -> bool:
    """True of settings, and of matrices that lie as the first ones do."""
    if one.kind is StateKind.SAME:
        return one.rank is not None and one.rank <= 1
    if one.kind is not StateKind.ROWS or one.shape is None or first.shape is None:
        return False
    is_alike = len(one.shape) == len(first.shape) and one.axis == first.axis
    return is_alike and one.shape[one.axis] == first.shape[first.axis]


RULES: dict[str, Rule] = {
    **dict.fromkeys(_OF_VECTORS.split(), partial(transformed, 1)),
    **dict.fromkeys(_OF_IMAGES.split(), partial(transformed, 2)),
    **dict.fromkeys(_OF_MATRICES.split(), partial(transformed, 2)),
}
