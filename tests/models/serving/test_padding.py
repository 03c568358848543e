"""Runs of models that XLA compiles are padded to the sizes that were warmed."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from gomlx.models.serving.servable import Servable
from gomlx.models.version import ModelVersion, Settings
from tests.support.saved_models import scale, spec

Stage = Callable[..., ModelVersion]


def compiled(path: Path, function: Callable[..., Any]) -> Path:
    """Save a function that XLA compiles."""
    module = tf.Module()
    module.f = tf.function(function, input_signature=[spec("x")], jit_compile=True)
    tf.saved_model.save(module, str(path), signatures={"serving_default": module.f})
    return path


def answers(servable: Servable, rows: int) -> list[Any]:
    """Return the answers to so many different rows."""
    body = {"batch_size": rows, "x": [[float(i)] for i in range(rows)]}
    found = servable.run(servable.signature.check(body).rows)
    return [json.loads(answer)["y"] for answer in found]


def sized(x: Any) -> Any:
    """y = the number of rows of the run."""
    return {"y": 0 * x + tf.cast(tf.shape(x)[0], tf.float32)}


@pytest.fixture
def sizing(tmp_path: Path, staged: Stage) -> Servable:
    """A compiled model that answers how many rows a run has."""
    source = compiled(tmp_path / "source", sized)
    return Servable(staged(source, settings=Settings(rows="independent")))


def test_runs_have_the_sizes_that_were_warmed(
    sizing: Servable, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        assert len(sizing.warm(12)) == 5

    sizes = [answers(sizing, rows)[0] for rows in range(1, 13)]

    assert sizes == [1, 2, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12]
    assert "5 sizes" in caplog.text


def test_more_rows_than_were_warmed_run_as_they_are(sizing: Servable) -> None:
    sizing.warm(4)
    assert answers(sizing, 6) == [6.0] * 6


def test_each_row_of_a_padded_run_gets_its_own_answer(
    tmp_path: Path, staged: Stage
) -> None:
    source = compiled(tmp_path / "source", lambda x: {"y": 2 * x})
    servable = Servable(staged(source))
    servable.warm(8)

    assert servable.description.effort.pads
    assert answers(servable, 5) == [0, 2, 4, 6, 8]


def test_what_is_not_compiled_is_not_padded(tmp_path: Path, staged: Stage) -> None:
    assert not Servable(staged(scale(tmp_path / "scale", 2.0))).description.effort.pads


@pytest.mark.parametrize(("rows", "size"), [("alone", 1), ("together", 3)])
def test_rows_that_may_not_join_get_no_copies_beside_them(
    tmp_path: Path, staged: Stage, rows: str, size: int
) -> None:
    source = compiled(tmp_path / "source", sized)
    servable = Servable(staged(source, settings=Settings(rows=rows)))
    servable.warm(8)

    assert not servable.description.effort.pads
    assert answers(servable, 3)[0] == size


def test_a_model_of_a_fixed_number_of_rows_is_not_padded_further(
    tmp_path: Path, staged: Stage
) -> None:
    def doubled(x: Any) -> Any:
        return {"y": tf.ensure_shape(x, [6, 1]) * 2}

    module = tf.Module()
    specs = [spec("x", shape=(6, 1))]
    module.f = tf.function(doubled, input_signature=specs, jit_compile=True)
    source = tmp_path / "source"
    tf.saved_model.save(module, str(source), signatures={"serving_default": module.f})
    servable = Servable(staged(source))
    assert servable.description.joins_rows

    servable.warm(16)

    assert answers(servable, 5) == [0.0, 2.0, 4.0, 6.0, 8.0]
    assert answers(servable, 11)[-1] == 20.0
