"""What dashboards and autoscalers read, as a live service with two workers tells it."""

import os
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from gomlx.runtime.process import most_connections
from tests.support import redis_servers, saved_models
from tests.support.service import Service, running, wait_for

MOST_OF_A_MODEL = 80
MOST_OF_A_TIER = 25
# What a request for a model may be answered with, some only with luck.
CODES = {"200", "400", "408", "413", "429", "499", "500", "503", "504"}
DOCS = Path(__file__).parents[2] / "docs" / "metrics.md"
UNITS: dict[str, str | tuple[str, ...]] = {
    "_timestamp_seconds": "Unix time",
    "_start_time_seconds": "Unix time",
    "_seconds": ("Seconds", "CPU seconds"),
    "_seconds_total": "Seconds",
    "_bytes": "Bytes",
    "_bytes_total": "Bytes",
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("load")
    scale = str(saved_models.scale(folder / "scale", 2.0))
    slow = str(saved_models.sleeper(folder / "slow"))
    with redis_servers.server(folder / "redis") as near:
        config = {
            "endpoint": {"workers": 2, "drain_seconds": 60},
            "models": [
                {"id": "scale", "url": scale, "datastore": "answers"},
                {"id": "slow", "url": slow, "batch": {"max_rows": 1}},
            ],
            "connections": [{"id": "near", "url": near.url}],
            "datastores": [
                {"id": "answers", "memory_mb": 16, "tiers": [{"connection": "near"}]}
            ],
        }
        with running(folder, config) as service:
            yield service


class Load:
    """Keeps a model busy with more rows than it can run, until the block ends."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._post, args=(n,)) for n in (1, 2)]

    def __enter__(self) -> None:
        for thread in self._threads:
            thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)

    def _post(self, first: int) -> None:
        rows = [first * 1000 + n for n in range(40)]
        with self._service.connect() as client:
            while not self._stop.is_set():
                body = {"x": rows, "batch_size": len(rows)}
                client.post("/v1/api/model/slow/eval", json=body)


def lines(service: Service) -> list[str]:
    text = service.get_anew("/metrics").text
    return [line for line in text.splitlines() if not line.startswith("#")]


def helps(service: Service) -> dict[str, str]:
    """The help texts by metric."""
    text = service.get_anew("/metrics").text
    return dict(re.findall(r"^# HELP (\S+) (.+)$", text, re.M))


def refuse(service: Service) -> None:
    """Have requests for both models answered in many ways."""
    for body in (b"{", b'{"x":[1],"batch_size":2}', b'{"x":1}'):
        service.client.post("/v1/api/model/scale/eval", content=body)
    late = {"Request-Timeout-Ms": "1"}
    service.client.post("/v1/api/model/slow/eval", json={"x": 1}, headers=late)


def test_a_model_and_a_tier_have_few_series(service: Service) -> None:
    refuse(service)
    wait_for(lambda: service.metric("gomlx_requests_total", model="slow", code="504"))
    found = lines(service)
    for model in ("scale", "slow"):
        series = [line for line in found if f'model="{model}"' in line]
        codes = [line for line in series if line.startswith("gomlx_requests_total")]
        assert codes
        assert len(series) - len(codes) + len(CODES) <= MOST_OF_A_MODEL
        last = f'gomlx_request_seconds_bucket{{le="30.0",model="{model}"}}'
        assert any(line.startswith(last) for line in series)
    for tier in ("L1", "near"):
        series = [
            line for line in found if f'tier="{tier}"' in line and "model=" not in line
        ]
        assert 10 < len(series) <= MOST_OF_A_TIER


def test_every_metric_is_explained_with_its_unit(service: Service) -> None:
    refuse(service)
    page = DOCS.read_text()
    found = helps(service)
    assert len(found) > 40
    for name, text in found.items():
        assert f"`{name}`" in page
        assert text in page.replace(r"\|", "|")
        unit = max((one for one in UNITS if name.endswith(one)), key=len, default="")
        assert not unit or text.startswith(UNITS[unit]), name


def test_what_waits_and_what_runs_is_shown(service: Service) -> None:
    names = ("gomlx_queue_rows", "gomlx_queue_seconds", "gomlx_requests_in_flight")
    seen: set[str] = set()

    def look() -> bool:
        seen.update(name for name in names if service.metric(name, model="slow") > 0)
        return len(seen) == len(names)

    with Load(service):
        wait_for(look)
    for name in names:
        wait_for(lambda name=name: service.metric(name, model="slow") == 0)  # type: ignore[misc]


def test_connections_and_bytes_are_counted(service: Service) -> None:
    def carried() -> tuple[float, float]:
        sent = service.metric("gomlx_response_bytes_total")
        return service.metric("gomlx_request_bytes_total"), sent

    before = carried()
    with httpx.Client(base_url=service.url, http1=False, http2=True) as http2:
        for client in (service.client, http2):
            rows = {"x": [0.5] * 1000, "batch_size": 1000}
            response = client.post("/v1/api/model/scale/eval", json=rows)
            assert response.status_code == 200
            sent = len(response.content)
            size = len(response.request.content)
            wait_for(lambda b=before, s=size: carried()[0] >= b[0] + s)  # type: ignore[misc]
            wait_for(lambda b=before, s=sent: carried()[1] >= b[1] + s)  # type: ignore[misc]
            before = carried()
        wait_for(lambda: service.metric("gomlx_connections") >= 2)
    assert service.metric("process_open_fds", process="worker_0") > 10
    assert (
        service.metric("process_max_fds", process="worker_0") > most_connections() / 2
    )


def test_stagings_and_loads_are_timed(service: Service) -> None:
    started = service.metric("process_start_time_seconds", process="supervisor")
    for model in ("scale", "slow"):
        assert service.metric("gomlx_last_staging_seconds", model=model) > 0
        for name in ("staging", "load"):
            metric = f"gomlx_last_{name}_timestamp_seconds"
            assert service.metric(metric, model=model) > started - 1


def test_requests_for_no_model_are_no_model_s_errors(service: Service) -> None:
    def unrouted(code: int) -> float:
        return service.metric("gomlx_unrouted_requests_total", code=str(code))

    before = unrouted(404)
    assert service.get("/nothing").status_code == 404
    assert service.post("nobody", {"x": 1}).status_code == 404
    wait_for(lambda: unrouted(404) == before + 2)
    assert service.metric("gomlx_requests_total", code="404") == 0
    assert not any('model="unknown"' in line for line in lines(service))


def test_what_died_and_what_runs_is_told(service: Service) -> None:
    assert service.metric("gomlx_build_info") == 1
    assert service.metric("gomlx_workers") == service.metric("gomlx_workers_configured")
    assert service.metric("gomlx_draining") == 0
    died = service.metric("gomlx_worker_restarts_total", reason="died")
    os.kill(service.worker_pids()[0], signal.SIGKILL)

    def scraped(name: str, **labels: str) -> float:
        with suppress(httpx.TransportError):  # of a connection of the dead worker
            return Service.metric(service, name, **labels)
        return -1

    wait_for(lambda: scraped("gomlx_worker_restarts_total", reason="died") == died + 1)
    wait_for(lambda: scraped("gomlx_workers") == 2)
    os.kill(service.master_pid(), signal.SIGKILL)
    wait_for(lambda: scraped("gomlx_gunicorn_restarts_total") == 1)


def test_draining_is_shown(service: Service) -> None:
    wait_for(lambda: len(service.worker_pids()) == 2)
    service.process.send_signal(signal.SIGTERM)
    wait_for(lambda: "gomlx_draining 1.0" in lines(service))
