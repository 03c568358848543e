"""A predictor over a real model and a real store, in the test's own event loop."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path

import pytest
import pytest_asyncio

from gomlx.cache.local import Local, LocalCounts
from gomlx.cache.shared_memory.store import create_store
from gomlx.cache.shared_memory.tier import SharedMemory
from gomlx.cache.tiered import Tiered
from gomlx.contract.tensor import Row
from gomlx.errors import RunFailed
from gomlx.metrics.declarations import ROWS, SECONDS
from gomlx.metrics.instruments import Counter, Histogram
from gomlx.models.batching.batcher import Batcher
from gomlx.models.batching.cost import Cost, Timing
from gomlx.models.batching.queue import BatchLimits
from gomlx.models.batching.run import RunMetrics
from gomlx.models.serving.current import Current, LiveVersion
from gomlx.models.serving.servable import Servable
from gomlx.server.predict.policy import CachePolicy
from gomlx.server.predict.predictor import Predictor, RowLimits
from gomlx.server.predict.reply import Reply
from gomlx.server.predict.request import WaitingRequest
from tests.support import saved_models


class Counts:
    """The two methods of Metrics that the request path needs."""

    def __init__(self) -> None:
        self.counts: dict[tuple[str, ...], Counter] = {}
        self.histograms: dict[tuple[str, ...], Histogram] = {}

    def counter(self, *key: str) -> Counter:
        return self.counts.setdefault(key, Counter())

    def histogram(self, *key: str) -> Histogram:
        bounds = ROWS if key[0] == "gomlx_batch_rows" else SECONDS
        return self.histograms.setdefault(key, Histogram(bounds))


class Gate:
    """A servable whose runs wait until `go` is set. It refuses 13."""

    def __init__(self, servable: Servable) -> None:
        self._servable = servable
        self.rows: list[float] = []  # that were run, in order
        self.started = threading.Event()
        self.go = threading.Event()

    def run(self, rows: Sequence[Row]) -> list[bytes]:
        self.rows += [x for (x,) in rows]  # type: ignore[misc]
        self.started.set()
        assert self.go.wait(30)
        if (13.0,) in rows:
            raise RunFailed("thirteen")
        return self._servable.run(rows)

    async def wait(self) -> None:
        """Wait until a run has started."""
        assert await asyncio.to_thread(self.started.wait, 30)


@dataclass
class Path_:
    """The request path of a worker with one model, `m`: y = 2 x."""

    predictor: Predictor
    current: Current
    cache: Tiered
    local: Local
    counts: Counts
    live: Callable[..., LiveVersion]
    reconfigure: Callable[[CachePolicy], Predictor]

    def gated(self, servable: Servable) -> "Gate":
        """Swap a version in whose runs wait in a thread until they are let go on."""
        gate = Gate(servable)
        self.current.swap({"m": self.live(servable, gate)}, lambda _: None)
        return gate

    def runs(self) -> int:
        return self.counts.counter("gomlx_model_runs", "m").n


@pytest.fixture(scope="session")
def servables(tmp_path_factory: pytest.TempPathFactory) -> dict[float, Servable]:
    """y = x * factor, by factor."""
    from gomlx.models.staging.stage import stage
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
    tier_counts = LocalCounts(counts.counter, counts.histogram("lookup seconds"))
    local = Local(tier, tier_counts, 1 << 20)
    cache = Tiered(local, [], 60)
    current = Current(["m", "unloaded"])

    def live(
        servable: Servable, gate: Gate | None = None, queued_seconds: float = inf
    ) -> LiveVersion:
        run_metrics = RunMetrics(
            counts.counter("gomlx_model_runs", "m"),
            counts.counter("failures"),
            counts.histogram("seconds"),
            counts.histogram("gomlx_batch_rows"),
            counts.counter("overlapping"),
        )
        limits = BatchLimits(64, 0, 100, queued_seconds)
        run, seconds = (gate.run, 1.0) if gate else (servable.run, 0.0)
        return LiveVersion(
            servable,
            Batcher(
                "m", run, limits, run_metrics, Cost(64, [Timing(seconds, seconds)] * 7)
            ),
        )

    current.swap({"m": live(servables[2.0])}, lambda _: None)
    max_rows = dict.fromkeys(("m", "unloaded"), RowLimits(100, 100))

    def predictor(caching: CachePolicy) -> Predictor:
        models = dict.fromkeys(max_rows, caching)
        return Predictor(current, models, max_rows, counts)

    yield Path_(
        predictor(CachePolicy(cache)), current, cache, local, counts, live, predictor
    )
    if (last := current.get("m")) is not None:
        last.batcher.close()
    await cache.close()


def submit(
    path: Path_, body: bytes, model: str = "m", seconds: float = inf
) -> tuple[WaitingRequest | None, asyncio.Future[Reply]]:
    """Submit a request: what can be abandoned if it waits, and the reply to come."""
    future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
    return path.predictor.submit(model, body, future.set_result, seconds), future


async def predict(
    path: Path_, body: bytes, model: str = "m", seconds: float = inf
) -> Reply:
    """Submit a request and wait for the reply."""
    return await asyncio.wait_for(submit(path, body, model, seconds)[1], 30)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.005)
