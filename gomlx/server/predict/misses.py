"""Rows that are not in this host's cache: each is computed once for all requests.

    run_uncached          without a cache: a run of its own for each request's rows
    join_flights          single-flight → shared tiers, if any (fetch.py) → batcher
                          → servable → write-behind

A row is dropped, wherever it waits, once no request waits for it: their deadlines have
passed, their clients have disconnected, or another row of theirs has failed.
"""

from collections.abc import Mapping

from gomlx.errors import GomlxError
from gomlx.models.batching.run import RowResult
from gomlx.models.serving.current import LiveVersion
from gomlx.server.predict.deadlines import Deadlines
from gomlx.server.predict.fetch import Fetch, FetchedRows
from gomlx.server.predict.flight import Flight, Flights
from gomlx.server.predict.policy import CachePolicy
from gomlx.server.predict.request import PendingRequest


class Misses:
    """The rows under way in one worker. For one thread: the event loop's.

    max_rows limits, for each model, the rows that are fetched at a time.
    """

    def __init__(self, max_rows: Mapping[str, int]) -> None:
        self._flights: Flights = {}
        self._fetched = FetchedRows(max_rows)
        self._deadlines = Deadlines()

    def run_uncached(self, pending: PendingRequest) -> None:
        """Have all rows run for this request alone.

        Raises Overloaded, and then has changed nothing; so do the others.
        """
        rows = pending.parsed.rows
        batcher = pending.live.batcher
        batcher.check_room(len(rows), pending.timeout_seconds)
        self._deadlines.add(pending)
        for place, row in enumerate(rows):
            batcher.add(row, _UncachedJob(pending, place))

    def join_flights(self, pending: PendingRequest, policy: CachePolicy) -> None:
        """Join the flight of each missing row; start those that are not under way."""
        live = pending.live
        flights = self._flights
        rows = pending.parsed.rows
        keys = pending.parsed.keys
        places = pending.places()
        new = {keys[i]: rows[i] for i in places if keys[i] not in flights}
        is_fetched = policy.can_fetch(len(new))
        if is_fetched:
            self._fetched.check_room(pending.name, len(new))
        else:
            live.batcher.check_room(len(new), pending.timeout_seconds)
        self._deadlines.add(pending)
        for i in places:
            flight = flights.get(keys[i])
            if flight is not None:
                flight.waiting.append((pending, i))
                pending.collapsed += 1
                continue
            flight = Flight(flights, keys[i], policy, pending, i)
            if not is_fetched:
                live.batcher.add(rows[i], flight)
        if is_fetched and new:
            Fetch(flights, self._fetched, live, policy, new).start(pending)

    def shortage(
        self, live: LiveVersion, key: bytes, seconds: float
    ) -> GomlxError | None:
        """Return the error if there is no room for a row that is not under way.

        Ask before `join_flight`. PERF: nothing is made for a request that is refused,
        as most are in an overload.
        """
        if key in self._flights:
            return None
        return live.batcher.shortage(1, seconds)

    def join_flight(self, pending: PendingRequest, policy: CachePolicy) -> None:
        """What `join_flights` does, for a single row for which there is room.

        It is never fetched. PERF: as nearly all rows that miss.
        """
        flights = self._flights
        (key,) = pending.parsed.keys
        flight = flights.get(key)
        if flight is not None:
            flight.waiting.append((pending, 0))
            pending.collapsed = 1
        else:
            flight = Flight(flights, key, policy, pending, 0)
            pending.live.batcher.add(pending.parsed.rows[0], flight)
        self._deadlines.add(pending)

    def end(self, pending: PendingRequest) -> None:
        """Watch the deadline of a request no longer, and drop its rows."""
        self._deadlines.discard(pending)
        if pending.missing:
            pending.live.batcher.note_abandoned()


class _UncachedJob:
    """The batcher's job for a row that runs for one request."""

    __slots__ = ("_pending", "_place")

    def __init__(self, pending: PendingRequest, place: int) -> None:
        self._pending = pending
        self._place = place

    def is_awaited(self, now: float) -> bool:
        return self._pending.deadline > now

    def complete(self, outcome: RowResult) -> None:
        self._pending.complete(self._place, outcome)
