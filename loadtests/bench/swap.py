"""A model is replaced under load: what fails, what is stale, what is late?

Known rows and new ones, at a rate that leaves room. Every answer names its version.
"""

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, sleep

import numpy as np

from loadtests.bench.measure import Meter, Rig
from loadtests.load import openloop
from loadtests.load.openloop import Phase, Samples
from loadtests.load.services import System
from loadtests.load.traffic import Traffic

_RATE = 500.0
_BEFORE = 4.0  # seconds until the new version is put there
_SECONDS = 60.0  # until it should answer
_AFTER = 3.0  # seconds of load on the new version
_VERSION = re.compile(rb"(?i)\r\ngomlx-version: *(\w+)")


@dataclass(frozen=True)
class Swap:
    """Times in ms. stale: answers of the old version to requests sent after an answer
    of the new one; torn: answers that are not what their version says to that row."""

    requests: int
    versions: int
    failed: int
    stale: int
    torn: int
    swapped_after_s: float | None
    quiet_p99: float
    swap_p99: float
    swap_most: float
    lag_ms: float | None
    late_p99: float


def swap(rig: Rig, system: System, traffic: Traffic, versions: Path, new: Path) -> Swap:
    """Put a new version beside the old one under a load of hits and misses."""
    expected = int((_BEFORE + _SECONDS) * _RATE * 1.2)
    traffic = traffic.at(rig.fresh(expected))
    phases = (Phase(_BEFORE + _SECONDS, _RATE),)
    over = versions / ".over"
    load = openloop.Load(system.url, traffic, phases, keeps=True, until=over)
    meter, live = Meter(system), _version(system)
    with openloop.started(load, rig.load_cores) as future:
        sleep(_BEFORE + 1)
        shutil.copytree(new, versions / ".new")
        (versions / ".new").rename(versions / "2")
        until = perf_counter() + _SECONDS
        while _version(system) == live and perf_counter() < until:
            sleep(0.2)
        sleep(_AFTER)
        over.touch()
        samples = future.result()
    return _figures(samples, meter.read().counted["lag_ms"])


def _version(system: System) -> str:
    assert system.service, "only gomlx reports its version"
    state = system.service.ready()["models"]["R"]
    return str(state.get("version"))


def _figures(samples: Samples, lag: float | None) -> Swap:
    found = [_VERSION.search(response) for _, response in samples.answers]
    versions = [match[1] if match else b"" for match in found]
    names = list(dict.fromkeys(version for version in versions if version))
    newest = np.array([names.index(v) if v in names else 0 for v in versions])
    due, came = samples.due, samples.due + samples.took
    is_new = newest == len(names) - 1
    first = float(came[is_new].min()) if len(names) > 1 else float("nan")
    stale = (due > first) & (samples.status == 200) & ~is_new
    took = samples.took * 1000
    quiet = took[samples.due < _BEFORE]
    during = took[(samples.due >= _BEFORE) & ~(samples.due > first + 1)]
    return Swap(
        len(samples.due),
        len(names),
        int((samples.status != 200).sum()) + samples.unanswered,
        int(stale.sum()),
        _torn(samples, versions),
        first - _BEFORE if len(names) > 1 else None,
        float(np.quantile(quiet, 0.99)),
        float(np.quantile(during, 0.99)),
        float(during.max()),
        lag,
        float(np.quantile(samples.late, 0.99) * 1000),
    )


def _torn(samples: Samples, versions: list[bytes]) -> int:
    """Count answers that differ from others of the same version to the same row, or
    agree with those of another version."""
    said: dict[bytes, dict[bytes, Mapping[str, float]]] = {}
    torn = 0
    for (request, response), version in zip(samples.answers, versions, strict=True):
        if not version:
            continue  # counted as failed
        body = json.loads(response[response.index(b"\r\n\r\n") :])
        row = said.setdefault(request, {})
        known = row.setdefault(version, body["data"])
        others = [answer for other, answer in row.items() if other != version]
        torn += not _same(known, body["data"]) or body["data"] in others
    return torn


def _same(one: Mapping[str, float], other: Mapping[str, float]) -> bool:
    """Return whether answers differ by no more than a sum's order can."""
    return all(abs(one[name] - other[name]) <= 1e-5 * abs(one[name]) for name in one)
