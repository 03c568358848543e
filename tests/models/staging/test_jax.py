"""Staging of models that JAX exported: a StableHLO program as one operation."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from gomlx.models.serving.servable import Servable
from gomlx.models.version import ModelVersion, Settings
from tests.support.saved_models import save, spec

pytest.importorskip("jax")

import jax.numpy as jnp
from jax import lax
from jax.experimental import jax2tf

Stage = Callable[..., ModelVersion]


def exported(path: Path, function: Callable[..., Any]) -> Path:
    """Save a function of JAX of rows of four floats, for any number of rows."""
    converted = jax2tf.convert(function, polymorphic_shapes=["b, 4"])
    return save(path, converted, [spec("x", shape=(None, 4))])


def tanh(x: Any) -> Any:
    return {"y": jnp.tanh(x @ jnp.arange(8.0).reshape(4, 2) / 10)}


def test_a_program_answers_as_tensorflow_does(tmp_path: Path, staged: Stage) -> None:
    source = exported(tmp_path / "source", tanh)
    servable = Servable(staged(source))

    (row,) = servable.signature.check({"x": [1, 2, 3, 4]}).rows
    (answer,) = servable.run([row])

    reference = tf.saved_model.load(str(source)).signatures["serving_default"]
    expected = reference(x=tf.constant([[1.0, 2, 3, 4]]))["y"]
    assert json.loads(answer) == {"y": pytest.approx(expected.numpy()[0], abs=1e-6)}


def test_a_pure_program_is_cached(tmp_path: Path, staged: Stage) -> None:
    description = Servable(staged(exported(tmp_path / "source", tanh))).description

    assert description.unsteady == ()
    assert "XlaCallModule" in description.rows_apart


def test_rows_of_a_program_join_if_the_config_vouches_for_it(
    tmp_path: Path, staged: Stage
) -> None:
    source = exported(tmp_path / "source", tanh)
    servable = Servable(staged(source, settings=Settings(rows="independent")))

    body = {"batch_size": 5, "x": [[i, 2, 3, 4] for i in range(5)]}
    rows = servable.signature.check(body).rows

    assert servable.description.joins_rows
    assert servable.description.effort.pads
    assert servable.run(rows) == [servable.run([row])[0] for row in rows]


def test_a_program_that_draws_numbers_is_not_cached(
    tmp_path: Path, staged: Stage
) -> None:
    def draw(x: Any) -> Any:
        return {"y": x + lax.rng_uniform(0.0, 1.0, (4,))}

    description = Servable(staged(exported(tmp_path / "source", draw))).description

    assert description.unsteady == ("XlaCallModule",)


_KERAS = """
import sys
import keras as k
x = k.Input((4,), name="x")
k.Model({"x": x}, {"y": k.layers.Dense(3)(x)}).export(sys.argv[1], verbose=False)
"""


def test_a_keras_model_with_the_backend_of_jax(
    tmp_path: Path, staged: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "source"
    monkeypatch.setenv("KERAS_BACKEND", "jax")  # a process has one backend
    subprocess.run([sys.executable, "-c", _KERAS, str(source)], check=True)

    servable = Servable(staged(source))
    (row,) = servable.signature.check({"x": [1, 2, 3, 4]}).rows
    (answer,) = servable.run([row])

    reference = tf.saved_model.load(str(source)).signatures["serving_default"]
    expected = reference(x=tf.constant([[1.0, 2, 3, 4]]))["y"]
    assert json.loads(answer) == {"y": pytest.approx(expected.numpy()[0], abs=1e-5)}
    assert servable.description.unsteady == ()
    assert {v.kind for v in servable.description.state.variables} == {"mapped"}
