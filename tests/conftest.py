"""Fixtures over real models and real services."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import gettempdir

import pytest
from hypothesis import HealthCheck, settings

from gomlx.models.version import ModelVersion, StageRequest
from tests.client.flights import flights
from tests.support import leftovers, redis_servers, saved_models
from tests.support.service import Service, running, wait_for

# How long an example takes, or to make one, is no test's business.
settings.register_profile(
    "untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("untimed")
LEGACY = Path(__file__).parents[2] / "shared" / "models"


# The files that take longest come first, in this order: short ones then fill both
# processes to the end.
LONGEST = (
    "system/test_swap.py",
    "system/test_faults.py",
    "system/test_collapse.py",
    "models/zoo/test_zoo.py",
    "client/test_service.py",
    "system/test_fleet.py",
    "system/test_tiers.py",
    "system/test_service.py",
    "server/routes/test_mly_operations.py",
    "system/test_memory.py",
    "server/routes/test_stream.py",
    "cli/test_predict_command.py",
    "cache/shared_memory/test_processes.py",
    "models/staging/test_kinds.py",
    "models/staging/test_stage.py",
    "server/routes/test_meta.py",
    "models/staging/test_legacy.py",
    "cli/test_bench_command.py",
    "docs/test_examples.py",
    "client/test_stream.py",
    "client/network/test_hosts.py",
    "models/staging/test_objects.py",
    "models/serving/test_transformer.py",
    "cli/test_explain.py",
    "server/http/test_smuggling.py",
    "cli/test_check.py",
    "cache/redis/test_failures.py",
    "cache/redis/test_tier.py",
)
RANKS = {Path(__file__).parent / file: rank for rank, file in enumerate(LONGEST)}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: RANKS.get(item.path, len(RANKS)))


@pytest.fixture(scope="session", autouse=True)
def nothing_left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Fail at the end if tests have left processes or network namespaces."""
    folder = tmp_path_factory.getbasetemp()
    leftovers.remove_those_of_killed_runs(Path(gettempdir()))
    mark = leftovers.mark_of(os.getpid())
    os.environ[leftovers.VARIABLE] = mark
    (folder / leftovers.VARIABLE).write_text(mark)
    yield
    with suppress(AssertionError):  # some may be ending
        wait_for(lambda: not leftovers.marked(mark.__eq__), 30)
    processes = leftovers.marked(mark.__eq__)
    leftovers.kill(processes)
    namespaces = leftovers.namespaces(os.getpid().__eq__)
    leftovers.remove(namespaces)
    leftovers.remove_stores(folder)
    (folder / leftovers.VARIABLE).unlink()
    assert not processes
    assert not namespaces


@pytest.fixture(scope="session")
def legacy_models() -> Path:
    """SavedModels of TensorFlow 2.4, which are not part of the repository."""
    if not LEGACY.is_dir():
        pytest.skip("the TensorFlow 2.4 models are not here")
    return LEGACY


@pytest.fixture
def staged(tmp_path: Path) -> Callable[..., ModelVersion]:
    """A function that stages a SavedModel, in this process."""
    from gomlx.models.staging.stage import stage

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


@pytest.fixture(scope="session")
def near(tmp_path_factory: pytest.TempPathFactory) -> Iterator[redis_servers.Server]:
    """The Redis of `flying`."""
    with redis_servers.server(tmp_path_factory.mktemp("near")) as started:
        yield started


@pytest.fixture(scope="session")
def flying(
    tmp_path_factory: pytest.TempPathFactory, near: redis_servers.Server
) -> Iterator[Service]:
    """flights; scale, y = 2 x; pick, which fails for some x; over memory and Redis."""
    folder = tmp_path_factory.mktemp("flying")
    flights(folder / "flights")
    saved_models.scale(folder / "scale", 2.0)
    saved_models.pick(folder / "pick")
    names = ("flights", "scale", "pick")
    config = {
        "models": [{"id": n, "url": f"./{n}", "datastore": "s"} for n in names],
        "datastores": [{"id": "s", "memory_mb": 16, "tiers": [{"connection": "near"}]}],
        "connections": [{"id": "near", "url": near.url, "timeout_seconds": 30}],
    }
    with running(folder, config) as service:
        yield service
