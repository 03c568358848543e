"""Expensive models: several runs at once, and several threads in a run."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from tests.support.saved_models import save, spec
from tests.support.service import Service, running, wait_for
from tests.system.test_swap import swap_in

SIZE = 900  # of a matrix whose square takes some 20 ms


def slow(path: Path, factor: float) -> Path:
    """y = x * factor, after much work."""
    weights = tf.Variable(tf.zeros([SIZE, SIZE]), name="weights")

    def f(x: Any) -> Any:
        square = tf.matmul(weights + tf.reduce_sum(x) * 0.0, weights)
        return {"y": x * factor + tf.reduce_sum(square)}

    return save(path, f, [spec("x")], weights)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("expensive")
    slow(folder / "model", 2.0)
    batch = {"rows": "alone", "runs": 2}
    config = {
        "models": [
            {"id": "m", "url": "./model", "batch": batch},
            {"id": "threads", "url": "./model", "batch": batch | {"threads": 2}},
        ],
    }
    with running(folder, config) as one:
        yield one


def asked(service: Service, model: str, xs: range) -> list[tuple[str, float, float]]:
    """The version and the answer of each number, by two callers at a time."""

    def ask(x: int) -> tuple[str, float, float]:
        reply = service.post_anew(model, {"x": float(x)}).raise_for_status()
        return reply.headers["gomlx-version"], float(x), reply.json()["data"]["y"]

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(ask, xs))


@pytest.mark.parametrize("model", ["m", "threads"])
def test_rows_of_two_callers_run_at_once(service: Service, model: str) -> None:
    def overlap() -> bool:
        for _, x, y in asked(service, model, range(20)):
            assert y == 2 * x
        return service.metric("gomlx_model_runs_overlapping_total", model=model) > 0

    wait_for(overlap, 60, "two runs to overlap")


def test_threads_are_part_of_the_version(service: Service) -> None:
    assert service.version("m") != service.version("threads")


def test_the_log_says_how_a_model_runs(service: Service) -> None:
    assert "model m: runs at once: 2, threads: 1" in service.text()
    assert "model threads: runs at once: 2, threads: 2" in service.text()


def test_a_reload_drains_both_runs(service: Service) -> None:
    factors = {service.version("m"): 2.0}
    answers: list[tuple[str, float, float]] = []
    stop = threading.Event()

    def load() -> None:
        while not stop.is_set():
            answers.extend(asked(service, "m", range(10)))

    def has_changed(old: str) -> bool:
        return service.version("m") != old

    def seen(version: str) -> bool:
        return any(found == version for found, *_ in answers) or loading.done()

    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(load)
        try:
            for factor in (3.0, 4.0):
                before = service.version("m")
                new = slow(service.folder / f"new-{factor}", factor)
                service.stage("m", new)
                swap_in(service.folder / "model", new)
                wait_for(partial(has_changed, before))
                version = service.version("m")
                factors[version] = factor
                wait_for(partial(seen, version))
        finally:
            stop.set()
        loading.result()
    assert {version for version, *_ in answers} == set(factors)
    assert all(y == factors[version] * x for version, x, y in answers)
