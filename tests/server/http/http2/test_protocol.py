"""HTTP/2 on the hot path, over real sockets, in the test's own event loop."""

import asyncio
import json

import ngh2
import pytest

from gomlx.models.serving.servable import Servable
from tests.server.conftest import Path_, until
from tests.server.http.conftest import LIMITS
from tests.server.http.http2.client import Answer, AsyncClient, frame
from tests.server.http.http2.conftest import Site

pytestmark = pytest.mark.asyncio

EVAL = "/v1/api/model/m/eval"


def ys(answers: list[Answer]) -> list[float]:
    return [answer.document["data"]["y"] for answer in answers]


async def closed(site: Site, client: AsyncClient) -> None:
    """Wait until the server has said that it closes, and closes."""
    await client.until(lambda: client.goaways)
    site.server.tick(1)  # a client that closes itself answers no PING
    await client.until(lambda: client.is_closed)
    assert set(client.goaways) == {0}


async def test_get_post_and_batch(site: Site) -> None:
    client = await site.client()
    got = await client.ask("GET", f"{EVAL}?x=3")
    assert (got.status, got.document["data"]) == (200, {"y": 6.0})
    assert got.headers["content-type"] == "application/json"
    assert got.headers["cache-status"] == "gomlx; fwd=miss; stored"
    assert int(got.headers["content-length"]) == len(got.body)
    assert got.headers["date"]
    await until(lambda: site.path.runs() == 1)
    again = await client.ask("POST", EVAL, b'{"x":3}')
    assert again.headers["cache-status"].startswith("gomlx; hit")
    assert again.headers["gomlx-version"] == got.headers["gomlx-version"]
    batch = await client.ask("POST", EVAL, b'{"batch_size":2,"x":[3,4]}')
    assert batch.document["data"] == [{"y": 6.0}, {"y": 8.0}]
    wrong = await client.ask("POST", EVAL, b'{"x":')
    assert (wrong.status, wrong.document["status"]) == (400, "error")
    assert site.count("gomlx_requests", "m", "200") == 3
    assert site.count("gomlx_requests", "m", "400") == 1


async def test_requests_of_one_turn_run_together(site: Site) -> None:
    client = await site.client()
    await client.ask("GET", f"{EVAL}?x=1")
    before = site.path.runs()
    numbers = [client.request("GET", f"{EVAL}?x={n}") for n in range(2, 62)]
    answers = [await client.answer(number) for number in numbers]
    assert ys(answers) == [2.0 * n for n in range(2, 62)]
    assert site.path.runs() == before + 1


async def test_a_request_in_the_smallest_parts(site: Site) -> None:
    client = await site.client()
    client.request("POST", EVAL, b'{"x":5}')
    number = client.begin("POST", EVAL)
    for byte in b'{"x":6}':
        client.h2.send_data(number, bytes((byte,)))
    client.h2.send_trailers(number, [(b"a", b"b")])
    for byte in client.h2.data_to_send():
        client.writer.write(bytes((byte,)))
        await asyncio.sleep(0)
    answers = [await client.answer(number) for number in list(client.answers)]
    assert ys(answers) == [10.0, 12.0]


async def test_other_routes_are_the_applications(site: Site) -> None:
    client = await site.client()
    other = await client.ask("PUT", "/a%20b?c=d", b"", [(b"x-a", b"b")])
    assert (other.status, other.headers["content-type"]) == (207, "application/json")
    assert other.headers["date"]
    assert other.document == {
        "method": "PUT",
        "path": "/a%20b",
        "query": "c=d",
        "scheme": "http",
        "client": ["127.0.0.1"],
        "headers": [["host", "h"], ["x-a", "b"]],
    }


@pytest.mark.parametrize(
    ("method", "target", "more"),
    [
        ("OPTIONS", EVAL, []),
        ("GET", "/v1/api/model/n/eval?x=1", []),
        ("POST", EVAL, [(b"content-encoding", b"gzip")]),
        ("POST", EVAL, [(b"request-timeout-ms", b"soon")]),
        ("POST", EVAL, [(b"content-type", b"a/b"), (b"content-type", b"a/b")]),
    ],
)
async def test_unusual_requests_are_the_applications(
    site: Site, method: str, target: str, more: list[tuple[bytes, bytes]]
) -> None:
    client = await site.client()
    body = b"{}" if method == "POST" else None
    assert (await client.ask(method, target, body, more)).status in (200, 207)
    assert site.application.ended == ["returned"]


async def test_an_application_answers_while_it_reads(site: Site) -> None:
    client = await site.client()
    number = client.begin("POST", "/echo")
    answer = client.answers[number]
    for n in range(1, 6):
        client.h2.send_data(number, b"%d" % n)
        await client.until(lambda n=n: len(answer.body) == n)  # type: ignore[misc]
    client.h2.end_stream(number)
    assert (await client.answer(number)).body == b"12345"


async def test_a_large_body_goes_both_ways(site: Site) -> None:
    client = await site.client()
    body = bytes(range(256)) * 20_000
    assert (await client.ask("POST", "/echo", body)).body == body
    assert client.h2.remote_window_size > 0


async def test_an_application_waits_for_a_client_that_grants_no_window(
    site: Site,
) -> None:
    client = await site.client(reads=False)
    number = client.request("GET", "/large")
    answer = client.answers[number]
    await client.until(lambda: len(answer.body) == 65_535)
    await asyncio.sleep(0.1)
    assert site.application.sent == 0
    client.h2.acknowledge_received_data(65_535, number)
    await client.until(lambda: len(answer.body) > 100_000)


async def test_an_application_that_is_sent_too_much_grants_no_window(
    site: Site,
) -> None:
    client = await site.client()
    number = client.begin("POST", "/half")
    client.h2.send_data(number, bytes(200_000))
    slow = client.begin("POST", "/large")
    client.h2.send_data(slow, bytes(200_000))
    await client.answer(number)
    client.flush()
    await asyncio.sleep(0.1)
    assert client.h2.queued_body_size(slow) >= 200_000 - (1 << 16)


async def test_applications_that_fail(site: Site) -> None:
    client = await site.client()
    assert (await client.ask("GET", "/broken")).status == 500
    half = await client.ask("GET", "/half")
    assert half.error == ngh2.ErrorCode.INTERNAL_ERROR
    assert not half.is_complete
    assert (await client.ask("GET", f"{EVAL}?x=1")).status == 200


async def test_a_body_over_the_limit(site: Site) -> None:
    client = await site.client()
    number = client.begin("POST", EVAL)
    client.h2.send_data(number, b" " * (LIMITS.body_bytes + 1))
    answer = await client.answer(number)
    assert (answer.status, answer.is_complete) == (413, True)
    assert f"larger than {LIMITS.body_bytes} bytes" in answer.document["error"]
    await client.until(lambda: answer.error is not None)
    assert answer.error == ngh2.ErrorCode.NO_ERROR
    assert (await client.ask("GET", f"{EVAL}?x=1")).status == 200


@pytest.mark.parametrize("over", [0, 1])
async def test_a_body_in_one_frame_and_of_no_announced_length(
    site: Site, over: int
) -> None:
    client = await site.client()
    body = b'{"x":1}'.ljust(LIMITS.body_bytes + over)
    answer = await client.ask("POST", EVAL, body)
    assert (answer.status, answer.is_complete) == (413 if over else 200, True)


async def test_headers_over_the_limit(site: Site) -> None:
    client = await site.client()
    large = [(b"x-large", b"y" * LIMITS.header_bytes)]
    answer = await client.ask("GET", f"{EVAL}?x=1", None, large)
    assert answer.status == 431
    assert (await client.ask("POST", EVAL, b"{}", large)).status == 431
    assert (await client.ask("GET", f"{EVAL}?x=1")).status == 200


async def test_a_body_that_does_not_arrive_in_time(site: Site) -> None:
    client = await site.client()
    number = client.begin("POST", EVAL)
    client.h2.send_data(number, b'{"x"')
    await client.ask("GET", f"{EVAL}?x=1")
    site.server.tick(LIMITS.receive_seconds + 1)
    answer = await client.answer(number)
    assert answer.status == 408
    assert (await client.ask("GET", f"{EVAL}?x=1")).status == 200


async def test_a_deadline(site: Site, servables: dict[float, Servable]) -> None:
    gate = site.path.gated(servables[2.0])
    client = await site.client()
    answer = await client.ask(
        "GET", f"{EVAL}?x=1", None, [(b"request-timeout-ms", b"50")]
    )
    assert answer.status == 504
    gate.go.set()


async def test_a_reset_abandons_the_request(
    site: Site, path: Path_, servables: dict[float, Servable]
) -> None:
    gate = path.gated(servables[2.0])
    client = await site.client()
    first = client.request("GET", f"{EVAL}?x=1")
    client.flush()
    await gate.wait()
    second = client.request("GET", f"{EVAL}?x=2")
    third = client.request("GET", f"{EVAL}?x=3")
    client.flush()
    client.h2.reset_stream(second)
    client.flush()
    await until(lambda: site.count("gomlx_requests", "m", "499") == 1)
    gate.go.set()
    assert ys([await client.answer(first), await client.answer(third)]) == [2.0, 6.0]
    assert gate.rows == [1.0, 3.0]
    assert site.count("gomlx_requests_canceled", "m") == 1


async def test_a_reset_in_the_turn_of_its_request(site: Site) -> None:
    client = await site.client()
    await client.ask("GET", f"{EVAL}?x=1")
    before = site.path.runs()
    number = client.request("GET", f"{EVAL}?x=2")
    client.writer.write(client.h2.data_to_send() + frame(3, 0, number, bytes(4)))
    await until(lambda: site.count("gomlx_requests", "m", "499") == 1)
    assert site.path.runs() == before


async def test_a_disconnect_abandons_all_requests(
    site: Site, path: Path_, servables: dict[float, Servable]
) -> None:
    gate = path.gated(servables[2.0])
    client = await site.client()
    for n in range(5):
        client.request("GET", f"{EVAL}?x={n}")
    client.request("GET", "/wait")
    client.flush()
    await gate.wait()
    client.writer.transport.abort()
    await until(lambda: site.count("gomlx_requests", "m", "499") == 5)
    await until(lambda: site.application.ended == ["cancelled"])
    gate.go.set()


async def test_an_application_learns_of_a_reset(site: Site) -> None:
    client = await site.client()
    number = client.request("GET", "/wait")
    await client.ask("GET", f"{EVAL}?x=1")
    client.h2.reset_stream(number)
    client.flush()
    await until(lambda: site.application.ended == ["cancelled"])


async def test_a_body_is_asked_for(site: Site) -> None:
    client = await site.client()
    number = client.begin("POST", "/echo", [(b"expect", b"100-continue")])
    answer = client.answers[number]
    await client.until(lambda: answer.informed == [100])
    client.h2.send_data(number, b"now", end_stream=True)
    assert (await client.answer(number)).body == b"now"


async def test_an_untrusted_peer_gets_http_1_only(site: Site) -> None:
    site.trusted = False
    client = await site.client()
    assert (await client.reader.read()).startswith(b"HANDED OVER:PRI * HTTP/2.0")


async def test_what_only_begins_like_the_preface(site: Site) -> None:
    reader, writer = await site.server.connect()
    writer.write(b"PRINT / HTTP/1.1\r\nhost: h\r\n\r\n")
    assert (await reader.read()).startswith(b"HANDED OVER:PRINT")
    writer.close()


async def test_an_idle_connection_is_closed(site: Site) -> None:
    client = await site.client()
    await client.ask("GET", f"{EVAL}?x=1")
    site.server.tick(LIMITS.keepalive_seconds - 1)
    assert (await client.ask("GET", f"{EVAL}?x=1")).status == 200
    site.server.tick(LIMITS.keepalive_seconds + 1)
    await closed(site, client)


async def test_a_peer_that_opens_no_window_is_dropped(site: Site) -> None:
    client = await site.client(reads=False)
    number = client.request("GET", "/large")
    await client.until(lambda: len(client.answers[number].body) == 65_535)
    site.server.tick(LIMITS.keepalive_seconds + 1)
    client.h2.reset_stream(number)
    await until(lambda: site.application.ended == ["cancelled"])


async def test_a_stop_closes_idle_connections(site: Site) -> None:
    client = await site.client()
    await client.ask("GET", f"{EVAL}?x=1")
    site.server.connections.stop()
    await closed(site, client)


async def test_a_stop_answers_what_has_arrived(
    site: Site, path: Path_, servables: dict[float, Servable]
) -> None:
    gate = path.gated(servables[2.0])
    client = await site.client()
    numbers = [client.request("GET", f"{EVAL}?x={n}") for n in range(4)]
    client.flush()
    await gate.wait()
    site.server.connections.stop()
    late = client.request("GET", f"{EVAL}?x=9")
    client.flush()
    await asyncio.sleep(0.05)
    assert client.goaways == []
    gate.go.set()
    answers = [await client.answer(number) for number in [*numbers, late]]
    assert ys(answers) == [0.0, 2.0, 4.0, 6.0, 18.0]
    await closed(site, client)


async def test_a_stop_does_not_wait_for_ever_for_a_gap(site: Site) -> None:
    client = await site.client()
    client.request("GET", "/wait")
    answer = await client.ask("GET", f"{EVAL}?x=1")
    site.server.connections.stop()
    for seconds in (1, 2, 7):
        site.server.tick(seconds)
    await client.until(lambda: client.goaways == [0, 0])
    with pytest.raises(ngh2.ConnectionClosingError):
        client.request("GET", f"{EVAL}?x=2")
    assert answer.status == 200
    assert not client.is_closed


async def test_a_larger_answer_than_the_transport_takes(
    site: Site, path: Path_
) -> None:
    windows = {ngh2.Setting.INITIAL_WINDOW_SIZE: (1 << 31) - 1}
    client = await site.client(reads=False, settings=windows)
    client.h2.set_local_window_size((1 << 31) - 1)
    client.request("GET", "/large")
    client.flush()
    await until(lambda: site.application.sent > 0)
    while True:
        sent = site.application.sent
        await asyncio.sleep(0.2)
        if site.application.sent == sent:
            break
    (answer,) = client.answers.values()
    await client.until(lambda: len(answer.body) > 300_000 * (sent + 1))


async def test_documents_are_those_of_http_1(site: Site) -> None:
    client = await site.client()
    await client.ask("GET", f"{EVAL}?x=1")
    found = await client.ask("GET", f"{EVAL}?x=1")
    reader, writer = await site.server.connect()
    writer.write(f"GET {EVAL}?x=1 HTTP/1.1\r\nhost: h\r\n\r\n".encode())
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    lines = [line.split(": ", 1) for line in head.split("\r\n")[1:-2]]
    body = await reader.readexactly(int(dict(lines)["content-length"]))
    expected = dict(lines) | {"date": found.headers["date"]}
    assert {**found.headers, "content-length": ""} == {**expected, "content-length": ""}
    documents = (json.loads(body), found.document)
    assert documents[0]["data"] == documents[1]["data"]
    writer.close()


async def test_a_whole_body_is_taken_piece_by_piece(site: Site) -> None:
    """A hundred answers that a client does not read are not in memory as a whole."""
    client = await site.client(reads=False)
    number = client.request("GET", "/megabyte")
    answer = client.answers[number]
    await client.until(lambda: len(answer.body) == 65_535)
    (connection,) = site.server.connections.open
    await asyncio.sleep(0.05)
    assert connection.engine.unsent(number) < 1 << 17  # type: ignore[attr-defined]
    read = 65_535
    while not answer.is_complete:
        client.h2.acknowledge_received_data(read, number)
        seen = len(answer.body)
        await client.until(
            lambda seen=seen: len(answer.body) > seen or answer.is_complete  # type: ignore[misc]
        )
        read = len(answer.body) - seen
    assert answer.body == bytes(range(250)) * 4000


async def test_requests_that_end_before_their_turn_do_not_begin(site: Site) -> None:
    client = await site.client()
    dropped = [client.request("GET", "/wait") for _ in range(50)]
    client.flush()
    for number in dropped:
        client.h2.reset_stream(number)
    client.flush()
    assert (await client.ask("GET", "/")).status == 207
    await until(lambda: site.application.ended)
    assert len(site.application.ended) < 25
