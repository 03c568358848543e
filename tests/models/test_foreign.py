"""What is said of files that hold a model in another form than a SavedModel."""

from pathlib import Path

import pytest

from gomlx.errors import StageFailed
from gomlx.models.source import Source


@pytest.mark.parametrize(
    ("name", "todo"),
    [
        ("m.h5", r"load_model\('m.h5'\).export\(FOLDER\)"),
        ("m.weights.h5", r"load_weights\('m.weights.h5'\)"),
        ("frozen_inference_graph.pb", r"simple_save\(session, FOLDER, inputs={NAME: T"),
        ("m.tflite", "cannot be turned back"),
        ("m.onnx", "onnx2tf -i m.onnx -o FOLDER"),
        ("ckpt-1.data-00000-of-00001", "part of a checkpoint"),
    ],
)
@pytest.mark.parametrize("is_folder", [True, False])
def test_it_is_told_how_to_export(
    tmp_path: Path, name: str, todo: str, is_folder: bool
) -> None:
    (tmp_path / name).write_bytes(b"")
    source = Source(str(tmp_path if is_folder else tmp_path / name))
    with pytest.raises(StageFailed, match=todo):
        source.snapshot()


def test_one_of_several_keras_files_must_be_named(tmp_path: Path) -> None:
    (tmp_path / "a.keras").write_bytes(b"")
    (tmp_path / "b.keras").write_bytes(b"")
    with pytest.raises(StageFailed, match="there are several"):
        Source(str(tmp_path)).snapshot()

    found = Source(str(tmp_path / "b.keras")).snapshot()
    assert found is not None
    assert found.names == ["b.keras"]


def test_the_graph_of_a_saved_model_is_not_its_url(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"")
    with pytest.raises(StageFailed, match="let it name the folder"):
        Source(str(tmp_path / "saved_model.pb")).snapshot()


@pytest.mark.parametrize("name", ["fingerprint.pb", "README", "variables"])
def test_a_model_that_is_being_copied_is_waited_for(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"")
    assert Source(str(tmp_path)).snapshot() is None
