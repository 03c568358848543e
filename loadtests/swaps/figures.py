"""What a run shows: latencies, hits and answers while a model is swapped.

The seconds of a swap are those from the `mv` of a version to two seconds after the last
answer of the version before. All other seconds are quiet, but for the first ones, in
which the cache fills.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from loadtests.load.samples import Exchange
from loadtests.swaps.case import Measured
from loadtests.swaps.gauges import EVERY_SECONDS

_VERSION = re.compile(rb"(?i)\r\ngomlx-version: *(\w+)")
_HIT = re.compile(rb"(?i)\r\ncache-status: *[^\r]*; *hit")
_AFTER_SECONDS = 2.0
_FILLING_SECONDS = 3.0  # at the start
_BEFORE_SECONDS = 5.0  # whose hit ratio is compared
Bools = np.ndarray


class Swap(NamedTuple):
    """One swap, in seconds from the start of the load.

    hit_ratio: of the second after the first answer of the new version, as a share of
    that of the seconds before the version was put there. ended: the last answer of the
    old version.
    """

    moved: float
    first: float
    ended: float
    hit_ratio: float


@dataclass(frozen=True)
class Figures:
    """Of one run. Latencies in ms; worst: of one second. torn: answers that are not
    those of the version that they name; stale: of an older version than an answer
    before on their connection."""

    requests: int
    failed: int
    stale: int
    torn: int
    quiet_p99: float
    swap_p99: float
    worst_p99: float
    longest: float
    swaps: Sequence[Swap]


class Slot(NamedTuple):
    """Half a second: when it begins, latencies in ms, the share of hits."""

    at: float
    p50: float
    p99: float
    p999: float
    hit_ratio: float


class Answers:
    """The responses of a run, in the order in which they came."""

    def __init__(self, measured: Measured) -> None:
        samples = measured.samples
        names = [_named(one) for one in samples.exchanges]
        is_named = np.array([bool(name) for name in names])  # the others have failed
        self._measured = measured
        self._names = [name for name in names if name]
        self._exchanges = [one for one in samples.exchanges if _named(one)]
        self._due = samples.due[is_named]
        self._latency = samples.latency[is_named] * 1000
        self._came = self._due + samples.latency[is_named]
        order = {name: place for place, name in enumerate(dict.fromkeys(self._names))}
        self._versions = np.array([order[name] for name in self._names])
        hits = [bool(_HIT.search(one.response)) for one in self._exchanges]
        self._is_hit = np.array(hits)

    def figures(self) -> Figures:
        """Return what the run shows."""
        samples = self._measured.samples
        swaps = [self._swap(n, at) for n, at in enumerate(self._measured.moved, 1)]
        is_swap = np.zeros(len(self._due), bool)
        for swap in swaps:
            is_swap |= (self._due >= swap.moved) & (
                self._due < swap.ended + _AFTER_SECONDS
            )
        is_quiet = ~is_swap & (self._due > _FILLING_SECONDS)
        return Figures(
            len(samples.due),
            samples.failed,
            stale(self._versions, [one.port for one in self._exchanges]),
            torn(self._exchanges, self._names),
            _quantile(self._latency[is_quiet], 0.99),
            _quantile(self._latency[is_swap], 0.99),
            max(self._by_second(is_swap), default=0.0),
            float(self._latency[is_swap].max(initial=0.0)),
            swaps,
        )

    def slots(self) -> list[Slot]:
        """Return what was answered, by half seconds."""
        ends = np.arange(0, self._measured.seconds, EVERY_SECONDS)
        return [slot for at in ends if (slot := self._slot(float(at)))]

    def _slot(self, at: float) -> Slot | None:
        chosen = (self._due >= at) & (self._due < at + EVERY_SECONDS)
        if not chosen.any():
            return None
        latency = self._latency[chosen]
        return Slot(
            at,
            _quantile(latency, 0.5),
            _quantile(latency, 0.99),
            _quantile(latency, 0.999),
            self._hits(chosen),
        )

    def _swap(self, number: int, moved_at: float) -> Swap:
        moved = moved_at - self._measured.samples.started
        is_new = self._versions >= number
        first = float(self._came[is_new].min(initial=np.inf))
        ended = float(self._came[self._versions < number].max(initial=0.0))
        before = self._hits((self._due > moved - _BEFORE_SECONDS) & (self._due < moved))
        after = self._hits(is_new & (self._due < first + 1))
        return Swap(moved, first, ended, after / before if before else 0.0)

    def _hits(self, chosen: Bools) -> float:
        return float(self._is_hit[chosen].mean()) if chosen.any() else 0.0

    def _by_second(self, chosen: Bools) -> list[float]:
        """Return the p99 of each second that has chosen requests."""
        seconds = self._due.astype(int)
        return [
            _quantile(self._latency[chosen & (seconds == second)], 0.99)
            for second in np.unique(seconds[chosen])
        ]


def stale(versions: Sequence[int] | np.ndarray, ports: Sequence[int]) -> int:
    """Count answers of older versions than one before on the same connection."""
    newest: dict[int, int] = {}
    found = 0
    for version, port in zip(versions, ports, strict=True):
        found += version < newest.get(port, version)
        newest[port] = max(newest.get(port, version), version)
    return found


def torn(exchanges: Sequence[Exchange], names: Sequence[bytes]) -> int:
    """Count answers that are not those of the version which they name.

    They differ from another answer of the same version to the same row, or they equal
    an answer of another version.
    """
    answers: dict[bytes, dict[bytes, Mapping[str, Any]]] = {}
    found = 0
    for exchange, name in zip(exchanges, names, strict=True):
        _, _, body = exchange.response.partition(b"\r\n\r\n")
        outputs = json.loads(body)["data"]
        by_version = answers.setdefault(exchange.request, {})
        expected = by_version.setdefault(name, outputs)
        others = [other for known, other in by_version.items() if known != name]
        found += not _are_alike(expected, outputs) or outputs in others
    return found


def _are_alike(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Tell whether outputs differ by no more than the order of a sum explains."""
    return one == other or all(
        np.allclose(one[name], other[name], rtol=1e-5) for name in one
    )


def _named(exchange: Exchange) -> bytes:
    found = _VERSION.search(exchange.response)
    return found[1] if found else b""


def _quantile(values: np.ndarray, share: float) -> float:
    return float(np.quantile(values, share)) if len(values) else 0.0
