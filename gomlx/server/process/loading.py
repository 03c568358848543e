"""A staged version → a live version, and back: load and warm, close; for how long."""

import asyncio
import gc
import logging
import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from typing import TYPE_CHECKING, Protocol

from gomlx.config.schema import Batch
from gomlx.metrics.metrics import Metrics
from gomlx.models.batching.batcher import Batcher
from gomlx.models.batching.cost import Cost, rows_of_requests
from gomlx.models.batching.queue import BatchLimits
from gomlx.models.batching.run import RunMetrics
from gomlx.models.batching.threads import threads_in_run
from gomlx.models.batching.turns import Turns
from gomlx.models.serving.current import LiveVersion
from gomlx.models.version import ModelVersion, model_of

if TYPE_CHECKING:
    from gomlx.models.serving.servable import LoadGraph

log = logging.getLogger(__name__)


class VersionLoads(Protocol):
    """Makes live versions of staged ones, and releases them."""

    def load(self, version: ModelVersion) -> LiveVersion:
        """Load and warm a version. Called in a thread."""

    def close(self, live: LiveVersion) -> None:
        """Release a version. Called on the event loop."""


class VersionLoader:
    """Loads versions of the configured models.

    batches: model → how its rows run together. turns: those of the event loop. cores:
    how many the runs of a worker may use. isolated: the models whose graphs run in
    processes of their own → what loads them there.
    """

    def __init__(
        self,
        batches: Mapping[str, Batch],
        metrics: Metrics,
        turns: Turns,
        cores: int = 1,
        isolated: "Mapping[str, LoadGraph] | None" = None,
    ) -> None:
        self._batches = batches
        self._metrics = metrics
        self._turns = turns
        self._cores = cores
        self._isolated = isolated or {}

    def configure(
        self, batches: Mapping[str, Batch], isolated: "Mapping[str, LoadGraph]"
    ) -> None:
        """Load versions of these models from now on."""
        self._batches = batches
        self._isolated = isolated

    def load(self, version: ModelVersion) -> LiveVersion:
        """Load and warm a version. Runs in a thread, after `import_tensorflow`."""
        from gomlx.models.serving.servable import Description, Servable, load_here

        isolated = self._isolated.get(model_of(version.name))
        batch = self._batches[model_of(version.name)]
        description = Description.read(version.directory)
        cores = self._cores if description.may_overlap else 1
        runs = 1 if isolated else batch.runs or cores
        threads = batch.threads or threads_in_run(
            description.effort.row_seconds, self._cores
        )
        if runs > 1 or threads > 1:
            name = version.name
            log.info("model %s: runs at once: %d, threads: %d", name, runs, threads)
        servable = Servable(version, threads, isolated or load_here)
        are_requests = servable.description.rows_together  # what waits for runs
        run = servable.run_requests if are_requests else servable.run
        max_rows = min(batch.max_rows, servable.description.most_rows)
        rows_of = rows_of_requests if are_requests else len
        timings = servable.warm(max_rows)
        in_threads = bool(isolated or description.effort.decided_by)
        cost = Cost(max_rows, timings, rows_of, in_threads)
        limits = BatchLimits(
            1 if are_requests else max_rows,
            batch.linger_ms / 1000,
            batch.max_queued_rows,
            batch.max_queued_ms / 1000,
            runs,
        )
        metrics = self._run_metrics(version.name)
        batcher = Batcher(version.name, run, limits, metrics, cost, self._turns)
        return LiveVersion(servable, batcher)

    def close(self, live: LiveVersion) -> None:
        """Release a version that no request holds any more."""
        live.batcher.close()
        live.servable.close()
        del live
        # TensorFlow's graphs are reference cycles. This is cheap: what was in memory
        # before any model was loaded is frozen.
        gc.collect()

    def _run_metrics(self, name: str) -> RunMetrics:
        return RunMetrics(
            self._metrics.counter("gomlx_model_runs", name),
            self._metrics.counter("gomlx_model_run_failures", name),
            self._metrics.histogram("gomlx_model_run_seconds", name),
            self._metrics.histogram("gomlx_batch_rows", name),
            self._metrics.counter("gomlx_model_runs_overlapping", name),
        )


class Loads:
    """Loads of versions, each in a thread, and waited for so many seconds.

    TensorFlow, or a transformer, may hang in a load, and a thread cannot be stopped: it
    goes on. Its version is there as soon as it ends, or is released if it is wanted no
    more.
    """

    def __init__(self, loader: VersionLoads, seconds: float) -> None:
        self._loader = loader
        self._seconds = seconds
        self._late: dict[str, asyncio.Future[LiveVersion]] = {}  # by digest

    async def load(self, version: ModelVersion) -> LiveVersion:
        """Load and warm a version.

        Raises what the load raises; and TimeoutError, at once if an earlier load of the
        version is still going on.
        """
        load = self._late.pop(version.digest, None)
        if load is None:
            load = self._begin(version)
            await asyncio.wait({load}, timeout=self._seconds)
        if load.done():
            return load.result()
        self._late[version.digest] = load
        raise TimeoutError(
            f"it takes over {self._seconds:g} s to load and warm it; raise "
            "watch.stage_seconds if it is that large"
        )

    def keep(self, digests: Iterable[str]) -> None:
        """Have all versions but these released when their late loads end."""
        for digest in self._late.keys() - {*digests}:
            self._late.pop(digest).add_done_callback(self._release)

    def close(self, live: LiveVersion) -> None:
        """Release a version. Called on the event loop."""
        self._loader.close(live)

    def _begin(self, version: ModelVersion) -> "asyncio.Future[LiveVersion]":
        """Load in a thread of its own: one that hangs keeps no other work waiting."""
        outcome: Future[LiveVersion] = Future()

        def run() -> None:
            try:
                outcome.set_result(self._loader.load(version))
            except Exception as error:
                outcome.set_exception(error)

        # TensorFlow releases the GIL meanwhile: the event loop runs on.
        threading.Thread(target=run, name=f"load-{version.name}", daemon=True).start()
        return asyncio.wrap_future(outcome)

    def _release(self, load: "asyncio.Future[LiveVersion]") -> None:
        if load.exception() is None:
            self.close(load.result())
