"""Latencies as an HdrHistogram: three digits of each, mergeable, small when written."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from hdrh.histogram import HdrHistogram

_MOST_MICROSECONDS = 3_600_000_000
_DIGITS = 3


@dataclass(frozen=True)
class Latency:
    """Milliseconds. encoded: the histogram in HdrHistogram's own format, V2, in us."""

    count: int
    p50: float
    p90: float
    p99: float
    p999: float
    most: float
    encoded: str


def latency(seconds: "np.ndarray[Any, Any]") -> Latency:
    """Return the histogram of latencies, given in seconds."""
    histogram = HdrHistogram(1, _MOST_MICROSECONDS, _DIGITS)
    whole = np.maximum(seconds * 1e6, 1).astype(int)
    for value, count in zip(*np.unique(whole, return_counts=True), strict=True):
        histogram.record_value(int(value), int(count))

    def at(percent: float) -> float:
        if not len(seconds):
            return 0.0
        return float(histogram.get_value_at_percentile(percent)) / 1000

    encoded = histogram.encode().decode()
    return Latency(
        len(seconds), at(50), at(90), at(99), at(99.9), at(100), encoded=encoded
    )
