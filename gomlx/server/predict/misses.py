"""Rows that are not known here: computed, once for all who ask meanwhile.

    run    without a cache: each row runs for the request that asked
    fly    singleflight → further tiers, if any → batcher → servable → write-behind

A row is dropped, wherever it waits, when nobody wants it any more: the deadlines of all
who asked have passed, their clients have left, or another row of theirs has failed.
"""

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from time import perf_counter
from typing import NamedTuple

from gomlx.cache.coalesce import Coalescer
from gomlx.cache.singleflight import SingleFlight, Waiting
from gomlx.cache.tier import Hit
from gomlx.cache.tiered import Tiered
from gomlx.contract.tensor import Row
from gomlx.errors import DeadlineExceeded, GomlxError, Overloaded
from gomlx.models.serving.current import LiveVersion
from gomlx.models.serving.run import RowResult
from gomlx.server.predict.deadlines import Deadlines
from gomlx.server.predict.parse import ParsedRequest
from gomlx.server.predict.request import PendingRequest

_Flights = SingleFlight[bytes, RowResult | Hit]


class CachePolicy(NamedTuple):
    """How one model's answers are kept: in cache; if None, why they are not.

    coalescer: with whom to agree on who computes a row; None: this process alone.
    """

    cache: Tiered | None
    coalescer: Coalescer | None = None
    bypass_reason: str = "no-datastore"

    @property
    def is_local(self) -> bool:
        """True when rows are never looked for elsewhere."""
        return self.coalescer is None and not (self.cache and self.cache.remotes)

    def asks_further(self, rows: int) -> bool:
        """Tell whether to look for rows elsewhere before they are computed."""
        cache, coalescer, _ = self
        return coalescer is not None or (cache is not None and cache.asks_further(rows))


class Misses:
    """The rows under way in one worker. For one thread: the event loop's.

    max_rows: of each model, that wait in its queue, and that are looked for elsewhere.
    """

    def __init__(self, max_rows: Mapping[str, int]) -> None:
        self._max_rows = max_rows
        self._elsewhere = dict.fromkeys(max_rows, 0)
        self._flights: _Flights = SingleFlight()
        self._deadlines = Deadlines()

    def __len__(self) -> int:
        return len(self._deadlines)

    def run(self, pending: PendingRequest, rows: Sequence[Row]) -> None:
        """Have rows run for this request alone. Raises Overloaded."""
        batcher = pending.live.batcher
        batcher.check_room(len(rows), pending.seconds)
        self._deadlines.add(pending)
        for i, row in enumerate(rows):
            batcher.add(row, _Alone(pending, i))

    def fly(
        self, pending: PendingRequest, caching: CachePolicy, asked: ParsedRequest
    ) -> None:
        """Join each missing row's flight, and start those that nobody flies yet.

        Raises Overloaded, and then has done nothing.
        """
        live, flights, (rows, keys, _) = pending.live, self._flights, asked
        batcher, places = live.batcher, pending.places()
        new = {keys[i]: rows[i] for i in places if keys[i] not in flights}
        asks_further = caching.asks_further(len(new))
        if asks_further:
            self._check_elsewhere(pending.name, len(new))
        else:
            batcher.check_room(len(new), pending.seconds)
        self._deadlines.add(pending)
        for i in places:
            waiting = flights.join(keys[i], pending, i)
            if waiting is None:
                pending.collapsed += 1
            elif not asks_further:
                job = _Computation(flights, live, caching, keys[i], waiting)
                batcher.add(rows[i], job)
        if asks_further and new:
            self._fetch(pending, caching, new)

    def fly_one(
        self, pending: PendingRequest, caching: CachePolicy, row: Row, key: bytes
    ) -> None:
        """What `fly` does, for the one row of most requests, if it is nowhere else."""
        flights, live = self._flights, pending.live
        if key not in flights:
            live.batcher.check_room(1, pending.seconds)
        waiting = flights.join(key, pending, 0)
        if waiting is None:
            pending.collapsed = 1
        else:
            job = _Computation(flights, live, caching, key, waiting)
            live.batcher.add(row, job)
        self._deadlines.add(pending)

    def end(self, pending: PendingRequest) -> None:
        """A request waits no longer."""
        self._deadlines.discard(pending)
        if pending.missing:
            pending.live.batcher.note_abandoned()

    def _check_elsewhere(self, name: str, rows: int) -> None:
        if (waiting := self._elsewhere[name]) + rows > self._max_rows[name]:
            raise Overloaded(name, waiting)

    def _fetch(
        self, pending: PendingRequest, caching: CachePolicy, rows: Mapping[bytes, Row]
    ) -> None:
        """Look for rows elsewhere, no longer than the request waits."""
        cache, coalescer, _ = caching
        assert cache is not None
        left = pending.deadline - perf_counter()
        seconds = min(coalescer.seconds, left) if coalescer else 0.0
        until = asyncio.get_running_loop().time() + seconds
        self._elsewhere[pending.name] += len(rows)
        fetched = partial(self._fetched, pending.live, caching, _Fetch(rows))
        cache.fetch(pending.live.namespace, rows, coalescer, until, fetched)

    def _fetched(
        self,
        live: LiveVersion,
        caching: CachePolicy,
        fetch: "_Fetch",
        key: bytes,
        found: Hit | None,
    ) -> None:
        """Take what was found elsewhere, or compute."""
        name = live.servable.version.name
        self._elsewhere[name] -= 1
        fetch.left -= 1
        if found:
            self._flights.complete(key, found)
            return
        waiting = self._flights[key]
        job = _Computation(self._flights, live, caching, key, waiting)
        try:
            if not job.is_awaited(perf_counter()):
                raise DeadlineExceeded.of(name)
            if not fetch.is_admitted:
                live.batcher.check_room(fetch.left + 1)
                fetch.is_admitted = True
        except GomlxError as error:
            job.complete(error)
        else:
            live.batcher.add(fetch.rows[key], job)


class _Fetch:
    """The rows of a request that are looked for elsewhere.

    Those to compute are admitted together, as they are without a shared tier: one by
    one they would keep each other out of an idle service.
    """

    def __init__(self, rows: Mapping[bytes, Row]) -> None:
        self.rows, self.left, self.is_admitted = rows, len(rows), False


class _Alone:
    """A row that runs for one request: a job of the batcher."""

    __slots__ = ("_place", "_prediction")

    def __init__(self, pending: PendingRequest, place: int) -> None:
        self._prediction, self._place = pending, place

    def is_awaited(self, now: float) -> bool:
        return self._prediction.deadline > now

    def complete(self, outcome: RowResult) -> None:
        self._prediction.complete(self._place, outcome)


class _Computation:
    """A row that runs for all who joined its flight: a job of the batcher."""

    __slots__ = ("_caching", "_flights", "_key", "_live", "_waiting")

    def __init__(
        self,
        flights: _Flights,
        live: LiveVersion,
        caching: CachePolicy,
        key: bytes,
        waiting: Waiting[RowResult | Hit],
    ) -> None:
        self._flights, self._live = flights, live
        self._caching, self._key = caching, key
        self._waiting = waiting

    def is_awaited(self, now: float) -> bool:
        # PERF: any() over a generator takes four times as long (loadtests/misses.py).
        for waiter, _ in self._waiting:
            if waiter.deadline > now:
                return True
        return False

    def complete(self, outcome: RowResult) -> None:
        caching = self._caching
        try:
            if isinstance(outcome, bytes):
                assert caching.cache is not None
                caching.cache.set(self._live.namespace, self._key, outcome)
            elif caching.coalescer:
                caching.coalescer.release(self._key)
        finally:  # who waits must be told, whatever becomes of the caches
            self._flights.complete(self._key, outcome)
