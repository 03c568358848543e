"""Many clients request one cold row at once: how often does the model run?"""

from dataclasses import dataclass, replace

from loadtests.bench.measure import Rig, counters
from loadtests.load import openloop
from loadtests.load.openloop import Phase
from loadtests.load.services import System
from loadtests.load.traffic import Traffic

_CLIENTS = 256
_ROUNDS = 5


@dataclass(frozen=True)
class Stampede:
    """clients request the same row, rounds times; rows: of all rounds, that ran."""

    clients: int
    rounds: int
    rows: int
    collapsed: int
    failed: int
    worst_ms: float


def stampede(rig: Rig, system: System, traffic: Traffic) -> Stampede:
    """Have every client request the same new row, and again for another."""
    failed, worst = 0, 0.0
    before = counters(system)
    for _ in range(_ROUNDS):
        one_row = replace(traffic, hits=0, repeats=_CLIENTS, start=rig.fresh(1))
        phases = (Phase(1, 0, _CLIENTS),)
        load = openloop.Load(system.url, one_row, phases, _CLIENTS)
        samples = openloop.run(load, rig.load_cores)
        failed += int((samples.status != 200).sum()) + samples.unanswered
        worst = max(worst, float(samples.took.max()) * 1000)
    after = counters(system)
    assert before and after, "only gomlx counts its runs"
    rows, collapsed = (
        int(after.total(name) - before.total(name))
        for name in ("gomlx_batch_rows_sum", "gomlx_flights_collapsed_total")
    )
    return Stampede(_CLIENTS, _ROUNDS, rows, collapsed, failed, worst)
