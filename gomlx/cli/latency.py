"""How long calls took, by tier: in bounded memory, and as text to look at."""

import math
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from rich.table import Table
from rich.text import Text

_RATIO = math.log(1.02)  # two buckets are 2 % apart
_STEPS = (1, 2, 5)
_WIDTH = 40
_FILLS = "█▓▒░▚▞"
_COLOURS = ("green", "cyan", "yellow", "red", "magenta", "blue")


class Latency:
    """Seconds, each known to 2 %; the greatest exactly."""

    def __init__(self) -> None:
        self._buckets: Counter[int] = Counter()
        self.most, self.count = 0.0, 0

    def add(self, seconds: float) -> None:
        self._buckets[round(math.log(max(seconds, 1e-9)) / _RATIO)] += 1
        self.count += 1
        self.most = max(self.most, seconds)

    def quantile(self, share: float) -> float:
        """Return what so large a share of all took at most."""
        left = share * self.count
        for bucket in sorted(self._buckets):
            left -= self._buckets[bucket]
            if left <= 1e-9:
                return min(math.exp(bucket * _RATIO), self.most)
        return self.most

    def between(self, low: float, high: float) -> int:
        """Return how many took from low to below high, to 2 %."""
        return sum(
            n for b, n in self._buckets.items() if low <= math.exp(b * _RATIO) < high
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the figures, in seconds."""
        named = {"p50": 0.5, "p99": 0.99}
        told = {name: self.quantile(share) for name, share in named.items()}
        return {"calls": self.count, **told, "max": self.most}


def plot(tiers: dict[str, Latency]) -> Table:
    """Return bars: how many calls took how long, which tier they are from; and the
    share of all that were no slower."""
    table = Table("took", "", "calls", "no slower", box=None, padding=(0, 1))
    for column in (0, 2, 3):
        table.columns[column].justify = "right"
    bands = [
        (low, high, [latency.between(low, high) for latency in tiers.values()])
        for low, high in _bands(tiers)
    ]
    total = sum(sum(counts) for _, _, counts in bands)
    most = max((sum(counts) for _, _, counts in bands), default=0)
    done = 0
    for low, high, counts in bands:
        done += sum(counts)
        name = f"{duration(low)} to {duration(high)}"
        table.add_row(
            name, _bar(counts, most), f"{sum(counts):,}", f"{done / total:.1%}"
        )
    return table


def legend(tiers: Sequence[str]) -> Text:
    """Return which fill stands for which tier."""
    text = Text()
    for tier, fill, colour in zip(tiers, _FILLS, _COLOURS, strict=False):
        text.append(fill * 2, colour).append(f" {tier}   ")
    return text


def duration(seconds: float) -> str:
    """Return seconds in the unit that suits them."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= scale * 0.9995:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds * 1e6:.3g} us"


def _bands(tiers: dict[str, Latency]) -> list[tuple[float, float]]:
    """Return the steps of 1, 2, 5, 10, … that hold any call, and those between."""
    edges = [step * 10.0**e for e in range(-9, 5) for step in _STEPS]
    bands = list(pairwise(edges))
    held = [
        i
        for i, (low, high) in enumerate(bands)
        if any(latency.between(low, high) for latency in tiers.values())
    ]
    return bands[held[0] : held[-1] + 1] if held else []


def _bar(counts: Sequence[int], most: int) -> Text:
    """Return a bar whose parts add up to its length; what is there has a mark."""
    text, done, drawn = Text(), 0, 0
    for count, fill, colour in zip(counts, _FILLS, _COLOURS, strict=False):
        done += count
        end = max(round(done / most * _WIDTH), drawn + (count > 0))
        text.append(fill * (end - drawn), colour)
        drawn = end
    return text
