"""The goals: each a limit, and the figure of the runs that it limits.

CPU is judged in multiples of what nginx takes to answer with a constant, in the same
round, on the same core: N. The machine's minutes differ by a factor of two, and N with
them. The figure itself is beside it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from loadtests.bench.measure import Run

Runs = Mapping[str, Run]  # of one round, by the name of the cell
Figure = Callable[[Runs], float]
_NGINX = "nginx S hit 16"
Line = dict[str, Any]  # of the table of goals, as results/table.json has it


@dataclass(frozen=True)
class Goal:
    """A limit, and the figure of one round that it limits.

    is_least: the figure has to be at least the limit, not at most. as_is: the figure
    that is judged as a multiple, and its unit.
    """

    path: str
    limit: float
    unit: str
    figure: Figure
    is_least: bool = False
    as_is: tuple[Figure, str] | None = None

    def judge(self, rounds: Sequence[Runs]) -> Line | None:
        """Return a line of the table; None when runs that it needs are missing."""
        try:
            values = [self.figure(runs) for runs in rounds]
        except KeyError:
            return None
        line = judged(self.path, median(values), self.limit, self.unit, self.is_least)
        line |= {"least": min(values), "most": max(values)}
        if self.as_is is not None:
            figure, unit = self.as_is
            line |= {"as_is": median(map(figure, rounds)), "unit": unit}
        return line


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


def _cpu(name: str, rows: int = 1) -> Figure:
    """Return the figure of CPU in us, of a request or of one of its rows."""
    return lambda runs: runs[name].cpu_us / rows


def _multiple(path: str, limit: float, name: str, rows: int = 1) -> Goal:
    """Return a goal for the CPU of a run, in multiples of nginx's."""
    cpu = _cpu(name, rows)
    nginx = _cpu(_NGINX)
    return Goal(
        path, limit, "N", lambda runs: cpu(runs) / nginx(runs), as_is=(cpu, "µs CPU")
    )


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
    _multiple("S, L1 hit, 16 connections", 1.8, "gomlx S hit 16"),
    _multiple("S, every row a miss, 16 connections", 5.2, "gomlx S miss 16"),
    _multiple("S, every row a miss, 64 connections", 3.9, "gomlx S miss 64"),
    _multiple("R, every row a miss, 16 connections", 11, "gomlx R miss 16"),
    _multiple("R, every row a miss, 64 connections", 6.5, "gomlx R miss 64"),
    _multiple("R, 90% hits, 16 connections", 5.8, "gomlx R 90% hits 16"),
    _multiple("R, 90% hits, 64 connections", 3.8, "gomlx R 90% hits 64"),
    _multiple(
        "R, batch of 100 rows, all hits: a row", 0.6, "gomlx R batch hit 16", rows=100
    ),
    Goal("S, one connection, misses: p50", 0.17, "ms", _p50("gomlx S miss 1")),
    Goal("R, one connection, misses: p50", 0.32, "ms", _p50("gomlx R miss 1")),
    Goal("S, misses, 16 connections: p99 / p50", 4, "", _tail("gomlx S miss 16")),
    Goal("R, misses, 16 connections: p99 / p50", 4, "", _tail("gomlx R miss 16")),
    Goal("S, misses, 64 connections: p99 / p50", 3, "", _tail("gomlx S miss 64")),
    Goal("R, misses, 64 connections: p99 / p50", 3, "", _tail("gomlx R miss 64")),
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
