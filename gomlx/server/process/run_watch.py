"""Gives up runs that take longer than their model's run_seconds.

Their rows get an error, and so do later ones, at once, until the run ends. Its thread
cannot be stopped, so it ends with its worker: that one leaves as it does after
max_requests. A caller may cause such runs again and again, so workers of a service
leave for this reason no more often than once in `_REPLACE_SECONDS`.
"""

import asyncio
import fcntl
import logging
import os
import time
from collections.abc import Callable
from math import inf
from pathlib import Path
from typing import cast

from gomlx.config.schema import Config
from gomlx.contract.tensor import Block, Row
from gomlx.errors import NotReady, RunOutlasted
from gomlx.metrics.metrics import Metrics
from gomlx.models.batching.run import JobBatch
from gomlx.models.serving.current import Current, LiveVersion
from gomlx.models.version import model_of
from gomlx.runtime.rundir import RunDir

log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.5
_REPLACE_SECONDS = 60.0


class RunWatch:
    """Watches the runs of all models of one worker.

    replace is called when the worker should leave.
    """

    def __init__(
        self,
        config: Config,
        rundir: RunDir,
        current: Current,
        metrics: Metrics,
        replace: Callable[[], None],
    ) -> None:
        self._limits: dict[str, float] = {}
        self.configure(config)
        self._last = rundir.state / "replaced"
        self._current = current
        self._metrics = metrics
        self._replace = replace
        # Also those that have been replaced, as long as a run of theirs goes on.
        self._watched: dict[LiveVersion, str] = {}

    def configure(self, config: Config) -> None:
        """Have each model's runs take as long as a config says."""
        # The process of an isolated model is ended, and its thread goes on. A model
        # that is gone may have runs.
        self._limits |= {
            model.id: inf if model.isolate else model.run_seconds
            for model in config.models
        }

    async def follow(self) -> None:
        """Look at the runs until cancelled."""
        while True:
            if self._is_blocked() and claim(self._last, _REPLACE_SECONDS):
                log.warning("this worker is replaced: a run cannot be stopped")
                self._replace()
            await asyncio.sleep(_LOOK_SECONDS)

    def _is_blocked(self) -> bool:
        """Give up what takes too long; return whether something of that goes on."""
        for name in self._current.names:
            if (live := self._current.get(name)) is not None:
                self._watched[live] = name
        for live, name in [*self._watched.items()]:
            if live.batcher.is_busy:
                self._look(name, live)
            else:
                del self._watched[live]
        return any(live.batcher.has_given_up for live in self._watched)

    def _look(self, name: str, live: LiveVersion) -> None:
        seconds = self._limits[model_of(name)]
        refusal = NotReady(
            name,
            f"a run of it has taken over {seconds:g} s and cannot be stopped; others "
            "are refused until it ends, or this worker is replaced",
        )
        error = RunOutlasted.of(name, seconds)
        for batch in live.batcher.give_up(seconds, error, refusal):
            self._metrics.counter("gomlx_model_runs_outlasted", name).n += 1
            shapes = _shapes(live, batch)
            log.error(
                "model %s: a run has taken over %g s (run_seconds) and is given up: %s",
                name,
                seconds,
                shapes,
            )


def _shapes(live: LiveVersion, batch: JobBatch) -> str:
    """Return how many rows a run has, and the shape of each input, but no values."""
    rows: list[Row] = [row for row, _ in batch]
    if live.answers_together:
        rows = [cast(Row, row) for request in rows for row in request]
    pairs = zip(live.signature.fields, rows[0], strict=True)
    shapes = [
        f"{tensor.name}: {list(value.shape) if isinstance(value, Block) else []}"
        for tensor, value in pairs
    ]
    return f"rows: {len(rows)}; shapes of the first: {', '.join(shapes)}"


def claim(path: Path, seconds: float) -> bool:
    """Return whether no process has had True for this file for so many seconds."""
    opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX)
        now = time.time()
        if os.fstat(opened).st_size and 0 <= now - os.fstat(opened).st_mtime < seconds:
            return False
        os.pwrite(opened, b"\n", 0)
        return True
    finally:
        os.close(opened)
