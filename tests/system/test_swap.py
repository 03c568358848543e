"""Models that change under load: no failed request, no outdated answer."""

import asyncio
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support import saved_models
from tests.support.service import PLAIN, Service, running, wait_for


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("swap")
    saved_models.scale(folder / "model", 1.0)
    config = {
        "endpoint": {"workers": 2},
        "models": [{"id": "m", "url": "./model", "datastore": "s"}],
        "datastores": [{"id": "s", "memory_mb": 16}],
    }
    with running(folder, config, stages=True) as service:
        yield service


def replace(service: Service, factor: float, stages: bool = False) -> None:
    """Replace the model with a new version, as a deployment would.

    stages: whether the service has to stage it.
    """
    target = service.folder / "model"
    new = saved_models.scale(target.with_name(f"new-{factor}"), factor)
    if not stages:
        service.stage("m", new)
    swap_in(target, new)


def swap_in(target: Path, new: Path) -> None:
    old = target.with_name("old")
    target.rename(old)
    new.rename(target)
    shutil.rmtree(old)


Answer = tuple[int, str, float, float]  # status, version, x, y


async def send_requests(
    client: httpx.AsyncClient, answers: list[Answer], stop: asyncio.Event
) -> None:
    x = 0
    while not stop.is_set():
        x = (x + 1) % 50
        response = await client.post("/v1/api/model/m/eval", json={"x": x})
        document = response.json()
        version = response.headers.get("gomlx-version", "")
        y = document["data"]["y"] if response.status_code == 200 else -1.0
        answers.append((response.status_code, version, x, y))


async def replaced_five_times(
    service: Service, versions: dict[str, float]
) -> list[Answer]:
    answers: list[Answer] = []
    stop = asyncio.Event()
    limits = httpx.Limits(max_connections=200)
    async with (
        httpx.AsyncClient(
            base_url=service.url, timeout=30, limits=limits, verify=PLAIN
        ) as client,
        asyncio.TaskGroup() as tasks,
    ):
        for _ in range(200):
            tasks.create_task(send_requests(client, answers, stop))
        for factor in (2.0, 3.0, 4.0, 5.0, 6.0):
            await asyncio.to_thread(
                replaced, service, factor, lambda: answers[-1][1], versions
            )
        stop.set()
    return answers


def replaced(
    service: Service, factor: float, seen: Any, versions: dict[str, float]
) -> None:
    """Replace the model, and wait until the new version answers requests."""
    before = service.version("m")
    replace(service, factor, stages=factor == 2.0)
    version = wait_for(lambda: changed(service, before))
    versions[version] = factor
    wait_for(lambda: seen() == version)


def changed(service: Service, before: str) -> str:
    version = service.version("m")
    return "" if version == before else version


def test_two_hundred_concurrent_requests_and_five_replacements(
    service: Service,
) -> None:
    versions = {service.version("m"): 1.0}
    answers = asyncio.run(replaced_five_times(service, versions))
    assert {status for status, *_ in answers} == {200}
    wrong = [a for a in answers if a[3] != a[2] * versions[a[1]]]
    assert not wrong
    assert {version for _, version, _, _ in answers} == set(versions)
    last = service.version("m")
    wait_for(lambda: live_versions(service) == {last})
    for x in range(50):
        assert service.post_anew("m", {"x": x}).json()["data"] == {"y": x * 6.0}


def live_versions(service: Service) -> set[str]:
    """Return the versions that any worker answers with."""
    return {model["version"] for model in service.states()}


def reloads(service: Service, outcome: str) -> int:
    """Return how often a staging had this outcome."""
    manifest = json.loads(service.files.manifest.read_text())
    count: int = manifest["reloads"]["m"].get(outcome, 0)
    return count


def test_touched_files_are_the_same_version(service: Service) -> None:
    before = service.version("m")
    published = reloads(service, "published")
    unchanged = reloads(service, "unchanged")
    for path in (service.folder / "model").rglob("*"):
        os.utime(path)
    wait_for(lambda: reloads(service, "unchanged") > unchanged)
    assert service.version("m") == before
    assert reloads(service, "published") == published


def truncated(model: Path) -> None:
    """Cut the graph's file off."""
    graph = model / "saved_model.pb"
    graph.write_bytes(graph.read_bytes()[: graph.stat().st_size // 2])


def without_data(model: Path) -> None:
    (data,) = (model / "variables").glob("*.data*")
    data.write_bytes(b"")


@pytest.mark.parametrize("damage", [truncated, without_data])
def test_a_damaged_model_never_replaces_a_good_one(
    service: Service, damage: Any
) -> None:
    before = service.version("m")
    wait_for(lambda: live_versions(service) == {before})
    good = service.folder / f"good-{damage.__name__}"
    shutil.copytree(service.folder / "model", good)
    replace_damaged(service.folder / "model", damage)
    wait_for(lambda: service.get("/v1/api/health").json() == {"m": 0})
    response = service.post("m", {"x": 3})
    assert response.status_code == 200
    assert response.headers["gomlx-version"] == before
    assert service.ready()["ready"]
    assert service.ready()["models"]["m"]["problem"]
    replace(service, 9.0)
    wait_for(lambda: service.get("/v1/api/health").json() == {"m": 1})
    wait_for(lambda: service.post("m", {"x": 3}).json()["data"] == {"y": 27.0})
    swap_in(service.folder / "model", good)
    wait_for(lambda: service.version("m") == before)  # rolled back


def replace_damaged(target: Path, damage: Any) -> None:
    new = saved_models.scale(target.with_name("new-damaged"), 8.0)
    damage(new)
    swap_in(target, new)


def test_growing_files_are_not_staged(service: Service) -> None:
    target = service.folder / "model"
    before = service.version("m")
    wait_for(lambda: live_versions(service) == {before})
    answers = (service.post("m", {"x": 1}).json()["data"]["y"], 11.0)
    new = saved_models.scale(target.with_name("new-grown"), 11.0)
    for path in sorted(p.relative_to(new) for p in new.rglob("*") if p.is_file()):
        data = (new / path).read_bytes()
        with (target / path).open("wb") as file:
            for start in range(0, len(data), max(1, len(data) // 5)):
                file.write(data[start : start + max(1, len(data) // 5)])
                file.flush()
                response = service.post("m", {"x": 1})
                assert response.status_code == 200
                assert response.json()["data"]["y"] in answers
    wait_for(lambda: service.version("m") != before)
    wait_for(lambda: service.post("m", {"x": 1}).json()["data"] == {"y": 11.0})


def test_staged_versions_do_not_pile_up(service: Service) -> None:
    staged = service.run_dir / "models" / "m"
    wait_for(lambda: len(list(staged.iterdir())) <= 2)  # and its predecessor
