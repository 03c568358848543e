"""The lists of operations, held against what TensorFlow registers."""

from typing import Any

import pytest
import tensorflow as tf
from tensorflow.core.framework import op_def_pb2
from tensorflow.core.framework.node_def_pb2 import NodeDef
from tensorflow.core.protobuf.meta_graph_pb2 import MetaGraphDef
from tensorflow.python.client import pywrap_tf_session

from gomlx.models.dataflow.frames import Body
from gomlx.models.steadiness.proof import unsteady_ops
from gomlx.models.steadiness.pure import PURE, TEXT
from gomlx.models.steadiness.stateful import (
    INITIALIZERS,
    OUTSIDE,
    PER_RUN,
    RANDOM,
    STEADY_READERS,
)
from gomlx.models.steadiness.values import Bounds, outcome

LISTS = {
    "PURE": PURE,
    "STEADY_READERS": STEADY_READERS,
    "PER_RUN": PER_RUN,
    "RANDOM": RANDOM,
    "OUTSIDE": OUTSIDE,
    "INITIALIZERS": INITIALIZERS,
}
OF_TEXT = {
    *TEXT.split(),
    "SentencepieceDetokenizeOp",
    "SentencepieceIdToStringOp",
    "SentencepieceOp",
    "SentencepieceStringToIdOp",
    "SentencepieceVocabSizeOp",
    "WordpieceTokenizeWithOffsets",
}
# Steady or not, by an attribute or an input of theirs.
CONDITIONAL = {
    "DecodeProtoV2",
    "EncodeProto",
    "InitializeTableFromTextFile",
    "InitializeTableFromTextFileV2",
    "ParallelBatchDataset",
    "ParallelFilterDataset",
    "ParallelInterleaveDatasetV2",
    "ParallelInterleaveDatasetV3",
    "ParallelInterleaveDatasetV4",
    "ParallelMapDataset",
    "ParallelMapDatasetV2",
    "ParseExampleDataset",
    "ParseExampleDatasetV2",
    "SentencepieceTokenizeOp",
    "SentencepieceTokenizeWithOffsetsOp",
    "XlaCallModule",
}
# Not registered as stateful, although they are no functions of their inputs.
IMPURE = {
    "BatchFunction",  # one run of several
    "CustomAggregator",
    "FractionalAvgPool",  # random, unless told otherwise
    "FractionalMaxPool",
    "GenerateVocabRemapping",  # reads a file
    "GetDeadline",
    "ImmutableConst",  # reads a file
    "InplaceAdd",  # writes to its input, which may be a variable
    "InplaceSub",
    "InplaceUpdate",
    "MatchingFiles",
    "OptionsDataset",  # may put elements out as they come
    "PyFuncStateless",
    "ReadFile",
    "ShuffleDataset",
    "SnapshotDataset",  # writes files
}


def registered() -> dict[str, Any]:
    buffer = pywrap_tf_session.TF_GetBuffer(pywrap_tf_session.TF_GetAllOpList())
    return {op.name: op for op in op_def_pb2.OpList.FromString(buffer).op}


def is_stateful(op: Any) -> bool:
    return op.is_stateful or any(a.is_ref for a in op.input_arg)


def test_each_operation_that_is_listed_exists() -> None:
    """Those of the library tensorflow_text too, where it is installed."""
    known = registered()
    others = OF_TEXT - known.keys()
    assert others in (set(), OF_TEXT)
    for name, listed in LISTS.items():
        assert listed <= known.keys() | others, name


def test_no_operation_is_listed_twice() -> None:
    names = [name for listed in LISTS.values() for name in listed]
    assert len(names) == len(set(names))
    assert not CONDITIONAL.intersection(names)


def test_what_is_registered_as_stateful_is_not_called_pure() -> None:
    known = registered()
    assert not {name for name in PURE - OF_TEXT if is_stateful(known[name])}
    assert all(is_stateful(known[name]) for name in STEADY_READERS - OF_TEXT)


def test_what_only_looks_pure_is_not_called_so() -> None:
    known = registered()
    assert not {name for name in IMPURE if is_stateful(known[name])}
    assert not IMPURE & (PURE | STEADY_READERS | PER_RUN)


def unsteady_alone(name: str) -> set[str]:
    """Return what is unsteady in a graph of one operation."""
    meta_graph = MetaGraphDef()
    meta_graph.graph_def.node.add(name="y", op=name)
    body = Body(meta_graph.graph_def.node, (), ["y:0"])
    return unsteady_ops(meta_graph, body, no_function, ())


def no_function(name: str) -> Body:
    raise KeyError(name)


def test_what_is_on_no_list_is_unsteady() -> None:
    """So is what a later TensorFlow adds, and what a library brings."""
    listed = PURE | STEADY_READERS | PER_RUN | CONDITIONAL | RANDOM | OUTSIDE
    others = {"AnythingElse", *registered()} - listed
    assert len(others) > 900
    assert not {name for name in others if unsteady_alone(name) != {name}}


@pytest.mark.parametrize("name", sorted(PURE & {"Abs", "NoOp", "RangeDataset"}))
def test_what_is_listed_is_steady(name: str) -> None:
    assert unsteady_alone(name) == set()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_random_numbers_stay_within_what_is_taken_for_granted(dtype: str) -> None:
    node = NodeDef(op="RandomUniform")
    node.attr["dtype"].type = tf.as_dtype(dtype).as_datatype_enum
    bounds = outcome(node, [None])
    assert isinstance(bounds, Bounds)
    drawn = tf.raw_ops.RandomUniform(shape=[2**20], dtype=dtype)
    found = tf.cast(drawn, tf.float64).numpy()
    assert bounds.low <= found.min()
    assert found.max() <= bounds.high < 1.0
    if "16" in dtype:
        assert (found.min(), found.max()) == (bounds.low, bounds.high)
