"""Which inputs of an operation decide, by their values, how much it computes.

Most operations compute as much as their inputs are large. `Range` computes as much as
its input says.
"""

import re
from collections.abc import Sequence
from enum import IntEnum
from typing import Any


class Level(IntEnum):
    """How far the values of a request decide what a tensor holds.

    BOUNDED   no number in it is greater than a request is large: places, lengths
    DECIDED   one of a few: what a comparison gives, an element of a table
    VALUES    anything that a caller may send
    """

    BOUNDED = 1
    DECIDED = 2
    VALUES = 3


_ALL = tuple(range(64))
_SLOTS: dict[str, tuple[int, ...]] = {
    "Bincount": (1,),
    "BroadcastTo": (1,),
    "Conv2DBackpropInput": (0,),
    "Conv3DBackpropInputV2": (0,),
    "CropAndResize": (3,),
    "DecodePaddedRaw": (1,),
    "DenseBincount": (1,),
    "DepthwiseConv2dNativeBackpropInput": (0,),
    "EmptyTensorList": (0, 1),
    "Fill": (0,),
    "LinSpace": (2,),
    "MatrixDiagV2": (1, 2, 3),
    "MatrixDiagV3": (1, 2, 3),
    "MirrorPad": (1,),
    "Multinomial": (1,),
    "OneHot": (1,),
    "Pad": (1,),
    "PadV2": (1,),
    "ParseTensor": (0,),
    "RaggedBincount": (2,),
    "RaggedRange": _ALL,
    "RaggedTensorToTensor": (0, *_ALL[3:]),
    "Range": _ALL,
    "ScaleAndTranslate": (1,),
    "ScatterNd": (2,),
    "SobolSample": (0, 1),
    "SpaceToBatchND": (2,),
    "SparseBincount": (2, 3),
    "SparseFillEmptyRows": (2,),
    "SparseTensorDenseMatMul": (2,),
    "SparseToDense": (1,),
    "StatelessMultinomial": (1,),
    "StridedSliceGrad": (0,),
    "TensorArrayV3": (0,),
    "TensorListReserve": (0, 1),
    "TensorListResize": (1,),
    "TensorListScatter": (1,),
    "TensorListScatterV2": (1, 3),
    "Tile": (1,),
    "UnsortedSegmentJoin": (2,),
    "XlaDynamicSlice": (2,),
    "XlaPad": (2, 3, 4),
}
_BY_PREFIX: tuple[tuple[str, tuple[int, ...]], ...] = (
    ("ImageProjectiveTransformV", (2,)),
    ("ParameterizedTruncatedNormal", (0,)),
    ("Random", (0,)),
    ("Resize", (1,)),
    ("Segment", (1, 2)),
    ("SparseReduce", (2,)),
    ("SparseSegment", (2, 3)),
    ("StatelessRandom", (0,)),
    ("StatelessTruncatedNormal", (0,)),
    ("TruncatedNormal", (0,)),
    ("UnsortedSegment", (2,)),
)
# A few bytes are unpacked into a large array.
_UNPACKING = frozenset(
    """
    DecodeAndCropJpeg DecodeBmp DecodeCompressed DecodeGif DecodeImage DecodeJpeg
    DecodeJxl DecodePng DecodeWebP
    """.split()
)
# Programs of StableHLO name their operations (models/steadiness/stablehlo.py).
_PROGRAM = "XlaCallModule"
_LOOP = re.compile(rb"while_v\d+\0")
_STITCHING = frozenset({"DynamicStitch", "ParallelDynamicStitch"})


def sizing_slots(node: Any) -> Sequence[int]:
    """Return the numbers of the inputs whose values decide what a node computes."""
    op = node.op
    if op in _UNPACKING:
        return (0,)
    if op in _STITCHING:  # the greatest place says how long the output is
        return range(node.attr["N"].i)
    if op == _PROGRAM:
        return _ALL if _LOOP.search(node.attr["module"].s) else ()
    if op in _SLOTS:
        return _SLOTS[op]
    return next((slots for start, slots in _BY_PREFIX if op.startswith(start)), ())


_FEW = frozenset(
    """
    All Any ApproximateEqual Bucketize Equal Greater GreaterEqual IsFinite IsInf IsNan
    Less LessEqual LogicalAnd LogicalNot LogicalOr NotEqual RegexFullMatch Sign
    StaticRegexFullMatch ToBool
    """.split()
)
# Inputs that choose among elements which another input has.
_CHOOSING = {
    "FloorMod": 0,
    "Gather": 1,
    "GatherNd": 1,
    "GatherV2": 1,
    "LookupTableFind": 1,
    "LookupTableFindV2": 1,
    "Mod": 0,
    "ResourceGather": 1,
    "ResourceGatherNd": 1,
    "Select": 0,
    "SelectV2": 0,
    "TruncateMod": 0,
}
# Outputs with places, lengths and counts of what an input holds.
_COUNTS = {
    "ArgMax": (0,),
    "ArgMin": (0,),
    "NonMaxSuppressionV3": (0,),
    "NonMaxSuppressionV4": (0, 1),
    "RaggedTensorToSparse": (0, 2),
    "SparseCross": (0, 2),
    "SparseCrossHashed": (0, 2),
    "SparseCrossV2": (0, 2),
    "StringLength": (0,),
    "StringNGrams": (1,),
    "StringSplit": (0, 2),
    "StringSplitV2": (0, 2),
    "TopKV2": (1,),
    "UnicodeDecode": (0,),
    "UnicodeDecodeWithOffsets": (0, 2),
    "Unique": (1,),
    "UniqueV2": (1,),
    "UniqueWithCounts": (1, 2),
    "UniqueWithCountsV2": (1, 2),
    "Where": (0,),
}


# Inputs that hold nothing but elements, and the only output that has some of them.
_ELEMENTS = {"SparseFillEmptyRows": {1: 1, 3: 1}, "SparseReorder": {1: 1}}
_SPARSE_FEATURES = {
    "ParseExample": "Nsparse",
    "ParseExampleV2": "num_sparse",
    "ParseSingleExample": "num_sparse",
}


def _is_place(node: Any, slot: int, output: int) -> bool:
    """True if an output says where elements of an input are, or how many there are."""
    if node.op in _SPARSE_FEATURES:
        # Indices, values and shapes; dense values; values and splits of ragged ones.
        count = int(node.attr[_SPARSE_FEATURES[node.op]].i)
        values = len(node.attr["Tdense"].list.type)
        values += len(node.attr["ragged_value_types"].list.type)
        is_value = count <= output < 2 * count or 0 <= output - 3 * count < values
        return not is_value
    elements = _ELEMENTS.get(node.op, {}).get(slot, output)
    # Those of texts put out the parts first, and then where each begins and ends.
    is_offset = output > 0 and "WithOffsets" in node.op
    return output in _COUNTS.get(node.op, ()) or is_offset or elements != output


def level_of_output(node: Any, slot: int, level: Level, output: int) -> Level:
    """Return how far an output is decided by an input of a level."""
    op = node.op
    if _is_place(node, slot, output):
        return Level.BOUNDED
    if op in _FEW or _CHOOSING.get(op) == slot:
        return min(level, Level.DECIDED)
    return level
