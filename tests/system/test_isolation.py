"""Models that run in processes of their own: what they answer, and how they end."""

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import tensorflow as tf

from tests.support import saved_models
from tests.support.processes import is_running, parent_of
from tests.support.saved_models import save, spec
from tests.support.service import Service, running, wait_for
from tests.system.test_swap import swap_in
from tests.system.test_values_decide import FOREVER, TURNS, counting

WORDS = ["rome", "oslo", "x"]
SIZE = 60_000  # floats of a row: more than a frame carries


def many(path: Path) -> Path:
    """Many numbers of each row, and texts."""

    def f(x: Any, w: Any) -> Any:
        ys = tf.math.sin(x * tf.range(SIZE, dtype=tf.float32))
        return {"ys": ys, "w": tf.strings.join([w, w]), "n": tf.strings.length(w)}

    return save(path, f, [spec("x"), spec("w", "string")])


def eater(path: Path) -> Path:
    """y = x, with memory for as many numbers."""

    def f(x: Any) -> Any:
        count = tf.cast(tf.reshape(x, [-1])[:1], tf.int32)
        return {"y": x + tf.reduce_sum(tf.fill(count, 0.0))}

    return save(path, f, [spec("x")])


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("isolation")
    many(folder / "many")
    saved_models.lookup(folder / "lookup", WORDS)
    saved_models.dense(folder / "dense")
    saved_models.pick(folder / "pick")
    saved_models.scale(folder / "scale", 2.0)
    counting(folder / "counting")
    eater(folder / "eater")
    models: list[dict[str, Any]] = [
        {"id": name, "url": f"./{name}"}
        for name in ("many", "lookup", "dense", "pick", "scale")
    ]
    isolate: dict[str, Any] = {"isolate": {"memory_mb": 1024}}
    models += [{**model, "id": f"{model['id']}-apart"} | isolate for model in models]
    alone = {"batch": {"rows": "alone"}, **isolate}
    models.append({"id": "hangs", "url": "./counting", "run_seconds": 2, **alone})
    models.append({"id": "counts", "url": "./counting", **alone})
    models.append({"id": "eats", "url": "./eater", **alone})
    with running(folder, {"models": models}) as one:
        yield one


def children_of(pid: int) -> list[int]:
    pids = (int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal())
    found = []
    for one in pids:
        try:
            if parent_of(one) == pid and is_running(one):
                found.append(one)
        except OSError:
            continue
    return sorted(found)


def isolated_pids(service: Service) -> list[int]:
    """The processes of all isolated models of the only worker."""
    (worker,) = service.worker_pids()
    (spawner,) = children_of(worker)
    return children_of(spawner)


def data_of(reply: httpx.Response) -> bytes:
    """The text of the answers, in which each float has all of its digits."""
    return reply.content.partition(b'"data":')[2]


def said_by(reply: httpx.Response) -> str:
    """The beginning of TensorFlow's message."""
    return reply.text.partition(" failed: ")[2][:40]


def restarts(service: Service, model: str) -> float:
    return service.metric("gomlx_isolated_restarts_total", model=model)


@pytest.mark.parametrize(
    ("model", "row"),
    [
        ("many", {"x": 1.5, "w": "ää"}),
        (
            "many",
            {"batch_size": 3, "x": [0.1, -3.5, 1e-30], "w": ["", "b", "c" * 100_000]},
        ),
        ("lookup", {"batch_size": 4, "word": [*WORDS, "unknown"]}),
        ("dense", {"batch_size": 3, "p": [0.1, 1e-7, -3.0], "q": [1 / 3, 5.5, 2.25]}),
        ("scale", {"x": 3.25}),
    ],
)
def test_answers_are_those_of_the_worker(
    service: Service, model: str, row: dict[str, Any]
) -> None:
    here = service.post(model, row)
    apart = service.post(f"{model}-apart", row)
    assert here.status_code == apart.status_code == 200, here.text[:300]
    assert data_of(here) == data_of(apart)


def test_a_row_that_the_model_refuses_fails_alone(service: Service) -> None:
    before = isolated_pids(service)
    here = service.post("pick", {"x": 1000})
    apart = service.post("pick-apart", {"x": 1000})
    assert here.status_code == apart.status_code == 500
    assert said_by(here) == said_by(apart)
    assert service.post("pick-apart", {"x": 1}).status_code == 200
    assert isolated_pids(service) == before


def test_a_run_without_end_is_ended(service: Service) -> None:
    before = restarts(service, "hangs")
    with ThreadPoolExecutor(1) as pool:
        late = pool.submit(service.post_anew, "hangs", {"x": FOREVER})
        others = [service.post_anew("scale", {"x": float(x)}) for x in range(10)]
        assert not late.done()
    assert [one.json()["data"]["y"] for one in others] == [2.0 * x for x in range(10)]
    assert late.result().status_code == 504
    assert "its run took over 2 s" in late.result().text
    assert service.post("hangs", {"x": 5.0}).json()["data"] == {"y": 5.0}
    wait_for(lambda: restarts(service, "hangs") == before + 1)
    counter = "gomlx_model_runs_outlasted_total"
    wait_for(lambda: service.metric(counter, model="hangs") == 1)


def test_a_process_that_is_killed_in_a_run(service: Service) -> None:
    before = isolated_pids(service)
    with ThreadPoolExecutor(1) as pool:
        long = pool.submit(service.post_anew, "counts", {"x": TURNS * 100})
        victim = wait_for(partial(busy, before))
        os.kill(victim, signal.SIGKILL)
        failed = long.result()
    assert failed.status_code == 500
    assert "model 'counts' failed: its process was ended by SIGKILL" in failed.text
    assert service.post("counts", {"x": 7.0}).json()["data"] == {"y": 7.0}
    assert victim not in isolated_pids(service)


def busy(pids: list[int]) -> int:
    """One of the processes that has a run under way, or 0."""
    before = {pid: ticks(pid) for pid in pids}
    threading.Event().wait(0.3)
    return next((pid for pid in pids if ticks(pid) - before[pid] > 10), 0)


def ticks(pid: int) -> int:
    """The processor time of a process, in hundredths of a second; 0 if it has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return 0
    return int(stat.rpartition(")")[2].split()[11])


def test_processes_that_are_killed_between_runs_fail_no_request(
    service: Service,
) -> None:
    before = isolated_pids(service)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not any(map(is_running, before)))
    assert service.post("scale-apart", {"x": 9.0}).json()["data"] == {"y": 18.0}
    counted = service.post("counts", {"x": 9.0})
    assert counted.json().get("data") == {"y": 9.0}, counted.text
    assert service.post("dense-apart", {"p": 9.0, "q": 1.0}).status_code == 200
    assert not set(before) & set(isolated_pids(service))


def test_memory_is_limited(service: Service) -> None:
    assert service.post("eats", {"x": 1000.0}).json()["data"] == {"y": 1000.0}
    failed = service.post("eats", {"x": 2e9})
    assert failed.status_code == 500
    assert "It may allocate 1024 MB (isolate.memory_mb of the model)" in failed.text
    assert service.post("eats", {"x": 1001.0}).json()["data"] == {"y": 1001.0}


def test_the_processes_are_confined(service: Service) -> None:
    for pid in isolated_pids(service):
        status = Path(f"/proc/{pid}/status").read_text()
        assert "NoNewPrivs:\t1" in status
        assert "Seccomp:\t2" in status


def test_a_reload_swaps_processes(service: Service) -> None:
    count = len(isolated_pids(service))
    factors = {service.version("scale-apart"): 2.0}
    answers: list[tuple[int, str, float, float]] = []
    stop = threading.Event()

    def ask(x: int) -> None:
        reply = service.post_anew("scale-apart", {"x": float(x)})
        y = reply.json()["data"]["y"]
        answers.append((reply.status_code, reply.headers["gomlx-version"], x, y))

    def load() -> None:
        for x in range(1_000_000):
            if stop.is_set():
                return
            ask(x)

    def changed(before: str) -> bool:
        return service.version("scale-apart") != before

    def seen(version: str) -> bool:
        return any(found == version for _, found, *_ in answers) or loading.done()

    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(load)
        try:
            for factor in (3.0, 4.0):
                before = service.version("scale-apart")
                new = saved_models.scale(service.folder / f"new-{factor}", factor)
                service.stage("scale-apart", new)
                swap_in(service.folder / "scale", new)
                wait_for(partial(changed, before))
                factors[service.version("scale-apart")] = factor
                wait_for(partial(seen, service.version("scale-apart")))
        finally:
            stop.set()
        loading.result()
    assert {version for _, version, *_ in answers} == set(factors)
    assert all(code == 200 for code, *_ in answers)
    assert all(y == factors[version] * x for _, version, x, y in answers)
    wait_for(lambda: len(isolated_pids(service)) == count)


def test_they_end_with_their_worker(service: Service) -> None:
    (worker,) = service.worker_pids()
    before = [*children_of(worker), *isolated_pids(service)]
    os.kill(worker, signal.SIGKILL)
    wait_for(lambda: not any(map(is_running, before)))
    wait_for(lambda: service.worker_pids() not in ([], [worker]))
    assert service.post_anew("dense-apart", {"p": 1.0, "q": 1.0}).status_code == 200
