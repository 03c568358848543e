"""A request of one row takes a short way; it ends as it does on the general one.

The same things happen to requests of one row where rows are only in this host's memory,
where they may be in a shared tier that cannot be reached, and as batches of one row.
"""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gomlx.contract.tensor import Row
from gomlx.errors import RunFailed
from gomlx.models.batching.batcher import Batcher
from gomlx.models.batching.cost import Timing
from gomlx.models.batching.queue import BatchLimits
from gomlx.models.batching.run import RunMetrics
from gomlx.models.serving.current import Current
from gomlx.server.predict.policy import CachePolicy
from gomlx.server.predict.predictor import Predictor, RowLimits
from tests.models.batching.test_batcher import FixedCost
from tests.server.conftest import Counts
from tests.server.predict.fakes import FakeCache, FakeRequester, live_version

BAD = 13
MALFORMED = -1


class Unreachable(FakeCache):
    """A datastore with a shared tier that fails."""

    def can_fetch(self, rows: int) -> bool:
        return False


class Loop(asyncio.SelectorEventLoop):
    """An event loop whose clock a test moves on."""

    skipped = 0.0

    def time(self) -> float:
        return super().time() + self.skipped


class Turns:
    """The ends of turns, when a test says so."""

    def __init__(self) -> None:
        self.brought = 0
        self._callbacks: list[Callable[[], None]] = []

    def call_at_end(self, callback: Callable[[], None]) -> None:
        self._callbacks.append(callback)

    def end(self) -> None:
        """End this turn, and others that bring nothing, until nothing waits."""
        while self._callbacks:
            callbacks = self._callbacks
            self._callbacks = []
            for callback in callbacks:
                callback()
            self.brought = 0


@dataclass
class Arrival:
    """A request for one row, or for none that can be read. is_late: from the start."""

    x: int
    is_late: bool


@dataclass
class Arrivals:
    """Requests that one turn of the event loop brings together."""

    requests: list[Arrival]

    async def happen(self, way: "Way") -> None:
        new = [way.requester(one) for one in self.requests]
        way.requesters += new
        way.turns.brought = len(new)
        way.predictor.predict("m", new)


@dataclass
class EndOfTurn:
    async def happen(self, way: "Way") -> None:
        way.turns.end()


@dataclass
class Departure:
    """The client of an earlier request disconnects, if it waits."""

    which: int

    async def happen(self, way: "Way") -> None:
        waiting = [one.pending for one in way.requesters if one.pending]
        if waiting:
            way.predictor.abandon(waiting[self.which % len(waiting)])


@dataclass
class Sweep:
    """Late requests are looked for."""

    async def happen(self, way: "Way") -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, Loop)
        loop.skipped += 0.03
        for _ in range(2):
            await asyncio.sleep(0)


class Way:
    """The request path of a worker; the model refuses what is bad."""

    def __init__(self, cache: FakeCache, are_batches: bool) -> None:
        self.turns = Turns()
        self.requesters: list[FakeRequester] = []
        self.counts = Counts()
        self.runs: list[list[Any]] = []
        self._cache = cache
        self._are_batches = are_batches
        metrics = RunMetrics(
            self.counts.counter("runs"),
            self.counts.counter("failures"),
            self.counts.histogram("seconds"),
            self.counts.histogram("gomlx_batch_rows"),
            self.counts.counter("overlapping"),
        )
        limits = BatchLimits(2, 0, 3)
        cost = FixedCost(2, [Timing(0.0, 0.0)])
        self._batcher = Batcher("m", self._run, limits, metrics, cost, self.turns)
        self._live = live_version(self._batcher)
        current = Current(["m"])
        current.swap({"m": self._live}, lambda _: None)
        policy: Any = CachePolicy(cache)  # type: ignore[arg-type]
        limit = {"m": RowLimits(10, 10)}
        self.predictor = Predictor(current, {"m": policy}, limit, self.counts)

    def requester(self, arrival: Arrival) -> FakeRequester:
        text = b'{"city":"rome","x":%d}' % arrival.x
        if self._are_batches:
            text = b'{"batch_size":1,"city":["rome"],"x":[%d]}' % arrival.x
        if arrival.x == MALFORMED:
            text = b"{"
        return FakeRequester(text, timeout_seconds=0.0 if arrival.is_late else 30.0)

    def state(self) -> dict[str, Any]:
        """Return all that can be seen of what has happened."""
        counters = self.counts.counts.items()
        histograms = self.counts.histograms.items()
        return {
            "replies": [self._replies(one) for one in self.requesters],
            "waiting": [
                bool(one.pending and one.pending.deadline) for one in self.requesters
            ],
            "runs": self.runs,
            "cached": self._cache.answers,
            "looked up": self._cache.lookups,
            "pins": self._live.pins,
            "queued": len(self._batcher),
            "counters": {key: counter.n for key, counter in counters if counter.n},
            "measured": {key: one.sums.n for key, one in histograms},
        }

    def close(self) -> None:
        self._batcher.close()

    def _run(self, rows: Sequence[Row]) -> list[bytes]:
        xs: list[Any] = [x for _, x in rows]
        self.runs.append(xs)
        if BAD in xs:
            raise RunFailed("thirteen")
        return [b'{"y":%.1f}' % (2 * x) for x in xs]

    def _replies(self, requester: FakeRequester) -> list[Any]:
        return [
            (
                reply.status,
                self._body(reply.body),
                reply.cache_status.partition("; detail")[0],
                reply.version,
                reply.retry_after,
            )
            for reply in requester.replies
        ]

    def _body(self, body: bytes) -> Any:
        found = json.loads(body)
        found.pop("serviceTimeMcs", None)
        if self._are_batches and "data" in found:
            (found["data"],) = found["data"]
        if "error" in found:
            found["error"] = found["error"].removeprefix("row 0: ")
        return found


ARRIVAL = st.builds(
    Arrival,
    st.integers(0, 3) | st.sampled_from([BAD, MALFORMED]),
    st.sampled_from([False, False, True]),
)
EVENTS = st.lists(
    st.builds(Arrivals, st.lists(ARRIVAL, min_size=1, max_size=5))
    | st.builds(EndOfTurn)
    | st.builds(Departure, st.integers(0, 5))
    | st.builds(Sweep),
    max_size=12,
)


async def happens(events: Sequence[Any]) -> list[str]:
    """Have the same happen on each way; return how requests ended on the short one."""
    short = Way(FakeCache(), False)
    others = [Way(Unreachable(remotes=["L2"]), False), Way(FakeCache(), True)]
    for event in [*events, EndOfTurn(), Sweep()]:
        await event.happen(short)
        for way in others:
            await event.happen(way)
            assert way.state() == short.state(), event
    for way in (short, *others):
        assert way.state()["pins"] == way.state()["queued"] == 0
        way.close()
    return [
        f"{status} {cache_status}".strip()
        for one in short.state()["replies"]
        for status, _, cache_status, _, _ in one
    ]


def run(events: Sequence[Any]) -> list[str]:
    with asyncio.Runner(loop_factory=Loop) as runner:
        return runner.run(happens(events))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(EVENTS)
def test_whatever_happens(events: Sequence[Any]) -> None:
    run(events)


def arrivals(*xs: int, is_late: bool = False) -> Arrivals:
    return Arrivals([Arrival(x, is_late) for x in xs])


STORED = "200 gomlx; fwd=miss; stored"
COLLAPSED = "200 gomlx; fwd=miss; collapsed"
HIT = "200 gomlx; hit"
ENDINGS: dict[str, tuple[list[Any], list[str]]] = {
    "computed, joined, refused, then found": (
        [arrivals(1, 1, BAD, 2, 3, 3, MALFORMED), EndOfTurn(), arrivals(1, BAD, 3)],
        [STORED, COLLAPSED, "500", STORED, "429", "429", "400", HIT, "500", STORED],
    ),
    "late in the queue": (
        [arrivals(1, is_late=True), arrivals(2), EndOfTurn(), arrivals(1)],
        ["504", STORED, STORED],
    ),
    "late, and found so": (
        [arrivals(1, is_late=True), Sweep(), EndOfTurn()],
        ["504"],
    ),
    "late, but joined by one that is not": (
        [arrivals(1, is_late=True), arrivals(1), EndOfTurn()],
        [STORED, COLLAPSED],
    ),
    "the first client leaves, another stays": (
        [arrivals(1), arrivals(1), Departure(0), EndOfTurn()],
        [COLLAPSED],
    ),
    "all clients leave": (
        [arrivals(1), Departure(0), EndOfTurn(), arrivals(1)],
        [STORED],
    ),
    "rows that nobody waits for keep no others out": (
        [arrivals(0, 1, 2), Departure(1), arrivals(3), EndOfTurn()],
        [STORED, STORED, STORED],
    ),
}


@pytest.mark.parametrize("what", ENDINGS)
def test_an_ending(what: str) -> None:
    events, endings = ENDINGS[what]
    assert run(events) == endings
