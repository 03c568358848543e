"""Products, convolutions and normalisation: rows on the left, weights on the right."""

from gomlx.models.independence.operation import (
    GraphOperation,
    Mixes,
    Outcome,
    Rule,
)
from gomlx.models.independence.pairs import paired
from gomlx.models.independence.rules.elementwise import broadcast, meets
from gomlx.models.independence.sizes import Size
from gomlx.models.independence.state import (
    Shape,
    State,
    StateKind,
    rows,
    same,
    with_rows,
)

_IMAGES = """
AvgPool AvgPool3D Conv2D Conv3D DepthToSpace DepthwiseConv2dNative
ExtractImagePatches MaxPool MaxPool3D ResizeBicubic ResizeBilinear ResizeNearestNeighbor
SpaceToDepth LRN
"""


def matmul(operation: GraphOperation) -> Outcome:
    a, b = operation.inputs
    _require_rows(operation)
    height = _side(a, 1 if operation.flag("transpose_a") else 0)
    width = _side(b, 0 if operation.flag("transpose_b") else 1)
    if operation.worst is StateKind.SAME:
        return same((height, width))
    if _is_free(a, b, int(operation.flag("transpose_a"))):
        return rows((height, width))
    if _is_free(b, a, 1 - int(operation.flag("transpose_b"))):
        return rows((height, width), 1)
    operation.require(a.rank == 2 == b.rank, "unknown rank")
    free = int(operation.flag("transpose_a")), 1 - int(operation.flag("transpose_b"))
    raise Mixes(_of_all_rows(operation, free))


def _of_all_rows(operation: GraphOperation, free: tuple[int, int]) -> State:
    """Return MIXED: pairs of rows, if the batch is the free axis of both factors."""
    a, b = operation.inputs
    are_rows = all(one.kind is StateKind.ROWS for one in (a, b))
    found = operation.over_rows()
    is_of_pairs = are_rows and (a.axis, b.axis) == free
    return paired(a, b, found) if is_of_pairs else found


def _is_free(one: State, other: State, axis: int) -> bool:
    """True for a matrix of rows along an axis, of which none is summed over."""
    is_of_rows = one.kind is StateKind.ROWS and other.kind is StateKind.SAME
    return is_of_rows and one.rank == 2 and one.axis == axis


def _side(one: State, axis: int) -> Size | None:
    return one.shape[axis] if one.shape and len(one.shape) == 2 else None


def batch_matmul(operation: GraphOperation) -> Outcome:
    """BatchMatMul: the batch among the leading axes, or the free one of the left."""
    a, b = operation.inputs
    if operation.worst is StateKind.SAME:
        return same(None)
    _require_rows(operation)
    operation.require(a.shape is not None and b.shape is not None, "unknown rank")
    leads = [_leading(a), _leading(b)]
    lead = broadcast([one.shape for one in leads])
    assert lead is not None
    shape = (*lead, *_matrix(operation))
    reason = operation.mixed().reason
    batched = [one for one in leads if one.kind is StateKind.ROWS]
    if any(one.axis >= len(one.shape or ()) for one in batched):
        if not _is_free_side(operation):
            raise Mixes(operation.over_rows())
        return with_rows(shape, len(shape) - 2, reason)
    first = batched[0]
    from_last = len(first.shape or ()) - first.axis
    is_aligned = all(meets(one, first, from_last) for one in leads)
    if not is_aligned:
        raise Mixes(operation.over_rows("rows meet other rows"))
    return with_rows(shape, len(lead) - from_last, reason)


def _matrix(operation: GraphOperation) -> Shape:
    """Return the last two dimensions of a product."""
    a, b = (one.shape or () for one in operation.inputs)
    height = a[-1] if operation.flag("adj_x") else a[-2]
    width = b[-2] if operation.flag("adj_y") else b[-1]
    return height, width


def _is_free_side(operation: GraphOperation) -> bool:
    """True when the rows lie along the left's dimension that is not summed over."""
    a, b = operation.inputs
    free = len(a.shape or ()) - (1 if operation.flag("adj_x") else 2)
    return b.kind is StateKind.SAME and a.axis == free


def _require_rows(operation: GraphOperation) -> None:
    has_size = any(one.kind is StateKind.SIZE for one in operation.inputs)
    operation.require(operation.worst <= StateKind.ROWS and not has_size)


def _leading(one: State) -> State:
    assert one.shape is not None
    return State(one.kind, one.shape[:-2], one.axis)


def einsum(operation: GraphOperation) -> Outcome:
    """The batch has a letter that all rows share, and that the result keeps."""
    if operation.worst is StateKind.SAME:
        return same(None)
    _require_rows(operation)
    terms, _, result = operation.text("equation").replace(" ", "").partition("->")
    operation.require("." not in terms, "an ellipsis")
    sizes: dict[str, Size | None] = {}
    batch = set()
    for term, one in zip(terms.split(","), operation.inputs, strict=True):
        if one.kind is StateKind.ROWS:
            operation.require(one.rank == len(term), "unknown rank")
            assert one.shape is not None
            batch.add((term[one.axis], one.shape[one.axis]))
            sizes |= dict(zip(term, one.shape, strict=True))
    ((letter, _), *others) = batch
    is_kept = result.count(letter) == 1 and not others
    is_alone = is_kept and _is_of_rows_alone(operation, terms, letter)
    if not is_alone:
        raise Mixes(operation.over_rows())
    shape = tuple(sizes.get(one) for one in result)
    return with_rows(shape, result.index(letter), operation.mixed().reason)


def _is_of_rows_alone(operation: GraphOperation, terms: str, letter: str) -> bool:
    """True when the batch's letter is once in each of the rows, and nowhere else."""
    pairs = zip(terms.split(","), operation.inputs, strict=True)
    return all(
        term.count(letter) == (one.kind is StateKind.ROWS)
        and (one.kind is not StateKind.ROWS or term.index(letter) == one.axis)
        for term, one in pairs
    )


def image(operation: GraphOperation) -> Outcome:
    """Convolutions and pooling: the batch is the first axis, and passes."""
    one, *others = operation.inputs
    if operation.worst is StateKind.SAME:
        return same(None)
    is_first = one.kind is StateKind.ROWS and one.axis == 0 and one.shape is not None
    if not is_first or any(other.kind is not StateKind.SAME for other in others):
        return operation.mixed()
    assert one.shape is not None
    return rows((one.shape[0], *[None] * (len(one.shape) - 1)))


def transposed_convolution(operation: GraphOperation) -> Outcome:
    """Conv2DBackpropInput and its like: the batch is the first axis, and passes."""
    sizes, weights, one = operation.inputs
    if operation.worst is StateKind.SAME:
        return same(None)
    is_first = one.kind is StateKind.ROWS and one.axis == 0 and one.shape is not None
    operation.require(is_first and weights.kind is StateKind.SAME)
    operation.require(sizes.kind <= StateKind.SIZE and sizes.content)
    assert one.shape is not None and sizes.content is not None
    height, *others = sizes.content
    operation.require(height == one.shape[0], "another number of rows")
    has_batch = any(size is not None and size.batches for size in others)
    operation.require(not has_batch, "as large as there are rows")
    return rows((height, *others))


def bias_add(operation: GraphOperation) -> Outcome:
    one, bias = operation.inputs
    if operation.worst is StateKind.SAME:
        return same(one.shape)
    if (
        one.kind is not StateKind.ROWS
        or bias.kind is not StateKind.SAME
        or one.shape is None
    ):
        return operation.mixed()
    is_last = operation.text("data_format") != "NCHW"
    channel = len(one.shape) - 1 if is_last else 1
    return one if one.axis != channel else operation.mixed("along the batch")


def fused_batch_norm(operation: GraphOperation) -> Outcome:
    """With stored moments; or with those of each row, as layer normalisation has it."""
    one, *others = operation.inputs
    count = 6 if operation.op.endswith("V3") else 5
    if operation.worst is StateKind.SAME:
        return [same(None)] * count
    rest = [operation.mixed("moments")] * (count - 1)
    if one.kind is not StateKind.ROWS or one.shape is None:
        return [operation.mixed(), *rest]
    if not operation.flag("is_training"):
        is_aside = one.axis == 0 and all(s.kind is StateKind.SAME for s in others)
        return [one if is_aside else operation.mixed(), *rest]
    is_last = operation.text("data_format") in ("NHWC", "NDHWC")
    channel = len(one.shape) - 1 if is_last else 1
    is_each = one.axis == channel and all(_is_channel(s) for s in others[:2])
    if not is_each:
        return [operation.over_rows("moments of the batch")] * count
    return [one, *rest]


def _is_channel(one: State) -> bool:
    return one.kind is StateKind.ROWS and one.axis == 0 and one.rank == 1


RULES: dict[str, Rule] = {
    **dict.fromkeys(_IMAGES.split(), image),
    **dict.fromkeys(("BatchMatMul", "BatchMatMulV2", "BatchMatMulV3"), batch_matmul),
    **dict.fromkeys(
        ("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"), fused_batch_norm
    ),
    **dict.fromkeys(
        ("Conv2DBackpropInput", "Conv3DBackpropInputV2"), transposed_convolution
    ),
    "BiasAdd": bias_add,
    "Einsum": einsum,
    "MatMul": matmul,
}
