"""A row that is computed once for all requests that wait for it."""

from gomlx.cache.tier import Hit
from gomlx.errors import GomlxError
from gomlx.models.batching.run import RowResult
from gomlx.server.predict.policy import CachePolicy
from gomlx.server.predict.request import PendingRequest


class Flight:
    """The flight of one key, and the batcher's job for its row.

    waiting: the requests that have joined, each with the place of its row; others may
    join until the outcome.
    """

    __slots__ = ("_flights", "_key", "_live", "_policy", "waiting")

    def __init__(
        self,
        flights: "Flights",
        key: bytes,
        policy: CachePolicy,
        pending: PendingRequest,
        place: int,
    ) -> None:
        """Begin the flight of a key that has none; `complete` has to end it."""
        self.waiting = [(pending, place)]
        self._flights = flights
        self._key = key
        self._live = pending.live
        self._policy = policy
        flights[key] = self

    def is_awaited(self, now: float) -> bool:
        """Return whether the deadline of any request has not passed."""
        # PERF: any() over a generator takes four times as long
        # (loadtests/parts/misses.py).
        for pending, _ in self.waiting:
            if pending.deadline > now:
                return True
        return False

    def complete(self, outcome: RowResult | Hit) -> None:
        """Have a computed answer cached; hand the outcome to all who joined, in order.

        Whoever joins again at once begins a new flight.
        """
        policy = self._policy
        try:
            if isinstance(outcome, bytes):
                assert policy.cache is not None
                policy.cache.set(self._live.namespace, self._key, outcome)
            elif policy.coalescer and isinstance(outcome, GomlxError):
                policy.coalescer.release(self._key)
        finally:  # the requests get the outcome even if caching fails
            del self._flights[self._key]
            for pending, place in self.waiting:
                pending.complete(place, outcome)


# The flights of one process, by key. For one thread: the event loop's.
Flights = dict[bytes, Flight]
