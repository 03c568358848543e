"""Many clients request one cold row at once: how often does the model run?"""

from dataclasses import dataclass, replace

from loadtests.bench.counters import counters
from loadtests.bench.measure import Rig
from loadtests.load import openloop
from loadtests.load.openloop import Phase
from loadtests.load.services import System
from loadtests.load.traffic import Traffic

_CLIENTS = 256
_ROUNDS = 5


@dataclass(frozen=True)
class Stampede:
    """Many clients request the same row in each round.

    rows: those that the model ran, in all rounds.
    """

    clients: int
    rounds: int
    rows: int
    collapsed: int
    failed: int
    worst_ms: float


def stampede(rig: Rig, system: System, traffic: Traffic) -> Stampede:
    """Have every client request the same new row, and another one in each round."""
    failed = 0
    worst = 0.0
    before = counters(system)
    for _ in range(_ROUNDS):
        one_row = replace(traffic, hits=0, repeats=_CLIENTS, start=rig.fresh(1))
        phases = (Phase(1, 0, _CLIENTS),)
        load = openloop.Load(system.url, one_row, phases, _CLIENTS)
        samples = openloop.run(load, rig.load_cores)
        failed += samples.failed
        worst = max(worst, float(samples.latency.max()) * 1000)
    after = counters(system)
    assert before and after, "only gomlx counts its runs"
    rows, collapsed = (
        int(after.total(name) - before.total(name))
        for name in ("gomlx_batch_rows_sum", "gomlx_flights_collapsed_total")
    )
    return Stampede(_CLIENTS, _ROUNDS, rows, collapsed, failed, worst)
