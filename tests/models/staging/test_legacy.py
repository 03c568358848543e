"""SavedModels that TensorFlow 2.4 wrote, served beside one of Keras 3."""

import json
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from gomlx.models.serving.servable import Servable
from gomlx.models.version import ModelVersion
from tests.support import saved_models
from tests.support.service import running

Stage = Callable[..., ModelVersion]


def test_served_beside_keras_3(tmp_path: Path, legacy_models: Path) -> None:
    names = ("string_lookups_float_model", "float_input_float_model")
    models = [
        {"id": name, "url": str(legacy_models / name), "datastore": "s"}
        for name in names
    ]
    keras = saved_models.keras(tmp_path / "keras")
    models.append({"id": "keras", "url": str(keras), "datastore": "s"})
    config = {"models": models, "datastores": [{"id": "s", "memory_mb": 8}]}
    with running(tmp_path, config) as service:

        def body(model: str, row: dict[str, Any]) -> bytes:
            return service.post(model, row).content

        lookups, floats = names
        expected = b'"data":{"expand":3.5714285}}'
        assert body(lookups, {"sa": "a", "sl": "a"}).endswith(expected)
        expected = b'"data":{"expand":1.4285715}}'
        assert body(lookups, {"sa": "d", "sl": "a"}).endswith(expected)
        # TensorFlow's own loader gives these too: expand is (fl + 1) * 11 / 49.
        expected = b'"data":{"expand":0.49387756}}'
        assert body(floats, {"fl": 1.2, "sl": "a"}).endswith(expected)
        expected = b'"data":{"expand":3.4571428}}'
        assert body(floats, {"fl": 14.4, "sl": "a"}).endswith(expected)
        row = {"city": "rome", "day": 1, "price": 1.0}
        theirs = tf.saved_model.load(str(keras)).signatures["serving_default"](
            city=tf.constant([["rome"]]),
            day=tf.constant([[1]], tf.int64),
            price=tf.constant([[1.0]]),
        )["score"]
        score = service.post("keras", row).json()["data"]["score"]
        assert np.float32(score) == theirs.numpy()[0, 0]


def test_float_input_answers_as_tensorflow_does(
    staged: Stage, legacy_models: Path
) -> None:
    source = legacy_models / "float_input_float_model"
    ordinary = tf.saved_model.load(str(source)).signatures["serving_default"]
    servable = Servable(staged(source))
    for fl, sl in product([1.2, 0.0, -3.0, 14.4], ["a", "d", "", "[UNK]"]):
        theirs = ordinary(fl=tf.constant([[fl]]), sl=tf.constant([[sl]]))["expand"]
        rows = servable.signature.check({"fl": fl, "sl": sl}).rows
        (answer,) = servable.run(rows)
        ours = np.float32(json.loads(answer)["expand"])
        assert ours == theirs.numpy()[0, 0], (fl, sl)
