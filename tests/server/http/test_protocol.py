"""The hot protocol, byte by byte, with a real predictor behind it."""

import asyncio

import pytest

from tests.server.http.conftest import Server
from tests.server.http.messages import (
    EVAL,
    LARGE_HEADS,
    OTHERS,
    answers,
    post,
    ys,
)

pytestmark = pytest.mark.asyncio


async def test_one_request(server: Server) -> None:
    ((status, headers, document),) = answers(
        await server.talk(post(b'{"x":1}', b"connection: close"))
    )
    assert (status, document["data"]) == (200, {"y": 2.0})
    assert headers["connection"] == "close"
    assert headers["date"].endswith("GMT")


async def test_a_query(server: Server) -> None:
    request = b"GET %b?x=4 HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n" % EVAL
    assert ys(await server.talk(request)) == [8.0]


async def test_every_way_to_cut_a_request_in_two(server: Server) -> None:
    request = post(b'{"x":3}', b"connection: close")
    for i in range(1, len(request)):
        assert ys(await server.talk(request[:i], request[i:])) == [6.0]


async def test_byte_by_byte(server: Server) -> None:
    request = post(b'{"x":3}', b"connection: close")
    assert ys(
        await server.talk(*(request[i : i + 1] for i in range(len(request))))
    ) == [6.0]


async def test_pipelined_requests_are_answered_in_order(server: Server) -> None:
    last = post(b'{"x":9}', b"connection: close")
    hits_and_misses = b"".join(post(b'{"x":%d}' % (n % 4)) for n in range(12))
    found = ys(await server.talk(hits_and_misses + last))
    assert found == [2.0 * (n % 4) for n in range(12)] + [18.0]


async def test_a_bad_body_leaves_the_connection_open(server: Server) -> None:
    text = await server.talk(post(b"{") + post(b'{"x":1}', b"connection: close"))
    assert [status for status, _, _ in answers(text)] == [400, 200]


@pytest.mark.parametrize("what", OTHERS)
async def test_anything_else_is_handed_over_whole(server: Server, what: str) -> None:
    request = OTHERS[what]
    assert await server.talk(request) == b"HANDED OVER:" + request
    assert sum(server.counted) == 0


@pytest.mark.parametrize("what", OTHERS)
async def test_what_was_answered_is_not_handed_over(server: Server, what: str) -> None:
    text = await server.talk(post(b'{"x":1}') + OTHERS[what])
    answered, _, rest = text.partition(b"HANDED OVER:")
    assert ys(answered) == [2.0]
    assert rest == OTHERS[what]


@pytest.mark.parametrize("what", LARGE_HEADS)
async def test_a_head_over_the_limit(server: Server, what: str) -> None:
    ((status, headers, document),) = answers(await server.talk(LARGE_HEADS[what]))
    assert (status, headers["connection"]) == (431, "close")
    assert "500 bytes" in document["error"]


async def test_handed_over_while_reading_is_paused(server: Server) -> None:
    first = b"".join(post(b'{"x":%d}' % n) for n in range(40))
    text = await server.talk(first + OTHERS["chunked"])
    answered, _, rest = text.partition(b"HANDED OVER:")
    assert ys(answered) == [2.0 * n for n in range(40)]
    assert rest == OTHERS["chunked"]


async def test_more_requests_at_once_than_a_turn_answers(server: Server) -> None:
    async def talk(first: int) -> list[float]:
        numbers = range(first, first + 30)
        return ys(await server.talk(b"".join(post(b'{"x":%d}' % n) for n in numbers)))

    found = await asyncio.gather(*(talk(100 * n) for n in range(15)))
    for n, values in enumerate(found):
        assert values == [2.0 * x for x in range(100 * n, 100 * n + 30)]


async def test_large_requests_at_once_are_answered_in_turns(server: Server) -> None:
    body = b'{"x":7}' + b" " * 400  # the limit here is 500 bytes
    found = await asyncio.gather(*(server.talk(post(body) * 50) for _ in range(15)))
    assert [ys(text) for text in found] == [[14.0] * 50] * 15
