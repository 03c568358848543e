"""Goals are judged in multiples of nginx's constant answer of the same round."""

from typing import Any

import pytest

from loadtests.bench.cells import cells
from loadtests.bench.goals import GOALS, Goal
from loadtests.bench.measure import Cost, Run, Saturation
from loadtests.load.wrk import Closed

NAMES = [cell.name for cell in cells(quick=True)]


def run(name: str, cpu_us: float) -> Run:
    cost = Cost(1.0, cpu_us * 1000 / 1e6, 0.0, 1.0, {"lag_ms": 1.0})
    load = Closed(1000, 1.0, 0, 1.0, 1.5, 2.0, 3.0)
    return Run(name.split(maxsplit=1)[0], Saturation(name, 16, [1]), load, cost)


def goal(path: str) -> Goal:
    return next(one for one in GOALS if one.path == path)


def judged(path: str, *rounds: dict[str, float]) -> dict[str, Any]:
    line = goal(path).judge(
        [{n: run(n, us) for n, us in one.items()} for one in rounds]
    )
    assert line is not None
    return line


def test_a_figure_is_a_multiple_of_its_own_rounds_nginx() -> None:
    line = judged(
        "S, L1 hit, 16 connections",
        {"nginx S hit 16": 4.0, "gomlx S hit 16": 6.0},
        {"nginx S hit 16": 8.0, "gomlx S hit 16": 12.0},
        {"nginx S hit 16": 4.0, "gomlx S hit 16": 8.0},
    )
    assert (line["measured"], line["least"], line["most"]) == (1.5, 1.5, 2.0)
    assert line["goal"] == "≤ 1.8 N"
    assert line["is_met"]
    assert (line["as_is"], line["unit"]) == (8.0, "µs CPU")


def test_a_batch_is_judged_by_its_row() -> None:
    name = "gomlx R batch hit 16"
    path = "R, batch of 100 rows, all hits: a row"
    line = judged(path, {"nginx S hit 16": 4.0, name: 280.0})
    assert line["measured"] == pytest.approx(0.7)
    assert line["as_is"] == pytest.approx(2.8)
    assert not line["is_met"]


def test_every_goal_can_be_judged_by_the_quick_table() -> None:
    runs = {name: run(name, 10.0) for name in NAMES}
    assert all(one.judge([runs]) is not None for one in GOALS)


def test_a_goal_without_its_runs_has_no_line() -> None:
    assert GOALS[0].judge([{}]) is None
