"""What an open loop records of each request."""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np


class Exchange(NamedTuple):
    """A request and its response, as bytes. response: empty for a lost connection.

    port: the client's, by which the connection can be found.
    """

    request: bytes
    response: bytes
    port: int


class Sample(NamedTuple):
    """One request. Seconds from the start of the loop, and from due to response.

    kind: HIT or MISS; status: of the response, 0 for a lost connection.
    """

    due: float
    latency: float
    kind: int
    status: int


@dataclass
class Samples:
    """The columns of all samples, in the order of the responses.

    lateness: by how many seconds each request was sent too late by the loop itself, in
    the order of sending. unanswered: requests without a response when the loop ended.
    started: the start of the loop, by the clock of time.perf_counter, which all
    processes share.
    """

    due: np.ndarray
    latency: np.ndarray
    kind: np.ndarray
    status: np.ndarray
    lateness: np.ndarray
    exchanges: list[Exchange] = field(default_factory=list)
    unanswered: int = 0
    started: float = 0.0

    @property
    def failed(self) -> int:
        """Requests that got another status than 200, or no response."""
        return int((self.status != 200).sum()) + self.unanswered

    @property
    def lateness_p99(self) -> float:
        """In milliseconds."""
        return float(np.quantile(self.lateness, 0.99) * 1000)


class Recorder:
    """Collects samples. keeps_exchanges: also every request with its response."""

    def __init__(self, keeps_exchanges: bool) -> None:
        self._keeps_exchanges = keeps_exchanges
        self._samples: list[Sample] = []
        self._lateness: list[float] = []
        self._exchanges: list[Exchange] = []

    def __len__(self) -> int:
        """Return how many requests have ended."""
        return len(self._samples)

    def sent(self, lateness: float) -> None:
        """Record that a request was sent so many seconds after it was due."""
        self._lateness.append(lateness)

    def ended(self, sample: Sample, exchange: Exchange) -> None:
        """Record a request that got a response, or whose connection was lost."""
        self._samples.append(sample)
        if self._keeps_exchanges:
            self._exchanges.append(exchange)

    def samples(self, sent: int, started: float) -> Samples:
        """Return the columns. sent: the number of all requests."""
        due, latency, kind, status = np.array(self._samples, float).reshape(-1, 4).T
        return Samples(
            due,
            latency,
            kind.astype(int),
            status.astype(int),
            np.array(self._lateness),
            self._exchanges,
            sent - len(self._samples),
            started,
        )
