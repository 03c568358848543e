"""What loads the graphs of isolated models, in processes of their own."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gomlx.config.schema import Config, Isolate, Model
from gomlx.metrics.metrics import Metrics
from gomlx.models.isolation.spawner import Assignment, Spawner
from gomlx.models.version import ModelVersion
from gomlx.server.process.hooks import WorkerHooks

if TYPE_CHECKING:  # TensorFlow takes seconds, and workers must heartbeat before
    from gomlx.models.serving.servable import Description, Graph, LoadGraph


def isolated_loads(
    config: Config, hooks: WorkerHooks, metrics: Metrics
) -> "dict[str, LoadGraph]":
    """Return what loads each isolated model, by its id. Call it on the event loop."""
    return {
        model.id: IsolatedLoad(
            hooks.spawner,
            model,
            config.sandbox,
            _reporter(model.id, metrics, hooks.replace),
        )
        for model in config.models
        if model.isolate and hooks.spawner
    }


@dataclass(frozen=True)
class IsolatedLoad:
    """Loads versions of one model. report is called with what their processes do."""

    spawner: Spawner
    model: Model
    is_confined: bool
    report: Callable[[str], None]

    def __call__(
        self, version: ModelVersion, description: "Description", threads: int
    ) -> "Graph":
        from gomlx.models.isolation.graph import IsolatedGraph
        from gomlx.models.serving.servable import Graph

        isolate = self.model.isolate or Isolate()
        assignment = Assignment(
            version.name,
            str(version.directory),
            threads,
            isolate.memory_mb,
            self.is_confined,
        )
        seconds = self.model.run_seconds
        graph = IsolatedGraph(self.spawner, assignment, seconds, self.report)
        return Graph(graph, graph.close)


def _reporter(
    model: str, metrics: Metrics, replace: Callable[[], None]
) -> Callable[[str], None]:
    """Return what counts events of other threads. Call it on the event loop."""
    loop = asyncio.get_running_loop()
    counters = {
        "restarted": metrics.counter("gomlx_isolated_restarts", model),
        "outlasted": metrics.counter("gomlx_model_runs_outlasted", model),
    }

    def note(event: str) -> None:
        if event in counters:
            counters[event].n += 1
        else:
            replace()

    def report(event: str) -> None:
        loop.call_soon_threadsafe(note, event)

    return report
