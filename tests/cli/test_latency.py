"""Latency: quantiles in bounded memory, and the plot of several tiers."""

import io
import math
import random

import pytest
from rich.console import Console

from gomlx.cli.latency import Latency, duration, legend, plot


def test_quantiles_are_right_to_2_percent_and_the_greatest_is_exact() -> None:
    latency = Latency()
    chance = random.Random(3)
    values = [chance.expovariate(1000) for _ in range(1000)]
    for value in values:
        latency.add(value)
    values.sort()
    for share in (0.5, 0.99):
        exact = values[math.ceil(share * 1000) - 1]
        assert latency.quantile(share) == pytest.approx(exact, rel=0.02)
    assert latency.most == values[-1]
    assert latency.as_dict()["calls"] == 1000


def test_durations_have_a_unit_and_three_digits() -> None:
    durations = [duration(s) for s in (2.5e-6, 1e-3, 0.25, 3)]
    assert durations == ["2.5 us", "1 ms", "250 ms", "3 s"]


def test_a_plot_has_a_line_for_each_range_from_the_first_to_the_last() -> None:
    near = Latency()
    far = Latency()
    for _ in range(3):
        near.add(1.5e-3)
    far.add(15e-3)
    text = io.StringIO()
    console = Console(width=100, file=text)
    console.print(plot({"local": near, "model": far}))
    console.print(legend(["local", "model"]))
    header, *lines, names = text.getvalue().splitlines()
    assert "no slower" in header
    assert [line.strip().split("  ")[0] for line in lines] == [
        "1 ms to 2 ms",
        "2 ms to 5 ms",
        "5 ms to 10 ms",
        "10 ms to 20 ms",
    ]
    assert "75.0%" in lines[0] and "100.0%" in lines[-1]
    assert "█" in lines[0] and "▓" in lines[-1]
    assert names.split() == ["██", "local", "▓▓", "model"]


def test_a_plot_of_nothing_has_no_lines() -> None:
    assert plot({}).row_count == plot({"local": Latency()}).row_count == 0
