"""Jobs that record what becomes of their rows, for tests without an event loop."""

from collections.abc import Sequence
from math import inf

from gomlx.models.batching.run import JobBatch, RowResult


class Job:
    """A job that is awaited until its deadline; it keeps every outcome."""

    def __init__(self, deadline: float = inf) -> None:
        self.deadline = deadline
        self.outcomes: list[RowResult] = []

    def is_awaited(self, now: float) -> bool:
        return self.deadline > now

    def complete(self, outcome: RowResult) -> None:
        self.outcomes.append(outcome)


def complete(batch: JobBatch, outcomes: Sequence[RowResult]) -> None:
    for (_, job), outcome in zip(batch, outcomes, strict=True):
        job.complete(outcome)


def numbers(batch: JobBatch) -> list[object]:
    """The values of rows that have one input."""
    return [value for (value,), _ in batch]
