"""The latency of calls by tier: in bounded memory, and as a plot of text."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from rich.table import Table
from rich.text import Text

_RATIO = math.log(1.02)  # neighbouring buckets are 2 % apart
_STEPS = (1, 2, 5)
_WIDTH = 40
_FILLS = "█▓▒░▚▞"
_COLOURS = ("green", "cyan", "yellow", "red", "magenta", "blue")


class Latency:
    """A histogram of seconds, each kept to within 2 %; the greatest is kept exactly."""

    def __init__(self) -> None:
        self._buckets: Counter[int] = Counter()
        self.most = 0.0
        self.count = 0

    def add(self, seconds: float) -> None:
        """Count a call."""
        self._buckets[round(math.log(max(seconds, 1e-9)) / _RATIO)] += 1
        self.count += 1
        self.most = max(self.most, seconds)

    def quantile(self, share: float) -> float:
        """Return the seconds within which this share of the calls were done."""
        remaining = share * self.count
        for bucket in sorted(self._buckets):
            remaining -= self._buckets[bucket]
            if remaining <= 1e-9:
                return min(math.exp(bucket * _RATIO), self.most)
        return self.most

    def between(self, low: float, high: float) -> int:
        """Return the number of calls from low to below high seconds, to within 2 %."""
        return sum(
            n for b, n in self._buckets.items() if low <= math.exp(b * _RATIO) < high
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the figures for JSON, in seconds."""
        return {
            "calls": self.count,
            "p50": self.quantile(0.5),
            "p99": self.quantile(0.99),
            "max": self.most,
        }


@dataclass(frozen=True)
class Band:
    """A range of seconds, and the number of calls of each tier within it."""

    low: float
    high: float
    counts: list[int]

    @property
    def total(self) -> int:
        """The number of calls of all tiers."""
        return sum(self.counts)


def plot(tiers: dict[str, Latency]) -> Table:
    """Return a bar for each range of seconds: the calls of each tier within it, and the
    share of all calls that were no slower."""
    table = Table("latency", "", "calls", "no slower", box=None, padding=(0, 1))
    for column in (0, 2, 3):
        table.columns[column].justify = "right"
    bands = _bands(tiers)
    calls = sum(band.total for band in bands)
    longest = max((band.total for band in bands), default=0)
    done = 0
    for band in bands:
        done += band.total
        name = f"{duration(band.low)} to {duration(band.high)}"
        bar = _bar(band.counts, longest)
        table.add_row(name, bar, f"{band.total:,}", f"{done / calls:.1%}")
    return table


def legend(tiers: Sequence[str]) -> Text:
    """Return the fill of each tier in a plot."""
    text = Text()
    for tier, fill, colour in zip(tiers, _FILLS, _COLOURS, strict=False):
        text.append(fill * 2, colour).append(f" {tier}   ")
    return text


def duration(seconds: float) -> str:
    """Return a time in s, ms or us, with three digits."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= scale * 0.9995:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds * 1e6:.3g} us"


def _bands(tiers: dict[str, Latency]) -> list[Band]:
    """Return the ranges 1, 2, 5, 10, … from the first with a call to the last."""
    edges = [step * 10.0**exponent for exponent in range(-9, 5) for step in _STEPS]
    bands = [
        Band(low, high, [latency.between(low, high) for latency in tiers.values()])
        for low, high in pairwise(edges)
    ]
    filled = [i for i, band in enumerate(bands) if band.total]
    return bands[filled[0] : filled[-1] + 1] if filled else []


def _bar(counts: Sequence[int], longest: int) -> Text:
    """Return a bar of a part for each tier; a tier with a call has a mark at least."""
    text = Text()
    done = 0
    drawn = 0
    for count, fill, colour in zip(counts, _FILLS, _COLOURS, strict=False):
        done += count
        end = max(round(done / longest * _WIDTH), drawn + (count > 0))
        text.append(fill * (end - drawn), colour)
        drawn = end
    return text
