"""Libraries whose operations a graph has: imported, known by release, or missed."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from gomlx.errors import StageFailed
from gomlx.models import libraries
from gomlx.models.serving.servable import Servable
from gomlx.models.version import ModelVersion, Settings
from tests.support.saved_models import save, scale, spec

Stage = Callable[..., ModelVersion]


def using(*names: str) -> Settings:
    return Settings(libraries=names)


def with_operation(folder: Path, operation: str) -> Path:
    """Save a model whose graph has an operation that nothing registers."""
    scale(folder, 2.0)
    path = folder / "saved_model.pb"
    model = SavedModel.FromString(path.read_bytes())
    model.meta_graphs[0].graph_def.node.add(name="foreign", op=operation)
    path.write_bytes(model.SerializeToString())
    return folder


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a module, not imported yet, that counts its imports in a file."""
    path = tmp_path / "modules" / "counting_ops.py"
    path.parent.mkdir()
    seen = repr(str(tmp_path / "imported"))
    path.write_text(f"with open({seen}, 'a') as file:\n    file.write('x')\n")
    monkeypatch.syspath_prepend(str(path.parent))
    monkeypatch.delitem(sys.modules, "counting_ops", raising=False)
    return path


def test_a_library_is_imported_to_stage_and_to_serve(
    tmp_path: Path, staged: Stage, module: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = staged(scale(tmp_path / "m", 2.0), settings=using("counting_ops"))
    assert (tmp_path / "imported").read_text() == "x"

    monkeypatch.delitem(sys.modules, "counting_ops")  # as in another process
    Servable(version)
    assert (tmp_path / "imported").read_text() == "xx"


def test_the_version_depends_on_the_release_of_a_library(
    tmp_path: Path, staged: Stage, module: Path
) -> None:
    source = scale(tmp_path / "m", 2.0)
    without = staged(source)
    first = staged(source, settings=using("counting_ops"))
    module.write_text("")
    second = staged(source, settings=using("counting_ops"))

    assert len({without.digest, first.digest, second.digest}) == 3


def test_an_installed_library_is_known_by_its_release() -> None:
    import msgspec

    assert libraries.digest(["msgspec"]) == f"msgspec {msgspec.__version__}"


@pytest.mark.parametrize(
    ("name", "package"),
    [
        ("tensorflow_decision_forests", "tensorflow-decision-forests"),
        ("no_such_module.ops", "no_such_module"),
    ],
)
def test_the_error_of_a_missing_library_names_its_package(
    tmp_path: Path, staged: Stage, name: str, package: str
) -> None:
    with pytest.raises(StageFailed, match=f"'{name}' is not installed.*{package}"):
        staged(scale(tmp_path / "m", 2.0), settings=using(name))


def test_a_library_that_is_gone_when_a_worker_loads(
    tmp_path: Path, staged: Stage, module: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = staged(scale(tmp_path / "m", 2.0), settings=using("counting_ops"))
    module.unlink()
    monkeypatch.delitem(sys.modules, "counting_ops")

    with pytest.raises(StageFailed, match="'counting_ops' is not installed"):
        Servable(version)


@pytest.mark.parametrize(
    "content", ["raise OSError('undefined symbol')", "import no_such_module"]
)
def test_a_library_that_cannot_be_imported(
    tmp_path: Path, staged: Stage, module: Path, content: str
) -> None:
    module.write_text(content)
    with pytest.raises(StageFailed, match="'counting_ops' cannot be imported"):
        staged(scale(tmp_path / "m", 2.0), settings=using("counting_ops"))


@pytest.mark.parametrize(
    ("operation", "todo"),
    [
        ("SimpleMLInferenceOpWithHandle", r"\[tensorflow_decision_forests\]"),
        ("Scann>ScannSearchBatched", r"\[scann\]"),
        ("Unheard", r"\[MODULE\]"),
    ],
)
def test_the_error_of_an_unknown_operation_names_the_option(
    tmp_path: Path, staged: Stage, operation: str, todo: str
) -> None:
    source = with_operation(tmp_path / "m", operation)
    with pytest.raises(StageFailed, match=f"{operation}.*libraries: {todo}"):
        staged(source)


def test_the_error_names_the_libraries_that_did_not_help(
    tmp_path: Path, staged: Stage, module: Path
) -> None:
    source = with_operation(tmp_path / "m", "Unheard")
    with pytest.raises(StageFailed, match="nor of counting_ops"):
        staged(source, settings=using("counting_ops"))


# In a process of its own: operations once registered stay so.
_SERVED = """
import sys
from pathlib import Path
from gomlx.errors import StageFailed
from gomlx.models.serving.servable import Servable
from gomlx.models.staging.stage import stage
from gomlx.models.version import Settings, StageRequest

def request(libraries):
    return StageRequest(
        "m", sys.argv[1], Path(sys.argv[2]), "serving_default", {},
        Settings(libraries=libraries))

try:
    stage(request(()))
except StageFailed as error:
    print(error)
servable = Servable(stage(request(("tensorflow_text",))))
(row,) = servable.signature.check({"text": "a bc  d"}).rows
print(servable.run([row])[0].decode())
"""


def test_operations_of_tensorflow_text(tmp_path: Path) -> None:
    text = pytest.importorskip("tensorflow_text")
    tokenizer = text.WhitespaceTokenizer()

    def count(text: object) -> dict[str, object]:
        return {"words": tokenizer.tokenize(text).row_lengths()}

    source = save(tmp_path / "m", count, [spec("text", "string", (None,))])
    command = [sys.executable, "-c", _SERVED, str(source), str(tmp_path / "staged")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)

    refused, answer = done.stdout.splitlines()
    assert "TFText>WhitespaceTokenizeWithOffsetsV2" in refused
    assert "libraries: [tensorflow_text]" in refused
    assert json.loads(answer) == {"words": 3}
