"""SIGHUP: models come, change and go, and no request of the others fails."""

import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import yaml

from tests.support import saved_models
from tests.support.processes import is_running
from tests.support.service import Service, running, wait_for


def model(name: str, url: str, **options: Any) -> dict[str, Any]:
    return {"id": name, "url": url, "datastore": "a", **options}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("reload")
    for factor in (2, 3):
        saved_models.scale(folder / f"x{factor}", float(factor))
    config = {
        "models": [model("stays", "x2"), model("goes", "x3")],
        "datastores": [{"id": "a", "memory_mb": 16}],
        "endpoint": {"workers": 2},
    }
    with running(folder, config) as service:
        yield service


class Load(threading.Thread):
    """Asks the model that stays, all the time; failed: what else it was told."""

    def __init__(self, service: Service) -> None:
        super().__init__()
        self.answers = 0
        self.failed: list[str] = []
        self._service = service
        self._is_over = threading.Event()

    def __enter__(self) -> "Load":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self.join(60)

    def run(self) -> None:
        while not self._is_over.is_set():
            with self._service.connect() as client:
                for _ in range(20):
                    self._ask(client)

    def _ask(self, client: httpx.Client) -> None:
        x = float(self.answers // 3)  # misses and hits
        try:
            answer = client.post("/v1/api/model/stays/eval", json={"x": x})
        except httpx.HTTPError as error:
            self.failed.append(repr(error))
            return
        if answer.json().get("data") != {"y": 2.0 * x}:
            self.failed.append(answer.text)
        self.answers += 1


def change(service: Service, edit: Callable[[dict[str, Any]], None]) -> None:
    """Change the config file, and have it read again; return once that is done."""
    path = service.folder / "config.yaml"
    document = yaml.safe_load(path.read_text())
    edit(document)
    path.write_text(yaml.safe_dump(document))
    said = service.text().count("the config is read again")
    service.process.send_signal(signal.SIGHUP)
    wait_for(lambda: service.text().count("the config is read again") > said)


def by_worker(service: Service, path: str) -> list[httpx.Response]:
    found = []
    for pid in service.worker_pids():
        with service.only(pid):
            found.append(service.get_anew(path))
    return found


def statuses(service: Service, name: str) -> set[int]:
    answers = by_worker(service, f"/v1/api/model/{name}/eval?x=1")
    return {answer.status_code for answer in answers}


def everywhere(service: Service, name: str, status: int) -> None:
    wait_for(lambda: statuses(service, name) == {status}, what=f"{name}: {status}")


def test_models_come_and_go(service: Service) -> None:
    workers = service.worker_pids()
    with Load(service) as load:
        wait_for(lambda: load.answers > 50)

        def edit(document: dict[str, Any]) -> None:
            document["models"][1] = model("comes", "x3")

        change(service, edit)
        everywhere(service, "goes", 404)
        assert service.ready()["ready"]  # whether or not it is staged by now
        everywhere(service, "comes", 200)
        assert service.post("comes", {"x": 2.0}).json()["data"] == {"y": 6.0}
        change(service, lambda document: document["models"].append(model("goes", "x3")))
        everywhere(service, "goes", 200)
    assert load.failed == []
    assert service.worker_pids() == workers
    assert {*service.get("/v1/api/health").json()} == {"stays", "comes", "goes"}


def test_requests_of_a_model_that_goes_are_answered(service: Service) -> None:
    """Until it is gone; then they get a 404, on the connection that they have."""
    with service.connect() as client:
        before = client.post("/v1/api/model/goes/eval", json={"x": 1.0})
        assert before.status_code == 200

        def edit(document: dict[str, Any]) -> None:
            document["models"] = document["models"][:2]

        change(service, edit)
        answers = Counter[int]()

        def ended() -> bool:
            answer = client.post("/v1/api/model/goes/eval", json={"x": 1.0})
            answers[answer.status_code] += 1
            return answer.status_code == 404

        wait_for(ended)
        assert answers.keys() <= {200, 404}
        assert "comes" in client.get("/v1/api/model/goes/eval?x=1").json()["error"]


def test_the_gauges_of_a_model_go_with_it(service: Service) -> None:
    def shown() -> set[str]:
        found = service.get("/metrics").text.splitlines()
        names = {line.partition("{")[0] for line in found if 'model="goes"' in line}
        return {name for name in names if not name.endswith(("_total", "_created"))}

    everywhere(service, "goes", 404)
    counted = ("_bucket", "_count", "_sum")
    wait_for(lambda: not [one for one in shown() if not one.endswith(counted)])
    assert service.metric("gomlx_requests_in_flight", model="stays") == 0


def test_limits_and_settings_of_a_model_change(service: Service) -> None:
    def edit(document: dict[str, Any]) -> None:
        document["models"][0]["batch"] = {"max_queued_rows": 2}
        document["endpoint"]["max_body_bytes"] = 1024

    change(service, edit)
    three = {"x": [1.0, 2.0, 3.0], "batch_size": 3}
    wait_for(lambda: service.post_anew("stays", three).status_code == 413)
    wait_for(lambda: service.post_anew("comes", {"x": [1.0] * 400}).status_code == 413)
    shown = service.get_anew("/v1/api/config").json()["endpoint"]
    assert shown["max_body_bytes"] == 1024
    (pid, *_) = service.worker_pids()
    os.kill(pid, signal.SIGKILL)  # the next worker has the config as it is now
    wait_for(lambda: not is_running(pid) and len(service.worker_pids()) == 2)
    wait_for(lambda: statuses(service, "comes") == {200})
    configs = by_worker(service, "/v1/api/config")
    assert {one.json()["endpoint"]["max_body_bytes"] for one in configs} == {1024}


def test_what_needs_a_restart_is_named(service: Service) -> None:
    def edit(document: dict[str, Any]) -> None:
        document["endpoint"]["workers"] = 3
        document["models"][0]["isolate"] = {}

    change(service, edit)
    wait_for(lambda: "endpoint.workers needs a restart, and is left" in service.text())
    assert "model 'stays' needs a restart: it is the first with" in service.text()
    assert statuses(service, "stays") == {200}


def test_an_invalid_file_changes_nothing(service: Service) -> None:
    def edit(document: dict[str, Any]) -> None:
        document["models"] = [model("other", "x2", datastore="nowhere")]

    change(service, edit)
    wait_for(lambda: "nothing of the config is changed" in service.text())
    assert "no datastore 'nowhere'" in service.text()
    assert statuses(service, "stays") == {200}
    assert statuses(service, "other") == {404}
