"""Metrics of several workers, each a process."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

PRELUDE = """
import sys
from pathlib import Path
from gomlx.metrics.declarations import ROWS
from gomlx.metrics.exposition import ScrapedMetric
from gomlx.metrics.metrics import Metrics
directory = Path(sys.argv[1])
"""
Run = Callable[[str], str]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A function that runs a script in a fresh process, and returns its output."""
    return lambda script: _output(script, tmp_path / "metrics")


def _output(script: str, directory: Path) -> str:
    directory.mkdir(exist_ok=True)
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", PRELUDE + script, str(directory)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def samples(exposition: str) -> dict[str, float]:
    """The lines of the text format that are not comments."""
    found = {}
    for line in exposition.splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            found[name] = float(value)
    return found


def count(slot: int, requests: int) -> str:
    """A script that counts some requests and prints the metrics of all workers."""
    return f"""
metrics = Metrics(directory, {slot})
metrics.counter("gomlx_requests", "m", "200").n += {requests}
metrics.histogram("gomlx_batch_rows", "m").add({requests})
metrics.flush()
print(metrics.exposition([]).decode())
"""


OK = 'gomlx_requests_total{code="200",model="m"}'


def test_counts_appear_once_flushed(run: Run) -> None:
    script = """
metrics = Metrics(directory, 0)
count = metrics.counter("gomlx_requests", "m", "200")
count.n += 2
print(metrics.exposition([]).decode())
print("----")
metrics.flush()
metrics.flush()
print(metrics.exposition([]).decode())
"""
    before, after = run(script).split("----")
    assert samples(before).get(OK, 0) == 0
    assert samples(after)[OK] == 2


def test_label_values_have_a_counter_each(run: Run) -> None:
    script = """
metrics = Metrics(directory, 0)
metrics.counter("gomlx_model_runs", "m").n += 1
metrics.counter("gomlx_model_runs", "n").n += 2
metrics.flush()
metrics.counter("gomlx_model_runs", "m").n += 1
metrics.flush()
print(metrics.exposition([]).decode())
"""
    found = samples(run(script))
    assert found['gomlx_model_runs_total{model="m"}'] == 2
    assert found['gomlx_model_runs_total{model="n"}'] == 2


def test_slots_are_summed(run: Run) -> None:
    run(count(0, 3))
    found = samples(run(count(1, 4)))
    assert found[OK] == 7
    assert found['gomlx_batch_rows_sum{model="m"}'] == 7
    assert found['gomlx_batch_rows_count{model="m"}'] == 2


def test_a_recycled_slot_counts_on_and_adds_no_files(run: Run, tmp_path: Path) -> None:
    run(count(0, 3))
    files = sorted((tmp_path / "metrics").iterdir())
    assert files
    found = samples(run(count(0, 4)))
    assert found[OK] == 7
    assert found['gomlx_batch_rows_count{model="m"}'] == 2
    assert sorted((tmp_path / "metrics").iterdir()) == files


def test_a_file_is_named_by_its_slot(run: Run, tmp_path: Path) -> None:
    run(count(7, 1))
    names = {path.name for path in (tmp_path / "metrics").iterdir()}
    assert names == {"tally_7.msgpack"}


# On a bound, below the first, above the last; sums of these have no rounding.
VALUES = "[0.5, 1.0, 1.5, 2.0, 3.0, 64.0, 65.0, 1024.0, 1024.5, 9000.0, 2.0]"
IN_BULK = f"""
metrics = Metrics(directory, 0)
histogram = metrics.histogram("gomlx_batch_rows", "m")
for i, value in enumerate({VALUES}):
    histogram.add(value)
    if i % 4 == 3:
        metrics.flush()
metrics.flush()
print(metrics.exposition([]).decode())
"""
ONE_BY_ONE = f"""
from prometheus_client import CollectorRegistry, Histogram, generate_latest
registry = CollectorRegistry()
histogram = Histogram(
    "gomlx_batch_rows",
    "Rows that ran together.",
    ["model"],
    buckets=ROWS,
    registry=registry,
)
for value in {VALUES}:
    histogram.labels("m").observe(value)
print(generate_latest(registry).decode())
"""


def test_a_histogram_filled_in_bulk_is_one_observed_value_by_value(
    tmp_path: Path,
) -> None:
    shown = samples(_output(IN_BULK, tmp_path / "bulk"))
    in_bulk = {k: v for k, v in shown.items() if k.startswith("gomlx_batch_rows")}
    observed = samples(_output(ONE_BY_ONE, tmp_path / "single"))
    created = {name for name in observed if "_created" in name}
    assert len(created) == 1
    assert in_bulk == {k: v for k, v in observed.items() if k not in created}
    assert in_bulk['gomlx_batch_rows_count{model="m"}'] == 11


def test_scraped_metrics_are_added_to_the_counted_ones(run: Run) -> None:
    script = """
info = ScrapedMetric("gomlx_model_info")
info.add(1, "m", "abc")
info.add(1, "n", "def")
reloads = ScrapedMetric("gomlx_reloads_total")
reloads.add(3, "m", "ok")
ready = ScrapedMetric("gomlx_draining")
ready.add(0)
metrics = Metrics(directory, 0)
metrics.counter("gomlx_requests", "m", "200").n += 1
metrics.flush()
print(metrics.exposition([info, reloads, ready]).decode())
"""
    text = run(script)
    found = samples(text)
    assert found[OK] == 1
    assert found['gomlx_model_info{model="m",version="abc"}'] == 1
    assert found['gomlx_model_info{model="n",version="def"}'] == 1
    assert found['gomlx_reloads_total{model="m",outcome="ok"}'] == 3
    assert found["gomlx_draining"] == 0
    assert "# TYPE gomlx_model_info gauge" in text
    assert "# TYPE gomlx_reloads_total counter" in text


TWO_FLUSHES = """
metrics = Metrics(directory, 0)
histogram = metrics.histogram("gomlx_request_seconds", "m")
for values in ([0.2, 0.1], [0.4]):
    for value in values:
        histogram.add(value)
    metrics.flush()
"""


def test_least_and_greatest_survive_flushes_and_workers(run: Run) -> None:
    run(TWO_FLUSHES)
    script = """
metrics = Metrics(directory, 1)
metrics.histogram("gomlx_request_seconds", "m").add(0.3)
metrics.flush()
sums = metrics.read()["gomlx_request_seconds", "m"][0]
print(sums.n, round(sums.total, 6), sums.low, sums.high)
"""
    assert run(script).split() == ["4", "1.0", "0.1", "0.4"]
    assert run(script).split() == ["5", "1.3", "0.1", "0.4"]


GAUGES = """
workers = [Metrics(directory, slot) for slot in (0, 1)]
for values in ((1, 2), (0, 2), (0, 0)):
    for metrics, value in zip(workers, values):
        metrics.gauge("gomlx_tier_state", "s", "near").value = value
        metrics.gauge("gomlx_queue_rows", "m").value = value
        metrics.flush()
    print(metrics.exposition([]).decode() + "----")
"""


def test_a_gauge_shows_the_greatest_or_the_sum_of_workers_that_run(run: Run) -> None:
    texts = run(GAUGES).split("----")[:-1]
    state = 'gomlx_tier_state{datastore="s",tier="near"}'
    rows = 'gomlx_queue_rows{model="m"}'
    found = [samples(text) for text in texts]
    assert [(one[state], one[rows]) for one in found] == [(2, 3), (2, 2), (0, 0)]
    assert found[0]["gomlx_workers"] == 2


def begun(slot: int, then: str = "") -> str:
    """A script of a worker that does not end as one should."""
    return f"""
metrics = Metrics(directory, {slot})
{then}
metrics.flush()
print(metrics.exposition([]).decode())
"""


def test_a_worker_that_was_killed_has_no_state(run: Run) -> None:
    run(begun(0, 'metrics.gauge("gomlx_queue_rows", "m").value = 3'))
    found = samples(run(begun(1)))
    assert found["gomlx_workers"] == 1
    assert 'gomlx_queue_rows{model="m"}' not in found
    died = 'gomlx_worker_restarts_total{reason="died"}'
    assert found[died] == 0
    found = samples(run(begun(0)))
    assert found[died] == 1
    assert found['gomlx_worker_restarts_total{reason="ended"}'] == 0


def test_processes_are_told_apart(run: Run) -> None:
    script = """
import os, time
started = time.time()
metrics = Metrics(directory, 3)
metrics.flush()
print(started, os.times().user + os.times().system)
print(metrics.exposition([]).decode())
"""
    first, _, text = run(script).partition("\n")
    started, used = map(float, first.split())
    found = samples(text)
    of_worker = '{process="worker_3"}'
    assert found[f"process_start_time_seconds{of_worker}"] <= started
    assert found[f"process_start_time_seconds{of_worker}"] > started - 60
    # ticks of 10 ms, added in another order: the last bit of the sum may differ
    assert found[f"process_cpu_seconds_total{of_worker}"] >= used - 0.005
    memory = found[f"process_resident_memory_bytes{of_worker}"]
    assert 5e6 < memory < found[f"process_virtual_memory_bytes{of_worker}"]
    assert found['process_start_time_seconds{process="gunicorn"}'] <= started  # pytest
