"""Fixtures over real models and real services."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from gomlx.models.version import ModelVersion, StageRequest

# How long an example takes, or to make one, is no test's business.
settings.register_profile(
    "untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("untimed")
LEGACY = Path(__file__).parents[2] / "shared" / "models"


# The files that take longest come first, in this order: short ones then fill both
# processes to the end.
LONGEST = (
    *("test_swap.py", "test_faults.py", "test_collapse.py", "client/test_service.py"),
    *("test_fleet.py", "test_tiers.py", "test_service.py", "test_operations.py"),
    *("test_memory.py", "server/test_stream.py", "client/test_predict_command.py"),
    *("cache/test_processes.py", "models/test_kinds.py", "models/test_stage.py"),
    *("test_meta.py", "models/test_legacy.py", "client/test_bench_command.py"),
    *("client/test_examples.py", "client/test_stream.py", "client/test_hosts.py"),
    *("models/test_objects.py", "models/test_transformer.py", "test_explain.py"),
    *("server/test_smuggling.py", "test_check.py", "cache/test_redis.py"),
)
RANKS = {Path(__file__).parent / file: rank for rank, file in enumerate(LONGEST)}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: RANKS.get(item.path, len(RANKS)))


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
