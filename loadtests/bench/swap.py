"""A model is replaced under load: what fails, what is stale, what is late?

Recurring and new rows, at a rate that leaves room. Every response names its version.
"""

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, sleep
from typing import Any, NamedTuple

import numpy as np

from loadtests.bench.measure import Meter, Rig
from loadtests.load import openloop
from loadtests.load.openloop import Phase
from loadtests.load.samples import Samples
from loadtests.load.services import System
from loadtests.load.traffic import Traffic

_RATE = 500.0
_BEFORE_SECONDS = 4.0  # until the new version is put there
_SWAP_SECONDS = 60.0  # until the new version has to answer
_AFTER_SECONDS = 3.0  # of load on the new version
_VERSION = re.compile(rb"(?i)\r\ngomlx-version: *(\w+)")
Outputs = Mapping[str, float]


class Latencies(NamedTuple):
    """In ms: before the swap, and from then until a second after it."""

    quiet_p99: float
    swap_p99: float
    swap_most: float


@dataclass(frozen=True)
class Swap:
    """What a swap under load did.

    stale: answers of the old version to requests sent after an answer of the new one.
    torn: answers that are not those of the version which they name. late_p99: of the
    open loop, in ms.
    """

    requests: int
    versions: int
    failed: int
    stale: int
    torn: int
    swapped_after_s: float | None
    latencies: Latencies
    lag_ms: float | None
    late_p99: float

    def as_dict(self) -> dict[str, Any]:
        """Return the figures as results/table.json has them."""
        return {
            "requests": self.requests,
            "versions": self.versions,
            "failed": self.failed,
            "stale": self.stale,
            "torn": self.torn,
            "swapped_after_s": self.swapped_after_s,
            **self.latencies._asdict(),
            "lag_ms": self.lag_ms,
            "late_p99": self.late_p99,
        }


def swap(rig: Rig, system: System, traffic: Traffic, versions: Path, new: Path) -> Swap:
    """Put a new version beside the old one under a load of hits and misses."""
    seconds = _BEFORE_SECONDS + _SWAP_SECONDS
    stop_file = versions / ".over"
    load = openloop.Load(
        system.url,
        traffic.at(rig.fresh(int(seconds * _RATE * 1.2))),
        (Phase(seconds, _RATE),),
        keeps_exchanges=True,
        stop_file=stop_file,
    )
    meter = Meter(system)
    live = _version(system)
    with openloop.started(load, rig.load_cores) as future:
        sleep(_BEFORE_SECONDS + 1)
        shutil.copytree(new, versions / ".new")
        (versions / ".new").rename(versions / "2")
        deadline = perf_counter() + _SWAP_SECONDS
        while _version(system) == live and perf_counter() < deadline:
            sleep(0.2)
        sleep(_AFTER_SECONDS)
        stop_file.touch()
        samples = future.result()
    return _figures(samples, meter.read().lag_ms)


def _version(system: System) -> str:
    assert system.service, "only gomlx reports its version"
    state = system.service.ready()["models"]["R"]
    return str(state.get("version"))


def _figures(samples: Samples, lag: float | None) -> Swap:
    found = [_VERSION.search(exchange.response) for exchange in samples.exchanges]
    versions = [match[1] if match else b"" for match in found]
    names = list(dict.fromkeys(version for version in versions if version))
    newest = np.array([names.index(v) if v in names else 0 for v in versions])
    is_new = newest == len(names) - 1
    responded = samples.due + samples.latency
    is_swapped = len(names) > 1
    first = float(responded[is_new].min()) if is_swapped else float("nan")
    stale = (samples.due > first) & (samples.status == 200) & ~is_new
    return Swap(
        len(samples.due),
        len(names),
        samples.failed,
        int(stale.sum()),
        _torn(samples, versions),
        first - _BEFORE_SECONDS if is_swapped else None,
        _latencies(samples, first),
        lag,
        samples.lateness_p99,
    )


def _latencies(samples: Samples, first: float) -> Latencies:
    """Return the latencies. first: the time of the new version's first response."""
    latencies = samples.latency * 1000
    is_quiet = samples.due < _BEFORE_SECONDS
    during = latencies[~is_quiet & ~(samples.due > first + 1)]
    return Latencies(
        float(np.quantile(latencies[is_quiet], 0.99)),
        float(np.quantile(during, 0.99)),
        float(during.max()),
    )


def _torn(samples: Samples, versions: Sequence[bytes]) -> int:
    """Count answers that are not those of the version which they name.

    They differ from another answer of the same version to the same row, or they equal
    an answer of another version.
    """
    answers: dict[bytes, dict[bytes, Outputs]] = {}
    torn = 0
    for exchange, version in zip(samples.exchanges, versions, strict=True):
        if not version:
            continue  # counted as failed
        body = exchange.response[exchange.response.index(b"\r\n\r\n") :]
        outputs = json.loads(body)["data"]
        by_version = answers.setdefault(exchange.request, {})
        expected = by_version.setdefault(version, outputs)
        others = [other for name, other in by_version.items() if name != version]
        torn += not _same(expected, outputs) or outputs in others
    return torn


def _same(one: Outputs, other: Outputs) -> bool:
    """Tell whether outputs differ by no more than the order of a sum explains."""
    return all(abs(one[name] - other[name]) <= 1e-5 * abs(one[name]) for name in one)
