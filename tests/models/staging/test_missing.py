"""Missing numbers: which inputs admit them, and what their models answer."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from gomlx.errors import InvalidInput, StageFailed
from gomlx.models.serving.servable import Servable
from gomlx.models.version import InputSettings, ModelVersion, Settings
from tests.support.saved_models import save, spec

Stage = Callable[..., ModelVersion]
NAN: Settings = Settings((InputSettings("x", missing="nan"),))


def answers(servable: Servable, *values: Any) -> list[Any]:
    rows = servable.signature.check({"x": list(values), "batch_size": len(values)}).rows
    canonical = servable.dictionary.canonical(rows)
    return [json.loads(answer)["y"] for answer in servable.run(canonical)]


def imputing(x: Any) -> Any:
    return {"y": tf.where(tf.math.is_nan(x), 5.0, x)}


@pytest.mark.parametrize("shape", [(None,), (None, 1), (None, 2)])
def test_a_graph_that_looks_for_nan_admits_it(
    tmp_path: Path, staged: Stage, shape: Any
) -> None:
    servable = Servable(
        staged(save(tmp_path / "m", imputing, [spec("x", shape=shape)]))
    )
    assert servable.signature.inputs[0].missing == "nan"
    if shape == (None, 2):
        assert answers(servable, [None, 1], [2, "NaN"]) == [[5, 1], [2, 5]]
    else:
        assert answers(servable, math.nan, "NaN", None, 2.5) == [5, 5, 5, 2.5]


def test_it_is_found_behind_what_forwards_elements(
    tmp_path: Path, staged: Stage
) -> None:
    def f(x: Any, z: Any) -> Any:
        wide = tf.cast(tf.reshape(x, [-1]), tf.float64)
        is_missing = tf.math.is_nan(wide * 2)  # of z, only what is computed from it
        y = tf.where(tf.math.is_nan(wide), 7.0, tf.cast(wide, tf.float32))
        return {"y": y + tf.where(tf.math.is_nan(z + 1), 1.0, 2.0), "n": is_missing}

    specs = [spec("x"), spec("z", shape=(None,))]
    servable = Servable(staged(save(tmp_path / "m", f, specs)))
    missing = {tensor.name: tensor.missing for tensor in servable.signature.inputs}
    assert missing == {"x": "nan", "z": ""}


def test_other_models_admit_it_if_the_config_says_so(
    tmp_path: Path, staged: Stage
) -> None:
    source = save(tmp_path / "m", lambda x: {"y": x * 2}, [spec("x", shape=(None,))])
    with pytest.raises(InvalidInput, match="missing: nan"):
        answers(Servable(staged(source, "strict")), None)
    servable = Servable(staged(source, settings=NAN))
    assert answers(servable, None, 1) == ["NaN", 2]
    rounded = Settings((InputSettings("x", 1, missing="nan"),))
    assert answers(
        Servable(staged(source, "rounded", settings=rounded)), None, 1.26
    ) == [
        "NaN",
        pytest.approx(2.6),
    ]


def test_a_missing_number_is_answered_as_tensorflow_does(
    tmp_path: Path, staged: Stage
) -> None:
    """Bucketize puts NaN somewhere; that is asked of it, not proved."""

    def f(x: Any) -> Any:
        return {"y": tf.raw_ops.Bucketize(input=x, boundaries=[0.0, 1.0])}

    source = save(tmp_path / "m", f, [spec("x", shape=(None,))])
    servable = Servable(staged(source, settings=NAN))
    (kind,) = servable.dictionary.kinds
    assert kind.kind == "buckets"
    given = [-1.0, 0.5, math.nan, 7.0]
    expected = tf.raw_ops.Bucketize(input=given, boundaries=[0.0, 1.0]).numpy()
    assert answers(servable, *given) == expected.tolist()


def test_only_floats_have_a_value_for_what_is_missing(
    tmp_path: Path, staged: Stage
) -> None:
    source = save(tmp_path / "m", lambda x: {"y": x}, [spec("x", "int64")])
    with pytest.raises(StageFailed, match="'x' has dtype int64, and only floats"):
        staged(source, settings=NAN)
