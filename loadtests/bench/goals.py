"""The goals: each a limit, and the figure of the runs that it limits."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from loadtests.bench.measure import Run

Runs = Mapping[str, Run]  # of one round, by the name of the cell
Figure = Callable[[Runs], float]
Line = dict[str, Any]  # of the table of goals, as results/table.json has it


@dataclass(frozen=True)
class Goal:
    """A limit, and the figure of one round that it limits.

    is_least: the figure has to be at least the limit, not at most.
    """

    path: str
    limit: float
    unit: str
    figure: Figure
    is_least: bool = False

    def judge(self, rounds: Sequence[Runs]) -> Line | None:
        """Return a line of the table; None when runs that it needs are missing."""
        try:
            values = [self.figure(runs) for runs in rounds]
        except KeyError:
            return None
        line = judged(self.path, median(values), self.limit, self.unit, self.is_least)
        return line | {"least": min(values), "most": max(values)}


def judged(
    path: str, measured: float, limit: float, unit: str = "", is_least: bool = False
) -> Line:
    """Return a line of the table of goals."""
    is_met = measured >= limit if is_least else measured <= limit
    return {
        "path": path,
        "goal": f"{'≥' if is_least else '≤'} {limit:g} {unit}".strip(),
        "measured": measured,
        "is_met": is_met,
    }


def _cpu(name: str) -> Figure:
    return lambda runs: runs[name].cpu_us


def _tail(name: str) -> Figure:
    return lambda runs: runs[name].load.p99 / runs[name].load.p50


def _p50(name: str) -> Figure:
    return lambda runs: runs[name].load.p50


def _scaling(one: str, two: str) -> Figure:
    """Two workers do 2 / cpu on two cores, one does 1 / cpu on one."""
    return lambda runs: 2 * runs[one].cpu_us / runs[two].cpu_us


GOALS = (
    Goal(
        "S, L1 hit, 16 connections: rate against nginx's constant answer",
        0.5,
        "",
        lambda runs: runs["gomlx S hit 16"].rate / runs["nginx S hit 16"].rate,
        is_least=True,
    ),
    Goal("S, every row a miss, 16 connections", 25, "µs CPU", _cpu("gomlx S miss 16")),
    Goal("S, every row a miss, 64 connections", 18, "µs CPU", _cpu("gomlx S miss 64")),
    Goal("R, every row a miss, 16 connections", 60, "µs CPU", _cpu("gomlx R miss 16")),
    Goal("R, every row a miss, 64 connections", 32, "µs CPU", _cpu("gomlx R miss 64")),
    Goal("S, one connection, misses: p50", 0.17, "ms", _p50("gomlx S miss 1")),
    Goal("R, one connection, misses: p50", 0.32, "ms", _p50("gomlx R miss 1")),
    Goal("S, misses, 16 connections: p99 / p50", 4, "", _tail("gomlx S miss 16")),
    Goal("R, misses, 16 connections: p99 / p50", 4, "", _tail("gomlx R miss 16")),
    Goal("S, misses, 64 connections: p99 / p50", 3, "", _tail("gomlx S miss 64")),
    Goal("R, misses, 64 connections: p99 / p50", 3, "", _tail("gomlx R miss 64")),
    Goal(
        "R, batch of 100 rows, all hits: a row",
        5,
        "µs CPU",
        lambda runs: runs["gomlx R batch hit 16"].cpu_us / 100,
    ),
    Goal(
        "S, hits: two workers on two cores, against one",
        1.8,
        "x",
        _scaling("gomlx S hit 32", "two workers S hit 64"),
        is_least=True,
    ),
    Goal(
        "R, misses: two workers on two cores, against one",
        1.8,
        "x",
        _scaling("gomlx R miss 32", "two workers R miss 64"),
        is_least=True,
    ),
)
