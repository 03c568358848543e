"""The numbers that mly's tools read, of a service with two workers."""

import asyncio
import json
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support import saved_models
from tests.support.service import PLAIN, Service, running, wait_for

MODELS = ["kinds", "runs", "rows", "slow", "once", "scale"]
STORES = ["k", "s"]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("operations")
    slow = saved_models.sleeper(folder / "slow")
    pick = str(saved_models.pick(folder / "pick"))
    scale = str(saved_models.scale(folder / "scale", 2.0))
    models: list[dict[str, Any]] = [
        {"id": "kinds", "url": pick, "datastore": "k"},
        {"id": "runs", "url": pick},
        {"id": "rows", "url": pick, "datastore": "s"},
        {"id": "slow", "url": str(slow), "batch": {"max_queued_rows": 1}},
        {"id": "once", "url": scale},
        {"id": "scale", "url": scale},
    ]
    config = {
        "endpoint": {"workers": 2},
        "models": models,
        "datastores": [{"id": name, "memory_mb": 16} for name in STORES],
    }
    with running(folder, config) as service:
        yield service


def metric(service: Service, path: str) -> Any:
    """A document; on a connection of its own, so from whichever worker."""
    response = service.get_anew(f"/v1/api/metric/{path}")
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.text.endswith("\n")
    return response.json()


def samples(service: Service, name: str) -> list[float]:
    """The value of a sample in Prometheus' format, if it is there."""
    lines = service.get("/metrics").text.splitlines()
    return [float(x.split()[-1]) for x in lines if x.startswith(f"{name} ")]


def categories(operation: Any, field: str = "Count") -> dict[str, int]:
    """The categories that were counted."""
    return {c["Value"]: c[field] for c in operation["Counters"] if field in c}


def post(service: Service, model: str, *bodies: bytes) -> Counter[int]:
    """Send requests at once, each on its own connection; count their statuses."""

    async def statuses() -> list[int]:
        async with httpx.AsyncClient(timeout=30, verify=PLAIN) as client:
            url = f"{service.url}/v1/api/model/{model}/eval"
            options = {"url": url, "headers": {"connection": "close"}}
            responses = (client.post(**options, content=body) for body in bodies)  # type: ignore[arg-type]
            return [
                response.status_code for response in await asyncio.gather(*responses)
            ]

    return Counter(asyncio.run(statuses()))


def operation(service: Service, name: str, count: int) -> Any:
    """An operation, as soon as it has counted so much."""

    def found() -> Any:
        document = metric(service, f"operation/{name}")
        return document.get("Count", 0) >= count and document

    document = wait_for(found, what=f"{name} to count {count}")
    assert document["Count"] == count
    return document


def test_every_kind_of_request_adds_up(service: Service) -> None:
    seen = post(
        service,
        "kinds",
        *[b'{"x":1}'] * 12,
        *[b'{"x":7}'] * 4,  # TensorFlow refuses it
        *[b'{"x":"a"}'] * 3,
        *[b"{"] * 2,
        b'{"x":[1],"batch_size":5000}',
    )
    assert seen == {200: 12, 500: 4, 400: 5, 413: 1}
    perf = operation(service, "kindsPerf", 22)
    assert categories(perf) == {"eval": 12, "error": 4, "invalid": 6}
    assert categories(perf, "Pct") == {"eval": 54, "error": 18, "invalid": 27}
    assert [counter["Value"] for counter in perf["Counters"]] == [
        "error",
        "eval",
        "pending",
        "timeout",
        "invalid",
        "canceled",
        "deadlineExceeded",
        "overloaded",
    ]
    assert perf["Counters"][2] == {"Value": "pending", "Custom": None}
    handler = operation(service, "kindsHTTPHandler", 22)
    assert categories(handler) == {"error": 10}
    assert handler["TimeTaken"] == perf["TimeTaken"]


@pytest.mark.parametrize(
    ("name", "seconds"),
    [("oncePerf", "gomlx_request_seconds"), ("onceEval", "gomlx_model_run_seconds")],
)
def test_times_are_microseconds(service: Service, name: str, seconds: str) -> None:
    if not metric(service, "operation/oncePerf").get("Count"):
        assert post(service, "once", b'{"x":1}') == {200: 1}
    found = operation(service, name, 1)
    total_time = found["TimeTaken"]
    assert [found[name] for name in ("Min", "Max", "Avg")] == [total_time] * 3
    (total,) = samples(service, f'{seconds}_sum{{model="once"}}')
    assert total_time == round(total * 1e6) > 0
    assert (found["Unit"], found["RecentUnit"]) == ("1µs", "1m0s")


def test_overloaded_and_canceled(service: Service) -> None:
    seen = Counter[int]()

    def some_are_shed() -> bool:
        seen.update(post(service, "slow", *(b'{"x":%d}' % n for n in range(12))))
        return seen.keys() == {200, 429}

    wait_for(some_are_shed)  # at once, if they come at once
    address = httpx.URL(service.url)
    disconnected = 0

    def one_is_missed() -> Any:
        nonlocal disconnected
        disconnected += 1
        with socket.create_connection((address.host, address.port or 0)) as connection:
            connection.sendall(
                b"POST /v1/api/model/slow/eval HTTP/1.1\r\nhost: x\r\n"
                b'content-length: 7\r\n\r\n{"x":3}'
            )
        found = categories(operation(service, "slowPerf", seen.total() + disconnected))
        return "canceled" in found and found

    found = wait_for(one_is_missed)  # the first, unless it was answered before that
    # Its row may have run before the disconnect was noticed.
    assert found.pop("eval") - seen[200] in (disconnected - 1, disconnected)
    assert found == {"overloaded": seen[429], "canceled": 1}
    assert categories(metric(service, "operation/slowHTTPHandler")) == {
        "error": seen[429],
        "canceled": 1,
    }


def test_runs_and_their_failures(service: Service) -> None:
    assert post(service, "runs", b'{"x":1}') == {200: 1}
    assert post(service, "runs", b'{"x":7}') == {500: 1}
    batch = b'{"x":[1,7],"batch_size":2}'
    assert post(service, "runs", batch) == {500: 1}
    runs = operation(service, "runsEval", 2 + 1 + 2)  # the batch, then its halves
    assert categories(runs) == {"error": 3}
    assert categories(runs, "Pct") == {"error": 60}


def test_every_tier_has_an_operation_for_look_ups_and_one_for_writes(
    service: Service,
) -> None:
    def counted(name: str) -> int:
        count: int = metric(service, f"operation/{name}").get("Count", 0)
        return count

    before = counted("s")
    written = counted("sCacheW")
    post(service, "rows", b'{"x":[2,2,0],"batch_size":3}')
    wait_for(lambda: counted("sCacheW") == written + 2)
    post(service, "rows", b'{"x":[2,2,0,0],"batch_size":4}')
    rows = operation(service, "s", before + 7)
    assert sum(categories(rows).values()) == rows["Count"]
    assert categories(rows).keys() == {"hit", "miss"}
    assert 0 < rows["Min"] <= rows["Avg"] <= rows["Max"] <= rows["TimeTaken"]
    writes = metric(service, "operation/sCacheW")
    assert categories(writes) == {"written": writes["Count"]}
    assert samples(service, 'gomlx_cache_seconds_count{datastore="s",tier="L1"}')
    labels = '{datastore="s",outcome="written",tier="L1"}'
    assert samples(service, f"gomlx_cache_writes_total{labels}") == [writes["Count"]]


def test_single_numbers_and_the_current_minute(service: Service) -> None:
    post(service, "scale", b'{"x":1}')
    # Its worker flushes its counts four times a second.
    wait_for(lambda: "Count" in metric(service, "operation/scalePerf"))
    whole = metric(service, "operation/scalePerf")
    for name, value in (
        ("count", whole["Count"]),
        ("min", whole["Min"]),
        ("max", whole["Max"]),
        ("avg", whole["Avg"]),
        ("timeTaken", whole["TimeTaken"]),
        ("eval", whole["Count"]),
        ("eval.pct", 100),
        ("error", 0),
    ):
        path = f"operation/scalePerf/cumulative/{name}"
        assert metric(service, path) == value
    wanted = {"Custom", "Counters", "TimeTaken", "Max", "Min", "Avg"}

    def is_recent() -> bool:
        post(service, "scale", b'{"x":1}')  # in this minute, which another may follow
        found: dict[str, Any] = metric(service, "operation/scalePerf/recent")
        return found.keys() >= wanted

    wait_for(is_recent)
    assert isinstance(metric(service, "operation/scalePerf/recent/count"), int)


@pytest.mark.parametrize(
    "path",
    [
        "operation/x",
        "operation/x/recent",
        "operation/x/recent/count",
        "operation/x/cumulative/count",
        "counter/x",
        "operation/scalePerf/cumulative/x",
    ],
)
def test_an_unknown_name_is_null(service: Service, path: str) -> None:
    assert metric(service, path) is None


def test_operations_and_counters_are_listed(service: Service) -> None:
    names = [document["Name"] for document in metric(service, "operations")]
    models = (
        f"{model}{name}" for model in MODELS for name in ("HTTPHandler", "Perf", "Eval")
    )
    stores = (name + what for name in STORES for what in ("", "CacheW"))
    assert names == [*stores, *models]
    counter = metric(service, "counters")[MODELS.index("slow")]
    assert counter == metric(service, "counter/slowCollapsed")
    assert counter == {
        "Location": "gomlx/server",
        "Name": "slowCollapsed",
        "Description": "slow rows that waited for a computation under way",
        "Custom": None,
    }


def test_what_falcon_refuses_is_counted(service: Service) -> None:
    def counted(code: int) -> float:
        name = f'gomlx_unrouted_requests_total{{code="{code}"}}'
        return sum(samples(service, name))

    before = counted(404), counted(405)
    response = service.get("/v1/api/metric/nothing")
    assert response.status_code == 404
    assert "/v1/api/metric/operation/{name}/recent/{metric}" in response.json()["error"]
    assert service.client.put("/v1/api/metric/operations").status_code == 405
    expected = before[0] + 1, before[1] + 1
    wait_for(lambda: (counted(404), counted(405)) == expected)


BUCKETS = """
import asyncio, json, sys
from pathlib import Path
from gomlx.metrics.metrics import Metrics
from gomlx.server.routes.mly_operations import Operations
from gomlx.metrics.tally import Sums, Tally
now, *counted = map(int, sys.argv[2:])
directory = Path(sys.argv[1])
for slot, minute in enumerate(counted):
    tally = Tally(directory, slot, lambda: minute * 60)
    tally.add(("gomlx_request_seconds", "m"), Sums(minute, 1.0, 0.1, 0.5))
    tally.add(("gomlx_requests", "m", "200"), Sums(minute))
    tally.write()
operations = Operations(Metrics(directory, 9), lambda: ["m"], lambda: now * 60 + 59)
print(json.dumps([
    asyncio.run(operations.operation("mPerf")), asyncio.run(operations.recent("mPerf"))
]))
"""


@pytest.mark.parametrize(
    ("now", "counted", "recent"),
    [
        (10, [10, 9], [10, 9]),
        (11, [10, 11], [10, 11]),
        (11, [10, 9], [10, 0]),  # 9 was in the bucket that is 11's now
        (12, [10, 9], [0, 0]),
        (10, [10, 10], [20, 0]),
    ],
)
def test_a_minute_is_in_the_bucket_of_its_number(
    tmp_path: Path, now: int, counted: list[int], recent: list[int]
) -> None:
    arguments = [str(tmp_path), str(now), *map(str, counted)]
    output = subprocess.run(
        [sys.executable, "-c", BUCKETS, *arguments], capture_output=True, check=True
    ).stdout
    operation, current = json.loads(output)
    assert operation["Count"] == sum(counted)
    assert [bucket.get("Count", 0) for bucket in operation["Recent"]] == recent
    assert [categories(bucket) for bucket in operation["Recent"]] == [
        {"eval": n} if n else {} for n in recent
    ]
    assert current == operation["Recent"][now % 2]
