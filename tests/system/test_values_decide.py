"""Models whose runs take as long as a value says, next to others."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from gomlx.server.process.run_watch import claim
from tests.support import saved_models
from tests.support.processes import is_running
from tests.support.saved_models import save, spec
from tests.support.service import Service, running, wait_for

FOREVER = 1e12
TURNS = 1_500_000.0  # of a loop, that take several seconds


def counting(path: Path) -> Path:
    """y = x, counted one by one."""

    def f(x: Any) -> Any:
        most = tf.cast(x, tf.float64)
        start = tf.zeros_like(most)
        (y,) = tf.while_loop(
            lambda y: tf.reduce_any(y < most), lambda y: (y + 1,), (start,)
        )
        return {"y": y}

    return save(path, f, [spec("x")])


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("values")
    counting(folder / "counting")
    saved_models.scale(folder / "scale", 2.0)
    alone = {"rows": "alone"}
    config = {
        "models": [
            {"id": "counting", "url": "./counting", "batch": alone, "datastore": "s"},
            {"id": "scale", "url": "./scale", "datastore": "s"},
            {"id": "brief", "url": "./counting", "batch": alone, "run_seconds": 2}
            | {"datastore": "s"},
        ],
        "datastores": [{"id": "s", "memory_mb": 16}],
    }
    with running(folder, config) as one:
        yield one


def test_others_are_answered_while_a_long_run_goes_on(service: Service) -> None:
    assert service.post("counting", {"x": 3.0}).json()["data"] == {"y": 3.0}
    with ThreadPoolExecutor(1) as pool:
        long = pool.submit(service.post_anew, "counting", {"x": TURNS})
        answers = [service.post_anew("scale", {"x": float(x)}) for x in range(10)]
        answers += [service.post_anew("scale", {"x": 1.0}) for _ in range(10)]
        hit = service.post_anew("counting", {"x": 3.0})
        assert not long.done()
    assert [answer.json()["data"]["y"] for answer in answers[:10]] == [
        2.0 * x for x in range(10)
    ]
    assert hit.json()["data"] == {"y": 3.0}
    assert long.result().json()["data"] == {"y": TURNS}


def test_a_run_that_outlasts(service: Service) -> None:
    turn = service.files.state / "replaced"
    assert claim(turn, 0)  # no worker is replaced for a minute
    (pid,) = service.worker_pids()
    assert service.post("brief", {"x": 3.0}).json()["data"] == {"y": 3.0}
    late = service.post("brief", {"x": FOREVER})
    assert late.status_code == 504
    assert "its run took over 2 s" in late.text
    for x in range(4, 7):
        refused = service.post("brief", {"x": float(x)})
        assert refused.status_code == 503
        assert "cannot be stopped" in refused.text
    assert service.post("brief", {"x": 3.0}).json()["data"] == {"y": 3.0}
    assert service.post("counting", {"x": 9.0}).json()["data"] == {"y": 9.0}
    assert service.post("scale", {"x": 77.0}).json()["data"] == {"y": 154.0}
    counter = "gomlx_model_runs_outlasted_total"
    wait_for(lambda: service.metric(counter, model="brief") == 1)
    told = [line for line in service.text().splitlines() if "is given up" in line]
    assert [line.rpartition(" and is ")[2] for line in told] == [
        "given up: rows: 1; shapes of the first: x: []"
    ]
    assert service.worker_pids() == [pid]
    turn.unlink()
    wait_for(lambda: service.worker_pids() not in ([], [pid]))
    assert service.post_anew("brief", {"x": 4.0}).json()["data"] == {"y": 4.0}
    assert not is_running(pid)
    assert turn.exists()


def test_a_service_stops_in_spite_of_a_run(service: Service) -> None:
    assert service.post_anew("brief", {"x": FOREVER}).status_code == 504
    assert service.stop() == 0
