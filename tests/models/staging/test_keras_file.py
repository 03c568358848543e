"""A .keras file is exported when it is staged, and runs no code of its own."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gomlx.errors import StageFailed
from gomlx.models.serving.servable import Servable
from gomlx.models.version import ModelVersion, Settings

Stage = Callable[..., ModelVersion]


def saved(path: Path, layer: Any) -> Any:
    """Save a model of two floats and one layer, and return it."""
    import keras as k

    k.utils.set_random_seed(2)
    x = k.Input((2,), name="x")
    model = k.Model({"x": x}, {"y": layer(x)})
    path.parent.mkdir(parents=True, exist_ok=True)
    model.save(path)
    return model


def dense() -> Any:
    import keras as k

    return k.layers.Dense(3, activation="tanh")


@pytest.mark.parametrize("url", ["source/m.keras", "source"])
def test_a_file_or_its_folder_is_served(
    tmp_path: Path, staged: Stage, url: str
) -> None:
    model = saved(tmp_path / "source" / "m.keras", dense())
    (tmp_path / "source" / "README").write_text("not served")

    version = staged(tmp_path / url)
    servable = Servable(version)
    (row,) = servable.signature.check({"x": [1.0, -2.0]}).rows
    (answer,) = servable.run([row])

    expected = model.predict({"x": np.array([[1.0, -2.0]])}, verbose=0)["y"][0]
    assert json.loads(answer) == {"y": pytest.approx(expected.tolist(), abs=1e-6)}
    assert servable.description.joins_rows
    assert not list(version.directory.rglob("*.keras"))


def test_the_file_is_the_version(tmp_path: Path, staged: Stage) -> None:
    saved(tmp_path / "m.keras", dense())
    first = staged(tmp_path / "m.keras")
    again = staged(tmp_path)

    assert first == again


def test_code_in_a_file_is_not_run(tmp_path: Path, staged: Stage) -> None:
    import keras as k

    saved(tmp_path / "m.keras", k.layers.Lambda(lambda x: 2 * x))
    with pytest.raises(StageFailed, match=r"m.keras cannot be loaded.*no code"):
        staged(tmp_path / "m.keras")


_LAYER = """
import keras

@keras.saving.register_keras_serializable("own")
class Doubling(keras.layers.Layer):
    def call(self, x):
        return 2 * x
"""


def test_a_layer_of_a_library_is_found(
    tmp_path: Path, staged: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    import keras as k

    (tmp_path / "own_layers.py").write_text(_LAYER)
    monkeypatch.syspath_prepend(str(tmp_path))
    with k.saving.custom_object_scope({}):
        from importlib import import_module

        module = import_module("own_layers")
        saved(tmp_path / "m.keras", module.Doubling())

    settings = Settings(libraries=("own_layers",))
    servable = Servable(staged(tmp_path / "m.keras", settings=settings))
    (row,) = servable.signature.check({"x": [1.0, 2.0]}).rows

    assert json.loads(servable.run([row])[0]) == {"y": [2.0, 4.0]}


def test_a_file_that_is_none(tmp_path: Path, staged: Stage) -> None:
    (tmp_path / "m.keras").write_bytes(b"PK\x03\x04 no model")
    with pytest.raises(StageFailed, match=r"m\.keras cannot be loaded"):
        staged(tmp_path)
