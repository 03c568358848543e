"""Frames in any order, whole and broken: others are answered, and nothing is logged."""

import asyncio
import logging
import random
from contextlib import suppress

import pytest

from loadtests.fuzz.frames import hostile
from tests.server.conftest import until
from tests.server.http.http2.conftest import Site

pytestmark = pytest.mark.asyncio

CONNECTIONS = 150


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
        data = hostile(chance)
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
