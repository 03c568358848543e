"""Recorded requests of a real service, as a collector of OpenTelemetry gets them."""

import asyncio
import json
import os
import signal
import socket
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanContext

import gomlx
from gomlx.tracing.trace import MOST_STEPS
from tests.support import redis_servers, saved_models
from tests.support.collector import CollectedSpan, Collector, collecting
from tests.support.service import Service, running, wait_for

_NUMBERS = count(1)
PARENT = "00f067aa0ba902b7"
MOST_WAITING = 128  # spans in a worker


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


@pytest.fixture(scope="module")
def service(
    tmp_path_factory: pytest.TempPathFactory, collector: Collector
) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("traces")
    with (
        redis_servers.server(folder / "redis") as near,
        pytest.MonkeyPatch.context() as set_,
    ):
        set_.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")  # milliseconds, instead of 5,000
        set_.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")  # second, for all its tries
        set_.setenv("OTEL_BSP_MAX_QUEUE_SIZE", str(MOST_WAITING))
        set_.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", str(MOST_WAITING))
        with running(folder, config(folder, near.url, collector.url)) as service:
            yield service


def config(folder: Path, redis: str, endpoint: str) -> dict[str, Any]:
    scale = str(saved_models.scale(folder / "scale", 2.0))
    slow = str(saved_models.sleeper(folder / "slow"))
    return {
        "models": [
            {"id": "near", "url": scale, "datastore": "memory"},
            {"id": "far", "url": scale, "datastore": "both"},
            {"id": "slow", "url": slow, "batch": {"max_rows": 4}},
        ],
        "connections": [{"id": "redis", "url": redis}],
        "datastores": [
            {"id": "memory", "memory_mb": 16},
            {"id": "both", "memory_mb": 16, "tiers": [{"connection": "redis"}]},
        ],
        "tracing": {"endpoint": endpoint, "service_name": "predictions"},
    }


def new_trace() -> str:
    return f"{next(_NUMBERS):032x}"


def sampled(trace: str, flags: str = "01") -> dict[str, str]:
    return {"traceparent": f"00-{trace}-{PARENT}-{flags}"}


def spans(
    collector: Collector, trace: str
) -> tuple[CollectedSpan, list[CollectedSpan]]:
    """Wait for a trace; return the request's span, and those in it."""
    wait_for(lambda: any(one.kind == "server" for one in collector.of(trace)), 30)
    found = collector.of(trace)
    (request,) = (one for one in found if one.kind == "server")
    inside = [one for one in found if one is not request]
    assert all(one.parent == request.span for one in inside)
    assert all(request.started <= one.started <= one.ended for one in inside)
    assert all(one.ended <= request.ended for one in inside)
    return request, inside


def test_a_span_has_the_id_of_its_request(
    service: Service, collector: Collector
) -> None:
    named = {"X-Request-Id": "traced-1"}
    found = []
    for path in ("eval?x=1", "eval?x=1", "eval?%78=1"):  # the last one is Falcon's
        trace = new_trace()
        headers = sampled(trace) | named
        answer = service.client.get(f"/v1/api/model/near/{path}", headers=headers)
        assert answer.headers["x-request-id"] == "traced-1"
        request, _ = spans(collector, trace)
        found.append(request.attributes["gomlx.request_id"])
    assert found == ["traced-1"] * 3
    trace = new_trace()
    ask(service, "near", {"x": 1}, trace)
    assert "gomlx.request_id" not in spans(collector, trace)[0].attributes


def ask(
    service: Service,
    model: str,
    body: Any,
    trace: str,
    client: httpx.Client | None = None,
) -> httpx.Response:
    path = f"/v1/api/model/{model}/eval"
    client = client or service.client
    return client.post(path, json=body, headers=sampled(trace))


def test_a_miss_and_a_hit(service: Service, collector: Collector) -> None:
    first = new_trace()
    second = new_trace()
    x = next(_NUMBERS)
    assert ask(service, "near", {"x": x}, first).status_code == 200
    wait_for(
        lambda: "hit" in ask(service, "near", {"x": x}, second).headers["cache-status"]
    )
    request, inside = spans(collector, first)
    assert request.parent == PARENT
    assert request.name == "POST /v1/api/model/{name}/eval"
    assert request.attributes["gomlx.model"] == "near"
    assert request.attributes["gomlx.version"] == service.version("near")
    assert request.attributes["gomlx.rows"] == 1
    assert request.attributes["http.response.status_code"] == 200
    assert request.attributes["network.protocol.version"] == "1.1"
    assert request.resource["service.name"] == "predictions"
    assert request.resource["process.pid"] in service.worker_pids()
    assert not request.is_error
    assert [one.name for one in inside] == ["look up L1", "queue", "run"]
    lookup, queue, run = inside
    assert lookup.attributes == {"gomlx.tier": "L1", "gomlx.rows": 1, "gomlx.hits": 0}
    assert lookup.ended <= queue.started <= queue.ended == run.started
    _, inside = spans(collector, second)
    assert [one.name for one in inside] == ["look up L1"]
    assert inside[0].attributes["gomlx.hits"] == 1


def test_a_shared_tier_is_a_client_s_span_without_keys(
    service: Service, collector: Collector
) -> None:
    trace = new_trace()
    rows = {"x": [next(_NUMBERS) for _ in range(3)], "batch_size": 3}
    assert ask(service, "far", rows, trace).status_code == 200
    request, inside = spans(collector, trace)
    assert request.attributes["gomlx.rows"] == 3
    assert [one.name for one in inside] == ["look up L1", "MGET redis", "queue", "run"]
    tier = inside[1]
    assert tier.kind == "client"
    assert tier.attributes["db.system.name"] == "redis"
    assert tier.attributes["db.operation.name"] == "MGET"
    assert tier.attributes["db.operation.batch.size"] == 3
    assert tier.attributes["server.address"] == "127.0.0.1"
    assert tier.attributes["server.port"] > 0
    assert tier.attributes["gomlx.hits"] == 0
    assert [one.attributes["gomlx.rows"] for one in inside[2:]] == [3, 3]


def test_rows_that_run_apart_have_spans_apart(
    service: Service, collector: Collector
) -> None:
    trace = new_trace()
    rows = {"x": [next(_NUMBERS) for _ in range(10)], "batch_size": 10}
    assert ask(service, "slow", rows, trace).status_code == 200
    _, inside = spans(collector, trace)
    runs = [one for one in inside if one.name == "run"]
    assert [one.attributes["gomlx.rows"] for one in runs] == [4, 4, 2]
    assert len([one for one in inside if one.name == "queue"]) == 3


def test_http2_and_unusual_requests(service: Service, collector: Collector) -> None:
    with httpx.Client(base_url=service.url, http1=False, http2=True) as client:
        for _ in range(2):
            trace = new_trace()
            response = ask(service, "near", {"x": next(_NUMBERS)}, trace, client)
            assert response.http_version == "HTTP/2"
            request, inside = spans(collector, trace)
            assert request.attributes["network.protocol.version"] == "2"
            assert [one.name for one in inside] == ["look up L1", "queue", "run"]
    trace = new_trace()
    parts = iter([b'{"x":', b"%d}" % next(_NUMBERS)])  # chunked: Falcon's route
    path = "/v1/api/model/near/eval"
    response = service.client.post(path, content=parts, headers=sampled(trace))
    assert response.status_code == 200
    assert spans(collector, trace)[0].attributes["http.request.method"] == "POST"


def test_a_large_request_has_its_steps_as_well(
    service: Service, collector: Collector
) -> None:
    """Of one that is large, and of one that takes as long to parse."""
    rows = {"x": [next(_NUMBERS) / 7 for _ in range(500)], "batch_size": 500}
    same = {"x": [next(_NUMBERS) / 7], "batch_size": 1000}
    path = "/v1/api/model/near/eval"
    for body, size in ((rows, 1 << 16), (same, 1 << 11)):
        trace = new_trace()
        text = json.dumps(body).ljust(size)
        response = service.client.post(path, content=text, headers=sampled(trace))
        assert response.status_code == 200
        request, inside = spans(collector, trace)
        assert request.attributes["gomlx.rows"] == body["batch_size"]
        names = [one.name for one in inside]
        assert names[:2] == ["parse", "look up L1"]
        assert {*names[2:]} == {"queue", "run"}


@pytest.mark.parametrize("version", [1, 2])
def test_a_stream_is_one_span_with_the_steps_of_its_lines(
    service: Service, collector: Collector, version: int
) -> None:
    trace = new_trace()
    lines = [{"x": next(_NUMBERS)} for _ in range(100)] + [{"y": 1}]
    body = "".join(json.dumps(line) + "\n" for line in lines)
    path = "/v1/api/model/far/stream"
    with httpx.Client(
        base_url=service.url, http1=version == 1, http2=version == 2, timeout=30
    ) as client:
        response = client.post(path, content=body, headers=sampled(trace))
    answers = [json.loads(line) for line in response.text.splitlines()]
    assert [one["data"]["y"] for one in answers[:-1]] == [
        2.0 * line["x"] for line in lines[:-1]
    ]
    assert "error" in answers[-1]
    request, inside = spans(collector, trace)
    assert request.name == "POST /v1/api/model/{name}/stream"
    assert request.attributes["gomlx.model"] == "far"
    assert request.attributes["gomlx.lines"] == len(lines)
    assert request.attributes["http.response.status_code"] == 200
    names = [one.name for one in inside]
    assert {*names} >= {"look up L1", "MGET redis"}
    assert len(names) <= MOST_STEPS


def test_a_stream_that_is_left_is_sent_too(
    service: Service, collector: Collector
) -> None:
    trace = new_trace()
    port = httpx.URL(service.url).port
    assert port
    head = (
        "POST /v1/api/model/near/stream HTTP/1.1\r\nHost: x\r\n"
        f"traceparent: 00-{trace}-{PARENT}-01\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    line = json.dumps({"x": next(_NUMBERS)}) + "\n"
    with socket.create_connection(("127.0.0.1", port), 30) as connection:
        connection.sendall(f"{head}{len(line):x}\r\n{line}\r\n".encode())
        received = b""
        while b'"status":"ok"' not in received:
            received += connection.recv(1 << 16)
    request, inside = spans(collector, trace)
    assert request.attributes["gomlx.lines"] == 1
    assert [one.name for one in inside] == ["look up L1", "queue", "run"]


def test_errors_are_told(service: Service, collector: Collector) -> None:
    late = new_trace()
    wrong = new_trace()
    headers = {**sampled(late), "Request-Timeout-Ms": "1"}
    path = "/v1/api/model/slow/eval"
    rows = {"x": [next(_NUMBERS) for _ in range(40)], "batch_size": 40}
    assert service.client.post(path, json=rows, headers=headers).status_code == 504
    assert ask(service, "near", {"y": 1}, wrong).status_code == 400
    assert spans(collector, late)[0].is_error
    request, inside = spans(collector, wrong)
    assert request.attributes["http.response.status_code"] == 400
    assert not request.is_error
    assert not inside


def test_what_is_not_sampled_or_malformed_is_not_recorded(
    service: Service, collector: Collector
) -> None:
    unsampled = new_trace()
    before = len(collector.spans)
    zero = "0" * 32
    for value in (
        f"00-{unsampled}-{PARENT}-00",
        f"00-{zero}-{PARENT}-01",
        f"ff-{unsampled}-{PARENT}-01",
        f"00-{unsampled}-{PARENT}-01-more",
        "00-nothing",
        "",
    ):
        for name in ("traceparent", "Traceparent"):
            response = service.client.post(
                "/v1/api/model/near/eval", json={"x": 1}, headers={name: value}
            )
            assert response.status_code == 200
    last = new_trace()
    ask(service, "near", {"x": 1}, last)
    spans(collector, last)
    traces = {span.trace for span in collector.spans[before:]}
    assert traces == {last}


def test_pipelined_requests_are_recorded_one_by_one(
    service: Service, collector: Collector
) -> None:
    traces = [new_trace() for _ in range(6)]
    flags = ["01", "00", "01", "00", "00", "01"]
    requests = b""
    for trace, flag in zip(traces, flags, strict=True):
        body = json.dumps({"x": next(_NUMBERS)}).encode()
        requests += (
            b"POST /v1/api/model/near/eval HTTP/1.1\r\nHost: x\r\nTraceParent:"
            b"00-%b-%b-%b\r\nContent-Length: %d\r\n\r\n%b"
            % (trace.encode(), PARENT.encode(), flag.encode(), len(body), body)
        )
    port = httpx.URL(service.url).port
    assert port
    with socket.create_connection(("127.0.0.1", port), 30) as connection:
        connection.sendall(requests)
        received = b""
        while received.count(b'"status":"ok"') < len(traces):
            received += connection.recv(1 << 16)
    for trace, flag in zip(traces, flags, strict=True):
        if flag == "01":
            spans(collector, trace)
    assert not [
        t for t, f in zip(traces, flags, strict=True) if f == "00" and collector.of(t)
    ]


def test_requests_go_on_while_no_collector_answers(
    service: Service, collector: Collector
) -> None:
    traces = {new_trace() for _ in range(300)}
    collector.is_down = True
    try:
        for trace in traces:
            assert ask(service, "near", {"x": 1}, trace).status_code == 200
    finally:
        collector.is_down = False

    later = []

    def arrives() -> bool:
        later.append(new_trace())
        ask(service, "near", {"x": 1}, later[-1])
        return any(map(collector.of, later))  # they are sent together, now and then

    wait_for(arrives)
    kept = sum(span.trace in traces for span in collector.spans)
    assert kept <= 2 * MOST_WAITING  # of 600: those that waited, and those under way


def test_the_client_sends_the_span_it_is_in(
    service: Service, collector: Collector
) -> None:
    tracer = TracerProvider().get_tracer("caller")
    with gomlx.Client("near", service.url) as client:
        with tracer.start_as_current_span("caller") as caller:
            client.predict({"x": next(_NUMBERS)})
        client.predict({"x": next(_NUMBERS)})  # without a span
    context = caller.get_span_context()
    request, _ = spans(collector, f"{context.trace_id:032x}")
    assert request.parent == f"{context.span_id:016x}"


@pytest.mark.asyncio
async def test_the_asynchronous_client_does_so_for_each_caller(
    service: Service, collector: Collector
) -> None:
    tracer = TracerProvider().get_tracer("caller")

    async def call(client: gomlx.AsyncClient) -> SpanContext:
        with tracer.start_as_current_span("caller") as caller:
            await client.predict({"x": next(_NUMBERS)})
        return caller.get_span_context()

    async with gomlx.AsyncClient("near", service.url) as client:
        contexts = await asyncio.gather(*(call(client) for _ in range(3)))
    for context in contexts:
        request, _ = spans(collector, f"{context.trace_id:032x}")
        assert request.parent == f"{context.span_id:016x}"


def test_a_new_worker_exports_too(service: Service, collector: Collector) -> None:
    (old,) = service.worker_pids()
    os.kill(old, signal.SIGKILL)
    wait_for(lambda: [pid for pid in service.worker_pids_if_any() if pid != old])
    trace = new_trace()
    with service.connect() as client:
        wait_for(lambda: client.get("/readyz").status_code == 200)
        ask(service, "near", {"x": 1}, trace, client)
    assert spans(collector, trace)[0].resource["process.pid"] != old
