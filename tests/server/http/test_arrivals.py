"""Whatever arrives whenever: every row gets one outcome, with its own answer."""

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gomlx.contract.tensor import Row
from gomlx.errors import RunFailed
from gomlx.models.batching.batcher import Batcher
from gomlx.models.batching.cost import Cost, Timing
from gomlx.models.batching.queue import BatchLimits
from gomlx.models.batching.run import RowResult
from gomlx.models.serving.servable import Servable
from tests.models.batching.test_batcher import FixedCost, run_metrics

MOST = 5  # rows of a run
BAD = 13


@dataclass
class Job:
    """A row of a request: a job that remembers each of its outcomes."""

    outcomes: list[RowResult]
    is_dropped: bool

    def is_awaited(self, now: float) -> bool:
        return not self.is_dropped

    def complete(self, outcome: RowResult) -> None:
        self.outcomes.append(outcome)


class CountedRuns:
    """A real servable whose runs are counted; it refuses what is bad, alone or not."""

    def __init__(self, servable: Servable) -> None:
        self._servable = servable
        self.sizes: list[int] = []
        self.ran: Counter[float] = Counter()  # runs without a bad row
        self._lock = threading.Lock()  # of both: several threads run

    def run(self, rows: Sequence[Row]) -> list[bytes]:
        values = [x for (x,) in rows]
        with self._lock:
            self.sizes.append(len(rows))
            if BAD not in values:
                self.ran.update(values)  # type: ignore[arg-type]
        if BAD in values:
            raise RunFailed("bad")
        return self._servable.run(rows)


# How many turns of the event loop before a request, its rows, and whether its client
# disconnects at once.
REQUESTS = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.lists(st.integers(0, 40) | st.just(BAD), min_size=1, max_size=12),
        st.booleans() | st.just(False),
    ),
    max_size=12,
)


@pytest.mark.parametrize(
    ("seconds", "runs"),
    [(0.0, 1), (1.0, 1), (1.0, 3), ([0.0, 1.0, 1.0, 1.0], 3)],
    ids=["in line", "in a thread", "in three threads", "in line and in threads"],
)
def test_every_row_gets_exactly_one_outcome(
    servables: dict[float, Servable], seconds: float | list[float], runs: int
) -> None:
    costs = seconds if isinstance(seconds, list) else [seconds]

    @settings(
        max_examples=100,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(REQUESTS, st.sampled_from([0.0, 0.0, 0.001]))
    def check(requests: list[tuple[int, list[int], bool]], linger: float) -> None:
        limits = BatchLimits(MOST, linger, 1000, runs=runs)
        cost = Cost(MOST, [Timing(one, one) for one in costs])
        runner.run(arrive(CountedRuns(servables[2.0]), requests, limits, cost))

    with asyncio.Runner() as runner:
        check()


async def arrive(
    model: CountedRuns,
    requests: list[tuple[int, list[int], bool]],
    limits: BatchLimits,
    cost: Cost,
) -> None:
    """Add the rows of all requests, as they come; look at what became of them."""
    batcher = Batcher("m", model.run, limits, run_metrics(), cost)
    jobs: list[tuple[int, Job]] = []
    for turns, values, is_dropped in requests:
        for _ in range(turns):
            await asyncio.sleep(0)
        for value in values:
            job = Job([], is_dropped)
            jobs.append((value, job))
            batcher.add((float(value),), job)
    async with asyncio.timeout(30):
        while not all(job.outcomes for _, job in jobs):
            await asyncio.sleep(0)
    for _ in range(3):
        await asyncio.sleep(0)
    batcher.close()
    assert len(batcher) == 0
    for value, job in jobs:
        (outcome,) = job.outcomes
        if job.is_dropped or value == BAD:
            assert not isinstance(outcome, bytes)
        else:
            assert isinstance(outcome, bytes)
            assert json.loads(outcome) == {"y": 2.0 * value}
    wanted = Counter(v for v, job in jobs if v != BAD and not job.is_dropped)
    assert model.ran == Counter({float(v): n for v, n in wanted.items()})
    assert max(model.sizes, default=0) <= MOST


@pytest.mark.asyncio
async def test_an_idle_batcher_waits_for_nothing(
    servables: dict[float, Servable],
) -> None:
    """A row that comes alone is answered in the next turn of the event loop."""
    model = CountedRuns(servables[2.0])
    batcher = Batcher(
        "m",
        model.run,
        BatchLimits(MOST, 0, 1000),
        run_metrics(),
        FixedCost(MOST, [Timing(0.0, 0.0)]),
    )
    for value in range(3):
        job = Job([], False)
        batcher.add((float(value),), job)
        await asyncio.sleep(0)
        assert len(job.outcomes) == 1
    assert model.sizes == [1, 1, 1]
