"""Models that reach for files which are not theirs: real ones, staged or refused."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from gomlx.errors import StageFailed
from gomlx.models.serving.servable import Servable
from gomlx.models.trust import REACHING
from gomlx.models.version import ModelVersion, Settings, StageRequest
from tests.support.saved_models import save, spec

Stage = Callable[..., ModelVersion]
Function = Callable[[Any], Any]


def saved(folder: Path, function: Function) -> Path:
    return save(folder, lambda x: {"y": function(x)}, [spec("x")])


def writes(path: Path) -> Function:
    """Return a function that writes a file, and adds nothing."""

    def function(x: Any) -> Any:
        with tf.control_dependencies([tf.io.write_file(str(path), "written")]):
            return x + 0.0

    return function


def reads(path: Path) -> Function:
    return lambda x: x + tf.strings.to_number(tf.io.read_file(str(path)))


def prints_to(path: Path) -> Function:
    def function(x: Any) -> Any:
        printing = tf.print("printed", output_stream=f"file://{path}")
        with tf.control_dependencies([printing]):
            return x + 0.0

    return function


@pytest.mark.parametrize(
    ("build", "operation"),
    [(writes, "WriteFile"), (reads, "ReadFile"), (prints_to, "PrintV2")],
)
def test_a_model_that_reaches_a_file_is_not_staged(
    tmp_path: Path,
    staged: Stage,
    build: Callable[[Path], Function],
    operation: str,
) -> None:
    file = tmp_path / "file"
    with pytest.raises(StageFailed) as raised:
        staged(saved(tmp_path / "m", build(file)))
    assert str(raised.value).startswith(f"{operation}: it reads or writes files")
    assert f"`allow_operations: [{operation}]`" in str(raised.value)
    assert not file.exists()


def test_a_model_that_is_allowed_to_is_staged(tmp_path: Path, staged: Stage) -> None:
    (tmp_path / "one").write_text("1")
    model = saved(tmp_path / "m", reads(tmp_path / "one"))
    settings = Settings(allow_operations=("ReadFile",))
    assert Servable(staged(model, settings=settings)).run([(2.0,)]) == [b'{"y":3.0}']
    with pytest.raises(StageFailed, match="ReadFile"):
        staged(model)  # a version that was allowed is another one


def test_a_branch_that_is_not_reached_may_write(tmp_path: Path, staged: Stage) -> None:
    def function(x: Any) -> Any:
        return tf.cond(tf.constant(False), lambda: writes(tmp_path / "f")(x), lambda: x)

    staged(saved(tmp_path / "m", function))
    assert not (tmp_path / "f").exists()


def test_printing_to_the_log_is_no_file(tmp_path: Path, staged: Stage) -> None:
    def function(x: Any) -> Any:
        with tf.control_dependencies([tf.print("seen")]):
            return x + 1.0

    assert Servable(staged(saved(tmp_path / "m", function))).run([(1.0,)])


class WithVocabulary(tf.Module):  # type: ignore[misc]  # TensorFlow has no types
    """A model with a table that is filled from an asset."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        words = tf.lookup.TextFileInitializer(
            str(file), tf.string, 0, tf.int64, 1, delimiter="\t"
        )
        self.table = tf.lookup.StaticHashTable(words, -1)

    def look_up(self, word: Any) -> Any:
        return {"number": self.table.lookup(word)}


@pytest.fixture
def with_vocabulary(tmp_path: Path) -> Path:
    file = tmp_path / "words.txt"
    file.write_text("a\t1\nb\t2\n")
    model = WithVocabulary(file)
    look_up = tf.function(model.look_up, [tf.TensorSpec([None], tf.string, "word")])
    tf.saved_model.save(model, str(tmp_path / "m"), {"serving_default": look_up})
    return tmp_path / "m"


def test_an_asset_of_the_model_is_read(with_vocabulary: Path, staged: Stage) -> None:
    answer = Servable(staged(with_vocabulary)).run([(b"b",)])
    assert json.loads(answer[0]) == {"number": 2}


@pytest.mark.parametrize("path", ["../../words.txt", "/etc/passwd"])
def test_an_asset_elsewhere_is_refused(
    with_vocabulary: Path, staged: Stage, path: str
) -> None:
    file = with_vocabulary / "saved_model.pb"
    document = SavedModel.FromString(file.read_bytes())
    (asset,) = document.meta_graphs[0].asset_file_def
    asset.filename = path
    file.write_bytes(document.SerializeToString())
    with pytest.raises(StageFailed, match="is outside of the model's folder"):
        staged(with_vocabulary)


def test_a_link_out_of_the_model_is_refused(
    with_vocabulary: Path, staged: Stage, tmp_path: Path
) -> None:
    asset = with_vocabulary / "assets" / "words.txt"
    asset.unlink()
    asset.symlink_to(tmp_path / "words.txt")
    with pytest.raises(StageFailed, match=r"assets/words\.txt is a link to"):
        staged(with_vocabulary)


def test_links_within_a_model_and_to_a_version_are_followed(
    with_vocabulary: Path, staged: Stage, tmp_path: Path
) -> None:
    """As Kubernetes mounts a volume, and as people switch versions."""
    with_vocabulary.rename(tmp_path / "v7")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "1").symlink_to(tmp_path / "v7")
    staged(tmp_path / "root")
    (tmp_path / "mount").mkdir()
    data = (tmp_path / "v7").rename(tmp_path / "mount" / "..data")
    for file in data.rglob("*"):
        link = tmp_path / "mount" / file.relative_to(data)
        link.parent.mkdir(exist_ok=True)
        if file.is_file():
            link.symlink_to(file)
    staged(tmp_path / "mount", name="other")


def test_every_operation_that_is_named_exists() -> None:
    """A name with a slip would refuse nothing."""
    from tensorflow.python.framework import op_def_registry

    assert [op for op in REACHING if op_def_registry.get(op) is None] == []


def test_a_confined_staging_writes_nothing_elsewhere(tmp_path: Path) -> None:
    """Even what is allowed: the kernel forbids it."""
    from gomlx.runtime.sandbox import _version

    if _version() < 1:
        pytest.skip("the kernel has no Landlock")
    model = saved(tmp_path / "m", writes(tmp_path / "file"))
    settings = Settings(allow_operations=("WriteFile",))
    request = StageRequest(
        "m", str(model), tmp_path / "into", "", {}, settings, confined=True
    )
    refused = staged_in_process(request)
    assert "Permission denied" in refused["error"] or "PERMISSION" in refused["error"]
    assert not (tmp_path / "file").exists()
    assert "version" in staged_in_process(replace(request, confined=False))
    assert (tmp_path / "file").exists()


def staged_in_process(request: StageRequest) -> dict[str, Any]:
    """Return the last line of a staging process."""
    found = subprocess.run(
        [sys.executable, "-m", "gomlx", "stage"],
        input=request.to_json(),
        capture_output=True,
        text=True,
        check=False,
        env=os.environ,
    )
    document: dict[str, Any] = json.loads(found.stdout.splitlines()[-1])
    return document
