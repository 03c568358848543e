"""Frames that cost the service more than the peer: GOAWAY, ENHANCE_YOUR_CALM.

A flood comes from one connection; a second one is answered all the while.
"""

import asyncio
import gc
import time
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from tests.server.conftest import until
from tests.server.http.http2.client import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GET_ROOT,
    GOAWAY,
    HEADERS,
    PING,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    UNKNOWN,
    WINDOW_UPDATE,
    AsyncClient,
    frame,
)
from tests.server.http.http2.conftest import Site

pytestmark = pytest.mark.asyncio

WAITING = frame(
    HEADERS, END_HEADERS, 1, b"\x82\x04\x05/wait\x86\x41\x01h"
)  # its body never ends
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0)
CANCEL = (8).to_bytes(4, "big")
ONE = (1).to_bytes(4, "big")
CALM = 11


def request(stream: int, flags: int = END_HEADERS | END_STREAM) -> bytes:
    return frame(HEADERS, flags, stream, GET_ROOT)


# The n-th part of a flood, after a request on stream 1 that does not end.
FLOODS: dict[str, Callable[[int], bytes]] = {
    "resets": lambda n: request(2 * n + 3) + frame(RST_STREAM, 0, 2 * n + 3, CANCEL),
    "bodies of a wrong length": lambda n: (
        frame(HEADERS, END_HEADERS, 2 * n + 3, GET_ROOT + b"\x0f\x0d\x015")
        + frame(DATA, END_STREAM, 2 * n + 3, b"abc")
    ),
    "priorities": lambda _: frame(PRIORITY, 0, 1, b"\0\0\0\0\x10"),
    "windows": lambda _: frame(WINDOW_UPDATE, 0, 1, ONE),
    "windows of the connection": lambda _: frame(WINDOW_UPDATE, 0, 0, ONE),
    "empty data": lambda _: frame(DATA, 0, 1),
    "unknown frames": lambda _: frame(UNKNOWN, 0, 0, b"a"),
    "answers to no ping": lambda _: frame(PING, 1, 0, bytes(8)),
    "ends of the connection": lambda _: frame(GOAWAY, 0, 0, bytes(8)),
    "resets of a closed stream": lambda n: (
        frame(RST_STREAM, 0, 3, CANCEL) * 10
        if n
        else request(3) + frame(RST_STREAM, 0, 3, CANCEL)
    ),
    "priorities as they are now": lambda _: frame(16, 0, 0, b"\0\0\0\1u=1"),
    "data of one byte": lambda _: frame(DATA, 0, 1, b" ") * 100,
    "continuations": lambda n: (
        frame(CONTINUATION, 0, 3, b"") if n else request(3, END_STREAM)
    ),
}
# Sent at once, the answers to these would fill the memory.
BURSTS = {
    "pings": frame(PING, 0, 0, bytes(8)),
    "settings": frame(SETTINGS, 0, 0),
}


async def goaway_of(reader: asyncio.StreamReader) -> tuple[int, int]:
    """Return the last stream and the error of the first GOAWAY."""
    async with asyncio.timeout(20):
        while True:
            head = await reader.readexactly(9)
            payload = await reader.readexactly(int.from_bytes(head[:3], "big"))
            if head[3] == 7:
                return int.from_bytes(payload[:4], "big"), payload[7]


@pytest.mark.parametrize("what", FLOODS)
async def test_a_flood(site: Site, what: str) -> None:
    other = await site.client()
    reader, writer = await site.server.connect()
    writer.write(PREFACE + WAITING)
    flooding = asyncio.create_task(flood(writer, FLOODS[what]))
    last, error = await goaway_of(reader)
    flooding.cancel()
    assert (error, last % 2) == (CALM, 1)
    answer = await other.ask("GET", "/v1/api/model/m/eval?x=1")
    assert answer.document["data"] == {"y": 2.0}
    site.server.tick(1)
    await until(lambda: len(site.server.connections.open) == 1)
    await until(lambda: "cancelled" in site.application.ended)
    writer.close()


def spend_turn(connection: Any) -> None:
    """Take all the time that a turn has to read much."""
    connection._requests.reading.call("another", partial(time.sleep, 0.01))


async def flood(writer: asyncio.StreamWriter, part: Callable[[int], bytes]) -> None:
    for n in range(12_000):
        writer.write(part(n))
        if n % 50 == 0:
            await asyncio.sleep(0)


@pytest.mark.parametrize("what", BURSTS)
async def test_a_burst(site: Site, what: str) -> None:
    reader, writer = await site.server.connect()
    writer.write(PREFACE)
    head = await reader.readexactly(9)  # by now it has been handed over
    await reader.readexactly(int.from_bytes(head[:3], "big"))
    (connection,) = site.server.connections.open
    connection.data_received(BURSTS[what] * 2000)  # type: ignore[attr-defined]
    assert (await goaway_of(reader))[1] == CALM
    writer.close()


async def test_a_peer_that_does_not_read_is_not_read_from(site: Site) -> None:
    """Else the answers to its PINGs would fill the memory."""
    client = await site.client()
    await client.ask("GET", "/v1/api/model/m/eval?x=1")
    (connection,) = site.server.connections.open
    connection.pause_writing()  # type: ignore[attr-defined]
    number = client.request("GET", "/v1/api/model/m/eval?x=2")
    client.flush()
    await asyncio.sleep(0.05)
    assert site.count("gomlx_requests", "m", "200") == 1
    connection.resume_writing()  # type: ignore[attr-defined]
    assert (await client.answer(number)).document["data"] == {"y": 4.0}


async def test_streams_over_the_limit(site: Site) -> None:
    reader, writer = await site.server.connect()
    writer.write(PREFACE + frame(SETTINGS, 1, 0) + WAITING)
    for n in range(200):
        writer.write(request(2 * n + 3, END_HEADERS))
    last, error = await goaway_of(reader)
    assert (last, error) == (255, 1)  # PROTOCOL_ERROR
    writer.close()


async def test_a_peer_that_speaks_no_http_2(site: Site) -> None:
    reader, writer = await site.server.connect()
    writer.write(PREFACE + b"GET / HTTP/1.1\r\nhost: h\r\n\r\n")
    assert (await goaway_of(reader))[1] == 6  # FRAME_SIZE_ERROR
    site.server.tick(1)
    assert await reader.read() == b""
    writer.close()


async def test_usual_clients_are_no_flood(site: Site) -> None:
    """Small windows, some resets, PINGs: as gRPC's clients do."""
    client = await site.client(reads=False)
    for n in range(1200):
        number = client.request("GET", f"/v1/api/model/m/eval?x={n % 7}")
        answer = await client.answer(number)
        client.h2.acknowledge_received_data(len(answer.body), number)
        client.h2.ping()
        if n % 3 == 0:
            dropped = client.request("GET", "/wait")
            client.flush()
            client.h2.reset_stream(dropped)
    assert isinstance(client, AsyncClient)
    assert client.goaways == []


async def test_a_flood_is_read_in_slices_and_not_beyond_its_end(site: Site) -> None:
    """Other connections have their turns, and what follows a GOAWAY is not read."""
    reader, writer = await site.server.connect()
    writer.write(PREFACE)
    (connection,) = await site.server.accepts(1)
    await until(lambda: connection not in site.server.connections.open)
    (ours,) = site.server.connections.open
    unknown = frame(UNKNOWN, 0, 0, b"a" * 1000) * 900
    spend_turn(ours)
    ours.data_received(unknown)  # type: ignore[attr-defined]
    assert not ours.peer._transport.is_reading()  # type: ignore[attr-defined]
    assert (await goaway_of(reader))[1] == CALM
    assert ours.peer._transport.is_reading()  # type: ignore[attr-defined]
    ours.data_received(unknown)  # type: ignore[attr-defined]
    assert not ours.peer._transport.is_reading()  # type: ignore[attr-defined]
    writer.close()


async def test_a_connection_that_takes_much_of_the_loop(site: Site) -> None:
    """Each of its frames is allowed, and they come a few at a time."""
    connections = site.server.connections
    connections.limits = connections.limits._replace(receive_seconds=1000)
    reader, writer = await site.server.connect()
    writer.write(PREFACE + WAITING)
    (connection,) = await site.server.accepts(1)
    await until(lambda: connection not in site.server.connections.open)
    (ours,) = site.server.connections.open
    ended = asyncio.create_task(goaway_of(reader))
    while not ended.done():
        if ours.peer._transport.is_reading():  # type: ignore[attr-defined]
            ours.data_received(frame(DATA, 0, 1, b" ") * 1000)  # type: ignore[attr-defined]
        await asyncio.sleep(0)
    assert (await ended)[1] == CALM
    writer.close()


async def test_two_floods_are_not_read_in_one_turn(site: Site) -> None:
    """The second one waits, and a small request beside it does not."""
    await (await site.client()).ask("GET", "/")
    (first,) = site.server.connections.open
    await (await site.client()).ask("GET", "/")
    (second,) = site.server.connections.open - {first}
    pings = frame(PING, 0, 0, bytes(8)) * 100
    spend_turn(first)
    first.data_received(pings)  # type: ignore[attr-defined]
    second.data_received(pings[:170])  # type: ignore[attr-defined]
    assert not first.peer._transport.is_reading()  # type: ignore[attr-defined]
    assert second.peer._transport.is_reading()  # type: ignore[attr-defined]
    await until(first.peer._transport.is_reading)  # type: ignore[attr-defined]


async def test_large_bodies_arrive_in_slices(site: Site) -> None:
    client = await site.client()
    body = b'{"x":1%b}' % (b" " * 900)
    numbers = [client.request("POST", "/v1/api/model/m/eval", body) for _ in range(100)]
    client.flush()
    for number in numbers:
        assert (await client.answer(number)).document["data"] == {"y": 2.0}


async def test_a_connection_that_ends_leaves_no_garbage(site: Site) -> None:
    """Thousands that come and go would be collected together: hits would wait."""
    client = await site.client()
    for path in ("/", "/v1/api/model/m/eval?x=1"):
        assert (await client.ask("GET", path)).is_complete
    client.request("GET", "/wait")
    client.flush()
    (connection,) = site.server.connections.open
    requests = connection._requests  # type: ignore[attr-defined]
    await until(partial(bool, requests.streams))
    (stream,) = requests.streams.values()
    left = [weakref.ref(one) for one in (connection, requests, stream._task)]
    del connection, requests, stream
    gc.disable()
    try:
        client.writer.transport.abort()
        await until(lambda: all(one() is None for one in left))
    finally:
        gc.enable()
