"""A staged version is loaded, warmed, and closed."""

import asyncio
import logging
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from gomlx.config.schema import Batch
from gomlx.models.batching.run import RowResult
from gomlx.models.batching.turns import LoopTurns
from gomlx.models.serving.servable import Description
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
    metrics: Any = counts
    loader = VersionLoader({"m": Batch()}, metrics, LoopTurns())
    live = await asyncio.to_thread(loader.load, version)
    assert live.digest == version.digest
    job = Job()
    live.batcher.add((1.5,), job)
    assert await asyncio.wait_for(job.answer, 30) == b'{"y":3.0}'
    assert counts.counter("gomlx_model_runs", "m").n == 1
    loader.close(live)


@pytest.mark.parametrize(
    ("row_seconds", "batch", "chosen"),
    [
        (0.001, Batch(), "model m: runs at once: 3, threads: 1"),
        (0.02, Batch(), "model m: runs at once: 3, threads: 3"),
        (0.02, Batch(threads=1), "model m: runs at once: 3, threads: 1"),
        (0.02, Batch(runs=2), "model m: runs at once: 2, threads: 3"),
        (0.02, Batch(runs=1, threads=1), ""),
    ],
)
def test_runs_and_threads_are_chosen_by_cores_and_cost(
    tmp_path: Path,
    staged: Callable[..., ModelVersion],
    caplog: pytest.LogCaptureFixture,
    row_seconds: float,
    batch: Batch,
    chosen: str,
) -> None:
    version = staged(saved_models.scale(tmp_path / "scale", 2.0))
    described = Description.read(version.directory)
    assert 0 < described.effort.row_seconds < 1
    effort = replace(described.effort, row_seconds=row_seconds)
    replace(described, effort=effort).write(version.directory)
    assert _log_of_load(version, batch, caplog) == chosen


def test_what_may_vary_runs_once_at_a_time(
    tmp_path: Path,
    staged: Callable[..., ModelVersion],
    caplog: pytest.LogCaptureFixture,
) -> None:
    def f(x: Any) -> Any:
        return {"y": x + tf.random.uniform(tf.shape(x))}

    version = staged(saved_models.save(tmp_path / "m", f, [saved_models.spec("x")]))
    assert not _log_of_load(version, Batch(), caplog)


def _log_of_load(
    version: ModelVersion, batch: Batch, caplog: pytest.LogCaptureFixture
) -> str:
    """Load a version in a worker with three cores for runs; return what it logs."""
    metrics: Any = Counts()
    loader = VersionLoader({"m": batch}, metrics, LoopTurns(), cores=3)
    with caplog.at_level(logging.INFO, "gomlx.server.process.loading"):
        loader.close(loader.load(version))
    return "\n".join(r.message for r in caplog.records if "runs at once" in r.message)


COLLECTIONS = """
import asyncio, gc, json
from gomlx.contract.signature import Signature
from gomlx.contract.tensor import Tensor
from gomlx.server.process.importing import import_tensorflow

asyncio.run(import_tensorflow())
signature = Signature((Tensor("x", "float32", (2,)),), ())
body = json.dumps({"batch_size": 4096, "x": [[1.5, 2]] * 4096}).encode()
signature.check({"x": [1.5, 2]})
seen = []
gc.callbacks.append(lambda phase, info: seen.append(info["generation"]))
found = signature.check(json.loads(body))
print(len(found.rows), 2 in seen)
"""


def test_only_young_garbage_is_collected_for_a_large_request() -> None:
    """A full collection would look at all that models hold, and block the loop."""
    command = [sys.executable, "-c", COLLECTIONS]
    printed = subprocess.check_output(command, text=True, timeout=100)
    assert printed.splitlines()[-1] == "4096 False"
