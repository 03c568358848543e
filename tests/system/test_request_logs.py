"""The access log and the logs of rows, of a real service with two workers."""

import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import gomlx
from tests.support import saved_models
from tests.support.service import Service, running, wait_for

EVAL = "/v1/api/model/m/eval"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("logs")
    saved_models.scale(folder / "m", 2.0)
    (folder / "stuck").mkdir()
    for slot in (0, 1):
        os.mkfifo(folder / "stuck" / f"rows.{slot}.jsonl")
    config = {
        "access_log": {"to": "logs/access.jsonl"},
        "models": [
            {
                "id": "m",
                "url": "m",
                "datastore": "a",
                "log": {"to": "logs/rows.jsonl", "fields": ["x", "y", "nothing"]},
            },
            {
                "id": "secret",
                "url": "m",
                "log": {"to": "logs/rows.jsonl", "fields": []},
            },
            {
                "id": "stuck",
                "url": "m",
                "log": {"to": "stuck/rows.jsonl", "fields": "all"},
            },
            {"id": "plain", "url": "m"},
        ],
        "datastores": [{"id": "a", "memory_mb": 16}],
        "endpoint": {"workers": 2, "max_body_bytes": 8 << 20},
    }
    with running(folder, config) as service:
        yield service


def lines(service: Service, name: str) -> list[dict[str, Any]]:
    """The lines of all workers."""
    files = (service.folder / "logs").glob(f"{name}.?.jsonl")
    return [json.loads(one) for file in files for one in file.read_text().splitlines()]


def accesses(service: Service, **fields: Any) -> list[dict[str, Any]]:
    found = lines(service, "access")
    return [one for one in found if fields.items() <= one.items()]


def rows(service: Service, model: str, x: float) -> list[dict[str, Any]]:
    return [
        one
        for one in lines(service, "rows")
        if one["model"] == model and one["row"].get("x", x) == x
    ]


def test_every_protocol_and_route_is_in_the_access_log(service: Service) -> None:
    for _ in range(2):
        assert service.post("m", {"x": 1.5}).status_code == 200
    assert service.get(f"{EVAL}?x=2.5").status_code == 200
    assert service.post("m", {"x": "no number"}).status_code == 400
    headers = {"X-Request-Id": "r-7"}
    missing = service.client.get("/v1/api/nothing?secret=1", headers=headers)
    assert missing.status_code == 404
    stream = service.client.post(
        "/v1/api/model/m/stream", content=b'{"x":3.5}\n{"x":4.5}\n'
    )
    options = gomlx.Options(http2=True)
    with gomlx.Client("m", service.url, options=options) as client:
        assert client.predict(x=5.5) == {"y": 11.0}
    wait_for(lambda: len(accesses(service, path=EVAL)) >= 5)
    posts = accesses(service, path=EVAL, method="POST", status=200, model="m")
    caches = Counter((one["cache"], one["tier"]) for one in posts)
    assert caches == {("miss", "model"): 2, ("hit", "L1"): 1}
    assert accesses(service, method="GET", path=EVAL, cache="miss", model="m")
    assert accesses(service, method="POST", path=EVAL, status=400)
    (found,) = accesses(service, path="/v1/api/nothing")
    assert found["request_id"] == "r-7"
    assert found["bytes"] == len(missing.content)
    (found,) = accesses(service, path="/v1/api/model/m/stream")
    assert found["bytes"] == len(stream.content)
    assert found["model"] == "m"
    assert {one["peer"] for one in accesses(service)} == {"127.0.0.1"}
    assert all(0 <= one["seconds"] < 60 for one in accesses(service))
    assert "query" not in {key for one in accesses(service) for key in one}
    for file in (service.folder / "logs").iterdir():
        assert file.stat().st_mode & 0o777 == 0o600


def test_rows_with_their_answers(service: Service) -> None:
    body = {"batch_size": 2, "x": [20.5, 21.5]}
    first = service.post("m", body)
    again = service.post("m", {"x": 20.5})
    wait_for(lambda: len(rows(service, "m", 20.5)) == 2)
    by_tier = {one["tier"]: one for one in rows(service, "m", 20.5)}
    assert by_tier.keys() == {"L1", "model"}
    for one in by_tier.values():
        assert one["row"] == {"x": 20.5}
        assert one["answer"] == {"y": 41.0}
        assert one["version"] == first.headers["gomlx-version"]
    assert by_tier["L1"]["key"] == by_tier["model"]["key"]
    assert by_tier["L1"]["cache"] == "hit"
    assert again.headers["cache-status"] == "gomlx; hit; detail=L1"
    (other,) = rows(service, "m", 21.5)
    assert other["answer"] == {"y": 43.0}


def test_a_large_batch_is_logged_as_it_was_sent(service: Service) -> None:
    """Its text is parsed in a thread."""
    size = 4000
    x = [1000.5 + n for n in range(size)]
    body = {"batch_size": size, "x": x, "cache_key": "k" * 70_000}
    for _ in range(2):
        assert service.post("m", body).status_code == 200
    wait_for(lambda: len(lines(service, "rows")) >= 2 * size)
    found = [one for one in lines(service, "rows") if one["row"].get("x", 0) > 1000]
    assert Counter(one["row"]["x"] for one in found) == Counter(x + x)
    assert all(one["answer"]["y"] == 2 * one["row"]["x"] for one in found)


def test_what_is_not_allowed_is_not_logged(service: Service) -> None:
    service.post("secret", {"x": 12345.5})
    wait_for(lambda: rows(service, "secret", 0))
    (found,) = rows(service, "secret", 0)
    assert found["row"] == found["answer"] == {}
    assert (found["cache"], found["key"]) == ("bypass", None)
    files = [*(service.folder / "logs").iterdir()]
    assert not any("12345.5" in file.read_text() for file in files)
    assert "model m: log.fields has names it has not: nothing" in service.text()


def test_a_log_that_nobody_reads_costs_lines_and_no_request(service: Service) -> None:
    """The worker waits to open a FIFO, for ever: its queue has an end."""
    body = {"batch_size": 500, "x": [float(n) for n in range(500)]}
    dropped = {"log": "rows", "model": "stuck", "outcome": "dropped"}

    def is_dropped() -> bool:
        for _ in range(20):
            assert service.post("stuck", body).status_code == 200
        return service.metric("gomlx_log_lines_total", **dropped) > 0

    wait_for(is_dropped)
    assert service.post("m", {"x": 77.5}).status_code == 200
    wait_for(lambda: rows(service, "m", 77.5))
    written = {"log": "rows", "model": "m", "outcome": "written"}
    wait_for(lambda: service.metric("gomlx_log_lines_total", **written) > 0)


def test_it_stops_all_the_same(service: Service) -> None:
    """The last one: lines that wait are written, and a FIFO is not waited for."""
    before = len(lines(service, "access"))
    for n in range(10):
        service.post("m", {"x": 500.5 + n})
    assert service.stop() == 0
    found = lines(service, "access")
    assert len(found) >= before + 10
    for name in ("rows.0.jsonl", "rows.1.jsonl"):
        reading = os.open(service.folder / "stuck" / name, os.O_RDONLY | os.O_NONBLOCK)
        assert not os.read(reading, 1)  # no writer is left
        os.close(reading)


def test_lines_on_standard_output(tmp_path: Path) -> None:
    saved_models.scale(tmp_path / "m", 2.0)
    config = {
        "log_format": "json",
        "access_log": {"sample": 1, "queries": True},
        "models": [{"id": "m", "url": "m"}],
    }
    with running(tmp_path, config) as service:
        service.get(f"{EVAL}?x=2.5")
        wait_for(lambda: '"query":"x=2.5"' in service.text())
        records = [json.loads(line) for line in service.text().splitlines()]
    assert {"access", "gomlx"} <= {one["logger"] for one in records}
