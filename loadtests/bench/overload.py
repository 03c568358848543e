"""Three times the load that a service can take: hits go on, misses are shed at once?

The models are expensive (D, E), half of the requests are hits. The knee is the rate of
a closed loop. Then, in an open loop: quiet, overload, quiet again.
"""

from contextlib import suppress
from dataclasses import dataclass
from time import sleep

import numpy as np

from loadtests.bench.measure import Meter, Rig
from loadtests.load import openloop, procfs, wrk
from loadtests.load.openloop import Phase, Samples
from loadtests.load.services import System
from loadtests.load.traffic import HIT, MISS, Traffic

_CONNECTIONS = 1024
_KNEE_CONNECTIONS = 64
_QUIET_SECONDS = 5.0
_STEP = 0.1  # seconds, of looking for the recovery


@dataclass(frozen=True)
class Overload:
    """Times in ms. quiet: hits at a third of the knee; refused: misses, by 429.

    growth_mb: of the workers' memory, from the first second of the overload to its end.
    recovery_s: from the end of the overload until nothing is refused, and hits are as
    fast as before.
    """

    knee: float
    offered: float
    answered: float
    quiet_p50: float
    quiet_p99: float
    hits_p50: float
    hits_p99: float
    hits_failed: int
    misses_refused: float
    refused_p50: float
    refused_p99: float
    other_statuses: int
    growth_mb: float
    recovery_s: float
    lag_ms: float | None
    late_p99: float


def overload(rig: Rig, system: System, traffic: Traffic, seconds: float) -> Overload:
    """Run the scenario: so many seconds of overload."""
    with procfs.on(rig.load_cores):
        start = rig.fresh(200_000)
        seen = wrk.wrk(system.url, traffic.at(start), _KNEE_CONNECTIONS, rig.seconds)
    knee = seen.requests / seen.seconds
    phases = (
        Phase(_QUIET_SECONDS, knee / 3),
        Phase(seconds, 3 * knee),
        Phase(_QUIET_SECONDS, knee / 3),
    )
    expected = sum(phase.rate * phase.seconds for phase in phases)
    traffic = traffic.at(rig.fresh(int(expected * 0.6) + 1000))
    load = openloop.Load(system.url, traffic, phases, _CONNECTIONS)
    meter, sizes = Meter(system), []
    with openloop.started(load, rig.load_cores) as future:
        while not future.done():
            with suppress(TimeoutError):
                future.exception(timeout=1)
            sizes.append(procfs.memory(system.pids).pss)
    samples = future.result()
    lag = meter.read().counted["lag_ms"]
    sleep(1)
    at = int(_QUIET_SECONDS) + 2  # the generator starts about a second late
    growth = sizes[min(at + int(seconds), len(sizes) - 1)] - sizes[at]
    return _figures(samples, phases, knee, growth, lag)


def _figures(
    samples: Samples,
    phases: tuple[Phase, ...],
    knee: float,
    growth: float,
    lag: float | None,
) -> Overload:
    start, end = phases[0].seconds, phases[0].seconds + phases[1].seconds
    is_hit = samples.kind == HIT
    quiet = (samples.due > 1) & (samples.due < start)
    busy = (samples.due >= start) & (samples.due < end)
    refused = busy & (samples.kind == MISS) & (samples.status == 429)
    quiet_p50, quiet_p99 = _ms(samples, quiet & is_hit)
    hits_p50, hits_p99 = _ms(samples, busy & is_hit)
    refused_p50, refused_p99 = _ms(samples, refused)
    misses = busy & (samples.kind == MISS)
    expected = (200, 429)
    return Overload(
        knee,
        3 * knee,
        float((busy & (samples.status == 200)).sum() / phases[1].seconds),
        quiet_p50,
        quiet_p99,
        hits_p50,
        hits_p99,
        int((is_hit & (samples.status != 200)).sum()),
        float(refused.sum() / max(misses.sum(), 1)),
        refused_p50,
        refused_p99,
        int((~np.isin(samples.status, expected)).sum()) + samples.unanswered,
        growth,
        _recovery(samples, end, quiet_p99),
        lag,
        float(np.quantile(samples.late, 0.99) * 1000),
    )


def _ms(samples: Samples, which: np.ndarray) -> tuple[float, float]:
    """Return p50 and p99."""
    took = samples.took[which]
    if not len(took):
        return 0.0, 0.0
    p50, p99 = np.quantile(took, [0.5, 0.99]) * 1000
    return float(p50), float(p99)


def _recovery(samples: Samples, end: float, quiet_p99: float) -> float:
    """Return how long after the end something was refused, or hits were slow."""
    if samples.unanswered:
        return openloop.DRAIN_SECONDS  # and more
    last = samples.due.max()
    for start in np.arange(last - _STEP, end, -_STEP):
        step = (samples.due >= start) & (samples.due < start + _STEP)
        slow = _ms(samples, step & (samples.kind == HIT))[0] > quiet_p99
        if slow or (samples.status[step] != 200).any():
            return float(start + _STEP - end)
    return 0.0
