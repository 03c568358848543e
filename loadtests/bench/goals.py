"""What is to be reached, and what of the runs says whether it is."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from loadtests.bench.measure import Run

Rounds = Sequence[Mapping[str, Run]]  # by the name of what was measured


@dataclass(frozen=True)
class Goal:
    """A limit, and how to take what it limits from one round.

    is_least: what is measured has to be at least the limit, not at most.
    """

    path: str
    limit: float
    unit: str
    measure: Callable[[Mapping[str, Run]], float]
    is_least: bool = False

    def judge(self, rounds: Rounds) -> dict[str, Any] | None:
        """Return a line of the table; None when the runs it needs are missing."""
        try:
            values = [self.measure(one) for one in rounds]
        except KeyError:
            return None
        middle = median(values)
        line = judged(self.path, middle, self.limit, self.unit, self.is_least)
        return line | {"least": min(values), "most": max(values)}


def judged(
    path: str, measured: float, limit: float, unit: str = "", is_least: bool = False
) -> dict[str, Any]:
    """Return a line of the table of goals."""
    is_met = measured >= limit if is_least else measured <= limit
    return {
        "path": path,
        "goal": f"{'≥' if is_least else '≤'} {limit:g} {unit}".strip(),
        "measured": measured,
        "is_met": is_met,
    }


def _cpu(name: str) -> Callable[[Mapping[str, Run]], float]:
    return lambda runs: runs[name].cpu_us


def _tail(name: str) -> Callable[[Mapping[str, Run]], float]:
    return lambda runs: runs[name].p99 / runs[name].p50


def _p50(name: str) -> Callable[[Mapping[str, Run]], float]:
    return lambda runs: runs[name].p50


def _scaling(one: str, two: str) -> Callable[[Mapping[str, Run]], float]:
    """Two workers do 2 / cpu on two cores, one does 1 / cpu on one."""
    return lambda runs: 2 * runs[one].cpu_us / runs[two].cpu_us


GOALS = (
    Goal(
        "S, L1 hit, 16 connections: rate against nginx's constant answer",
        *(0.5, ""),
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
        *(5, "µs CPU"),
        lambda runs: runs["gomlx R batch hit 16"].cpu_us / 100,
    ),
    Goal(
        "S, hits: two workers on two cores, against one",
        *(1.8, "x"),
        _scaling("gomlx S hit 32", "two workers S hit 64"),
        is_least=True,
    ),
    Goal(
        "R, misses: two workers on two cores, against one",
        *(1.8, "x"),
        _scaling("gomlx R miss 32", "two workers R miss 64"),
        is_least=True,
    ),
)
