"""Whether values decide how much a model computes, of SavedModels."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from gomlx.models.dataflow.effort import decided_by
from gomlx.models.dataflow.flow import Flow
from gomlx.models.dataflow.sizing import Level
from gomlx.models.graph import needed_nodes
from gomlx.models.serving import session as tf_session
from gomlx.models.serving.servable import Description
from gomlx.models.staging.effort import KNOWN
from gomlx.models.version import ModelVersion, Settings
from tests.models.steadiness.graphs import given, older
from tests.support.saved_models import save, spec

v1 = tf.compat.v1
Build = Callable[[Any], Any]


def found(path: Path, level: Level = Level.VALUES) -> str:
    """The type of the operation by which the values of x decide, or ""."""
    meta_graph = tf_session.parse(path)
    signature = meta_graph.signature_def["serving_default"]
    feeds = [info.name for info in signature.inputs.values()]
    fetches = [info.name for info in signature.outputs.values()]
    needed = needed_nodes(meta_graph, fetches)
    flow = Flow(meta_graph.graph_def, needed, feeds, fetches)
    with tf_session.loaded(path) as session, session.graph.as_default():
        return decided_by(flow, dict.fromkeys(feeds, level), KNOWN).split(" (")[0]


def of_floats(path: Path, build: Build) -> str:
    return found(save(path / "m", lambda x: {"y": build(x)}, [spec("x")]))


def of_texts(path: Path, build: Build) -> str:
    return found(save(path / "m", lambda x: {"y": build(x)}, [spec("x", "string")]))


def greatest(x: Any) -> Any:
    return tf.cast(tf.reduce_max(x), tf.int32)


def halved_until_small(x: Any) -> Any:
    small = tf.constant(1.0)
    return tf.while_loop(lambda y: tf.reduce_max(y) > small, lambda y: (y / 2,), (x,))[
        0
    ]


def work(x: Any) -> Any:
    return tf.linalg.matmul(x, x, transpose_b=True)


@pytest.mark.parametrize(
    ("op", "build"),
    [
        ("Range", lambda x: tf.reduce_sum(tf.range(greatest(x)))),
        ("Range", lambda x: tf.sequence_mask(tf.cast(x[:, 0], tf.int32))),
        ("Fill", lambda x: tf.reduce_sum(tf.fill([greatest(x)], 1.0)) + x),
        ("Tile", lambda x: tf.reduce_sum(tf.tile(x, [1, greatest(x)]))),
        ("OneHot", lambda x: tf.one_hot(tf.cast(x, tf.int32), greatest(x))),
        (
            "LinSpace",
            lambda x: tf.raw_ops.LinSpace(start=0.0, stop=x[0, 0], num=greatest(x)),
        ),
        ("Pad", lambda x: tf.reduce_sum(tf.pad(x, [[0, 0], [0, greatest(x)]]))),
        (
            "StatelessRandomNormalV2",
            lambda x: tf.reduce_sum(tf.random.stateless_normal([greatest(x)], [1, 2])),
        ),
        ("TensorListReserve", lambda x: tf.map_fn(lambda y: y, tf.range(greatest(x)))),
        ("the condition of a loop", halved_until_small),
        ("StatelessIf", lambda x: tf.cond(x[0, 0] > 1, lambda: work(x), lambda: x)),
        ("Fill", lambda x: tf.fill([tf.minimum(greatest(x), 10**9)], 1.0)),
    ],
)
def test_values_decide(tmp_path: Path, op: str, build: Build) -> None:
    assert of_floats(tmp_path, build) in (op, "Range" if "List" in op else op)


def checked(x: Any) -> Any:
    with tf.control_dependencies([tf.debugging.assert_non_negative(x)]):
        return tf.identity(x)


@pytest.mark.parametrize(
    "build",
    [
        lambda x: x * 2,
        lambda x: tf.fill(tf.shape(x), 1.0) + x,
        lambda x: tf.one_hot(tf.cast(x, tf.int32), 5),
        lambda x: tf.map_fn(lambda y: y * 2, x),
        lambda x: tf.boolean_mask(x, x > 0),
        lambda x: tf.gather(tf.constant([1.0, 2.0, 3.0]), tf.cast(x, tf.int32)),
        lambda x: tf.nn.top_k(x).values,
        checked,
    ],
)
def test_sizes_decide(tmp_path: Path, build: Build) -> None:
    assert not of_floats(tmp_path, build)


def looked_up(x: Any) -> Any:
    ids = tf.strings.split(x[:, 0]).to_sparse()
    found = tf.strings.to_hash_bucket_fast(ids.values, 10)
    ids = tf.SparseTensor(ids.indices, found, ids.dense_shape)
    return tf.nn.safe_embedding_lookup_sparse(tf.ones([10, 2]), ids, combiner="sum")


def parsed(x: Any) -> Any:
    found = tf.io.parse_example(x[:, 0], {"a": tf.io.VarLenFeature(tf.int64)})
    return tf.sparse.to_dense(found["a"])


def parsed_dense(x: Any) -> Any:
    feature = tf.io.FixedLenFeature([], tf.int64)
    return tf.range(tf.io.parse_example(x[:, 0], {"a": feature})["a"][0])


def parsed_ragged(x: Any) -> Any:
    feature = tf.io.RaggedFeature(tf.int64)
    return tf.io.parse_example(x[:, 0], {"a": feature})["a"].to_tensor()


@pytest.mark.parametrize(
    ("op", "build"),
    [
        ("", parsed),
        ("", parsed_ragged),
        ("Range", parsed_dense),
        ("", tf.strings.length),
        ("", lambda x: tf.strings.split(x[:, 0]).to_tensor()),
        ("", lambda x: tf.strings.to_hash_bucket_fast(x, 10)),
        ("", looked_up),
        ("DecodePng", lambda x: tf.io.decode_png(x[0, 0])),
        ("ParseTensor", lambda x: tf.io.parse_tensor(x[0, 0], tf.float32)),
        (
            "Range",
            lambda x: tf.range(tf.strings.to_number(x[0, 0], tf.int32)),
        ),
    ],
)
def test_texts(tmp_path: Path, op: str, build: Build) -> None:
    assert of_texts(tmp_path, build) == op


def test_a_loop_of_tensorflow_1(tmp_path: Path) -> None:
    def build() -> tuple[Any, Any]:
        x = given()
        y = v1.while_loop(lambda y: tf.reduce_max(y) > 1.0, lambda y: y / 2, [x])
        return x, tf.identity(y, "y")

    assert found(older(tmp_path / "m", build, old_flow=True)) == "LoopCond"


def test_bounded_values_decide_nothing(tmp_path: Path) -> None:
    path = save(
        tmp_path / "m",
        lambda x: {"y": tf.reduce_sum(tf.range(tf.reduce_max(x)))},
        [spec("x", "int64")],
    )
    assert found(path) == "Range"
    assert not found(path, Level.BOUNDED)


def test_staging_writes_it_down(
    tmp_path: Path, staged: Callable[..., ModelVersion]
) -> None:
    path = save(
        tmp_path / "m",
        lambda x: {"y": tf.reduce_sum(tf.range(tf.reduce_max(x))) + x},
        [spec("x")],
    )
    version = staged(path, settings=Settings(rows="alone"))
    effort = Description.read(version.directory).effort
    assert effort.decided_by.startswith("Range (")
