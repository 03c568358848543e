"""Connections: HTTP/1.1 and HTTP/2, in the clear and over TLS."""

import asyncio
import ssl
from contextlib import AsyncExitStack
from pathlib import Path

import orjson
import pytest

from gomlx import AsyncClient, Options
from gomlx.errors import BadResponse, DeadlineExceeded, NoHost
from tests.client.fake import Host, connected, hosts, http, works
from tests.client.h2 import Http2
from tests.support.certificates import Certificates

pytestmark = pytest.mark.asyncio


async def opened(
    stack: AsyncExitStack, http2: bool, tls: ssl.SSLContext | None = None
) -> Host:
    """A host that works, with one of the two versions of HTTP."""
    host = Http2(works) if http2 else Host(works)
    if tls and http2:
        tls.set_alpn_protocols(["h2"])
    return await stack.enter_async_context(host.running(tls))


async def test_a_row_and_a_batch(stack: AsyncExitStack, http2: bool) -> None:
    """And the contract, which is compressed."""
    host = await opened(stack, http2)
    client = await connected(stack, [host], http2=http2, contract=None)
    assert await client.predict(x=1) == {"y": 2}
    answers = await client.predict_batch({"x": list(range(90))})
    assert [a["y"] for a in answers] == [2 * n for n in range(90)]
    assert host.connections == 1
    assert all("user-agent: gomlx" in head.lower() for head in host.heads)


async def test_tls_with_certificates_of_our_own(
    stack: AsyncExitStack, tmp_path: Path, http2: bool
) -> None:
    made = Certificates(tmp_path / "certificates")
    host = await opened(stack, http2, made.context(verifies_clients=True))
    ca = str(made.ca)
    cert = str(made.client)
    trusted = {"ca_file": ca, "cert_file": cert, "http2": http2}
    client = await connected(stack, [host], **trusted)
    answers = await asyncio.gather(*(client.predict(x=n) for n in range(50)))
    assert [a["y"] for a in answers] == [2 * n for n in range(50)]
    for wrong in ("ca_file", "cert_file"):
        options = {**trusted, wrong: None, "timeout_seconds": 10.0}
        other = await connected(stack, [host], **options)
        with pytest.raises((NoHost, DeadlineExceeded), match=host.url):
            await other.predict(x=1)


async def test_http2_is_refused_by_a_host_without_it(
    stack: AsyncExitStack, tmp_path: Path, either: str
) -> None:
    made = Certificates(tmp_path / "certificates")
    tls = made.context()
    tls.set_alpn_protocols(["http/1.1"])
    host = await opened(stack, False, tls)
    trusted = {"ca_file": str(made.ca), "http2": True, "timeout_seconds": 0.5}
    client = await connected(stack, [host], **trusted)
    with pytest.raises((NoHost, BadResponse, DeadlineExceeded)) as caught:
        await client.predict(x=1)
    assert "HTTP/2" in str(caught.value) or either == "httpcore"
    assert not host.bodies


@pytest.mark.parametrize("name", ["ca_file", "cert_file"])
async def test_a_file_that_is_not_there_is_named(name: str, tmp_path: Path) -> None:
    options = Options(**{name: str(tmp_path / "nothing")})  # type: ignore[arg-type]
    with pytest.raises(OSError, match=f"{name} .*nothing"):
        await AsyncClient("m", "https://127.0.0.1:9", options=options).start()


async def test_ten_thousand_calls_need_few_connections(stack: AsyncExitStack) -> None:
    pair = await hosts(stack, works, works)
    client = await connected(stack, pair, max_connections=8, timeout_seconds=90.0)
    answers = await asyncio.gather(*(client.predict(x=n) for n in range(10_000)))
    assert [a["y"] for a in answers] == [2 * n for n in range(10_000)]
    assert all(host.connections <= 8 for host in pair)
    assert all(len(host.bodies) > 3000 for host in pair)


async def test_many_calls_share_a_connection_of_http2(
    stack: AsyncExitStack, either: str
) -> None:
    host = await opened(stack, http2=True)
    client = await connected(stack, [host], http2=True, timeout_seconds=60.0)
    answers = await asyncio.gather(*(client.predict(x=n) for n in range(200)))
    assert [a["y"] for a in answers] == [2 * n for n in range(200)]
    assert host.connections == 1


async def test_a_late_call_does_not_disturb_others(
    stack: AsyncExitStack, http2: bool
) -> None:
    host = await opened(stack, http2)

    async def stuck(body: bytes, writer: asyncio.StreamWriter) -> bytes:
        if orjson.loads(body)["x"] < 0:
            await asyncio.Event().wait()
        return await works(body, writer)

    host.respond = stuck
    client = await connected(stack, [host], http2=http2, timeout_seconds=10.0)
    await client.predict(x=0.5)
    late = [
        asyncio.create_task(client.predict(x=-n, timeout_seconds=0.2))
        for n in range(1, 4)  # more failures would open the breaker of the host
    ]
    for n in range(60):
        assert await client.predict(x=n) == {"y": 2 * n}
        await asyncio.sleep(0.005)
    done = await asyncio.gather(*late, return_exceptions=True)
    assert {type(one) for one in done} == {DeadlineExceeded}
    # The error names the host, unless the call has ended before that.
    assert all(host.url in str(one) or "in time" in str(one) for one in done)
    assert await client.predict(x=0.25) == {"y": 0.5}


async def test_old_connections_are_replaced(stack: AsyncExitStack, http2: bool) -> None:
    host = await opened(stack, http2)
    client = await connected(stack, [host], http2=http2, connection_seconds=0.05)
    for n in range(3):
        await client.predict(x=n)
        await asyncio.sleep(0.06)
    assert host.connections == 3


@pytest.mark.parametrize("address", ["127.0.0.1:{}", "http://[::1]:{}/", "[::1]:{}"])
async def test_addresses(stack: AsyncExitStack, http2: bool, address: str) -> None:
    host = Http2(works) if http2 else Host(works)
    where = "::1" if "::1" in address else "127.0.0.1"
    await stack.enter_async_context(host.running(where=where))
    port = host.url.rpartition(":")[2]
    options = Options(http2=http2)
    client = AsyncClient("m", address.format(port), options=options)
    assert await (await stack.enter_async_context(client)).predict(x=1) == {"y": 2}


async def test_a_body_that_is_no_gzip(stack: AsyncExitStack, http2: bool) -> None:
    host = await opened(stack, http2)
    zipped = http(b"not really", Content_Encoding="gzip")
    host.contract_response = zipped
    with pytest.raises((BadResponse, DeadlineExceeded, NoHost), match=host.url):
        await connected(stack, [host], http2=http2, contract=None, timeout_seconds=10.0)
