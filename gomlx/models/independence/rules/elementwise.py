"""Operations that compute each element from the elements at its place."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations

from tensorflow.python.framework import dtypes

from gomlx.models.independence.operation import GraphOperation, Outcome, Rule
from gomlx.models.independence.pairs import element_of_pairs
from gomlx.models.independence.partition import lengths
from gomlx.models.independence.sizes import (
    BOUNDS,
    ONE,
    WHOLE_BATCH,
    Size,
    product,
    quotient,
)
from gomlx.models.independence.state import (
    Content,
    Shape,
    State,
    StateKind,
    holding,
    same,
    with_rows,
)

# One input, or several that broadcast against each other.
_NAMES = """
Abs Acos Acosh Add AddN AddV2 Angle Asin Asinh Atan Atan2 Atanh BesselI0e BesselI1e
BitwiseAnd BitwiseOr BitwiseXor Ceil CheckNumerics CheckNumericsV2 ClipByValue Complex
ComplexAbs Conj Cos Cosh Digamma Div DivNoNan Elu Equal Erf Erfc Erfinv Exp Expm1
FakeQuantWithMinMaxArgs FakeQuantWithMinMaxVars FakeQuantWithMinMaxVarsPerChannel Floor
FloorDiv FloorMod Greater GreaterEqual Igamma Igammac Imag Inv Invert IsFinite IsInf
IsNan LeakyRelu LeftShift Less LessEqual Lgamma Log Log1p LogicalAnd LogicalNot
LogicalOr Maximum Minimum Mod Mul MulNoNan Ndtri Neg NextAfter NotEqual OnesLike Pow
Real RealDiv Reciprocal Relu Relu6 RightShift Rint Round Rsqrt Selu SelectV2
Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Square SquaredDifference
Sub Tan Tanh TruncateDiv TruncateMod Xdivy Xlogy Xlog1py ZerosLike
Bucketize Cast
AsString DecodeBase64 EncodeBase64 RegexFullMatch RegexReplace StaticRegexFullMatch
StaticRegexReplace StringJoin StringLength StringLower StringStrip StringToHashBucket
StringToHashBucketFast StringToHashBucketStrong StringToNumber StringUpper Substr
UnicodeScript UnicodeTranscode
"""


def elementwise(operation: GraphOperation) -> Outcome:
    """The element at a place depends on the inputs' elements at that place."""
    inputs = operation.inputs
    if operation.worst > StateKind.ROWS:
        return _of_parts(operation)
    batched = [one for one in inputs if one.kind is StateKind.ROWS]
    if not batched:
        return _without_rows(operation)
    has_size = any(one.kind is StateKind.SIZE for one in inputs)
    operation.require(not has_size, "the size of the batch is used as a value")
    first = batched[0]
    if first.shape is None:
        others = [one for one in inputs if one is not first]
        are_scalars = all(
            one.kind is StateKind.SAME and one.rank == 0 for one in others
        )
        operation.require(are_scalars, "a tensor of unknown rank")
        return first.without_content()
    shape = broadcast([one.shape for one in inputs])
    from_last = len(first.shape) - first.axis
    is_aligned = shape and all(meets(one, first, from_last) for one in inputs)
    operation.require(is_aligned, "rows meet other places than their own")
    assert shape is not None
    return with_rows(shape, len(shape) - from_last, operation.mixed().reason)


def _of_parts(operation: GraphOperation) -> State:
    """Compute with what tells where parts are, with pairs, with what varies."""
    pairs = element_of_pairs(operation)
    if pairs is not None:
        return pairs
    if operation.op == "Cast" and operation.worst in (
        StateKind.OWNERS,
        StateKind.SPLITS,
    ):
        operation.require(is_whole(operation), "numbers that may be rounded")
        return operation.inputs[0]
    if operation.op in ("Maximum", "Minimum"):
        return _bounded(operation)
    kinds = [one.kind for one in operation.inputs]
    if operation.op == "Sub" and kinds == [StateKind.ENDS, StateKind.STARTS]:
        is_own = operation.inputs[0].partition == operation.inputs[1].partition
        partition = operation.inputs[0].partition
        return lengths(partition) if is_own else operation.mixed()
    are_scalars = all(one.rank == 0 for one in operation.inputs)
    return operation.mixed_scalar() if are_scalars else operation.mixed()


def _bounded(operation: GraphOperation) -> State:
    """max(x, n) is n at least, and so min(max(x, n), n) is n whatever x is.

    Of scalars: of a list, there may be as many n as rows decide.
    """
    if any(one.rank != 0 for one in operation.inputs):
        return operation.mixed()
    for one, bound in permutations(operation.inputs):
        limit = bound.content[0] if bound.content else None
        if limit is None or bound.kind > StateKind.SIZE:
            continue
        if operation.op == "Maximum":
            return replace(operation.mixed_scalar(), least=limit)
        if one.least == limit:
            return bound
    return operation.mixed_scalar()


def meets(one: State, first: State, from_last: int) -> bool:
    """True when the batch of one input meets that of the first, or a 1."""
    assert one.shape is not None and first.shape is not None
    if one.kind is StateKind.ROWS:
        is_aligned = len(one.shape) - one.axis == from_last
        return is_aligned and one.shape[one.axis] == first.shape[first.axis]
    return len(one.shape) < from_last or one.shape[-from_last] == ONE


def broadcast(shapes: Sequence[Shape | None]) -> Shape | None:
    """Return the shape of what shapes broadcast to; None if a rank is unknown."""
    known = [shape for shape in shapes if shape is not None]
    if len(known) != len(shapes):
        return None
    rank = max(map(len, known), default=0)
    padded = [(ONE,) * (rank - len(shape)) + shape for shape in known]
    return tuple(_meet(sizes) for sizes in zip(*padded, strict=True))


def _meet(sizes: Sequence[Size | None]) -> Size | None:
    others = [size for size in sizes if size != ONE]
    if not others:
        return ONE
    batched = [size for size in others if size is not None and size.batches]
    if batched:  # a SAME size that meets it was checked to be 1
        return batched[0]
    numbers = [size for size in others if size is not None and size.is_number]
    if numbers:
        return numbers[0]
    # One that is open may be 1, and then another decides.
    return others[0] if len(set(others)) == 1 else None


def _without_rows(operation: GraphOperation) -> State:
    shape = broadcast([one.shape for one in operation.inputs])
    content = _content(operation)
    if content is not None:
        return holding(content, shape)
    if operation.worst is StateKind.SAME:
        return same(shape)
    return State(StateKind.SIZE, shape)


def _content(operation: GraphOperation) -> Content | None:
    """Compute with sizes, element by element, where that can be said."""
    contents = [one.content for one in operation.inputs]
    if operation.op == "Cast":
        return contents[0] if is_whole(operation) else None
    if operation.op not in _ARITHMETIC or len(contents) != 2:
        return None
    a, b = contents
    if a is None or b is None:
        return None
    length = max(len(a), len(b))
    shapes = {one.shape for one in operation.inputs}
    if 1 not in (len(a), len(b)) and (len(shapes) > 1 or None in shapes):
        return None
    pairs = zip(_repeated(a, length), _repeated(b, length), strict=True)
    found = [_computed(operation.op, x, y) for x, y in pairs]
    return None if any(one == _UNKNOWN for one in found) else tuple(found)  # type: ignore[arg-type]


def _repeated(content: Content, length: int) -> Content:
    return content if len(content) == length else content * length


def is_whole(operation: GraphOperation) -> bool:
    """True for a conversion to integers that hold every size."""
    found = dtypes.as_dtype(operation.node.attr["DstT"].type)
    return bool(found.is_integer and found.size >= 4)


_UNKNOWN = "unknown"


def _computed(op: str, x: Size | None, y: Size | None) -> Size | str | None:
    """Return a size; None for one that is SAME, `_UNKNOWN` for what cannot be said."""
    depends = any(one is not None and (one.batches or one.varies) for one in (x, y))
    found = None if x is None or y is None else _ARITHMETIC[op](x, y)
    if found is None and depends:
        return _UNKNOWN
    return found


def _add(x: Size, y: Size) -> Size | None:
    if x.symbols == y.symbols:
        return Size(x.number + y.number, x.symbols)
    return x if y.number == 0 else y if x.number == 0 else None


def _subtract(x: Size, y: Size) -> Size | None:
    if x.symbols == y.symbols:
        found = x.number - y.number
        return Size(found, x.symbols if found else ())
    if x == BOUNDS and y == ONE:
        return WHOLE_BATCH
    return x if y.number == 0 else None


def _multiply(x: Size, y: Size) -> Size | None:
    return product((x, y))


def _larger(x: Size, y: Size) -> Size | None:
    if x.is_number and y.is_number:
        return max(x, y)
    if x == y:
        return x
    return x if y.is_number and y.number <= 1 <= x.number else None


_ARITHMETIC = {
    "Add": _add,
    "AddV2": _add,
    "Sub": _subtract,
    "Mul": _multiply,
    "FloorDiv": quotient,
    "Div": quotient,
    "RealDiv": quotient,
    "Maximum": _larger,
}


def select(operation: GraphOperation) -> Outcome:
    """Select of TensorFlow 1: a vector chooses whole rows of the other two."""
    condition, *others = operation.inputs
    if condition.rank != 1 or all(one.rank == 1 for one in others):
        return elementwise(operation)
    if operation.worst < StateKind.ROWS:
        return elementwise(operation)
    is_of_rows = condition.kind is StateKind.ROWS and not any(
        one.axis for one in others
    )
    operation.require(is_of_rows)
    have_rows = all(one.kind is StateKind.ROWS for one in others)
    operation.require(have_rows, "constants of places in the batch")
    return elementwise(GraphOperation(operation.node, others))


RULES: dict[str, Rule] = dict.fromkeys(_NAMES.split(), elementwise)
RULES["Select"] = select
