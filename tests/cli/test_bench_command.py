"""`gomlx bench` over a real service."""

import json
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from gomlx import Client
from gomlx.cli import app
from gomlx.cli.sample_rows import SampleRows
from tests.client.fake import QUIET
from tests.client.flights import COLUMNS
from tests.support.service import Service

Run = Callable[..., Result]


@pytest.fixture
def run(flying: Service, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("GOMLX_HOST", flying.url)
    return lambda *words: CliRunner().invoke(app, ("bench", *map(str, words)))


def test_figures_by_tier(run: Run) -> None:
    for seconds in (0.5, 5, 50):  # until a row has come twice
        done = run("flights", "--seconds", seconds, "--json", "--concurrency", 3)
        assert done.exit_code == 0, done.output
        figures = json.loads(done.stdout)
        if "local" in figures["latency"]:
            break
    assert (
        figures["rows"] == figures["calls"] == sum(figures["rows_by_tier"].values()) > 0
    )
    assert {"local", "model"} <= set(figures["latency"]) <= {"local", "L1", "model"}
    rows = figures["rows_by_tier"]
    computed = rows["model"] / figures["rows"]
    assert figures["hit_ratio"] == pytest.approx(1 - computed)
    for tier, latency in figures["latency"].items():
        assert latency["calls"] == rows[tier]
        assert 0 < latency["p50"] <= latency["p99"] <= latency["max"]


def test_tables_and_bars(run: Run, tmp_path: Path) -> None:
    lines = ["x", *map(str, range(16))]
    (tmp_path / "rows.csv").write_text("\n".join(lines))
    words: tuple[str | float, ...] = ("--rows", "rows.csv", "--batch", 8)
    for seconds in (0.5, 5, 50):  # until a row has come twice
        done = run("scale", *words, "--seconds", seconds)
        assert done.exit_code == 0, done.output
        if "local" in done.stdout:
            break
    for what in ("local", "p99", "no slower", "100.0%", "█", "hit ratio"):
        assert what in done.stdout
    words = (*words, "--seconds", 0.5, "--option", "ttl_seconds=0")
    done = run("scale", *words, "--json")
    assert "local" not in json.loads(done.stdout)["latency"]


def test_errors_are_printed_with_an_exit_code(run: Run, tmp_path: Path) -> None:
    done = run("pick", "--seconds", 0.5)
    assert done.exit_code == 1 and "RunFailed" in done.stderr
    done = run("nothing", "--seconds", 0.5)
    assert done.exit_code == 1 and "no model 'nothing'" in done.stderr
    (tmp_path / "rows.csv").write_text("z\n1\n")
    done = run("scale", "--seconds", 0.5, "--rows", "rows.csv")
    assert done.exit_code == 2 and "no column for: x" in done.stderr
    (tmp_path / "rows.csv").write_text("x\n" + "1\n" * 1000 + "?\n")
    done = run("scale", "--seconds", 9, "--rows", "rows.csv")
    assert done.exit_code == 1 and "input 'x'" in done.stderr
    (tmp_path / "rows.csv").write_text("x\n")
    done = run("scale", "--seconds", 0.5, "--rows", "rows.csv")
    assert done.exit_code == 2 and "no rows" in done.stderr


def test_sample_rows_are_zipf_distributed_over_the_vocabulary(flying: Service) -> None:
    with Client("flights", flying.url, options=QUIET) as client:
        assert client.contract is not None
        columns = SampleRows(client.contract, random.Random(1)).columns(20_000)
        assert set(columns) == set(COLUMNS)
        for name in ("carrier", "dest", "origin", "hour", "month"):
            counts = Counter(columns[name]).most_common()
            assert set(columns[name]) == set(COLUMNS[name])
            assert counts[0][1] / counts[1][1] == pytest.approx(2, rel=0.15)
        assert {*columns["distance"]} <= set(map(float, range(200, 3000, 200)))
        sample = {name: column[:100] for name, column in columns.items()}
        assert len(client.predict_batch(sample)) == 100
