"""A staged version is loaded, warmed, and closed."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gomlx.config.schema import Batch
from gomlx.models.batching.run import RowResult
from gomlx.models.version import ModelVersion
from gomlx.server.process.loading import VersionLoader
from tests.server.conftest import Counts
from tests.support import saved_models


class Job:
    """A row that is awaited, and its answer."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[RowResult] = asyncio.Future()

    def is_awaited(self, now: float) -> bool:
        return True

    def complete(self, outcome: RowResult) -> None:
        self.answer.set_result(outcome)


@pytest.mark.asyncio
async def test_a_loaded_version_answers_and_its_runs_are_counted(
    tmp_path: Path, staged: Callable[..., ModelVersion]
) -> None:
    version = staged(saved_models.scale(tmp_path / "scale", 2.0))
    counts = Counts()
    completed = list[bool]()
    metrics: Any = counts
    loader = VersionLoader({"m": Batch()}, metrics, lambda: completed.append(True))
    live = await asyncio.to_thread(loader.load, version)
    assert live.digest == version.digest
    job = Job()
    live.batcher.add((1.5,), job)
    assert await asyncio.wait_for(job.answer, 30) == b'{"y":3.0}'
    assert counts.counter("gomlx_model_runs", "m").n == 1
    assert completed == [True]
    loader.close(live)
