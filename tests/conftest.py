"""Fixtures over real models and real services."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gomlx.models.version import ModelVersion, StageRequest

LEGACY = Path(__file__).parents[2] / "shared" / "models"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that start services come first: short ones then fill both processes."""
    items.sort(key=lambda item: not hasattr(getattr(item, "module", None), "running"))


@pytest.fixture(scope="session")
def legacy_models() -> Path:
    """SavedModels of TensorFlow 2.4, which are not part of the repository."""
    if not LEGACY.is_dir():
        pytest.skip("the TensorFlow 2.4 models are not here")
    return LEGACY


@pytest.fixture
def staged(tmp_path: Path) -> Callable[..., ModelVersion]:
    """A function that stages a SavedModel, in this process."""
    from gomlx.models.stage import stage

    def run(source: Path, name: str = "m", **options: object) -> ModelVersion:
        values = {"signature": "serving_default", "example": {}} | options
        into = tmp_path / "staged" / name
        return stage(StageRequest(name, str(source), into, **values))  # type: ignore[arg-type]

    return run


@pytest.fixture
def shared_folder() -> Iterator[Path]:
    """A folder in shared memory."""
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix="gomlx-test-", dir="/dev/shm"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)
