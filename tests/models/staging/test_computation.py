"""Which signatures compute the same: equal ones may be exported under any names."""

from pathlib import Path
from typing import Any

import keras
import pytest
import tensorflow as tf

from gomlx.models.serving import session as tf_session
from gomlx.models.staging.signature.bind import bound_signature
from gomlx.models.staging.signature.computation import computation
from gomlx.models.version import StageRequest
from tests.support.saved_models import spec


def computed(path: Path, *names: str) -> list[bytes | None]:
    meta_graph = tf_session.parse(path)
    requests = [StageRequest("m", "", path, name, {}) for name in names]
    return [computation(meta_graph, bound_signature(meta_graph, r)) for r in requests]


def test_keras_exports_one_function_twice(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.export(str(tmp_path / "m"), verbose=False)
    first, second = computed(tmp_path / "m", "serve", "serving_default")
    assert first == second
    assert first is not None


DIFFERENT: dict[str, Any] = {
    "another constant": lambda x, a, b: {"y": x * a + 2.0},
    "another operation": lambda x, a, b: {"y": x * a - 1.0},
    "another variable of an equal shape": lambda x, a, b: {"y": x * b + 1.0},
    "another output": lambda x, a, b: {"z": x * a + 1.0},
    "one output more": lambda x, a, b: {"y": x * a + 1.0, "z": x},
    "another order": lambda x, a, b: {"y": 1.0 + x * a},
    "a constant in a branch": lambda x, a, b: {
        "y": tf.cond(tf.reduce_sum(a) > 0.0, lambda: x * a + 1.0, lambda: x * 0.0)
    },
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_what_differs_in_one_step_is_another_function(
    tmp_path: Path, name: str
) -> None:
    module = tf.Module()
    module.a = tf.Variable([3.0])
    module.b = tf.Variable([4.0])

    def function(f: Any) -> Any:
        return tf.function(
            lambda x: f(x, module.a, module.b), input_signature=[spec("x")]
        )

    module.f = function(lambda x, a, b: {"y": x * a + 1.0})
    module.same = function(lambda x, a, b: {"y": x * a + 1.0})
    module.other = function(DIFFERENT[name])
    signatures = {"f": module.f, "same": module.same, "other": module.other}
    tf.saved_model.save(module, str(tmp_path / "m"), signatures=signatures)
    f, same, other = computed(tmp_path / "m", "f", "same", "other")
    assert f == same
    assert other not in (None, f)


def test_branches_that_differ_deep_inside(tmp_path: Path) -> None:
    module = tf.Module()

    def function(constant: float) -> Any:
        return tf.function(
            lambda x: {
                "y": tf.cond(
                    tf.reduce_sum(x) > 0.0, lambda: x + constant, lambda: x - 1.0
                )
            },
            input_signature=[spec("x")],
        )

    module.f = function(1.0)
    module.g = function(2.0)
    signatures = {"f": module.f, "g": module.g}
    tf.saved_model.save(module, str(tmp_path / "m"), signatures=signatures)
    f, g = computed(tmp_path / "m", "f", "g")
    assert f != g


def test_inputs_that_change_places(tmp_path: Path) -> None:
    module = tf.Module()
    specs = [spec("p"), spec("q")]
    module.f = tf.function(lambda p, q: {"y": p - q}, input_signature=specs)
    module.g = tf.function(lambda p, q: {"y": q - p}, input_signature=specs)
    signatures = {"f": module.f, "g": module.g}
    tf.saved_model.save(module, str(tmp_path / "m"), signatures=signatures)
    f, g = computed(tmp_path / "m", "f", "g")
    assert f != g


def test_a_graph_with_a_cycle_has_none(tmp_path: Path) -> None:
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.compat.v1.disable_control_flow_v2()
        x = tf.compat.v1.placeholder(tf.float32, [None], "x")
        (y,) = tf.while_loop(lambda y: tf.reduce_sum(y) < 9.0, lambda y: [y + 1.0], [x])
        build = tf.compat.v1.saved_model.build_tensor_info
        define = tf.compat.v1.saved_model.signature_def_utils.build_signature_def
        definition = define({"x": build(x)}, {"y": build(y)}, "predict")
        builder = tf.compat.v1.saved_model.Builder(str(tmp_path / "m"))
        builder.add_meta_graph_and_variables(session, ["serve"], {"f": definition})
        builder.save()
    assert computed(tmp_path / "m", "f") == [None]
