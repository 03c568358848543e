"""What is said of a tensor's elements holds for those that TensorFlow computes."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from gomlx.models.dataflow.frames import Body
from gomlx.models.serving import session as tf_session
from gomlx.models.steadiness.reach import Reach, Reached
from gomlx.models.steadiness.values import Bounds, Fact

v1 = tf.compat.v1
raw = tf.raw_ops
Step = tuple[str, int, int, int]  # an operation, and which of the tensors it takes
FLOATS = ["float16", "bfloat16", "float32", "float64"]
NUMBERS = [*FLOATS, "int8", "uint8", "int32", "int64"]
CONSTANTS = [0, 1, 2, 33, 64, -1, 0.5, 0.1, 1e-40, 0.99999994, [0, 1], [3, 3], [1.0]]
BINARY: dict[str, Callable[..., Any]] = {
    "AddV2": raw.AddV2,
    "Equal": raw.Equal,
    "Greater": raw.Greater,
    "GreaterEqual": raw.GreaterEqual,
    "Less": raw.Less,
    "LessEqual": raw.LessEqual,
    "Mul": raw.Mul,
    "NotEqual": raw.NotEqual,
    "Sub": raw.Sub,
}
LOGICAL: dict[str, Callable[..., Any]] = {
    "LogicalAnd": raw.LogicalAnd,
    "LogicalOr": raw.LogicalOr,
}
UNARY: dict[str, Callable[..., Any]] = {
    "ExpandDims": lambda x: tf.expand_dims(x, 0),
    "Fill": lambda x: tf.fill([2], tf.reshape(x, [-1])[0]),
    "Identity": tf.identity,
    "LogicalNot": lambda x: x if x.dtype != tf.bool else tf.logical_not(x),
    "Floor": lambda x: tf.floor(x) if x.dtype.is_floating else x,
    "Placeholder": lambda x: v1.placeholder_with_default(x, x.shape),
    "Reshape": lambda x: tf.reshape(x, [-1]),
    "StopGradient": tf.stop_gradient,
    "Tile": lambda x: tf.tile(tf.reshape(x, [-1]), [2]),
    "ToBool": lambda x: tf.cast(x, tf.bool),
    "Transpose": lambda x: tf.transpose(tf.reshape(x, [1, -1])),
}
OPS = [*BINARY, *LOGICAL, *UNARY, "Select", "Random", "Number"]


def build(dtype: str, constants: Sequence[Any], steps: Sequence[Step]) -> list[Any]:
    """Return the tensors of a graph of one dtype of numbers, and of truth values."""
    values = [np.array(c).astype(tf.as_dtype(dtype).as_numpy_dtype) for c in constants]
    tensors = [tf.constant(value, tf.as_dtype(dtype)) for value in values]
    for op, *positions in steps:
        picked = [tensors[position % len(tensors)] for position in positions]
        made = step(dtype, op, picked)
        if made is not None:
            tensors.append(made)
    return tensors


def step(dtype: str, op: str, picked: list[Any]) -> Any:
    """Return what an operation makes of tensors; None if it does not fit them."""
    numbers = [one for one in picked if one.dtype != tf.bool]
    truths = [one for one in picked if one.dtype == tf.bool]
    if op in UNARY:
        return UNARY[op](picked[0])
    if op == "Random" and dtype in FLOATS:
        return tf.random.uniform([3], dtype=tf.as_dtype(dtype))
    if op == "Number" and truths:
        return tf.cast(truths[0], tf.as_dtype(dtype))
    pair = (truths if op in LOGICAL else numbers)[:2]
    if op in BINARY | LOGICAL and len(pair) == 2 and fit(pair):
        return (BINARY | LOGICAL)[op](x=pair[0], y=pair[1])
    if op == "Select" and truths and len(numbers) > 1 and fit([*truths, *numbers]):
        return tf.where(truths[0], numbers[0], numbers[1])
    return None


def fit(tensors: Sequence[Any]) -> bool:
    """True if the shapes of tensors broadcast."""
    try:
        np.broadcast_shapes(*(tensor.shape.as_list() for tensor in tensors))
    except ValueError:
        return False
    return True


def facts(graph: Any, names: Sequence[str]) -> dict[str, Fact]:
    """Return what is known of tensors before a run: by those that read them."""
    found: dict[str, Fact] = {}

    def visit(reached: Reached) -> None:
        if reached.node.name in names:
            found[reached.node.name] = reached.values[0]

    def functions(name: str) -> Body:
        raise KeyError(name)

    body = Body(graph.as_graph_def().node, (), names)
    Reach(functions, (), visit).walk(body, {}, names)
    return found


@given(
    st.sampled_from(NUMBERS),
    st.lists(st.sampled_from(CONSTANTS), min_size=2, max_size=4),
    st.lists(
        st.tuples(
            st.sampled_from(OPS),
            st.integers(0, 20),
            st.integers(0, 20),
            st.integers(0, 20),
        ),
        min_size=1,
        max_size=12,
    ),
)
@settings(max_examples=200)
@pytest.mark.filterwarnings("ignore:.*cast:RuntimeWarning")
def test_elements_lie_within_their_bounds(
    dtype: str, constants: list[Any], steps: list[Step]
) -> None:
    with v1.Graph().as_default() as graph, tf_session.open_session(graph) as session:
        tensors = build(dtype, constants, steps)
        reads = [tf.identity(tensor, f"read{i}") for i, tensor in enumerate(tensors)]
        known = facts(graph, [read.op.name for read in reads])
        runs = [session.run(reads) for _ in range(3)]
    for i, read in enumerate(reads):
        fact = known[read.op.name]
        if fact is None:
            continue
        assert isinstance(fact, Bounds)
        for run in runs:
            elements = np.asarray(run[i]).astype(np.float64)
            assert not fact.is_scalar or elements.shape == ()
            assert (fact.low <= elements).all(), (read, tensors[i].op.type)
            assert (elements <= fact.high).all(), (read, tensors[i].op.type)
