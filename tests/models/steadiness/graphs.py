"""Models that are steady, or only look so, as SavedModels of both TensorFlows."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf

from gomlx.models.dataflow.flow import Flow
from gomlx.models.graph import needed_nodes
from gomlx.models.serving import session as tf_session
from gomlx.models.steadiness.proof import unsteady_ops
from tests.support.saved_models import save, spec

v1 = tf.compat.v1
Build = Callable[[Any], Any]


def older(path: Path, build: Callable[[], tuple[Any, Any]], old_flow: bool) -> Path:
    """Save a graph of TensorFlow 1. old_flow: branches are Switch and Merge."""
    choose = v1.disable_control_flow_v2 if old_flow else v1.enable_control_flow_v2
    choose()
    try:
        with v1.Graph().as_default(), v1.Session() as session:
            x, y = build()
            session.run(v1.global_variables_initializer())
            v1.saved_model.simple_save(session, str(path), {"x": x}, {"y": y})
    finally:
        v1.enable_control_flow_v2()
    return path


def given() -> Any:
    return v1.placeholder(tf.float32, [None, 1], "x")


def newer(path: Path, build: Build) -> Path:
    """Save a function of floats, of the shape (batch, 1)."""
    return save(path, lambda x: {"y": build(x)}, [spec("x")])


def unsteady(path: Path) -> set[str]:
    """Return what keeps a SavedModel from being cached."""
    meta_graph = tf_session.parse(path)
    signature = meta_graph.signature_def["serving_default"]
    feeds = [info.name for info in signature.inputs.values()]
    fetches = [info.name for info in signature.outputs.values()]
    needed = needed_nodes(meta_graph, fetches)
    flow = Flow(meta_graph.graph_def, needed, feeds, fetches)
    with tf_session.loaded(path) as session, session.graph.as_default():
        return unsteady_ops(meta_graph, flow.body, flow.function, feeds)
