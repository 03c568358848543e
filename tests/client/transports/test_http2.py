"""HTTP/2 by ngh2: hosts that leave, refuse, break off, or grant little."""

import asyncio
import logging
import random
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from typing import Any

import orjson
import pytest
from h2.connection import H2Connection
from h2.settings import SettingCodes

from gomlx import AsyncClient
from gomlx.errors import DeadlineExceeded, GomlxError, NoHost, TooLarge
from loadtests.fuzz.frames import PREFACE, SETTINGS, frame, hostile, hpack
from tests.client.fake import QUIET, answered, connected, contract, doubled, http, works
from tests.client.h2 import Http2
from tests.support.listening import listening

pytestmark = pytest.mark.asyncio

GOAWAY = 7
REFUSED_STREAM = 7


def goaway(last_stream: int, code: int = 0) -> bytes:
    payload = last_stream.to_bytes(4, "big") + code.to_bytes(4, "big")
    return frame(GOAWAY, 0, 0, payload)


class Leaving(Http2):
    """Its first connection leaves when it has two requests, and then answers the first.

    told: what the GOAWAY says was the last stream that it begins with.
    """

    told = 1
    is_leaving = False

    async def _answer(
        self, h2: H2Connection, writer: Any, stream: int, headers: Any, body: Any
    ) -> None:
        if self.connections == 1 and stream == 1:
            async with asyncio.timeout(20):
                while not self.is_leaving:
                    await asyncio.sleep(0.001)
        elif self.connections == 1:
            writer.write(goaway(self.told))
            self.is_leaving = True
        if self.connections > 1 or stream <= self.told:
            await super()._answer(h2, writer, stream, headers, body)


class Refusing(Http2):
    """It refuses every second stream."""

    async def _answer(
        self, h2: H2Connection, writer: Any, stream: int, headers: Any, body: Any
    ) -> None:
        if stream % 4 == 1:
            h2.reset_stream(stream, REFUSED_STREAM)
            writer.write(h2.data_to_send())
        else:
            await super()._answer(h2, writer, stream, headers, body)


async def opened(stack: AsyncExitStack, host: Http2) -> Http2:
    await stack.enter_async_context(host.running())
    return host


async def answers(client: Any, count: int) -> None:
    """Ask for so many rows at once, all of which are answered."""
    found = await asyncio.gather(*(client.predict(x=n) for n in range(count)))
    assert [one["y"] for one in found] == [2 * n for n in range(count)]


@pytest.mark.parametrize("told", [1, 2**31 - 1])
async def test_a_host_that_leaves(stack: AsyncExitStack, told: int) -> None:
    """What it has not begun with is sent again, and that is no failure of the host."""
    host = Leaving(works)
    host.told = told
    await opened(stack, host)
    client = await connected(stack, [host], http2=True)
    await answers(client, 2)
    await answers(client, 8)
    assert host.connections == 2
    assert "failed" not in client.metrics()["requests"]
    assert "retried" not in client.metrics()["requests"]


async def test_streams_that_are_refused(stack: AsyncExitStack) -> None:
    host = await opened(stack, Refusing(works))
    client = await connected(stack, [host], http2=True)
    for n in range(20):
        assert await client.predict(x=n) == {"y": 2 * n}
    assert host.connections == 1
    assert "failed" not in client.metrics()["requests"]


async def test_few_streams_at_once(stack: AsyncExitStack, either: str) -> None:
    host = Http2(works)
    host.settings = {SettingCodes.MAX_CONCURRENT_STREAMS: 3}
    at_once: list[int] = []
    running = 0

    async def slowly(body: bytes, writer: Any) -> bytes:
        nonlocal running
        running += 1
        at_once.append(running)
        await asyncio.sleep(0.002)
        running -= 1
        return await works(body, writer)

    host.respond = slowly
    await opened(stack, host)
    client = await connected(stack, [host], http2=True)
    await client.predict(x=0.5)  # its settings are known
    await answers(client, 40)
    assert host.connections == 1
    assert max(at_once) == 3


async def test_small_windows(stack: AsyncExitStack, either: str) -> None:
    """A request, and a response, of many times what is granted."""
    host = Http2(works)
    host.settings = {SettingCodes.INITIAL_WINDOW_SIZE: 500}

    async def at_length(body: bytes, _: Any) -> bytes:
        return answered(doubled(body)).replace(b'"data"', b" " * 3_000_000 + b'"data"')

    await opened(stack, host)
    client = await connected(stack, [host], http2=True)
    await client.predict(x=0.5)  # its settings are known
    await asyncio.gather(
        *(client.predict_batch({"x": [n / 7 for n in range(90)]}) for _ in range(9))
    )
    assert await client.predict(x=3) == {"y": 6}
    assert host.connections == 1
    assert max(map(len, host.bodies)) > 500


@pytest.mark.parametrize("code", [0, 2, 8])
async def test_a_request_that_is_broken_off(
    stack: AsyncExitStack, either: str, code: int
) -> None:
    """It is sent again; others on the connection do not notice."""
    host = Http2(works)
    broken: list[bytes] = []

    async def once(body: bytes, writer: Any) -> bytes | None:
        if orjson.loads(body)["x"] == 3 and not broken:
            broken.append(body)
            return None
        return await works(body, writer)

    host.respond = once
    host.reset_code = code
    await opened(stack, host)
    client = await connected(stack, [host], http2=True)
    await answers(client, 9)
    assert broken
    assert host.connections == 1


async def test_a_lost_connection(stack: AsyncExitStack, either: str) -> None:
    """Each request under way is sent again, on one new connection."""
    host = Http2(works)

    async def lose(body: bytes, writer: asyncio.StreamWriter) -> bytes:
        if host.connections == 1:
            writer.transport.abort()
        return await works(body, writer)

    host.respond = lose
    await opened(stack, host)
    client = await connected(stack, [host], http2=True)
    await answers(client, 2)
    assert host.connections == 2


async def test_a_response_that_is_too_short(stack: AsyncExitStack) -> None:
    """It is no answer, although the stream has ended in order."""

    async def shortened(body: bytes, _: Any) -> bytes:
        return answered(doubled(body)).replace(b"Length: ", b"Length: 9")

    host = await opened(stack, Http2(shortened))
    client = await connected(stack, [host], http2=True, timeout_seconds=0.5)
    with pytest.raises(GomlxError, match="PROTOCOL_ERROR"):
        await client.predict(x=1)


async def test_a_request_that_is_refused_before_it_is_sent(
    stack: AsyncExitStack,
) -> None:
    """The rest of it is not sent, and the connection is kept."""
    host = Http2(works)
    host.settings = {SettingCodes.INITIAL_WINDOW_SIZE: 100}
    await opened(stack, host)
    client = await connected(stack, [host], http2=True)
    await client.predict(x=0.5)  # its settings are known
    host.early = http(b"", "413 Too Large")
    with pytest.raises(TooLarge):
        await client.predict_batch({"x": [n / 7 for n in range(90)]})
    host.early = b""
    assert await client.predict(x=3) == {"y": 6}
    assert host.connections == 1
    assert host.resets


async def test_a_silent_host(stack: AsyncExitStack) -> None:
    """Its connection is given up, or later requests would wait for the same silence."""
    host = await opened(stack, Http2(works))
    client = await connected(stack, [host], http2=True)
    assert await client.predict(x=1) == {"y": 2}
    host.deaf = 1
    with pytest.raises((NoHost, DeadlineExceeded)):
        await client.predict(x=2, timeout_seconds=0.1)
    assert await client.predict(x=3) == {"y": 6}
    assert host.connections == 2


async def test_an_idle_connection_is_closed(stack: AsyncExitStack) -> None:
    host = await opened(stack, Http2(works))
    client = await connected(stack, [host], http2=True, idle_seconds=0.1)
    for n in range(2):
        assert await client.predict(x=n) == {"y": 2 * n}
        async with asyncio.timeout(20):
            while host.open:
                await asyncio.sleep(0.01)
    assert host.connections == 2


def any_response(chance: random.Random) -> bytes:
    """What a host may send that does not know the rules: answers among it."""
    body = answered({"y": 2.0}).partition(b"\r\n\r\n")[2]
    heads = [
        hpack([(b":status", b"200"), (b"gomlx-version", b"a" * 32)]),
        hpack([(b":status", b"200"), (b"content-length", b"5")]),
        hpack([(b":status", b"20x")]),
        hpack([(b"status", b"200")]),
        hpack([(b":status", b"100")]),
        b"",
    ]
    frames = []
    for _ in range(chance.randint(1, 6)):
        frames.append(frame(1, chance.choice((4, 5)), 1, chance.choice(heads)))
        frames.append(frame(0, chance.choice((0, 1)), 1, chance.choice((body, b""))))
        frames.append(goaway(chance.choice((0, 1, 2**31 - 1)), chance.choice((0, 2))))
    chance.shuffle(frames)
    start = frame(SETTINGS, 0, 0)
    if chance.random() < 0.2:
        return start + frame(1, 4, 1, heads[0]) + frame(0, 1, 1, body) + frames[0]
    if chance.random() < 0.3:
        return start + hostile(chance)[len(PREFACE) :]
    return start * chance.choice((0, 1, 1)) + b"".join(frames[: chance.randint(1, 9)])


async def test_a_host_that_breaks_rules(
    stack: AsyncExitStack, caplog: pytest.LogCaptureFixture
) -> None:
    """Each call ends, and nothing fails beside it."""
    chance = random.Random(5)
    found = []

    async def serve(reader: asyncio.StreamReader, writer: Any) -> None:
        await reader.read(1 << 16)
        data = any_response(chance)
        cut = chance.randrange(len(data) + 1)
        for part in (data[:cut], data[cut:]):
            writer.write(part)
            await asyncio.sleep(0)
        if chance.random() < 0.5:
            await asyncio.sleep(10)  # it hangs, until the client has gone

    caplog.set_level(logging.WARNING)
    port = await stack.enter_async_context(listening(serve))
    options = replace(QUIET, http2=True, timeout_seconds=0.05)
    for _ in range(60):
        url = f"http://127.0.0.1:{port}"
        async with AsyncClient(
            "m", url, contract=contract(), options=options
        ) as client:
            with suppress(GomlxError):
                found.append(await client.predict(x=1))
    assert all(answer == {"y": 2.0} for answer in found)
    assert len(found) > 5
    assert [one.getMessage() for one in caplog.records] == []
