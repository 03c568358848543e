"""One run of a model: the jobs that it is for, its outcomes, and its metrics."""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from time import perf_counter, thread_time
from typing import NamedTuple, Protocol

from gomlx.contract.tensor import Row
from gomlx.errors import GomlxError, RunFailed
from gomlx.metrics.instruments import Counter, Histogram
from gomlx.models.batching.cost import Timing

log = logging.getLogger(__name__)

RowResult = bytes | GomlxError


class Job(Protocol):
    """What a row is run for."""

    def is_awaited(self, now: float, /) -> bool:
        """Return whether a caller still waits for it. now: as `perf_counter` counts."""

    def complete(self, outcome: RowResult, /) -> None:
        """Receive the answer, or the error."""


JobBatch = list[tuple[Row, Job]]
Complete = Callable[[JobBatch, Sequence[RowResult]], None]


class Run(NamedTuple):
    """The result of one run: an outcome per row, and what the run cost.

    is_rejected: TensorFlow raised, perhaps because of a single row.
    """

    outcomes: Sequence[RowResult]
    timing: Timing
    has_failed: bool
    is_rejected: bool


@dataclass(frozen=True)
class RunMetrics:
    """The metrics of a version's runs. For one thread: the event loop's.

    overlapping: runs that started while others of the version were under way.
    """

    runs: Counter
    failures: Counter
    seconds: Histogram
    rows: Histogram
    overlapping: Counter


def attempt(
    model: str,
    run: Callable[[Sequence[Row]], list[bytes]],
    rows: Sequence[Row],
    reads_cpu: bool = True,
) -> Run:
    """Run rows together. An exception becomes the outcome of every row.

    reads_cpu: read the CPU time; else the wall time is in its place. PERF: it takes two
    system calls.
    """
    outcomes: Sequence[RowResult]
    is_rejected = False
    has_failed = False
    started = perf_counter()
    cpu_started = thread_time() if reads_cpu else 0.0
    try:
        outcomes = run(rows)
    except Exception as error:
        bug = f"model {model!r}: {type(error).__name__}: {error}"
        failed = error if isinstance(error, RunFailed) else RunFailed(bug)
        outcomes = [failed] * len(rows)
        has_failed = True
        is_rejected = failed is error
    wall = perf_counter() - started
    cpu = thread_time() - cpu_started if reads_cpu else wall
    return Run(outcomes, Timing(wall, cpu), has_failed, is_rejected)


def complete_jobs(model: str, batch: JobBatch, outcomes: Iterable[RowResult]) -> None:
    """Hand each job its outcome."""
    for (_, job), outcome in zip(batch, outcomes, strict=True):
        try:
            job.complete(outcome)
        except Exception:  # a bug of one caller must not keep others waiting
            log.exception("model %s: a job raised when it was completed", model)
