"""What is recorded of one request: plain values, which cost no call of an SDK."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from gomlx.tracing.parent import Parent

Attributes = Mapping[str, str | int | float | bool]
SpanKind = Literal["server", "client", "internal"]

MOST_STEPS = 120  # of one request: one of thousands of rows has a run for each 64
_MOST_RUNS = MOST_STEPS // 2  # each is two steps


@dataclass(frozen=True)
class Step:
    """A part of a request, with times by `perf_counter`."""

    name: str
    started: float
    ended: float
    kind: SpanKind = "internal"
    attributes: Attributes = field(default_factory=dict)


@dataclass
class _Run:
    """The rows of one request that ran together, with times by `perf_counter`."""

    added: float
    ended: float
    rows: int = 1


class Trace:
    """The steps of one request. For one thread: the event loop's.

    parent: the span that the request belongs to; None: it is the first of its trace.
    """

    def __init__(self, parent: Parent | None) -> None:
        self.parent = parent
        self.to_unix = time.time() - time.perf_counter()
        self._steps: list[Step] = []
        self._runs: dict[float, _Run] = {}  # by when they started

    def add(self, step: Step) -> None:
        """Note a step that has ended; further ones than so many are left out."""
        if len(self._steps) < MOST_STEPS:
            self._steps.append(step)

    def ran(self, added: float, started: float, ended: float) -> None:
        """Note that a row has waited for a run, and was in it."""
        run = self._runs.get(started)
        if run is None:
            if len(self._runs) < _MOST_RUNS:  # a stream has no end of them
                self._runs[started] = _Run(added, ended)
        else:
            run.rows += 1
            run.ended = max(run.ended, ended)

    def steps(self) -> list[Step]:
        """Return all steps."""
        steps = [*self._steps]
        for started, run in self._runs.items():
            rows = {"gomlx.rows": run.rows}
            steps.append(Step("queue", run.added, started, "internal", rows))
            steps.append(Step("run", started, run.ended, "internal", rows))
        return steps[:MOST_STEPS]
