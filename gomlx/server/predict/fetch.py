"""Rows that are looked up outside this process before they are computed.

In the shared tiers, and at those who compute them already (cache/coalesce.py).
"""

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from time import perf_counter

from gomlx.cache.tier import Hit
from gomlx.contract.tensor import Row
from gomlx.errors import DeadlineExceeded, GomlxError, Overloaded
from gomlx.models.serving.current import LiveVersion
from gomlx.server.predict.flight import Flights
from gomlx.server.predict.policy import CachePolicy
from gomlx.server.predict.request import PendingRequest


class FetchedRows:
    """Counts the rows of each model that are being fetched: max_rows limits them."""

    def __init__(self, max_rows: Mapping[str, int]) -> None:
        self._max_rows = max_rows
        self._rows: dict[str, int] = defaultdict(int)

    def check_room(self, name: str, rows: int) -> None:
        """Raise Overloaded unless that many more rows may be fetched."""
        fetched = self._rows[name]
        if fetched + rows > self._max_rows[name]:
            raise Overloaded(name, fetched)

    def add(self, name: str, rows: int) -> None:
        """Count rows that begin to be fetched; negative: that have ended."""
        self._rows[name] += rows


class Fetch:
    """Fetches the rows that flights of one request need, and has the others computed.

    Those to compute are admitted to the batcher together, as they are without a shared
    tier: one by one they would keep each other out of an idle service.
    """

    def __init__(
        self,
        flights: Flights,
        fetched: FetchedRows,
        live: LiveVersion,
        policy: CachePolicy,
        rows: Mapping[bytes, Row],
    ) -> None:
        self._flights = flights
        self._fetched = fetched
        self._live = live
        self._policy = policy
        self._rows = rows
        self._remaining = len(rows)
        self._is_admitted = False

    @property
    def name(self) -> str:
        """The model's."""
        return self._live.servable.version.name

    def start(self, pending: PendingRequest) -> None:
        """Begin, and end before the request's deadline."""
        cache = self._policy.cache
        coalescer = self._policy.coalescer
        assert cache is not None
        self._fetched.add(self.name, self._remaining)
        wait_seconds = 0.0
        if coalescer:
            remaining_seconds = pending.deadline - perf_counter()
            wait_seconds = min(coalescer.lease_seconds, remaining_seconds)
        deadline = asyncio.get_running_loop().time() + wait_seconds
        namespace = self._live.namespace.for_rows(self._rows.values())
        cache.fetch(namespace, self._rows, coalescer, deadline, self.complete)

    def complete(self, key: bytes, hit: Hit | None) -> None:
        """End the flight of a row with a hit, or have the row computed.

        Called once for each row.
        """
        self._fetched.add(self.name, -1)
        self._remaining -= 1
        if hit:
            self._flights[key].complete(hit)
        else:
            self._compute(key)

    def _compute(self, key: bytes) -> None:
        flight = self._flights[key]
        try:
            if not flight.is_awaited(perf_counter()):
                raise DeadlineExceeded.of(self.name)
            self._admit()
        except GomlxError as error:
            flight.complete(error)
        else:
            self._live.batcher.add(self._rows[key], flight)

    def _admit(self) -> None:
        """Raise Overloaded unless the batcher has room for this row and the others."""
        if not self._is_admitted:
            self._live.batcher.check_room(self._remaining + 1)
            self._is_admitted = True
