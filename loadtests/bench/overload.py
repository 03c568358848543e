"""Three times the load that a service can sustain: are hits served, and misses shed?

The models are expensive (D, E), half of the requests are hits. The knee is the rate of
a closed loop. An open loop follows, in three phases: quiet, overload, quiet again.
"""

from contextlib import suppress
from dataclasses import dataclass
from time import sleep
from typing import Any, NamedTuple

import numpy as np

from loadtests.bench.measure import Meter, Rig
from loadtests.load import openloop, procfs, wrk
from loadtests.load.openloop import Phase
from loadtests.load.samples import Samples
from loadtests.load.services import System
from loadtests.load.traffic import HIT, MISS, Traffic

# More than requests wait for their answers: rows wait for half a second, and 2,000 of
# them a second run. Else hits wait for a connection, in the generator.
_CONNECTIONS = 2048
_KNEE_CONNECTIONS = 64
_QUIET_SECONDS = 5.0
_STEP_SECONDS = 0.1  # of the search for the recovery


class Percentiles(NamedTuple):
    """Of latencies, in ms; 0 where there are none."""

    p50: float
    p99: float


@dataclass(frozen=True)
class Answers:
    """What requests of the overload got.

    rate: of 200s, per second. misses_refused: the share of misses that got a 429.
    hits_failed, other_statuses: numbers, in all three phases.
    """

    rate: float
    hits_failed: int
    misses_refused: float
    other_statuses: int


@dataclass(frozen=True)
class Overload:
    """What an overload did to a service.

    knee: requests per second. quiet: hits at a third of the knee. hits, refused: hits
    and misses of the overload. growth_mb: of the workers' memory, from the first second
    of the overload to its end. recovery_s: from the end of the overload until nothing
    is refused, and hits are as fast as before. late_p99: of the open loop, in ms.
    """

    knee: float
    answers: Answers
    quiet: Percentiles
    hits: Percentiles
    refused: Percentiles
    growth_mb: float
    recovery_s: float
    lag_ms: float | None
    late_p99: float

    def as_dict(self) -> dict[str, Any]:
        """Return the figures as results/table.json has them."""
        return {
            "knee": self.knee,
            "offered": 3 * self.knee,
            "answered": self.answers.rate,
            "quiet_p50": self.quiet.p50,
            "quiet_p99": self.quiet.p99,
            "hits_p50": self.hits.p50,
            "hits_p99": self.hits.p99,
            "hits_failed": self.answers.hits_failed,
            "misses_refused": self.answers.misses_refused,
            "refused_p50": self.refused.p50,
            "refused_p99": self.refused.p99,
            "other_statuses": self.answers.other_statuses,
            "growth_mb": self.growth_mb,
            "recovery_s": self.recovery_s,
            "lag_ms": self.lag_ms,
            "late_p99": self.late_p99,
        }


class _Phases(NamedTuple):
    """Quiet, overload, quiet again; in units of the knee's rate."""

    knee: float
    seconds: float  # of the overload

    def plan(self) -> tuple[Phase, ...]:
        quiet = Phase(_QUIET_SECONDS, self.knee / 3)
        return (quiet, Phase(self.seconds, 3 * self.knee), quiet)

    @property
    def end(self) -> float:
        """The end of the overload, in seconds from the start of the loop."""
        return _QUIET_SECONDS + self.seconds


def overload(rig: Rig, system: System, traffic: Traffic, seconds: float) -> Overload:
    """Run the scenario, with so many seconds of overload."""
    phases = _Phases(_knee(rig, system, traffic), seconds)
    plan = phases.plan()
    expected = sum(phase.rate * phase.seconds for phase in plan)
    traffic = traffic.at(rig.fresh(int(expected * 0.6) + 1000))
    load = openloop.Load(system.url, traffic, plan, _CONNECTIONS)
    meter = Meter(system)
    sizes = []
    with openloop.started(load, rig.load_cores) as future:
        while not future.done():
            with suppress(TimeoutError):
                future.exception(timeout=1)
            sizes.append(procfs.memory(system.pids).pss)
    lag = meter.read().lag_ms
    sleep(1)
    return _figures(future.result(), phases, _growth(sizes, seconds), lag)


def _knee(rig: Rig, system: System, traffic: Traffic) -> float:
    """Return the rate of a closed loop that saturates the system."""
    load = traffic.at(rig.fresh(200_000))
    with procfs.on(rig.load_cores):
        measured = wrk.wrk(system.url, load, _KNEE_CONNECTIONS, rig.seconds)
    return measured.requests / measured.seconds


def _growth(sizes: list[float], seconds: float) -> float:
    """Return the growth during the overload. sizes: in MB, one a second."""
    start = int(_QUIET_SECONDS) + 2  # the generator starts about a second late
    end = min(start + int(seconds), len(sizes) - 1)
    return sizes[end] - sizes[start]


def _figures(
    samples: Samples, phases: _Phases, growth: float, lag: float | None
) -> Overload:
    is_hit = samples.kind == HIT
    is_quiet = (samples.due > 1) & (samples.due < _QUIET_SECONDS)
    is_busy = (samples.due >= _QUIET_SECONDS) & (samples.due < phases.end)
    is_refused = is_busy & (samples.kind == MISS) & (samples.status == 429)
    quiet = _percentiles(samples, is_quiet & is_hit)
    return Overload(
        phases.knee,
        _answers(samples, is_busy, phases.seconds),
        quiet,
        _percentiles(samples, is_busy & is_hit),
        _percentiles(samples, is_refused),
        growth,
        _recovery(samples, phases.end, quiet.p99),
        lag,
        samples.lateness_p99,
    )


def _answers(samples: Samples, is_busy: np.ndarray, seconds: float) -> Answers:
    misses = is_busy & (samples.kind == MISS)
    refused = misses & (samples.status == 429)
    is_ok = samples.status == 200
    others = ~np.isin(samples.status, (200, 429))
    return Answers(
        float((is_busy & is_ok).sum() / seconds),
        int(((samples.kind == HIT) & ~is_ok).sum()),
        float(refused.sum() / max(misses.sum(), 1)),
        int(others.sum()) + samples.unanswered,
    )


def _percentiles(samples: Samples, which: np.ndarray) -> Percentiles:
    latencies = samples.latency[which]
    if not len(latencies):
        return Percentiles(0.0, 0.0)
    p50, p99 = np.quantile(latencies, [0.5, 0.99]) * 1000
    return Percentiles(float(p50), float(p99))


def _recovery(samples: Samples, end: float, quiet_p99: float) -> float:
    """Return the seconds until the last step with a refusal, or with slow hits."""
    if samples.unanswered:
        return openloop.DRAIN_SECONDS  # and more
    last = samples.due.max()
    for start in np.arange(last - _STEP_SECONDS, end, -_STEP_SECONDS):
        step = (samples.due >= start) & (samples.due < start + _STEP_SECONDS)
        hits = _percentiles(samples, step & (samples.kind == HIT))
        if hits.p50 > quiet_p99 or (samples.status[step] != 200).any():
            return float(start + _STEP_SECONDS - end)
    return 0.0
