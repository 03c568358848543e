"""Models that staging refuses, and the reasons it gives."""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from gomlx.errors import StageFailed
from gomlx.models.serving.servable import Servable
from gomlx.models.version import ModelVersion
from tests.support import saved_models
from tests.support.saved_models import save, spec

Stage = Callable[..., ModelVersion]


def test_an_example_for_a_model_that_refuses_zeros(
    tmp_path: Path, staged: Stage
) -> None:
    def f(x: Any) -> Any:
        with tf.control_dependencies([tf.debugging.assert_positive(x)]):
            return {"y": tf.math.log(x)}

    source = save(tmp_path / "m", f, [spec("x")])
    with pytest.raises(StageFailed, match="configure one that it accepts: `example:`"):
        staged(source)
    given = staged(source, name="given", example={"x": 2.0})
    assert Servable(given).warm()
    with pytest.raises(StageFailed, match="example: input 'x'"):
        staged(saved_models.dense(tmp_path / "other"), name="bad", example={"x": 1})


def test_weights_that_do_not_fit_the_graph(tmp_path: Path, staged: Stage) -> None:
    """TensorFlow reports an invalid argument, and not before the run."""
    weight = tf.Variable([[1.0]], shape=tf.TensorShape(None))
    source = save(tmp_path / "m", lambda x: {"y": x @ weight}, [spec("x")], weight)
    servable = Servable(staged(source))
    assert servable.run(servable.signature.check({"x": 2.0}).rows) == [b'{"y":[2.0]}']
    weight.assign([[1.0], [2.0]])
    worse = save(tmp_path / "w", lambda x: {"y": x @ weight}, [spec("x")], weight)
    with pytest.raises(StageFailed, match="the trial run failed"):
        staged(worse, example={"x": 1.5})


def truncated(folder: Path) -> Path:
    source = saved_models.scale(folder, 1.0)
    graph = source / "saved_model.pb"
    graph.write_bytes(graph.read_bytes()[:200])
    return source


def without_variables(folder: Path) -> Path:
    source = saved_models.scale(folder, 1.0)
    shutil.rmtree(source / "variables")
    return source


def with_variables(folder: Path, change: Callable[[bytes], bytes]) -> Path:
    source = saved_models.embedding(folder, 1)
    (data,) = (source / "variables").glob("*.data*")
    data.write_bytes(change(data.read_bytes()))
    return source


def flipped(content: bytes) -> bytes:
    return content[:5000] + bytes([content[5000] ^ 0xFF]) + content[5001:]


def two_names_for_one(folder: Path) -> Path:
    v1 = tf.compat.v1
    with v1.Graph().as_default(), v1.Session() as session:
        w = v1.placeholder(tf.float32, [None, 1], name="w")
        x = v1.placeholder(tf.float32, [None, 1], name="x")
        inputs = {"a": w, "b": x, "c": w}
        v1.saved_model.simple_save(session, str(folder), inputs, {"y": w + x})
    return folder


def calling_python(folder: Path) -> Path:
    def f(x: Any) -> Any:
        return {"y": tf.numpy_function(lambda a: a * 2, [x], tf.float32)}

    return save(folder, f, [spec("x")])


# Models that must not be served, and the error of each.
BROKEN: dict[str, tuple[Callable[[Path], Path], str]] = {
    "truncated": (truncated, "cannot"),
    "no variables": (without_variables, "cannot be loaded"),
    "short variables": (
        lambda folder: with_variables(folder, lambda content: content[:1000]),
        "cannot be loaded",
    ),
    "flipped bits": (
        lambda folder: with_variables(folder, flipped),
        "cannot be loaded",
    ),
    "reserved name": (
        lambda folder: save(folder, lambda x: {"y": x}, [spec("batch_size")]),
        "may not be named 'batch_size'",
    ),
    "two names for one tensor": (
        two_names_for_one,
        r"inputs 'a' and 'c' are one tensor of the graph \(w:0\)",
    ),
    "a Python function": (calling_python, "PyFunc calls a Python function"),
    "nothing": (lambda folder: folder, "no saved_model.pb"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_model_is_refused_and_leaves_nothing_behind(
    tmp_path: Path, staged: Stage, what: str
) -> None:
    make, message = BROKEN[what]
    source = make(tmp_path / "source")
    with pytest.raises(StageFailed, match=message):
        staged(source)
    into = tmp_path / "staged" / "m"
    assert not into.exists() or not list(into.iterdir())


def test_the_error_of_an_unknown_signature_names_the_existing_ones(
    tmp_path: Path, staged: Stage
) -> None:
    source = saved_models.scale(tmp_path / "m", 1.0)
    with pytest.raises(StageFailed, match="serving_default"):
        staged(source, signature="predict")


def test_the_only_signature_is_taken_without_being_named(
    tmp_path: Path, staged: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    module = tf.Module()
    module.f = tf.function(lambda x: {"y": 2 * x}, input_signature=[spec("x")])
    tf.saved_model.save(module, str(tmp_path / "m"), signatures={"score": module.f})
    with caplog.at_level(logging.INFO):
        Servable(staged(tmp_path / "m", signature=""))
    assert "its only signature is 'score'" in caplog.text


def test_one_of_several_signatures_must_be_named(tmp_path: Path, staged: Stage) -> None:
    module = tf.Module()
    module.f = tf.function(lambda x: {"y": 2 * x}, input_signature=[spec("x")])
    names = {"a": module.f, "b": module.f}
    tf.saved_model.save(module, str(tmp_path / "m"), signatures=names)
    with pytest.raises(StageFailed, match="it has: a, b: choose one by `signature:`"):
        staged(tmp_path / "m", signature="")
