"""X-Request-Id of a real service: answers have those of their requests, logs too."""

import asyncio
import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

import gomlx
from tests.server.http.http2.client import Client
from tests.support import saved_models
from tests.support.service import Service, running, wait_for

EVAL = "/v1/api/model/m/eval"
ID = "123e4567-e89b-12d3-a456-426614174000"


def config(folder: Path, **endpoint: Any) -> dict[str, Any]:
    saved_models.scale(folder / "m", 2.0)
    log = {"to": "logs/rows.jsonl", "fields": "all"}
    return {
        "endpoint": {"receive_seconds": 1, **endpoint},
        "access_log": {"to": "logs/access.jsonl"},
        "models": [{"id": "m", "url": "m", "datastore": "s", "log": log}],
        "datastores": [{"id": "s", "memory_mb": 16}],
    }


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("ids")
    with running(folder, config(folder)) as service:
        yield service


@pytest.fixture(scope="module")
def making(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("making")
    with running(folder, config(folder, request_id="make")) as service:
        yield service


def lines(service: Service, name: str, request_id: str) -> list[dict[str, Any]]:
    """The lines of a log that have an id."""
    files = (service.folder / "logs").glob(f"{name}.?.jsonl")
    every = [json.loads(one) for file in files for one in file.read_text().splitlines()]
    return [one for one in every if one.get("request_id") == request_id]


def named(request_id: str) -> dict[str, str]:
    return {"X-Request-Id": request_id}


def connected(service: Service) -> socket.socket:
    url = httpx.URL(service.url)
    assert url.port
    return socket.create_connection((url.host, url.port), 30)


def until_closed(connection: socket.socket) -> bytes:
    answer = b""
    while data := connection.recv(65_536):
        answer += data
    return answer


REQUESTS: Mapping[str, dict[str, Any]] = {
    "a row": {"method": "POST", "url": EVAL, "json": {"x": 1}},
    "a query": {"method": "GET", "url": f"{EVAL}?x=1"},
    "a batch": {"method": "POST", "url": EVAL, "json": {"batch_size": 1, "x": [2]}},
    "a refusal": {"method": "POST", "url": EVAL, "json": {"x": "no number"}},
    "no model": {"method": "POST", "url": EVAL.replace("/m/", "/n/"), "json": {}},
    "no route": {"method": "GET", "url": "/nowhere"},
    "no method": {"method": "DELETE", "url": EVAL},
    "a malformed escape": {"method": "GET", "url": "/v1/api/model/%zz/eval"},
    "a probe": {"method": "HEAD", "url": "/readyz"},
    "options": {"method": "OPTIONS", "url": "/metrics"},
    "metrics": {"method": "GET", "url": "/metrics"},
    "a stream": {
        "method": "POST",
        "url": EVAL.replace("eval", "stream"),
        "content": b'{"x":1}\n{"x":2}\n',
    },
}


def test_every_answer_has_the_id_of_its_request(service: Service) -> None:
    ids = [f"{ID[:8]} {what} {n}" for n in range(3) for what in REQUESTS]
    for called in ids:
        what = REQUESTS[called[9:-2]]
        answer = service.client.request(headers=named(called), **what)
        assert answer.headers.get_list("x-request-id") == [called]
        assert "x-request-id" not in service.client.request(**what).headers
    wait_for(lambda: all(lines(service, "access", called) for called in ids))


def test_one_that_cannot_be_an_id_is_replaced(service: Service) -> None:
    for path in (f"{EVAL}?x=1", "/livez"):
        for value in (b"x" * 129, b"caf\xe9", b""):
            answer = service.client.get(path, headers={b"X-Request-Id": value})
            made = answer.headers["x-request-id"]
            assert len(made) == 32
            assert made.isalnum()
        twice = [("X-Request-Id", "a"), ("X-Request-Id", "b")]
        made = service.client.get(path, headers=twice).headers["x-request-id"]
        assert made.isalnum()
        assert len(made) == 32


def test_answers_of_a_pipeline_have_their_own_ids(service: Service) -> None:
    """Some of them are for the hot route, and some are not; one has none."""
    head = b"GET %b HTTP/1.1\r\nHost: h\r\n%b\r\n"
    eval_of_one = f"{EVAL}?x=1".encode()
    requests = [
        (eval_of_one, b""),
        (eval_of_one, b"x-request-id: a-1\r\n"),
        (eval_of_one, b"x-request-id: a-2\r\n"),
        (b"/livez", b"x-request-id: a-3\r\n"),
        (eval_of_one, b"x-request-id: a-4\r\n"),
        (eval_of_one, b"x-request-id: a-5\r\nConnection: close\r\n"),
    ]
    with closing(connected(service)) as connection:
        connection.sendall(b"".join(head % one for one in requests))
        answer = until_closed(connection)
    ids = [x for x in answer.split(b"\r\n") if x.lower().startswith(b"x-request-id")]
    values = [one.partition(b": ")[2] for one in ids]
    assert values == [b"a-1", b"a-2", b"a-3", b"a-4", b"a-5"]
    assert answer.count(b"HTTP/1.1 200") == 6


def test_a_body_that_comes_in_parts_or_never(service: Service) -> None:
    head = (
        b"POST %b HTTP/1.1\r\nHost: h\r\nX-Request-Id: %b\r\nContent-Length: 7\r\n\r\n"
    )
    with closing(connected(service)) as connection:
        for called in (b"in-parts-1", b"in-parts-2"):
            whole = head % (EVAL.encode(), called) + b'{"x":1}'
            for at in range(0, len(whole), 50):
                connection.sendall(whole[at : at + 50])
            assert b"x-request-id: %b\r\n" % called in connection.recv(65_536)
        connection.sendall(head % (EVAL.encode(), b"never"))
        answer = until_closed(connection)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"x-request-id: never\r\n" in answer


def test_what_is_refused_before_its_head_is_there_has_no_other_s_id(
    service: Service,
) -> None:
    with closing(connected(service)) as connection:
        request = b"GET %b?x=1 HTTP/1.1\r\nHost: h\r\nX-Request-Id: first\r\n\r\n"
        connection.sendall(request % EVAL.encode())
        assert b"x-request-id: first\r\n" in connection.recv(65_536)
        connection.sendall(b"GET %b?x=1 HTTP/1.1\r\nHost" % EVAL.encode())
        answer = until_closed(connection)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"first" not in answer


def http2_ids(service: Service, *paths: tuple[str, bytes]) -> list[str]:
    """The ids of answers over one connection of HTTP/2, by path and id."""
    client = Client()
    with closing(connected(service)) as connection:
        client.start()
        for path, called in paths:
            more = [(b"x-request-id", called)] if called else []
            answer = client.answers[client.request("GET", path, more=more)]
            connection.sendall(client.h2.data_to_send())
            while not answer.is_complete:
                data = connection.recv(1 << 16)
                assert data, "the service closed the connection"
                client.receive(data)
                connection.sendall(client.h2.data_to_send())
    return [one.headers.get("x-request-id", "") for one in client.answers.values()]


def test_answers_over_http2_have_their_ids(service: Service) -> None:
    asked = [
        (f"{EVAL}?x=1", b""),
        (f"{EVAL}?x=1", b"h2-1"),
        ("/livez", b"h2-2"),
        (f"{EVAL}?x=none", b"h2-3"),
        (f"{EVAL}?x=1", b"x" * 129),
        (f"{EVAL}?x=1", b"h2 4"),
    ]
    found = http2_ids(service, *asked)
    assert found[:4] == ["", "h2-1", "h2-2", "h2-3"]
    assert len(found[4]) == 32
    assert found[5] == "h2 4"
    wait_for(lambda: all(lines(service, "access", called) for called in found[1:]))


def test_the_row_log_has_the_id(service: Service) -> None:
    for called in ("row-miss", "row-hit"):
        answer = service.client.post(EVAL, json={"x": 77.5}, headers=named(called))
        assert answer.status_code == 200
    path = EVAL.replace("eval", "stream")
    service.client.post(path, content=b'{"x":78.5}\n', headers=named("row-line"))
    ids = ("row-miss", "row-hit", "row-line")
    wait_for(lambda: all(lines(service, "rows", called) for called in ids))
    assert lines(service, "rows", "row-hit")[0]["row"] == {"x": 77.5}


@pytest.mark.parametrize("http2", [False, True])
def test_a_client_passes_an_id_on(service: Service, http2: bool) -> None:
    options = gomlx.Options(http2=http2)
    called = f"client-{http2}"
    with gomlx.Client("m", service.url, options=options) as client:
        assert client.predict(x=5.5 + http2, request_id=called)["y"] == 11 + 2 * http2
        columns = {"x": [7.5 + http2, 9.5 + http2]}
        assert len(client.predict_batch(columns, request_id=f"{called}-batch")) == 2
        client.predict(x=11.5 + http2)
        for wrong in ("", "x" * 129, "caf\u00e9", "a\r\nX: b"):
            with pytest.raises(ValueError, match="request_id: expected 1 to 128"):
                client.predict(x=13.5, request_id=wrong)
    for one in (called, f"{called}-batch"):
        wait_for(lambda one=one: len(lines(service, "access", one)) == 1)  # type: ignore[misc]


def test_an_async_client_passes_ids_on(service: Service) -> None:
    async def ask() -> None:
        async with gomlx.AsyncClient("m", service.url) as client:
            calls = (
                client.predict(x=20.5 + n, request_id=f"async-{n}") for n in range(3)
            )
            await asyncio.gather(*calls)
            await client.predict_batch({"x": [30.5]}, request_id="async-batch")

    asyncio.run(ask())
    for one in ("async-0", "async-1", "async-2", "async-batch"):
        wait_for(lambda one=one: len(lines(service, "access", one)) == 1)  # type: ignore[misc]


def test_requests_without_an_id_get_one_if_they_are_made(making: Service) -> None:
    found = []
    for what in REQUESTS:
        for _ in range(2):
            answer = making.client.request(**REQUESTS[what])
            found.append(answer.headers["x-request-id"])
    assert len(set(found)) == len(found)
    wait_for(lambda: all(lines(making, "access", called) for called in found))
    over_http2 = http2_ids(making, (f"{EVAL}?x=1", b""), ("/livez", b""))
    assert len({*over_http2, *found}) == len(found) + 2
    own = making.client.get(f"{EVAL}?x=1", headers=named(ID))
    assert own.headers["x-request-id"] == ID
