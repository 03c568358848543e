"""A row that is computed once for all requests that wait for it."""

from gomlx.cache.singleflight import SingleFlight, Waiting
from gomlx.cache.tier import Hit
from gomlx.models.batching.run import RowResult
from gomlx.models.serving.current import LiveVersion
from gomlx.server.predict.policy import CachePolicy

Flights = SingleFlight[bytes, RowResult | Hit]


class FlightJob:
    """The batcher's job for one flight: its outcome goes to the cache and to all."""

    __slots__ = ("_flights", "_key", "_live", "_policy", "_waiting")

    def __init__(
        self,
        flights: Flights,
        live: LiveVersion,
        policy: CachePolicy,
        key: bytes,
        waiting: Waiting[RowResult | Hit],
    ) -> None:
        """waiting: who has joined the flight. It grows."""
        self._flights = flights
        self._live = live
        self._policy = policy
        self._key = key
        self._waiting = waiting

    def is_awaited(self, now: float) -> bool:
        """Return whether the deadline of any request has not passed."""
        # PERF: any() over a generator takes four times as long
        # (loadtests/parts/misses.py).
        for waiter, _ in self._waiting:
            if waiter.deadline > now:
                return True
        return False

    def complete(self, outcome: RowResult) -> None:
        """Have an answer cached, and end the flight."""
        policy = self._policy
        try:
            if isinstance(outcome, bytes):
                assert policy.cache is not None
                policy.cache.set(self._live.namespace, self._key, outcome)
            elif policy.coalescer:
                policy.coalescer.release(self._key)
        finally:  # the requests get the outcome even if caching fails
            self._flights.complete(self._key, outcome)
