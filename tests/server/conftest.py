"""A predictor over a real model and a real store, in the test's own event loop."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from gomlx.cache.local import Local, LocalCounts
from gomlx.cache.shm import SharedMemory, create_store
from gomlx.cache.tiered import Tiered
from gomlx.metrics import ROWS, SECONDS, Count, Spread
from gomlx.models.batcher import Batcher, Limits, RunCounts
from gomlx.models.current import Current, Live
from gomlx.models.servable import Servable
from gomlx.server.predict import Caching, Predictor
from gomlx.server.prediction import Reply
from tests import saved_models


class Counts:
    """The two methods of Metrics that the request path needs."""

    def __init__(self) -> None:
        self.counts: dict[tuple[str, ...], Count] = {}
        self.spreads: dict[tuple[str, ...], Spread] = {}

    def count(self, *key: str) -> Count:
        return self.counts.setdefault(key, Count())

    def spread(self, *key: str) -> Spread:
        bounds = ROWS if key[0] == "gomlx_batch_rows" else SECONDS
        return self.spreads.setdefault(key, Spread(bounds))


@dataclass
class Path_:
    """The request path of a worker with one model, `m`: y = 2 x."""

    predictor: Predictor
    current: Current
    cache: Tiered
    counts: Counts
    live: Callable[[Servable], Live]

    def runs(self) -> int:
        return self.counts.count("gomlx_model_runs", "m").n


@pytest.fixture(scope="session")
def servables(tmp_path_factory: pytest.TempPathFactory) -> dict[float, Servable]:
    """y = x * factor, by factor."""
    from gomlx.models.stage import stage
    from gomlx.models.version import StageRequest

    folder = tmp_path_factory.mktemp("servables")
    found = {}
    for factor in (2.0, 3.0):
        source = saved_models.scale(folder / f"{factor}", factor)
        into = folder / "staged"
        version = stage(StageRequest("m", str(source), into, "serving_default", {}))
        found[factor] = Servable(version)
    return found


@pytest_asyncio.fixture
async def path(
    shared_folder: Path, servables: dict[float, Servable]
) -> AsyncIterator[Path_]:
    counts = Counts()
    create_store(shared_folder / "store", 4 << 20)
    tier = SharedMemory(shared_folder / "store")
    tier_counts = LocalCounts(counts.count, counts.spread("lookup seconds"))
    cache = Tiered(Local(tier, tier_counts, 1 << 20), [], 60)
    current = Current(["m", "unloaded"])

    def live(servable: Servable) -> Live:
        run_counts = RunCounts(
            counts.count("gomlx_model_runs", "m"),
            counts.count("failures"),
            counts.spread("seconds"),
            counts.spread("gomlx_batch_rows"),
        )
        limits = Limits(64, 0, 100)
        return Live(servable, Batcher("m", servable.run, limits, run_counts, 0.0))

    current.swap("m", live(servables[2.0]), lambda _: None)
    metrics: Any = counts
    caching = {"m": Caching(cache), "unloaded": Caching(cache)}
    predictor = Predictor(current, caching, {"m": 100, "unloaded": 100}, metrics)
    yield Path_(predictor, current, cache, counts, live)
    await cache.close()


async def asked(path: Path_, body: bytes, model: str = "m") -> Reply:
    """Put a question, and wait for the reply."""
    import asyncio

    future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
    path.predictor.post(model, body, future.set_result)
    return await future
