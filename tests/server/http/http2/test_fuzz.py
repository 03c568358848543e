"""Frames in any order, whole and broken: others are answered, and nothing is logged."""

import asyncio
import logging
import random
from contextlib import suppress

import pytest

from tests.server.conftest import until
from tests.server.http.http2.client import GET_ROOT, frame
from tests.server.http.http2.conftest import Site

pytestmark = pytest.mark.asyncio

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
CONNECTIONS = 150
# HPACK: POST and GET of the hot route, another route, a length, what is no HPACK.
PATH = b"/v1/api/model/m/eval"
POST = b"\x83\x04" + bytes((len(PATH),)) + PATH + b"\x86\x41\x01h"
QUERY = PATH + b"?x=1"
GET = b"\x82\x04" + bytes((len(QUERY),)) + QUERY + b"\x86\x41\x01h"
WAIT = b"\x82\x04\x05/wait\x86\x41\x01h"
LENGTH = POST + b"\x0f\x0d\x017"
HEADS = [*[POST, GET, LENGTH] * 5, GET_ROOT, WAIT, b"\xff\xff", b""]
BODIES = [b"", b'{"x":1}', b'{"x":', b"x" * 1200]
NUMBERS = [0, 1, 5, 255, 65_535, (1 << 31) - 1]


def any_frame(chance: random.Random, opened: list[int]) -> bytes:
    """Return a frame as a client may send it, or nearly so."""
    kinds = [0] * 6 + [1] * 12 + [2, 3, 4, 6, 8, 8, 0x55]
    kind = chance.choice([*kinds, *kinds, 7, 9])
    streams = opened[-4:] * 9
    stream = chance.choice([*streams, 0, opened[-1] + 1]) if opened else 0
    payload = chance.choice(NUMBERS).to_bytes(4, "big")
    if kind == 1 or not opened:
        kind = 1
        stream = opened[-1] + 2 if opened else 1
        opened.append(stream)
        payload = chance.choice(HEADS)
    elif kind == 0:
        payload = chance.choice(BODIES)
    elif kind == 4:
        payload = chance.choice([b"", b"\0\x04" + payload, b"\0\x01" + payload, b"a"])
    elif kind in (6, 7):
        payload += bytes(4)
    elif kind == 2:
        payload += b"a"
    stream = 0 if kind in (4, 6, 7) else stream
    flags = chance.choice([*[4, 5] * 9, 0, 1, 0x20, 0x08, 0xFF])
    flags = flags if kind < 4 else flags & 1
    return frame(kind, flags, stream, payload)


def any_connection(chance: random.Random) -> bytes:
    """Return all that one client sends."""
    opened: list[int] = []
    frames = [any_frame(chance, opened) for _ in range(chance.randint(1, 40))]
    data = bytearray(PREFACE + frame(4, 0, 0) + b"".join(frames))
    if chance.random() < 0.2:
        data[chance.randrange(len(PREFACE), len(data))] ^= 1 << chance.randrange(8)
    return bytes(data)


def _close(writer: asyncio.StreamWriter, chance: random.Random) -> None:
    if chance.random() < 0.5:
        writer.close()
    else:
        writer.transport.abort()


@pytest.mark.parametrize("seed", range(4))
async def test_any_frames(
    site: Site, seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    chance = random.Random(seed)
    client = await site.client()
    for n in range(CONNECTIONS):
        _, writer = await site.server.connect()
        data = any_connection(chance)
        cut = chance.randrange(len(data))
        for part in (data[:cut], data[cut:]):
            writer.write(part)
            with suppress(ConnectionError):
                await writer.drain()
            await asyncio.sleep(0)
        if n % 10 == 0:
            answer = await client.ask("GET", f"/v1/api/model/m/eval?x={n}")
            assert answer.document["data"] == {"y": 2.0 * n}
        _close(writer, chance)
    site.server.tick(1)
    await until(lambda: len(site.server.connections.open) == 1)
    live = site.path.current.get("m")
    assert live
    await until(lambda: live.pins == 0)
    codes = ("200", "400", "499")
    counts = [site.count("gomlx_requests", "m", code) for code in codes]
    assert sum(counts) > CONNECTIONS // 3, counts
    assert [one.getMessage() for one in caplog.records] == []
