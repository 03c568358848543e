"""Models whose runs take as long as a value says, next to others."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from tests.support import saved_models
from tests.support.saved_models import save, spec
from tests.support.service import Service, running

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
