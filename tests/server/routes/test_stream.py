"""Rows in, answers out, a line each: over HTTP/1.1 and HTTP/2, of a real service."""

import asyncio
import itertools
import json
import signal
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from gomlx.models.serving.servable import Servable
from gomlx.server.body import BodyBudget
from gomlx.server.pace import Pace
from gomlx.server.routes.stream import Stream, StreamLimits
from tests.server.conftest import Path_
from tests.server.duplex import Client, Http1, Http2, path
from tests.support import saved_models
from tests.support.service import Service, running, wait_for

BODIES = BodyBudget(1 << 20)
MAX_LINE = 100_000
# A program that is at rest still grows a little; what must not be kept is far more.
MOST_GROWTH = 8 << 20
_PROTOCOLS: dict[str, type[Any]] = {"HTTP/1.1": Http1, "HTTP/2": Http2}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("stream")
    saved_models.scale(folder / "scale" / "1", 2.0)
    models: list[dict[str, Any]] = [
        {"id": "scale", "url": str(folder / "scale")},
        {"id": "slow", "url": str(saved_models.sleeper(folder / "slow"))},
        {"id": "absent", "url": str(folder / "nothing-here")},
    ]
    config = {
        "endpoint": {"max_body_bytes": MAX_LINE},
        "models": [model | {"datastore": "answers"} for model in models],
        "datastores": [{"id": "answers", "memory_mb": 16}],
    }
    with running(folder, config) as service:
        yield service


@pytest.fixture(params=_PROTOCOLS)
def client(service: Service, request: pytest.FixtureRequest) -> Iterator[Client]:
    """A stream to the model `scale`."""
    client = _PROTOCOLS[request.param](service.url, "scale")
    yield client
    client.close()


def row(x: float, size: int = 0) -> bytes:
    return json.dumps({"x": x}).encode().ljust(size) + b"\n"


def rest(client: Client) -> list[dict[str, Any]]:
    """Every line until the end of the response."""
    return list(iter(client.line, None))


def answers(lines: list[dict[str, Any]]) -> list[float]:
    return [line["data"]["y"] for line in lines]


def test_every_answer_is_read_before_the_next_row_is_sent(client: Client) -> None:
    for n in range(50):
        client.send(row(n))
        assert client.line()["data"] == {"y": 2.0 * n}
    assert client.status == 200
    assert client.headers["content-type"] == "application/x-ndjson"
    client.send(b'{"x":')
    client.send(b"7}")  # the last line needs no line break
    client.end()
    assert answers(rest(client)) == [14.0]


def test_a_line_says_what_a_response_says(service: Service, client: Client) -> None:
    single = service.post("scale", {"x": 1.5})
    batch = service.post("scale", {"x": [1.5, 2.5], "batch_size": 2})
    client.send(row(1.5) + b'{"batch_size":2,"x":[1.5,2.5]}\n')
    client.end()
    for line, response in zip(rest(client), (single, batch), strict=True):
        assert list(line) == [*response.json(), "version", "cacheStatus"]
        assert line["dictHash"] == response.json()["dictHash"]
        assert line["data"] == response.json()["data"]
        assert line["version"] == response.headers["gomlx-version"]
        assert line["cacheStatus"].startswith("gomlx; hit; detail=")


def test_hits_wait_for_the_misses_before_them(service: Service) -> None:
    service.post("slow", {"x": 0})
    client = Http1(service.url, "slow")
    xs = [0.0, 1.0, 0.0, 2.0, 0.0, 0.0, 3.0, 0.0]
    client.send(b"".join(map(row, xs)))
    client.end()
    lines = rest(client)
    assert answers(lines) == xs
    assert ["hit" in line["cacheStatus"] for line in lines] == [not x for x in xs]
    client.close()


def test_an_error_is_the_answer_of_its_line(client: Client) -> None:
    lines = [
        row(1),
        b"\n \r\n",  # blank lines get no answer
        b"{\n",
        b'{"z":1}\n',
        b'{"x":"one"}\r\n',
        b'{"batch_size":100000,"x":[1]}\n',
        row(2),
    ]
    client.send(b"".join(lines))
    client.end()
    found = rest(client)
    assert [line["status"] for line in found] == ["ok", *["error"] * 4, "ok"]
    assert [line["code"] for line in found[1:5]] == [400, 400, 400, 413]
    assert "malformed JSON" in found[1]["error"]
    assert "input 'z'" in found[2]["error"]


@pytest.mark.parametrize("pieces", [1, 7])
def test_a_line_that_is_too_long_ends_the_stream(client: Client, pieces: int) -> None:
    client.send(row(3))
    long = row(4, MAX_LINE + 1)
    size = len(long) // pieces + 1
    *parts, rest_ = (long[at : at + size] for at in range(0, len(long), size))
    for part in parts:
        client.send(part)
    client.send(rest_ + row(5))  # as one: the server does not read on for ever
    if pieces > 1:
        client.end()  # or it is ended after a second
    first = client.line()
    last = client.line()
    assert client.line() is None
    assert first["data"] == {"y": 6.0}
    assert (last["status"], last["code"]) == ("error", 413)
    assert f"{MAX_LINE} bytes" in last["error"]


def test_a_line_may_be_as_long_as_a_body(client: Client) -> None:
    client.send(row(3, MAX_LINE) + row(4, MAX_LINE))
    client.end()
    assert answers(rest(client)) == [6.0, 8.0]


def test_a_model_that_cannot_answer_is_refused_before_the_stream(
    service: Service,
) -> None:
    for model, status in (("unknown", 404), ("absent", 503)):
        response = service.client.post(path(model), content=row(1))
        assert response.status_code == status
        assert response.json()["status"] == "error"
    assert service.get(path("scale")).status_code == 405


def test_a_stream_does_not_overload_the_queue_with_its_own_rows(
    service: Service,
) -> None:
    """Twenty thousand rows that are not cached; 4096 may wait."""
    lines = [
        json.dumps({"batch_size": 100, "x": [*range(n, n + 100)]})
        for n in range(10_000, 30_000, 100)
    ]
    response = service.client.post(path("scale"), content="\n".join(lines))
    found = [json.loads(line) for line in response.text.splitlines()]
    assert [line["status"] for line in found] == ["ok"] * 200
    expected = [2.0 * x for x in range(10_000, 30_000)]
    assert [one["y"] for line in found for one in line["data"]] == expected


def memory(service: Service) -> int:
    """Bytes that the worker has, without what it shares."""
    (pid,) = service.worker_pids()
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0]) * 1024


def test_a_client_that_does_not_read_is_not_read_from(service: Service) -> None:
    """100,000 rows of 250 bytes, and as many answers: 40 MB."""
    count = 100_000
    size = 250
    client = Http1(service.url, "scale")
    sent = 0

    def send() -> None:
        nonlocal sent
        for at in range(0, count, 100):
            client.send(b"".join(row(n % 1000, size) for n in range(at, at + 100)))
            sent = at
        client.end()

    def is_stuck() -> bool:
        before = sent
        return not event.wait(0.5) and before == sent > 0

    import threading

    event = threading.Event()
    before = memory(service)
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(send)
        wait_for(is_stuck, what="the server to stop reading")
        assert not sending.done()
        assert memory(service) - before < MOST_GROWTH
        for n in range(count):
            assert client.line()["data"]["y"] == 2.0 * (n % 1000)  # type: ignore[index]
            if n % 10_000 == 0:
                assert memory(service) - before < MOST_GROWTH
        assert client.line() is None
        sending.result()
    client.close()


def test_a_client_that_grants_no_credit_gets_none(service: Service) -> None:
    """The same over HTTP/2, which counts what either side may send."""
    client = Http2(service.url, "scale")
    client.reads = False
    sent = 0
    with pytest.raises(TimeoutError):
        while True:
            while client.credit > 1000:
                client.send(row(sent % 1000, 500))
                sent += 1
            client.receive(0.5)
    client.read_on()
    for n in range(sent, sent + 100):
        client.send(row(n % 1000, 500))
    client.end()
    assert sent < 1500
    expected = [2.0 * (n % 1000) for n in range(sent + 100)]
    assert answers(rest(client)) == expected
    client.close()


def sockets_to(service: Service, ports: set[int]) -> int:
    """How many sockets that the service holds are connected to these ports."""
    here = int(service.url.rpartition(":")[2])
    found = 0
    for text in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = text.split()
        own, peer = (int(fields[n].rpartition(":")[2], 16) for n in (1, 2))
        found += own == here and peer in ports and int(fields[9]) != 0
    return found


def test_a_disconnected_client_leaves_nothing_behind(service: Service) -> None:
    clients = [p(service.url, "slow") for p in _PROTOCOLS.values() for _ in range(5)]
    ports = {client.socket.getsockname()[1] for client in clients}
    for n, client in enumerate(clients):
        client.send(row(10))
        assert client.line()["data"] == {"y": 10.0}
        client.send(row(20 + n) + row(40 + n) + b'{"x":')
    wait_for(lambda: sockets_to(service, ports) == 10)
    for client in clients:
        client.close()
    wait_for(lambda: sockets_to(service, ports) == 0)
    assert service.post("slow", {"x": 39}).json()["data"] == {"y": 39.0}
    assert "Traceback" not in service.text()


def test_each_line_is_answered_by_the_version_that_is_live_then(
    service: Service, tmp_path: Path
) -> None:
    old = service.version("scale")
    client = Http1(service.url, "scale")
    fresh = saved_models.scale(tmp_path / "2", 3.0)
    service.stage("scale", fresh)
    fresh.rename(service.folder / "scale" / "2")
    versions = []
    until = time.monotonic() + 90
    for n in itertools.count():
        assert time.monotonic() < until
        client.send(row(n % 7 + 1) + row(n % 7 + 1))
        for line in (client.line(), client.line()):
            assert line
            factor = 2.0 if line["version"] == old else 3.0
            assert line["data"]["y"] == factor * (n % 7 + 1)
            versions.append(line["version"])
        if versions[-1] != old:
            break
    client.end()
    assert client.line() is None
    assert versions == sorted(versions, key=lambda version: version != old)
    assert versions[-1] == service.version("scale") != old
    client.close()


def test_a_graceful_stop_answers_what_it_has_received(service: Service) -> None:
    """The last test: it ends the service."""
    clients = [protocol(service.url, "slow") for protocol in _PROTOCOLS.values()]
    for client in clients:
        client.send(row(50))
        assert client.line()["data"] == {"y": 50.0}
        client.send(b"".join(map(row, range(60, 70))) + b'{"x":')
    service.process.send_signal(signal.SIGTERM)
    for client in clients:
        assert answers(rest(client)) == [*map(float, range(60, 70))]
        client.close()
    service.client.close()
    assert service.process.wait(120) == 0


class Pieces:
    """A body that arrives bit by bit, and goes on for ever after that."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece
            await asyncio.sleep(0)
        await self.exhaust()

    async def exhaust(self) -> None:
        await asyncio.Event().wait()


@pytest.mark.asyncio
async def test_a_stream_that_is_closed_leaves_nothing(path: Path_) -> None:
    live = path.current.get("m")
    assert live
    body = Pieces(row(1), row(2) + row(3), b'{"x"')
    stream = Stream(
        path.predictor,
        "m",
        body,
        StreamLimits(2, 1000, 30.0, 30.0, 30.0, BODIES, Pace()),
    )
    assert json.loads((await anext(aiter(stream))).splitlines()[0])["data"] == {"y": 2}
    await stream.close()
    while live.pins or len(asyncio.all_tasks()) > 1:
        await asyncio.sleep(0)


@pytest.mark.asyncio
async def test_a_stream_waits_for_room_in_a_queue_that_its_own_rows_fill(
    path: Path_, servables: dict[float, Servable]
) -> None:
    """The queue holds 100 rows, the window 200."""
    gate = path.gated(servables[2.0])
    body = Pieces(b"".join(map(row, range(100, 250))))
    stream = Stream(
        path.predictor,
        "m",
        body,
        StreamLimits(200, 10_000, 30.0, 30.0, 30.0, BODIES, Pace()),
    )
    answers = aiter(stream)
    await gate.wait()
    gate.go.set()
    lines: list[bytes] = []
    while len(lines) < 150:
        lines += (await anext(answers)).splitlines()
    assert [json.loads(line)["data"]["y"] for line in lines] == [*range(200, 500, 2)]
    await stream.close()


class Dribble:
    """A body that never ends: first a piece, then another one every moment."""

    def __init__(self, first: bytes, piece: bytes) -> None:
        self._first = first
        self._piece = piece

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._first
        while True:
            await asyncio.sleep(0.02)
            if self._piece:
                yield self._piece

    async def exhaust(self) -> None:
        """There is no end of it."""


@pytest.mark.asyncio
@pytest.mark.parametrize("piece", [b"", b"\n", b" ", b"1"])
async def test_a_stream_without_whole_lines_ends(path: Path_, piece: bytes) -> None:
    limits = StreamLimits(200, 10_000, 30.0, 0.2, 0.2, BODIES, Pace())
    stream = Stream(path.predictor, "m", Dribble(row(1), piece), limits)
    async with asyncio.timeout(30):
        lines = b"".join([answers async for answers in stream]).splitlines()
    await stream.close()
    answer, refusal = map(json.loads, lines)
    assert answer["data"] == {"y": 2}
    assert refusal["code"] == 408
    assert "the stream ends" in refusal["error"]


@pytest.mark.asyncio
async def test_lines_leave_turns_of_the_event_loop_to_others(path: Path_) -> None:
    """Fifty lines come at once, and a turn has time for one."""
    limits = StreamLimits(200, 10_000, 30.0, 30.0, 0.2, BODIES, Pace(0.0))
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    stream = Stream(path.predictor, "m", Pieces(b'{"x":[[1]]}\n' * 50), limits)
    before = turns
    answers = aiter(stream)
    lines: list[bytes] = []
    while len(lines) < 50:
        lines += (await anext(answers)).splitlines()
    assert turns - before >= 50
    assert {json.loads(line)["code"] for line in lines} == {400}
    await stream.close()
    counting.cancel()
