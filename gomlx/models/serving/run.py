"""One run of a model, and what became of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter, thread_time
from typing import NamedTuple

from gomlx.contract.tensor import Row
from gomlx.errors import GomlxError, RunFailed
from gomlx.metrics.instruments import Counter, Histogram
from gomlx.models.serving.cost import Spent, spent_since

RowResult = bytes | GomlxError


class Run(NamedTuple):
    """What became of one run: an outcome a row, and what it took.

    is_refused: by TensorFlow, for what may be one row's fault.
    """

    outcomes: Sequence[RowResult]
    spent: Spent
    has_failed: bool
    is_refused: bool


@dataclass(frozen=True)
class RunCounts:
    """What is counted about runs. For one thread: the event loop's."""

    runs: Counter
    failures: Counter
    seconds: Histogram
    rows: Histogram

    def add(self, run: Run) -> None:
        self.runs.n += 1
        self.failures.n += run.has_failed
        self.seconds.add(run.spent.seconds)
        self.rows.add(len(run.outcomes))


def tried(
    model: str, run: Callable[[Sequence[Row]], list[bytes]], rows: Sequence[Row]
) -> Run:
    """Run rows together. What goes wrong is the outcome of each of them."""
    started, cpu = perf_counter(), thread_time()
    try:
        outcomes = run(rows)
        return Run(outcomes, spent_since(started, cpu), False, False)
    except RunFailed as error:
        failed, is_refused = error, True
    except Exception as error:
        failed = RunFailed(f"model {model!r}: {type(error).__name__}: {error}")
        is_refused = False
    return Run([failed] * len(rows), spent_since(started, cpu), True, is_refused)
