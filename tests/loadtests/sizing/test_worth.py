"""From which cost of a run on a tier pays; and the fleets that are published."""

from itertools import pairwise

import pytest

from loadtests.bench.results import ROOT
from loadtests.fleet import (
    BEGIN,
    EXPONENTS,
    FOLDER,
    HOSTS,
    KEYS,
    L1_MEGABYTES,
    PAGE,
    Sized,
    fleet_table,
    worth_table,
)
from loadtests.sizing.lines import Line, lines
from loadtests.sizing.model import Ratios
from loadtests.sizing.worth import LOOKUP_US, TTL_US, WRITE_US, break_even, server_cores


def test_a_run_must_make_up_for_look_ups_writes_and_promotions() -> None:
    assert break_even(1) == pytest.approx(1 + TTL_US / LOOKUP_US)
    without = LOOKUP_US + 0.5 * TTL_US + 0.5 * WRITE_US
    assert break_even(0.5) * LOOKUP_US * 0.5 == pytest.approx(without)
    assert break_even(0.1) > break_even(0.2) > break_even(0.9)


def test_cores_count_every_command() -> None:
    assert server_cores(0, 0) == 0
    assert 0.01 < server_cores(1000, 0) < server_cores(1000, 1000) < 0.1


def test_a_line_has_all_numbers_of_hosts() -> None:
    group = [Sized(n, 0.9, 10**7, 256, Ratios(0.5, n / 2000)) for n in HOSTS]
    head, rule, line = fleet_table(group)
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert head.count("|") == rule.count("|") == line.count("|")
    assert cells[:3] == ["0.9", "1e7", "256"]
    assert cells[3:6] == ["50%"] * 3
    assert cells[6:9] == ["0%", "5%", "50%"]
    assert cells[9:12] == ["5,000", "50,000", "500,000"]


def test_the_published_tables_are_whole() -> None:
    text = (FOLDER / "fleet.md").read_text()
    rows = len(EXPONENTS) * len(KEYS) * len(L1_MEGABYTES)
    assert text.count("\n| ") == rows + 2
    section = PAGE.read_text().partition(BEGIN)[2]
    assert "\n".join(worth_table()) in section
    assert (ROOT / "loadtests" / "results" / "fleet.svg").exists()


def test_names_of_lines_do_not_cover_each_other() -> None:
    svg = lines("t", [Line(f"<{n}>", [(10, 0.5), (1000, 0.5)]) for n in range(3)])
    assert "&lt;0&gt;" in svg
    heights = [
        float(part.split('"')[3]) for part in svg.split("<text ") if "&lt;" in part
    ]
    assert sorted(heights) == heights
    assert min(b - a for a, b in pairwise(heights)) >= 12
